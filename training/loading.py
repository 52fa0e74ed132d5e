"""Batches by their number: the same ones whatever holds the samples, so that a run can stop and go on anywhere."""

import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import ConfigError
from training.config import FitConfig, Loader
from training.dataset import ShardDataset

log = logging.getLogger("augtrain")

_SHARE_OF_MEMORY = 0.5  # of what is free, that samples may take


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Gray levels become (gray - mean) / std; of several channels, each with its own."""

    mean: float | tuple[float, ...]
    std: float | tuple[float, ...]

    @property
    def n_channels(self) -> int:
        """Channels of the images."""
        return len(self.mean) if isinstance(self.mean, tuple) else 1


@dataclass(frozen=True, slots=True)
class Batch:
    """image (B, C, Y, X) float32 normalised, label (B, Y, X) float32 0 or 1, weights (B, Y, X) float32 or None.

    Ignored pixels, where there are any, have label 0 and weight 0; without other weights, all others have weight 1.
    """

    image: Tensor
    label: Tensor
    weights: Tensor | None
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Store:
    """Where samples are kept, and how one is read.

    Attributes:
        tier: `device` or `host`: in its memory, read once; `lazy`: in the shards, read each time.
        read: returns one sample, as `ShardDataset` does, in tensors.
    """

    tier: str
    read: Callable[[int], dict[str, Tensor]]


def open_store(data: ShardDataset, loader: Loader, device: torch.device) -> Store:
    """Return the samples in the fastest memory that they fit, or where `loader` wants them; say so in the log.

    Raises:
        ConfigError: `device` was asked for, and its memory is too small. On the CPU it is the same as `host`.
    """
    pixels = len(data) * int(np.prod(data.window))
    itemsize = data.image_dtype.itemsize
    n_bytes = pixels * ((itemsize if itemsize == 1 else 4) * data.n_channels + 1 + (2 if data.weights != "none" else 0))
    on_device = device.type == "cuda" and n_bytes <= _SHARE_OF_MEMORY * torch.cuda.mem_get_info(device)[0]
    in_memory = n_bytes <= _SHARE_OF_MEMORY * _free_memory()
    if loader == "device" and not (on_device or device.type == "cpu"):
        raise ConfigError(f"--loader device: {n_bytes / 1e6:.0f} MB do not fit the free memory of {device}")
    tier = loader if loader != "auto" else "device" if on_device else "host" if in_memory else "lazy"
    if tier == "device" and device.type == "cpu":
        tier = "host"
    home = device if tier == "device" else torch.device("cpu")

    def read(index: int) -> dict[str, Tensor]:
        return {name: as_tensor(part).to(home) for name, part in data[index].items()}

    store = Store(tier, read if tier == "lazy" else [read(index) for index in range(len(data))].__getitem__)
    log.info("loader: %s, %d samples, %.0f MB", tier, len(data), n_bytes / 1e6)
    return store


class Batches:
    """The batches of a run: number k holds the same crops of the same samples on every machine and loader.

    Every pass over the samples has its own order, drawn from (seed, pass); the places and turns of the crops are drawn
    from (seed, batch number). There is no other state.

    Args:
        store: keeps the samples.
        data: the samples, for their ids and their size.
        config: how many samples a batch has, the side of the crops, whether they are turned, and the seed.
        normalisation: of the gray levels.
        device: where batches go.
    """

    def __init__(
        self, store: Store, data: ShardDataset, config: FitConfig, normalisation: Normalisation, device: torch.device
    ) -> None:
        if config.crop > min(data.window):
            raise ConfigError(
                f"crops of {config.crop} px do not fit samples of {data.window[0]} x {data.window[1]} px; "
                "--set crop=0 takes as much of them as passes"
            )
        self.store, self.ids, self._window = store, data.ids, data.window
        self._config, self._normalisation, self._device, self._ignore = config, normalisation, device, data.ignore

    def __getitem__(self, number: int) -> Batch:
        """Return one batch."""
        indices = self._indices(number)
        rng = np.random.default_rng(np.random.SeedSequence(self._config.seed, spawn_key=(1, number)))
        crops = [self._cut(self.store.read(index), rng) for index in indices]
        parts = {name: torch.stack([crop[name] for crop in crops]) for name in crops[0]}
        parts = {name: part.to(self._device, non_blocking=True) for name, part in parts.items()}
        label, weights = without_ignored(parts["label"], parts.get("weights"), self._ignore)
        image = normalise(parts["image"], self._normalisation)
        return Batch(image, label, weights, tuple(self.ids[index] for index in indices))

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
        n, size = len(self.ids), self._config.batch
        places = range(number * size, (number + 1) * size)
        return [int(_order(self._config.seed, place // n, n)[place % n]) for place in places]

    def _cut(self, sample: dict[str, Tensor], rng: np.random.Generator) -> dict[str, Tensor]:
        side = self._config.crop
        y, x = (int(rng.integers(n - side + 1)) for n in self._window)
        turn = int(rng.integers(8)) if self._config.turns else 0
        return {name: turned(part[..., y : y + side, x : x + side], turn) for name, part in sample.items()}


def without_ignored(label: Tensor, weights: Tensor | None, ignore: int | None) -> tuple[Tensor, Tensor | None]:
    """Return a label as float32 0 or 1, and float32 weights that are 0 where it is ignored; None where all weigh 1.

    Args:
        label: uint8 of any shape.
        weights: of the same shape, or None.
        ignore: the label of pixels that do not count, if there are any.
    """
    weights = None if weights is None else weights.float()
    if ignore is None:
        return label.float(), weights
    counts = (label != ignore).float()
    return label.float() * counts, counts if weights is None else weights * counts


def turned(image: Tensor, turn: int) -> Tensor:
    """Return an image (..., Y, X) in one of the eight ways that a square can lie: a mirror for 4 to 7, then turns."""
    return torch.rot90(image.flip(-2) if turn & 4 else image, turn & 3, (-2, -1))


def turned_back(image: Tensor, turn: int) -> Tensor:
    """Undo `turned`."""
    upright = torch.rot90(image, -(turn & 3), (-2, -1))
    return upright.flip(-2) if turn & 4 else upright


def normalise(image: Tensor, normalisation: Normalisation) -> Tensor:
    """Return gray levels (..., Y, X), or (..., C, Y, X) of several channels, as normalised float32 (..., C, Y, X)."""
    planes = image.float() if normalisation.n_channels > 1 else image.float()[..., None, :, :]
    mean, std = (
        torch.tensor(each, dtype=torch.float32, device=image.device).reshape(-1, 1, 1)
        for each in (normalisation.mean, normalisation.std)
    )
    return (planes - mean) / std


def as_tensor(levels: NDArray[Any]) -> Tensor:
    """Return an array as a tensor: uint8 and float16 as they are, others as float32, which holds 16 bits exactly."""
    kept = levels if levels.dtype in (np.uint8, np.float16) else levels.astype(np.float32)
    return torch.from_numpy(kept if kept.flags.writeable else kept.copy())


def measure_gray(data: ShardDataset) -> Normalisation:
    """Return mean and standard deviation of the samples' gray levels, of each channel."""
    count, total, squares = 0, np.zeros(data.n_channels), np.zeros(data.n_channels)
    for index in range(len(data)):
        levels = data.image(index).astype(np.float64).reshape(data.n_channels, -1)
        count, total, squares = count + levels.shape[1], total + levels.sum(1), squares + np.square(levels).sum(1)
    means = (total / count).tolist()
    stds = [max(square / count - mean * mean, 0.0) ** 0.5 or 1.0 for square, mean in zip(squares, means, strict=True)]
    return Normalisation(tuple(means), tuple(map(float, stds))) if len(means) > 1 else Normalisation(means[0], stds[0])


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
