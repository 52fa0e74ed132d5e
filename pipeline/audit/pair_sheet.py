"""The pair sheet: two pictures of the same tissue side by side, with the places that were matched in them joined."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw

from pipeline.audit.matching import Match
from pipeline.look.contact_sheet import WIDTH_PX, Chip, draw_chip, write_text
from pipeline.look.lattice import Points
from pipeline.look.panels import OUTLINE_COLOURS, display_range, label_outline, scaled

_MOST_LINES = 40  # more of them hide the tissue
_DOT_PX, _RING_PX, _LINE_PX = 2.4, 3.6, 1.3
_SHARPNESS = 4  # lines and dots are drawn so many times larger, then averaged
_MARGIN, _GAP = 24, 16
_TITLE_Y, _FACTS_Y, _CHIPS_Y, _TOP = 32, 64, 100, 122
_SIDE_PX = (WIDTH_PX - 2 * _MARGIN - _GAP) // 2
_PAPER, _QUIET = "#ffffff", "#57606a"
_TEXT_PX = 15


@dataclass(frozen=True, slots=True, eq=False)
class PairSide:
    """One of the two pictures: its chip, its image (Y, X), and its label (Y, X) where that is to be outlined."""

    chip: Chip
    image: NDArray[Any]
    label: NDArray[Any] | None = None


def draw_pair(title: Chip, facts: str, left: PairSide, right: PairSide, found: Match) -> Image.Image:
    """Return the sheet, WIDTH_PX wide.

    Matched places have the colour of the direction that they lie in, seen from the middle of the left picture, so that
    a rotation can be told from the colours alone. Lines join no more than a few of them.

    Args:
        title: the first line.
        facts: the second line.
        left: the picture on the left.
        right: the picture on the right.
        found: where the left picture lies in the right one.
    """
    panels = [_panel(side) for side in (left, right)]
    columns = [_MARGIN, _MARGIN + _SIDE_PX + _GAP]
    sheet = Image.new("RGB", (WIDTH_PX, _TOP + max(panel.height for panel in panels) + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw_chip(draw, title, _MARGIN, _TITLE_Y)
    write_text(draw, _MARGIN, _FACTS_Y, facts, _QUIET, _TEXT_PX)
    for side, panel, x in zip((left, right), panels, columns, strict=True):
        draw_chip(draw, side.chip, x, _CHIPS_Y)
        sheet.paste(panel, (x, _TOP))
    here = _on_sheet(found.sample_points, left.image, panels[0], columns[0])
    there = _on_sheet(found.other_points, right.image, panels[1], columns[1])
    return _join(sheet, here, there, _sectors(found, left.image))


def _panel(side: PairSide) -> Image.Image:
    height, width = side.image.shape
    scale = _SIDE_PX / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    gray = scaled(side.image, display_range(side.image), (height, width))
    panel = gray.resize(size[::-1], Image.Resampling.BICUBIC).convert("RGB")
    if side.label is None:
        return panel
    shown = np.array(panel)
    shown[label_outline(side.label, size) > 0] = ImageColor.getrgb(OUTLINE_COLOURS[0])
    return Image.fromarray(shown)


def _on_sheet(points: NDArray[np.float32], image: NDArray[Any], panel: Image.Image, x: int) -> Points:
    """Return (2, n), y and x on the sheet, of points (n, 2), x and y in an image."""
    scale = np.array([panel.width / image.shape[1], panel.height / image.shape[0]])
    placed: Points = ((points.astype(np.float64) + 0.5) * scale - 0.5 + (x, _TOP)).T[::-1]
    return placed


def _sectors(found: Match, image: NDArray[Any]) -> NDArray[np.intp]:
    """Return the number of a colour for each match: the direction of its place from the middle of the image."""
    x, y = (found.sample_points - (np.array(image.shape[::-1]) - 1) / 2).T
    turn = np.arctan2(y, x) / (2 * np.pi) + 0.5
    sector: NDArray[np.intp] = (turn * len(OUTLINE_COLOURS)).astype(np.intp) % len(OUTLINE_COLOURS)
    return sector


def _join(sheet: Image.Image, left: Points, right: Points, sector: NDArray[np.intp]) -> Image.Image:
    """Return the sheet with a dot at both ends of every match, and lines between some, an even share of each sector.

    Args:
        sheet: what to draw on.
        left: (2, n) y and x on the sheet.
        right: (2, n) likewise.
        sector: (n,) numbers of colours.
    """
    large = sheet.resize((sheet.width * _SHARPNESS, sheet.height * _SHARPNESS), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(large)
    colours = [OUTLINE_COLOURS[number] for number in sector]
    (left_y, left_x), (right_y, right_x) = ((points + 0.5) * _SHARPNESS for points in (left, right))
    for k in np.argsort(sector, kind="stable")[:: max(1, math.ceil(len(sector) / _MOST_LINES))]:
        draw.line((left_x[k], left_y[k], right_x[k], right_y[k]), colours[k], round(_LINE_PX * _SHARPNESS))
    for radius, inks in ((_RING_PX, [_PAPER] * len(colours)), (_DOT_PX, colours)):
        reach = radius * _SHARPNESS
        for x, y, ink in zip([*left_x, *right_x], [*left_y, *right_y], inks * 2, strict=True):
            draw.ellipse((x - reach, y - reach, x + reach, y + reach), ink)
    return large.reduce(_SHARPNESS)
