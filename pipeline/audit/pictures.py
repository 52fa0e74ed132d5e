"""Pictures of findings: the two samples or slices that a finding is about, and where in them the same tissue is."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray
from PIL import Image

from pipeline.audit.features import SAMPLE_KEYPOINTS, SLICE_KEYPOINTS, find_features
from pipeline.audit.identify import FOUND_INLIERS, mirror
from pipeline.audit.matching import Match, match
from pipeline.audit.pair_sheet import PairSide, draw_pair
from pipeline.audit.pixel_checks import address_text
from pipeline.audit.report import AuditReport, Finding, Severity
from pipeline.audit.subject import Subject
from pipeline.audit.text import measures_text, printable
from pipeline.files import storage_errors, write_atomically
from pipeline.look.contact_sheet import SPLIT_COLOURS, Chip
from pipeline.plan.split import SliceAddress
from pipeline.source.readers import as_name
from pipeline.source.stacks import Slices

_SHOWN = {
    "P001": ("sample", "sample"),
    "P002": ("sample", "slice"),
    "P003": ("sample", "slice"),
    "P006": ("sample", "slice"),
    "P007": ("sample", "sample"),
    "S001": ("slice", "slice"),
}
_CLOSER_KEYPOINTS = 2000  # at full resolution, where half of it does not do
_SEVERITY_COLOURS: dict[Severity, str] = {"critical": "#b42318", "error": "#b54708", "warning": "#7a5c00"}
_SLICE_COLOUR = "#57606a"
_LONGEST_NAME = 48


@dataclass(frozen=True, slots=True, eq=False)
class _Picture:
    """A sample or a slice: image (Y, X), label where it matters, and how many keypoints an audit keeps of it."""

    name: str
    split: str
    image: NDArray[Any]
    label: NDArray[Any] | None
    n_keypoints: int


_Pair: TypeAlias = tuple[_Picture, _Picture]


def write_pictures(
    folder: Path,
    report: AuditReport,
    subject: Subject,
    stacks: Sequence[Slices] | None = None,
    labels: Sequence[Slices] | None = None,
    *,
    worst: int = 10,
) -> list[Path]:
    """Write a PNG for each of the worst findings that are about two pictures, and return the files.

    A name begins with the finding's place in the report, such as `01-P002-s000-z00021-r0000004.png`; a file of the same
    name is replaced. The same findings and pixels give the same bytes, with the same OpenCV and Pillow.

    Args:
        folder: where to write; made if it is not there.
        report: the findings.
        subject: the samples that they are about.
        stacks: what the samples were made from, each (Z, Y, X), where it is at hand.
        labels: the labels of the stacks, where there are any.
        worst: how many pictures to write at most.

    Raises:
        DatasetError: a sample cannot be read any more.
        SourceError: a sample or a slice cannot be read any more.
        StorageError: the folder cannot be written.
    """
    album = _Album(subject, stacks or (), labels)
    paths: list[Path] = []
    for rank, finding in enumerate(report.findings, start=1):
        if len(paths) >= worst:
            break
        if pair := album.pair(finding):
            with storage_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
            name = as_name((finding.sample or "").removesuffix(".png"))
            paths.append(folder / f"{rank:02}-{finding.check}-{name}.png")
            write_atomically(paths[-1], [_png(_draw(finding, pair))])
    return paths


class _Album:
    """The pictures that findings are about, read when they are asked for."""

    def __init__(self, subject: Subject, stacks: Sequence[Slices], labels: Sequence[Slices] | None) -> None:
        self._samples = {(sample.name, sample.split): sample for sample in subject.samples}
        self._stacks, self._labels = stacks, labels
        addresses = [SliceAddress(stack, z) for stack, images in enumerate(stacks) for z in range(len(images))]
        self._slices = {address_text(address): address for address in addresses}

    def pair(self, finding: Finding) -> _Pair | None:
        """Return the two pictures that a finding is about, or None where there are no two, or not at hand."""
        names, kinds = (finding.sample, finding.other), _SHOWN.get(finding.check, ())
        found = [
            self._picture(kind, name or "", split, with_label=finding.check == "P006")
            for kind, name, split in zip(kinds, names, _splits(finding), strict=False)
        ]
        own, other = found or (None, None)
        return (own, other) if own and other else None

    def _picture(self, kind: str, name: str, split: str, *, with_label: bool) -> _Picture | None:
        if kind == "sample" and (sample := self._samples.get((name, split))):
            label = sample.label() if with_label and sample.label else None
            return _Picture(name, split, sample.image(), label, SAMPLE_KEYPOINTS)
        if kind == "slice" and (address := self._slices.get(name)):
            label = self._labels[address.stack][address.z] if with_label and self._labels else None
            return _Picture(name, split, self._stacks[address.stack][address.z], label, SLICE_KEYPOINTS)
        return None


def _splits(finding: Finding) -> tuple[str, str]:
    """Return the splits of a finding's sample and of the other picture; empty where it has none."""
    first, *rest = finding.splits or ("",)
    if not rest:
        return first, ""
    return (first, rest[-1]) if finding.check == "S001" else (rest[-1], first)


def _draw(finding: Finding, pair: _Pair) -> Image.Image:
    """Return the sheet of a finding, one of its pictures mirrored if that is how they match."""
    left, right, found = _aligned(finding, *pair)
    title = Chip(_SEVERITY_COLOURS[finding.severity], finding.check, printable(finding.text))
    facts = [" - ".join(finding.splits), measures_text(finding), f"{len(found.sample_points)} matched places drawn"]
    return draw_pair(title, "  ·  ".join(fact for fact in facts if fact), left, right, found)


def _aligned(finding: Finding, left: _Picture, right: _Picture) -> tuple[PairSide, PairSide, Match]:
    """Return both sides as they match best: the one mirrored that the audit mirrored, or either where it did not say.

    An audit mirrors a sample to find its like among samples, and a slice to find what a sample shows.
    """
    recorded = finding.measures.get("mirrored")
    tried = []
    for mirrored in (False, True) if recorded is None else (bool(recorded),):
        flip_left = mirrored and finding.check == "P007"
        sides = _side(left, mirrored=flip_left), _side(right, mirrored=mirrored and not flip_left)
        tried.append((*sides, _match((sides[0].image, sides[1].image), (left.n_keypoints, right.n_keypoints))))
    return max(tried, key=lambda each: each[2].inliers)


def _side(picture: _Picture, *, mirrored: bool) -> PairSide:
    name = printable(picture.name)
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME // 2]}…{name[-_LONGEST_NAME // 2 :]}"
    colour = SPLIT_COLOURS.get(picture.split, _SLICE_COLOUR)
    return PairSide(
        chip=Chip(colour, picture.split or "slice", name + ", mirrored" * mirrored),
        image=mirror(picture.image, mirrored),
        label=None if picture.label is None else mirror(picture.label, mirrored),
    )


def _match(images: tuple[NDArray[Any], NDArray[Any]], n_keypoints: tuple[int, int]) -> Match:
    """Return where two pictures match, found as the audit found it."""
    found = match(*(find_features(image, most=n) for image, n in zip(images, n_keypoints, strict=True)))
    if found.inliers >= FOUND_INLIERS:
        return found
    closer = match(*(find_features(image, most=_CLOSER_KEYPOINTS, half=False) for image in images))
    return max(found, closer, key=lambda each: each.inliers)


def _png(sheet: Image.Image) -> bytes:
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()
