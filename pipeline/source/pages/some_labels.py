"""Folders in which only some pictures have a label: the others are skipped."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, counted
from pipeline.source.pages.folder import PageFolder, divided_files, is_same_file, page_files
from pipeline.source.pages.folder_stacks import FolderLayout, FolderStack
from pipeline.source.pages.formats import open_file
from pipeline.source.pages.partners import core_names, match_some, missing_numbers


class SomeLabels:
    """The labels of a stack of which not all slices have one; those of the others hold one value that occurs.

    Args:
        labels: of the slices that have one.
        places: which these are.
        depth: how many slices there are.
    """

    axis = ""
    channels: tuple[str, ...] = ()

    def __init__(self, labels: PageFolder, places: Sequence[int], depth: int) -> None:
        self._labels, self._place = labels, {z: place for place, z in enumerate(places)}
        self.path, self.files, self.dtype = labels.path, labels.files, labels.dtype
        self.shape = (depth, *labels.shape[1:])
        self.white_is_zero, self.palette, self.notes = labels.white_is_zero, labels.palette, labels.notes

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, z: int) -> NDArray[Any]:
        """Return the label of slice z.

        Raises:
            SourceError: its pixels are damaged.
        """
        if not 0 <= z < len(self):
            raise IndexError(f"slice {z} of {len(self)}")
        return self._labels[self._place[z]] if z in self._place else self._empty()

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the labels."""
        return (self[z] for z in range(len(self)))

    def _empty(self) -> NDArray[Any]:
        """Return the label of a slice that has none: no value, which would become a class, that no other has."""
        return np.broadcast_to(self._labels[0][:1, :1], self.shape[1:]).copy()


def some_labels(images: Path, labels: Path, *, independent: bool = False, colour: bool = False) -> FolderLayout | None:
    """Return the stack of a folder in which only some pictures have a label; None where all have, or names do not tell.

    Args:
        images: the folder.
        labels: that of the labels, or the same one.
        independent: slices have no neighbours, so that numbers may be missing.
        colour: whether labels may be colours.

    Raises:
        ConfigError: a number is missing, or pictures are of several sizes.
        SourceError: a file cannot be read, or differs in kind from the others.
    """
    try:
        files = divided_files(images) if is_same_file(images, labels) else (page_files(images), page_files(labels))
    except ConfigError:
        return None
    stems = [[file.stem for file in each] for each in files]
    places = match_some(stems[0], stems[1])
    if places is None or len(places) == len(stems[0]):
        return None
    if not independent and (missing := missing_numbers(core_names(stems[0]))):
        raise ConfigError(f"{images}: number {missing[0]} is missing; add it, or say --independent for fields of view")
    sizes = {open_file(image, labels=False, one_slice=True).shape[1:3] for image in files[0]}
    if len(sizes) > 1:
        raise ConfigError(
            f"{images}: {len(stems[0]) - len(places)} of its pictures, which are of {len(sizes)} sizes, have no label; "
            "move them to another folder, and leave out --skip-unlabelled"
        )
    depth, label_of = len(stems[0]), dict(zip(places, files[1], strict=True))
    zs = sorted(places)
    opened = PageFolder(labels, [label_of[z] for z in zs], labels=True, colour=colour)
    stack = FolderStack(
        images=PageFolder(images, files[0]),
        labels=SomeLabels(opened, zs, depth),
        names=tuple(stems[0]),
        label_names=tuple(label_of[z].stem if z in label_of else "" for z in range(depth)),
        skipped=frozenset(range(depth)) - set(zs),
    )
    what = f"{images}: {len(zs)} of {counted(depth, 'picture')} have a label in {labels}; the others are skipped"
    return FolderLayout((stack,), (what,))
