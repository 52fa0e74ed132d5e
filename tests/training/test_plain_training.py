"""What masks leave out counts in no loss and no score, and a plain split is scored pixel by pixel, each once."""

from pathlib import Path

import numpy as np
import pytest
from small_datasets import build_phantom, phantom_stack
from small_runs import fit_small

from pipeline.errors import DatasetError
from pipeline.shards import open_dataset
from pipeline.source.tiff import write_stack
from training.dataset import ShardDataset
from training.evaluation import evaluate

PLAIN = {"size": (72, 108), "val": 0.2, "plain": ("val", "test")}  # four tiles of 128 x 120: two rows, two columns


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_phantom(tmp_path_factory.mktemp("plain") / "d", **PLAIN)


@pytest.mark.parametrize("split", ["train", "val"])
def test_masked_pixels_are_ignored_and_have_no_weight(tmp_path: Path, split: str) -> None:
    dataset = build_phantom(tmp_path / "d", n=8, size=(140, 108), margin="mask", weights="unet2015", val=0.2)
    stored, data = open_dataset(dataset)[split], ShardDataset(dataset, split, weights="unet2015")
    assert stored.masks is not None
    assert data.ignore == 255
    for index in range(len(data)):
        sample, masked = data[index], stored.masks[index] == 0
        assert masked.any()
        assert np.array_equal(sample["label"], np.where(masked, 255, stored.labels[index] > 0))
        assert np.array_equal(sample["weights"] == 0, masked)


def test_weights_that_are_computed_are_those_that_are_stored(tmp_path: Path) -> None:
    one, other = (build_phantom(tmp_path / kind, n=3, weights=kind, plain=("test",)) for kind in ("unet2015", "none"))
    stored, computed = (ShardDataset(each, "test", weights="unet2015")[3]["weights"] for each in (one, other))
    assert np.array_equal(stored, computed)


def test_a_plain_split_is_its_slices_again(plain: Path) -> None:
    data, (images, labels) = ShardDataset(plain, "test"), phantom_stack()
    assert (len(data), len(data.firsts), data.is_plain) == (12, 3, True)
    for z, found in zip((9, 10, 11), data.slices(), strict=True):
        assert np.array_equal(found["image"], images[z])
        assert np.array_equal(found["label"], labels[z] > 0)


def test_tiles_that_are_not_all_there_are_refused(plain: Path) -> None:
    data = ShardDataset(plain, "test", rows=[0, 1, 3])
    with pytest.raises(DatasetError, match="slice 9 of stack 0 has pixels that no sample counts"):
        next(data.slices())


def test_scores_of_a_plain_split_are_those_of_its_slices(tmp_path: Path, plain: Path) -> None:
    """Whatever the network takes: each pixel counts once, with all that lies around it in the slice."""
    run = fit_small(plain, tmp_path / "run").folder
    found = evaluate(run, plain, "test")
    images, labels = (tmp_path / f"{name}.tif" for name in ("images", "labels"))
    for path, pixels in zip((images, labels), phantom_stack(), strict=True):
        write_stack(path, pixels)
    whole = evaluate(run, plain, "test", images=images, labels=labels)
    assert (found.shown, whole.shown) == ("plain slices", "whole slices")
    assert found.scores == whole.scores
    assert evaluate(run, plain, "train").shown == "augmented samples"
