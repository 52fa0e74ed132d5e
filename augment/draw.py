"""Drawing a recipe: the only place where random numbers become geometry."""

import math
from dataclasses import replace
from typing import Any

from augment.deform import spline_basis
from augment.ranges import SHARED, AugmentRanges, Extent
from augment.recipe import Grid, Pair, Place, Recipe, to_float32
from augment.seeding import Stream

PADDED_MARGIN_PX = 200  # the margin of the report that this project started from


def draw_recipe(
    ranges: AugmentRanges, stream: Stream, *, window: tuple[int, int], slice_size: tuple[int, int], n_channels: int = 1
) -> Recipe:
    """Return the recipe at the stream's address.

    Every number is taken from the stream whether its range is open or not, so that changing one range leaves
    all the other numbers of a recipe as they were.

    Args:
        ranges: what may be drawn.
        stream: a fresh stream; one recipe uses 7 + 2 K^2 of its numbers, and where channels have gray levels of their
            own, two more for each channel after the first.
        window: (height, width) of the sample, in pixels.
        slice_size: (height, width) of the slice, in pixels.
        n_channels: of the image.
    """
    angle_deg = to_float32(stream.uniform(*ranges.rotate_deg))
    flip = stream.fraction() < 0.5 and ranges.flip
    zoom = to_float32(stream.uniform(*ranges.zoom))
    gain = to_float32(stream.uniform(*ranges.gain))
    bias = to_float32(stream.uniform(*ranges.bias))
    shift_y, shift_x = (
        draw_shift(stream, _reach(ranges, side, window_side), half=(side - window_side) % 2 == 1)
        for side, window_side in zip(slice_size, window, strict=True)
    )
    grid_px = (draw_displacement(ranges, stream), draw_displacement(ranges, stream))
    more_gray = [
        (to_float32(stream.uniform(*ranges.gain)), to_float32(stream.uniform(*ranges.bias)))
        for _ in range(n_channels - 1 if ranges.per_channel else 0)
    ]
    return Recipe(
        window=window,
        grid_px=grid_px,
        extent_px=grid_extent(ranges.extent, window=window, slice_size=slice_size),
        matrix=rotation_matrix(angle_deg, flip=flip, zoom=zoom),
        shift_px=(shift_y, shift_x),
        angle_deg=angle_deg,
        flip=flip,
        zoom=zoom,
        gain=gain,
        bias=bias,
        gray=((gain, bias), *more_gray) if more_gray else (),
    )


def ranges_of_sample(ranges: AugmentRanges, stream: Stream) -> AugmentRanges:
    """Return the ranges that one sample is drawn from, where rotation, zoom, gain or bias are for some samples alone.

    Args:
        ranges: of all samples.
        stream: a fresh stream of this sample, for this alone; it is used up to its first five numbers.
    """
    changes: dict[str, Any] = {}
    for name, (field, off) in SHARED.items():
        if stream.fraction() >= ranges.probability.get(name, 1.0):
            changes[field] = off
    if "rotate_deg" in changes and ranges.flip and stream.fraction() < 0.5:
        changes["rotate_deg"] = (180.0, 180.0)
    return replace(ranges, probability={}, **changes) if changes else ranges


def look_at(recipe: Recipe, place: Place, slice_size: tuple[int, int]) -> Recipe:
    """Return the recipe with the shift by which the window's centre pixel looks at a pixel of the slice.

    That pixel of the window is (height // 2, width // 2). It looks at M v + the slice's centre + shift, where v is its
    offset from the window's centre, which the deformation moves too.

    Args:
        recipe: whose own shift is not used.
        place: (y, x) of the pixel.
        slice_size: (height, width) of the slice, in pixels.
    """
    weights_y, weights_x = (
        spline_basis(side, extent, recipe.n_points)[:, side // 2].tolist()
        for side, extent in zip(recipe.window, recipe.extent_px, strict=True)
    )
    v_y, v_x = (
        side // 2 - (side - 1) / 2 + _weighted_sum(grid, weights_y, weights_x)
        for side, grid in zip(recipe.window, recipe.grid_px, strict=True)
    )
    shift_y, shift_x = (
        to_float32(at - (side - 1) / 2 - (from_y * v_y + from_x * v_x))
        for at, side, (from_y, from_x) in zip(place, slice_size, recipe.matrix, strict=True)
    )
    return replace(recipe, shift_px=(shift_y, shift_x), place=place)


def draw_displacement(ranges: AugmentRanges, stream: Stream) -> Grid:
    """Return K x K displacements along one axis, normal with the ranges' sigma, in output pixels."""
    points = range(ranges.grid_points)
    return tuple(tuple(to_float32(ranges.sigma_px * stream.normal()) for _ in points) for _ in points)


def draw_shift(stream: Stream, reach_px: float, *, half: bool = False) -> float:
    """Return a shift that puts the window's pixels on the slice's, uniform between -reach_px and +reach_px.

    Args:
        stream: of random numbers.
        reach_px: how far to go at most.
        half: whether slice and window differ by an odd number of pixels: their centres are then half a pixel
            apart when their pixels agree, and -0.5 is the smallest shift.
    """
    first = 0.5 - math.floor(max(reach_px, 0.5) + 0.5) if half else -math.floor(reach_px)
    n_steps = 2 * -first + 1
    return to_float32(first + min(math.floor(stream.fraction() * n_steps), max(n_steps - 1, 0)))


def rotation_matrix(angle_deg: float, *, flip: bool = False, zoom: float = 1.0) -> tuple[Pair, Pair]:
    """Return the map from window to slice coordinates, ((yy, yx), (xy, xx)).

    A positive angle turns the picture counter-clockwise as displayed, like `numpy.rot90`; `flip` then mirrors it
    left to right, and `zoom` magnifies it.
    """
    cosine, sine = math.cos(math.radians(angle_deg)) / zoom, math.sin(math.radians(angle_deg)) / zoom
    mirror = -1.0 if flip else 1.0
    return (
        (to_float32(cosine), to_float32(sine * mirror)),
        (to_float32(-sine), to_float32(cosine * mirror)),
    )


def grid_extent(extent: Extent, *, window: tuple[int, int], slice_size: tuple[int, int]) -> tuple[int, int]:
    """Return the (height, width) in pixels that the control grid spans."""
    if extent == "window":
        return window
    height, width = (_padded_side(side, window_side) for side, window_side in zip(slice_size, window, strict=True))
    return height, width


def _weighted_sum(grid: Grid, weights_y: list[float], weights_x: list[float]) -> float:
    """Return the displacement where the control points have these weights; no two versions of Python `sum` alike."""
    return math.fsum(
        value * weight_y * weight_x
        for row, weight_y in zip(grid, weights_y, strict=True)
        for value, weight_x in zip(row, weights_x, strict=True)
    )


def _padded_side(side: int, window_side: int) -> int:
    padded = side + 2 * (max(window_side - side, 0) + PADDED_MARGIN_PX)
    return padded + (padded - window_side) % 2  # centred on the window's pixels


def _reach(ranges: AugmentRanges, side: int, window_side: int) -> float:
    return max(0.0, (side - window_side) / 2) if ranges.shift_px is None else ranges.shift_px
