"""Batches by their number: the same ones whatever holds the samples, so that a run can stop and go on anywhere."""

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import ConfigError
from training.dataset import ShardDataset

log = logging.getLogger("augtrain")

Loader = Literal["auto", "device", "host", "lazy"]
_SHARE_OF_MEMORY = 0.5  # of what is free, that samples may take


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Gray levels become (gray - mean) / std."""

    mean: float
    std: float


@dataclass(frozen=True, slots=True)
class Batch:
    """image (B, 1, Y, X) float32 normalised, label (B, Y, X) float32 0 or 1, weight (B, Y, X) float32 or None."""

    image: Tensor
    label: Tensor
    weight: Tensor | None
    ids: tuple[str, ...]


class Store(Protocol):
    """What holds samples: (image, label, weight or None), each (h, w)."""

    tier: str

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return one sample, unchanged."""
        ...


class ResidentStore:
    """All samples in the memory of the device, or of the host: read once, in the dtype of the shards."""

    def __init__(self, data: ShardDataset, device: torch.device) -> None:
        self.tier = "host" if device.type == "cpu" else "device"
        size = (len(data), *data.window)
        self._images = torch.empty(size, dtype=as_tensor(np.empty(0, data.image_dtype)).dtype, device=device)
        self._labels = torch.empty(size, dtype=torch.uint8, device=device)
        self._weights = torch.empty(size, dtype=torch.float16, device=device) if data.weights != "none" else None
        for index in range(len(data)):
            sample = data[index]
            self._images[index] = as_tensor(sample.image)
            self._labels[index] = torch.from_numpy(sample.label)
            if self._weights is not None and sample.weight is not None:
                self._weights[index] = torch.from_numpy(sample.weight)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor | None]:
        weight = None if self._weights is None else self._weights[index]
        return self._images[index], self._labels[index], weight


class LazyStore:
    """Samples read from the shards each time."""

    tier = "lazy"

    def __init__(self, data: ShardDataset) -> None:
        self._data = data

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor | None]:
        sample = self._data[index]
        weight = None if sample.weight is None else torch.from_numpy(sample.weight)
        return as_tensor(sample.image), torch.from_numpy(sample.label), weight


def open_store(data: ShardDataset, loader: Loader, device: torch.device) -> Store:
    """Return the samples in the fastest memory that they fit, or where `loader` wants them; say so in the log.

    Raises:
        ConfigError: `device` was asked for, and its memory is too small. On the CPU it is the same as `host`.
    """
    pixels = len(data) * int(np.prod(data.window))
    itemsize = data.image_dtype.itemsize
    n_bytes = pixels * ((itemsize if itemsize == 1 else 4) + 1 + (2 if data.weights != "none" else 0))
    on_device = device.type == "cuda" and n_bytes <= _SHARE_OF_MEMORY * torch.cuda.mem_get_info(device)[0]
    in_memory = n_bytes <= _SHARE_OF_MEMORY * _free_memory()
    if loader == "device" and not (on_device or device.type == "cpu"):
        raise ConfigError(f"--loader device: {n_bytes / 1e6:.0f} MB do not fit the free memory of {device}")
    tier = loader if loader != "auto" else "device" if on_device else "host" if in_memory else "lazy"
    store: Store = LazyStore(data) if tier == "lazy" else ResidentStore(data, _home(tier, device))
    log.info("loader: %s, %d samples, %.0f MB", store.tier, len(data), n_bytes / 1e6)
    return store


class Batches:
    """The batches of a run: number k holds the same crops of the same samples on every machine and loader.

    Every pass over the samples has its own order, drawn from (seed, pass); the places and turns of the crops are drawn
    from (seed, batch number). There is no other state.

    Args:
        store: the samples.
        ids: their ids.
        window: their size (h, w), in px.
        batch: samples a batch.
        crop: side of the square that the network gets, in px.
        turns: turn and mirror each crop in one of the eight ways.
        seed: of orders, places and turns.
        normalisation: of the gray levels.
        device: where batches go.
    """

    def __init__(
        self,
        store: Store,
        ids: tuple[str, ...],
        window: tuple[int, int],
        *,
        batch: int,
        crop: int,
        turns: bool,
        seed: int,
        normalisation: Normalisation,
        device: torch.device,
    ) -> None:
        if crop > min(window):
            raise ConfigError(
                f"crops of {crop} px do not fit samples of {window[0]} x {window[1]} px; set crop smaller"
            )
        self.store, self.ids = store, ids
        self._window, self._batch, self._crop, self._turns = window, batch, crop, turns
        self._seed, self._normalisation, self._device = seed, normalisation, device

    def __getitem__(self, number: int) -> Batch:
        """Return one batch."""
        indices = self._indices(number)
        rng = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(1, number)))
        samples = [self.store[index] for index in indices]
        crops = [self._cut(sample, rng) for sample in samples]
        image, label = (torch.stack([crop[part] for crop in crops]) for part in (0, 1))
        weight = None if crops[0][2] is None else torch.stack([crop[2] for crop in crops]).to(self._device).float()
        image = normalise(image.to(self._device, non_blocking=True), self._normalisation)
        label = label.to(self._device, non_blocking=True).float()
        return Batch(image[:, None], label, weight, tuple(self.ids[index] for index in indices))

    def stream(self, start: int, stop: int) -> Iterator[Batch]:
        """Yield the batches from number `start` up to `stop`; the next one is read while one is used."""
        if self.store.tier != "lazy":
            yield from (self[number] for number in range(start, stop))
            return
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self.__getitem__, start)
            for number in range(start, stop):
                batch = ahead.result()
                if number + 1 < stop:
                    ahead = reader.submit(self.__getitem__, number + 1)
                yield batch

    def _indices(self, number: int) -> list[int]:
        n = len(self.ids)
        places = range(number * self._batch, (number + 1) * self._batch)
        return [int(_order(self._seed, place // n, n)[place % n]) for place in places]

    def _cut(self, sample: tuple[Tensor, Tensor, Tensor | None], rng: np.random.Generator) -> list[Any]:
        y, x = (int(rng.integers(side - self._crop + 1)) for side in self._window)
        turn = int(rng.integers(8)) if self._turns else 0
        return [None if part is None else turned(part[y : y + self._crop, x : x + self._crop], turn) for part in sample]


def turned(image: Tensor, turn: int) -> Tensor:
    """Return an image (..., Y, X) in one of the eight ways that a square can lie: a mirror for 4 to 7, then turns."""
    return torch.rot90(image.flip(-2) if turn & 4 else image, turn & 3, (-2, -1))


def turned_back(image: Tensor, turn: int) -> Tensor:
    """Undo `turned`."""
    upright = torch.rot90(image, -(turn & 3), (-2, -1))
    return upright.flip(-2) if turn & 4 else upright


def normalise(image: Tensor, normalisation: Normalisation) -> Tensor:
    """Return gray levels of any dtype as normalised float32."""
    return (image.float() - normalisation.mean) / normalisation.std


def measure_gray(data: ShardDataset) -> Normalisation:
    """Return mean and standard deviation of the samples' gray levels."""
    count, total, squares = 0, 0.0, 0.0
    for index in range(len(data)):
        image = data.image(index).astype(np.float64)
        count, total, squares = count + image.size, total + image.sum(), squares + np.square(image).sum()
    mean = total / count
    return Normalisation(float(mean), float(max(squares / count - mean * mean, 0.0) ** 0.5) or 1.0)


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, epoch))).permutation(n)


def _free_memory() -> int:
    """Return the bytes of memory that programs can get without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):  # no Linux
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _home(tier: str, device: torch.device) -> torch.device:
    return device if tier == "device" else torch.device("cpu")


def as_tensor(image: NDArray[Any]) -> Tensor:
    """Return gray levels as a tensor: uint8 as they are, others as float32, which holds 16 bits exactly."""
    levels = image if image.dtype == np.uint8 else image.astype(np.float32)
    return torch.from_numpy(levels if levels.flags.writeable else levels.copy())
