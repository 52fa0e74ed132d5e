"""Broken, lying and mixed TIFF files are refused in one line that names the file, and never read as something else."""

import io
import logging
import os
import re
import struct
import threading
import tracemalloc
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tiff_zoo
import tifffile
from tiff_zoo import (
    LONG,
    LONG8,
    SHORT,
    STACK,
    Page,
    Tag,
    gray,
    hand_made,
    imagej,
    metamorph,
    ome,
    planes_behind_one_page,
    text,
    written,
)

from pipeline.errors import AugpipeError, ConfigError, SourceError, exit_code
from pipeline.source.tiff import open_stack, pages, read_stack

WHOLE = tiff_zoo.whole_files()
PAGES = [gray(image) for image in STACK]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stack.tif"


def refusal(path: Path, data: bytes, *, labels: bool = False) -> str:
    """Return what is said of a file, which must be one short line that names it."""
    path.write_bytes(data)
    with pytest.raises(SourceError) as caught:
        read_stack(path, labels=labels)
    line = str(caught.value)
    assert line.startswith(str(path))
    assert "\n" not in line
    assert len(line) < len(str(path)) + 300
    assert exit_code(caught.value) == 3
    return line.removeprefix(str(path))


def described(description: Tag, pages: list[Page] = PAGES) -> bytes:
    """Return a file of pages of which the first has a description."""
    return hand_made([(pages[0][0], pages[0][1] | {270: description}), *pages[1:]])


def second(tags: Mapping[int, Tag | None], **keywords: Any) -> bytes:
    """Return a file of three pages, the second of which has other tags."""
    return hand_made([gray(image, tags=tags if z == 1 else {}, **keywords) for z, image in enumerate(STACK)])


def one(tags: Mapping[int, Tag | None], strip: bytes = STACK[0].tobytes(), **keywords: Any) -> bytes:
    """Return a file of one page with one strip and other tags than a plain one."""
    size: dict[int, Tag | None] = {279: (LONG, len(strip))}
    return hand_made([([strip], gray(STACK[0], tags=size | dict(tags))[1])], **keywords)


def appended(*arrays: Any, **keywords: Any) -> bytes:
    """Return a file to which tifffile wrote one series after another."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as tiff:
        for array in arrays:
            tiff.write(array, **({"photometric": "minisblack"} | keywords))
    return file.getvalue()


def replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    """Return a file with one thing in it replaced by another of the same length."""
    assert data.count(old) == 1
    assert len(old) == len(new)
    return data.replace(old, new)


HYPERSTACK = "ImageJ=1.54f\nimages=6\nslices=3\n{}=2\nhyperstack=true\n"
SIX = [*PAGES, *PAGES]
PLANES = {"ImageJ": {270: imagej(3)}, "MetaMorph": metamorph(3)}
ZSTD, PACKBITS, LZW = imagecodecs.zstd_encode, imagecodecs.packbits_encode, imagecodecs.lzw_encode
LONG_STRIP, SHORT_STRIP = (np.resize(STACK, (rows, 24)).tobytes() for rows in (21, 19))
SQUASHED = zlib.compress(STACK[0].tobytes())
FULL_TILES: dict[int, Tag | None] = {273: None, 278: None, 279: None, 324: (LONG, [-1]), 325: (LONG, [480])}
ELSEWHERE = '<TiffData IFD="{0}" FirstZ="{0}"><UUID FileName="{1}.tif">urn:uuid:{1}</UUID></TiffData>'
ENTITIES = "".join(f'<!ENTITY e{k} "{f"&e{k - 1};" * 10 if k else "ha"}">' for k in range(12))

REFUSED: dict[str, tuple[bytes, str]] = {
    # wrong numbers of slices, in either direction
    "ImageJ says 4 of 3": (described(imagej(4)), r"expected 4 slices \(as ImageJ says\), found 3"),
    "ImageJ says 2 of 3": (described(imagej(2)), r"expected 2 slices \(as ImageJ says\), found 3"),
    "ImageJ says 3 and 4": (described(text("ImageJ=1\nimages=3\nslices=4\n")), "ImageJ says 3 images, but 4 slices"),
    "ImageJ says 4 of 3 planes": (planes_behind_one_page(STACK, {270: imagej(4)}), "expected 4 .*ImageJ.*found 3"),
    "ImageJ says 2 of 3 planes": (planes_behind_one_page(STACK, {270: imagej(2)}), "expected 2 .*ImageJ.*found 3"),
    "ImageJ says 3 of 1 deflated": (one({259: (SHORT, 8), 270: imagej(3)}, SQUASHED), "expected 3 .*ImageJ.*found 1"),
    **{
        f"planes with tag {code}": (
            planes_behind_one_page(STACK, {270: imagej(3), code: (SHORT, value)}),
            "expected 3 .*ImageJ.*found 1",
        )
        for code, value in {259: 8, 266: 2, 317: 2}.items()
    },
    "tifffile says 4 of 3": (described(text('{"shape": [4, 20, 24]}')), "expected 4 .*description.*found 3"),
    "tifffile says 2 of 3": (described(text('{"shape": [2, 20, 24]}')), "expected 2 .*description.*found 3"),
    "tifffile said 4 of 3": (described(text("shape=(4,20,24)")), "expected 4 .*description.*found 3"),
    "tifffile says other sides": (described(text('{"shape": [3, 20, 25]}')), "declares .* but its pages are"),
    "tifffile says 4 of 3 planes": (
        replaced(written(STACK, truncate=True), b"[3, 20", b"[4, 20"),
        "expected 4 .*description.*found 3",
    ),
    "tifffile says 2 of 3 planes": (
        replaced(written(STACK, truncate=True), b"[3, 20", b"[2, 20"),
        "expected 2 .*description.*found 3",
    ),
    "OME says 4 of 3": (described(ome(4)), r"expected 4 slices \(as OME-XML says\), found 3"),
    "OME says 2 of 3": (described(ome(2)), r"expected 2 slices \(as OME-XML says\), found 3"),
    "MetaMorph says 4 of 3": (planes_behind_one_page(STACK, metamorph(4)), "expected 4 .*MetaMorph.*found 3"),
    "MetaMorph says 2 of 3": (planes_behind_one_page(STACK, metamorph(2)), "expected 2 .*MetaMorph.*found 3"),
    "nobody says 3 planes": (planes_behind_one_page(STACK, {}), r"expected 1 slice \(one a page\), found 3"),
    # pages without an end
    "a page after itself": (hand_made(PAGES[:1], back_to=0), "page 1: points back to page 0"),
    "two pages in a circle": (hand_made(PAGES[:2], back_to=0), "page 2: points back to page 0"),
    "a circle after many pages": (hand_made(PAGES[:1] * 150, back_to=120), "page 150: points back to page 120"),
    # slices in other files, or in another order
    "OME names two files": (
        described(ome(3, data="".join(ELSEWHERE.format(k, min(k, 1)) for k in range(3)))),
        "in several files",
    ),
    "OME names another file": (
        described(ome(3, root='UUID="urn:uuid:7"', data="".join(ELSEWHERE.format(k, 1) for k in range(3)))),
        r"in several files \(1.tif\)",
    ),
    "OME names files without UUID": (
        described(ome(3, data='<TiffData><UUID FileName="a.tif"/><UUID FileName="b.tif"/></TiffData>')),
        r"in several files \(a.tif, b.tif\)",
    ),
    "OME is in another file": (
        described(text('<OME><BinaryOnly MetadataFile="set.companion.ome" UUID="urn:uuid:1"/></OME>')),
        r"in several files \(set.companion.ome\)",
    ),
    "OME permutes pages": (
        described(ome(3, data="".join(f'<TiffData IFD="{2 - k}" FirstZ="{k}"/>' for k in range(3)))),
        "puts slice 0 on page 2",
    ),
    "OME begins late": (described(ome(3, data='<TiffData FirstZ="1"/>')), "puts slice 1 on page 0"),
    "OME has two images": (
        described(text("<OME><Image><Pixels/></Image><Image><Pixels/></Image></OME>")),
        "expected one image series, found 2",
    ),
    "OME has two pictures": (
        described(text("<OME><Image><Pixels/><Pixels/></Image></OME>")),
        "expected one image series",
    ),
    "OME has no picture": (described(text("<OME><Image/></OME>")), "expected one image series"),
    "OME has a picture too many": (
        described(text('<OME><Image><Pixels SizeZ="3"/></Image><Image/></OME>')),
        "expected one image series, found 2",
    ),
    "OME is broken": (described(text("<OME><Image></OME>")), "its OME-XML cannot be read"),
    "OME explodes": (described(text(f"<!DOCTYPE x [{ENTITIES}]><OME>&e11;</OME>")), "its OME-XML cannot be read"),
    # several series, and several axes
    "other shapes": (appended(STACK, STACK[:, :10]), "page 3: 10 x 24 px, uint8, but page 0 is 20 x 24 px"),
    "other numbers": (hand_made([gray(STACK[0]), gray(STACK[1].astype(np.int16))]), "page 1: 20 x 24 px, int16, but"),
    "other colours": (second({262: (SHORT, 0)}), "page 1: 20 x 24 px, uint8, white is zero, but page 0 is 20 x 24 px,"),
    "other depths": (
        hand_made(
            [gray(INT, tags={258: (SHORT, b)}) for INT, b in ((STACK[0].astype(np.uint16), b) for b in (16, 12))]
        ),
        "page 1: 20 x 24 px, uint16 of 12 bits, but page 0 is 20 x 24 px, uint16;",
    ),
    "equal series": (appended(STACK, STACK), "page 3: another image series begins here"),
    "slice by slice": (appended(*STACK), "page 1: another image series begins here"),
    "ImageJ channels": (described(text(HYPERSTACK.format("channels")), SIX), "expected gray pixels, found 2 channels"),
    "ImageJ times": (described(text(HYPERSTACK.format("frames")), SIX), "found 2 frames x 3 slices"),
    "ImageJ's odd order": (described(text(HYPERSTACK.format("order=zz\nframes")), SIX), "orders its planes as zz"),
    "OME channels": (described(ome(3, size_c=2), SIX), "expected gray pixels, found 2 channels"),
    "OME times": (described(ome(3, size_t=2), SIX), "found 2 times x 3 slices"),
    "array of channels": (written(np.stack([STACK, STACK])), r"found 2 x 3 \(tifffile\)"),
    "named channels": (written(np.stack([STACK, STACK]), metadata={"axes": "CZYX"}), "found 2 channels"),
    **{
        program: (hand_made([gray(image, tags={tag: (LONG, [0] * 64)}) for image in STACK]), f"3 pages that {program}")
        for program, tag in {"Zeiss LSM": 34412, "Micro-Manager": 51123, "FluoView": 34362}.items()
    },
    "ScanImage": (
        hand_made([gray(image, tags={270: text("state.config"), 305: text("SI.x")}) for image in STACK]),
        "3 pages that ScanImage",
    ),
    # not gray
    "palette": (
        written(STACK, photometric="palette", colormap=np.zeros((3, 256), np.uint16)),
        "page 0: expected gray pixels, found places in a table of 256 colours.*save it as gray",
    ),
    "palette without a table": (one({262: (SHORT, 3)}), "page 0: .* a table of 0 colours"),
    "RGB": (written(np.stack([STACK[0]] * 3, -1), photometric="rgb"), "expected gray pixels, found 3 channels"),
    "unlike colours": (
        appended(STACK, np.stack([STACK[0]] * 3, -1), metadata=None, photometric="rgb"),
        "page 1: 20 x 24 px, uint8, RGB, but page 0 is 20 x 24 px, uint8, RGB in planes;",
    ),
    "clear": (
        written(np.stack([STACK[0]] * 2, -1), planarconfig="contig", extrasamples=["unassalpha"]),
        "slice 0: expected an alpha channel that is opaque everywhere, found 47",
    ),
    "alpha among others": (
        written(np.stack([STACK[0]] * 5, -1), photometric="rgb", extrasamples=["unassalpha", "unspecified"]),
        "page 0: an alpha channel among 5 values a pixel",
    ),
    "RGB of one value": (second({262: (SHORT, 2)}), "page 1: expected 3 to 4,096 values a pixel, found 1"),
    "values without end": (second({277: (SHORT, 65535)}), "page 1: "),
    "channels where white is zero": (
        one({262: (SHORT, 0), 277: (SHORT, 3), 258: (SHORT, [8] * 3)}, STACK.tobytes()),
        "page 0: expected one value a pixel where white is zero, found 3",
    ),
    "values of several depths": (
        one({262: (SHORT, 2), 277: (SHORT, 3), 258: (SHORT, [5, 6, 5])}, STACK.tobytes()),
        "page 0: pixels of .*5, 6, 5.* bits",
    ),
    "unknown colours": (second({262: (SHORT, 99)}), "page 1: expected gray or RGB pixels, found 99"),
    "mask": (second({254: (LONG, 4)}), "page 1: is a transparency mask"),
    "volume in a page": (one({32997: (LONG, 3)}, STACK.tobytes()), "expected rows and columns of pixels"),
    "odd floats": (one({258: (SHORT, 8), 339: (SHORT, 3)}), r"page 0: pixels of 8 bits \(IEEEFP\) cannot be read"),
    # strips and tiles that are not there
    "place 0": (second({273: (LONG, [-1, 0, -1, -1])}, rows=5), "page 1: strip 1 is empty; it would read as black"),
    "size 0": (second({279: (LONG, [120, 120, 0, 120])}, rows=5), "page 1: strip 2 is empty; it would read as black"),
    "size too small": (second({279: (LONG, [120, 119, 121, 120])}, rows=5), "expected 120 bytes in strip 1, found 119"),
    "size too large": (second({279: (LONG, 10**6)}), "page 1: strip 0 ends at byte .* of a file of"),
    "too few places": (second({273: (LONG, [-1, -1, -1])}, rows=5), "page 1: expected 4 strips, found 3 .and 4 sizes"),
    "too few sizes": (second({279: (LONG, [120] * 3)}, rows=5), "page 1: expected 4 strips, found 4 .and 3 sizes"),
    "no places": (second({273: None}), "page 1: expected 1 strips, found 0 .and 1 sizes"),
    "no sizes": (second({279: None}), "page 1: damaged TIFF .*missing data ByteCounts tag"),
    "strips of no rows": (second({278: (LONG, 0)}), "page 1: strips of 0 rows"),
    "gaps between MetaMorph's strips": (
        planes_behind_one_page(STACK, metamorph(3) | {273: (LONG, [8, 128, 368, 248])}, rows=5),
        "page 0: its strips do not follow each other",
    ),
    "tiles of terabytes": (
        one(FULL_TILES | {322: (LONG, 2**20), 323: (LONG, 2**20)}),
        "page 0: tiles of 1048576 x 1048576 px for 20 x 24",
    ),
    "tiles of no columns": (one(FULL_TILES | {322: (LONG, 0), 323: (LONG, 16)}), "page 0: "),
    "tile too small": (
        one(FULL_TILES | {322: (LONG, 32), 323: (LONG, 32), 325: (LONG, 480)}),
        "page 0: expected 1,024 bytes in tile 0, found 480",
    ),
    "too few tiles": (
        one(FULL_TILES | {322: (LONG, 16), 323: (LONG, 16)}),
        "page 0: expected 4 tiles, found 1 .and 1 sizes",
    ),
    # sizes that nothing has
    "exbibytes": (one({256: (LONG, 2**31), 257: (LONG, 2**31)}), "asks for 4,611,686,018,427,387,904 bytes"),
    "more than exbibytes": (
        one({256: (LONG8, 2**62), 257: (LONG8, 2**62)}, big=True),
        r"asks for 21,267,\S+ bytes",
    ),
    "fractions of columns": (
        planes_behind_one_page(STACK, {256: (11, 1, struct.pack("<f", 24)), 270: imagej(3)}),
        r"page 0: expected rows and columns of pixels, found \(20, 24.0\)",
    ),
    "no columns": (second({256: (LONG, 0)}), "page 1: expected rows and columns of pixels"),
    **{
        f"bomb {code}": (
            one({256: (LONG, 2**14), 257: (LONG, 2**14 + 1), 259: (SHORT, code)}, bytes(pack(bytes(2**20)))),
            r"bytes that would become 268,451,840 \(1 x 16385 x 16384 px, uint8\)",
        )
        for code, pack in {8: zlib.compress, 5: LZW, 50000: ZSTD}.items()
    },
    # pixels that do not decode
    **{
        f"{what} strip {code}": (one({259: (SHORT, code)}, bytes(pack(strip))), "slice 0: not a readable TIFF stack")
        for what, strip, codes in (
            ("long", LONG_STRIP, (8, 32773, 50000)),
            ("short", SHORT_STRIP, (8, 5, 32773, 50000)),
        )
        for code, pack in {8: zlib.compress, 5: LZW, 32773: PACKBITS, 50000: ZSTD}.items()
        if code in codes
    },
    "wrong checksum": (one({259: (SHORT, 8)}, SQUASHED[:-1] + bytes([SQUASHED[-1] ^ 1])), "slice 0: .*BAD_DATA"),
    "wrong bytes": (one({259: (SHORT, 8)}, SQUASHED[:99] + b"damage!" + SQUASHED[106:]), "slice 0: .*BAD_DATA"),
    "unknown compression": (one({259: (SHORT, 12345)}), "slice 0: not a readable TIFF stack .*COMPRESSION"),
    "unknown predictor": (one({259: (SHORT, 8), 317: (SHORT, 77)}, SQUASHED), "slice 0: not a readable TIFF stack"),
    # directories that are none
    "no TIFF": (b"not a TIFF at all", "not a TIFF file"),
    "another version": (b"II\x2c" + hand_made(PAGES)[3:], "not a TIFF file"),
    "no pages": (b"II*\0\0\0\0\0", "a TIFF file without a page"),
    "no tags": (hand_made([([b""], {})]), "page 0: claims 0 tags"),
    "too many tags": (b"II*\0\x08\0\0\0\xff\xff" + bytes(99), "page 0: claims 65,535 tags"),
    "cut in a directory": (hand_made(PAGES)[:-7], "page 2: the file is cut short in its directory"),
    "far away": (b"II*\0\xff\xff\xff\x7f", "page 0: begins at byte 2,147,483,647 of a file of 8;"),
    "other offsets": (replaced(hand_made(PAGES, big=True), b"II+\0\x08\0", b"II+\0\x04\0"), "invalid BigTIFF"),
    "tag of no type": (second({339: (99, 1, b"\2\0")}), "page 1: damaged TIFF .*invalid data type"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_not_one_whole_stack_of_gray_slices_is_refused(path: Path, name: str) -> None:
    data, message = REFUSED[name]
    line = refusal(path, data)
    assert re.search(message, line), line


@pytest.mark.parametrize(
    ("code", "name"), [(7, "JPEG"), (34712, "JPEG2000"), (50001, "WEBP"), (50002, "JPEGXL"), (34887, "LERC")]
)
def test_labels_that_may_have_changed_are_refused(path: Path, code: int, name: str) -> None:
    """DESIGN: JPEG turns 0 and 255 into 3 and 251; even where it seems to work, the label is not what was drawn."""
    line = refusal(path, second({259: (SHORT, code)}), labels=True)
    assert f"page 1: expected labels stored without loss, found {name}" in line


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_cut_short_anywhere_is_refused_or_whole(path: Path, name: str) -> None:
    """tifffile alone returns one frame of a cut ImageJ stack; only bytes that hold no pixel may be missing unseen."""
    data, expected = WHOLE[name]
    chosen = np.random.default_rng(list(WHOLE).index(name)).integers(0, len(data), 40)
    n_refused = 0
    for cut in {*map(int, chosen), *range(len(data) - 12, len(data))}:
        path.write_bytes(data[:cut])
        try:
            found = read_stack(path)
        except SourceError as error:
            n_refused += 1
            assert str(path) in str(error)  # noqa: PT017
        else:
            assert np.array_equal(found, expected), cut
    assert n_refused >= 30


def test_pages_are_counted_up_to_a_limit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_MAX_PAGES", 2)
    assert "page 2: is one of more than 2" in refusal(path, WHOLE["plain"][0])


def test_a_header_that_asks_for_much_is_refused_before_memory_is(path: Path) -> None:
    for name in ("exbibytes", "bomb 8", "tiles of terabytes"):
        tracemalloc.start()
        refusal(path, REFUSED[name][0])
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak_bytes < 2**21, name


def test_too_little_memory_is_an_error_in_one_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def empty(*_arguments: object) -> None:
        raise MemoryError("Unable to allocate 60 GiB")

    monkeypatch.setattr(np, "empty", empty)
    assert "needs more memory than there is" in refusal(path, WHOLE["plain"][0])


def test_a_file_that_may_not_be_read_is_said_to_be_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by a false `open`, since tests may run as root, who may read everything."""

    def refuse(self: Path, *_arguments: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    path.write_bytes(WHOLE["plain"][0])
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SourceError, match=r"stack\.tif: may not be read \(Permission denied\)"):
        read_stack(path)


def test_a_name_too_long_is_an_error_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="File name too long"):
        read_stack(tmp_path / ("x" * 300 + ".tif"))


@pytest.mark.parametrize("kind", ["folder", "pipe", "nothing"])
def test_what_is_no_file_is_a_question_of_use(tmp_path: Path, kind: str) -> None:
    {"folder": Path.mkdir, "pipe": os.mkfifo, "nothing": str}[kind](tmp_path / "stack.tif")
    found = {"folder": "a folder", "pipe": "something else", "nothing": "nothing"}[kind]
    with pytest.raises(ConfigError, match=rf"stack\.tif: expected a TIFF file, found {found}"):
        open_stack(tmp_path / "stack.tif")


class TestWhatTifffileSays:
    """tifffile says of some damage only in its log: the log must be heard, and neither log nor warnings be seen."""

    UNSIGNED = second({339: (99, 1, b"\2\0")})  # without this tag, -1 would read as 255

    @pytest.mark.parametrize("silence", ["level", "disabled", "all"])
    def test_is_heard_where_logging_is_off(self, path: Path, silence: str, monkeypatch: pytest.MonkeyPatch) -> None:
        logger = logging.getLogger("tifffile")
        monkeypatch.setattr(logger, "disabled", silence == "disabled")
        before = logger.level, logging.root.manager.disable
        try:
            if silence == "level":
                logger.setLevel(logging.CRITICAL + 1)
            if silence == "all":
                logging.disable(logging.CRITICAL)
            expected = logger.level, logging.root.manager.disable, logger.disabled, logger.propagate
            assert "damaged TIFF" in refusal(path, self.UNSIGNED)
            assert (logger.level, logging.root.manager.disable, logger.disabled, logger.propagate) == expected
        finally:
            logger.setLevel(before[0])
            logging.disable(before[1])

    def test_is_not_seen(self, path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        def decode(page: tifffile.TiffPage, **_keywords: object) -> Any:
            warnings.warn("from closed file", UserWarning, stacklevel=1)
            logging.getLogger("tifffile").warning("odd")
            return STACK[page.index]

        refusal(path, self.UNSIGNED)
        monkeypatch.setattr(tifffile.TiffPage, "asarray", decode)
        path.write_bytes(WHOLE["deflate"][0])
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            assert np.array_equal(read_stack(path), STACK)
        assert seen == []
        assert capfd.readouterr() == ("", "")

    def test_is_named_where_nothing_is_said(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def decode(_page: tifffile.TiffPage, **_keywords: object) -> Any:
            raise ValueError

        monkeypatch.setattr(tifffile.TiffPage, "asarray", decode)
        assert "slice 0: not a readable TIFF stack (ValueError)" in refusal(path, WHOLE["deflate"][0])

    def test_to_others_is_their_business(
        self, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another thread may read another file with tifffile at the same time: its log goes where it always goes."""

        def decode(page: tifffile.TiffPage, **_keywords: object) -> Any:
            for level in (logging.INFO, logging.ERROR):
                other = threading.Thread(target=logging.getLogger("tifffile").log, args=(level, f"page {page.index}"))
                other.start()
                other.join()
            return STACK[page.index]

        monkeypatch.setattr(tifffile.TiffPage, "asarray", decode)
        path.write_bytes(WHOLE["deflate"][0])
        with caplog.at_level(logging.WARNING, "tifffile"):
            assert np.array_equal(read_stack(path), STACK)
        assert caplog.messages == ["page 0", "page 1", "page 2"]

    def test_and_what_others_say_are_two_things(
        self, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While a TIFF is read, the other loggers of the process write on, even those below tifffile's."""

        def decode(page: tifffile.TiffPage, **_keywords: object) -> Any:
            logging.getLogger("tifffile.plugin").error("of a plugin")
            logging.getLogger("elsewhere").debug("elsewhere")
            return STACK[page.index]

        monkeypatch.setattr(tifffile.TiffPage, "asarray", decode)
        path.write_bytes(WHOLE["deflate"][0])
        with caplog.at_level(logging.DEBUG):
            assert np.array_equal(read_stack(path), STACK)
        assert caplog.messages == ["of a plugin", "elsewhere"] * len(STACK)

    def test_leaves_the_logger_as_it_was(self, path: Path) -> None:
        """With the user's own handler, level and filter, which hear of nothing while a file is read, and all after."""
        logger, heard = logging.getLogger("tifffile"), []
        handler = logging.Handler(logging.DEBUG)
        handler.emit = lambda record: heard.append(record.getMessage())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        before = dict(vars(logger)) | {"handlers": [*logger.handlers], "filters": [*logger.filters], "_cache": {}}
        try:
            refusal(path, self.UNSIGNED)
            path.write_bytes(WHOLE["deflate"][0])
            read_stack(path)
            assert heard == []
            assert vars(logger) | {"_cache": {}} == before
            logger.info("after")
            assert heard == ["after"]
        finally:
            logger.removeHandler(handler)
            logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize("part", range(8))
def test_any_damage_is_a_typed_error_or_a_stack(path: Path, part: int) -> None:
    """Whatever tifffile raises, the user sees one line; what is read is what the file declares."""
    names = list(WHOLE)
    n_refused = 0
    for seed in range(25 * part, 25 * part + 25):
        rng = np.random.default_rng(seed)
        data = tiff_zoo.mutate(rng, WHOLE[names[seed % len(names)]][0], WHOLE[rng.choice(names)][0])
        path.write_bytes(data)
        try:
            stack = open_stack(path, labels=bool(seed % 2))
            slices = list(stack)
        except AugpipeError as error:
            n_refused += 1
            assert str(path) in str(error)  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
            continue
        assert np.stack(slices).shape == stack.shape
        assert all(image.dtype == stack.dtype and image.dtype.isnative for image in slices)
    assert 10 <= n_refused < 25
