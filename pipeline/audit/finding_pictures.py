"""Pictures of findings: the two samples or slices that one is about, side by side, and where they show the same tissue.

A finding's report holds numbers, not pixels, so the two are read and matched again, as the audit did it.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw

from augment.gray import as_plane
from pipeline.audit.pixel_findings import address_text
from pipeline.audit.report import AuditReport, Finding, Severity
from pipeline.audit.samples.audited_samples import AuditedSamples
from pipeline.audit.search.features import SAMPLE_KEYPOINTS, SLICE_KEYPOINTS, Variant, find_features, mirror
from pipeline.audit.search.registration import Match, match_features
from pipeline.audit.search.slice_identification import SliceIdentifier
from pipeline.audit.terminal_report import measures_text, printable
from pipeline.files import storage_errors, write_atomically
from pipeline.look.contact_sheet import SPLIT_COLOURS, WIDTH_PX, Chip, draw_chip, write_text
from pipeline.look.display import display_of
from pipeline.look.lattice import Points
from pipeline.look.panels import OUTLINE_COLOURS, label_outline, scaled
from pipeline.source.readers import as_name

_SHOWN = {
    "P001": ("sample", "sample"),
    "P002": ("sample", "slice"),
    "P003": ("sample", "slice"),
    "P006": ("sample", "slice"),
    "P007": ("sample", "sample"),
    "S001": ("slice", "slice"),
}
_SEVERITY_COLOURS: dict[Severity, str] = {"critical": "#b42318", "error": "#b54708", "warning": "#7a5c00"}
_SLICE_COLOUR = "#57606a"
_MAX_NAME = 48

_MAX_LINES = 40  # more of them hide the tissue
_DOT_PX, _RING_PX, _LINE_PX = 2.4, 3.6, 1.3
_SHARPNESS = 4  # lines and dots are drawn so many times larger, then averaged
_MARGIN, _GAP = 24, 16
_TITLE_Y, _FACTS_Y, _CHIPS_Y, _TOP = 32, 64, 100, 122
_SIDE_PX = (WIDTH_PX - 2 * _MARGIN - _GAP) // 2
_PAPER, _QUIET = "#ffffff", "#57606a"
_TEXT_PX = 15


@dataclass(frozen=True, slots=True, eq=False)
class PairSide:
    """One of the two pictures.

    Attributes:
        chip: its split and name.
        image: (Y, X), or (Y, X, C) of several channels.
        label: (Y, X), where that is to be outlined.
        n_keypoints: how many of them an audit keeps of such a picture.
    """

    chip: Chip
    image: NDArray[Any]
    label: NDArray[Any] | None = None
    n_keypoints: int = SAMPLE_KEYPOINTS

    def mirrored(self) -> "PairSide":
        """Return the same as it is seen in a mirror."""
        chip = replace(self.chip, text=f"{self.chip.text}, mirrored")
        label = None if self.label is None else mirror(self.label, mirrored=True)
        return replace(self, chip=chip, image=mirror(self.image, mirrored=True), label=label)


def write_pictures(
    folder: Path,
    report: AuditReport,
    audited: AuditedSamples,
    slices: SliceIdentifier | None = None,
    *,
    worst: int = 10,
) -> list[Path]:
    """Write a PNG for each of the worst findings that are about two pictures, and return the files.

    A name begins with the finding's place in the report, such as `01-P002-s000-z00021-r0000004.png`; a file of the same
    name is replaced. The same findings and pixels give the same bytes, with the same OpenCV and Pillow.

    Args:
        folder: where to write; made if it is not there.
        report: the findings.
        audited: the samples that they are about.
        slices: those that the samples were made from, where they are at hand.
        worst: how many pictures to write at most.

    Raises:
        DatasetError: a sample cannot be read any more.
        SourceError: a sample or a slice cannot be read any more.
        StorageError: the folder cannot be written.
    """
    album = _Album(audited, slices)
    paths: list[Path] = []
    for rank, finding in enumerate(report.findings, start=1):
        if len(paths) >= worst:
            break
        if pair := album.pair(finding):
            with storage_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
            name = as_name((finding.sample or "").removesuffix(".png"))
            paths.append(folder / f"{rank:02}-{finding.check}-{name}.png")
            buffer = io.BytesIO()
            _draw(finding, pair).save(buffer, "PNG")
            write_atomically(paths[-1], [buffer.getvalue()])
    return paths


class _Album:
    """The pictures that findings are about, read when they are asked for."""

    def __init__(self, audited: AuditedSamples, slices: SliceIdentifier | None) -> None:
        self._samples = {(sample.name, sample.split): sample for sample in audited.samples}
        self._slices = slices
        self._addresses = {address_text(address): address for address in slices.addresses} if slices else {}

    def pair(self, finding: Finding) -> tuple[PairSide, PairSide] | None:
        """Return the two pictures that a finding is about, or None where there are no two, or not at hand."""
        what, names = _SHOWN.get(finding.check), (finding.sample, finding.other)
        if what is None:
            return None
        with_label = finding.check == "P006"
        own, other = (
            self._side(kind, name or "", split, with_label=with_label)
            for kind, name, split in zip(what, names, _splits(finding), strict=True)
        )
        return (own, other) if own and other else None

    def _side(self, kind: str, name: str, split: str, *, with_label: bool) -> PairSide | None:
        if kind == "sample" and (sample := self._samples.get((name, split))):
            label = sample.label() if with_label and sample.label else None
            return PairSide(_chip(name, split), sample.image(), label)
        if kind == "slice" and self._slices and (address := self._addresses.get(name)):
            label = self._slices.label(address) if with_label else None
            return PairSide(_chip(name, split), self._slices.picture(address), label, SLICE_KEYPOINTS)
        return None


def _chip(name: str, split: str) -> Chip:
    text = printable(name)
    if len(text) > _MAX_NAME:
        text = f"{text[: _MAX_NAME // 2]}…{text[-_MAX_NAME // 2 :]}"
    return Chip(SPLIT_COLOURS.get(split, _SLICE_COLOUR), split or "slice", text)


def _splits(finding: Finding) -> tuple[str, str]:
    """Return the splits of a finding's sample and of the other picture; empty where it has none."""
    first, *rest = finding.splits or ("",)
    if not rest:
        return first, ""
    return (first, rest[-1]) if finding.check == "S001" else (rest[-1], first)


def _draw(finding: Finding, pair: tuple[PairSide, PairSide]) -> Image.Image:
    """Return the sheet of a finding, one of its pictures mirrored if that is how they match."""
    left, right, found = _align(finding, *pair)
    title = Chip(_SEVERITY_COLOURS[finding.severity], finding.check, printable(finding.text))
    facts = [" - ".join(finding.splits), measures_text(finding), f"{len(found.sample_points)} matched places drawn"]
    return draw_pair(title, "  ·  ".join(fact for fact in facts if fact), left, right, found)


def _align(finding: Finding, left: PairSide, right: PairSide) -> tuple[PairSide, PairSide, Match]:
    """Return both sides as they match best: the left mirrored if the audit did so, or either where it did not say."""
    recorded = finding.measures.get("mirrored")
    own, other = (find_features(as_plane(side.image), most=side.n_keypoints) for side in (left, right))
    aligned = []
    for mirrored in (False, True) if recorded is None else (bool(recorded),):
        variant = Variant(mirrored, inverted=bool(finding.measures.get("inverted")))
        aligned.append((left.mirrored() if mirrored else left, right, match_features(own.seen_as(variant), other)))
    return max(aligned, key=lambda each: each[2].inliers)


def draw_pair(title: Chip, facts: str, left: PairSide, right: PairSide, found: Match) -> Image.Image:
    """Return the sheet, WIDTH_PX wide.

    Matched places have the colour of the direction that they lie in, seen from the middle of the left picture, so that
    a rotation can be seen from the colours alone. Lines join only some of them.

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
    placed = []
    for side, panel, x, points in zip(
        (left, right), panels, columns, (found.sample_points, found.other_points), strict=True
    ):
        draw_chip(draw, side.chip, x, _CHIPS_Y)
        sheet.paste(panel, (x, _TOP))
        placed.append(_on_sheet(points, side.image, panel, x))
    return _join(sheet, placed, _sectors(found, left.image))


def _panel(side: PairSide) -> Image.Image:
    height, width = side.image.shape[:2]
    scale = _SIDE_PX / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    shown = scaled(side.image, display_of(side.image), (height, width))
    panel = shown.resize(size[::-1], Image.Resampling.BICUBIC).convert("RGB")
    if side.label is None:
        return panel
    drawn = np.array(panel)
    drawn[label_outline(side.label, size) > 0] = ImageColor.getrgb(OUTLINE_COLOURS[0])
    return Image.fromarray(drawn)


def _on_sheet(points: NDArray[np.float32], image: NDArray[Any], panel: Image.Image, x: int) -> Points:
    """Return (n, 2), x and y on the sheet, of points (n, 2), x and y in an image."""
    scale = np.array([panel.width / image.shape[1], panel.height / image.shape[0]])
    placed: Points = (points.astype(np.float64) + 0.5) * scale - 0.5 + (x, _TOP)
    return placed


def _sectors(found: Match, image: NDArray[Any]) -> NDArray[np.intp]:
    """Return the number of a colour for each match: the direction of its place from the middle of the image."""
    x, y = (found.sample_points - (np.array(image.shape[1::-1]) - 1) / 2).T
    turn = np.arctan2(y, x) / (2 * np.pi) + 0.5
    sector: NDArray[np.intp] = (turn * len(OUTLINE_COLOURS)).astype(np.intp) % len(OUTLINE_COLOURS)
    return sector


def _join(sheet: Image.Image, sides: Sequence[Points], sector: NDArray[np.intp]) -> Image.Image:
    """Return the sheet with a dot at both ends of every match, and lines between some, an even share of each sector.

    Args:
        sheet: what to draw on.
        sides: for the left and the right, (n, 2) x and y on the sheet.
        sector: (n,) numbers of colours.
    """
    large = sheet.resize((sheet.width * _SHARPNESS, sheet.height * _SHARPNESS), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(large)
    colours = [OUTLINE_COLOURS[number] for number in sector]
    left, right = ((points + 0.5) * _SHARPNESS for points in sides)
    for k in np.argsort(sector, kind="stable")[:: max(1, math.ceil(len(sector) / _MAX_LINES))]:
        draw.line((*left[k], *right[k]), colours[k], round(_LINE_PX * _SHARPNESS))
    for radius, inks in ((_RING_PX, [_PAPER] * len(colours)), (_DOT_PX, colours)):
        reach = radius * _SHARPNESS
        for (x, y), ink in zip((*left, *right), inks * 2, strict=True):
            draw.ellipse((x - reach, y - reach, x + reach, y + reach), ink)
    return large.reduce(_SHARPNESS)
