"""Samples that gain and bias made black or white are counted, and only these."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_worlds import small_config, small_stack

from augment.ranges import AugmentRanges
from pipeline.build.builder import build_dataset
from pipeline.render.clipping import ClippingCount, clipped_share
from pipeline.shards.progress import SilentProgress
from pipeline.source.combining import make_source

BRIGHTER = AugmentRanges(gain=(1.0, 1.0), bias=(200.0, 200.0))


class Notes(SilentProgress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.parametrize(
    ("levels", "dtype", "share"),
    [([0, 255, 1, 254], "uint8", 0.5), ([0, 255, 65535, 9], "uint16", 0.5), ([-32768, 0, 0, 32767], "int16", 0.5)],
)
def test_the_lowest_and_the_highest_level_count(levels: list[int], dtype: str, share: float) -> None:
    assert clipped_share(np.array(levels, dtype)) == share


def test_a_slice_that_is_so_itself_is_not_clipped() -> None:
    half = np.repeat(np.array([0, 100], np.uint8), 50)
    count = ClippingCount(BRIGHTER, lambda _stack, _z: half)
    count.look(0, 0, half)
    assert count.n == 0
    count.look(0, 0, np.zeros(100, np.uint8))
    assert count.n == 1


@pytest.mark.parametrize(("ranges", "n_noted"), [(BRIGHTER, 12), (AugmentRanges(), 0)])
def test_a_build_says_how_many_samples_are_clipped(tmp_path: Path, ranges: Any, n_noted: int) -> None:
    images, labels = small_stack()
    progress = Notes()
    source = make_source(np.clip(images, 80, 240), labels, name="x")
    build_dataset(source, small_config(ranges=ranges), out=tmp_path / "d", jobs=2, progress=progress)
    assert [note.split(" are ")[0] for note in progress.notes] == [f"note: {n} of 12 samples" for n in [n_noted] if n]
