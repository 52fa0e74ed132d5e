"""Pictures of several channels are read with the values that other readers find, and what is unclear is asked about."""

import io
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from tiff_zoo import LONG, SHORT, gray, hand_made, mutate, ome, text

from pipeline.errors import AugpipeError, SourceError
from pipeline.source.pages.folder import PageFolder
from pipeline.source.tiff import TiffStack

RGB = ("red", "green", "blue")
RANDOM = np.random.default_rng(7)
CUBE = RANDOM.integers(0, 256, (4, 20, 24, 3), np.uint8)  # slices, rows, columns, channels
DEEP = CUBE.astype(np.uint16) * 257


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stack.tif"


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(SourceError) as refused:
        list(TiffStack(path, **options))
    line = str(refused.value)
    assert line.startswith(str(path))
    assert "\n" not in line
    return line


def write(path: Path, pixels: NDArray[Any], **options: Any) -> None:
    tifffile.imwrite(path, pixels, **options)


def same(stack: TiffStack, expected: NDArray[Any]) -> bool:
    """Return whether a stack holds these pixels, read in order and one by one."""
    one_by_one = np.stack([stack[z] for z in range(len(stack))])
    return (
        (stack.shape, stack.dtype) == (expected.shape, expected.dtype)
        and np.array_equal(np.stack(list(stack)), expected)
        and np.array_equal(one_by_one, expected)
        and all(image.flags.c_contiguous and image.dtype.isnative for image in stack)
    )


STORED: list[dict[str, Any]] = [
    {},
    {"rowsperstrip": 7},
    {"compression": "zlib", "predictor": True, "rowsperstrip": 6},
    {"compression": "lzw", "tile": (16, 16)},
    {"tile": (16, 32)},
    {"byteorder": ">"},
    {"bigtiff": True},
]


@pytest.mark.parametrize("pixels", [CUBE, DEEP, CUBE.astype(np.float32)], ids=lambda pixels: pixels.dtype.name)
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("stored", STORED, ids=str)
def test_rgb_is_read_however_it_is_stored(
    path: Path, pixels: NDArray[Any], stored: dict[str, Any], *, planar: bool
) -> None:
    array = np.moveaxis(pixels, -1, 1) if planar else pixels
    config = "separate" if planar else "contig"
    write(path, array, photometric="rgb", planarconfig=config, metadata=None, **stored)
    stack = TiffStack(path)
    assert np.array_equal(tifffile.imread(path), array)
    assert same(stack, pixels)
    assert (stack.channels, stack.notes, stack.axis) == (RGB, (), "")


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("pixels", [CUBE, DEEP, CUBE.astype(np.float32)], ids=lambda pixels: pixels.dtype.name)
def test_an_opaque_alpha_channel_is_dropped_and_another_refused(
    path: Path, pixels: NDArray[Any], *, planar: bool
) -> None:
    opaque = 1 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max
    alpha = np.full((4, 20, 24, 1), opaque, pixels.dtype)
    options: dict[str, Any] = {"planarconfig": "separate" if planar else "contig", "metadata": None}
    for clear in (False, True):
        alpha[2, 3, 4] = 0 if clear else opaque
        for colours, photometric in ((pixels, "rgb"), (pixels[..., :1], "minisblack")):
            array = np.concatenate([colours, alpha], axis=-1)
            array = np.moveaxis(array, -1, 1) if planar else array
            write(path, array, photometric=photometric, extrasamples=["unassalpha"], **options)
            if clear:
                assert "slice 2: expected an alpha channel that is opaque everywhere, found 1 other" in refusal(path)
                assert "slice 2: expected an alpha" in refusal(path, labels=True, colour=True)
            else:
                stack = TiffStack(path)
                assert same(stack, colours if photometric == "rgb" else colours[..., 0])
                assert stack.notes == ("the alpha channel hides nothing, and is left out",)


def test_values_that_nobody_names_are_numbered(path: Path) -> None:
    write(path, CUBE[0, ..., :2], photometric="minisblack", planarconfig="contig", metadata=None)
    stack = TiffStack(path)
    assert same(stack, CUBE[:1, ..., :2])
    assert stack.channels == ("0", "1")
    four = np.concatenate([CUBE, CUBE[..., :1]], axis=-1)
    write(path, four, photometric="rgb", extrasamples=["unspecified"])
    assert same(TiffStack(path), four)
    assert TiffStack(path).channels == (*RGB, "3")


def test_gray_labels_that_were_saved_as_rgb_are_gray(path: Path) -> None:
    """Programs that draw save masks so; one pixel of colour is refused, as its gray level would be no class."""
    same_values = np.repeat(CUBE[..., :1], 3, axis=-1)
    write(path, same_values, photometric="rgb")
    stack = TiffStack(path, labels=True)
    assert same(stack, CUBE[..., 0])
    assert (stack.channels, stack.notes) == (
        (),
        ("red, green and blue are equal in every pixel, and taken as one number",),
    )
    assert same(TiffStack(path, labels=True, colour=True), same_values)
    same_values[1, 2, 3, 0] ^= 1
    write(path, same_values, photometric="rgb")
    assert "slice 1: expected one number a pixel, found colours; if each colour" in refusal(path, labels=True)
    write(path, CUBE, photometric="minisblack", planarconfig="contig", metadata=None)
    assert "expected one number a pixel, found 3 channels" in refusal(path, labels=True)
    assert "expected one number a pixel, found 3 channels" in refusal(path, labels=True, colour=True)


# Hyperstacks


def ome_order(order: str, pixels: NDArray[Any], names: tuple[str, ...] = (), *, axis: str = "Z") -> bytes:
    """Return an OME-TIFF of pixels (Z, Y, X, C), with its planes in an order such as XYCZT."""
    planes = pixels.transpose(3, 0, 1, 2) if order.index("C") > order.index(axis) else pixels.transpose(0, 3, 1, 2)
    channels = "".join(f'<Channel ID="Channel:0:{k}" Name="{name}"/>' for k, name in enumerate(names))
    size = {"size_z": 1, "size_t": len(pixels)} if axis == "T" else {"size_z": len(pixels)}
    _, words = ome(**size, size_c=pixels.shape[3], data=f"{channels}<TiffData/>")
    xml = bytes(words[:-1]).decode().replace("XYZTC", order)
    pages = planes.reshape(-1, *planes.shape[2:])
    return hand_made([gray(page, tags={270: text(xml)} if k == 0 else {}) for k, page in enumerate(pages)])


def by_tifffile(pixels: NDArray[Any], axes: str, **options: Any) -> bytes:
    """Return what tifffile writes of pixels (Z, Y, X, C) as an array of such axes, of which T may stand for Z."""
    file = io.BytesIO()
    array = np.transpose(pixels, ["ZYXC".index(axis) for axis in axes.replace("T", "Z")])
    tifffile.imwrite(
        file, array, photometric="minisblack", metadata={"axes": axes, **options.pop("also", {})}, **options
    )
    return file.getvalue()


HYPERSTACKS: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "ImageJ": (by_tifffile(CUBE, "ZCYX", imagej=True), ("0", "1", "2")),
    "ImageJ of times": (by_tifffile(CUBE, "TCYX", imagej=True), ("0", "1", "2")),
    "ImageJ, named": (
        by_tifffile(CUBE, "ZCYX", imagej=True, also={"Labels": ["DAPI", "GFP", "phase"] * 4}),
        ("DAPI", "GFP", "phase"),
    ),
    "ImageJ, planes named": (
        by_tifffile(CUBE, "ZCYX", imagej=True, also={"Labels": [f"plane {k}" for k in range(12)]}),
        ("0", "1", "2"),
    ),
    "tifffile": (by_tifffile(CUBE, "ZCYX"), ("0", "1", "2")),
    "tifffile by channel": (by_tifffile(CUBE, "CZYX"), ("0", "1", "2")),
    "tifffile of times": (by_tifffile(CUBE, "TCYX", compression="zlib"), ("0", "1", "2")),
    "tifffile as OME": (
        by_tifffile(CUBE, "ZCYX", ome=True, also={"Channel": {"Name": ["a", "b", "c"]}}),
        ("a", "b", "c"),
    ),
    **{
        f"OME {order} {axis}": (ome_order(order, CUBE, ("DAPI", "GFP", "DIC"), axis=axis), ("DAPI", "GFP", "DIC"))
        for order in ("XYCZT", "XYZCT", "XYZTC", "XYCTZ", "XYTCZ", "XYTZC")
        for axis in "ZT"
    },
    "OME, one name twice": (ome_order("XYCZT", CUBE, ("DAPI", "DAPI", "DIC")), ("0", "1", "2")),
}


@pytest.mark.parametrize("name", HYPERSTACKS)
def test_a_hyperstack_is_slices_with_channels(path: Path, name: str) -> None:
    data, names = HYPERSTACKS[name]
    path.write_bytes(data)
    stack = TiffStack(path)
    assert same(stack, CUBE)
    assert stack.channels == names
    assert stack.axis != "channels"


def test_imagej_hyperstacks_without_pages_of_their_own(path: Path) -> None:
    """So ImageJ writes them beyond 4 GB: all planes follow the first, and may be said to come in another order."""
    for order, planes in (("czt", CUBE.transpose(0, 3, 1, 2)), ("zct", CUBE.transpose(3, 0, 1, 2))):
        words = text(f"ImageJ=1.54f\nimages=12\nchannels=3\nslices=4\norder={order}\n")
        pages = planes.reshape(12, 20, 24)
        strips, tags = gray(pages[0], tags={270: words})
        path.write_bytes(hand_made([([*strips, pages[1:].tobytes()], tags)]))
        assert same(TiffStack(path), CUBE)


@pytest.mark.parametrize("how", [{"imagej": True}, {"ome": True}, {}], ids=["ImageJ", "OME", "tifffile"])
def test_channels_alone_are_slices_until_they_are_said_to_be_channels(path: Path, how: dict[str, Any]) -> None:
    """`axis` says that it is a question; files of one slice each have an answer, as folders have."""
    planes = CUBE[0].transpose(2, 0, 1)
    write(path, planes, photometric="minisblack", metadata={"axes": "CYX"}, **how)
    for answer in (None, True):
        stack = TiffStack(path, channels_are_slices=answer)
        assert (stack.axis, stack.channels) == ("channels", ())
        assert same(stack, planes)
    stack = TiffStack(path, channels_are_slices=False)
    assert (stack.axis, stack.channels) == ("", ("0", "1", "2"))
    assert same(stack, CUBE[:1])
    assert same(TiffStack(path, labels=True, channels_are_slices=False), planes)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("n", [3, 4])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
def test_three_slices_that_tifffile_took_for_colours_are_a_question(
    path: Path, n: int, options: dict[str, Any]
) -> None:
    """A stack (3, Y, X) saved with its defaults is planar RGB in the file, and (4, Y, X) has an alpha channel."""
    slices = RANDOM.integers(0, 256, (n, 20, 24), np.uint8)
    write(path, slices, **options)
    for answer, labels in ((None, False), (True, False), (None, True), (True, True)):
        stack = TiffStack(path, labels=labels, channels_are_slices=answer)
        assert (stack.axis, stack.channels, stack.notes) == ("channels", (), ())
        assert same(stack, slices)
    if n == 3:
        stack = TiffStack(path, channels_are_slices=False)
        assert (stack.axis, stack.channels) == ("", RGB)
        assert same(stack, slices.transpose(1, 2, 0)[None])
    write(path, slices, photometric="rgb", planarconfig="separate", metadata={"axes": "ZYX"})
    assert same(TiffStack(path, channels_are_slices=False), slices)
    assert TiffStack(path).axis == "slices"
    write(path, CUBE.transpose(0, 3, 1, 2), metadata={"axes": "ZCYX"}, photometric="rgb", planarconfig="separate")
    assert same(TiffStack(path), CUBE)
    write(path, CUBE.transpose(0, 3, 1, 2))
    assert "found 4 slices of 3 channels, or slices of slices; if they are channels, say --no" in refusal(path)
    assert same(TiffStack(path, channels_are_slices=False), CUBE)


def test_labels_have_no_channels(path: Path) -> None:
    path.write_bytes(HYPERSTACKS["ImageJ"][0])
    assert "expected one label for each slice, found 4 slices of 3 channels (as ImageJ says)" in refusal(
        path, labels=True
    )


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("axes", ["YXC", "ZYXC", "TYXC", "ZYXS"])
def test_pages_may_be_the_rows_of_slices(path: Path, axes: str, compression: str | None) -> None:
    """tifffile writes (Y, X, 2) as Y pages of X rows with two columns, if it is not told of colours."""
    pixels = CUBE[:1, ..., :2] if axes[0] == "Y" else CUBE[..., :2]
    array = pixels[0] if axes[0] == "Y" else pixels
    write(path, array, photometric="minisblack", metadata={"axes": axes}, compression=compression)
    stack = TiffStack(path)
    assert same(stack, pixels)
    assert (stack.channels, stack.axis) == (("0", "1"), {"Z": "slices", "T": "times"}.get(axes[0], ""))
    assert "expected one label for each slice, found" in refusal(path, labels=True)
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"shape": [4, ', b'"shape": [5, ').replace(b'"shape": [20, ', b'"shape": [21, '))
    assert re.search(r"expected (100|21) slices \(as its description says\), found (80|20)", refusal(path))


def test_rgb_of_imagej_and_ome_is_read(path: Path) -> None:
    """OME counts the values of a pixel as channels, though they share a page."""
    write(path, CUBE, imagej=True, metadata={"axes": "ZYXS"})
    assert same(TiffStack(path), CUBE)
    for planar, array, axes in ((None, CUBE, "ZYXS"), ("separate", CUBE.transpose(0, 3, 1, 2), "ZSYX")):
        write(path, array, ome=True, photometric="rgb", planarconfig=planar, metadata={"axes": axes})
        stack = TiffStack(path)
        assert same(stack, CUBE)
        assert stack.channels == RGB
        assert same(TiffStack(path, channels_are_slices=False), CUBE)


def test_all_channels_count_where_memory_is_asked_for(path: Path) -> None:
    tags = {256: (LONG, 10**4), 257: (LONG, 10**4), 258: (SHORT, [8] * 3), 259: (SHORT, 8), 262: (SHORT, 2)}
    strip = zlib.compress(bytes(10**5))
    size = {277: (SHORT, 3), 278: (LONG, 10**4), 279: (LONG, len(strip))}
    path.write_bytes(hand_made([([strip], gray(CUBE[0, ..., 0], tags=tags | size)[1])]))
    assert "bytes that would become 300,000,000 (1 x 10000 x 10000 px, uint8, RGB)" in refusal(path)


def damaged_files() -> list[bytes]:
    """Return what is damaged below: RGB in pixels and in planes, with alpha, compressed, and hyperstacks."""
    opaque = np.concatenate([CUBE, np.full((4, 20, 24, 1), 255, np.uint8)], axis=-1)
    found = []
    for pixels, options in (
        (CUBE, {"rowsperstrip": 7}),
        (CUBE.transpose(0, 3, 1, 2), {"planarconfig": "separate", "compression": "zlib"}),
        (opaque, {"compression": "lzw", "tile": (16, 16)}),
    ):
        file = io.BytesIO()
        tifffile.imwrite(file, pixels, photometric="rgb", metadata=None, **options)
        found.append(file.getvalue())
    return [*found, *(HYPERSTACKS[name][0] for name in ("ImageJ", "tifffile by channel", "OME XYZCT Z"))]


@pytest.mark.parametrize("part", range(4))
def test_any_damage_is_a_typed_error_or_a_stack(path: Path, part: int) -> None:
    files, n_refused = damaged_files(), 0
    for seed in range(30 * part, 30 * part + 30):
        rng = np.random.default_rng(seed)
        path.write_bytes(mutate(rng, files[seed % len(files)], files[rng.integers(len(files))]))
        try:
            stack = TiffStack(
                path, labels=seed % 3 == 0, colour=seed % 2 == 0, channels_are_slices=[None, False][seed % 2]
            )
            slices = list(stack)
        except AugpipeError as error:
            n_refused += 1
            assert str(path) in str(error)  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
            continue
        assert np.stack(slices).shape == stack.shape
        assert stack.shape[3:] == ((len(stack.channels),) if stack.channels else ())
        assert all(image.dtype == stack.dtype and image.dtype.isnative for image in slices)
    assert 10 <= n_refused < 30


def test_colours_of_several_channels_are_refused(path: Path) -> None:
    write(path, np.stack([CUBE, CUBE], axis=1), photometric="rgb", metadata={"axes": "ZCYXS"})
    assert "found 4 slices of 2 channels, each in RGB" in refusal(path)


# Gray levels that are shown otherwise


def lut(red: float, green: float, blue: float, n: int = 256) -> NDArray[np.uint16]:
    return np.outer([red, green, blue], np.linspace(0, 65535, n)).astype(np.uint16)


@pytest.mark.parametrize("table", [lut(0, 1, 0), lut(1, 0.5, 0), lut(1, 1, 1), lut(0, 1, 0) // 257 * 257])
def test_a_table_that_only_tints_is_left_out(path: Path, table: NDArray[np.uint16]) -> None:
    """Fiji saves a gray stack so that is shown in green."""
    write(path, CUBE[..., 0], photometric="palette", colormap=table, metadata=None)
    stack = TiffStack(path)
    assert same(stack, CUBE[..., 0])
    assert stack.notes == ("a table of colours tints the gray levels; they are read as they are, without it",)
    assert TiffStack(path, labels=True).notes == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table[:, ::-1],
        lambda table: np.roll(table, 1, axis=1),
        lambda table: RANDOM.permuted(table, axis=1),
        lambda table: table * 0,
        lambda table: table + lut(1, 0, 0)[:, ::-1],
    ],
    ids=["falling", "turned", "mixed", "black", "two hues"],
)
def test_a_table_of_other_colours_makes_no_gray_levels(
    path: Path, change: Callable[[NDArray[np.uint16]], NDArray[np.uint16]]
) -> None:
    write(path, CUBE[..., 0], photometric="palette", colormap=change(lut(0, 1, 0)), metadata=None)
    assert "page 0: expected gray pixels, found places in a table of 256 colours, which is not" in refusal(path)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_floats_where_white_is_zero_are_what_they_are(path: Path, dtype: type) -> None:
    """An inverting look-up table of ImageJ; there is no highest float from which to turn them round."""
    pixels = CUBE[..., 0].astype(dtype) / 7
    pages = [gray(page, tags={262: (SHORT, 0), 279: (LONG, page.nbytes)}) for page in pixels]
    path.write_bytes(hand_made(pages))
    stack = TiffStack(path)
    assert same(stack, pixels)
    assert len(stack.notes) == 1
    assert f"shows zero as white, as an inverting look-up table does; its {pixels.dtype} pixels are" in stack.notes[0]


# Folders of pages


def test_files_of_channels_are_slices_of_a_folder(tmp_path: Path) -> None:
    """Each file is a slice, so that nothing has to be asked: case 21, fields of two channels each."""
    for z, page in enumerate(CUBE):
        write(tmp_path / f"{z}.tif", page.transpose(2, 0, 1), imagej=True, metadata={"axes": "CYX"})
    folder = PageFolder(tmp_path)
    assert (folder.shape, folder.channels, folder.axis) == (CUBE.shape, ("0", "1", "2"), "")
    assert np.array_equal(np.stack(list(folder)), CUBE)
    with pytest.raises(SourceError, match="expected a single page in a folder of pages, found 3"):
        PageFolder(tmp_path, channels_are_slices=True)


def test_an_ome_page_is_itself_whatever_it_says_of_other_files(tmp_path: Path) -> None:
    """Micro-Manager writes a plane a file, and in each that the others are elsewhere: their names are not followed."""
    data = "".join(
        f'<TiffData IFD="0" FirstZ="{z}"><UUID FileName="{z}.ome.tif">urn:uuid:{z}</UUID></TiffData>' for z in range(4)
    )
    for z, page in enumerate(CUBE[..., 0]):
        (tmp_path / f"{z}.ome.tif").write_bytes(hand_made([gray(page, tags={270: ome(4, data=data)})]))
    assert np.array_equal(np.stack(list(PageFolder(tmp_path))), CUBE[..., 0])
    with pytest.raises(SourceError, match="its slices are in several files"):
        TiffStack(tmp_path / "0.ome.tif")
    pages = [gray(page, tags={270: ome(4, data=data)} if z == 0 else {}) for z, page in enumerate(CUBE[:2, ..., 0])]
    (tmp_path / "0.ome.tif").write_bytes(hand_made(pages))
    with pytest.raises(SourceError, match="its slices are in several files"):
        PageFolder(tmp_path)


def test_what_is_said_of_pages_is_said_once(tmp_path: Path) -> None:
    opaque = np.full((20, 24, 1), 255, np.uint8)
    for z, page in enumerate(CUBE):
        pixels = np.concatenate([page, opaque], axis=-1) if z < 3 else page
        write(tmp_path / f"{z}.tif", pixels, photometric="rgb", metadata=None)
    folder = PageFolder(tmp_path)
    assert np.array_equal(np.stack(list(folder)), CUBE)
    assert folder.notes == ("the alpha channel hides nothing, and is left out (in 3 of 4 files)",)


@pytest.mark.parametrize(
    ("page", "found"),
    [
        (CUBE[0, ..., 0], "3.tif: 20 x 24 px, uint8, but 0.tif is 20 x 24 px, uint8, 3 channels;"),
        (
            CUBE[0, ..., [2, 1, 0]],
            "3.tif: has the channels 0, 1, 2, but 0.tif has red, green, blue; slices of one stack are alike",
        ),
    ],
    ids=["gray", "others"],
)
def test_pages_of_other_channels_are_refused(tmp_path: Path, page: NDArray[Any], found: str) -> None:
    for z in range(3):
        write(tmp_path / f"{z}.tif", CUBE[z], photometric="rgb")
    write(tmp_path / "3.tif", page, photometric="minisblack", metadata={"axes": "CYX" if page.ndim > 2 else "YX"})
    with pytest.raises(SourceError, match=re.escape(found)):
        PageFolder(tmp_path)
