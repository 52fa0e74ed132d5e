"""A folder of single pages is a stack in the order that people count in, or an error that names the odd file."""

import re
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tiff_zoo import STACK, gray, hand_made, written

from pipeline.errors import ConfigError, SourceError
from pipeline.source.pages.folder import PageFolder
from pipeline.source.pages.partners import core_names, match_names, missing_numbers, natural_key

_NUMBER = re.compile(r"[0-9]+")
STEMS = st.lists(st.text("ab_1209", min_size=1, max_size=6), min_size=1, max_size=5, unique=True)


def fill(folder: Path, names: list[str]) -> Path:
    """Write pages of one pixel value each, which is the place of the name in the list."""
    for value, name in enumerate(names):
        (folder / name).write_bytes(written(np.full((4, 5), value, np.uint8), metadata=None))
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ["slice9.tif", "slice10.tif", "slice11.tif"],
        ["s01.TIF", "s2.tiff", "s003.Tif", "s10.TIFF"],
        ["a2b10.tif", "a10b2.tif", "a10b11.tif"],
        ["1.tif", "1a.tif", "2.tif"],
        ["x-7.tif"],
    ],
)
def test_pages_come_in_natural_order(tmp_path: Path, names: list[str]) -> None:
    stack = PageFolder(fill(tmp_path, names))
    assert [file.name for file in stack.files] == names
    assert stack.shape == (len(names), 4, 5)
    assert stack.dtype == np.uint8
    assert [int(page[0, 0]) for page in stack] == list(range(len(names)))
    assert np.array_equal(stack[len(names) - 1], np.full((4, 5), len(names) - 1))
    for z in (-1, len(names)):
        with pytest.raises(IndexError):
            stack[z]


def test_other_things_in_the_folder_are_ignored(tmp_path: Path) -> None:
    fill(tmp_path, ["1.tif", "2.tif", "._1.tif", ".3.tif", "notes.txt", "1.tif.bak"])
    (tmp_path / "old.tif").mkdir()
    assert [file.name for file in PageFolder(tmp_path).files] == ["1.tif", "2.tif"]


def test_a_page_that_is_gone_is_not_ignored(tmp_path: Path) -> None:
    """A link to nothing is a slice that is missing."""
    (fill(tmp_path, ["1.tif", "3.tif"]) / "2.tif").symlink_to(tmp_path / "nowhere.tif")
    with pytest.raises(ConfigError, match=r"2\.tif: expected a TIFF file, found nothing"):
        PageFolder(tmp_path)


def test_a_file_of_several_pages_is_refused(tmp_path: Path) -> None:
    (fill(tmp_path, ["1.tif"]) / "2.tif").write_bytes(written(STACK, metadata=None))
    with pytest.raises(SourceError, match=r"2\.tif: expected a single page in a folder of pages, found 3"):
        PageFolder(tmp_path)


@pytest.mark.parametrize(
    ("page", "found"),
    [(np.zeros((4, 6), np.uint8), "4 x 6 px, uint8"), (np.zeros((4, 5), np.uint16), "4 x 5 px, uint16")],
)
def test_a_page_unlike_the_others_is_refused(tmp_path: Path, page: np.ndarray, found: str) -> None:
    (fill(tmp_path, ["1.tif", "2.tif"]) / "3.tif").write_bytes(written(page, metadata=None))
    with pytest.raises(SourceError, match=rf"3\.tif: {found}, but 1\.tif is 4 x 5 px, uint8"):
        PageFolder(tmp_path)


def test_every_page_is_turned_by_its_own_colours(tmp_path: Path) -> None:
    """White may be zero in some files and not in others; in labels, which are taken as they are, it may not."""
    (tmp_path / "1.tif").write_bytes(hand_made([gray(STACK[0])]))
    (tmp_path / "2.tif").write_bytes(hand_made([gray(STACK[0], tags={262: (3, 0)})]))
    assert np.array_equal(np.stack(list(PageFolder(tmp_path))), [STACK[0], 255 - STACK[0]])
    with pytest.raises(SourceError, match=r"2\.tif: white is zero, unlike in 1\.tif; labels are taken as they are"):
        PageFolder(tmp_path, labels=True)
    (tmp_path / "1.tif").unlink()
    labels = PageFolder(tmp_path, labels=True)
    assert labels.white_is_zero
    assert np.array_equal(labels[0], STACK[0])


@pytest.mark.parametrize("first", [np.uint8, np.uint16])
def test_labels_of_8_and_16_bits_are_widened_to_the_larger(tmp_path: Path, first: type) -> None:
    """A program saves ids in 8 bits where a field has few objects. Images differ in their gray levels, and are not."""
    pages = [np.full((4, 5), 200, first), np.full((4, 5), 250, np.uint8), np.full((4, 5), 300, np.uint16)]
    for number, page in enumerate(pages):
        (tmp_path / f"{number}.tif").write_bytes(written(page, metadata=None))
    labels = PageFolder(tmp_path, labels=True)
    assert labels.dtype == np.uint16
    assert [page.dtype for page in labels] == [np.uint16] * 3
    assert [int(page[0, 0]) for page in labels] == [200, 250, 300]
    with pytest.raises(SourceError, match=r"slices of one stack are alike"):
        PageFolder(tmp_path)


@pytest.mark.parametrize("dtype", [np.bool_, np.int16])
def test_labels_of_other_kinds_are_not_mixed(tmp_path: Path, dtype: type) -> None:
    """One bit would be 1 beside 255."""
    (tmp_path / "0.tif").write_bytes(written(np.zeros((4, 8), np.uint8), metadata=None))
    (tmp_path / "1.tif").write_bytes(written(np.zeros((4, 8), dtype), metadata=None))
    with pytest.raises(SourceError, match=r"1\.tif: 4 x 8 px, (bool|int16), but 0\.tif is 4 x 8 px, uint8"):
        PageFolder(tmp_path, labels=True)


def test_pages_of_metamorph_are_tiff(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.stk").write_bytes(written(STACK[number], metadata=None))
    assert np.array_equal(np.stack(list(PageFolder(tmp_path))), STACK[:2])
    (tmp_path / "2.tif").write_bytes(written(STACK[2], metadata=None))
    assert np.array_equal(np.stack(list(PageFolder(tmp_path))), STACK)


def test_pages_share_one_table_of_colours(tmp_path: Path) -> None:
    table = np.arange(3 * 256, dtype=np.uint16).reshape(3, 256)
    pages = [written(STACK[z], photometric="palette", colormap=table, metadata=None) for z in (0, 1)]
    for z, page in enumerate(pages):
        (tmp_path / f"{z}.tif").write_bytes(page)
    stack = PageFolder(tmp_path, labels=True)
    assert np.array_equal(np.stack(list(stack)), STACK[:2])
    assert np.array_equal(stack.palette, table)
    others = [written(STACK[2], photometric="palette", colormap=table + 1, metadata=None), hand_made([gray(STACK[2])])]
    for other in others:
        (tmp_path / "2.tif").write_bytes(other)
        with pytest.raises(SourceError, match=r"2\.tif: its pixels stand for other colours than those of 0\.tif; if"):
            PageFolder(tmp_path, labels=True)


@pytest.mark.parametrize("compression", ["jpeg", "webp"])
def test_labels_must_be_stored_without_loss(tmp_path: Path, compression: str) -> None:
    page = np.stack([STACK[0]] * 3, -1) if compression == "webp" else STACK[0]
    keywords = {"photometric": "rgb"} if compression == "webp" else {}
    (fill(tmp_path, ["1.tif"]) / "2.tif").write_bytes(written(page, compression=compression, **keywords))
    with pytest.raises(SourceError, match=r"2\.tif, page 0: expected (labels stored without loss|gray pixels), found"):
        PageFolder(tmp_path, labels=True)


def test_a_damaged_page_is_named(tmp_path: Path) -> None:
    data = fill(tmp_path, ["1.tif", "2.tif", "3.tif"]) / "2.tif"
    data.write_bytes(data.read_bytes()[:-3])
    with pytest.raises(SourceError, match=r"2\.tif, page 0: strip 0 ends at byte"):
        PageFolder(tmp_path)


@pytest.mark.parametrize("kind", ["empty", "without pages", "a file", "nothing"])
def test_a_folder_without_pages_is_a_question_of_use(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "pages"
    if kind == "a file":
        folder.write_bytes(written(STACK))
    elif kind != "nothing":
        folder.mkdir()
    if kind == "without pages":
        fill(folder, ["1.gif"])
    with pytest.raises(ConfigError, match="pages: expected a folder of TIFF, PNG, BMP or JPEG files"):
        PageFolder(folder)


@pytest.mark.parametrize(
    ("images", "labels", "places"),
    [
        (["1", "2", "10"], ["01", "02", "10"], [0, 1, 2]),
        (["img_1", "img_2"], ["2_masks", "1_masks"], [1, 0]),
        (["a", "b", "c"], ["c_seg", "a_gt", "b_label"], [1, 2, 0]),
        (["img a", "img b"], ["mask_b", "mask-a"], [1, 0]),
        (["t000", "t001"], ["man_seg001", "man_seg000"], [1, 0]),
        (["WT_1_raw", "KO_1_raw", "KO_2_raw"], ["gt_ko_1", "gt_ko_2", "gt_wt_1"], [2, 0, 1]),
        (["x", "x_2"], ["x_cp_masks", "x_2_cp_masks"], [0, 1]),
        (["b", "ab"], ["ab", "b"], [1, 0]),
        (["embryo07"], ["embryo07_corrected"], [0]),
        (["embryo07"], ["retina_7"], [0]),
        (["em_v2"], ["em_annotated"], [0]),
        (["image"], ["mask"], [0]),
        (["embryo07"], ["mask"], [0]),
    ],
)
def test_images_find_their_labels_by_name(images: list[str], labels: list[str], places: list[int]) -> None:
    assert match_names(images, labels, ("images", "labels")) == places


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (["embryo07"], ["retina_b_mask"], "images: no page in labels belongs to embryo07; every slice needs"),
        (["cell_01"], ["cell_02_mask"], "images: no page in labels belongs to cell_01;"),
        (["a_1", "b_1"], ["a_1"], "images: no page in labels belongs to b_1;"),
        (["img_1", "img_2"], ["img_2_masks", "img_3_masks"], "images: no page in labels belongs to img_1;"),
        (["a", "b"], ["a_seg", "b_gt", "c_gt"], "labels: no page in images belongs to c_gt;"),
        (["ab", "b"], ["b", "bb"], "images: no page in labels belongs to ab;"),
        (["img_1", "1_img"], ["1_mask", "x_mask"], "labels: no page in images belongs to x_mask;"),
        (["img_1", "1_img"], ["1_mask"], "images: two pages have the same number or name, img_1 and 1_img;"),
        ([*"abcdef"], [*"ghijkl"], "images: no page in labels belongs to a, b, c and 3 more;"),
    ],
)
def test_names_that_do_not_pair_are_refused_with_the_one_left_over(
    images: list[str], labels: list[str], words: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        match_names(images, labels, ("images", "labels"))
    assert str(refused.value).startswith(words)


@given(STEMS, st.randoms(use_true_random=False))
def test_the_same_names_are_partners_in_any_order(stems: list[str], random: Random) -> None:
    """Whatever the names are like: a word left out must not pair them otherwise."""
    labels = random.sample(stems, len(stems))
    assert [labels[place] for place in match_names(stems, labels, ("i", "l"))] == stems


@pytest.mark.parametrize(
    ("stems", "cores"),
    [
        (["s_1", "s_12", "s_13"], ["1", "12", "13"]),
        (["em_007_v2", "em_008_v2"], ["7", "8"]),
        (["2020_a", "2020_b"], ["a", "b"]),
        (["a15", "a25"], ["15", "25"]),
        (["z1_t1", "z1_t2", "z2_t1"], ["1_t1", "1_t2", "2_t1"]),
        (["fly_left", "fly_right"], ["lef", "righ"]),
        (["cell", "cells"], ["", "s"]),
        (["alone_01"], [""]),
        (["labels_for_01"], [""]),
    ],
)
def test_cores_are_what_tells_names_apart(stems: list[str], cores: list[str]) -> None:
    assert core_names(stems) == cores


@given(STEMS)
def test_no_number_is_cut_in_two(stems: list[str]) -> None:
    """Cut numbers would pair slice 1 with slice 11."""
    for stem, core in zip(stems, core_names(stems), strict=True):
        whole = {str(int(number)) for number in _NUMBER.findall(stem)}
        assert set(_NUMBER.findall(core)) <= whole


@given(STEMS)
def test_what_all_names_share_at_their_ends_is_gone(stems: list[str]) -> None:
    cores = core_names(stems)
    assert len(cores) == 1 or not all(core and core[0] == cores[0][0] and not core[0].isdigit() for core in cores)
    assert len(cores) == 1 or not all(core and core[-1] == cores[0][-1] and not core[-1].isdigit() for core in cores)


@given(
    st.lists(st.integers(0, 10**6), min_size=1, max_size=6, unique=True),
    st.sampled_from([0, 3, 7]),
    st.lists(st.sampled_from(["", "x_", "em-", "2020_z", "a"]), min_size=2, max_size=2),
    st.lists(st.sampled_from(["", "_mask", "-labels_v2", ".ome", "b"]), min_size=2, max_size=2),
)
@example([1], 2, ["x_", "x_"], ["", "_mask"])
@example([5, 15], 0, ["a", "a"], ["_5", "_5_mask"])
def test_images_and_labels_of_the_same_numbers_are_partners(
    numbers: list[int], n_digits: int, starts: list[str], ends: list[str]
) -> None:
    """`x_01` and `x_01_mask`, whatever surrounds the numbers and however they are padded."""
    images = [f"{starts[0]}{number:0{n_digits}}{ends[0]}" for number in numbers]
    labels = [f"{starts[1]}{number}{ends[1]}" for number in numbers]
    assert core_names(images) == core_names(labels)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=30, unique=True))
def test_missing_numbers_are_those_between_the_first_and_the_last(numbers: list[int]) -> None:
    missing = missing_numbers([str(number) for number in numbers])
    assert sorted([*missing, *numbers]) == list(range(min(numbers), max(numbers) + 1))


@pytest.mark.parametrize("cores", [["1", "a", "3"], ["1_1", "1_3"], ["", "3"], ["4"], [""]])
def test_nothing_is_missing_between_what_is_not_counted(cores: list[str]) -> None:
    assert missing_numbers(cores) == []


@given(st.lists(st.integers(0, 10**9), min_size=2, max_size=8, unique=True), st.sampled_from(["", "z", "a1_"]))
def test_names_sort_by_their_numbers(numbers: list[int], start: str) -> None:
    assert sorted((f"{start}{n}" for n in numbers), key=natural_key) == [f"{start}{n}" for n in sorted(numbers)]


@given(st.lists(st.text(max_size=8), max_size=6))
def test_any_names_have_one_order(names: list[str]) -> None:
    """Digits of other scripts, signs and empty names must not raise, nor depend on how the folder was listed."""
    orders = [sorted(listed, key=natural_key) for listed in (names, names[::-1])]
    assert [natural_key(name) for name in orders[0]] == [natural_key(name) for name in orders[1]]
