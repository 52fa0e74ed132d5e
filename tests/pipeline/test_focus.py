"""Training samples that show a place, or enough foreground: what is drawn, recorded, checked and refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_worlds import OPTIONS, names, read_rows, seal, small_stack, write_folder, write_rows

from augment.draw import look_at
from augment.recipe import Recipe
from pipeline.shards.dataset import open_dataset
from pipeline.verify.verification import verify_dataset

Run = Callable[..., Any]
SIZE = (160, 150)
OBJECT = (slice(140, 143), slice(3, 6))
BUILD = ("--n", "30", "--size", "24x31", "--gap", "0", "--shard-size", "8", "--label-kind", "instances", "--flip")
FOCUS = ("--focus", "object", "--focus-share", "0.5")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six slices of 160 x 150 px, each with one object of nine pixels; that of the second is alone in the stack."""
    images = np.random.default_rng(0).integers(0, 256, (6, *SIZE), np.uint8)
    labels = np.zeros(images.shape, np.uint8)
    labels[(slice(None), *OBJECT)] = np.array([7, 9, 7, 7, 7, 7], np.uint8)[:, None, None]
    return write_folder(tmp_path_factory.mktemp("source") / "objects", images, labels)


@pytest.fixture(scope="module")
def focused(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """Built with a focus on objects; tests only read it."""
    from pipeline.cli import main

    out = tmp_path_factory.mktemp("built") / "d"
    assert main(["build", str(folder), "--out", str(out), "--quiet", *BUILD, *FOCUS]) == 0
    return out


def is_focused(row: dict[str, Any]) -> bool:
    return "place" in row["recipe"]


def forge(folder: Path, split: str, change: Callable[[dict[str, Any]], Any], *, focused: bool) -> None:
    """Change the first recipe of a split that shows a place, or shows none, and make all digests agree again."""
    rows = read_rows(folder)
    row = next(row for row in rows if row["split"] == split and is_focused(row) == focused)
    row["recipe"] = change(row["recipe"]) or row["recipe"]
    write_rows(folder, rows)
    seal(folder)


def another_place(values: dict[str, Any]) -> dict[str, Any]:
    recipe = look_at(Recipe.from_json(values), (11, 12), SIZE)
    made: dict[str, Any] = json.loads(json.dumps(recipe.to_json()))
    return made


def test_every_sample_that_looks_for_an_object_shows_it(focused: Path) -> None:
    dataset, rows = open_dataset(focused), read_rows(focused)
    record = json.loads((focused / "dataset.json").read_bytes())
    assert (record["schema"], record["config"]["focus"]) == ("augpipe/dataset/2", "object")
    train = [row for row in rows if row["split"] == "train"]
    assert sum(map(is_focused, train)) == len(train) // 2
    assert not any(is_focused(row) for row in rows if row["split"] != "train")
    for row in filter(is_focused, train):
        label = dataset["train"].labels[train.index(row)]
        assert label[12, 15] == (9 if row["z"] == 1 else 7)
        assert row["recipe"]["place"][0] in range(140, 143)
    assert sum(dataset["train"].labels[k].any() for k, row in enumerate(train) if not is_focused(row)) < len(train) / 4


def test_the_other_samples_are_what_they_were_and_more_are_only_appended(
    tmp_path: Path, augpipe: Run, folder: Path, focused: Path
) -> None:
    few = read_rows(focused)
    assert augpipe("build", folder, "--out", tmp_path / "plain", *BUILD).code == 0
    for row, plain in zip(few, read_rows(tmp_path / "plain"), strict=True):
        own = {"shift_px": plain["recipe"]["shift_px"]} if is_focused(row) else {}
        assert {**row["recipe"], **own} == {**plain["recipe"], **({"place": row["recipe"]["place"]} if own else {})}
    assert augpipe("build", folder, "--out", tmp_path / "many", *BUILD, *FOCUS, "--n", "47").code == 0
    recipes = {row["id"]: row["recipe"] for row in read_rows(tmp_path / "many")}
    assert all(recipes[row["id"]] == row["recipe"] for row in few)


def test_a_sample_is_shown_with_its_place(augpipe: Run, focused: Path) -> None:
    row = next(filter(is_focused, read_rows(focused)))
    y, x = row["recipe"]["place"]
    assert f"{y}, {x} (y, x) of the slice, in the centre pixel" in augpipe("show", focused, row["id"]).out
    assert "object, in the centre of 50% of train" in augpipe("show", focused).out


def test_a_rebuild_in_more_threads_has_the_same_bytes(
    tmp_path: Path, augpipe: Run, folder: Path, focused: Path
) -> None:
    rebuilt = augpipe("rebuild", focused, "--source", folder, "--out", tmp_path / "d", "--jobs", "3")
    assert rebuilt.code == 0, rebuilt.err
    assert augpipe("verify", tmp_path / "d", "--replay", "--source", folder).code == 0


@pytest.mark.parametrize(
    ("split", "on_focused", "change"),
    [
        ("train", True, lambda recipe: recipe.update(place=[1, 2])),
        ("train", True, lambda recipe: recipe.update(place=[160, 2])),
        ("train", True, lambda recipe: recipe.update(shift_px=[0.0, 0.0])),
        ("train", True, lambda recipe: recipe.update(attempt=1)),
        ("train", False, another_place),
        ("test", False, another_place),
    ],
)
def test_what_needs_no_labels_is_checked_without_them(
    tmp_path: Path, focused: Path, split: str, on_focused: bool, change: Callable[[dict[str, Any]], Any]
) -> None:
    forged = Path(shutil.copytree(focused, tmp_path / "d"))
    forge(forged, split, change, focused=on_focused)
    (finding,) = verify_dataset(forged, jobs=1).findings
    assert "is not the sample that the seed and the split put there" in finding


def test_a_place_that_the_labels_do_not_give_is_found_with_the_source(
    tmp_path: Path, folder: Path, focused: Path
) -> None:
    forged = Path(shutil.copytree(focused, tmp_path / "d"))
    forge(forged, "train", another_place, focused=True)
    assert not verify_dataset(forged, jobs=1).findings
    found = verify_dataset(forged, replay=True, source_folder=folder, jobs=1).findings
    assert any("is not the one that the seed and the source's labels give" in finding for finding in found)


def test_samples_with_too_little_foreground_are_drawn_again(tmp_path: Path, augpipe: Run) -> None:
    stack = write_folder(tmp_path / "small", *small_stack())
    options = (*OPTIONS, "--size", "20", "--focus", "class", "--margin", "ignore")
    enough = ("--min-foreground", "0.8")
    assert augpipe("build", stack, "--out", tmp_path / "plain", *options).code == 0
    made = augpipe("build", stack, "--out", tmp_path / "d", *options, *enough)
    assert made.code == 0, made.err
    rows, plain = read_rows(tmp_path / "d"), read_rows(tmp_path / "plain")
    attempts = [row["recipe"].get("attempt", 0) for row in rows if row["split"] == "train"]
    assert 0 < max(attempts) < 64
    for dataset in map(open_dataset, (tmp_path / "d", tmp_path / "plain")):
        shares = [np.count_nonzero(label == 1) / label.size for label in dataset["train"].labels]
        is_enough = [share >= 0.8 for share in shares]
        assert is_enough == ([True] * len(shares) if dataset.folder.name == "d" else [not k for k in attempts])
    same = [row["recipe"] == other["recipe"] for row, other in zip(rows, plain, strict=True)]
    assert same == [*(not k for k in attempts), *[True] * (len(rows) - len(attempts))]
    assert augpipe("rebuild", tmp_path / "d", "--source", stack, "--out", tmp_path / "e", "--jobs", "3").code == 0
    assert augpipe("verify", tmp_path / "d", "--replay", "--source", stack).code == 0
    number = next(k for k, attempt in enumerate(attempts) if attempt)
    rows[number]["recipe"] = plain[number]["recipe"]
    write_rows(tmp_path / "d", rows)
    seal(tmp_path / "d")
    assert not verify_dataset(tmp_path / "d", jobs=1).findings
    (finding,) = verify_dataset(tmp_path / "d", replay=True, source_folder=stack, jobs=1).findings
    assert "is not the one that the seed and the source's labels give" in finding
    rows[number]["recipe"] |= {"attempt": 1}
    write_rows(tmp_path / "d", rows)
    seal(tmp_path / "d")
    (finding,) = verify_dataset(tmp_path / "d", jobs=1).findings
    assert "is not the sample that the seed and the split put there" in finding


def test_where_nothing_fits_nothing_is_left(tmp_path: Path, augpipe: Run, folder: Path) -> None:
    code, _, err = augpipe("build", folder, "--out", tmp_path / "d", *BUILD, "--jobs", "1", "--min-foreground", "0.9")
    assert code == 2
    assert err.splitlines()[-1].endswith(
        "none of 64 windows of slice 0 of stack 0 shows so much foreground; ask for less, or use --focus foreground"
    )
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--focus", "class"), "focus class: instances are all of one class"),
        (("--focus-share", "0.5"), "focus-share: it goes with focus foreground, class or object"),
        (("--focus", "object", "--focus-share", "0"), "focus-share: expected a fraction above 0"),
        (("--min-foreground", "1"), "min-foreground: expected a fraction from 0 to below 1, got 1"),
    ],
)
def test_what_cannot_be_is_refused(augpipe: Run, folder: Path, options: tuple[str, ...], message: str) -> None:
    code, _, err = augpipe("build", folder, *BUILD, *options, "--dry-run")
    assert (code, message in err) == (2, True)


def test_slices_without_foreground_are_drawn_as_they_come_or_refused(tmp_path: Path, augpipe: Run) -> None:
    images = np.random.default_rng(1).integers(0, 256, (6, 40, 40), np.uint8)
    labels = np.zeros(images.shape, np.uint8)
    labels[(0, 5), 3:7, 3:7] = 1
    folder = write_folder(tmp_path / "some", images, labels)
    made = augpipe("build", folder, "--out", tmp_path / "d", *BUILD, *FOCUS)
    assert "focus: 4 of 5 slices of train show no foreground; their windows lie anywhere" in made.out
    assert {row["z"] for row in read_rows(tmp_path / "d") if is_focused(row)} == {0}
    refused = augpipe("build", folder, "--out", tmp_path / "e", *BUILD, "--min-foreground", "0.01")
    assert (refused.code, "slice 1 of stack 0 shows no foreground, as 4 of 5" in refused.err) == (2, True)
