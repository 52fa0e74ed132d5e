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
    source = read_folder(folder) if folder else _remembered(record)
    if source.inputs != record.values["inputs"]:
        where = folder or ", ".join(str(path) for pair in source.files for path in pair) or "the built-in phantom"
        raise DatasetError(
            f"{where}: expected the pixels that {record.folder} was made from ({_digests(record.values['inputs'])}), "
            f"found others ({_digests(source.inputs)}); name the right folder with --source"
        )
    return source


def _remembered(record: DatasetRecord) -> Source:
    path = record.folder / BUILD_INFO_FILE
    try:
        first = json.loads(path.read_bytes())["inputs"][0]
        files = Path(first["images"]["path"]), Path(first["labels"]["path"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        if record.name == PHANTOM:
            return phantom_source()
        raise DatasetError(f"{path}: does not say where the source is; name its folder with --source") from error
    try:
        return read_files(*files)
    except (ConfigError, SourceError) as error:
        raise DatasetError(f"{error} (as {path} remembers it); name the source's folder with --source") from error


def _digests(inputs: list[dict[str, dict[str, str]]]) -> str:
    return "; ".join(
        f"images {stack['images']['sha256']:.12}, labels {stack['labels']['sha256']:.12}" for stack in inputs
    )
