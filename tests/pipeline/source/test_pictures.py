"""PNG and BMP pictures are read to the last pixel or refused in one line; what they are is said, never guessed."""

import io
import re
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from small_worlds import small_config, small_stack, write_folder

from pipeline.build.builder import build_dataset
from pipeline.build.rebuild import rebuild_dataset
from pipeline.errors import ConfigError, SourceError
from pipeline.source.colours import ALPHA_NOTE, EQUAL_NOTE, TINT_NOTE
from pipeline.source.combining import make_source
from pipeline.source.pages import png
from pipeline.source.pages.folder import PageFolder
from pipeline.source.pages.formats import open_file
from pipeline.source.readers import read_folder, read_images, read_pairs
from pipeline.verify.verification import verify_dataset

ISBI = Path(__file__).parents[4] / "shared" / "data" / "isbi2012"
GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
RANDOM = np.random.default_rng(0)
PAGE = RANDOM.integers(0, 256, (13, 11), np.uint8)
SPREAD = {1: 255, 2: 85, 4: 17, 8: 1, 16: 1}  # by what a level of so many bits is multiplied


def packed(values: NDArray[Any], bits: int) -> bytes:
    """Return rows of values without a filter, each in so many bits."""
    if bits == 16 or values.ndim > 2:
        rows = [row.astype(">u2" if bits == 16 else "u1").tobytes() for row in values]
    else:
        single = np.unpackbits(values.astype(np.uint8)[..., None], axis=2)[..., 8 - bits :]
        rows = [np.packbits(row.ravel()).tobytes() for row in single]
    return b"".join(b"\0" + row for row in rows)


def interlaced(values: NDArray[Any], bits: int) -> bytes:
    passes = [values[row::step_y, column::step_x] for column, row, step_x, step_y in PASSES]
    return b"".join(packed(each, bits) for each in passes if each.size)


def chunk(name: bytes, data: bytes = b"", *, checksum: int | None = None) -> bytes:
    found = zlib.crc32(name + data) if checksum is None else checksum
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", found)


def header(width: int, height: int, bits: int = 8, colour: int = GRAY, rest: tuple[int, ...] = (0, 0, 0)) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, *rest))


def hand_made(
    values: NDArray[Any],
    bits: int = 8,
    colour: int = GRAY,
    *,
    passes: bool = False,
    table: bytes = bytes(range(3)) * 256,
) -> bytes:
    """Return a PNG file of values (Y, X) or (Y, X, N)."""
    height, width = values.shape[:2]
    rows = interlaced(values, bits) if passes else packed(values, bits)
    palette = chunk(b"PLTE", table[: 3 * 2**bits]) if colour == PALETTE else b""
    return b"".join(
        [
            png._SIGNATURE,
            header(width, height, bits, colour, (0, 0, int(passes))),
            palette,
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND"),
        ]
    )


def png_of(*chunks: bytes) -> bytes:
    return b"".join([png._SIGNATURE, *chunks])


def saved(pixels: NDArray[Any] | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(file, kind, **options)
    return file.getvalue()


def in_mode(mode: str) -> Image.Image:
    return Image.fromarray(PAGE).convert(mode)


def read(path: Path, data: bytes, *, labels: bool = False) -> NDArray[Any]:
    path.write_bytes(data)
    return next(iter(open_file(path, labels=labels)))


def refusal(path: Path, data: bytes, *, labels: bool = False) -> str:
    with pytest.raises(SourceError) as refused:
        read(path, data, labels=labels)
    line = str(refused.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    return line


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "page.png"


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("passes", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_gray_levels_of_every_depth(path: Path, bits: int, *, passes: bool, labels: bool) -> None:
    """Fewer bits are spread to 0 to 255, so that an optimised mask is the mask it was."""
    values = RANDOM.integers(0, 2**bits, (13, 11))
    found = read(path, hand_made(values, bits, passes=passes), labels=labels)
    assert found.dtype == (np.uint16 if bits == 16 else np.uint8)
    assert found.dtype.isnative
    assert np.array_equal(found, values * SPREAD[bits])


@pytest.mark.parametrize("passes", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_is_its_indices_for_labels_and_refused_for_images(path: Path, bits: int, *, passes: bool) -> None:
    values = RANDOM.integers(0, 2**bits, (9, 10))
    data = hand_made(values, bits, PALETTE, passes=passes)
    assert np.array_equal(read(path, data, labels=True), values)
    assert f"expected gray pixels, found places in a table of {2**bits} colours, which is not" in refusal(path, data)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_gray_levels_in_a_table_are_those_levels_in_images(path: Path, bits: int) -> None:
    """So programs save few gray levels in few bits; of labels, the places count, whatever they look like."""
    places, levels = RANDOM.integers(0, 2**bits, (9, 10)), RANDOM.integers(0, 256, 2**bits, np.uint8)
    data = hand_made(places, bits, PALETTE, table=np.repeat(levels, 3).tobytes())
    assert np.array_equal(read(path, data), levels[places])
    assert np.array_equal(read(path, data), np.array(Image.open(path).convert("L")))
    assert open_file(path, labels=False).notes == ()
    assert np.array_equal(read(path, data, labels=True), places)
    short = hand_made(places, bits, PALETTE, table=np.repeat(levels, 3).tobytes()[:3])
    assert "in a table of 1 colours; damaged" in refusal(path, short)


def test_a_table_that_only_tints_a_png_is_left_out(path: Path) -> None:
    table = np.outer(np.arange(256), [0, 1, 0.5]).astype(np.uint8).tobytes()
    data = hand_made(PAGE, 8, PALETTE, table=table)
    assert np.array_equal(read(path, data), PAGE)
    assert open_file(path, labels=False).notes == (TINT_NOTE,)


COLOURS_OF = {RGB: 3, GRAY_ALPHA: 2, RGBA: 4}


@pytest.mark.parametrize("passes", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("colour", COLOURS_OF)
def test_colours_are_read_and_opaque_alpha_is_dropped(path: Path, colour: int, bits: int, *, passes: bool) -> None:
    dtype, n = np.dtype(f"uint{bits}"), COLOURS_OF[colour]
    values = RANDOM.integers(0, 2**bits, (13, 11, n), dtype)
    if colour != RGB:
        values[..., -1] = 2**bits - 1
    expected = values[..., 0] if colour == GRAY_ALPHA else values[..., :3]
    found = read(path, hand_made(values, bits, colour, passes=passes))
    assert (found.dtype, found.dtype.isnative) == (dtype, True)
    assert np.array_equal(found, expected)
    if bits == 8:
        mode = "L" if colour == GRAY_ALPHA else "RGB"
        assert np.array_equal(found, np.array(Image.open(path).convert(mode)))
    picture = open_file(path, labels=False)
    assert picture.shape == (1, *expected.shape)
    assert picture.channels == (() if colour == GRAY_ALPHA else ("red", "green", "blue"))
    assert picture.notes == (() if colour == RGB else (ALPHA_NOTE,))
    if colour != RGB:
        values[3, 4, -1] -= 1
        line = refusal(path, hand_made(values, bits, colour, passes=passes))
        assert "expected an alpha channel that is opaque everywhere, found 1 other" in line


def test_a_gray_mask_that_was_saved_as_rgb_is_gray(path: Path) -> None:
    assert np.array_equal(read(path, saved(in_mode("RGB")), labels=True), PAGE)
    assert open_file(path, labels=True).notes == (EQUAL_NOTE,)
    assert np.array_equal(read(path, saved(in_mode("RGBA")), labels=True), PAGE)
    assert open_file(path, labels=True).notes == (ALPHA_NOTE, EQUAL_NOTE)
    assert np.array_equal(read(path, saved(in_mode("LA")), labels=True), PAGE)
    odd = np.stack([PAGE] * 3, axis=-1)
    odd[2, 3, 1] += 1
    assert "expected one number a pixel, found colours; if each colour is a class, say" in refusal(
        path, saved(odd), labels=True
    )
    assert np.array_equal(open_file(path, labels=True, colour=True)[0], odd)


@pytest.mark.parametrize("height", [1, 2, 3, 5, 8, 9])
@pytest.mark.parametrize("width", [1, 2, 3, 5, 8, 9])
def test_small_interlaced_pictures_lack_passes(path: Path, height: int, width: int) -> None:
    values = RANDOM.integers(0, 256, (height, width))
    assert np.array_equal(read(path, hand_made(values, passes=True)), values)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1), (40, 1), (3, 200), (64, 65)])
def test_what_pillow_writes_with_any_filter_is_read(path: Path, dtype: type, shape: tuple[int, int]) -> None:
    y, x = np.mgrid[: shape[0], : shape[1]]
    smooth = (y * 3 + x * 5 + RANDOM.integers(0, 3, shape)).astype(dtype) * (1 if dtype == np.uint8 else 77)
    for level in (0, 9):
        assert np.array_equal(read(path, saved(smooth, compress_level=level)), smooth)


def test_what_is_only_for_showing_changes_nothing(path: Path) -> None:
    """A transparent level, gamma and text; also a chunk of text that would inflate to much."""
    bomb = chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(10**7)))
    extra = chunk(b"tRNS", b"\0\1") + chunk(b"gAMA", struct.pack(">I", 45455)) + bomb
    data = hand_made(PAGE)
    assert np.array_equal(read(path, data[:33] + extra + data[33:] + b"after the end"), PAGE)


def test_pixels_in_many_chunks(path: Path) -> None:
    stream = zlib.compress(packed(PAGE, 8))
    parts = [chunk(b"IDAT", stream[k : k + 7]) for k in range(0, len(stream), 7)]
    assert np.array_equal(read(path, png_of(header(11, 13), *parts, chunk(b"IDAT"), chunk(b"IEND"))), PAGE)


ROWS = packed(PAGE, 8)
PIXELS, END = chunk(b"IDAT", zlib.compress(ROWS)), chunk(b"IEND")
REFUSED: Mapping[str, tuple[bytes, str]] = {
    "empty": (b"", "not a PNG file"),
    "JPEG": (saved(PAGE, "JPEG"), "not a PNG file"),
    "TIFF": (saved(PAGE, "TIFF"), "not a PNG file"),
    "signature alone": (png_of(), "cut short; copy it again"),
    "without pixels": (png_of(header(11, 13), END), "has no pixels"),
    "without end": (png_of(header(11, 13), PIXELS), "cut short; copy it again"),
    "without header": (png_of(PIXELS, END), "chunk 'IDAT' is out of place"),
    "two headers": (png_of(header(11, 13), header(11, 13), PIXELS, END), "chunk 'IHDR' is out of place"),
    "header of 12": (png_of(chunk(b"IHDR", bytes(12)), PIXELS, END), "a header of 12 bytes"),
    "header changed": (
        png_of(chunk(b"IHDR", header(11, 13)[8:21], checksum=1), PIXELS, END),
        "checksum of a chunk IHDR",
    ),
    "no columns": (png_of(header(0, 13), PIXELS, END), "its header says 0, 13, 8, 0, 0, 0, 0"),
    "3 bits": (png_of(header(11, 13, 3), PIXELS, END), "its header says 11, 13, 3,"),
    "no such colour": (png_of(header(11, 13, 8, 5), PIXELS, END), "its header says 11, 13, 8, 5,"),
    "no such compression": (png_of(header(11, 13, 8, GRAY, (1, 0, 0)), PIXELS, END), "which is no picture"),
    "no such passes": (png_of(header(11, 13, 8, GRAY, (0, 0, 2)), PIXELS, END), "which is no picture"),
    "chunk beyond the end": (
        png_of(header(11, 13), struct.pack(">I4s", 10**9, b"IDAT"), PIXELS),
        "ends beyond the file",
    ),
    "pixels apart": (png_of(header(11, 13), PIXELS, chunk(b"tEXt"), PIXELS, END), "chunk 'IDAT' is out of place"),
    "unknown chunk": (png_of(header(11, 13), chunk(b"WHAT"), PIXELS, END), "chunk 'WHAT' is of no known kind"),
    "animation": (png_of(header(11, 13), chunk(b"acTL", bytes(8)), PIXELS, END), "found an animation"),
    "pixels changed": (
        png_of(header(11, 13), chunk(b"IDAT", zlib.compress(ROWS), checksum=2), END),
        "checksum of a chunk IDAT is wrong",
    ),
    "no deflate": (png_of(header(11, 13), chunk(b"IDAT", b"hello"), END), "cannot be inflated"),
    "stream cut": (
        png_of(header(11, 13), chunk(b"IDAT", zlib.compress(ROWS)[:-6]), END),
        "expected 156 bytes of pixels",
    ),
    "too few rows": (png_of(header(11, 14), PIXELS, END), "expected 168 bytes of pixels, found fewer"),
    "too many rows": (png_of(header(11, 12), PIXELS, END), "expected 144 bytes of pixels, found more"),
    "no such filter": (
        png_of(header(11, 13), chunk(b"IDAT", zlib.compress(b"\7" + ROWS[1:])), END),
        "its pixels cannot be decoded",
    ),
    "too few colours": (png_of(header(11, 13, 8, RGB), PIXELS, END), "expected 442 bytes of pixels, found fewer"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_gray_png_is_refused(path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    data, words = REFUSED[name]
    for labels in (False, True):
        line = refusal(path, data, labels=labels)
        assert words in line, line
    assert capfd.readouterr() == ("", "")


def test_a_palette_must_be_there(path: Path) -> None:
    data = png_of(header(11, 13, 8, PALETTE), PIXELS, END)
    assert "no palette" in refusal(path, data, labels=True)


def test_a_png_cut_short_anywhere_is_refused(path: Path) -> None:
    data = hand_made(PAGE)
    for cut in range(len(data)):
        refusal(path, data[:cut])


def test_a_png_with_any_bit_changed_is_refused_or_whole(path: Path) -> None:
    """Checksums tell: only what holds no pixel may change unseen."""
    data = hand_made(RANDOM.integers(0, 256, (5, 6)))
    expected = read(path, data)
    n_refused = 0
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            found = read(path, bytes(changed))
        except SourceError:
            n_refused += 1
        else:
            assert np.array_equal(found, expected), bit
    assert n_refused > 8 * len(data) - 100  # the checksum of the last chunk says nothing


@pytest.mark.parametrize(
    ("width", "height", "bits"), [(2**31 - 1, 2**31 - 1, 8), (2**31 - 1, 1, 1), (20000, 20000, 1), (1, 2**31 - 1, 16)]
)
def test_a_png_that_asks_for_much_is_refused_before_memory_is(path: Path, width: int, height: int, bits: int) -> None:
    data = png_of(header(width, height, bits), chunk(b"IDAT", zlib.compress(bytes(1000))), END)
    tracemalloc.start()
    line = refusal(path, data)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert re.search(r"[0-9]+ bytes that would become [0-9,]+ \(", line)
    assert peak_bytes < 2**21


def test_no_more_is_inflated_than_the_header_says(path: Path) -> None:
    """The bomb is in the pixels, of a picture that says that it is small."""
    data = png_of(header(11, 13), chunk(b"IDAT", zlib.compress(bytes(10**8), level=9)), END)
    tracemalloc.start()
    assert "found more" in refusal(path, data)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 2**21


def test_chunks_are_counted_up_to_a_limit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "_MAX_CHUNKS", 20)
    assert "more than 20 chunks" in refusal(path, png_of(header(11, 13), *[chunk(b"tEXt")] * 20, PIXELS, END))


@pytest.mark.parametrize("change", [lambda page: page[:5], lambda page: page.astype(np.uint16)])
def test_a_picture_that_changes_while_it_is_used_is_refused(path: Path, change: Callable[..., Any]) -> None:
    path.write_bytes(saved(PAGE))
    picture = open_file(path, labels=False)
    path.write_bytes(saved(change(PAGE)))
    with pytest.raises(SourceError, match=r"page\.png: changed while it was being used"):
        picture[0]
    with pytest.raises(IndexError):
        picture[1]


def test_what_is_no_file_is_a_question_of_use(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"page\.png: expected a file, found nothing"):
        open_file(path, labels=False)
    path.mkdir()
    with pytest.raises(ConfigError, match=r"page\.png: expected a file, found a folder"):
        open_file(path, labels=False)


# BMP


def bmp(values: NDArray[Any], bits: int, table: NDArray[Any], *, top_down: bool = False, **fields: int) -> bytes:
    """Return a BMP file; fields of its header may be said to be others."""
    height, width = values.shape
    said = {"size": 40, "width": width, "depth": bits, "compression": 0, "colours": len(table), "shift": 0} | fields
    rows = [row[1:] for row in np.split(np.frombuffer(packed(values, bits), np.uint8), height)]
    row_bytes = 4 * -(-width * bits // 32)
    ordered = rows if top_down else rows[::-1]
    pixels = b"".join(row.tobytes().ljust(row_bytes, b"\xff") for row in ordered)
    colours = b"".join(bytes([*entry, 0]) for entry in table[:, ::-1])
    place = 54 + len(colours)
    return (
        struct.pack("<2sIII", b"BM", place + len(pixels), 0, place + said["shift"])
        + struct.pack("<IiiHH", said["size"], said["width"], -height if top_down else height, 1, said["depth"])
        + struct.pack("<IIiiII", said["compression"], 0, 0, 0, said["colours"], 0)
        + colours
        + pixels
    )


def ramp(n: int) -> NDArray[np.uint8]:
    return np.repeat(np.linspace(0, 255, n).astype(np.uint8)[:, None], 3, axis=1)


COLOURS = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)
INDICES = RANDOM.integers(0, 3, (6, 7))


@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_bmp_levels_are_those_of_its_table(tmp_path: Path, bits: int, *, top_down: bool) -> None:
    values = RANDOM.integers(0, 2**bits, (5, 11))
    table = ramp(2**bits)[::-1]  # white first
    for labels in (False, True):
        found = read(tmp_path / "page.BMP", bmp(values, bits, table, top_down=top_down), labels=labels)
        assert np.array_equal(found, table[values, 0])


def test_bmp_of_pillow_is_read(tmp_path: Path) -> None:
    for mode in ("L", "1"):
        picture = in_mode(mode)
        assert np.array_equal(read(tmp_path / "page.bmp", saved(picture, "BMP")), np.array(picture.convert("L")))


def test_bmp_colours_are_the_indices_of_labels_and_refused_for_images(tmp_path: Path) -> None:
    data = bmp(INDICES, 8, COLOURS)
    assert np.array_equal(read(tmp_path / "page.bmp", data, labels=True), INDICES)
    assert "found places in a table of 3 colours, which is not one hue" in refusal(tmp_path / "page.bmp", data)
    green = np.outer(np.arange(3), [0, 127, 10]).astype(np.uint8)
    assert np.array_equal(read(tmp_path / "page.bmp", bmp(INDICES, 8, green)), INDICES)
    assert open_file(tmp_path / "page.bmp", labels=False).notes == (TINT_NOTE,)


@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize("bits", [24, 32])
def test_bmp_colours_are_read(tmp_path: Path, bits: int, *, top_down: bool) -> None:
    """The fourth byte is 0, or 255, or says which bits are which; a picture that it makes clear is refused."""
    path, colours = tmp_path / "page.bmp", RANDOM.integers(0, 256, (5, 7, 3), np.uint8)
    fourths = [0, 255] if bits == 32 else [None]
    for fourth in fourths:
        pixels = colours[..., ::-1]
        if fourth is not None:
            pixels = np.concatenate([pixels, np.full((5, 7, 1), fourth, np.uint8)], axis=-1)
        rows = [row.tobytes().ljust(4 * -(-7 * bits // 32), b"\7") for row in (pixels if top_down else pixels[::-1])]
        head = struct.pack("<IiiHHIIiiII", 40, 7, -5 if top_down else 5, 1, bits, 0, 0, 0, 0, 0, 0)
        data = struct.pack("<2sIII", b"BM", 54 + len(b"".join(rows)), 0, 54) + head + b"".join(rows)
        assert np.array_equal(read(path, data), colours)
        assert np.array_equal(np.array(Image.open(path).convert("RGB")), colours)
        picture = open_file(path, labels=False)
        assert (picture.channels, picture.notes) == (("red", "green", "blue"), (ALPHA_NOTE,) if bits == 32 else ())
        masks = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)
        masked = struct.pack("<2sIII", b"BM", 66, 0, 66) + head[:16] + b"\3" + head[17:] + masks + b"".join(rows)
        if bits == 32:
            assert np.array_equal(read(path, masked), colours)
            assert "its pixels are compressed" in refusal(path, masked.replace(masks, masks[::-1]))
    if bits == 32:
        assert "opaque everywhere, found 1 other" in refusal(path, data[:57] + b"\3" + data[58:])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a BMP file"),
        (saved(PAGE), "not a BMP file"),
        (b"BM" + bytes(10), "cut short"),
        (bmp(INDICES, 8, ramp(3), depth=16), "its colours have 16 bits together"),
        (bmp(INDICES, 8, ramp(3), size=12), "a header of 12 bytes, which is not read"),
        (bmp(INDICES, 8, ramp(3), compression=1), "its pixels are compressed"),
        (bmp(INDICES, 8, ramp(3), depth=2), "of 2 bits; damaged"),
        (bmp(INDICES, 8, ramp(3), width=-7), "-7 x 6 px"),
        (bmp(INDICES, 8, ramp(3), width=9), "its rows end beyond the file"),
        (bmp(INDICES, 8, ramp(3), colours=257), "damaged: export it again"),
        (bmp(INDICES, 8, ramp(3))[:-1], "its rows end beyond the file"),
        (bmp(INDICES, 8, ramp(3), shift=1), "its rows end beyond the file"),
        (bmp(INDICES + 1, 8, ramp(3)), "a pixel of 3 in a table of 3 colours"),
        (bmp(INDICES, 8, ramp(3), width=2**31 - 1), "its rows end beyond the file"),
    ],
)
def test_what_is_no_gray_bmp_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    for labels in (False, True):
        assert words in refusal(tmp_path / "page.bmp", data, labels=labels)


# Folders


def write_pictures(place: Path, write: Callable[[Path, NDArray[Any]], Any], suffix: str) -> tuple[Path, Path]:
    folders = place / "images", place / "labels"
    for folder, pixels in zip(folders, small_stack(), strict=True):
        folder.mkdir(parents=True)
        for z, page in enumerate(pixels):
            write(folder / f"s{z}{suffix}", page)
    return folders


def save_picture(path: Path, pixels: NDArray[Any]) -> None:
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".PNG"])
def test_a_folder_of_pictures_is_the_same_stack_as_a_tiff(tmp_path: Path, suffix: str) -> None:
    source = read_pairs([write_pictures(tmp_path, save_picture, suffix)])
    assert source.inputs == make_source(*small_stack(), name="x").inputs
    assert source.stacks[0].names == tuple(f"s{z}" for z in range(12))


def test_a_dataset_of_pictures_goes_all_the_way(tmp_path: Path) -> None:
    """Built, replayed where it was moved to, rebuilt from the same pixels in TIFF, and read for an audit."""
    pair = write_pictures(tmp_path / "data", save_picture, ".png")
    built = build_dataset(read_pairs([pair], name="x"), small_config(), out=tmp_path / "d", jobs=1).dataset
    (tmp_path / "data").rename(tmp_path / "moved")
    assert verify_dataset(tmp_path / "d", replay=True, source_folder=tmp_path / "moved").findings == ()
    tiff = write_folder(tmp_path / "tiff", *small_stack())
    rebuilt = rebuild_dataset(tmp_path / "d", tmp_path / "again", source_folder=tiff, jobs=1).dataset
    assert built is not None
    assert rebuilt is not None
    assert rebuilt.digest == built.digest == build_dataset(
        read_folder(tiff, name="x"), small_config(), out=tmp_path / "e", jobs=1
    ).dataset.digest  # fmt: skip
    assert np.array_equal(np.stack(list(read_images(tmp_path / "moved" / "images")[0])), small_stack()[0])


def test_one_picture_is_a_stack_of_one_slice(tmp_path: Path) -> None:
    images, labels = (stack[0] for stack in small_stack())
    save_picture(tmp_path / "i.png", images)
    save_picture(tmp_path / "l.png", labels)
    source = read_pairs([(tmp_path / "i.png", tmp_path / "l.png")])
    assert source.inputs == make_source(images[None], labels[None], name="x").inputs


def refused_folder(folder: Path, *, labels: bool = False) -> str:
    with pytest.raises(SourceError) as refused:
        PageFolder(folder, labels=labels)
    return str(refused.value)


def test_a_folder_may_mix_formats_but_not_one_name(tmp_path: Path) -> None:
    """Two files of one name are one slice twice, or an image and its label."""
    save_picture(tmp_path / "1.png", PAGE)
    save_picture(tmp_path / "2.bmp", PAGE + 1)
    tifffile.imwrite(tmp_path / "3.tif", PAGE + 2, photometric="minisblack")
    assert np.array_equal(np.stack(list(PageFolder(tmp_path))), [PAGE, PAGE + 1, PAGE + 2])
    save_picture(tmp_path / "3.png", PAGE)
    with pytest.raises(ConfigError, match=r"3\.png and 3\.tif have one name, so they may be the same slice twice"):
        PageFolder(tmp_path)


@pytest.mark.parametrize(
    ("page", "found"), [(PAGE[:5], "5 x 11 px, uint8"), (PAGE.astype(np.uint16), "13 x 11 px, uint16")]
)
def test_a_picture_unlike_the_others_is_refused(tmp_path: Path, page: NDArray[Any], found: str) -> None:
    save_picture(tmp_path / "1.png", PAGE)
    save_picture(tmp_path / "2.png", page)
    assert f"2.png: {found}, but 1.png is 13 x 11 px, uint8;" in refused_folder(tmp_path)


@pytest.mark.isbi
@pytest.mark.skipif(not ISBI.is_dir(), reason="no ISBI 2012 stack here")
def test_isbi_as_pictures_is_recognised_by_the_same_digests(tmp_path: Path) -> None:
    pair = tmp_path / "images", tmp_path / "labels"
    for folder, name in zip(pair, ("train-volume.tif", "train-labels.tif"), strict=True):
        folder.mkdir()
        for z, page in enumerate(tifffile.imread(ISBI / name)):
            save_picture(folder / f"{z}.png", page)
    source = read_pairs([pair])
    assert source.name == "isbi2012"
    assert source.inputs == read_folder(ISBI).inputs


@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_the_table_of_colours_is_told_and_is_the_same_for_all_pages(tmp_path: Path, suffix: str) -> None:
    """Else an index would be one class here and another there."""
    table = [[0, 0, 0], [255, 0, 0], [0, 9, 200]]
    for z, colours in enumerate((table, table, table[::-1])):
        page = Image.fromarray(np.full((4, 5), z, np.uint8), mode="P")
        page.putpalette([value for colour in colours for value in colour])
        page.save(tmp_path / f"{z}.{suffix}")
    with pytest.raises(SourceError, match=rf"2\.{suffix}: its pixels stand for other colours than those of 0\."):
        PageFolder(tmp_path, labels=True)
    (tmp_path / f"2.{suffix}").unlink()
    palette = PageFolder(tmp_path, labels=True).palette
    assert palette is not None
    assert (palette[:, :3] >> 8).T.tolist() == table
