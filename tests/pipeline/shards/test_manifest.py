"""A manifest line is enough to render its sample again, and is not trusted before it was checked."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_worlds import read_rows

from pipeline.errors import DatasetError
from pipeline.shards.digest import canonical_json
from pipeline.shards.manifest import ManifestRow, parse_line, read_manifest

LINE: dict[str, Any] = {
    "id": "s000-z00001-r0000002",
    "split": "train",
    "shard": "train-00000.h5",
    "row": 3,
    "stack": 0,
    "z": 1,
    "replicate": 2,
    "source_sha256": "a" * 64,
    "image_sha256": "b" * 64,
    "label_sha256": "c" * 64,
    "recipe": {
        "window": [4, 5],
        "grid_px": [[[0.5, -1.0], [0.0, 2.0]], [[1.0, 1.5], [0.25, 0.0]]],
        "extent_px": [4, 5],
        "matrix": [[1.0, 0.0], [0.0, 1.0]],
        "shift_px": [0.0, -2.0],
        "angle_deg": 0.0,
        "flip": False,
        "zoom": 1.0,
        "gain": 1.0,
        "bias": 0.0,
    },
}


def parse(values: Any) -> ManifestRow:
    return parse_line(canonical_json(values), where="here")


def test_a_line_survives_reading_and_writing() -> None:
    row = parse(LINE)
    assert row.recipe.grid_px[1] == ((1.0, 1.5), (0.25, 0.0))
    assert row.to_line() == canonical_json(LINE)


def test_a_line_with_weights_survives_too() -> None:
    values = {**LINE, "weights_sha256": "d" * 64}
    row = parse(values)
    assert row.array_digests == ("b" * 64, "c" * 64, "d" * 64)
    assert row.to_line() == canonical_json(values)
    for digest in ("", "d" * 63, "D" * 64):
        with pytest.raises(DatasetError, match="here"):
            parse({**LINE, "weights_sha256": digest})
    for value in (None, True, []):
        with pytest.raises(DatasetError, match="here"):
            parse({**LINE, "weights_sha256": value})


def test_lines_are_canonical_json(built: Path) -> None:
    for line in (built / "manifest.jsonl").read_bytes().splitlines(keepends=True):
        assert canonical_json(json.loads(line)) == line


def test_a_manifest_lists_every_sample_in_order(built: Path) -> None:
    rows = list(read_manifest(built / "manifest.jsonl"))
    assert [(row.shard, row.row) for row in rows] == [
        *(("train-00000.h5", k) for k in range(4)),
        *(("train-00001.h5", k) for k in range(4)),
        ("train-00002.h5", 0),
        *(("test-00000.h5", k) for k in range(3)),
    ]
    assert [row.z for row in rows] == [*range(8), 0, 9, 10, 11]
    assert [json.loads(row.to_line()) for row in rows] == read_rows(built)


@pytest.mark.parametrize("name", sorted(LINE))
def test_a_missing_field_is_refused(name: str) -> None:
    with pytest.raises(DatasetError, match=f"here.*{name}"):
        parse({key: value for key, value in LINE.items() if key != name})


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(DatasetError, match="here"):
        parse({**LINE, "more": 1})
    with pytest.raises(DatasetError, match=r"here.*more"):
        parse({**LINE, "recipe": {**LINE["recipe"], "more": 1}})


@pytest.mark.parametrize("name", sorted(LINE))
@pytest.mark.parametrize("value", [None, True, 1.5, [], [[1]]])
def test_a_wrong_type_is_refused(name: str, value: Any) -> None:
    with pytest.raises(DatasetError, match="here"):
        parse({**LINE, name: value})


@pytest.mark.parametrize("name", sorted(LINE["recipe"]))
@pytest.mark.parametrize(
    "value", [None, "1", [], [1], {}, [[[]]], 1e300, [1e300, 1e300], pytest.param(10**400, id="1e400"), [10**400, 4]]
)
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_a_wrong_number_in_a_recipe_is_refused(name: str, value: Any) -> None:
    """Whoever made the file, the reader sees a DatasetError."""
    with pytest.raises(DatasetError, match="here"):
        parse({**LINE, "recipe": {**LINE["recipe"], name: value}})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("row", -1),
        ("z", -1),
        ("stack", -1),
        ("replicate", -1),
        ("id", "s000-z00009-r0000002"),
        ("id", "x"),
        ("split", "other"),
        ("shard", "../train-00000.h5"),
        ("image_sha256", "B" * 64),
        ("label_sha256", "c" * 63),
        ("source_sha256", ""),
    ],
)
def test_a_field_out_of_its_range_is_refused(field: str, value: Any) -> None:
    """An id that names another slice, or a slice before the first, is no sample."""
    with pytest.raises(DatasetError, match="here"):
        parse({**LINE, field: value})


@pytest.mark.parametrize("line", [b"", b"[]\n", b"{", b"\xff\xfe", b"null", b"[" * 100_000, b"1" * 5000])
def test_what_is_no_sample_is_refused(line: bytes) -> None:
    with pytest.raises(DatasetError, match="here"):
        parse_line(line, where="here")


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(line: bytes) -> None:
    with pytest.raises(DatasetError):
        parse_line(line, where="here")


def test_an_endless_line_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    with path.open("wb") as file:
        file.truncate(1 << 33)
    with pytest.raises(DatasetError, match="line 1"):
        list(read_manifest(path))


def test_a_manifest_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        list(read_manifest(tmp_path / "manifest.jsonl"))
