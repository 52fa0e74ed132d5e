"""The strengths sheet as one image: under a heading, columns of three panels, each with a caption."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from PIL import Image, ImageDraw

from pipeline.look.contact_sheet import INK, MARGIN_PX, PAPER, QUIET, RULE, WIDTH_PX, write_text

PANEL_PX = 184  # of the square that every panel fits into
_IN_A_ROW, _BETWEEN_PX = 6, 9
_HEAD_PX, _TITLES_PX, _CAPTION_PX, _BAND_GAP_PX = 92, 52, 26, 14
_TITLE_PX, _TEXT_PX, _NOTE_PX = 24, 15, 13


@dataclass(frozen=True, slots=True)
class StrengthColumn:
    """One augmentation: its name, how many samples get it, and, from weak to strong, captions and panels."""

    title: str
    note: str
    captions: tuple[str, ...]
    panels: tuple[Image.Image, ...]


def draw_strengths(title: str, summary: Sequence[str], columns: Sequence[StrengthColumn]) -> Image.Image:
    """Return the sheet, WIDTH_PX wide and as high as its columns need, six of them side by side.

    Args:
        title: the first line.
        summary: the lines below it.
        columns: the augmentations.
    """
    bands = [_band(columns[first : first + _IN_A_ROW]) for first in range(0, len(columns), _IN_A_ROW)]
    head = _HEAD_PX + 22 * (len(summary) - 1)
    sheet = Image.new("RGB", (WIDTH_PX, head + sum(band.height for band in bands)), PAPER)
    draw = ImageDraw.Draw(sheet)
    write_text(draw, MARGIN_PX, 38, title, INK, _TITLE_PX)
    for line, text in enumerate(summary):
        write_text(draw, MARGIN_PX, 70 + 22 * line, text, QUIET, _TEXT_PX)
    top = head
    for band in bands:
        sheet.paste(band, (0, top))
        top += band.height
    return sheet


def _band(columns: Sequence[StrengthColumn]) -> Image.Image:
    """Return columns side by side, under a line."""
    rows = zip_longest(*(column.panels for column in columns))
    heights = [max(panel.height for panel in row if panel is not None) for row in rows]
    height = _TITLES_PX + sum(heights) + _CAPTION_PX * len(heights) + _BAND_GAP_PX
    band = Image.new("RGB", (WIDTH_PX, height), PAPER)
    draw = ImageDraw.Draw(band)
    draw.line([(MARGIN_PX, 0), (WIDTH_PX - MARGIN_PX, 0)], RULE)
    for place, column in enumerate(columns):
        left = MARGIN_PX + place * (PANEL_PX + _BETWEEN_PX)
        end = left + PANEL_PX
        write_text(draw, left, 18, column.title, INK, _TEXT_PX, end)
        write_text(draw, left, 37, column.note, QUIET, _NOTE_PX, end)
        top = _TITLES_PX
        for row_px, caption, panel in zip(heights, column.captions, column.panels, strict=False):
            band.paste(panel, (left, top))
            write_text(draw, left, top + panel.height + 11, caption, QUIET, _NOTE_PX, end)
            top += row_px + _CAPTION_PX
    return band
