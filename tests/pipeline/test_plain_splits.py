"""Plain splits: the slices' own pixels in tiles, each counted once, beside splits that stay as they are."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.shards.dataset import Dataset
from pipeline.shards.manifest import ManifestRow
from pipeline.source.stacks import Source
from pipeline.verify.verification import verify_dataset
from tests.small_worlds import build_small, small_source


def counted_pixels(dataset: Dataset, split: str, source: Source) -> dict[tuple[int, int], NDArray[np.int64]]:
    """Return how often each pixel of each slice of a split counts, having held those that do against the source's."""
    images, labels, masks = dataset[split].images, dataset[split].labels, dataset[split].masks
    assert masks is not None
    counts: dict[tuple[int, int], NDArray[np.int64]] = {}
    for k, row in enumerate(dataset[split].manifest):
        stack = source.stacks[row.stack]
        mask = masks[k] == 1
        rows, columns = (np.argwhere(mask) + np.array(row.recipe.slice_corner(stack.slice_size))).T
        assert images[k][mask].tobytes() == stack.images[row.z][rows, columns].tobytes()
        assert np.array_equal(labels[k][mask], stack.labels[row.z][rows, columns])
        count = counts.setdefault((row.stack, row.z), np.zeros(stack.slice_size, np.int64))
        count[rows, columns] += 1
    return counts


def rows_of(dataset: Dataset, split: str) -> list[ManifestRow]:
    return list(dataset[split].manifest)


@pytest.mark.parametrize("window", [(40, 36), (30, 100), (80, 90)])
def test_a_plain_test_is_the_source_and_train_stays_as_it_is(tmp_path: Path, window: tuple[int, int]) -> None:
    usual = build_small(tmp_path / "usual", size=window, val=0.1).dataset
    plain = build_small(tmp_path / "plain", size=window, val=0.1, plain=("test",)).dataset
    assert usual is not None
    assert plain is not None
    for split in ("train", "val"):
        assert rows_of(plain, split) == rows_of(usual, split)
    counts = counted_pixels(plain, "test", small_source())
    assert {z for _, z in counts} == {z for part in plain.record.split.slices["test"] for z in part.z}
    assert all((count == 1).all() for count in counts.values())
    assert plain.record.arrays.masks == ("test",)
    assert plain.record.split.samples["test"] == len(plain["test"]) == plain.n - len(plain["train"]) - len(plain["val"])
    assert (plain["train"].masks, plain.record.schema) == (None, "augpipe/dataset/2")
    assert verify_dataset(plain, source=small_source()).findings == ()
