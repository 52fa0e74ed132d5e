"""Gray levels of many bits become fewer where nothing is lost, or are scaled by exact percentiles; or are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_worlds import OPTIONS, small_stack

from pipeline.errors import ConfigError, SourceError
from pipeline.shards.inputs import GrayScaling
from pipeline.source import gray_levels
from pipeline.source.combining import make_source
from pipeline.source.gray_levels import ScaleGray
from pipeline.source.stacks import RawStack, Source
from pipeline.source.tiff import write_stack

IMAGES, LABELS = small_stack()
DTYPES = ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")


def source_of(images: NDArray[Any], scale: ScaleGray | None = None) -> Source:
    return make_source(images, LABELS[: len(images)], name="x", scale_gray=scale)


def stored(source: Source) -> NDArray[Any]:
    return np.stack(list(source.stacks[0].images))


@pytest.mark.parametrize("dtype", ["i4", "u4", "i8", "u8"])
def test_integers_of_many_bits_become_16(dtype: str) -> None:
    levels = IMAGES.astype(dtype) * 200
    source = source_of(levels)
    assert source.inputs == source_of(levels.astype(np.uint16)).inputs
    assert f"{levels.dtype.name} gray levels are stored as uint16, unchanged" in source.notes[0]
    if dtype[0] == "i":
        assert source_of(IMAGES.astype(dtype) - 100).inputs == source_of(IMAGES.astype(np.int16) - 100).inputs


@pytest.mark.parametrize("low", [0, -1])
def test_integers_that_16_bits_do_not_hold_are_refused_with_the_option(low: int) -> None:
    levels = IMAGES.astype(np.int64)
    levels[3, 5, 6], levels[2, 1, 1] = 65536 + low, low
    with pytest.raises(
        SourceError, match=rf"int64 gray levels from {low} to {65536 + low:,}, more than 16 bits hold; "
    ):
        source_of(levels)


def test_float64_becomes_float32_where_that_changes_next_to_nothing() -> None:
    exact = source_of(IMAGES.astype(np.float64))
    assert exact.inputs == source_of(IMAGES.astype(np.float32)).inputs
    assert "float64 gray levels are stored as float32, exactly" in exact.notes[0]
    scaled = source_of(IMAGES / 255)
    assert scaled.inputs == source_of((IMAGES / 255).astype(np.float32)).inputs
    assert "stored as float32, which changes no pixel by more than 3e-08" in scaled.notes[0]
    for shift in (1e9, 1e300):
        with pytest.raises(
            SourceError, match=r"which float32 would change by .*; scale them with --scale-gray 0.5 99.8"
        ):
            source_of(IMAGES / 255 + shift)


@pytest.mark.parametrize("scale", [None, ScaleGray((0, 100))])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_what_is_not_finite_is_refused(dtype: str, scale: ScaleGray | None) -> None:
    for bad in (np.nan, np.inf):
        levels = IMAGES.astype(dtype)
        levels[4, 3, 2] = bad
        with pytest.raises(SourceError, match="slice 4 holds NaN or infinite pixels"):
            source_of(levels, scale)


@pytest.mark.parametrize("dtype", DTYPES)
def test_percentiles_are_levels_that_occur_at_their_place(dtype: str) -> None:
    """The definition: the lowest level that at least so many percent of all pixels are not above."""
    noise = np.random.default_rng(1).normal(size=(4, 9, 11)) * (30 if dtype in ("i1", "u1") else 3000)
    levels = (np.abs(noise) % 200 if dtype[0] == "u" else noise).astype(dtype)
    stacks = [RawStack(levels[:1], LABELS), RawStack(levels[1:], LABELS)]
    for percentile in (0, 0.5, 30, 50, 99.8, 100):
        rank = max(0, int(np.ceil(percentile * levels.size / 100)) - 1)
        expected = np.sort(levels.ravel())[rank]
        assert gray_levels._levels_at(stacks, [rank]) == (float(expected),)
        assert expected == np.percentile(levels.ravel().astype(np.float64), percentile, method="inverted_cdf")


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=4, max_size=4), st.integers(0, 3))
def test_keys_have_the_order_of_the_levels(levels: list[float], rank: int) -> None:
    stack = RawStack(np.reshape(levels, (1, 2, 2)), LABELS)
    assert gray_levels._levels_at([stack], [rank]) == (sorted(levels)[rank],)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4", "f8"])
def test_levels_are_scaled_clipped_and_rounded(dtype: str, bits: Any) -> None:
    levels = IMAGES.astype(dtype) if dtype == "u1" else IMAGES.astype(dtype) * 100
    source = source_of(levels, ScaleGray((1, 99), bits))
    assert source.reading is not None
    scaling = source.reading.scale_gray
    assert scaling == GrayScaling((1, 99), scaling.low, scaling.high, bits)
    sorted_levels = np.sort(levels.ravel())
    assert scaling.low == sorted_levels[int(np.ceil(levels.size / 100)) - 1]
    top = 2**bits - 1
    expected = np.rint((levels.astype(np.float64) - scaling.low) / (scaling.high - scaling.low) * top)
    found = stored(source)
    assert found.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert np.abs(found - np.clip(expected, 0, top)).max() <= 1
    assert (found.min(), found.max()) == (0, top)
    assert f"are scaled to {bits} bits" in source.notes[0]


def test_scaling_that_means_nothing_is_refused() -> None:
    for percentiles in ((5, 5), (9, 1), (-1, 50), (0, 101)):
        with pytest.raises(ConfigError, match="expected two percentiles that rise"):
            ScaleGray(percentiles)
    flat = np.full_like(IMAGES, 7)
    flat[0, 0, 0] = 9
    with pytest.raises(ConfigError, match="percentiles 1 and 99 are the gray levels 7 and 7"):
        source_of(flat, ScaleGray((1, 99)))


def test_a_scaled_dataset_goes_all_the_way(tmp_path: Path, augpipe: Callable[..., Any]) -> None:
    """The percentiles are recorded, verified against the source, and the same after a rebuild."""
    tifffile.imwrite(tmp_path / "i.tif", (IMAGES / 3).astype(np.float64) * 1e12 + 1e20, photometric="minisblack")
    write_stack(tmp_path / "l.tif", LABELS)
    files = ("--images", tmp_path / "i.tif", "--labels", tmp_path / "l.tif")
    refused = augpipe("build", *files, "--out", tmp_path / "d", *OPTIONS)
    assert refused.code == 3
    assert "--scale-gray 0.5 99.8" in refused.err
    assert augpipe("build", *files, "--gray-bits", "8", "--out", tmp_path / "d", *OPTIONS).code == 2
    (tmp_path / "set.toml").write_text('gray-bits = "8"\nscale-gray = [0.5, 99.8]\n')
    built = augpipe("build", *files, "--config", tmp_path / "set.toml", "--out", tmp_path / "d", *OPTIONS)
    assert built.code == 0
    record = json.loads((tmp_path / "d" / "dataset.json").read_bytes())
    assert record["schema"] == "augpipe/dataset/2"
    assert record["reading"]["scale_gray"]["bits"] == 8
    assert record["reading"]["scale_gray"]["percentiles"] == [0.5, 99.8]
    assert augpipe("verify", "--replay", tmp_path / "d").code == 0
    assert augpipe("rebuild", tmp_path / "d", "--out", tmp_path / "again").code == 0
    assert (tmp_path / "again" / "dataset.json").read_bytes() == (tmp_path / "d" / "dataset.json").read_bytes()
