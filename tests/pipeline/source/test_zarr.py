"""OME-Zarr and plain Zarr arrays are the stacks that they would be as TIFF, or refused in one line."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from small_worlds import small_config, small_stack, write_folder
from zarr_zoo import write_array, write_group, write_image, zipped

from pipeline.build.builder import build_dataset
from pipeline.errors import AugpipeError, ConfigError
from pipeline.source.pages.formats import open_file
from pipeline.source.readers import read_folder, read_images, read_pairs
from pipeline.verify.verification import verify_dataset

ISBI = Path(__file__).parents[4] / "shared" / "data" / "isbi2012"
STACK = np.random.default_rng(0).integers(0, 2000, (7, 35, 21)).astype(np.uint16)
STACK[:3, :16, :16] = 0  # a chunk that is left out
CHUNKS = (3, 16, 16)
VERSIONS = pytest.mark.parametrize("version", [2, 3])


def read(path: Path, *, labels: bool = False) -> NDArray[Any]:
    stack = open_file(path, labels=labels)
    pixels = np.stack(list(stack))
    assert (pixels.shape, pixels.dtype) == (stack.shape, stack.dtype)
    return pixels


def refusal(path: Path, *, labels: bool = False) -> str:
    with pytest.raises(AugpipeError) as refused:
        read(path, labels=labels)
    line = str(refused.value)
    assert str(path).partition(":")[0] in line
    assert "\n" not in line
    return line


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stack.ome.zarr"


@VERSIONS
@pytest.mark.parametrize("dtype", ["u1", "u2", "i8", "f4", "?"])
def test_a_plain_array_is_a_stack(path: Path, dtype: str, version: int) -> None:
    found = read(write_array(path, STACK.astype(dtype), CHUNKS, version=version))
    assert np.array_equal(found, STACK.astype(dtype))


@VERSIONS
def test_an_image_is_read_at_full_resolution(path: Path, version: int) -> None:
    assert np.array_equal(read(write_image(path, STACK, "zyx", CHUNKS, version=version)), STACK)
    assert np.array_equal(read(path / "half"), STACK[:, ::2, ::2])


@VERSIONS
@pytest.mark.parametrize("named", [True, False])
def test_channels_are_named_by_omero(path: Path, version: int, *, named: bool) -> None:
    pixels = np.stack([STACK, STACK + 1], axis=0)[None]
    names = [{"label": "DAPI"}, {"label": "GFP" if named else "DAPI"}]
    write_image(path, pixels, "tczyx", (1, 1, *CHUNKS), version=version, omero={"channels": names})
    assert np.array_equal(read(path), np.stack([STACK, STACK + 1], axis=-1))
    expected = ("DAPI", "GFP") if named else ("0", "1")
    assert open_file(path, labels=False).channels == expected


@VERSIONS
def test_one_channel_is_gray(path: Path, version: int) -> None:
    write_image(path, STACK[None, None], "tczyx", (1, 1, *CHUNKS), version=version)
    assert np.array_equal(read(path), STACK)


@VERSIONS
def test_labels_are_found_beside_their_image(path: Path, version: int) -> None:
    cells = (STACK // 100).astype(np.uint32)
    write_image(path, STACK[None], "czyx", (1, *CHUNKS), version=version, labels={"cells": cells})
    for place in (path, path / "labels", path / "labels" / "cells"):
        assert np.array_equal(read(place, labels=True), cells)
    write_image(path, STACK[None], "czyx", (1, *CHUNKS), version=version, labels={"cells": cells, "nuclei": cells})
    assert "has cells, nuclei; name one, as" in refusal(path, labels=True)
    assert f"{path}/labels/cells" in refusal(path, labels=True)
    assert np.array_equal(read(path / "labels" / "nuclei", labels=True), cells)


def test_groups_of_arrays_are_asked_about(path: Path) -> None:
    write_group(path, {}, version=2)
    write_array(path / "volumes", STACK, CHUNKS, version=2)
    assert np.array_equal(read(path), STACK)
    write_array(path / "others", STACK, CHUNKS, version=2)
    assert "has others, volumes; name one, as" in refusal(path)
    with pytest.raises(ConfigError, match="nowhere: expected a TIFF file, found nothing"):
        read_images(path / "nowhere")


def test_axes_are_those_that_the_array_names(path: Path) -> None:
    pixels = STACK.transpose(2, 1, 0)
    write_array(path, pixels, (16, 16, 3), version=3, dimension_names=["x", "y", "z"])
    assert np.array_equal(read(path), STACK)
    write_array(path, pixels, (16, 16, 3), version=3, attributes={"axes": "xyz"})
    assert np.array_equal(read(path), STACK)
    write_array(path, np.zeros((5, 30, 30, 3), np.uint8), (1, 30, 30, 3), version=3)
    write_array(path / "other", np.ones((5, 30, 30, 3), np.uint8), (1, 30, 30, 3), version=3)
    assert "nothing says which axes are slices and channels; write it as OME-Zarr" in refusal(path / "other")


@VERSIONS
@pytest.mark.parametrize(("deflate", "top"), [(False, False), (True, False), (False, True)])
def test_a_zip_file_is_what_it_holds(tmp_path: Path, path: Path, version: int, *, deflate: bool, top: bool) -> None:
    write_image(path, STACK, "zyx", CHUNKS, version=version, labels={"cells": STACK})
    file = zipped(path, tmp_path / "x.zarr.zip", deflate=deflate, top=top)
    assert np.array_equal(read(file), STACK)
    assert np.array_equal(read(file, labels=True), STACK)
    assert np.array_equal(read(Path(f"{file}:/half")), STACK[:, ::2, ::2])
    assert "expected a Zarr group or array, found none" in refusal(Path(f"{file}:/other"))
    data = bytearray(file.read_bytes())
    place = 0
    for _ in range(60):
        place = (place * 997 + 12345) % len(data)
        changed = bytearray(data)
        changed[place] ^= 255
        file.write_bytes(changed)
        try:
            assert np.array_equal(read(file), STACK)
        except AugpipeError:
            continue


def test_one_zip_file_holds_images_and_their_labels(tmp_path: Path, path: Path) -> None:
    write_image(path, STACK, "zyx", CHUNKS, version=3, labels={"cells": STACK % 2})
    file = zipped(path, tmp_path / "x.zarr.zip", deflate=False, top=False)
    assert np.array_equal(read_pairs([(file, file)]).stacks[0].labels, STACK % 2)
    alone = write_image(tmp_path / "y.ome.zarr", STACK, "zyx", CHUNKS, version=3)
    with pytest.raises(ConfigError, match="named for labels, but is the images themselves"):
        read_pairs([(zipped(alone, tmp_path / "y.zarr.zip", deflate=False, top=False),) * 2])


CODECS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": imagecodecs.gzip_encode,
    "zlib": zlib.compress,
    "bz2": imagecodecs.bz2_encode,
    "blosc": lambda data: imagecodecs.blosc_encode(data, compressor="lz4", shuffle=2, typesize=2),
    "lz4": lambda data: imagecodecs.lz4_encode(data, header=True),
    "zstd": imagecodecs.zstd_encode,
}


@pytest.mark.parametrize("name", CODECS)
def test_no_codec_makes_more_of_a_chunk_than_it_is(path: Path, name: str) -> None:
    """The bomb is a chunk of ten million bytes in the place of one of 512."""
    pack = CODECS[name]
    write_array(path, STACK[6:, :16, :16], (1, 16, 16), version=2, compressor={"id": name})
    chunk = path / "0" / "0" / "0"
    whole = pack(STACK[6, :16, :16].tobytes())
    chunk.write_bytes(whole)
    assert np.array_equal(read(path), STACK[6:, :16, :16])
    chunk.write_bytes(pack(bytes(10**7)))
    refusal(path)
    write_array(path, np.ones((1, 1, 1), np.uint16), (1, 16, 16), version=2, shape=[10**4] * 3, chunks=[10**3] * 3)
    chunk.write_bytes(pack(bytes(10**7)))
    assert "chunks of 2,000,000,000 bytes, over" in refusal(path)
    write_array(path, STACK[6:, :16, :16], (1, 16, 16), version=2, compressor={"id": name})
    chunk.write_bytes(pack(bytes(100)))
    assert "a chunk holds more or less than 512 bytes" in refusal(path)
    for cut in (0, 5, 200, len(whole) - 1):
        chunk.write_bytes(whole[:cut])
        refusal(path)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"chunks": [0, 16, 16]}, "a shape or chunks of"),
    ({"chunks": [3, 16]}, "in chunks of"),
    ({"shape": [7, -35, 21]}, "a shape or chunks of"),
    ({"shape": "7"}, "a shape or chunks of"),
    ({"shape": [10**6, 10**5, 10**5]}, "bytes that would become"),
    ({"shape": [100, 10**4, 10**4], "chunks": [1000, 1000, 1000]}, "is no chunk of an array"),
    ({"chunks": [10**4, 10**4, 10**4]}, "0/0/1 is no chunk of an array of (7, 35, 21)"),
    ({"shape": [3, 35, 21]}, "1/0/0 is no chunk of an array of (3, 35, 21); remove it, or copy it all again"),
    ({"dtype": "|O"}, "expected whole or real numbers, found object"),
    ({"dtype": "<M8[ns]"}, "expected whole or real numbers"),
    ({"dtype": [["a", "<u2"]]}, "its metadata are not those of a Zarr array"),
    ({"filters": [{"id": "pickle"}]}, "is stored with the filter pickle, which is not read"),
    ({"compressor": {"id": "pcodec"}}, "is stored with the codec 'pcodec', which is not read"),
    ({"compressor": 5}, "its metadata are not those of a Zarr array"),
    ({"zarr_format": None}, "expected Zarr of version 2 or 3, found None"),
    ({"order": "zyx"}, "chunks in the order 'zyx'"),
    ({"dimension_separator": "-"}, "named with '-'"),
    ({"fill_value": 10**9}, "its metadata are not those of a Zarr array"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_metadata_that_ask_for_too_much_are_refused(path: Path, changes: dict[str, Any], words: str) -> None:
    assert words in refusal(write_array(path, STACK, CHUNKS, version=2, **changes))


def test_broken_metadata_are_refused(path: Path) -> None:
    write_image(path, STACK, "zyx", CHUNKS, version=2)
    for text, words in [
        ("[]", ".zattrs holds no JSON object"),
        ("{", ".zattrs is no JSON"),
        ('{"multiscales": []}', "are not those of one image"),
        (
            '{"multiscales": [{"axes": ["z", "y", "x"], "datasets": [{"path": "../half"}]}]}',
            "no place in a Zarr folder",
        ),
        (
            '{"multiscales": [{"axes": ["z", "y", "x"], "datasets": [{"path": "9"}]}]}',
            "full resolution, 9, is not there",
        ),
        ('{"multiscales": [{"axes": ["y", "x"], "datasets": [{"path": "full"}]}]}', "axes 'yx' for an array of"),
    ]:
        (path / ".zattrs").write_text(text)
        assert words in refusal(path), text


def test_no_link_leads_out_of_the_folder(path: Path, tmp_path: Path) -> None:
    write_array(path, STACK, CHUNKS, version=2)
    chunk = path / "1" / "1" / "1"
    chunk.rename(tmp_path / "chunk")
    chunk.symlink_to(tmp_path / "chunk")
    assert "1/1/1 is a link, which is not followed" in refusal(path)
    (tmp_path / "linked.zarr").symlink_to(path)
    chunk.unlink()
    (tmp_path / "chunk").rename(chunk)
    assert np.array_equal(read(tmp_path / "linked.zarr"), STACK)


def test_an_array_without_chunks_was_not_copied(path: Path) -> None:
    write_array(path, np.zeros((7, 35, 21), np.uint8), CHUNKS, version=3)
    assert "has no chunks, so that all would be empty" in refusal(path)


def test_a_dataset_of_ome_zarr_goes_all_the_way(tmp_path: Path) -> None:
    images, labels = small_stack()
    place = tmp_path / "data" / "mine.ome.zarr"
    write_image(place, images, "zyx", (5, 20, 20), version=3, labels={"cells": labels})
    source = read_pairs([(place, place)])
    assert source.name == "mine"
    assert source.stacks[0].names == ("mine",)
    assert source.inputs == read_folder(write_folder(tmp_path / "tiff", images, labels)).inputs
    assert np.array_equal(np.stack(list(read_images(place)[0])), images)
    build_dataset(source, small_config(), out=tmp_path / "d", jobs=1)
    assert verify_dataset(tmp_path / "d", replay=True).findings == ()
    (tmp_path / "data").rename(tmp_path / "moved")
    assert verify_dataset(tmp_path / "d", replay=True, source_folder=tmp_path / "moved").findings == ()
    plain = write_image(tmp_path / "plain.zarr", images, "zyx", (5, 20, 20), version=3)
    with pytest.raises(ConfigError, match="named for labels, but is the images themselves"):
        read_pairs([(plain, plain)])


def test_what_the_zarr_library_writes_is_read(tmp_path: Path) -> None:
    """Every codec, order of bytes and of axes, shards, and both versions."""
    import zarr
    from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec

    arrays: list[tuple[Path, NDArray[Any]]] = []

    def write(pixels: NDArray[Any], **options: Any) -> None:
        place = tmp_path / f"{len(arrays)}.zarr"
        array = zarr.create_array(str(place), shape=STACK.shape, chunks=CHUNKS, dtype=pixels.dtype, **options)
        array[:] = pixels
        arrays.append((place, pixels))

    for dtype in ("<u2", ">u2", "<f4"):
        for order in "CF":
            write(STACK.astype(dtype), zarr_format=2, order=order)
    for codecs in ([], [BloscCodec(cname="zstd")], [ZstdCodec(checksum=True), Crc32cCodec()], [GzipCodec()]):
        for shards in (None, (6, 32, 32)):
            write(STACK, compressors=codecs, shards=shards, serializer=BytesCodec(endian="big"))
            write(STACK > 1000, compressors=codecs, shards=shards, filters=[TransposeCodec(order=(2, 0, 1))])
    write(STACK, chunk_key_encoding={"name": "v2", "separator": "."})
    for place, pixels in arrays:
        assert np.array_equal(read(place), pixels), json.dumps(str(place))


@pytest.mark.isbi
@pytest.mark.skipif(not ISBI.is_dir(), reason="no ISBI 2012 stack here")
def test_isbi_is_recognised_in_ome_zarr(tmp_path: Path) -> None:
    import tifffile

    images, labels = (tifffile.imread(ISBI / f"train-{name}.tif") for name in ("volume", "labels"))
    write_image(tmp_path / "x.zarr", images, "zyx", (8, 128, 128), version=2, labels={"membranes": labels})
    source = read_pairs([(tmp_path / "x.zarr", tmp_path / "x.zarr")])
    assert source.name == "isbi2012"
    assert source.inputs == read_folder(ISBI).inputs
