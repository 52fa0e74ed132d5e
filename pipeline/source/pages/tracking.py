"""Sequences of the Cell Tracking Challenge: frames t000.tif in a folder 01, some of them annotated in 01_GT/SEG."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, SourceError, counted
from pipeline.source.pages.folder import PageFolder, has_pages, page_files
from pipeline.source.pages.folder_stacks import FolderLayout, FolderStack
from pipeline.source.pages.formats import open_file
from pipeline.source.pages.layouts import subfolders
from pipeline.source.pages.partners import missing_numbers
from pipeline.source.pages.some_labels import SomeLabels

_SEQUENCE = re.compile(r"[0-9]{2}")
_FRAME = re.compile(r"t([0-9]+)")
_LABEL = re.compile(r"man_seg_?([0-9]+)(_[0-9]+)?")
_ADVICE = "export the annotated planes and their labels as pages, and name the two folders"
_GOLD, _SILVER = "GT", "ST"


class FrameLabels(SomeLabels):
    """The labels of a sequence of which not all frames are annotated: ids, and 0 in all of the others."""

    values_are_objects = True

    def _empty(self) -> NDArray[Any]:
        return np.zeros(self.shape[1:], self.dtype)


def sequence_pairs(root: Path, *, silver: bool = False) -> list[tuple[Path, Path]]:
    """Return the frames and the annotations of each sequence of a set; none where the folder is no such set.

    Args:
        root: the folder of a set, with the folders 01, 01_GT, 02, 02_GT.
        silver: take the computed annotations of 01_ST instead.

    Raises:
        ConfigError: a sequence has no annotations of the kind.
    """
    there = {folder.name for folder in subfolders(root)}
    annotated = {name for name in there if {f"{name}_{_GOLD}", f"{name}_{_SILVER}"} & there}
    names = sorted(name for name in annotated if _SEQUENCE.fullmatch(name))
    pairs = [(root / name, root / f"{name}_{_SILVER if silver else _GOLD}" / "SEG") for name in names]
    for _, labels in pairs:
        if not labels.is_dir():
            other = "leave out --silver" if silver else "--silver takes the computed ones"
            raise ConfigError(f"{labels}: expected annotations of a sequence, found nothing; {other}, if it has any")
    return pairs


def open_sequence(images: Path, labels: Path) -> FolderLayout | None:
    """Return a sequence of frames of which some are annotated; None where the names are others.

    Raises:
        ConfigError: an annotation belongs to no frame, or a frame is missing.
        SourceError: a file cannot be read, or frames have several planes.
    """
    if not (has_pages(images) and has_pages(labels)):
        return None
    frames, annotated = page_files(images), page_files(labels)
    numbers = [_FRAME.fullmatch(file.stem) for file in frames]
    found = [_LABEL.fullmatch(file.stem) for file in annotated]
    if not all(numbers) or not all(found):
        return None
    several = f"of several planes; sequences of volumes are not read: {_ADVICE}"
    if (n := len(open_file(frames[0], labels=False))) > 1:
        raise SourceError(f"{frames[0]}: has {n} pages, as a frame {several}")
    if plane := next((match for match in found if match and match[2]), None):
        raise SourceError(f"{labels}: {plane[0]} annotates one plane of a frame {several}")
    place = {int(match[1]): z for z, match in enumerate(numbers) if match}
    for file, match in zip(annotated, found, strict=True):
        if match and int(match[1]) not in place:
            raise ConfigError(f"{file}: annotates frame {match[1]}, which is not in {images}; add it, or remove this")
    if missing := missing_numbers([str(number) for number in place]):
        raise ConfigError(f"{images}: frame {missing[0]} is missing; add it: what follows it is not its neighbour")
    zs = [place[int(match[1])] for match in found if match]
    opened = FrameLabels(PageFolder(labels, annotated, labels=True), zs, len(frames))
    skipped = frozenset(range(len(frames))) - set(zs)
    note = f"{images}: {len(zs)} of {counted(len(frames), 'frame')} are annotated in {labels}"
    note += "; the others are skipped: they are in no split" if skipped else ""
    label_name = dict(zip(zs, (file.stem for file in annotated), strict=True))
    stack = FolderStack(
        images=PageFolder(images, frames),
        labels=opened,
        names=tuple(file.stem for file in frames),
        label_names=tuple(label_name.get(z, "") for z in range(len(frames))),
        skipped=skipped,
    )
    return FolderLayout((stack,), (note,), films=True)
