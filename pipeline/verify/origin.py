"""Finding again the stacks that a dataset was made from."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, DatasetError, SourceError
from pipeline.shards.config import CHANNELS
from pipeline.shards.dataset import Dataset
from pipeline.shards.inputs import StackInput
from pipeline.shards.record import BUILD_INFO_FILE
from pipeline.source.build_info import read_build_info
from pipeline.source.gray_levels import ScaleGray
from pipeline.source.known_stacks import PHANTOM
from pipeline.source.labels import LabelOptions
from pipeline.source.pages.address import file_of
from pipeline.source.readers import IMAGES_FILE, LABELS_FILE, phantom_source, read_folder, read_pairs
from pipeline.source.regions import Boxes
from pipeline.source.resampling import PixelSize
from pipeline.source.stacks import Source

_MAX_LISTED = 3


def find_origin(dataset: Dataset, folder: Path | None = None, *, pairs: Sequence[tuple[Path, Path]] = ()) -> Source:
    """Return the source of a dataset: in the folder or files named, else where build-info.json remembers it.

    Args:
        dataset: the dataset.
        folder: where to look, instead of asking build-info.json.
        pairs: images and labels, stack by stack, instead of a folder.

    Raises:
        DatasetError: nothing is remembered, or the pixels found are not those that the dataset was made from.
        ConfigError: the folder named does not hold a source.
        SourceError: a stack cannot be read.
    """
    if pairs:
        source = _with_kept_channels(partial(read_pairs, pairs), dataset, len(pairs))
    else:
        source = _in_folder(dataset, folder) if folder else _remembered(dataset)
    source = _as_recorded(source, dataset.record.inputs)
    if source.inputs != dataset.record.inputs:
        _require_same_decoder(dataset, source)
        read = [str(file.path) for pair in source.files for file in pair]
        raise DatasetError(
            f"{folder or ', '.join(read) or 'the built-in phantom'}: expected the pixels that {dataset.folder} was "
            f"made from ({_digests(dataset.record.inputs)}), found others ({_digests(source.inputs)}); name the right "
            "folder with --source"
        )
    return source


def _require_same_decoder(dataset: Dataset, source: Source) -> None:
    """Refuse a source whose files are the dataset's own, where another decoder has given other pixels of them.

    Raises:
        DatasetError: they are.
    """
    before = read_build_info(dataset.folder)
    now = {file.decoder for pair in source.files for file in pair} - {None}
    if now and before.decoders and before.digests == tuple((one.sha256, other.sha256) for one, other in source.files):
        raise DatasetError(
            f"{source.files[0][0].path}: the files are those that {dataset.folder} was made from, but their pixels are "
            f"others: {', '.join(before.decoders)} decoded them then, {', '.join(map(str, now))} does now, and JPEG "
            f"decoders differ by a gray level; install the version of imagecodecs that {BUILD_INFO_FILE} names"
        )


def is_at_hand(dataset: Dataset) -> bool:
    """Return whether there is anything where the source was when the dataset was made; the phantom always is."""
    return dataset.name == PHANTOM or _are_there(read_build_info(dataset.folder).pairs)


def _in_folder(dataset: Dataset, folder: Path) -> Source:
    """Return the source in a folder: what build-info.json remembers, as it lay there together, else the usual files."""
    pairs = read_build_info(dataset.folder).pairs
    paths = [file_of(path) for pair in pairs for path in pair]
    # what the folder holds, else what it is: one that has images and labels
    roots = {Path(os.path.commonpath(each)): None for each in ([path.parent for path in paths], paths) if each}
    for root in roots:
        moved = [(folder / images.relative_to(root), folder / labels.relative_to(root)) for images, labels in pairs]
        if _are_there(moved):
            return _with_kept_channels(partial(read_pairs, moved), dataset, len(moved))
    try:
        return _with_kept_channels(partial(read_folder, folder), dataset)
    except ConfigError as error:
        if not folder.is_dir():
            raise
        raise ConfigError(
            f"{folder}: expected the stack that {dataset.folder} was made from, under its old file names or as "
            f"{IMAGES_FILE} and {LABELS_FILE}; name the right folder with --source, or with rebuild --images and "
            "--labels"
        ) from error


def _remembered(dataset: Dataset) -> Source:
    pairs = read_build_info(dataset.folder).pairs
    if dataset.name == PHANTOM and not _are_there(pairs):
        return phantom_source()
    if not pairs:
        raise DatasetError(
            f"{dataset.folder}: does not say where its stack is, as {BUILD_INFO_FILE} is never published; name the "
            "folder of the stack with --source"
        )
    try:
        return _with_kept_channels(partial(read_pairs, pairs), dataset, len(pairs))
    except (ConfigError, SourceError) as error:
        raise DatasetError(
            f"{error} (as {BUILD_INFO_FILE} remembers it); name the source's folder with --source"
        ) from error


def _with_kept_channels(read: Callable[..., Source], dataset: Dataset, n_pairs: int = 0) -> Source:
    """Return a source as it was read before, of those of its channels that were kept then.

    A lock file names several that were kept, and does not say which a single one was: the digest of its pixels tells.

    Args:
        read: what reads it, from the options that `_as_before` returns.
        dataset: the dataset.
        n_pairs: as for that.

    Raises:
        ConfigError: the files do not hold a source.
        SourceError: a stack cannot be read.
    """
    options, recorded = _as_before(dataset, n_pairs), dataset.record.inputs
    if options.get("channel"):
        return read(**options)
    kept = recorded[0].images.channels or ()
    try:
        source = read(**options)
    except ConfigError as error:  # of one gray channel, its planes were read as slices
        if kept:
            raise
        try:
            source = read(**options | {"channels_are_slices": False})
        except ConfigError:
            raise error from None
    found = source.stacks[0].channels
    if kept == found or _as_recorded(source, recorded).inputs == recorded:
        return source
    choices = [(name,) for name in found] if not kept else [kept] if set(kept) <= set(found) else []
    for choice in choices:
        chosen = read(**options | {"channels_are_slices": None, "channel": choice})
        if _as_recorded(chosen, recorded).inputs == recorded:
            return chosen
    return source


def _as_before(dataset: Dataset, n_pairs: int = 0) -> dict[str, Any]:
    """Return the options that the source was read with when the dataset was made, as far as that is known.

    The digest of its pixels tells whether it is the right one.

    Args:
        dataset: the dataset.
        n_pairs: how many pairs of images and labels will be read; of more than there are stacks, some are channels.
    """
    record = dataset.record
    scaling = record.reading.scale_gray if record.reading else None
    pixel_nm = record.reading.pixel_size_nm if record.reading else None
    stacks_nm = record.reading.stack_pixel_sizes_nm if record.reading else None
    options: dict[str, Any] = {
        "name": record.name,
        "label_kind": record.label_kind,
        "label_options": _label_options(record.inputs),
        "independent": record.config.independent,
        "scale_gray": None if scaling is None else ScaleGray(scaling.percentiles, scaling.bits),
        "pixel_size": None if pixel_nm is None else PixelSize(pixel_nm, stacks_nm or ()),
        "channels_are_slices": not record.inputs[0].images.channels,
        "regions": [Boxes(each.boxes, each.slice_size) if each.boxes else None for each in record.inputs],
    }
    if n_pairs > len(record.inputs):
        options["join"] = CHANNELS
    remembered = read_build_info(dataset.folder).options
    if "channel" in remembered:
        options["channels_are_slices"] = None
    return options | {key: value for key, value in remembered.items() if n_pairs or key != "join"}


def _label_options(inputs: Sequence[StackInput]) -> LabelOptions:
    """Return what was said of the labels, as far as it decides anything."""
    labels, names = inputs[0].labels, inputs[0].labels.names or ()
    return LabelOptions(
        ignore=tuple({value for stack in inputs for value in stack.labels.ignored or ()}),
        names=names,
        values=labels.values if names or labels.colors else (),
        are_colors=labels.colors is not None,
        skip_unlabelled=any(stack.skipped for stack in inputs),
    )


def _as_recorded(source: Source, inputs: Sequence[StackInput]) -> Source:
    """Return a source with what the record says of its slices and channels: no file that was read may say that.

    Channels have their recorded names, because files of one channel each may be called otherwise by now.
    """
    if tuple(len(stack.images) for stack in source.stacks) != tuple(stack.depth for stack in inputs):
        return source
    stacks = tuple(
        replace(
            stack,
            groups=recorded.groups or (),
            sequence=recorded.sequence or (),
            skipped=frozenset(recorded.skipped or ()),
            channels=names if len(names := recorded.images.channels or ()) == len(stack.channels) else stack.channels,
        )
        for stack, recorded in zip(source.stacks, inputs, strict=True)
    )
    return replace(source, stacks=stacks)


def _are_there(pairs: Sequence[tuple[Path, Path]]) -> bool:
    """Return whether there are pairs, all of files or folders; anything else, such as a device, is not read."""
    try:
        files = [file_of(path) for pair in pairs for path in pair]
        return bool(files) and all(file.is_file() or file.is_dir() for file in files)
    except (OSError, ValueError):
        return False


def _digests(inputs: Sequence[StackInput]) -> str:
    """Return the beginnings of the digests of the first few stacks."""
    listed = [f"images {stack.images.sha256[:12]}; labels {stack.labels.sha256[:12]}" for stack in inputs[:_MAX_LISTED]]
    more = f" and {len(inputs) - _MAX_LISTED} more stacks" if len(inputs) > _MAX_LISTED else ""
    return "; ".join(listed) + more
