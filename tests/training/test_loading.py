"""A batch is decided by its number: whatever holds the samples, and wherever a run begins."""

import itertools
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import ConfigError
from training import loading
from training.config import FitConfig
from training.dataset import ShardDataset
from training.loading import (
    Batch,
    Batches,
    Normalisation,
    measure_gray,
    normalise,
    open_store,
    turned,
    turned_back,
)

CPU = torch.device("cpu")
PLAIN = Normalisation(0.0, 1.0)


class Drawn:
    """Samples made by hand: image 2, 3, ... everywhere different, its label odd, and its weight the same again."""

    weights = "unet2015"
    image_dtype = np.dtype(np.uint16)
    ignore = None
    n_channels = 1

    def __init__(self, n: int = 7, window: tuple[int, int] = (6, 9)) -> None:
        self.window, self.ids = window, tuple(f"s{index}" for index in range(n))

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> NDArray[np.uint16]:
        return (100 * index + np.arange(np.prod(self.window)).reshape(self.window)).astype(np.uint16)

    def __getitem__(self, index: int) -> dict[str, NDArray[Any]]:
        image = self.image(index)
        return {
            "image": image, "label": (image % 2).astype(np.uint8), "weights": (image % 1024).astype(np.float16)
        }  # fmt: skip


def batches_of(data, loader="lazy", *, batch=3, crop=4, turns=True, seed=0, normalisation=PLAIN, device=CPU) -> Batches:
    config = FitConfig(batch=batch, crop=crop, turns=turns, seed=seed)
    return Batches(open_store(data, loader, device), data, config, normalisation, device)


def assert_equal(one: Batch, other: Batch) -> None:
    assert one.ids == other.ids
    for name in ("image", "label", "weights"):
        ours, theirs = getattr(one, name), getattr(other, name)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert ours.dtype == theirs.dtype
            assert torch.equal(ours.cpu(), theirs.cpu())


# The same batches everywhere


@pytest.mark.parametrize("weights", ["none", "unet2015"])
@pytest.mark.parametrize("folder", ["phantom_dataset", "phantom_with_weights", "phantom_16_bit"])
def test_every_tier_yields_the_same_batches(request: pytest.FixtureRequest, folder: str, weights: str) -> None:
    data = ShardDataset(request.getfixturevalue(folder), "train", [0, 5, 9, 17], weights=weights)
    measured = measure_gray(data)
    tiers = {
        tier: batches_of(data, tier, crop=64, normalisation=measured) for tier in ("lazy", "host", "device", "auto")
    }
    kept = {tier: batches.store.tier for tier, batches in tiers.items()}
    assert kept == {"lazy": "lazy", "host": "host", "device": "host", "auto": "host"}
    for number in range(4):
        first = tiers["lazy"][number]
        assert (first.weights is None) == (weights == "none")
        for batches in tiers.values():
            assert_equal(batches[number], first)


@pytest.mark.gpu
@pytest.mark.parametrize("weights", ["none", "unet2015"])
def test_a_cuda_device_yields_the_same_batches(phantom_with_weights: Path, weights: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device here")
    data = ShardDataset(phantom_with_weights, "train", weights=weights)
    measured = measure_gray(data)
    host = batches_of(data, "host", crop=64, normalisation=measured)
    for tier in ("device", "host", "lazy", "auto"):
        batches = batches_of(data, tier, crop=64, normalisation=measured, device=torch.device("cuda"))
        for number in range(6):
            assert batches[number].image.device.type == "cuda"
            assert_equal(batches[number], host[number])
    assert batches.store.tier == "device"


@pytest.mark.parametrize("loader", ["lazy", "host"])
def test_a_stream_is_the_batches_one_by_one(loader: str) -> None:
    batches = batches_of(Drawn(), loader)
    streamed = list(batches.stream(2, 9))
    assert len(streamed) == 7
    for number, batch in enumerate(streamed, start=2):
        assert_equal(batch, batches[number])
    assert list(batches.stream(4, 4)) == []


def test_a_stream_that_is_left_early_harms_nothing() -> None:
    batches = batches_of(Drawn())
    stream = batches.stream(0, 9)
    first = next(stream)
    stream.close()
    assert_equal(first, next(batches.stream(0, 9)))


def test_batches_do_not_depend_on_those_before() -> None:
    ones, others = batches_of(Drawn()), batches_of(Drawn())
    backwards = [ones[number] for number in reversed(range(8))]
    np.random.default_rng(0).random(9)
    torch.rand(5)
    for number, batch in enumerate(reversed(backwards)):
        assert_equal(others[number], batch)


@pytest.mark.parametrize(("n", "batch"), [(7, 3), (6, 3), (2, 5), (1, 1), (18, 5)])
def test_every_pass_shows_every_sample_once(n: int, batch: int) -> None:
    batches = batches_of(Drawn(n), batch=batch)
    shown = list(itertools.chain.from_iterable(batches[number].ids for number in range(4 * n)))
    passes = [shown[first : first + n] for first in range(0, 4 * n * batch - n + 1, n)]
    assert len(passes) >= 4
    for names in passes:
        assert sorted(names) == sorted(batches.ids)
    if n > 5:
        assert len(set(map(tuple, passes))) > 1  # each in an order of its own


def test_seeds_differ() -> None:
    one, other = (batches_of(Drawn(18), batch=18, seed=seed)[0] for seed in (0, 1))
    assert one.ids != other.ids
    assert sorted(one.ids) == sorted(other.ids)
    lone, another = (batches_of(Drawn(1), batch=8, seed=seed)[0] for seed in (0, 1))
    assert not torch.equal(lone.image, another.image)  # places and turns differ too
    assert_equal(batches_of(Drawn(), seed=2**63 - 1)[0], batches_of(Drawn(), seed=2**63 - 1)[0])


# Crops and turns


@given(number=st.integers(0, 500), crop=st.integers(1, 6), seed=st.integers(0, 9))
@settings(max_examples=40)
def test_a_crop_lies_in_its_sample_with_label_and_weight_at_the_same_place(number: int, crop: int, seed: int) -> None:
    data = Drawn()
    batch = batches_of(data, crop=crop, seed=seed)[number]
    assert batch.image.shape == (3, 1, crop, crop)
    assert batch.label.shape == batch.weights.shape == (3, crop, crop)
    assert batch.image.dtype == batch.label.dtype == batch.weights.dtype == torch.float32
    assert torch.equal(batch.label, batch.image[:, 0] % 2)
    assert torch.equal(batch.weights, batch.image[:, 0] % 1024)
    for name, image in zip(batch.ids, batch.image[:, 0], strict=True):
        sample = torch.from_numpy(data.image(data.ids.index(name)).astype(np.float32))
        top, left = ((sample == image.min()).nonzero()[0]).tolist()  # numbers grow to the right and downwards
        cut = sample[top : top + crop, left : left + crop]
        assert any(torch.equal(turned(cut, turn), image) for turn in range(8))


def test_crops_reach_every_place_and_every_turn() -> None:
    batches = batches_of(Drawn(1), batch=50)
    seen = {tuple(crop.flatten().int().tolist()) for number in range(40) for crop in batches[number].image}
    assert len(seen) == 3 * 6 * 8  # places down, places across, turns


def test_crops_of_the_whole_sample_stay_where_they_are() -> None:
    data = Drawn(3, (6, 6))
    batch = batches_of(data, crop=6, turns=False)[0]
    for name, image in zip(batch.ids, batch.image[:, 0], strict=True):
        assert np.array_equal(image.numpy(), data.image(data.ids.index(name)))


def test_the_eight_turns_differ_and_are_undone() -> None:
    image = torch.arange(9).reshape(3, 3)
    views = [turned(image, turn) for turn in range(8)]
    assert len({tuple(view.flatten().tolist()) for view in views}) == 8
    assert torch.equal(views[0], image)
    assert views[1].tolist() == [[2, 5, 8], [1, 4, 7], [0, 3, 6]]
    assert views[4].tolist() == [[6, 7, 8], [3, 4, 5], [0, 1, 2]]
    for turn, view in enumerate(views):
        assert torch.equal(turned_back(view, turn), image)
    oblong = torch.arange(24).reshape(2, 3, 4)  # and (..., Y, X), with channels before
    for turn in range(8):
        assert torch.equal(turned_back(turned(oblong, turn), turn), oblong)


def test_crops_larger_than_the_samples_are_refused() -> None:
    with pytest.raises(ConfigError, match="crops of 7 px do not fit samples of 6 x 9 px; --set crop=0 takes"):
        batches_of(Drawn(), crop=7)


# Gray levels


@pytest.mark.parametrize("loader", ["lazy", "host"])
def test_16_bits_arrive_exactly(phantom_16_bit: Path, loader: str) -> None:
    data = ShardDataset(phantom_16_bit, "train", [4])
    assert data.image_dtype == np.uint16
    batch = batches_of(data, loader, batch=1, crop=108, turns=False)[0]
    image = data[0]["image"]
    assert image.max() > 255
    assert len(np.unique(image % 256)) > 100  # low bits that eight would lose
    assert np.array_equal(batch.image[0, 0].numpy(), image)


def test_gray_levels_are_measured_over_all_samples(phantom_dataset: Path, phantom_16_bit: Path) -> None:
    for folder in (phantom_dataset, phantom_16_bit):
        data = ShardDataset(folder, "train", [0, 7, 16])
        images = np.stack([sample["image"] for sample in data]).astype(np.float64)
        measured = measure_gray(data)
        assert measured.mean == pytest.approx(images.mean(), rel=1e-12)
        assert measured.std == pytest.approx(images.std(), rel=1e-9)
        normal = normalise(torch.from_numpy(images), measured)
        assert normal.dtype == torch.float32
        assert abs(normal.mean().item()) < 1e-3
        assert abs(normal.std().item() - 1) < 1e-3


def test_images_of_one_gray_level_do_not_divide_by_zero() -> None:
    class Flat(Drawn):
        def image(self, _index: int) -> NDArray[np.uint16]:
            return np.full(self.window, 70, np.uint16)

    assert measure_gray(Flat()) == Normalisation(70.0, 1.0)


def test_normalise_by_hand() -> None:
    shown = normalise(torch.tensor([[10, 14]], dtype=torch.uint8), Normalisation(12.0, 2.0))
    assert shown.tolist() == [[[-1.0, 1.0]]], "a channel is added"
    channels = torch.tensor([[[10, 14]], [[3, 5]]], dtype=torch.uint8)
    shown = normalise(channels, Normalisation((12.0, 3.0), (2.0, 4.0)))
    assert shown.tolist() == [[[-1.0, 1.0]], [[0.0, 0.5]]]


# Choosing


def with_memory(monkeypatch: pytest.MonkeyPatch, n_bytes: int) -> None:
    monkeypatch.setattr(loading, "_free_memory", lambda: n_bytes)


def test_free_memory_is_what_linux_says_and_elsewhere_all_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "MemTotal: 90 kB\nMemFree: 10 kB\nMemAvailable: 50 kB\n")
    assert loading._free_memory() == 50 * 1024
    for told in ("MemTotal: 90 kB\n", "MemAvailable: much\n"):
        monkeypatch.setattr(Path, "read_text", lambda *_, told=told, **__: told)
        assert loading._free_memory() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_auto_reads_lazily_where_memory_is_small_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, phantom_dataset: Path
) -> None:
    data = ShardDataset(phantom_dataset, "train")
    n_bytes = 18 * 108 * 108 * 2  # image and label; half of what is free may be taken
    with caplog.at_level(logging.INFO, logger=loading.log.name):
        with_memory(monkeypatch, 2 * n_bytes)
        assert open_store(data, "auto", CPU).tier == "host"
        with_memory(monkeypatch, 2 * n_bytes - 1)
        assert open_store(data, "auto", CPU).tier == "lazy"
        assert open_store(data, "host", CPU).tier == "host"  # who asks for it gets it
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split(",")[0] for message in messages] == ["loader: host", "loader: lazy", "loader: host"]
    assert all("18 samples" in message for message in messages)


@pytest.mark.parametrize(
    ("folder", "weights", "bytes_a_pixel"),
    [("phantom_dataset", "none", 2), ("phantom_with_weights", "unet2015", 4), ("phantom_16_bit", "none", 5)],
)
def test_what_a_store_takes_is_what_was_reckoned(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, folder: str, weights: str, bytes_a_pixel: int
) -> None:
    data = ShardDataset(request.getfixturevalue(folder), "train", [0, 1], weights=weights)
    store = open_store(data, "host", CPU)
    assert store.read(0)["image"] is store.read(0)["image"]  # it was read once, and is kept
    n_bytes = sum(part.numel() * part.element_size() for index in (0, 1) for part in store.read(index).values())
    assert n_bytes == 2 * 108 * 108 * bytes_a_pixel
    for free, tier in ((2 * n_bytes, "host"), (2 * n_bytes - 1, "lazy")):
        with_memory(monkeypatch, free)
        assert open_store(data, "auto", CPU).tier == tier


def test_a_device_with_room_is_preferred_and_one_without_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a pretended CUDA device, since the choice is made before anything is put there."""
    cuda, data, n_bytes = torch.device("cuda"), Drawn(), 7 * 6 * 9 * 7
    homes: list[str] = []
    monkeypatch.setattr(Tensor, "to", lambda part, home: homes.append(home.type) or part)
    for free, tier in ((2 * n_bytes, "device"), (2 * n_bytes - 1, "host")):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device, free=free: (free, free))
        assert open_store(data, "auto", cuda).tier == tier
        assert homes.pop() == {"device": "cuda", "host": "cpu"}[tier]
    with pytest.raises(ConfigError, match="--loader device: 0 MB do not fit the free memory of cuda"):
        open_store(data, "device", cuda)
    assert open_store(data, "host", cuda).tier == "host"
    assert homes.pop() == "cpu"
