"""A shard's bytes are the same every time, and any HDF5 reader can read them."""

import io
import zlib
from typing import Any

import h5py
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.render.encoding import DeflatedArrays, ShardMemory, deflate_array, encode_shard

IMAGES = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(3, 4, 5)
LABELS = (np.arange(3 * 4 * 5).reshape(3, 4, 5) % 3).astype(np.uint8)
IDS = ["a", "b", "c"]


def encode(memory: ShardMemory, n: int = 3) -> bytes:
    deflated = {"labels": DeflatedArrays(LABELS.dtype, [deflate_array(label) for label in LABELS[:n]])}
    return bytes(encode_shard(memory, IMAGES[:n], deflated, IDS[:n], {"split": "train"}))


def test_any_hdf5_reader_can_read_it() -> None:
    with h5py.File(io.BytesIO(encode(ShardMemory())), "r") as file:
        assert np.array_equal(file["images"], IMAGES)
        assert np.array_equal(file["labels"], LABELS)
        assert list(file["ids"]) == [b"a", b"b", b"c"]
        assert dict(file.attrs) == {"schema": b"augpipe/shard/1", "split": b"train"}


def test_arrays_are_stored_one_sample_a_chunk() -> None:
    with h5py.File(io.BytesIO(encode(ShardMemory())), "r") as file:
        assert file["images"].chunks == file["labels"].chunks == (1, 4, 5)
        assert file["images"].dtype == np.uint16
        assert file["images"].compression is None
        assert file["labels"].compression == "gzip"
        assert file["ids"].dtype == np.dtype("S1")


def test_the_memory_may_be_used_before() -> None:
    """Whatever an earlier, longer shard left there must not shine through."""
    fresh, used = ShardMemory(), ShardMemory()
    used.write(bytes(range(256)) * 100)
    encode(used)
    assert encode(fresh, 2) == encode(used, 2)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("write"), st.binary(max_size=9)),
            st.tuples(st.just("readinto"), st.integers(0, 9)),
            st.tuples(st.just("truncate"), st.none() | st.integers(0, 30)),
            st.tuples(st.just("seek"), st.tuples(st.integers(0, 30), st.sampled_from([io.SEEK_SET, io.SEEK_END]))),
            st.tuples(st.just("clear"), st.none()),
        )
    )
)
def test_memory_is_a_file_like_any_other(actions: list[tuple[str, Any]]) -> None:
    """Held against the standard library's file in memory, whatever is done to both, in any order."""
    memory, expected = ShardMemory(), io.BytesIO()
    for name, value in actions:
        match name:
            case "clear":
                memory.clear()
                expected = io.BytesIO()
            case "readinto":
                own, other = bytearray(value), bytearray(value)
                assert memory.readinto(memoryview(own)) == expected.readinto(other)
                assert own == other
            case "seek":
                assert memory.seek(*value) == expected.seek(*value)
            case _:
                assert getattr(memory, name)(value) == getattr(expected, name)(value)
        assert bytes(memory.contents()) == expected.getvalue()


@given(st.integers(1, 60), st.integers(2, 9))
def test_a_shard_of_any_size_can_be_read_to_its_end(n: int, side: int) -> None:
    images, ids = np.arange(n * side * side, dtype=np.float32).reshape(n, side, side), [f"s{k}" for k in range(n)]
    deflated = {
        "labels": DeflatedArrays(images.dtype, [deflate_array(images[0])] * n),
        "weights": DeflatedArrays(np.dtype("f2"), [deflate_array(image.astype(np.float16)) for image in images]),
    }
    data = encode_shard(ShardMemory(), images, deflated, ids, {})
    with h5py.File(io.BytesIO(bytes(data)), "r") as file:
        assert np.array_equal(file["images"], images)
        assert np.array_equal(file["labels"][-1], images[0])
        assert file["weights"].shape == images.shape
        assert [name.decode() for name in file["ids"]] == ids


def test_a_label_is_a_zlib_stream() -> None:
    assert zlib.decompress(deflate_array(LABELS[0])) == LABELS[0].tobytes()
