"""The contact sheet: rows of panels under a heading, as one image."""

import io
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

from PIL import Image, ImageDraw, ImageFont

from pipeline.look.panels import SIDE_PX

SPLIT_COLOURS: Mapping[str, str] = {"train": "#1f6fd1", "val": "#8a3ffc", "test": "#d1480f"}
COLUMNS = ("source slice, window (dot: top left)", "image", "label, outlined", "deformed grid")

MARGIN_PX, _GAP, _ROW_GAP, _ROW_HEAD = 24, 16, 18, 34
_TITLE_Y, _SUMMARY_Y, _LEGEND_Y, _LEGEND_LINE, _COLUMNS_HEIGHT = 38, 70, 100, 30, 32
WIDTH_PX = 2 * MARGIN_PX + len(COLUMNS) * SIDE_PX + (len(COLUMNS) - 1) * _GAP
PAPER, INK, QUIET, RULE, _EMPTY = "#ffffff", "#1f2328", "#57606a", "#d0d7de", "#f6f8fa"
_TITLE_PX, _TEXT_PX, _NOTE_PX = 24, 15, 14


@dataclass(frozen=True, slots=True)
class Chip:
    """A small coloured field with a word in it, and what is said beside it."""

    colour: str
    word: str
    text: str = ""
    ink: str = PAPER


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One sample: its chip, its id, what was done to it, and its panels from left to right."""

    chip: Chip
    title: str
    text: str
    panels: tuple[Image.Image, ...]


def draw_sheet(title: str, summary: str, legend: Sequence[Sequence[Chip]], rows: Sequence[SheetRow]) -> Image.Image:
    """Return the sheet, WIDTH_PX wide and as high as its rows need.

    Args:
        title: the first line.
        summary: the second line.
        legend: lines of chips below it.
        rows: the samples.
    """
    parts = [_header(title, summary, legend), *map(_row, rows)]
    tops = [0, *accumulate(part.height for part in parts)]
    sheet = Image.new("RGB", (WIDTH_PX, tops[-1] + MARGIN_PX - _ROW_GAP), PAPER)
    for part, top in zip(parts, tops, strict=False):
        sheet.paste(part, (0, top))
    return sheet


def note_panel(lines: Sequence[str]) -> Image.Image:
    """Return a panel that says why there is no image."""
    panel = Image.new("RGB", (SIDE_PX, SIDE_PX), _EMPTY)
    draw = ImageDraw.Draw(panel)
    for k, line in enumerate(lines):
        y = SIDE_PX / 2 + (k - (len(lines) - 1) / 2) * 1.5 * _NOTE_PX
        draw.text((SIDE_PX / 2, y), line, QUIET, _font(_NOTE_PX), anchor="mm")
    return panel


def png_bytes(image: Image.Image) -> bytes:
    """Return an image as a PNG file: 256 colours halve it, and differ by a fifth of a gray level on average."""
    buffer = io.BytesIO()
    image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _header(title: str, summary: str, legend: Sequence[Sequence[Chip]]) -> Image.Image:
    columns_y = _LEGEND_Y + len(legend) * _LEGEND_LINE
    header = Image.new("RGB", (WIDTH_PX, columns_y + _COLUMNS_HEIGHT), PAPER)
    draw = ImageDraw.Draw(header)
    write_text(draw, MARGIN_PX, _TITLE_Y, title, INK, _TITLE_PX)
    write_text(draw, MARGIN_PX, _SUMMARY_Y, summary, QUIET, _TEXT_PX)
    for line, chips in enumerate(legend):
        x = float(MARGIN_PX)
        for chip in chips:
            x = draw_chip(draw, chip, x, _LEGEND_Y + line * _LEGEND_LINE) + MARGIN_PX
    for column, heading in enumerate(COLUMNS):
        write_text(draw, _column_x(column), columns_y + 4, heading, QUIET, _NOTE_PX)
    draw.line([(MARGIN_PX, columns_y + 17), (WIDTH_PX - MARGIN_PX, columns_y + 17)], RULE)
    return header


def _row(row: SheetRow) -> Image.Image:
    height = max(panel.height for panel in row.panels)
    strip = Image.new("RGB", (WIDTH_PX, _ROW_HEAD + height + _ROW_GAP), PAPER)
    draw = ImageDraw.Draw(strip)
    y = _ROW_HEAD / 2 - 3
    x = draw_chip(draw, row.chip, MARGIN_PX, y)
    x = write_text(draw, x + 12, y, row.title, INK, _TEXT_PX)
    write_text(draw, x + 18, y, row.text, QUIET, _TEXT_PX)
    for column, panel in enumerate(row.panels):
        strip.paste(panel, (_column_x(column), _ROW_HEAD))
    return strip


def draw_chip(draw: ImageDraw.ImageDraw, chip: Chip, x: float, centre_y: float) -> float:
    """Draw a chip and its text, and return where they end."""
    end = x + _font(_NOTE_PX).getlength(chip.word) + 18
    draw.rounded_rectangle((x, centre_y - 11, end, centre_y + 11), 5, chip.colour)
    draw.text(((x + end) / 2, centre_y), chip.word, chip.ink, _font(_NOTE_PX), anchor="mm")
    return write_text(draw, end + 8, centre_y, chip.text, INK, _TEXT_PX) if chip.text else end


def write_text(
    draw: ImageDraw.ImageDraw,
    x: float,
    centre_y: float,
    text: str,
    colour: str,
    size_px: int,
    end_x: float = WIDTH_PX - MARGIN_PX,
) -> float:
    """Write a line, cut short at `end_x`, and return where the line ends."""
    font, room = _font(size_px), end_x - x
    if font.getlength(text) > room:
        n_shown = bisect_right(range(len(text)), room, key=lambda n: font.getlength(f"{text[:n]}…")) - 1
        text = f"{text[:n_shown].rstrip()}…"
    draw.text((x, centre_y), text, colour, font, anchor="lm")
    return x + font.getlength(text)


def _column_x(column: int) -> int:
    return MARGIN_PX + column * (SIDE_PX + _GAP)


@cache
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size_px)
