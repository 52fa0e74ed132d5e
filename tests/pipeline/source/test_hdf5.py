"""Arrays of HDF5 files are the stacks that they would be as TIFF, or refused in one line."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from small_worlds import small_config, small_stack, write_folder

from pipeline.build.builder import build_dataset
from pipeline.errors import AugpipeError, ConfigError, SourceError
from pipeline.source.pages import grid
from pipeline.source.pages.address import split_address
from pipeline.source.pages.formats import open_file
from pipeline.source.readers import read_folder, read_pairs
from pipeline.verify.verification import verify_dataset

ISBI = Path(__file__).parents[4] / "shared" / "data" / "isbi2012"
STACK = np.random.default_rng(0).integers(0, 2000, (7, 35, 21)).astype(np.uint16)


def write(path: Path, pixels: NDArray[Any] = STACK, name: str = "raw", axes: str = "", **options: Any) -> Path:
    with h5py.File(path, "w") as file:
        array = file.create_dataset(name, data=pixels, **options)
        if axes:
            array.attrs["axes"] = axes
    return path


def read(path: Path, *, labels: bool = False) -> NDArray[Any]:
    stack = open_file(path, labels=labels)
    pixels = np.stack(list(stack))
    assert (pixels.shape, pixels.dtype) == (stack.shape, stack.dtype)
    return pixels


def refusal(path: Path, *, labels: bool = False) -> str:
    with pytest.raises(AugpipeError) as refused:
        read(path, labels=labels)
    line = str(refused.value)
    assert str(split_address(path)[0]) in line
    assert "\n" not in line
    return line


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stack.h5"


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "<i8", ">f4", "<f8", "?"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (3, 16, 16)},
        {"chunks": (3, 16, 16), "compression": "gzip", "shuffle": True, "fletcher32": True},
        {"chunks": (3, 16, 16), "compression": "lzf", "shuffle": True},
        {"chunks": (3, 16, 16), "compression": "lzf", "fletcher32": True},
    ],
)
def test_stored_in_any_way_it_is_the_same_stack(path: Path, dtype: str, options: dict[str, Any]) -> None:
    """Of noise, which does not shrink, filters leave some chunks as they are."""
    for pixels in (STACK, STACK // 1000):
        found = read(write(path, pixels.astype(dtype), **options))
        assert np.array_equal(found, pixels.astype(dtype))
        assert found.dtype.isnative


@pytest.mark.parametrize("held", [0, 1 << 26])
def test_slices_in_any_order(path: Path, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the chunks of a slice are too large to be kept for the next."""
    monkeypatch.setattr(grid, "_HELD_BYTES", held)
    stack = open_file(write(path, chunks=(3, 16, 16), compression="gzip"), labels=False)
    for z in (6, 0, 1, 6, 2):
        assert np.array_equal(stack[z], STACK[z])
    with pytest.raises(IndexError):
        stack[7]


def test_chunks_that_were_never_written_are_the_fill_value(path: Path) -> None:
    with h5py.File(path, "w") as file:
        array = file.create_dataset("raw", (4, 30, 30), np.uint8, chunks=(2, 16, 16), fillvalue=9)
        array[0, :3, :3] = 5
    expected = np.full((4, 30, 30), 9)
    expected[:2, :16, :16] = 9
    expected[0, :3, :3] = 5
    assert np.array_equal(read(path), expected)


@pytest.mark.parametrize(
    ("axes", "shape", "order"),
    [
        ("zyx", (7, 35, 21), None),
        ("yx", (35, 21), None),
        ("zyxc", (7, 35, 21, 3), (0, 1, 2, 3)),
        ("czyx", (3, 7, 35, 21), (1, 2, 3, 0)),
        ("tzcyx", (1, 7, 3, 35, 21), (0, 1, 3, 4, 2)),
        ("xyz", (21, 35, 7), (2, 1, 0)),
        ("cyx", (3, 35, 21), (1, 2, 0)),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_axes_are_those_that_the_array_names(
    path: Path, axes: str, shape: tuple[int, ...], order: tuple[int, ...] | None, *, chunked: bool
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    expected = pixels if order is None else pixels.transpose(order)
    if "z" not in axes:
        expected = expected[None]
    if axes[0] == "t":
        expected = expected[0]
    stack = open_file(write(path, pixels, axes=axes, chunks=chunked or None), labels=False)
    assert np.array_equal(np.stack(list(stack)), expected)
    assert stack.channels == (("0", "1", "2") if "c" in axes else ())


def test_vigra_and_labels_of_dimensions_name_axes_too(path: Path) -> None:
    pixels = STACK.transpose(2, 1, 0)
    write(path, pixels)
    with h5py.File(path, "a") as file:
        for place, axis in enumerate("xyz"):
            file["raw"].dims[place].label = axis
    assert np.array_equal(read(path), STACK)
    write(path, pixels)
    with h5py.File(path, "a") as file:
        file["raw"].attrs["axistags"] = json.dumps({"axes": [{"key": axis} for axis in "xyz"]})
    assert np.array_equal(read(path), STACK)


@pytest.mark.parametrize(
    ("shape", "axes", "words"),
    [
        ((7, 35, 21, 3), "", "nothing says which axes are slices and channels; say so in its attribute axes"),
        ((35, 21, 3), "", "nothing says which axes are slices and channels"),
        ((1, 3, 35, 21), "", "nothing says which axes are slices and channels"),
        ((7, 35, 21), "zy", "axes 'zy' for an array of (7, 35, 21)"),
        ((7, 35, 21), "zzy", "axes 'zzy'; expected y and x"),
        ((7, 35, 21), "qyx", "axes 'qyx'; expected y and x"),
        ((2, 7, 35, 21), "tzyx", "found 2 times x 7 slices; export one time"),
        ((0, 35, 21), "", "an array without any pixel"),
        ((40, 35, 21), "cyx", "40 channels, more than 32"),
    ],
)
def test_axes_that_are_no_stack_are_asked_about(path: Path, shape: tuple[int, ...], axes: str, words: str) -> None:
    assert words in refusal(write(path, np.zeros(shape, np.uint8), axes=axes))


def test_axes_of_one_are_no_question(path: Path) -> None:
    for shape in ((1, 1, 7, 35, 21), (7, 1, 35, 21), (1, 7, 35, 21)):
        assert np.array_equal(read(write(path, STACK.reshape(shape))), STACK)


def test_labels_have_no_channels(path: Path) -> None:
    write(path, np.zeros((3, 4, 5, 2), np.uint8), axes="zyxc")
    assert "expected one label a pixel, found 2 channels" in refusal(path, labels=True)


def test_one_of_several_arrays_is_named(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["volumes/raw"] = STACK
        file["volumes/labels/neuron_ids"] = STACK.astype(np.uint64)
        file["volumes/offsets"] = np.zeros(3)
        file["annotations"] = h5py.SoftLink("/volumes/raw")
    listed = "it has /volumes/labels/neuron_ids, /volumes/raw: name one, as stack.h5:/volumes/labels/neuron_ids"
    assert listed in refusal(path)
    assert f"has no array /volumes/seg; {listed}" in refusal(Path(f"{path}:/volumes/seg"))
    assert f"/volumes/labels is no array; {listed}" in refusal(Path(f"{path}:volumes/labels"))
    assert "has no array /volumes/raw/x" in refusal(Path(f"{path}:/volumes/raw/x"))
    stack = open_file(Path(f"{path}:/volumes/raw"), labels=False)
    assert stack.path == Path(f"{path}:/volumes/raw")
    assert stack.files == (path,)
    assert np.array_equal(np.stack(list(stack)), STACK)
    assert read(Path(f"{path}:/volumes/labels/neuron_ids"), labels=True).dtype == np.uint64


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("a.h5:/volumes/raw", ("a.h5", "volumes/raw")),
        ("C:/data/a.HDF5:raw", ("C:/data/a.HDF5", "raw")),
        ("C:/data/a.h5", ("C:/data/a.h5", "")),
        ("at 12:30/a.hdf", ("at 12:30/a.hdf", "")),
        ("a.tif:1", ("a.tif:1", "")),
        ("a.ome.zarr.zip:/labels/x", ("a.ome.zarr.zip", "labels/x")),
    ],
)
def test_a_colon_counts_after_the_suffix_alone(path: str, parts: tuple[str, str]) -> None:
    assert split_address(Path(path)) == (Path(parts[0]), parts[1])


def test_what_leads_out_of_the_file_is_refused(path: Path, tmp_path: Path) -> None:
    write(tmp_path / "other.h5")
    with h5py.File(path, "w") as file:
        file["raw"] = STACK
        file["soft"] = h5py.SoftLink("/raw")
        file["far"] = h5py.ExternalLink("other.h5", "/raw")
        file.create_dataset("outside", (2, 3, 4), np.uint8, external=[(str(tmp_path / "other.h5"), 0, 24)])
        layout = h5py.VirtualLayout((7, 35, 21), np.uint16)
        layout[...] = h5py.VirtualSource(str(tmp_path / "other.h5"), "raw", (7, 35, 21))
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("scaled", data=STACK, scaleoffset=3, chunks=(1, 35, 21))
    for name in ("soft", "far"):
        assert "is a link to something else" in refusal(Path(f"{path}:/{name}"))
    for name in ("outside", "virtual"):
        assert "keeps its values in other files" in refusal(Path(f"{path}:/{name}"))
    assert "is stored with the filter scaleoffset, which is not read; write it with gzip" in refusal(
        Path(f"{path}:/scaled")
    )


def test_a_chunk_is_inflated_no_further_than_it_may_be_large(path: Path) -> None:
    """The bomb is a chunk of ten million bytes in the place of one of a hundred."""
    import zlib

    with h5py.File(path, "w") as file:
        array = file.create_dataset("raw", (1, 10, 10), np.uint8, chunks=(1, 10, 10), compression="gzip")
        array.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(10**7)))
    assert "a chunk is cut short, or would become larger than it is" in refusal(path)


def test_more_than_a_file_can_fill_is_refused(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("raw", (10**5, 10**4, 10**4), np.uint8, chunks=(1, 100, 100))
        file.create_dataset("lumps", (10, 10**5, 10**5), np.uint8, chunks=(1, 10**4, 10**5))
    assert "bytes that would become 10,000,000,000,000" in refusal(Path(f"{path}:raw"))
    assert "chunks of 1,000,000,000 bytes, over" in refusal(Path(f"{path}:lumps"))


def test_a_file_that_is_none_is_refused(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"stack\.h5: expected an HDF5 file, found nothing"):
        open_file(path, labels=False)
    path.write_bytes(b"hello")
    assert "not a readable HDF5 file" in refusal(path)
    data = write(path, chunks=(3, 16, 16), compression="gzip").read_bytes()
    path.write_bytes(data[:-2000])
    assert "stack.h5" in refusal(path)
    write(path, np.zeros(5))
    assert "it has no array of pixels" in refusal(path)


def test_a_checksum_tells_of_damage(path: Path) -> None:
    data = bytearray(write(path, chunks=(7, 35, 21), fletcher32=True).read_bytes())
    place = bytes(data).index(STACK.tobytes())
    data[place + 9] ^= 4
    path.write_bytes(data)
    assert "the checksum of a chunk is wrong" in refusal(path)


def test_an_array_that_changes_while_it_is_used_is_refused(path: Path) -> None:
    stack = open_file(write(path), labels=False)
    write(path, STACK[:3])
    with pytest.raises(SourceError, match="changed while it was being used"):
        stack[0]


def test_a_dataset_of_arrays_goes_all_the_way(tmp_path: Path) -> None:
    """Images and labels in one file, as CREMI has them; found again where the file was moved to."""
    images, labels = small_stack()
    (tmp_path / "data").mkdir()
    file_path = tmp_path / "data" / "sample_A.hdf"
    with h5py.File(file_path, "w") as file:
        file.create_dataset("volumes/raw", data=images, chunks=(5, 20, 20), compression="gzip")
        file.create_dataset("volumes/labels/neuron_ids", data=labels, chunks=(5, 20, 20), compression="gzip")
    pair = Path(f"{file_path}:/volumes/raw"), Path(f"{file_path}:/volumes/labels/neuron_ids")
    source = read_pairs([pair])
    assert source.name == "sample_A"
    assert source.stacks[0].names == ("sample_A",)
    assert source.inputs == read_folder(write_folder(tmp_path / "tiff", images, labels)).inputs
    build_dataset(source, small_config(), out=tmp_path / "d", jobs=1)
    assert verify_dataset(tmp_path / "d", replay=True).findings == ()
    (tmp_path / "data").rename(tmp_path / "moved")
    assert verify_dataset(tmp_path / "d", replay=True, source_folder=tmp_path / "moved").findings == ()
    for both in (pair[0], tmp_path / "tiff" / "train-volume.tif"):
        with pytest.raises(ConfigError, match="named for labels, but is the images"):
            read_pairs([(both, both)])


@pytest.mark.isbi
@pytest.mark.skipif(not ISBI.is_dir(), reason="no ISBI 2012 stack here")
def test_isbi_is_recognised_in_hdf5(tmp_path: Path) -> None:
    import tifffile

    with h5py.File(tmp_path / "isbi.h5", "w") as file:
        for name in ("train-volume", "train-labels"):
            file.create_dataset(name, data=tifffile.imread(ISBI / f"{name}.tif"), compression="gzip")
    source = read_pairs([(Path(f"{tmp_path}/isbi.h5:/train-volume"), Path(f"{tmp_path}/isbi.h5:/train-labels"))])
    assert source.name == "isbi2012"
    assert source.inputs == read_folder(ISBI).inputs
