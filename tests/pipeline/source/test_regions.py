"""Large slices are cut into boxes: no pixel is in two, none comes from elsewhere, and a build splits them."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.audit.splits.region_overlap import find_overlapping
from pipeline.errors import ConfigError
from pipeline.shards.dataset import open_dataset
from pipeline.source.readers import read_pairs
from pipeline.source.regions import Boxes, BoxSlices, Regions, cut_stack
from pipeline.source.stacks import RawStack
from pipeline.source.tiff import write_stack

Run = Callable[..., Any]
SIDES = st.integers(1, 90)


@given(SIDES, SIDES, st.integers(1, 3), st.integers(2, 20), st.integers(2, 20), st.integers(0, 6))
def test_boxes_are_equal_apart_and_inside(
    height: int, width: int, depth: int, window_y: int, window_x: int, gap: int
) -> None:
    try:
        boxes = Regions((window_y, window_x), gap).boxes((depth, height, width))
    except ConfigError:
        assert gap > 0
        return
    if boxes is None:
        assert height * width <= 4 * window_y * window_x
        return
    assert len(boxes.corners) > depth
    own_y, own_x = boxes.size
    for (z, y, x), (other_z, other_y, other_x) in combinations(boxes.corners, 2):
        apart = max(abs(y - other_y) - own_y, abs(x - other_x) - own_x)
        assert z != other_z or apart >= gap
    assert all(0 <= y <= height - own_y and 0 <= x <= width - own_x and z < depth for z, y, x in boxes.corners)


def test_boxes_come_in_the_order_of_reading_and_sections_of_one_place_together() -> None:
    """So that the gap of a split, counted in slices, keeps neighbouring sections of one place apart."""
    boxes = Regions((10, 10), 2).boxes((2, 22, 32))
    assert boxes is not None
    assert boxes.size == (10, 9)
    assert boxes.corners[:4] == ((0, 0, 0), (1, 0, 0), (0, 0, 11), (1, 0, 11))
    assert boxes.corners[-1] == (1, 12, 22)


def test_a_box_holds_the_pixels_of_its_place() -> None:
    pixels = np.arange(2 * 30 * 40).reshape(2, 30, 40)
    boxes = Boxes(((1, 3, 5), (0, 10, 20)), (6, 7))
    cut = BoxSlices(pixels, boxes)
    assert cut.shape == (2, 6, 7)
    assert np.array_equal(cut[0], pixels[1, 3:9, 5:12])
    assert [part.tolist() for part in cut] == [pixels[1, 3:9, 5:12].tolist(), pixels[0, 10:16, 20:27].tolist()]


@pytest.mark.parametrize("tile", [None, (16, 32), (48, 16)])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_files_are_read_by_rows_to_the_same_boxes(
    tmp_path: Path, compression: str | None, tile: tuple[int, int] | None
) -> None:
    images, labels = mosaic(100, 90)
    for name, pixels in (("i.tif", images), ("l.tif", labels)):
        tifffile.imwrite(
            tmp_path / name,
            pixels,
            photometric="minisblack",
            compression=compression,
            tile=tile,
            rowsperstrip=None if tile else 7,
        )
    source = read_pairs([(tmp_path / "i.tif", tmp_path / "l.tif")], regions=Regions((20, 20), 3))
    stack = source.stacks[0]
    assert len(stack.boxes) == 5 * 4
    height, width = stack.slice_size
    for k, (_, y, x) in enumerate(stack.boxes):
        assert np.array_equal(stack.images[k], images[y : y + height, x : x + width])
        assert np.array_equal(stack.labels[k] > 0, labels[y : y + height, x : x + width] > 0)


def mosaic(height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    images = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    return images, (images > 127).astype(np.uint8)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, ...]:
    """The options that name a mosaic of one slice."""
    images, labels = mosaic(200, 210)
    write_stack(tmp_path / "i.tif", images[None])
    write_stack(tmp_path / "l.tif", labels[None])
    return ("--images", str(tmp_path / "i.tif"), "--labels", str(tmp_path / "l.tif"), "--size", "40", "--n", "12")


def test_one_picture_is_split_and_found_again(tmp_path: Path, augpipe: Run, pair: tuple[str, ...]) -> None:
    code, out, err = augpipe("build", *pair, "--regions", "--region-gap", "5", "--out", tmp_path / "d", "--jobs", 1)
    assert code == 0, err
    assert "1 slice of 200 x 210 px cut into 25 boxes of 36 x 38 px, 5 px apart" in out
    record = json.loads((tmp_path / "d" / "dataset.json").read_text())
    assert record["schema"] == "augpipe/dataset/2"
    assert record["inputs"][0]["boxes"][:2] == [[0, 0, 0], [0, 0, 43]]
    assert augpipe("verify", tmp_path / "d", "--replay").code == 0
    lock = tmp_path / "lock"
    lock.mkdir()
    for name in ("dataset.json", "manifest.jsonl"):
        (lock / name).write_bytes((tmp_path / "d" / name).read_bytes())
    again = augpipe("rebuild", lock, "--images", pair[1], "--labels", pair[3], "--out", tmp_path / "e", "--jobs", 1)
    assert again.code == 0, again.err


def test_a_file_of_a_folder_stands_for_all_its_boxes(tmp_path: Path, augpipe: Run) -> None:
    """In a split file and in groups: a picture that is cut is still called by its name."""
    for kind, pixels in zip(("images", "masks"), mosaic(200, 210), strict=True):
        (tmp_path / kind).mkdir()
        for name, step in (("a", 1), ("b", -1), ("c", 2)):
            write_stack(tmp_path / kind / f"{name}.tif", np.roll(pixels, step * 7, axis=0)[None])
    (tmp_path / "split.json").write_text('{"train": ["a", "b"], "test": ["c"]}')
    code, out, err = augpipe(
        "build", tmp_path, "--independent", "--regions", "--size", 60, "--n", 12, "--dry-run", "--out", tmp_path / "d",
        "--split-file", tmp_path / "split.json",
    )  # fmt: skip
    assert code == 0, err
    assert "(T train 18, E test 9)" in out


def test_what_cannot_be_cut_is_refused(augpipe: Run, pair: tuple[str, ...]) -> None:
    for options, message in (
        ((), "--regions to cut it into several"),
        (("--regions", "--size", "120"), "regions: no slice is larger than 4 samples of 120 x 120 px"),
        (("--region-gap", "5"), "--region-gap: it goes with --regions"),
        (("--regions", "--region-gap", "-1"), "--region-gap: expected 0 or more pixels, got -1"),
        (("--regions", "--region-gap", "40"), "region-gap: strips of 40 px leave boxes of 8 px"),
    ):
        code, _, err = augpipe("build", *pair, *options, "--dry-run")
        assert code == 2
        assert message in err
        assert len(err.splitlines()) == 1


def test_a_source_that_is_too_small_for_its_boxes_is_refused() -> None:
    small = np.zeros((1, 20, 20), np.uint8)
    with pytest.raises(ConfigError, match=r"boxes reach to \(z, y, x\) = \(1, 25, 10\)"):
        cut_stack(RawStack(small, small), Boxes(((0, 15, 0),), (10, 10)))


def test_boxes_of_two_splits_that_overlap_are_found(tmp_path: Path, augpipe: Run, pair: tuple[str, ...]) -> None:
    """As nothing that augpipe cuts has them, they are put into the record."""
    assert augpipe("build", *pair, "--regions", "--region-gap", 0, "--out", tmp_path / "d", "--jobs", 1).code == 0
    record = open_dataset(tmp_path / "d").record
    assert find_overlapping(record) == []
    stack = record.inputs[0]
    assert stack.boxes is not None
    test, train = (record.split.slices[split][0].z[0] for split in ("test", "train"))
    for shift, n_found in ((1, 1), (stack.slice_size[0], 0)):
        boxes = list(stack.boxes)
        boxes[train] = (boxes[test][0], boxes[test][1] - shift, boxes[test][2])
        planted = replace(record, inputs=(replace(stack, boxes=tuple(boxes)),))
        found = find_overlapping(planted)
        assert len(found) == n_found
        assert all(f"boxes {train} (train) and {test} (test) overlap" in each.text for each in found)
