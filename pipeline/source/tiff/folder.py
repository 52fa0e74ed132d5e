"""A stack in a folder: one TIFF file a slice, in the natural order of their names, and its partner of labels."""

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from string import digits
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, SourceError
from pipeline.source.tiff.pages import TWO_TABLES
from pipeline.source.tiff.stack import TiffStack

_SUFFIXES = {".tif", ".tiff"}
_DIGITS = re.compile(r"([0-9]+)")
_MAX_LISTED = 3


class PageFolder:
    """The slices of a folder of single pages: `stack[z]` reads slice z as (Y, X), native byte order.

    Args:
        path: the folder.
        labels: whether it holds labels.

    Attributes:
        files: one for each slice.
        shape: (Z, Y, X).
        dtype: of every slice.
        palette: the colours that labels stand for, as in `TiffStack`.

    Raises:
        ConfigError: it holds no TIFF file.
        SourceError: a file is damaged, is not a single gray image, or differs in kind from the others.
    """

    def __init__(self, path: Path, *, labels: bool = False) -> None:
        self.path, self._labels = path, labels
        self.files = _tiff_files(path)
        first = TiffStack(self.files[0], labels=labels)
        self.shape, self.dtype = (len(self.files), *first.shape[1:]), first.dtype
        self.palette = first.palette
        for file in self.files:
            page = TiffStack(file, labels=labels)
            if len(page) != 1:
                raise SourceError(
                    f"{file}: expected a single page in a folder of pages, found {len(page)}; name multi-page files "
                    "one by one with --images and --labels"
                )
            if (page.shape, page.dtype) != (first.shape, first.dtype):
                raise SourceError(
                    f"{file}: {_kind(page)}, but {first.path.name} is {_kind(first)}; slices of one stack are alike: "
                    "export them again, or name each size as a stack of its own"
                )
            if not _are_equal(page.palette, first.palette):
                raise SourceError(
                    f"{file}: its pixels stand for other colours than those of {first.path.name}; {TWO_TABLES}"
                )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, z: int) -> NDArray[Any]:
        """Return slice z.

        Raises:
            SourceError: its pixels are damaged.
        """
        if not 0 <= z < len(self):
            raise IndexError(f"slice {z} of {len(self)}")
        return TiffStack(self.files[z], labels=self._labels)[0]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the slices."""
        return (self[z] for z in range(len(self)))


def require_partners(images: PageFolder, labels: PageFolder, *, independent: bool) -> None:
    """Refuse folders whose pages do not belong together one by one, or in which numbers are missing.

    Pages are partners when their names are the same but for what all names of a folder begin and end with.

    Args:
        images: a slice a page.
        labels: its labels.
        independent: the slices have no neighbours, so that numbers may be missing.

    Raises:
        ConfigError: a page has no partner, two have the same one, or a number is missing.
    """
    names = [[file.stem for file in stack.files] for stack in (images, labels)]
    cores = [names[k] if set(names[0]) & set(names[1]) else core_names(names[k]) for k in (0, 1)]
    for own, other, stack, partner in ((0, 1, images, labels), (1, 0, labels, images)):
        alone = [name for name, core in zip(names[own], cores[own], strict=True) if core not in cores[other]]
        if alone:
            more = f" and {len(alone) - _MAX_LISTED} more" if len(alone) > _MAX_LISTED else ""
            raise ConfigError(
                f"{stack.path}: no page in {partner.path} belongs to {', '.join(alone[:_MAX_LISTED])}{more}; every "
                "slice needs its label: add or remove pages, or name them alike"
            )
        if len(set(cores[own])) < len(cores[own]):
            raise ConfigError(f"{stack.path}: two pages have the same number; remove or rename one of them")
    if cores[0] != cores[1]:
        raise ConfigError(f"{labels.path}: its pages are in another order than those of {images.path}; name them alike")
    if not independent and (missing := missing_numbers(core_names(names[0]))):
        more = ", ..." if len(missing) > _MAX_LISTED else ""
        raise ConfigError(
            f"{images.path}: pages are numbered {names[0][0]} to {names[0][-1]}, but "
            f"{', '.join(map(str, missing[:_MAX_LISTED]))}{more} is missing; slices on both sides of a hole are no "
            "neighbours: add it, name each part as a stack of its own, or say --independent if the pages are fields "
            "of view"
        )


def natural_key(name: str) -> list[tuple[int, str]]:
    """Return what to sort names by, so that slice 10 comes after slice 9."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in _DIGITS.split(name)]


def core_names(stems: Sequence[str]) -> list[str]:
    """Return what tells the names of a folder apart: without what all begin and end with, and leading zeros.

    A number is never cut in two: of `s_1`, `s_12` and `s_13` the cores are 1, 12 and 13. Nothing tells a single name
    apart, so that its core is empty.
    """
    if len(stems) == 1:
        return [""]
    rest = [stem[len(_shared_start(stems).rstrip(digits)) :] for stem in stems]
    n_end = len(_shared_start([stem[::-1] for stem in rest]).rstrip(digits))
    return [_DIGITS.sub(lambda number: str(int(number[0])), stem[: len(stem) - n_end]) for stem in rest]


def missing_numbers(cores: Sequence[str]) -> list[int]:
    """Return the numbers that are missing between the first and the last, where names differ in one number alone."""
    if len(cores) < 2 or not all(core.isdecimal() for core in cores):
        return []
    numbers = {int(core) for core in cores}
    return sorted(set(range(min(numbers), min(max(numbers), min(numbers) + 10**6) + 1)) - numbers)


def _shared_start(texts: Sequence[str]) -> str:
    """Return what all texts begin with."""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False))
    return "".join(letters[0] for letters in alike)


def _tiff_files(path: Path) -> tuple[Path, ...]:
    try:
        files = [file for file in path.iterdir() if not file.name.startswith(".") and not file.is_dir()]
    except OSError as error:
        raise ConfigError(f"{path}: expected a folder of TIFF files ({error.strerror}); name another one") from error
    found = [file for file in files if file.suffix.lower() in _SUFFIXES]
    if not found:
        raise ConfigError(f"{path}: expected a folder of TIFF files, found none in it; name a file, or another folder")
    return tuple(sorted(found, key=lambda file: (natural_key(file.stem), file.name)))


def _are_equal(palette: NDArray[Any] | None, other: NDArray[Any] | None) -> bool:
    """Return whether pages have the same table of colours, or both none."""
    return palette is other or (palette is not None and other is not None and np.array_equal(palette, other))


def _kind(stack: TiffStack) -> str:
    return f"{stack.shape[1]} x {stack.shape[2]} px, {stack.dtype.name}"
