"""A broken TIFF must be an error, never a shorter or a darker stack."""

import contextlib
import errno
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiff_zoo import SHORT, gray, hand_made

import pipeline.files
import pipeline.source.tiff.stack
from pipeline.errors import AugpipeError, ConfigError, SourceError, StorageError
from pipeline.source.tiff import open_stack, read_stack, write_slices, write_stack

STACK = np.arange(3 * 20 * 24, dtype=np.uint8).reshape(3, 20, 24)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stack.tif"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "int32", "bool"])
def test_what_was_written_is_read(path: Path, dtype: str) -> None:
    stack = (STACK % 2 if dtype == "bool" else STACK).astype(dtype)
    write_stack(path, stack)
    again = read_stack(path)
    assert again.dtype == np.dtype(dtype)
    assert np.array_equal(again, stack)


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_stack(tmp_path / name, STACK)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "bool"])
def test_slices_written_one_by_one_make_the_same_file(tmp_path: Path, dtype: str, depth: int) -> None:
    stack = (STACK[:depth] % 2 if dtype == "bool" else STACK[:depth]).astype(dtype)
    write_stack(tmp_path / "a", stack)
    write_slices(tmp_path / "b", iter(stack), stack.shape, stack.dtype)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_large_stack_of_slices_is_a_big_tiff(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Classic TIFF ends at 4 GB."""
    monkeypatch.setattr(pipeline.source.tiff.stack, "_MAX_CLASSIC_BYTES", STACK.nbytes - 1)
    write_slices(path, iter(STACK), STACK.shape, STACK.dtype)
    assert path.read_bytes()[:4] == b"II\x2b\0"
    assert np.array_equal(read_stack(path), STACK)
    monkeypatch.setattr(pipeline.source.tiff.stack, "_MAX_CLASSIC_BYTES", STACK.nbytes)
    write_slices(path, iter(STACK), STACK.shape, STACK.dtype)
    assert path.read_bytes()[:4] == b"II\x2a\0"


@pytest.mark.parametrize("error", [SourceError, KeyboardInterrupt])
def test_slices_that_fail_on_the_way_leave_what_was_there(path: Path, error: type[BaseException]) -> None:
    def slices() -> Iterator[NDArray[Any]]:
        yield STACK[0]
        raise error("slice 1")

    for before in ([], [path]):
        with pytest.raises(error, match="slice 1"):
            write_slices(path, slices(), STACK.shape, STACK.dtype)
        assert list(path.parent.iterdir()) == before
        write_stack(path, STACK)
    assert np.array_equal(read_stack(path), STACK)


def test_slices_on_a_full_disk_leave_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pipeline.files.os, "fsync", fail)
    needed = f"{math.prod(STACK.shape) / 1e6:.1f} MB are needed"
    with pytest.raises(StorageError, match=rf"stack\.tif: the disk is full; {needed}"):
        write_slices(path, iter(STACK), STACK.shape, STACK.dtype)
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize(
    "keywords", [{"byteorder": ">"}, {"compression": "zlib"}, {"imagej": True}, {"rowsperstrip": 5}]
)
def test_other_programs_files_are_read(path: Path, keywords: dict[str, object]) -> None:
    stack = STACK.astype(np.uint16) * 257
    tifffile.imwrite(path, stack, photometric="minisblack", **keywords)
    again = read_stack(path)
    assert np.array_equal(again, stack)
    assert again.dtype.isnative


def test_one_page_is_a_stack_of_one(path: Path) -> None:
    tifffile.imwrite(path, STACK[0], photometric="minisblack")
    assert read_stack(path).shape == (1, 20, 24)


def test_three_pages_are_a_stack_and_not_colours(path: Path) -> None:
    with tifffile.TiffWriter(path) as tiff:
        for page in STACK:
            tiff.write(page, photometric="minisblack", contiguous=False, metadata=None)
    assert np.array_equal(read_stack(path), STACK)


def test_a_page_may_lack_the_compression_tag(path: Path) -> None:
    """Real EM stacks do; tag 259 is renamed to one that nobody knows."""
    write_stack(path, STACK)
    data = path.read_bytes()
    tag = struct.pack("<HHI", 259, 3, 1)
    assert data.count(tag) == len(STACK)
    path.write_bytes(data.replace(tag, struct.pack("<HHI", 65000, 3, 1)))
    assert np.array_equal(read_stack(path), STACK)


def test_white_is_zero_is_turned_into_black_is_zero(path: Path) -> None:
    """DESIGN: MINISWHITE is inverted for images, else membranes would be the bright ones."""
    tifffile.imwrite(path, 255 - STACK, photometric="miniswhite", metadata=None)
    assert np.array_equal(read_stack(path), STACK)


def test_nothing_there_is_a_question_of_use(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a TIFF file, found nothing"):
        read_stack(path)
    with pytest.raises(ConfigError, match="expected a TIFF file, found a folder"):
        read_stack(tmp_path)


@pytest.mark.parametrize("content", [b"", b"II*\x00", b"not a TIFF at all", b"\x89HDF\r\n\x1a\n" * 99, bytes(4096)])
def test_what_is_no_tiff_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"stack\.tif(: not a TIFF file|, page 0: the file is cut short)"):
        read_stack(path)


@pytest.mark.parametrize("imagej", [False, True])
@pytest.mark.parametrize("share", [0.05, 0.4, 0.7, 0.95])
def test_a_file_that_is_cut_short_is_refused(path: Path, share: float, imagej: bool) -> None:
    """tifffile alone returns a single frame of a truncated ImageJ stack."""
    stack = np.random.default_rng(0).integers(0, 255, (8, 64, 64), np.uint8)
    tifffile.imwrite(path, stack, imagej=imagej, photometric="minisblack")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SourceError, match=r"stack\.tif"):
        read_stack(path)


def test_fewer_slices_than_imagej_says_are_refused(path: Path) -> None:
    text = "ImageJ=1.53t\nimages=8\nslices=8\nloop=false\n"
    tifffile.imwrite(path, STACK[0], photometric="minisblack", description=text, metadata=None)
    with pytest.raises(SourceError, match=r"stack\.tif"):
        read_stack(path)


def test_colours_are_refused_where_gray_is_needed(path: Path) -> None:
    """A network of one channel, or the audit of a folder, has no use for them."""
    tifffile.imwrite(path, np.zeros((20, 24, 3), np.uint8), photometric="rgb")
    with pytest.raises(SourceError, match=r"expected gray pixels, found 3 channels \(red, green, blue\)"):
        read_stack(path)


PALETTE = np.arange(3 * 256, dtype=np.uint16).reshape(3, 256)


@pytest.mark.parametrize("keywords", [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"metadata": None}])
def test_labels_that_are_places_in_a_table_of_colours_are_those_places(path: Path, keywords: dict[str, Any]) -> None:
    tifffile.imwrite(path, STACK, photometric="palette", colormap=PALETTE, **keywords)
    assert np.array_equal(read_stack(path, labels=True), STACK)
    assert np.array_equal(open_stack(path, labels=True).palette, PALETTE)
    write_stack(path, STACK)
    assert open_stack(path, labels=True).palette is None


def test_labels_with_a_lookup_table_of_imagej_are_their_values(path: Path) -> None:
    tifffile.imwrite(path, STACK, imagej=True, colormap=PALETTE, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path) as tiff:
        assert tiff.pages.first.photometric == tifffile.PHOTOMETRIC.PALETTE
    assert np.array_equal(read_stack(path, labels=True), STACK)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("table", ["whole", "none", "odd", "short"])
def test_places_of_any_depth_are_labels_whatever_their_table_is(path: Path, bits: int, table: str) -> None:
    n = 2**bits
    tables = {"whole": [z % n for z in range(3 * n)], "none": None, "odd": [1] * 5, "short": [7] * 3}
    values = (STACK[0] % n if bits < 8 else STACK[0]).astype(np.uint16 if bits == 16 else np.uint8)
    data = values.tobytes()
    if bits < 8:
        data = np.packbits(np.unpackbits(values[:, :, None], axis=2)[:, :, 8 - bits :]).tobytes()
    tags = {258: (SHORT, bits), 262: (SHORT, 3), 339: None, 320: tables[table] and (SHORT, tables[table])}
    path.write_bytes(hand_made([gray(values, pack=lambda _: data, tags=tags)]))
    stack = open_stack(path, labels=True)
    assert np.array_equal(stack[0], values)
    assert stack.palette.shape == (3, {"whole": 2**bits, "short": 1}.get(table, 0))


def test_pages_whose_places_stand_for_several_colours_are_refused(path: Path) -> None:
    """One number would be two classes."""
    with tifffile.TiffWriter(path) as tiff:
        for page, colours in zip(STACK, (PALETTE, PALETTE, PALETTE + 1), strict=True):
            tiff.write(page, photometric="palette", colormap=colours, metadata=None)
    with pytest.raises(SourceError, match="page 2: its pixels stand for other colours than those of page 0; if each"):
        read_stack(path, labels=True)
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(STACK[0], photometric="minisblack", metadata=None)
        tiff.write(STACK[1], photometric="palette", colormap=PALETTE, metadata=None)
    with pytest.raises(SourceError, match="page 1: its pixels stand for other colours than those of page 0"):
        read_stack(path, labels=True)


def test_coloured_labels_are_not_advised_to_become_gray(path: Path) -> None:
    """A mean of colours is no class."""
    tifffile.imwrite(path, STACK.reshape(20, 24, 3), photometric="rgb")
    with pytest.raises(SourceError, match=r"slice 0: .* found colours; if each colour is a class, say") as caught:
        read_stack(path, labels=True)
    assert "8-bit" not in str(caught.value)


@pytest.mark.parametrize("samples", [2, 3])
def test_several_channels_a_pixel_are_refused(path: Path, samples: int) -> None:
    """(Y, X, channels) must not pass for Y slices of X rows."""
    tifffile.imwrite(
        path, np.zeros((20, 24, samples), np.uint8), photometric="minisblack", planarconfig="contig", metadata=None
    )
    with pytest.raises(SourceError, match=r"stack\.tif"):
        read_stack(path)


def test_several_series_are_refused(path: Path) -> None:
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(STACK, photometric="minisblack")
        tiff.write(STACK[:, :10], photometric="minisblack")
    with pytest.raises(SourceError, match="page 3: 10 x 24 px, uint8, but page 0 is 20 x 24 px"):
        read_stack(path)


def test_a_circle_of_pages_is_refused(path: Path) -> None:
    """tifffile logs it and returns what it had."""
    with tifffile.TiffWriter(path) as tiff:
        for page in STACK:
            tiff.write(page, photometric="minisblack", contiguous=False, metadata=None)
    with tifffile.TiffFile(path) as tiff:
        first, last = (tiff.pages[k].offset for k in (0, 2))
    data = bytearray(path.read_bytes())
    (n_tags,) = struct.unpack_from("<H", data, last)
    struct.pack_into("<I", data, last + 2 + 12 * n_tags, first)
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"stack\.tif"):
        read_stack(path)


def test_a_header_that_asks_for_terabytes_is_refused_before_they_are(path: Path) -> None:
    write_stack(path, STACK[:1])
    data = bytearray(path.read_bytes())
    for tag in (256, 257):
        place = data.index(struct.pack("<H", tag), 8)
        struct.pack_into("<HHII", data, place, tag, 4, 1, 2**31 - 1)
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"stack\.tif"):
        read_stack(path)


def test_ome_metadata_names_no_other_file(path: Path, tmp_path: Path) -> None:
    """Without this guard, tifffile opens whatever file the XML names."""
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZTC" Type="uint8" SizeX="24" SizeY="20" SizeZ="2" SizeT="1" SizeC="1">'
        '<TiffData IFD="0" FirstZ="0" PlaneCount="1"><UUID FileName="stack.tif">urn:uuid:1</UUID></TiffData>'
        '<TiffData IFD="0" FirstZ="1" PlaneCount="1"><UUID FileName="secret.tif">urn:uuid:2</UUID></TiffData>'
        "</Pixels></Image></OME>"
    )
    tifffile.imwrite(tmp_path / "secret.tif", np.full((20, 24), 99, np.uint8), photometric="minisblack")
    tifffile.imwrite(path, STACK[0], photometric="minisblack", description=xml, metadata=None)
    with contextlib.suppress(SourceError):
        assert not np.any(read_stack(path)[1:] == 99)


@pytest.mark.parametrize("compression", ["jpeg", "webp"])
def test_lossy_labels_are_refused(tmp_path: Path, compression: str) -> None:
    """DESIGN: JPEG turns 0 and 255 into 3 and 251; even where it seems to work, the label is not what was drawn."""
    from pipeline.source.readers import read_files

    labels = np.zeros((3, 64, 64), np.uint8)
    labels[:, 32:] = 255
    shape = {"photometric": "minisblack", "metadata": None}
    tifffile.imwrite(tmp_path / "i.tif", labels, **shape)
    if compression == "webp":
        pytest.importorskip("imagecodecs")
        rgb = {"photometric": "rgb"}
        tifffile.imwrite(tmp_path / "l.tif", np.repeat(labels[..., None], 3, -1), compression="webp", **rgb)
    else:
        tifffile.imwrite(tmp_path / "l.tif", labels, compression="jpeg", **shape)
    with pytest.raises(SourceError, match=r"l\.tif"):
        read_files(tmp_path / "i.tif", tmp_path / "l.tif")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiff") / "whole.tif"
    write_stack(path, STACK)
    return path


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_damage_is_a_typed_error_or_a_stack(whole: Path, data: st.DataObject) -> None:
    """Whatever tifffile raises, the user sees one line: no other exception may come out."""
    content = bytearray(whole.read_bytes())
    headers = [*range(400), *range(len(content) - 300, len(content))]
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.sampled_from(headers))] = data.draw(st.integers(0, 255))
    path = whole.with_name("damaged.tif")
    path.write_bytes(content)
    try:
        stack = read_stack(path)
    except AugpipeError as error:
        assert "damaged.tif" in str(error)  # noqa: PT017
    else:
        assert stack.ndim == 3
