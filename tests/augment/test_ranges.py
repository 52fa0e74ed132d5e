"""Ranges that cannot be drawn from are refused where they are made, by the name that the user gave them."""

import dataclasses
import math
from typing import Any

import pytest

from augment.errors import ConfigError
from augment.ranges import MOST_GRID_POINTS, SMALLEST_ZOOM, AugmentRanges

INTERVALS = ["rotate_deg", "zoom", "gain", "bias"]


@pytest.mark.parametrize("name", INTERVALS)
@pytest.mark.parametrize("bad", [(2.0, 1.0), (1.0, math.inf), (-math.inf, 1.0), (math.nan, 1.0), (1.0, math.nan)])
def test_an_interval_upside_down_or_not_finite_is_refused(name: str, bad: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match=f"{name}: expected LOW <= HIGH"):
        AugmentRanges(**{name: bad})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"zoom": (SMALLEST_ZOOM * 0.99, 1.0)}, r"zoom: expected at least 0\.05, got 0\.0495"),
        ({"zoom": (0.0, 1.0)}, "zoom: expected at least"),
        ({"zoom": (-2.0, 1.0)}, "zoom: expected at least"),
        ({"gain": (0.0, 1.0)}, "gain: expected more than 0, got 0"),
        ({"gain": (-1.0, 1.0)}, "gain: expected more than 0, got -1"),
        ({"shift_px": -1.0}, "shift: expected 0 or more pixels, got -1"),
        ({"shift_px": math.inf}, "shift: expected 0 or more pixels, got inf"),
        ({"shift_px": math.nan}, "shift: expected 0 or more pixels, got nan"),
        ({"grid_points": 1}, "grid: expected 2 to 64 control points, got 1"),
        ({"grid_points": MOST_GRID_POINTS + 1}, "grid: expected 2 to 64 control points, got 65"),
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
        {"zoom": (SMALLEST_ZOOM, SMALLEST_ZOOM)},
        {"gain": (1e-6, 1e6)},
        {"bias": (-255.0, -255.0)},
        {"shift_px": 0.0},
        {"grid_points": 2},
        {"grid_points": MOST_GRID_POINTS},
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
