"""The panels of a preview: one sample's slice, image, label outline and deformed grid, each as a small image."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw

from augment.recipe import Recipe
from pipeline.look.display import Display
from pipeline.look.lattice import Points, control_points, lattice_border, lattice_lines, on_slice, window_lattice

SIDE_PX = 276  # of the square that every panel fits into
OUTLINE_COLOURS = ("#ffb000", "#22d3ee", "#ff6fae", "#86e36f", "#c79bff", "#ff8552", "#f2e74b", "#6cb2ff")
IGNORED_COLOUR = "#8c959f"

_STRIPE_PX = 3
_THIN = 0.75  # of the label's size; above it, outlines of one pixel would be hard to see
_SHARPNESS = 4  # lines are drawn so many times larger, then averaged
_OUTSIDE = 0.42  # contrast of what lies beyond the slice
_ROOM = 1.05  # around what is drawn, so that lines and dots at its edge are whole
_MAX_REACH_SLICE, _MAX_REACH_GRID = 64.0, 2.0  # how many slices or windows side by side a panel shows at most
_FAR_PX = 1e4  # off every panel; beyond, lines are not followed
_INK, _FAINT, _PAPER, _HALO = "#24292f", "#c4ccd6", "#f6f8fa", "#ffffff"


def image_panel(pixels: NDArray[Any], display: Display, side_px: float = SIDE_PX) -> Image.Image:
    """Return an image, (Y, X) or (Y, X, C)."""
    return scaled(pixels, display, fitted_size(pixels.shape[:2], side_px))


def label_panel(
    pixels: NDArray[Any],
    label: NDArray[Any],
    display: Display,
    ignored: NDArray[np.bool_] | None = None,
    side_px: float = SIDE_PX,
) -> Image.Image:
    """Return an image with its label's outline on it: label 1 in the first colour, label 2 in the second, ...

    Gray stripes are where pixels are `ignored`.
    """
    panel = image_panel(pixels, display, side_px).convert("RGB")
    size_yx, width_px = (panel.height, panel.width), 2 if panel.width > _THIN * label.shape[1] else 1
    ignored = np.zeros(label.shape, bool) if ignored is None else ignored
    outline = label_outline(np.where(ignored, label.dtype.type(0), label), size_yx, width_px)
    palette = np.array([ImageColor.getrgb(colour) for colour in OUTLINE_COLOURS], np.uint8)
    shown = np.array(panel)
    shown[outline > 0] = palette[(outline[outline > 0].astype(np.int64) - 1) % len(palette)]
    shown[_stripes(ignored, size_yx)] = ImageColor.getrgb(IGNORED_COLOUR)
    return Image.fromarray(shown)


def _stripes(mask: NDArray[np.bool_], size_yx: tuple[int, int]) -> NDArray[np.bool_]:
    """Return stripes over a mask at another size."""
    rows, columns = (np.arange(shown) * n // shown for shown, n in zip(size_yx, mask.shape, strict=True))
    y, x = np.indices(size_yx)
    striped: NDArray[np.bool_] = mask[np.ix_(rows, columns)] & ((y + x) // _STRIPE_PX % 2 == 0)
    return striped


def label_outline(label: NDArray[Any], size_yx: tuple[int, int], width_px: int = 1) -> NDArray[Any]:
    """Return the label's outline at another size: the outermost pixels of everything but label 0, and 0 elsewhere.

    It is found at the larger of both sizes, so that what is thin stays closed: a pixel of a smaller outline is set
    wherever a boundary runs through it.
    """
    for axis, shown in enumerate(size_yx):
        label = label.repeat(max(1, shown // label.shape[axis]), axis)
    edge = np.zeros(label.shape, bool)
    for away in range(1, width_px + 1):
        for first, second in ((np.s_[away:, :], np.s_[:-away, :]), (np.s_[:, away:], np.s_[:, :-away])):
            differs = label[first] != label[second]
            edge[first] |= differs
            edge[second] |= differs
    outline = np.where(edge, label, 0)
    for axis, shown in enumerate(size_yx):
        outline = np.maximum.reduceat(outline, np.arange(shown) * outline.shape[axis] // shown, axis)
    return outline


def slice_panel(pixels: NDArray[Any], display: Display, recipe: Recipe, colour: str) -> Image.Image:
    """Return a slice with the sample's window on it, a dot at the window's top left corner.

    Where the window leaves the slice, the mirrored margin that it shows is drawn too, paler.
    """
    height, width = pixels.shape[:2]
    _, pushed = window_lattice(recipe)
    seen = on_slice(pushed, recipe, (height, width))
    reach = min(_reach([seen], (height, width)), _MAX_REACH_SLICE)
    inner = fitted_size((height, width), SIDE_PX / reach)
    margin_y, margin_x = (round(side * (reach - 1) / 2) for side in inner)
    slice_ = np.asarray(scaled(pixels, display, inner))
    margins = ((margin_y, margin_y), (margin_x, margin_x), (0, 0))
    shown = np.pad(slice_, margins[: slice_.ndim], "symmetric")
    shown = (255 - (255 - shown.astype(np.float32)) * _OUTSIDE).astype(np.uint8)
    shown[margin_y : margin_y + inner[0], margin_x : margin_x + inner[1]] = slice_
    panel = Image.fromarray(shown).convert("RGB")
    placed = _placed(seen, (height, width), inner, panel)
    _draw_lines(panel, [lattice_border(placed)], _HALO, 4.5)
    _draw_lines(panel, [lattice_border(placed)], colour, 2.5)
    _draw_dots(panel, placed[:, 0, :1], colour, 4.5)
    return panel


def grid_panel(recipe: Recipe, colour: str) -> Image.Image:
    """Return a regular lattice over the window, pushed by the recipe's displacement, with the control points.

    The lattice as it was lies faintly underneath, and a short line joins each control point to where it was.
    """
    points, pushed = window_lattice(recipe)
    controls, moved = control_points(recipe)
    reach = min(_reach([pushed, moved], recipe.window), _MAX_REACH_GRID)
    height, width = fitted_size(recipe.window)
    panel = Image.new("RGB", (width, height), _PAPER)
    points, pushed, controls, moved = (
        _placed(each, recipe.window, (height / reach, width / reach), panel)
        for each in (points, pushed, controls, moved)
    )
    moves = np.stack((controls, moved), axis=-1).reshape(2, -1, 2)
    _draw_lines(panel, lattice_lines(points), _FAINT, 1)
    _draw_lines(panel, lattice_lines(pushed), colour, 1.2)
    _draw_lines(panel, [lattice_border(pushed)], colour, 2.5)
    moves = moves[:, [0 <= y < height and 0 <= x < width for y, x in moves[..., 1].T]]
    _draw_lines(panel, moves.swapaxes(0, 1), _INK, 1.5)
    _draw_dots(panel, moves[..., 1], _INK, 3.5)
    return panel


def fitted_size(size_yx: Sequence[int], side_px: float = SIDE_PX) -> tuple[int, int]:
    """Return the (height, width) that fills a square with the shape kept, enlarged only by whole factors."""
    scale = min(side_px / side for side in size_yx)
    scale = float(int(scale)) if scale > 1 else scale
    height, width = (max(1, round(side * scale)) for side in size_yx)
    return height, width


def scaled(pixels: NDArray[Any], display: Display, size_yx: tuple[int, int]) -> Image.Image:
    """Return pixels in 8 bits, gray or in colour, averaged over areas where they become fewer."""
    return Image.fromarray(display.as8(pixels)).resize((size_yx[1], size_yx[0]), Image.Resampling.BOX)


def _reach(lattices: Iterable[Points], size_yx: tuple[int, int]) -> float:
    """Return how many times larger than an area its surroundings must be to show all points, with some room."""
    farthest = max(
        float(np.abs(axis - (side - 1) / 2).max()) / (side / 2)
        for points in lattices
        for axis, side in zip(points, size_yx, strict=True)
    )
    return max(1.0, farthest * _ROOM)


def _placed(points: Points, size_yx: Sequence[int], shown_yx: Sequence[float], panel: Image.Image) -> Points:
    """Return points on a panel whose middle shows an area of `size_yx` pixels at the size `shown_yx`."""
    axes = zip(points, size_yx, shown_yx, (panel.height, panel.width), strict=True)
    return np.stack([(axis - (side - 1) / 2) * (shown / side) + (whole - 1) / 2 for axis, side, shown, whole in axes])


def _draw_lines(panel: Image.Image, lines: Iterable[Points], colour: str, width_px: float) -> None:
    """Draw lines, each (2, n)."""
    mask = Image.new("L", (panel.width * _SHARPNESS, panel.height * _SHARPNESS))
    for line in lines:
        ImageDraw.Draw(mask).line(_on_mask(line), fill=255, width=round(width_px * _SHARPNESS), joint="curve")
    _paint(panel, mask, colour)


def _draw_dots(panel: Image.Image, points: Points, colour: str, radius_px: float) -> None:
    """Draw a dot with a bright ring at every point (2, n)."""
    for ink, radius in ((_HALO, radius_px + 1.2), (colour, radius_px)):
        mask = Image.new("L", (panel.width * _SHARPNESS, panel.height * _SHARPNESS))
        reach = radius * _SHARPNESS
        for x, y in _on_mask(points):
            ImageDraw.Draw(mask).ellipse((x - reach, y - reach, x + reach, y + reach), fill=255)
        _paint(panel, mask, ink)


def _paint(panel: Image.Image, mask: Image.Image, colour: str) -> None:
    panel.paste(colour, (0, 0, panel.width, panel.height), mask.reduce(_SHARPNESS))


def _on_mask(points: Points) -> list[tuple[float, float]]:
    """Return (x, y) on the enlarged mask for points (2, n) that count pixel centres."""
    y, x = (np.clip(points, -_FAR_PX, _FAR_PX) + 0.5) * _SHARPNESS - 0.5
    return list(zip(x.tolist(), y.tolist(), strict=True))
