"""From paths to stacks: files and folders are opened, joined where they are channels, and asked about where unclear."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, NamedTuple

from pipeline.errors import ConfigError, SourceError, counted
from pipeline.shards.digest import bytes_digest, file_digest
from pipeline.shards.inputs import MAX_CHANNELS
from pipeline.source.pages.address import split_address
from pipeline.source.pages.channels import ChosenChannels, JoinedChannels, require_same_labels, split_names
from pipeline.source.pages.folder import PageFolder, open_folders
from pipeline.source.pages.formats import FileSlices, decoder_of, is_page_folder, open_file, stem_of
from pipeline.source.pages.grid import GridSlices
from pipeline.source.pages.partners import core_names
from pipeline.source.stacks import RawStack, SourceFile

if TYPE_CHECKING:
    from pipeline.source.pages.folder_stacks import FolderLayout


class Opening(NamedTuple):
    """How pairs are opened; see `read_pairs`."""

    independent: bool = False
    channels_are_slices: bool | None = None
    channel: tuple[str, ...] = ()
    colour: bool = False  # labels may be colours

    @property
    def planes_are_slices(self) -> bool | None:
        """Whether planes that are called channels are slices: not where some of them are chosen."""
        return False if self.channel else self.channels_are_slices


def part_names(groups: Sequence[Sequence[tuple[Path, Path]]]) -> list[str]:
    """Return what to call images that are the channels of a stack, in all stacks alike.

    They are called as the files, folders or arrays are, as what tells these apart in each stack, or by their numbers.

    Args:
        groups: the pairs of images and labels of each stack.
    """
    bases = [[PurePath(split_address(path)[1]).name or stem_of(path) for path, _ in group] for group in groups]
    for names in (bases, [core_names(each) for each in bases]):
        if all(each == names[0] for each in names):
            return names[0]
    return list(map(str, range(max(map(len, bases)))))


def open_stack(pairs: Sequence[tuple[Path, Path]], names: Sequence[str], how: Opening) -> RawStack:
    """Return a stack.

    Args:
        pairs: images and labels; of several pairs, each has some of the channels, and the same labels.
        names: what the images are called as channels.
        how: what is known of them.

    Raises:
        ConfigError: images and labels do not belong together, there are no such channels, or what the planes of a file
            are has to be said.
        SourceError: one of them cannot be read.
    """
    opened = [_open_pair(*pair, how) for pair in pairs]
    (images, labels), (images_path, labels_path) = opened[0], pairs[0]
    if len(pairs) > 1:
        require_same_labels([each for _, each in opened], [path for path, _ in pairs])
        slices = _slice_names(images, images_path)
        images = JoinedChannels([each for each, _ in opened], names[: len(pairs)], slices=slices)
    files = [_source_file(each) for each, _ in opened]
    return replace(
        _raw_stack(images, labels, pairs[0], how),
        names=_slice_names(images, images_path),
        label_names=_slice_names(labels, labels_path),
        files=(replace(files[0], further=tuple(files[1:])), _source_file(labels)),
    )


def open_layout(pair: tuple[Path, Path], layout: "FolderLayout", how: Opening) -> list[RawStack]:
    """Return the stacks of two folders that hold more than one plain stack.

    Raises:
        ConfigError: there are no such channels.
        SourceError: a file cannot be read.
    """
    return [
        replace(
            _raw_stack(stack.images, stack.labels, pair, how),
            names=stack.names,
            label_names=stack.label_names,
            files=(_source_file(stack.images), _source_file(stack.labels)),
            sequence=stack.sequence,
            skipped=stack.skipped,
        )
        for stack in layout.stacks
    ]


def _raw_stack(images: FileSlices, labels: FileSlices, pair: tuple[Path, Path], how: Opening) -> RawStack:
    """Return a stack of the channels that were chosen, without what its slices are called and where they were."""
    where = str(pair[0]), str(pair[1])
    if how.channel:
        if not images.channels:
            raise ConfigError(f"{where[0]}: has one channel, so that none can be chosen; leave out --channel")
        images = ChosenChannels(images, split_names(how.channel, images))
    if len(images.channels) > MAX_CHANNELS:
        raise ConfigError(
            f"{where[0]}: expected at most {MAX_CHANNELS} channels, found {len(images.channels)}; choose some, such as "
            "--channel 0,1,2"
        )
    return RawStack(images, labels, where=where, palette=labels.palette, channels=images.channels)


def open_slices(
    path: Path, *, labels: bool, channels_are_slices: bool | None = None, colour: bool = False
) -> FileSlices:
    """Return the slices in a file, in an array in it, or in a folder of pages.

    Raises:
        ConfigError: there is no such file or folder.
        SourceError: it cannot be read.
    """
    if is_page_folder(path):
        return PageFolder(path, labels=labels, channels_are_slices=channels_are_slices, colour=colour)
    return open_file(path, labels=labels, channels_are_slices=channels_are_slices, colour=colour)


def _open_pair(images_path: Path, labels_path: Path, how: Opening) -> tuple[FileSlices, FileSlices]:
    """Return images and labels.

    Raises:
        ConfigError: the two do not belong together, or the images' planes may be slices or channels.
        SourceError: one of them cannot be read.
    """
    images: FileSlices
    labels: FileSlices
    answer = how.planes_are_slices
    if is_page_folder(images_path) and is_page_folder(labels_path):
        images, labels = open_folders(
            images_path,
            labels_path,
            independent=how.independent,
            channels_are_slices=answer,
            colour=how.colour,
        )
    else:
        images = open_slices(images_path, labels=False, channels_are_slices=answer)
        labels = open_slices(labels_path, labels=True, colour=how.colour)
        if labels.axis == "channels" and len(labels) > len(images) == 1:  # then it may be one label, saved as colours
            labels = open_slices(labels_path, labels=True, channels_are_slices=False, colour=how.colour)
    if _place(images) == _place(labels):
        raise ConfigError(f"{labels.path}: named for labels, but is the images themselves; name what holds the labels")
    if answer is None and images.axis == "channels":
        n = len(images)
        raise ConfigError(
            f"{images_path}: its {n} planes may be the channels of one slice, or the slices of a stack; say "
            f"--no-channels-are-slices for one slice of {n} channels, or --channels-are-slices for {n} slices (the "
            f"labels have {len(labels)})"
        )
    if answer and images.channels:
        raise ConfigError(
            f"{images_path}: its channels ({', '.join(images.channels):.80}) are those of "
            f"{counted(len(images), 'slice')} and cannot be slices; leave out --channels-are-slices, or choose one "
            "with --channel"
        )
    if answer is False and len(images) == 1 < len(labels) == len(images.channels):
        raise ConfigError(
            f"{labels_path}: has {len(labels)} slices, for one slice of {len(images.channels)} channels in "
            f"{images_path}; save the one label that all its channels share"
        )
    return images, labels


def _place(slices: FileSlices) -> tuple[Path, tuple[Path, ...], str]:
    """Return what tells slices from others: a zip file may hold images and their labels."""
    return slices.path, slices.files, slices.key if isinstance(slices, GridSlices) else ""


def _slice_names(images: FileSlices, path: Path) -> tuple[str, ...]:
    """Return what the slices are called, each where it has a file of its own, else all together."""
    if isinstance(images, JoinedChannels):
        return images.slices
    return tuple(file.stem for file in images.files) if is_page_folder(path) else (stem_of(path),)


def _source_file(stack: FileSlices) -> SourceFile:
    """Return where a stack was read from; the digest of a folder is that of its files' digests, in order."""
    try:
        digests = [file_digest(file) for file in stack.files]
    except OSError as error:
        raise SourceError(f"{error.filename or stack.path}: cannot be read ({error.strerror or error})") from error
    digest = bytes_digest("".join(digests).encode("ascii")) if stack.path.is_dir() else digests[0]
    return SourceFile(stack.path.resolve(), digest, decoder_of(stack.files))
