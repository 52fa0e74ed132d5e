"""Finding again the stack that a dataset was made from."""

import json
from pathlib import Path

from augment.errors import ConfigError, DatasetError, SourceError
from pipeline.known import PHANTOM
from pipeline.shards.record import BUILD_INFO_FILE, DatasetRecord
from pipeline.source import Source, phantom_source, read_files, read_folder


def find_origin(record: DatasetRecord, folder: Path | None = None) -> Source:
    """Return the source of a dataset: in the folder named, else where build-info.json remembers it.

    Args:
        record: the dataset.
        folder: where to look, instead of asking build-info.json.

    Raises:
        DatasetError: nothing is remembered, or the pixels found are not those that the dataset was made from.
        ConfigError: the folder named does not hold a source.
        SourceError: a stack cannot be read.
    """
    source = _in_folder(record, folder) if folder else _remembered(record)
    if source.inputs != record.values["inputs"]:
        read = [str(file.path) for pair in source.files for file in pair]
        raise DatasetError(
            f"{folder or ', '.join(read) or 'the built-in phantom'}: expected the pixels that {record.folder} was made "
            f"from ({_digests(record.values['inputs'])}), found others ({_digests(source.inputs)}); name the right "
            "folder with --source"
        )
    return source


def _in_folder(record: DatasetRecord, folder: Path) -> Source:
    """Return the source in a folder: the files that build-info.json remembers, by name, else the usual ones."""
    if (files := _remembered_files(record)) and all((folder / file.name).is_file() for file in files):
        return read_files(folder / files[0].name, folder / files[1].name)
    return read_folder(folder)


def _remembered(record: DatasetRecord) -> Source:
    files = _remembered_files(record)
    made_of_phantom = record.name == PHANTOM
    if made_of_phantom and not (files and all(file.is_file() for file in files)):
        return phantom_source()
    if not files:
        raise DatasetError(
            f"{record.folder / BUILD_INFO_FILE}: does not say where the source is; name its folder with --source"
        )
    try:
        return read_files(*files)
    except (ConfigError, SourceError) as error:
        raise DatasetError(
            f"{error} (as {BUILD_INFO_FILE} remembers it); name the source's folder with --source"
        ) from error


def _remembered_files(record: DatasetRecord) -> tuple[Path, Path] | None:
    """Return where the images and labels were when the dataset was made, if that is known."""
    try:
        first = json.loads((record.folder / BUILD_INFO_FILE).read_bytes())["inputs"][0]
        return Path(first["images"]["path"]), Path(first["labels"]["path"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _digests(inputs: list[dict[str, dict[str, str]]]) -> str:
    return "; ".join(
        f"images {stack['images']['sha256']:.12}, labels {stack['labels']['sha256']:.12}" for stack in inputs
    )
