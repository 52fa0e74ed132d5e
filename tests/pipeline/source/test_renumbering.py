"""Ids that 16 bits do not hold are numbered anew, 1 to n by value in every stack; others stay as they are."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from small_worlds import small_config, write_folder

import pipeline.source.scanning
from pipeline.build.builder import build_dataset
from pipeline.build.rebuild import rebuild_dataset
from pipeline.shards.digest import array_digest
from pipeline.source.combining import combine, make_source
from pipeline.source.labels import LabelOptions
from pipeline.source.readers import read_folder
from pipeline.source.stacks import RawStack
from pipeline.verify.verification import verify_dataset

IMAGES = np.arange(2 * 4 * 5, dtype=np.uint8).reshape(2, 4, 5)
ODD = np.zeros((2, 4, 5), np.int64)
ODD[0, 0, :3], ODD[1, 1, 1:4] = (81000, 7, 70000), (90000, 7, 2**40)
ORDER = {7: 1, 70000: 2, 81000: 3, 90000: 4, 2**40: 5}


def renumbered(labels: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.vectorize(lambda value: ORDER.get(int(value), 0))(labels)


@pytest.mark.parametrize("dtype", ["int64", "uint64", "float64", ">i8"])
@pytest.mark.parametrize("max_held_bytes", [1 << 27, 10])
def test_ids_beyond_16_bits_are_numbered_by_value(
    monkeypatch: pytest.MonkeyPatch, dtype: str, max_held_bytes: int
) -> None:
    monkeypatch.setattr(pipeline.source.scanning, "_MAX_HELD_BYTES", max_held_bytes)
    source = make_source(IMAGES, ODD.astype(dtype), name="x")
    (stack,) = source.stacks
    assert [stack.labels[z].tolist() for z in range(2)] == renumbered(ODD).tolist()
    assert (source.coding.kind, source.coding.dtype, stack.unlabelled) == ("instances", np.uint16, frozenset())
    labels = stack.identity.labels
    assert labels.dtype == ("uint64" if dtype == "uint64" else "int64")
    assert labels.sha256 == array_digest(ODD.astype(labels.dtype))
    assert (labels.renumbered.rule, labels.renumbered.n) == ("by value", 5)
    assert labels.renumbered.sha256 == array_digest(np.array(sorted(ORDER), np.uint64))
    assert "labels: labels: 5 ids were renumbered 1 to 5 by value" in source.notes


def test_ids_are_not_confused_where_floats_would_be() -> None:
    """2^53 and 2^53 + 1 are one float64, and so are the largest numbers of 64 bits."""
    labels = np.zeros(IMAGES.shape, np.uint64)
    labels[0, 0, :4] = 2**53, 2**53 + 1, 2**64 - 2, 2**64 - 1
    assert make_source(IMAGES, labels, name="x").stacks[0].labels[0][0].tolist() == [1, 2, 3, 4, 0]


def test_stacks_are_numbered_each_by_itself_and_only_where_they_must_be() -> None:
    few = np.minimum(ODD, 500).astype(np.uint8) * 2
    raw = [RawStack(IMAGES, ODD), RawStack(IMAGES + 1, few), RawStack(IMAGES + 2, ODD.astype(np.uint64) + 70000)]
    one, other, third = combine(raw, name="x", label_kind="instances").stacks
    assert np.array_equal(one.labels[:], renumbered(ODD))
    assert (np.array_equal(other.labels[:], few), other.renumbered) == (True, None)
    assert sorted(np.unique(third.labels[:])) == [1, 2, 3, 4, 5, 6]  # no 0 there


def test_ids_within_16_bits_stay_unless_the_highest_is_needed() -> None:
    labels = np.zeros(IMAGES.shape, np.uint16)
    labels[0, 0, :3] = 65535, 300, 4
    (stack,) = make_source(IMAGES, labels, name="x", label_kind="instances").stacks
    assert (np.array_equal(stack.labels[:], labels), stack.renumbered) == (True, None)
    options = LabelOptions(ignore=(4,))
    (stack,) = make_source(IMAGES, labels, name="x", label_kind="instances", label_options=options).stacks
    assert (stack.labels[0][0].tolist(), stack.renumbered.n) == ([2, 1, 65535, 0, 0], 2)


@pytest.mark.parametrize(("n", "dtype"), [(65534, "uint16"), (65535, "uint32")])
def test_more_ids_than_16_bits_number_are_stored_in_32(n: int, dtype: str) -> None:
    labels = np.resize(np.arange(n + 1, dtype=np.uint32) * 3, (2, 200, 200))
    (stack,) = make_source(np.zeros(labels.shape, np.uint8), labels, name="x").stacks
    assert np.array_equal(stack.labels[:], labels // 3)
    assert stack.labels.dtype == stack.identity.labels.stored_dtype == dtype


@pytest.mark.parametrize(("n", "dtype"), [(70, "uint16"), (70_000, "uint32")])
def test_a_dataset_of_wide_ids_is_verified_and_made_again(tmp_path: Path, n: int, dtype: str) -> None:
    images = np.random.default_rng(0).integers(0, 255, (12, 80, 80), np.uint8)
    ids = 2**33 + 1000 * (np.arange(images.size, dtype=np.uint64).reshape(images.shape) * n // images.size)
    folder = write_folder(tmp_path / "small", images, ids)
    config = small_config(weights="unet2015")
    result = build_dataset(read_folder(folder), config, out=tmp_path / "d", jobs=1)
    record = result.dataset.record
    assert (record.schema, record.arrays.ignore) == ("augpipe/dataset/2", None)
    assert result.dataset["train"].labels.dtype == record.arrays.labels == dtype
    assert n // 2 < result.dataset["test"].labels[:].max() <= n
    assert verify_dataset(tmp_path / "d", replay=True).findings == ()
    rebuilt = rebuild_dataset(tmp_path / "d", tmp_path / "e", source_folder=folder, jobs=1)
    assert rebuilt.dataset.digest == result.dataset.digest
