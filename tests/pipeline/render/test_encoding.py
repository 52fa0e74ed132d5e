"""A shard's bytes are the same every time, and any HDF5 reader can read them."""

import io
import zlib

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.render.encoding import ShardMemory, deflate_array, encode_shard

IMAGES = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(3, 4, 5)
LABELS = (np.arange(3 * 4 * 5).reshape(3, 4, 5) % 3).astype(np.uint8)
IDS = ["a", "b", "c"]


def encode(memory: ShardMemory, n: int = 3) -> bytes:
    deflated = [deflate_array(label) for label in LABELS[:n]]
    return bytes(encode_shard(memory, IMAGES[:n], deflated, LABELS.dtype, IDS[:n], {"split": "train"}))


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


def test_the_memory_may_be_small_large_or_used_before() -> None:
    """Whatever an earlier, longer shard left there must not shine through."""
    fresh, ample, used = ShardMemory(), ShardMemory(1 << 16), ShardMemory(10)
    encode(used)
    assert encode(fresh, 2) == encode(ample, 2) == encode(used, 2)


def test_a_label_is_a_zlib_stream() -> None:
    assert zlib.decompress(deflate_array(LABELS[0])) == LABELS[0].tobytes()


steps = st.one_of(
    st.tuples(st.just("write"), st.binary(max_size=20)),
    st.tuples(st.just("seek"), st.integers(0, 60)),
    st.tuples(st.just("truncate"), st.integers(0, 60)),
    st.tuples(st.just("read"), st.integers(0, 20)),
)


@given(st.lists(steps, max_size=20), st.integers(0, 30))
def test_the_memory_behaves_as_a_file(todo: list[tuple[str, bytes | int]], ready: int) -> None:
    memory, file = ShardMemory(ready), io.BytesIO()
    for name, value in todo:
        if name == "truncate" and isinstance(value, int) and value > len(file.getvalue()):
            file.seek(0, 2)
            file.write(bytes(value - file.tell()))  # a real file grows, BytesIO does not
            file.seek(memory.tell())
        if name == "write" and not value:
            continue  # writing nothing far out makes no file longer, and h5py never does it
        assert getattr(memory, name)(value) == getattr(file, name)(value)
        assert memory.tell() == file.tell()
    assert bytes(memory.contents()) == file.getvalue()


@pytest.mark.parametrize("whence", [0, 1, 2])
def test_seeking_knows_where_from(whence: int) -> None:
    memory = ShardMemory()
    memory.write(memoryview(b"12345678"))
    memory.seek(2)
    assert memory.seek(3, whence) == (3, 5, 11)[whence]
