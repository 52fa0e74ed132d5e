"""Digests are the identity of what users cite, so their definition is written out here by hand."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.shards.digest import (
    array_digest,
    bytes_digest,
    canonical_json,
    content_digest,
    file_digest,
    parse_json,
)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_an_arrays_digest_is_over_dtype_shape_and_bytes() -> None:
    array = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    assert array_digest(array) == sha256(b"|u1(2, 3)\x01\x02\x03\x04\x05\x06")


def test_wide_numbers_are_digested_lowest_byte_first() -> None:
    assert array_digest(np.array([1, 258], "<u2")) == sha256(b"<u2(2,)\x01\x00\x02\x01")
    assert array_digest(np.array([1, 258], ">u2")) == sha256(b"<u2(2,)\x01\x00\x02\x01")


def test_layout_in_memory_changes_nothing() -> None:
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    assert array_digest(np.asfortranarray(array)) == array_digest(array)
    assert array_digest(np.repeat(array, 2, axis=1)[:, ::2]) == array_digest(array)


def test_shape_and_dtype_are_part_of_the_identity() -> None:
    array = np.zeros((2, 6), np.uint8)
    others = [array.reshape(6, 2), array.astype(np.int8), array.view(np.uint16), array[:, :5]]
    assert len({array_digest(other) for other in (array, *others)}) == 5


def test_content_is_image_then_label_row_after_row() -> None:
    weighted = [("a" * 64, "b" * 64, "e" * 64), ("c" * 64, "d" * 64, "f" * 64)]
    joined = "".join(letter * 64 for letter in "abecdf")
    assert content_digest(weighted) == sha256(joined.encode())
    assert content_digest([("a" * 64, "b" * 64), ("c" * 64, "d" * 64)]) == sha256(
        b"a" * 64 + b"b" * 64 + b"c" * 64 + b"d" * 64
    )


def test_files_of_any_size(tmp_path: Path) -> None:
    for size in (0, 1, (1 << 20) - 1, (1 << 20) + 1):
        path = tmp_path / str(size)
        path.write_bytes(b"x" * size)
        assert file_digest(path) == bytes_digest(b"x" * size) == sha256(b"x" * size)


def test_json_has_one_form() -> None:
    assert canonical_json({"b": [1, 2.5, None], "a": "é"}) == '{"a":"é","b":[1,2.5,null]}\n'.encode()


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text('aé~"\n'),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text("abc", max_size=3), children, max_size=3),
    max_leaves=10,
)


@given(plain)
def test_json_can_be_read_back_and_written_the_same(value: Any) -> None:
    data = canonical_json(value)
    assert json.loads(data) == value
    assert canonical_json(json.loads(data)) == data
    assert data.count(b"\n") == 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_json_cannot_hold_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json([value])


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_a_number_that_is_not_finite_is_not_read(number: str) -> None:
    """Python's reader takes them; JSON has none, and canonical JSON cannot write them again."""
    for text in (number, f'{{"a":[1.5,{number}]}}'):
        with pytest.raises(ValueError, match=f"expected finite numbers, found {number}"):
            parse_json(text)


def test_all_other_json_is_read() -> None:
    assert parse_json(b'{"a":[1,1.5,-2e-3,null,"NaN"]}') == {"a": [1, 1.5, -0.002, None, "NaN"]}
