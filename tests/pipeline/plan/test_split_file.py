"""Split files of several makes say the same, and what they get wrong is told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_worlds import build_small, small_source, small_stack

from pipeline.errors import ConfigError
from pipeline.plan.split_file import read_split_file
from pipeline.source.stacks import RawStack, Source, combine

PICTURE = ("TTTTTTTT.EEE",)
TRAIN, TEST = [*range(8)], [9, 10, 11]
CASES = [f"case_{z:02}" for z in range(12)]


def named_source() -> Source:
    """Return the small stack as twelve files."""
    return combine([RawStack(*small_stack(), names=tuple(f"{case}_0000" for case in CASES))], name="x")


def three_stacks() -> Source:
    images, labels = small_stack()
    parts = [slice(0, 4), slice(4, 8), slice(8, 12)]
    return combine(
        [RawStack(images[part], labels[part], names=(f"scan{k}",)) for k, part in enumerate(parts)], name="x"
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "splits.json"


@pytest.mark.parametrize(
    "content",
    [
        ["TTTTTTTT.EEE"],
        {"train": TRAIN, "test": TEST},
        {"train": [{"stack": 0, "z": TRAIN}], "test": [{"stack": 0, "z": [9, 10]}, 11], "unused": [8]},
    ],
)
def test_our_own_forms(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))
    assert read_split_file(path, small_source()) == PICTURE


def test_the_split_of_another_dataset(tmp_path: Path) -> None:
    build_small(tmp_path / "d")
    assert read_split_file(tmp_path / "d" / "dataset.json", small_source()) == PICTURE


def test_folds_of_nnu_net(path: Path) -> None:
    """Cases are file names without the channel's number; what nnU-Net validates on is our val."""
    folds = [{"train": CASES[4:], "val": CASES[:4]}, {"train": CASES[:8], "val": CASES[8:]}]
    path.write_text(json.dumps(folds))
    assert read_split_file(path, named_source()) == ("VVVVTTTTTTTT",)
    assert read_split_file(path, named_source(), fold=1) == ("TTTTTTTTVVVV",)
    with pytest.raises(ConfigError, match="fold: expected 0 to 1"):
        read_split_file(path, named_source(), fold=2)
    path.write_text(json.dumps({"train": TRAIN, "test": TEST}))
    with pytest.raises(ConfigError, match="has no folds"):
        read_split_file(path, named_source(), fold=1)


def test_a_case_that_is_a_stack_is_all_its_slices(path: Path) -> None:
    path.write_text(json.dumps([{"train": ["scan0", "scan2"], "val": ["scan1"]}]))
    assert read_split_file(path, three_stacks()) == ("TTTT", "VVVV", "TTTT")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "expected a split file in JSON"),
        ({}, "expected nnU-Net's list of folds"),
        ([], "expected nnU-Net's list of folds"),
        (3, "expected nnU-Net's list of folds"),
        ({"trian": [1]}, "expected nnU-Net's list of folds"),
        ({"train": [12]}, "slice 12 of stack 0, which the source does not have"),
        ({"train": [-1]}, "slice -1 of stack 0"),
        ({"train": [{"stack": 1, "z": [0]}]}, "slice 0 of stack 1"),
        ({"train": [1], "test": [1]}, "slice 1 of stack 0 is in two splits"),
        ({"train": [1.5]}, "expected slice numbers"),
        ({"train": [True]}, "expected slice numbers"),
        ({"train": [{"stack": 0}]}, "expected slice numbers"),
        ({"train": "all"}, "expected slice numbers"),
        ([{"train": ["case_3"], "val": ["case_04"]}], "did you mean case_03"),
        ([{"train": [["case_03"]]}], "names the case"),
        ([{"train": "case_03"}], "a fold with lists of cases"),
        ([{"fold": ["case_03"]}], "a fold with lists of cases"),
    ],
)
def test_what_is_wrong_is_told(path: Path, content: Any, words: str) -> None:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ConfigError, match=words) as caught:
        read_split_file(path, named_source())
    assert "splits.json" in str(caught.value)


def test_plain_numbers_need_a_single_stack(path: Path) -> None:
    path.write_text(json.dumps({"train": [0], "test": [3]}))
    with pytest.raises(ConfigError, match="expected slice numbers in a list"):
        read_split_file(path, three_stacks())


def test_no_file_is_a_question_of_use(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_split_file(tmp_path / "none.json", small_source())


def test_the_same_slice_may_be_named_twice_in_one_split(path: Path) -> None:
    path.write_text(json.dumps({"train": [0, 0, 1], "test": [5]}))
    assert read_split_file(path, small_source()) == ("TT...E......",)
    assert np.array_equal(small_source().stacks[0].images, small_stack()[0])
