"""Every kind of TIFF file that programs write holds the same stack as the plain one."""

import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tiff_zoo
import tifffile
from numpy.typing import NDArray
from tiff_zoo import BYTE, LONG, SHORT, STACK, gray, hand_made, imagej, metamorph, ome, planes_behind_one_page, written

from pipeline.errors import SourceError
from pipeline.source.tiff import open_stack, read_stack, write_stack

WHOLE = tiff_zoo.whole_files()
DEEP = STACK.astype(np.uint16) * 257
REAL_STK = sorted((Path(__file__).parents[4] / "shared/data/bbbc039/images").glob("*.tif"))
LAYOUTS: list[dict[str, Any]] = [
    {},
    {"rowsperstrip": 1},
    {"rowsperstrip": 7},
    {"tile": (16, 16)},
    {"tile": (32, 16)},
    {"bigtiff": True},
    {"byteorder": ">"},
    {"byteorder": ">", "bigtiff": True, "rowsperstrip": 7},
    {"byteorder": ">", "tile": (16, 32)},
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stack.tif"


def read(path: Path, data: bytes, *, labels: bool = False) -> NDArray[Any]:
    """Return the stack in a file; some rows that are read alone must be its own."""
    path.write_bytes(data)
    pixels, stack = read_stack(path, labels=labels), open_stack(path, labels=labels)
    height = pixels.shape[1]
    for top, bottom in ((0, 1), (height // 3, height - height // 4), (height - 1, height)):
        assert same(stack.rows(len(pixels) - 1, top, bottom), pixels[-1][top:bottom])
    return pixels


def same(found: NDArray[Any], expected: NDArray[Any]) -> bool:
    return found.dtype == expected.dtype and found.dtype.isnative and np.array_equal(found, expected)


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("name", WHOLE)
def test_a_file_of_every_kind_is_read(path: Path, name: str, labels: bool) -> None:
    data, expected = WHOLE[name]
    assert same(read(path, data, labels=labels), expected)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "int16", "float16", "float32"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits", "zstd", "lzma"])
def test_how_pixels_are_stored_does_not_change_them(path: Path, compression: str | None, dtype: str) -> None:
    stack = (STACK > 99) if dtype == "bool" else (STACK.astype(np.int32) * 200 - 9000).astype(dtype)
    predictors = [None] if dtype == "bool" or not compression else [None, 3 if dtype.startswith("float") else 2]
    for layout in LAYOUTS:
        for predictor in predictors:
            keywords = {"compression": compression, "predictor": predictor, "metadata": None, **layout}
            assert same(read(path, written(stack, **keywords), labels=True), stack), keywords


@pytest.mark.parametrize(
    "dtype", ["int8", "uint32", "int32", "uint64", "int64", "float64", "complex64"], ids=lambda dtype: dtype
)
def test_unusual_numbers_are_read_as_they_are(path: Path, dtype: str) -> None:
    """Whether they can be images or labels is not for the reader of files to say."""
    stack = (STACK % 100).astype(dtype)
    assert same(read(path, written(stack, byteorder=">", metadata=None)), stack)


@pytest.mark.parametrize(("bits", "compression"), [(4, 1), (12, 1), (12, 8), (14, 1)])
def test_packed_pixels_are_unpacked(path: Path, bits: int, compression: int) -> None:
    stack = (DEEP >> (16 - bits)).astype(np.uint8 if bits <= 8 else np.uint16)
    pages = []
    for image in stack:
        strip = imagecodecs.packints_encode(image, bits, runlen=24)
        data = imagecodecs.zlib_encode(strip) if compression == 8 else strip
        tags = {258: (SHORT, bits), 259: (SHORT, compression), 279: (LONG, len(data))}
        pages.append(([bytes(data)], gray(image, tags=tags)[1]))
    assert same(read(path, hand_made(pages)), stack)


@pytest.mark.parametrize("bits", [1, 4, 8, 12, 16])
def test_white_as_zero_is_inverted_in_images_and_kept_in_labels(path: Path, bits: int) -> None:
    """DESIGN: an inverted image would have bright membranes; a label's 0 is 0, whatever colour it has."""
    white = 2**bits - 1
    stack = (DEEP >> (16 - bits)).astype(bool if bits == 1 else np.uint8 if bits <= 8 else np.uint16)
    pages = []
    for image in stack:
        strip = np.packbits(image, axis=1) if bits == 1 else imagecodecs.packints_encode(image, bits, runlen=24)
        data = image.tobytes() if bits in (8, 16) else bytes(strip)
        pages.append(
            ([data], gray(image, tags={258: (SHORT, bits), 262: (SHORT, 0), 279: (LONG, len(data)), 339: None})[1])
        )
    images, labels = read(path, hand_made(pages)), read(path, hand_made(pages), labels=True)
    assert same(labels, stack)
    assert same(images, ~stack if bits == 1 else (white - stack).astype(stack.dtype))


def test_white_as_zero_in_signed_or_real_pixels_is_refused_in_images(path: Path) -> None:
    """Nobody can tell what is white there; labels are not inverted, so it does not matter."""
    data = hand_made([gray(STACK[0].astype(np.int16), tags={262: (SHORT, 0)})])
    with pytest.raises(SourceError, match="white is zero in int16 pixels"):
        read(path, data)
    assert same(read(path, data, labels=True), STACK[:1].astype(np.int16))


@pytest.mark.parametrize("code", [258, 259, 262, 277, 278, 339])
def test_a_tag_with_a_default_may_be_missing(path: Path, code: int) -> None:
    """tifffile takes a missing photometric for white is zero; nothing may be inverted without being told."""
    stack = STACK > 99 if code == 258 else STACK
    packed = np.packbits(stack, axis=2) if code == 258 else stack
    strips = [plane.tobytes() for plane in packed]
    size = {279: (LONG, len(strips[0]))}
    pages = [([strip], gray(image, tags=size | {code: None})[1]) for strip, image in zip(strips, stack, strict=True)]
    assert same(read(path, hand_made(pages)), stack)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("rows", [0, 5])
@pytest.mark.parametrize("axis", ["slices", "frames", "channels"])
def test_imagej_stacks_with_one_directory_are_read(path: Path, order: str, rows: int, axis: str) -> None:
    """So ImageJ writes stacks beyond 4 GB: the other slices follow the first, and only the description tells."""
    data = planes_behind_one_page(DEEP, {270: imagej(3, axis)}, rows=rows, order=order)
    assert same(read(path, data), DEEP)
    assert [page.tolist() for page in open_stack(path)] == DEEP.tolist()


@pytest.mark.parametrize("order", ["<", ">"])
def test_imagej_stacks_with_all_directories_are_read(path: Path, order: str) -> None:
    """So ImageJ writes them below 4 GB, and tifffile: all pixels first, then the other directories."""
    assert same(read(path, written(DEEP, imagej=True, byteorder=order)), DEEP)


def test_imagej_may_say_little_of_its_pages(path: Path) -> None:
    """Programs that join single pictures keep the first one's description, which says nothing of slices."""
    for words in ("min=0", "images=3"):
        pages = [gray(image, tags={270: tiff_zoo.text(f"ImageJ=1.54f\n{words}\nmax=255\n")}) for image in STACK]
        assert same(read(path, hand_made(pages)), STACK)


@pytest.mark.parametrize(("n_planes", "rows"), [(1, 0), (1, 5), (3, 0), (3, 5)])
def test_metamorph_stacks_are_read(path: Path, n_planes: int, rows: int) -> None:
    """STK files have one directory, and a tag that counts the planes behind it."""
    assert same(read(path, planes_behind_one_page(DEEP[:n_planes], metamorph(n_planes), rows=rows)), DEEP[:n_planes])


@pytest.mark.isbi
@pytest.mark.skipif(not REAL_STK, reason="../shared/data/bbbc039 is not there")
def test_a_real_metamorph_file_is_read() -> None:
    """BBBC039: uncompressed strips of five rows, one behind the other from byte 8 on."""
    expected = np.frombuffer(REAL_STK[0].read_bytes(), "<u2", 520 * 696, 8).reshape(1, 520, 696)
    assert same(read_stack(REAL_STK[0]), expected)


@pytest.mark.parametrize("axes", ["ZYX", "TYX", "CYX"])
def test_ome_files_are_read_whatever_their_axis_is_called_and_however_they_were_renamed(path: Path, axes: str) -> None:
    assert same(read(path, written(STACK, ome=True, metadata={"axes": axes})), STACK)
    block = '<TiffData IFD="{0}" First{1}="{0}"><UUID FileName="name-before.ome.tif">urn:uuid:1</UUID></TiffData>'
    sizes = {axis: 3 if axes[0] == axis else 1 for axis in "ZCT"}
    words = ome(
        sizes["Z"],
        size_c=sizes["C"],
        size_t=sizes["T"],
        root='UUID="urn:uuid:1"',
        data="".join(block.format(k, axes[0]) for k in range(3)),
    )
    pages = [gray(image, tags={270: words} if k == 0 else {}) for k, image in enumerate(STACK)]
    assert same(read(path, hand_made(pages)), STACK)


@pytest.mark.parametrize("axes", ["CYX", "QYX", "TYX"])
def test_one_long_axis_is_a_stack_whatever_it_is_called(path: Path, axes: str) -> None:
    assert same(read(path, written(STACK, metadata={"axes": axes})), STACK)
    assert same(read(path, written(STACK[None, :, None, :, :, None], metadata={"axes": "TCZYXS"})), STACK)


@pytest.mark.parametrize("in_chain", [False, True])
def test_only_the_first_level_of_a_pyramid_is_read(path: Path, in_chain: bool) -> None:
    """Smaller versions are in SubIFDs; in old files they are pages of the chain that say that they are smaller."""
    small = {"subfiletype": 1, "photometric": "minisblack", "metadata": None, "contiguous": False}
    with tifffile.TiffWriter(path) as tiff:
        for image in STACK:
            tiff.write(image, subifds=0 if in_chain else 2, photometric="minisblack", metadata=None, contiguous=False)
            for step in (2, 4):
                tiff.write(image[::step, ::step], **small)
    assert same(read_stack(path), STACK)


def test_a_slice_that_calls_itself_smaller_and_is_not_is_no_thumbnail(path: Path) -> None:
    """Pages must not vanish because of one odd flag."""
    pages = [gray(image, tags={254: (LONG, 1)}) for image in STACK]
    assert same(read(path, hand_made(pages)), STACK)


def test_three_pages_without_photometric_are_no_colours(path: Path) -> None:
    assert same(read(path, hand_made([gray(image, tags={262: None, 277: None}) for image in STACK])), STACK)


@pytest.mark.parametrize("shape", [(1, 20, 24), (1, 1, 1), (2, 1, 5), (5, 1, 1), (4, 5, 3), (3, 4, 4), (2, 20, 1)])
def test_small_and_flat_stacks_keep_their_shape(path: Path, shape: tuple[int, int, int]) -> None:
    """Neither three columns nor a single row may change what is a slice."""
    stack = np.resize(STACK, shape)
    write_stack(path, stack)
    assert same(read_stack(path), stack)


def test_a_stack_is_read_slice_by_slice(path: Path) -> None:
    write_stack(path, STACK)
    stack = open_stack(path)
    assert (stack.shape, stack.dtype, len(stack)) == (STACK.shape, STACK.dtype, 3)
    assert same(stack[2], STACK[2])
    assert same(stack[0], STACK[0])
    for z in (-1, 3):
        with pytest.raises(IndexError):
            stack[z]


def test_a_file_that_was_replaced_is_not_read_on(path: Path) -> None:
    """Its pages may lie elsewhere: bytes of something else would pass for pixels."""
    write_stack(path, STACK)
    stack = open_stack(path)
    assert same(stack[0], STACK[0])
    write_stack(path, np.resize(STACK, (4, 20, 24)))
    with pytest.raises(SourceError, match=r"stack\.tif: slice 1 changed"):
        stack[1]


def test_what_the_microscopes_program_wrote_beside_the_pixels_does_not_matter(path: Path) -> None:
    """A single page has no axes that only Zeiss's or Micro-Manager's own programs could tell apart."""
    for tag in (51123, 34362, 34412):
        assert same(read(path, hand_made([gray(STACK[0], tags={tag: (LONG, [0] * 64)})])), STACK[:1])


def test_bits_in_reverse_order_are_turned(path: Path) -> None:
    """FillOrder 2, as some scanners write 1-bit pictures."""
    strip = bytes(int(f"{byte:08b}"[::-1], 2) for byte in np.packbits(STACK[0] > 99, axis=1).tobytes())
    tags = {258: (SHORT, 1), 266: (SHORT, 2), 279: (LONG, len(strip))}
    assert same(read(path, hand_made([([strip], gray(STACK[0], tags=tags)[1])])), STACK[:1] > 99)


def lsm(*, z: int = 1, times: int = 1, channels: int = 1, shape: tuple[int, int] = (20, 24)) -> tuple[int, int, bytes]:
    """Return the tag CZ_LSMINFO, as far as tifffile needs it, for a stack of so many slices."""
    numbers = struct.pack("<Iiiiiiii", 67127628, 512, shape[1], shape[0], z, channels, times, 1)
    return BYTE, 512, numbers.ljust(512, b"\0")


def test_a_stack_of_zeiss_lsm_is_read(path: Path) -> None:
    """One channel, whose thumbnails lie between the slices."""
    small = gray(STACK[0][::4, ::4], tags={254: (LONG, 1)})
    pages = [page for image in STACK for page in (gray(image, tags={34412: lsm(z=3)}), small)]
    assert same(read(path, hand_made(pages)), STACK)
    pages = [gray(image, tags={34412: lsm(times=3)}) for image in STACK]
    assert same(read(path, hand_made(pages)), STACK)


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        (lsm(z=4), r"expected 4 slices \(as Zeiss LSM says\), found 3"),
        (lsm(z=3, times=2), r"found 2 times x 3 slices \(Zeiss LSM\)"),
        (lsm(channels=3), "3 pages that Zeiss LSM described in its own way"),
        (lsm(z=3, shape=(24, 20)), "3 pages that Zeiss LSM described in its own way"),
    ],
)
def test_what_zeiss_lsm_says_otherwise_is_refused(path: Path, tag: tuple[int, int, bytes], words: str) -> None:
    with pytest.raises(SourceError, match=words):
        read(path, hand_made([gray(image, tags={34412: tag}) for image in STACK]))
