"""Labels where samples show mirror images of the slice: what a build decides, refuses, records and renders."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_worlds import write_folder

from augment.coordinates import displacement, slice_coordinates, window_offsets
from pipeline.shards.dataset import Dataset, open_dataset
from pipeline.shards.manifest import ManifestRow

Run = Callable[..., Any]
BUILD = ("--n", "6", "--size", "70", "--gap", "0", "--jobs", "1")


@pytest.fixture
def objects(tmp_path: Path) -> Path:
    """A folder with six slices of 40 x 48 px, each full of objects whose ids go from 1 to 20."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 40, 48), np.uint8)
    y, x = np.indices((40, 48))
    ids = np.where((y % 10 < 8) & (x % 10 < 8), 1 + y // 10 * 5 + x // 10, 0).astype(np.uint8)
    return write_folder(tmp_path / "objects", images, np.stack([ids] * 6))


def built(augpipe: Run, objects: Path, out: Path, *options: str) -> dict[str, Any]:
    code, _, err = augpipe("build", objects, "--out", out, *BUILD, *options)
    assert code == 0, err
    record: dict[str, Any] = json.loads((out / "dataset.json").read_text())
    return record


def rows_of(dataset: Dataset) -> Iterator[tuple[int, ManifestRow]]:
    """Yield every sample's row in the manifest, with its place in its split."""
    return (pair for split in dataset for pair in enumerate(dataset[split].manifest))


def test_instances_have_an_id_for_every_mirror_image(tmp_path: Path, augpipe: Run, objects: Path) -> None:
    record = built(augpipe, objects, tmp_path / "d", "--label-kind", "instances")
    assert (record["schema"], record["config"]["margin"]) == ("augpipe/dataset/2", "own")
    assert augpipe("verify", tmp_path / "d", "--replay").code == 0
    dataset, n_mirrored = open_dataset(tmp_path / "d"), 0
    for recipe, label in ((row.recipe, dataset[row.split].labels[k]) for k, row in rows_of(dataset)):
        at = slice_coordinates(window_offsets((70, 70)) + displacement(recipe), recipe, (40, 48))
        tile = np.stack([np.floor(np.floor(q + 0.5) / side) for q, side in zip(at, (40, 48), strict=True)])
        places = {(int(i), *map(int, t)) for i, t in zip(label.ravel(), tile.reshape(2, -1).T, strict=True) if i}
        assert len(places) == len({place[0] for place in places})
        n_mirrored += sum(place[1:] != (0, 0) for place in places)
    assert n_mirrored > 20


def test_shared_is_what_it_was_and_says_so(tmp_path: Path, augpipe: Run, objects: Path) -> None:
    record = built(augpipe, objects, tmp_path / "d", "--label-kind", "instances", "--margin", "shared")
    assert record["schema"] == "augpipe/dataset/1"
    assert "margin" not in record["config"]
    options = ("--out", tmp_path / "e", "--label-kind", "instances", "--margin", "shared", "--dry-run")
    assert "have one id" in augpipe("build", objects, *BUILD, *options).out


def test_classes_share_theirs_and_may_be_ignored(tmp_path: Path, augpipe: Run, objects: Path) -> None:
    assert built(augpipe, objects, tmp_path / "d", "--label-kind", "classes")["schema"] == "augpipe/dataset/1"
    record = built(augpipe, objects, tmp_path / "e", "--label-kind", "classes", "--margin", "ignore")
    assert (record["schema"], record["arrays"]["ignore"]) == ("augpipe/dataset/2", 255)
    assert augpipe("verify", tmp_path / "e", "--replay").code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--margin", "own", "--label-kind", "classes"),
            "margin own: it numbers mirrored objects",
        ),
        (("--margin", "ignore", "--engine", "staged"), "margin ignore: the staged engine does not tell mirror images"),
    ],
)
def test_what_cannot_be_is_refused(augpipe: Run, objects: Path, options: tuple[str, ...], message: str) -> None:
    code, _, err = augpipe("build", objects, *BUILD, *options)
    assert code == 2
    assert message in err


def test_the_staged_engine_shares_ids(tmp_path: Path, augpipe: Run, objects: Path) -> None:
    """It is there to compare with, and does not know where a mirror image begins."""
    options = ("--out", tmp_path / "d", "--label-kind", "instances", "--engine", "staged", "--dry-run")
    assert "have one id" in augpipe("build", objects, *BUILD, *options).out


def test_the_highest_id_is_not_taken_for_what_is_ignored(tmp_path: Path, augpipe: Run) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 40, 48), np.uint8)
    labels = np.arange(6 * 40 * 48).reshape(6, 40, 48) % 34 + 65502
    folder = write_folder(tmp_path / "high", images, labels.astype(np.uint16))
    for margin in ("own", "ignore"):
        code, _, err = augpipe("build", folder, "--out", tmp_path / "d", *BUILD, "--margin", margin)
        assert code == 2
        assert "65535" in err
    assert augpipe("build", folder, "--out", tmp_path / "d", *BUILD).code == 0
    assert open_dataset(tmp_path / "d").record.config.margin == "shared"
