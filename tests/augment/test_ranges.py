"""Ranges that cannot be drawn from are refused by name; presets are ranges that somebody chose once, with reasons."""

import dataclasses
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from augment.draw import draw_recipe
from augment.errors import ConfigError
from augment.operations.drawing import draw_sample
from augment.presets import MEASURE_GRAY, PRESETS, preset_ranges
from augment.ranges import MAX_GRID_POINTS, MIN_ZOOM, AugmentRanges
from augment.recipe import Recipe, to_float32
from augment.renderer import render
from augment.seeding import Stream

INTERVALS = ["rotate_deg", "zoom", "gain", "bias"]


@pytest.mark.parametrize("name", INTERVALS)
@pytest.mark.parametrize("bad", [(2.0, 1.0), (1.0, math.inf), (-math.inf, 1.0), (math.nan, 1.0), (1.0, math.nan)])
def test_an_interval_upside_down_or_not_finite_is_refused(name: str, bad: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match=f"{name}: expected LOW <= HIGH"):
        AugmentRanges(**{name: bad})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"zoom": (MIN_ZOOM * 0.99, 1.0)}, r"zoom: expected at least 0\.05, got 0\.0495"),
        ({"zoom": (0.0, 1.0)}, "zoom: expected at least"),
        ({"zoom": (-2.0, 1.0)}, "zoom: expected at least"),
        ({"gain": (0.0, 1.0)}, "gain: expected more than 0, got 0"),
        ({"gain": (-1.0, 1.0)}, "gain: expected more than 0, got -1"),
        ({"shift_px": -1.0}, "shift: expected 0 or more pixels, got -1"),
        ({"shift_px": math.inf}, "shift: expected 0 or more pixels, got inf"),
        ({"shift_px": math.nan}, "shift: expected 0 or more pixels, got nan"),
        ({"grid_points": 1}, "grid: expected 2 to 64 control points, got 1"),
        ({"grid_points": MAX_GRID_POINTS + 1}, "grid: expected 2 to 64 control points, got 65"),
        ({"sigma_px": -0.5}, r"sigma: expected 0 or more pixels, got -0\.5"),
        ({"sigma_px": math.inf}, "sigma: expected 0 or more pixels, got inf"),
        ({"sigma_px": math.nan}, "sigma: expected 0 or more pixels, got nan"),
        ({"extent": "slice"}, "extent: expected window or padded, got 'slice'"),
    ],
)
def test_a_range_beyond_what_can_be_rendered_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AugmentRanges(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"rotate_deg": (0.0, 0.0)},
        {"rotate_deg": (-720.0, 720.0)},
        {"zoom": (MIN_ZOOM, MIN_ZOOM)},
        {"gain": (1e-6, 1e6)},
        {"bias": (-255.0, -255.0)},
        {"shift_px": 0.0},
        {"grid_points": 2},
        {"grid_points": MAX_GRID_POINTS},
        {"sigma_px": 0.0},
        {"extent": "padded"},
    ],
)
def test_the_limits_themselves_are_allowed(changes: dict[str, Any]) -> None:
    ranges = AugmentRanges(**changes)
    assert {name: getattr(ranges, name) for name in changes} == changes


def test_ranges_cannot_be_changed() -> None:
    """Later code trusts what was validated."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        AugmentRanges().sigma_px = -1.0


def test_the_defaults_are_the_paper_s() -> None:
    """Ronneberger et al. 2015: displacements on a 3 x 3 grid with a deviation of 10 px; gray levels left alone."""
    ranges = AugmentRanges()
    assert (ranges.grid_points, ranges.sigma_px, ranges.extent) == (3, 10.0, "window")
    assert (ranges.gain, ranges.bias, ranges.zoom, ranges.flip) == ((1.0, 1.0), (0.0, 0.0), (1.0, 1.0), False)


# Presets: a change of one changes everybody's samples


def recipes(ranges: AugmentRanges, *, window: tuple[int, int] = (40, 36), slice_size: tuple[int, int] = (32, 32)):
    streams = (Stream(0, (0, 0, 0, k)) for k in range(200))
    return [draw_recipe(ranges, stream, window=window, slice_size=slice_size) for stream in streams]


def test_the_presets_are_these() -> None:
    assert PRESETS == (
        "unet2015",
        "original",
        "strong",
        "nnunet2d",
        "fluorescence",
        "em-defects",
        "he-stain",
        "ctc-phc-u373",
        "ctc-dic-hela",
    )


def test_the_default_is_what_the_paper_describes() -> None:
    """Ronneberger et al. 2015, section 3.1: 3 x 3 over the tile, normal, 10 px."""
    ranges = preset_ranges("unet2015")
    assert ranges == AugmentRanges()
    assert (ranges.rotate_deg, ranges.grid_points, ranges.sigma_px, ranges.extent) == ((0.0, 360.0), 3, 10.0, "window")


def test_the_original_rotates_nothing_and_spans_the_padded_slice() -> None:
    ranges = preset_ranges("original")
    assert ranges == AugmentRanges(rotate_deg=(0.0, 0.0), extent="padded")
    for recipe in recipes(ranges):
        assert recipe.matrix == ((1.0, 0.0), (0.0, 1.0))
        assert min(recipe.extent_px) > 2 * 200  # the margin of 200 px a side


def test_the_strong_one_is_the_default_and_more() -> None:
    ranges = preset_ranges("strong")
    assert ranges == AugmentRanges(
        flip=True,
        zoom=(0.8, 1.25),
        shift_px=32.0,
        gain=(0.8, 1.25),
        bias=(-25.5, 25.5),
    )


def test_the_strong_one_draws_all_that_it_promises() -> None:
    drawn = recipes(preset_ranges("strong"))
    for name, low, high in (("zoom", 0.8, 1.25), ("gain", 0.8, 1.25), ("bias", -25.5, 25.5)):
        values = [getattr(recipe, name) for recipe in drawn]
        middle = (low + high) / 2
        assert to_float32(low) <= min(values) < middle - (high - low) / 4, name
        assert middle + (high - low) / 4 < max(values) <= to_float32(high), name
    assert {recipe.flip for recipe in drawn} == {True, False}
    for axis in (0, 1):
        shifts = [recipe.shift_px[axis] for recipe in drawn]
        assert -32 <= min(shifts) < -16
        assert 16 < max(shifts) <= 32


@pytest.mark.parametrize(
    ("gray_span", "bias"),
    [(255.0, 25.5), (65535.0, 6553.5), (1.0, to_float32(0.1)), (0.003, to_float32(0.0003)), (0.0, 0.0)],
)
def test_a_bias_is_a_tenth_of_the_stacks_own_gray_levels(gray_span: float, bias: float) -> None:
    """What is strong on 8 bits does nothing on 16, and erases a float image from 0 to 1."""
    ranges = preset_ranges("strong", gray_span=gray_span)
    assert ranges.bias == (-bias, bias)
    assert to_float32(ranges.bias[1]) == ranges.bias[1]


@pytest.mark.parametrize("name", PRESETS)
def test_windows_reach_every_corner_of_a_larger_slice(name: str) -> None:
    """Shifts of 32 px alone would never show the corners of a slice that is 200 px larger than the window."""
    ranges = preset_ranges(name, covered=False)
    assert ranges.shift_px is None
    shifts = [recipe.shift_px[0] for recipe in recipes(ranges, window=(40, 36), slice_size=(240, 236))]
    assert min(shifts) < -90
    assert max(shifts) > 90


def test_two_presets_add_faults_and_dyes() -> None:
    faulty = replace(preset_ranges("strong"), defects=(5.0, 20.0), probability={"defects": 0.2})
    assert preset_ranges("em-defects") == faulty
    assert preset_ranges("he-stain") == AugmentRanges(flip=True, zoom=(0.8, 1.25), stain=(0.05, 0.05))


@pytest.mark.parametrize("name", PRESETS)
def test_those_alone_that_say_so_look_at_the_gray_levels(name: str) -> None:
    """A stack is read for its gray levels only where they count; one of a single level makes noise pointless."""
    other = preset_ranges(name, gray_span=1.0) != preset_ranges(name)
    assert other == (name in MEASURE_GRAY)
    assert preset_ranges(name, gray_span=0.0).noise is None


def test_nnunets_has_its_strengths_and_its_shares() -> None:
    """Of its default trainer; half of the channels, where it says so, is half of the samples of one channel."""
    ranges = preset_ranges("nnunet2d", gray_span=400.0)
    assert (ranges.sigma_px, ranges.flip, ranges.per_channel) == (0.0, True, False)
    assert ranges.operations == {
        "blur": (0.5, 1.0),
        "noise": (0.0, 10.0),  # a tenth of a standard deviation, which is a quarter of the span
        "low_resolution": (0.5, 1.0),
        "contrast": (0.75, 1.25),
        "gamma": (0.7, 1.5),
    }
    assert ranges.probability == {
        "rotate": 0.2,
        "zoom": 0.2,
        "gain": 0.15,
        "blur": 0.2 * 0.5,
        "noise": 0.1,
        "low_resolution": 0.25 * 0.5,
        "contrast": 0.15,
        "gamma": 1 - 0.9 * 0.7,
    }
    assert preset_ranges("nnunet2d", n_channels=2).per_channel


@pytest.mark.parametrize("name", ["", "Strong", "unet", "none"])
def test_a_preset_that_does_not_exist_is_named_with_those_that_do(name: str) -> None:
    with pytest.raises(ConfigError, match=f"preset: expected one of unet2015, original, .*ctc-.*, got '{name}'"):
        preset_ranges(name)


def test_no_preset_draws_anything_that_a_recipe_cannot_hold() -> None:
    for name in PRESETS:
        for recipe in recipes(preset_ranges(name, gray_span=65535.0)):
            assert Recipe.from_json(recipe.to_json()) == recipe


def test_gray_levels_stay_numbers_whatever_is_asked_for() -> None:
    """Beyond the limit, levels would overflow to what is no number, and that is black."""
    with pytest.raises(ConfigError, match=r"gain: expected LOW <= HIGH, from -1e\+10 to 1e\+10, got 1 1e\+20"):
        AugmentRanges(gain=(1.0, 1e20))
    ranges = AugmentRanges(
        gain=(1e10, 1e10), bias=(1e10, 1e10), noise=(1e10, 1e10), contrast=(4.0, 4.0), gamma=(2.0, 2.0)
    )
    recipe = draw_sample(ranges, lambda first: Stream(0, (first,)), window=(32, 32), slice_size=(32, 32))
    slice_ = np.random.default_rng(0).integers(1, 256, (32, 32), np.uint8)
    assert render(slice_, slice_, recipe).image.max() == 255
