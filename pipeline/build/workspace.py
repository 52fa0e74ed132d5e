"""The folders of a build: one writer, a `.partial` folder that can be continued, and a rename that commits it.

A dataset is complete when dataset.json lies in its folder. It is written last, then the folder gets its name. An
existing dataset is moved aside before and removed after, and the next run repairs whatever a kill left between.
"""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from pipeline.card.files import CARD_FILES, CARD_FOLDER
from pipeline.errors import AugpipeError, ConfigError, DatasetError, StorageError
from pipeline.files import (
    locked,
    partial_name,
    repair_folder,
    replace_folder,
    replaced_name,
    storage_errors,
    write_atomically,
)
from pipeline.shards.dataset import Dataset, open_dataset
from pipeline.shards.digest import canonical_json, file_digest, parse_json
from pipeline.shards.manifest import ManifestRow, parse_line
from pipeline.shards.record import BUILD_INFO_FILE, DATASET_FILE, MANIFEST_FILE, ManifestRecord, ShardRecord

_PROGRESS = ".progress"
_MARK = "build.json"


@dataclass(frozen=True, slots=True)
class Workspace:
    """The paths of one build.

    Attributes:
        out: where the dataset will be.
    """

    out: Path

    @property
    def partial(self) -> Path:
        """Where the dataset grows."""
        return self.out.with_name(f"{self.out.name}.partial")

    def existing(self) -> Dataset | None:
        """Return the dataset that is already there, if one is.

        Raises:
            ConfigError: something else is there.
        """
        with storage_errors(self.out):
            if self.out.is_mount():
                raise ConfigError(f"{self.out}: a disk is mounted there, so it cannot be renamed; name a folder in it")
            if not self.out.exists() or (self.out.is_dir() and not any(self.out.iterdir())):
                return None
        try:
            return open_dataset(self.out)
        except DatasetError as error:
            raise ConfigError(
                f"{self.out}: is there already and is not a dataset of augpipe, so it will not be touched; "
                f"choose another --out ({error})"
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only writer, and repair what an earlier one left.

        Raises:
            StorageError: another build is writing, or the folder cannot be written.
        """
        new_folders = [folder for folder in (self.out.parent, *self.out.parent.parents) if not folder.exists()]
        busy = f"{self.out}: another augpipe is writing this dataset; wait for it, or choose another --out"
        with storage_errors(self.out):
            self.out.parent.mkdir(parents=True, exist_ok=True)
        try:
            with locked(self.out, busy=busy):
                try:
                    with storage_errors(self.out):
                        self._repair()
                    yield
                except BaseException:
                    self._sweep()
                    raise
        finally:
            with suppress(OSError):  # those that are not empty stay
                for folder in new_folders:
                    folder.rmdir()

    def partial_fingerprint(self) -> str | None:
        """Return the fingerprint of the unfinished build, if one is there."""
        try:
            return str(parse_json((self.partial / _PROGRESS / _MARK).read_bytes())["fingerprint"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def discard_other_partial(self, fingerprint: str) -> bool:
        """Remove an unfinished build of another fingerprint, and return whether there was one.

        Raises:
            ConfigError: the folder is there, and no build made it.
        """
        found = self.partial_fingerprint()
        if found == fingerprint or not self.partial.exists():
            return False
        empty = self.partial.is_dir() and {path.name for path in self.partial.iterdir()} <= {_PROGRESS}
        if not (found or empty or _is_dataset(self.partial)):
            raise ConfigError(
                f"{self.partial}: is there already and no build of augpipe made it, so it will not be touched; "
                "move it, or choose another --out"
            )
        with storage_errors(self.partial):
            shutil.rmtree(self.partial)
        return found is not None

    def begin(self, fingerprint: str) -> None:
        """Make the partial folder ready for a build, keeping what an earlier run of the same build finished."""
        with storage_errors(self.partial):
            (self.partial / _PROGRESS).mkdir(parents=True, exist_ok=True)
            (self.partial / DATASET_FILE).unlink(missing_ok=True)
        write_atomically(self.partial / _PROGRESS / _MARK, [canonical_json({"fingerprint": fingerprint})])

    def finished_shard(self, file: str) -> tuple[ShardRecord, list[ManifestRow]] | None:
        """Return the note about a shard that an earlier run finished, if every byte of the shard is still as it was."""
        path = self._progress_file(file)
        try:
            with path.open("rb") as note:
                record = msgspec.json.decode(note.readline(), type=ShardRecord)
                rows = [parse_line(line, where=str(path)) for line in note]
            whole = record.file == file and file_digest(self.partial / file) == record.sha256
        except (OSError, msgspec.MsgspecError, AugpipeError):
            return None
        return (record, rows) if whole else None

    def finish_shard(self, record: ShardRecord, data: memoryview, rows: list[ManifestRow]) -> None:
        """Write a shard, then the note that it is finished, with its manifest rows."""
        write_atomically(self.partial / record.file, [data], n_bytes=len(data))
        note = [canonical_json(asdict(record)), *(row.to_line() for row in rows)]
        write_atomically(self._progress_file(record.file), note)

    def write_manifest(self, shards: list[ShardRecord]) -> ManifestRecord:
        """Write the manifest, line by line from the notes of the finished shards; return its size and digest."""
        digest, n_bytes = hashlib.sha256(), 0

        def lines() -> Iterator[bytes]:
            nonlocal n_bytes
            for shard in shards:
                with self._progress_file(shard.file).open("rb") as note:
                    note.readline()
                    for line in note:
                        digest.update(line)
                        n_bytes += len(line)
                        yield line

        write_atomically(self.partial / MANIFEST_FILE, lines())
        return ManifestRecord(MANIFEST_FILE, n_bytes, digest.hexdigest())

    def commit(self, build_info: bytes, dataset: bytes, *, replaces: Dataset | None) -> Path | None:
        """Write the last two files, dataset.json after all others, and give the dataset its name.

        Returns:
            Where the dataset before is, if it could not be removed.

        Raises:
            StorageError: the folder is no longer as it was when the build began.
        """
        write_atomically(self.partial / BUILD_INFO_FILE, [build_info])
        write_atomically(self.partial / DATASET_FILE, [dataset])
        try:
            found = self.existing()
            unchanged = (found and found.digest) == (replaces and replaces.digest) and not self.foreign_files(found)
        except ConfigError:
            unchanged = False
        if not unchanged:
            raise StorageError(
                f"{self.out}: something was written there during the build; move it, and run the same command again"
            )
        with storage_errors(self.out):
            return self._give_name()

    def foreign_files(self, dataset: Dataset | None) -> list[str]:
        """Return the names in the dataset's folder that are no part of it, and would be lost with it."""
        if dataset is None:
            return []
        own = {DATASET_FILE, MANIFEST_FILE, BUILD_INFO_FILE, *(shard.file for shard in dataset.record.shards)}
        foreign = [path.name for path in self.out.iterdir() if path.name not in own and not _is_card(path)]
        return sorted(foreign)

    @contextmanager
    def discarded_unless_accepted(self) -> Iterator[None]:
        """Remove the partial folder, with all that was finished in it, where the block raises what was expected."""
        try:
            yield
        except AugpipeError:
            with storage_errors(self.partial):
                shutil.rmtree(self.partial)
            raise

    def _give_name(self) -> Path | None:
        shutil.rmtree(self.partial / _PROGRESS, ignore_errors=True)
        return replace_folder(self.partial, self.out)

    def _sweep(self) -> None:
        """Remove the partial folder of a failed build, unless a shard in it is worth keeping."""
        if self.partial_fingerprint() and not any(self.partial.glob("*.h5")):
            shutil.rmtree(self.partial, ignore_errors=True)

    def _repair(self) -> None:
        """Finish a commit, or take back a replacement, that was killed in the middle."""
        # out        NAME.partial       .NAME.replaced  killed                       what is done
        # missing    with dataset.json  any             before its last rename       it gets its name
        # missing    else, or missing   a dataset       between the two renames      the old one gets its name back
        # whole      any                any             while the old was removed    the removal is finished
        # not whole  any                any             (something else is there)    nothing is touched
        if self.out.is_dir() and not self.out.is_mount() and not any(self.out.iterdir()):
            self.out.rmdir()
        if not self.out.exists() and _is_dataset(self.partial):
            self._give_name()
        else:
            repair_folder(self.out, _is_dataset)

    def _progress_file(self, file: str) -> Path:
        return self.partial / _PROGRESS / f"{file}.jsonl"


def _is_card(path: Path) -> bool:
    """Return whether a path is a card, or what a killed `augpipe card` left: all of it can be made again."""
    if path.is_symlink() or not path.is_dir():
        return False
    if path.name == CARD_FOLDER:
        return all(entry.name in CARD_FILES for entry in path.iterdir())
    card = path.with_name(CARD_FOLDER)
    return path in (partial_name(card), replaced_name(card))


def _is_dataset(folder: Path) -> bool:
    """Return whether a folder holds a complete dataset of augpipe, and not merely something of the same name."""
    try:
        open_dataset(folder)
    except DatasetError:
        return False
    return True
