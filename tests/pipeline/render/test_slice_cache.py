"""Prepared slices: each made once, wherever it is kept, and the same bytes in memory and on the disk."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from augment.draw import draw_recipe
from augment.ranges import AugmentRanges
from augment.renderer import prepare_slice, render_prepared
from augment.seeding import Stream
from pipeline.errors import StorageError
from pipeline.render.slice_cache import SliceCache
from pipeline.source.combining import make_source
from pipeline.source.stacks import Source


class Counted:
    """Slices that count how often each is read."""

    def __init__(self, slices: Any) -> None:
        self._slices = slices
        self.shape, self.dtype = slices.shape, slices.dtype
        self.reads: list[int] = []

    def __getitem__(self, z: int) -> NDArray[Any]:
        self.reads.append(z)
        return np.asarray(self._slices[z])

    def __len__(self) -> int:
        return len(self._slices)


@pytest.fixture
def source() -> Source:
    images = np.random.default_rng(0).integers(0, 256, (3, 130, 90), np.uint8)
    return make_source(images, (images > 99).astype(np.uint8), name="noise")


@pytest.mark.parametrize("max_bytes", [0, 20_000, 60_000, 1 << 20])
def test_samples_are_the_same_wherever_slices_are_kept(tmp_path: Path, source: Source, max_bytes: int) -> None:
    """All on the disk; a label in memory; one slice in memory; all of them."""
    cache, stack = SliceCache(source, tmp_path, max_bytes), source.stacks[0]
    for key in range(9):
        z = key % 3
        recipe = draw_recipe(AugmentRanges(), Stream(0, (key,)), window=(70, 160), slice_size=(130, 90))
        with cache.lend(0, z) as prepared:
            sample = render_prepared(prepared, recipe)
        expected = render_prepared(prepare_slice(stack.images[z], stack.labels[z]), recipe)
        assert np.array_equal(sample.image, expected.image)
        assert np.array_equal(sample.label, expected.label)
        assert list(tmp_path.iterdir()) == []  # the files have no name, so that a killed build leaves none


def test_every_slice_is_read_once_by_any_number_of_threads(tmp_path: Path, source: Source) -> None:
    images = Counted(source.stacks[0].images)
    counted = replace(source, stacks=(replace(source.stacks[0], images=images),))
    cache = SliceCache(counted, tmp_path, 60_000)

    def lend(key: int) -> bytes:
        with cache.lend(0, key % 3) as prepared:
            return prepared.coefficients.tobytes()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lend, range(24)))
    assert sorted(images.reads) == [0, 1, 2]
    assert len(set(found)) == 3


def test_a_full_disk_is_an_error_of_one_line(tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with (
        pytest.raises(StorageError, match=r"the disk is full; 0\.1 MB are needed"),
        SliceCache(source, tmp_path, 0).lend(0, 0),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_where_no_space_can_be_reserved_it_is_written(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    with SliceCache(source, tmp_path, 0).lend(0, 1) as prepared:
        found = prepared.coefficients.tobytes()
    with SliceCache(source, tmp_path).lend(0, 1) as prepared:
        assert prepared.coefficients.tobytes() == found
