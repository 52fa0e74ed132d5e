"""Finding again the stacks that a dataset was made from."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, DatasetError, SourceError
from pipeline.shards.record import BUILD_INFO_FILE, DatasetRecord
from pipeline.source.build_info import read_build_info
from pipeline.source.known_stacks import PHANTOM
from pipeline.source.readers import IMAGES_FILE, LABELS_FILE, phantom_source, read_folder, read_pairs
from pipeline.source.stacks import Source

_MOST_TOLD = 3


def find_origin(
    record: DatasetRecord, folder: Path | None = None, *, pairs: Sequence[tuple[Path, Path]] = ()
) -> Source:
    """Return the source of a dataset: in the folder or files named, else where build-info.json remembers it.

    Args:
        record: the dataset.
        folder: where to look, instead of asking build-info.json.
        pairs: images and labels, stack by stack, instead of a folder.

    Raises:
        DatasetError: nothing is remembered, or the pixels found are not those that the dataset was made from.
        ConfigError: the folder named does not hold a source.
        SourceError: a stack cannot be read.
    """
    if pairs:
        source = read_pairs(pairs, **_as_before(record))
    else:
        source = _in_folder(record, folder) if folder else _remembered(record)
    if source.inputs != record.values.get("inputs"):
        read = [str(file.path) for pair in source.files for file in pair]
        raise DatasetError(
            f"{folder or ', '.join(read) or 'the built-in phantom'}: expected the pixels that {record.folder} was made "
            f"from ({_digests(record.values['inputs'])}), found others ({_digests(source.inputs)}); name the right "
            "folder with --source"
        )
    return source


def is_at_hand(record: DatasetRecord) -> bool:
    """Return whether there is anything where the source was when the dataset was made; the phantom always is."""
    pairs = read_build_info(record.folder).pairs
    return record.name == PHANTOM or bool(pairs and all(_is_there(path) for pair in pairs for path in pair))


def _in_folder(record: DatasetRecord, folder: Path) -> Source:
    """Return the source in a folder: what build-info.json remembers, as it lay there together, else the usual files."""
    pairs = read_build_info(record.folder).pairs
    if pairs:
        root = Path(os.path.commonpath([path.parent for pair in pairs for path in pair]))
        moved = [(folder / images.relative_to(root), folder / labels.relative_to(root)) for images, labels in pairs]
        if all(_is_there(path) for pair in moved for path in pair):
            return read_pairs(moved, **_as_before(record))
    try:
        return read_folder(folder, **_as_before(record))
    except ConfigError as error:
        if not folder.is_dir():
            raise
        raise ConfigError(
            f"{folder}: expected the stack that {record.folder} was made from, in files called as then, or in "
            f"{IMAGES_FILE} and {LABELS_FILE}; name the right folder with --source (rebuild also takes --images and "
            "--labels)"
        ) from error


def _remembered(record: DatasetRecord) -> Source:
    pairs = read_build_info(record.folder).pairs
    made_of_phantom = record.name == PHANTOM
    if made_of_phantom and not (pairs and all(_is_there(path) for pair in pairs for path in pair)):
        return phantom_source()
    if not pairs:
        raise DatasetError(
            f"{record.folder}: does not say where its stack is ({BUILD_INFO_FILE}, which remembers that, is never "
            "published); name its folder with --source"
        )
    try:
        return read_pairs(pairs, **_as_before(record))
    except (ConfigError, SourceError) as error:
        raise DatasetError(
            f"{error} (as {BUILD_INFO_FILE} remembers it); name the source's folder with --source"
        ) from error


def _as_before(record: DatasetRecord) -> dict[str, Any]:
    """Return the options that the source was read with when the dataset was made.

    Raises:
        DatasetError: the record does not say.
    """
    try:
        kind = record.values["inputs"][0]["labels"]["kind"]
        independent = record.values["config"]["independent"]
    except (LookupError, TypeError) as error:
        raise DatasetError(f"{record.folder}: does not say how its source was read; is it of this version?") from error
    return {"name": record.name, "label_kind": kind, "independent": independent}


def _is_there(path: Path) -> bool:
    """Return whether there is a plain file or a folder; what is neither, such as a device, is not read."""
    try:
        return path.is_file() or path.is_dir()
    except (OSError, ValueError):
        return False


def _digests(inputs: Any) -> str:
    """Return the beginnings of the digests, of records that may be anything."""
    try:
        told = [f"{kind} {each[kind]['sha256'][:12]}" for each in inputs[:_MOST_TOLD] for kind in ("images", "labels")]
        return "; ".join(told) + f" and {len(inputs) - _MOST_TOLD} more stacks" * (len(inputs) > _MOST_TOLD)
    except (LookupError, TypeError):
        return "unreadable"
