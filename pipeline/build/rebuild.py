"""Making a dataset again from its lock file, dataset.json and manifest alone, and a source of the same pixels."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from pipeline.build.builder import BuildResult, build_dataset
from pipeline.errors import ConfigError, DamagedError
from pipeline.files import storage_errors
from pipeline.shards.dataset import Dataset
from pipeline.shards.digest import bytes_digest, parse_json
from pipeline.shards.progress import Progress
from pipeline.shards.record import DATASET_FILE, MANIFEST_FILE, DatasetRecord, parse_record
from pipeline.source.origin import find_origin
from pipeline.verify.verification import verify_records


def rebuild_dataset(
    lock: Path | str,
    out: Path | str | None = None,
    *,
    source_folder: Path | None = None,
    pairs: Sequence[tuple[Path, Path]] = (),
    jobs: int = -1,
    progress: Progress | None = None,
) -> BuildResult:
    """Make the dataset that a lock file records, byte for byte, or nothing.

    Args:
        lock: a folder with dataset.json and manifest.jsonl; shards may lie there too, and are not looked at.
        out: the dataset's folder; `datasets/<name of the lock's folder>` unless named.
        source_folder: where the stack is; the built-in phantom needs none.
        pairs: images and labels, stack by stack, instead of a folder.
        jobs: threads to render in.
        progress: progress callback.

    Raises:
        DamagedError: the two files contradict each other, or what was built is not what they record; the message
            tells what differs, and nothing of it is left.
        DatasetError: there is no lock file, it is of another renderer version, or its source is not found.
        ConfigError: `out` is taken, or is the lock's own folder.
        SourceError: the source cannot be read.
        StorageError: the disk is full, or the folder cannot be written.
    """
    verification = verify_records(lock)
    dataset = verification.dataset
    record = dataset.record
    if verification.findings:
        raise DamagedError(f"{verification.findings[0]}; nothing was built: fetch the lock file again")
    folder = Path(out) if out is not None else default_out(dataset.folder)
    with storage_errors(folder):
        if folder.exists() and folder.samefile(dataset.folder):
            raise ConfigError(f"{folder}: is the folder of the lock file itself; name another --out")
    source = replace(find_origin(dataset, source_folder, pairs=pairs), facts=record.source)

    def accept(made: bytes, folder: Path) -> None:
        if bytes_digest(made) != dataset.digest:
            raise DamagedError(_difference(dataset, parse_record(made, where=folder), folder))

    result = build_dataset(
        source,
        record.config,
        out=folder,
        jobs=jobs,
        offer_overwrite=False,
        progress=progress,
        accept=accept,
    )
    if result.dataset is None or result.dataset.digest != dataset.digest:
        raise DamagedError(
            f"{result.out}: holds the same dataset in other bytes than {dataset.folder} records; name another --out"
        )
    return result


def default_out(lock: Path) -> Path:
    """Return the folder that a dataset is rebuilt in unless told otherwise.

    Raises:
        ConfigError: the lock's folder has no name to take.
    """
    if not (name := lock.resolve().name):
        raise ConfigError(f"{lock}: has no name that the dataset could have; name a folder with --out")
    return Path("datasets") / name


def _difference(dataset: Dataset, made: DatasetRecord, folder: Path) -> str:
    """Return what is not as recorded: samples, or only the bytes in which they are stored."""
    record = dataset.record
    content = {shard.file: shard.content_sha256 for shard in made.shards}
    other = [shard.file for shard in record.shards if content.get(shard.file) != shard.content_sha256]
    if other:
        return (
            f"{dataset.folder}: rebuilding gives other samples than those recorded, in {len(other)} of "
            f"{len(record.shards)} shards{_first_sample(dataset, folder)}; nothing was kept. Were its files changed?"
        )
    files = {shard.file: shard.sha256 for shard in made.shards}
    changed = next((shard.file for shard in record.shards if files[shard.file] != shard.sha256), DATASET_FILE)
    return (
        f"{dataset.folder}: rebuilding gives the same samples in other bytes, first in {changed}; nothing was "
        "kept. Perhaps they were written by other library versions: requirements.txt lists those that count"
    )


def _first_sample(dataset: Dataset, folder: Path) -> str:
    """Return which sample is the first whose line in the manifest is another one now."""
    with dataset.manifest_path.open("rb") as recorded, (folder / MANIFEST_FILE).open("rb") as made:
        for line, new in zip_longest(recorded, made):
            if line != new:
                return f", first in {parse_json(new or line or b'{}').get('id')}"
    return ""
