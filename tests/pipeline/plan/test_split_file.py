"""Split files of several makes say the same, and what they get wrong is told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_worlds import build_small, small_source, small_stack

from pipeline.audit.splits.regrouping import Join, PlacedFile, regroup
from pipeline.audit.splits.repaired_split import write_split_file
from pipeline.errors import ConfigError
from pipeline.plan.split_file import read_split_file
from pipeline.source.combining import combine
from pipeline.source.readers import read_pairs
from pipeline.source.stacks import RawStack, Source
from pipeline.source.tiff import write_stack

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
    path.write_text(json.dumps([{"train": [f"raw/{case}.nii.gz" for case in CASES[4:]], "val": CASES[:4]}]))
    assert read_split_file(path, named_source()) == ("VVVVTTTTTTTT",)
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
        ({"train": ["case_3.png"]}, "names 'case_3.png', which is not in the source; did you mean case_03_0000?"),
        ({"train": ["case_03_0001.tif"]}, "did you mean case_03_0000?"),
        ({"train": ["case_03", "case_03.tif"]}, "'case_03' and 'case_03.tif' are the same file of the source"),
        ({"train": ["a/case_03.tif"], "test": ["b/case_03.tif"]}, "are the same file of the source"),
        ({"train": ["case_03.tif"], "test": ["case_03.tif"]}, "slice 3 of stack 0 is in two splits"),
        ({"train": ["case_03.tif#0"]}, "is a page of a file; name whole files"),
        ({"train": ["case_03.tif"], "moved": [], "note": ""}, "expected nnU-Net's list of folds"),
        ({"train": [3], "moved": []}, "moved belongs beside names of files"),
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


def test_files_may_be_named(path: Path) -> None:
    """With or without their folders, endings and numbers of the channel, and among numbers."""
    named = ["case_00.tif", "case_01_0000.png", "imagesTr/case_02_0000.ome.tif", "case_03", "train\\case_04.tif", 5]
    path.write_text(json.dumps({"train": named, "test": CASES[9:], "unused": ["case_08"]}))
    assert read_split_file(path, named_source()) == ("TTTTTT...EEE",)


def test_what_an_audit_has_written_is_read(path: Path) -> None:
    files = [PlacedFile("train" if z < 8 else "test", f"{case}.tif") for z, case in enumerate(CASES)]
    write_split_file(path, regroup(files, [Join("shows the same tissue as", (files[3], files[8]))]))
    assert read_split_file(path, named_source()) == ("TTTTTTTTTEEE",)


def test_a_file_that_is_a_stack_is_all_its_slices(path: Path) -> None:
    path.write_text(json.dumps({"train": ["scan0.tif", {"stack": 2, "z": [1]}], "test": ["raw/scan1.tif"]}))
    assert read_split_file(path, three_stacks()) == ("TTTT", "EEEE", ".T..")


def of_pages(*names: str) -> Source:
    images, labels = small_stack()
    return combine([RawStack(images[: len(names)], labels[: len(names)], names=names)], name="x")


def test_numbers_of_four_digits_are_no_channels_of_their_neighbours(path: Path) -> None:
    """Left out blindly, the number of one slice would name all of them."""
    source = of_pages("img_0001", "img_0002", "img_0003")
    path.write_text(json.dumps({"train": ["img_0001.tif"], "test": ["img_0003.tif"]}))
    assert read_split_file(path, source) == ("T.E",)
    path.write_text(json.dumps({"train": ["img_0004.tif"]}))
    with pytest.raises(ConfigError, match="which is not in the source; did you mean img_000"):
        read_split_file(path, source)
    path.write_text(json.dumps({"train": ["img.tif"]}))
    with pytest.raises(
        ConfigError, match=r"is the name of 3 files of the source, such as img_0001, img_0002, img_0003"
    ):
        read_split_file(path, source)


def test_a_name_that_two_stacks_have_is_refused(path: Path) -> None:
    images, labels = small_stack()
    halves = [RawStack(images[part], labels[part], names=tuple("abc")) for part in (slice(0, 3), slice(3, 6))]
    path.write_text(json.dumps({"train": ["a.tif"]}))
    with pytest.raises(ConfigError, match=r"'a\.tif' is the name of 2 files of the source, such as a, a; give"):
        read_split_file(path, combine(halves, name="x"))


@pytest.fixture
def namesakes(tmp_path: Path) -> dict[str, Path]:
    """Two folders of pages 0 to 2 with their labels, as an audit takes them for train and test."""
    images, labels = small_stack()
    for split, first in (("train", 0), ("test", 6)):
        for kind, stack in (("images", images), ("labels", labels)):
            (tmp_path / split / kind).mkdir(parents=True)
            for z in range(3):
                write_stack(tmp_path / split / kind / f"{z}.tif", stack[first + z][None])
    return {split: tmp_path / split for split in ("train", "test")}


def read_both(folders: dict[str, Path]) -> Source:
    return read_pairs([(folder / "images", folder / "labels") for folder in folders.values()], name="x")


def test_what_an_audit_wrote_of_folders_with_the_same_names_is_read(path: Path, namesakes: dict[str, Path]) -> None:
    """Then names begin with the split that the audit took each folder for, whether its pictures lie in it or below."""
    files = [PlacedFile(split, f"{z}.tif") for split in namesakes for z in range(3)]
    write_split_file(path, regroup(files, [Join("shows the same tissue as", (files[0], files[3]))]))
    assert json.loads(path.read_text())["train"] == ["test/0.tif", "train/0.tif", "train/1.tif", "train/2.tif"]
    assert read_split_file(path, read_both(namesakes)) == ("TTT", "TEE")
    path.write_text(json.dumps({"train": ["train/images/0", "test/images/2.tif"], "test": ["train\\images\\1.tif"]}))
    assert read_split_file(path, read_both(namesakes)) == ("TE.", "..T")


def test_stacks_of_one_name_are_told_apart_by_their_folders(path: Path, tmp_path: Path) -> None:
    images, labels = small_stack()
    for split, part in (("train", slice(0, 4)), ("test", slice(6, 10))):
        (tmp_path / split).mkdir()
        write_stack(tmp_path / split / "raw.tif", images[part])
        write_stack(tmp_path / split / "labels.tif", labels[part])
    pairs = [(tmp_path / split / "raw.tif", tmp_path / split / "labels.tif") for split in ("train", "test")]
    path.write_text(json.dumps({"train": ["train/raw.tif"], "test": ["test/raw.tif"], "moved": []}))
    assert read_split_file(path, read_pairs(pairs, name="x")) == ("TTTT", "EEEE")


@pytest.mark.parametrize("name", ["0.tif", "val/0.tif", "images/0.tif"])
def test_names_that_do_not_tell_files_apart_are_refused_with_some_that_do(
    path: Path, namesakes: dict[str, Path], name: str
) -> None:
    path.write_text(json.dumps({"train": [name]}))
    with pytest.raises(ConfigError) as caught:
        read_split_file(path, read_both(namesakes))
    assert str(caught.value) == (
        f"{path}: {name!r} is the name of 2 files of the source; write it with its folders, such as "
        "train/images/0, test/images/0"
    )


def test_half_an_ending_is_left_out_too(path: Path) -> None:
    """A source keeps the `.ome` of `a.ome.tif`."""
    path.write_text(json.dumps({"train": ["a.ome.tif"], "test": ["b.tif", "c.ome"]}))
    assert read_split_file(path, of_pages("a.ome", "b.ome", "c.ome")) == ("TEE",)
