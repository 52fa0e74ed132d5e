"""A stack in a folder: one file a slice, in the natural order of their names, and its partner of labels."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, SourceError
from pipeline.source.pages.channel_files import ChannelFiles, channel_files, missing_channel, perhaps_channels
from pipeline.source.pages.channels import JoinedChannels
from pipeline.source.pages.formats import NAMES, FileSlices, open_file, pages_among
from pipeline.source.pages.partners import core_names, is_label_name, match_names, missing_numbers, natural_key
from pipeline.source.tiff.pages import TWO_TABLES

_MAX_LISTED = 3


class PageFolder:
    """The slices of a folder of single pages: `stack[z]` reads slice z as (Y, X) or (Y, X, C), native byte order.

    Args:
        path: the folder.
        files: which of its files are the slices, in their order; by default all, in the natural order of their names.
        labels: whether it holds labels.
        colour: whether labels may be colours, as in `TiffStack`.
        channels_are_slices: whether planes are slices that a file calls channels; each file has but one slice, so that
            they are channels where that is not known.

    Attributes:
        files: one for each slice.
        axis: empty, as each file has but one slice.
        shape: (Z, Y, X), or (Z, Y, X, C) of several channels.
        dtype: of every slice; of labels that are stored in 8 or 16 bits, the larger one.
        channels: what the channels are called; empty where there is one.
        white_is_zero: whether labels are said to have white as zero; images are turned round one by one.
        palette: the colours that pixels stand for, as in `TiffStack`.
        notes: what to say of how pixels are read, and in how many of the files.

    Raises:
        ConfigError: it holds no such file, or files of several formats.
        SourceError: a file is damaged, is not a single image, or differs in kind from the others.
    """

    axis = ""

    def __init__(
        self,
        path: Path,
        files: Sequence[Path] | None = None,
        *,
        labels: bool = False,
        colour: bool = False,
        channels_are_slices: bool | None = None,
    ) -> None:
        self.path = path
        are_slices = channels_are_slices is True
        self._open = partial(open_file, labels=labels, colour=colour, channels_are_slices=are_slices, one_slice=True)
        self.files = page_files(path) if files is None else tuple(files)
        first = self._open(self.files[0])
        self.shape, self.dtype = (len(self.files), *first.shape[1:]), first.dtype
        self.white_is_zero, self.palette, self.channels = labels and first.white_is_zero, first.palette, first.channels
        notes: Counter[str] = Counter()
        for file in self.files:
            page = self._open(file)
            notes.update(page.notes)
            if len(page) != 1:
                raise SourceError(
                    f"{file}: expected a single page in a folder of pages, found {len(page)}; if they are the channels "
                    "of one picture, save it so that it says so (in Python: tifffile.imwrite(FILE, ARRAY, imagej=True, "
                    "metadata={'axes': 'CYX'}), in ImageJ: Image > Hyperstacks); else name multi-page files one by one "
                    "with --images and --labels"
                )
            widened = labels and page.dtype.kind == first.dtype.kind == "u"
            if page.shape != first.shape or not (page.dtype == first.dtype or widened):
                advice = (
                    "or name each size as a stack of its own"
                    if page.shape[1:3] != first.shape[1:3]
                    else "all as gray, or all as RGB"
                    if page.channels != first.channels
                    else "all in as many bits"
                )
                raise SourceError(
                    f"{file}: {_kind(page)}, but {first.path.name} is {_kind(first)}; slices of one stack are alike: "
                    f"export them again, {advice}"
                )
            if page.channels != first.channels:
                raise SourceError(
                    f"{file}: has the channels {', '.join(page.channels)}, but {first.path.name} has "
                    f"{', '.join(first.channels)}; slices of one stack are alike: export them again"
                )
            if labels and page.white_is_zero != first.white_is_zero:
                found = "white" if page.white_is_zero else "black"
                raise SourceError(
                    f"{file}: {found} is zero, unlike in {first.path.name}; "
                    "labels are taken as they are stored, so they would mean different things: export them again, alike"
                )
            if not _are_equal(page.palette, first.palette):
                raise SourceError(
                    f"{file}: its pixels stand for other colours than those of {first.path.name}; {TWO_TABLES}"
                )
            self.dtype = max(self.dtype, page.dtype, key=lambda dtype: dtype.itemsize)
        n = len(self.files)
        self.notes = tuple(note if count == n else f"{note} (in {count} of {n} files)" for note, count in notes.items())

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, z: int) -> NDArray[Any]:
        """Return slice z.

        Raises:
            SourceError: its pixels are damaged.
        """
        if not 0 <= z < len(self):
            raise IndexError(f"slice {z} of {len(self)}")
        return self._open(self.files[z])[0].astype(self.dtype, copy=False)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the slices."""
        return (self[z] for z in range(len(self)))


def open_folders(
    images: Path,
    labels: Path,
    *,
    independent: bool,
    channels_are_slices: bool | None = None,
    colour: bool = False,
) -> tuple[FileSlices, PageFolder]:
    """Return the slices in a folder and their labels in another, or in the same one, partner by partner.

    The order is the natural one of the images' names. In one folder, names tell images and labels apart. Where the
    names of the images only have partners without what channels are called by, they are the channels of one slice.

    Args:
        images: a slice a page, or a channel of a slice.
        labels: its labels.
        independent: the slices have no neighbours, so that numbers may be missing.
        channels_are_slices: as in `PageFolder`.
        colour: whether labels may be colours.

    Raises:
        ConfigError: a page has no partner, two have the same one, a number is missing, or a page is its own label.
        SourceError: a file is damaged, is not a single image, or differs in kind from the others.
    """
    if is_same_file(images, labels):
        files, where = divided_files(images), (f"{images} (its images)", f"{images} (its labels)")
    else:
        files, where = (page_files(images), page_files(labels)), (str(images), str(labels))
    stems = [[file.stem for file in each] for each in files]
    channels: ChannelFiles | None = None
    try:
        places = match_names(stems[0], stems[1], where)
    except ConfigError as error:
        if (channels := channel_files(stems[0])) is None:
            _require_no_channels(images, stems, where)
            raise
        try:
            places = match_names(channels.slices, stems[1], where)
        except ConfigError:
            raise error from None
    names = channels.slices if channels else stems[0]
    partners = [files[1][place] for place in places]
    for image, label in product(files[0], partners) if channels else zip(files[0], partners, strict=True):
        if is_same_file(image, label):
            raise ConfigError(f"{label}: is the image itself, {image}; name the file that holds its label")
    if not independent and (missing := missing_numbers(core_names(names))):
        more = ", ..." if len(missing) > _MAX_LISTED else ""
        raise ConfigError(
            f"{images}: pages are numbered {names[0]} to {names[-1]}, but "
            f"{', '.join(map(str, missing[:_MAX_LISTED]))}{more} is missing; slices on both sides of a hole are no "
            "neighbours: add it, name each part as a stack of its own, or say --independent if the pages are fields "
            "of view"
        )
    folder = partial(PageFolder, images, channels_are_slices=channels_are_slices)
    opened = _joined(folder, files[0], channels) if channels else folder(files[0])
    return opened, PageFolder(labels, partners, labels=True, colour=colour, channels_are_slices=channels_are_slices)


def _joined(
    folder: Callable[[Sequence[Path]], PageFolder], files: Sequence[Path], channels: ChannelFiles
) -> JoinedChannels:
    """Return the slices whose channels are in files of their own."""
    parts = [folder([files[place] for place in places]) for places in channels.files]
    listed = ", ".join(channels.channels[:_MAX_LISTED]) + (", ..." if len(channels.channels) > _MAX_LISTED else "")
    note = (
        f"names that {channels.place} {listed} are taken for the channels of one slice, as each label belongs to "
        f"{len(parts)} of them"
    )
    return JoinedChannels(parts, channels.channels, slices=channels.slices, notes=[note])


def _require_no_channels(images: Path, stems: Sequence[Sequence[str]], where: tuple[str, str]) -> None:
    """Refuse files that may be the channels of slices with labels, with what is missing or to be said.

    Raises:
        ConfigError: they may be.
    """

    def have_labels(slices: Sequence[str]) -> bool:
        try:
            return bool(match_names(slices, stems[1], where))
        except ConfigError:
            return False

    if (found := missing_channel(stems[0])) and have_labels(found[0]):
        _, name, channel = found
        raise ConfigError(
            f"{images}: each label belongs to several files, one a channel, but {name} has none for {channel}; add "
            "it, or leave out that channel or that slice"
        )
    if (may_be := perhaps_channels(stems[0])) and have_labels(may_be[0]):
        channels = may_be[1]
        listed = ", ".join(channels[:_MAX_LISTED]) + (", ..." if len(channels) > _MAX_LISTED else "")
        raise ConfigError(
            f"{images}: each label belongs to {len(channels)} files, which end in {listed}; if these are the channels "
            "of a slice, put those of each channel into a folder of its own and name all: --images A --images B "
            "--labels L --join channels"
        )


def page_files(path: Path) -> tuple[Path, ...]:
    """Return the pages in a folder, in the natural order of their names.

    Raises:
        ConfigError: it is no folder, has none, or some of several formats.
    """
    try:
        files = [file for file in path.iterdir() if not file.name.startswith(".") and not file.is_dir()]
    except OSError as error:
        raise ConfigError(f"{path}: expected a folder of {NAMES} ({error.strerror}); name another one") from error
    found = pages_among(files, path)
    return tuple(sorted(found, key=lambda file: (natural_key(file.stem), file.name)))


def divided_files(path: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return the images and the labels in one folder, told apart by words such as `_masks` in the names of labels.

    Raises:
        ConfigError: it is no folder, or the names do not tell.
    """
    files = page_files(path)
    labels = tuple(file for file in files if is_label_name(file.stem))
    if not 0 < len(labels) < len(files):
        kind = "every name is" if labels else "no name is"
        raise ConfigError(
            f"{path}: images and labels are the same folder, and {kind} one of a label, such as img_0_masks beside "
            "img_0; name two folders, or rename the labels"
        )
    return tuple(file for file in files if file not in set(labels)), labels


def has_pages(path: Path) -> bool:
    """Return whether a folder has any pages of its own."""
    try:
        return bool(page_files(path))
    except ConfigError:
        return False


def image_files(path: Path) -> tuple[Path, ...]:
    """Return the pages in a folder, but for labels of others of them.

    Raises:
        ConfigError: it is no folder, or has none.
    """
    try:
        images, labels = divided_files(path)
        match_names([file.stem for file in images], [file.stem for file in labels], (str(path), str(path)))
    except ConfigError:
        return page_files(path)
    return images


def is_same_file(one: Path, other: Path) -> bool:
    """Return whether two paths lead to the same file or folder, also through links."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def _are_equal(palette: NDArray[Any] | None, other: NDArray[Any] | None) -> bool:
    """Return whether pages have the same table of colours, or both none."""
    return palette is other or (palette is not None and other is not None and np.array_equal(palette, other))


def _kind(stack: FileSlices) -> str:
    channels = f", {len(stack.channels)} channels" if stack.channels else ""
    return f"{stack.shape[1]} x {stack.shape[2]} px, {stack.dtype.name}{channels}"
