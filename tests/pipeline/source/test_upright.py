"""Pictures that are shown otherwise than they are stored, channels that show nothing, and advice that leads on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from small_worlds import small_stack

from pipeline.errors import AugpipeError, SourceError
from pipeline.source.combining import make_source
from pipeline.source.pages.formats import open_file
from pipeline.source.readers import read_pairs

IMAGES, LABELS = small_stack()
ORIENTATION = 274


def test_a_png_that_is_shown_turned_is_refused_as_an_image(tmp_path: Path) -> None:
    exif, path = Image.Exif(), tmp_path / "a.png"
    exif[ORIENTATION] = 6
    Image.fromarray(IMAGES[0]).save(path, exif=exif)
    with pytest.raises(SourceError, match="its Exif orientation is 6"):
        open_file(path, labels=False)
    assert np.array_equal(open_file(path, labels=True)[0], IMAGES[0])
    exif[ORIENTATION] = 1
    Image.fromarray(IMAGES[0]).save(path, exif=exif)
    assert np.array_equal(open_file(path, labels=False)[0], IMAGES[0])


def test_a_tiff_that_is_shown_turned_is_read_as_it_lies_with_a_note(tmp_path: Path) -> None:
    for value in (1, 3):
        path = tmp_path / f"{value}.tif"
        tifffile.imwrite(path, IMAGES[0], photometric="minisblack", extratags=[(ORIENTATION, 3, 1, value, True)])
        found = open_file(path, labels=False)
        assert np.array_equal(found[0], IMAGES[0])
        assert [note[:19] for note in found.notes] == ["its tag Orientation"] * (value == 3)


def channel_notes(images: Any) -> list[str]:
    source = make_source(images, LABELS, name="x")
    return [note for note in source.notes if "channel" in note]


def test_channels_that_show_nothing_of_their_own_are_told() -> None:
    same, flat = np.stack([IMAGES] * 3, axis=-1), np.stack([IMAGES, IMAGES // 2, np.full_like(IMAGES, 255)], axis=-1)
    assert channel_notes(same) == [
        "source: images: all channels are equal in every pixel; --channel red keeps one, as gray levels"
    ]
    assert channel_notes(flat) == [
        "source: images: one gray level in every pixel of blue; --channel red,green leaves out what shows nothing"
    ]
    flat[0, 0, 0, 2] = 254
    assert channel_notes(flat) == []


def refusal(tmp_path: Path, *pages: Any, **options: Any) -> str:
    """Return what is said of a folder of TIFF files, one for each array."""
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for z, page in enumerate(pages):
        tifffile.imwrite(tmp_path / "images" / f"{z}.tif", page, **options)
        tifffile.imwrite(tmp_path / "labels" / f"{z}.tif", LABELS[z], photometric="minisblack")
    with pytest.raises(AugpipeError) as refused:
        read_pairs([(tmp_path / "images", tmp_path / "labels")])
    return str(refused.value)


def test_pages_that_differ_in_bits_are_no_sizes(tmp_path: Path) -> None:
    line = refusal(tmp_path, IMAGES[0], IMAGES[1].astype(np.uint16), photometric="minisblack")
    assert line.endswith("export them again, all in as many bits")


def test_pages_that_may_be_channels_are_not_sent_away_as_stacks(tmp_path: Path) -> None:
    line = refusal(tmp_path, *[np.stack([IMAGES[z], IMAGES[z + 1]]) for z in range(4)], photometric="minisblack")
    assert "found 2; if they are the channels of one picture, save it so that it says so" in line


def test_axes_without_names_are_no_times(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.stack([IMAGES] * 2, axis=-1), photometric="minisblack")
    with pytest.raises(SourceError, match="say which axis is what"):
        open_file(tmp_path / "a.tif", labels=False)
