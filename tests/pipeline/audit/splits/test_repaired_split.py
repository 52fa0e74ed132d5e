"""The file of a repaired split: names that are unambiguous, in an order that is always the same."""

import json
from pathlib import Path

import pytest

from pipeline.audit.splits.regrouping import Join, PlacedFile, regroup
from pipeline.audit.splits.repaired_split import repair_text, split_values, write_split_file
from pipeline.errors import DatasetError

TRAIN, TEST = PlacedFile("train", "a10.png"), PlacedFile("test", "a9.png")
KEPT = PlacedFile("test", "sub/\u00e4.png")
SAME = Join("has the same pixels as", (TRAIN, TEST))
REPAIR = regroup([TRAIN, TEST, KEPT], [SAME])
WRITTEN = {
    "train": ["a9.png", "a10.png"],
    "test": ["sub/\u00e4.png"],
    "moved": [{"file": "a9.png", "from": "test", "to": "train", "because": "has the same pixels as a10.png"}],
}


def test_the_file_says_where_files_go_and_what_moved(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    path.write_text('{"train": [], "test": [], "moved": []}')  # what an audit wrote before is replaced
    write_split_file(path, REPAIR)
    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == WRITTEN
    assert list(json.loads(text)) == ["train", "test", "moved"]
    assert '    "a9.png",\n    "a10.png"\n' in text
    assert "\u00e4" in text
    assert repair_text(path, REPAIR) == f"split: {path} (1 of 3 files moved: 1 test to train)"


def test_nothing_to_repair_is_a_file_all_the_same(tmp_path: Path) -> None:
    repair = regroup([TRAIN, TEST], [])
    write_split_file(tmp_path / "split.json", repair)
    values = {"train": ["a10.png"], "test": ["a9.png"], "moved": []}
    assert json.loads((tmp_path / "split.json").read_text()) == values
    assert repair_text(tmp_path, repair).endswith(" (0 of 2 files moved)")


def test_names_that_are_in_two_folders_say_which_one() -> None:
    """Of all files, so that no name can be that of another file."""
    twin, other = PlacedFile("test", TRAIN.name), PlacedFile("test", "b.png")
    values = split_values(regroup([TRAIN, twin, other], [Join("is", (TRAIN, twin))]))
    assert values["train"] == ["test/a10.png", "train/a10.png"]
    assert values["test"] == ["test/b.png"]
    assert values["moved"][0]["because"] == "is train/a10.png"


def test_a_name_that_is_no_text_is_written(tmp_path: Path) -> None:
    odd = PlacedFile("test", "\udcff.png")
    write_split_file(tmp_path / "split.json", regroup([TRAIN, odd], []))
    assert json.loads((tmp_path / "split.json").read_bytes())["test"] == [odd.name]


def test_a_split_that_would_be_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"split\.json: not written, because no file would be left in test"):
        write_split_file(tmp_path / "split.json", regroup([TRAIN, TEST], [SAME]))
    assert not (tmp_path / "split.json").exists()
