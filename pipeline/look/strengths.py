"""The strengths sheet: what each augmentation of a dataset does to one slice, where it is weakest and strongest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image

from augment.draw import draw_recipe, rotation_matrix
from augment.mirror_tiles import ignore_value
from augment.operations import AFTER_LEVELS, OPERATIONS, Operation
from augment.operations.defects import KINDS, Defects
from augment.operations.drawing import Drawing
from augment.ranges import AugmentRanges
from augment.recipe import Recipe
from augment.renderer import PreparedSlice, prepare_slice, render_prepared
from augment.seeding import Stream
from pipeline.errors import ConfigError
from pipeline.look.contact_sheet import png_bytes
from pipeline.look.display import Display, display_of
from pipeline.look.panels import image_panel, label_panel
from pipeline.look.strength_sheet import PANEL_PX, StrengthColumn, draw_strengths
from pipeline.shards.dataset import Dataset
from pipeline.source.stacks import Source, Stack

# What a panel shows: the slice with a lattice on it, the outline of its label, or neither.
Manner: TypeAlias = Literal["ruled", "outlined", "plain"]

_STILL = AugmentRanges(rotate_deg=(0.0, 0.0), shift_px=0.0, sigma_px=0.0)
_FAULTS = {"missing": "missing part", "spot": "dark spot"}  # the others are called as they are
_TURN_DEG = 360.0
_LATTICE, _LATTICE_LINE = 1 / 8, 1 / 160  # of the window's longer side: from line to line, and their width
_FIRST_PLACE, _PLACES = 12, 40  # where operations are drawn, and others of the same strength
_N_DRAWN = 99  # deformations, of which the mildest, the middle one and the strongest are shown


@dataclass(frozen=True, slots=True, eq=False)
class Specimen:
    """A slice, ready to be rendered and to be shown.

    Attributes:
        prepared: the slice.
        ruled: the slice with a lattice drawn on it.
        display: how to show its pixels.
        window: (height, width) of the dataset's samples, in pixels.
        ignore: the value of label pixels that mean nothing.
    """

    prepared: PreparedSlice
    ruled: PreparedSlice
    display: Display
    window: tuple[int, int]
    ignore: int

    @property
    def detail(self) -> tuple[int, int]:
        """(height, width) of the window in which gray levels are shown."""
        (height, width), (window_y, window_x) = self.prepared.size, self.window
        return min(height, window_y, PANEL_PX), min(width, window_x, PANEL_PX)

    @property
    def n_channels(self) -> int:
        """Of the image."""
        return self.prepared.n_channels or 1

    def recipe(self, ranges: AugmentRanges, window: tuple[int, int], replicate: int = 0) -> Recipe:
        """Return a recipe of these ranges; always the same one of a replicate."""
        stream = Stream(0, (0, 0, 0, replicate))
        return draw_recipe(ranges, stream, window=window, slice_size=self.prepared.size, n_channels=self.n_channels)

    def show(self, recipe: Recipe, manner: Manner) -> Image.Image:
        """Return what a recipe makes of the slice."""
        image, label = render_prepared(self.ruled if manner == "ruled" else self.prepared, recipe)
        if manner == "outlined":
            ignored = None if self.ignore is None else label == self.ignore
            return label_panel(image, label, self.display, ignored, PANEL_PX)
        return image_panel(image, self.display, PANEL_PX)


def draw_slice_strengths(dataset: Dataset, source: Source, stack: int, z: int) -> bytes:
    """Return the sheet of one slice as the bytes of a PNG file.

    Args:
        dataset: whose ranges are shown.
        source: what it was made from.
        stack: of the slice.
        z: number of the slice in it.

    Raises:
        ConfigError: there is no such slice, or nothing is augmented.
    """
    record, config = dataset.record, dataset.record.config
    depths = [len(each.images) for each in source.stacks]
    if not (0 <= stack < len(depths) and 0 <= z < depths[stack]):
        there = ", ".join(f"{number}:0 to {number}:{depth - 1}" for number, depth in enumerate(depths[:3]))
        raise ConfigError(f"slice: expected one of {there}{', ...' if len(depths) > 3 else ''}, got {stack}:{z}")
    specimen = _specimen(source.stacks[stack], z, record.window)
    columns = tuple(strength_columns(specimen, config.ranges))
    if not columns:
        raise ConfigError("slice: this dataset's samples are windows as they are, so there is no strength to show")
    (height, width), (height_1, width_1) = specimen.window, specimen.detail
    summary = [
        f"slice {z} of stack {stack}, each augmentation alone, from its lowest to its highest strength",
        f"with a lattice: whole samples of {height} x {width} px; without: {height_1} x {width_1} px of one",
    ]
    return png_bytes(draw_strengths(dataset.name, summary, columns))


def strength_columns(specimen: Specimen, ranges: AugmentRanges) -> Iterator[StrengthColumn]:
    """Yield a column for each augmentation that is on, in the order in which they are done.

    Args:
        specimen: the slice.
        ranges: of the dataset.
    """
    yield from _geometry_columns(specimen, ranges)
    for name in ranges.operations:
        if name not in AFTER_LEVELS:
            yield from _operation_columns(specimen, ranges, name)
    yield from _level_columns(specimen, ranges)
    for name in ranges.operations:
        if name in AFTER_LEVELS:
            yield from _operation_columns(specimen, ranges, name)


def _specimen(stack: Stack, z: int, window: tuple[int, int]) -> Specimen:
    image, label = stack.images[z], stack.labels[z]
    display, ruled = display_of(image, stack.channels), image.copy()
    apart, width = (max(1, round(share * max(window))) for share in (_LATTICE, _LATTICE_LINE))
    bright = np.array([high for _, high in display.limits], image.dtype)
    for k in range(width):
        ruled[k + apart // 2 :: apart] = ruled[:, k + apart // 2 :: apart] = bright
    prepared = prepare_slice(image, label)
    return Specimen(prepared, prepare_slice(ruled, label), display, window, ignore_value(prepared.label.dtype))


def _level_columns(specimen: Specimen, ranges: AugmentRanges) -> Iterator[StrengthColumn]:
    shares = ranges.probability
    if ranges.gain != _STILL.gain:
        gains = _spread(*ranges.gain)
        recipes = [specimen.recipe(replace(_STILL, gain=(gain, gain)), specimen.detail) for gain in gains]
        yield _column(specimen, "gain", [f"x {gain:.2f}" for gain in gains], recipes, "plain", shares.get("gain", 1))
    if ranges.bias != _STILL.bias:
        biases = _spread(*ranges.bias)
        recipes = [specimen.recipe(replace(_STILL, bias=(bias, bias)), specimen.detail) for bias in biases]
        yield _column(specimen, "bias", [f"{bias:+.4g}" for bias in biases], recipes, "plain", shares.get("bias", 1))


def _geometry_columns(specimen: Specimen, ranges: AugmentRanges) -> Iterator[StrengthColumn]:
    still, shares = specimen.recipe(_STILL, specimen.window), ranges.probability
    if ranges.rotate_deg != (0.0, 0.0):
        low, high = ranges.rotate_deg
        angles = (low, low + 120, low + 240) if high - low >= _TURN_DEG else _spread(low, high)
        recipes = [specimen.recipe(replace(_STILL, rotate_deg=(each, each)), specimen.window) for each in angles]
        yield _column(
            specimen, "rotation", [f"{angle:.0f}°" for angle in angles], recipes, share=shares.get("rotate", 1)
        )
    if ranges.flip:
        mirrored = replace(still, flip=True, matrix=rotation_matrix(0.0, flip=True))
        yield _column(specimen, "mirror", ["as it is", "mirrored"], [still, mirrored], share=0.5)
    if ranges.zoom != (1.0, 1.0):
        zooms = _spread(*ranges.zoom)
        recipes = [specimen.recipe(replace(_STILL, zoom=(each, each)), specimen.window) for each in zooms]
        yield _column(specimen, "zoom", [f"x {zoom:.2f}" for zoom in zooms], recipes, share=shares.get("zoom", 1))
    if any(reach_px := _reaches(specimen, ranges)):
        shifts = [[int(share * reach) for reach in reach_px] for share in (0.0, 0.5, 1.0)]
        origin_y, origin_x = still.shift_px
        recipes = [replace(still, shift_px=(origin_y + y, origin_x + x)) for y, x in shifts]
        yield _column(specimen, "shift", [f"{y}, {x} px" for y, x in shifts], recipes)
    if ranges.sigma_px:
        elastic = replace(_STILL, sigma_px=ranges.sigma_px, grid_points=ranges.grid_points, extent=ranges.extent)
        drawn = [specimen.recipe(elastic, specimen.window, k) for k in range(_N_DRAWN)]
        drawn.sort(key=_largest_push)
        recipes = [drawn[0], drawn[_N_DRAWN // 2], drawn[-1]]
        captions = [f"points by up to {_largest_push(recipe):.0f} px" for recipe in recipes]
        yield _column(specimen, "deformation", captions, recipes)


def _operation_columns(specimen: Specimen, ranges: AugmentRanges, name: str) -> Iterator[StrengthColumn]:
    share = ranges.probability.get(name, 1.0)
    still = specimen.recipe(_STILL, specimen.detail)
    if name == "defects":
        for kind in KINDS:
            drawn = [_draw(specimen, ranges, name, k, kind) for k in range(3)]
            recipes = [_with(still, name, each) for each in drawn]
            captions = [each.text() for each in drawn]
            yield _column(specimen, _FAULTS.get(kind, kind), captions, recipes, "outlined", share / len(KINDS))
        return
    drawn = [_draw(specimen, ranges, name, k) for k in range(3)]
    recipes = [_with(still, name, each) for each in drawn]
    captions = [each.text() for each in drawn]
    yield _column(specimen, name.replace("_", " "), captions, recipes, "plain", share)


def _with(recipe: Recipe, name: str, operation: Operation) -> Recipe:
    return replace(recipe, **{name: operation})  # type: ignore[arg-type]  # under its own name


def _draw(specimen: Specimen, ranges: AugmentRanges, name: str, k: int, kind: str | None = None) -> Operation:
    """Return an operation at its lowest, middle or highest strength, and where these look the same three that differ.

    Args:
        specimen: the slice.
        ranges: of the dataset.
        name: of the operation.
        k: 0 for the lowest strength, 2 for the highest.
        kind: of a fault.
    """
    operation, (low, high) = OPERATIONS[name], ranges.operations[name]
    strength = _spread(low, high)[k]
    for place in count(_FIRST_PLACE + _PLACES * k if low == high or kind == "missing" else _FIRST_PLACE):
        drawing = Drawing(Stream(0, (operation.stream, place)), specimen.detail, specimen.n_channels, per_channel=False)
        drawn = operation.draw((strength, strength), drawing)
        if kind is None or (isinstance(drawn, Defects) and drawn.kind == kind):
            return drawn
    raise AssertionError


def _column(
    specimen: Specimen,
    title: str,
    captions: Sequence[str],
    recipes: Sequence[Recipe],
    manner: Manner = "ruled",
    share: float = 1.0,
) -> StrengthColumn:
    panels = tuple(specimen.show(recipe, manner) for recipe in recipes)
    note = "every sample" if share == 1 else f"{100 * share:.3g}% of the samples"
    return StrengthColumn(title, note, tuple(captions), panels)


def _spread(low: float, high: float) -> tuple[float, float, float]:
    return low, (low + high) / 2, high


def _reaches(specimen: Specimen, ranges: AugmentRanges) -> tuple[float, float]:
    """Return how far a shift may go along each axis, in slice pixels."""
    y, x = (
        max(0.0, (side - window) / 2) if ranges.shift_px is None else ranges.shift_px
        for side, window in zip(specimen.prepared.size, specimen.window, strict=True)
    )
    return y, x


def _largest_push(recipe: Recipe) -> float:
    along_y, along_x = (np.asarray(axis) for axis in recipe.grid_px)
    return float(np.hypot(along_y, along_x).max())
