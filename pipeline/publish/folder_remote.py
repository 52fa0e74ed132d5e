"""A folder as a place to publish to: a mirror on disk, which is always whole."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.card.files import CARD_FILES
from pipeline.errors import ConfigError, DamagedError, DatasetError
from pipeline.files import (
    locked,
    partial_name,
    repair_folder,
    replace_folder,
    replaced_name,
    storage_errors,
    whole_file,
)
from pipeline.publish.published_files import PublishedFile, dataset_files
from pipeline.publish.remote import Metadata, RemoteState
from pipeline.shards.dataset import open_dataset
from pipeline.shards.digest import file_digest
from pipeline.shards.record import BUILD_INFO_FILE

_BLOCK_BYTES = 1 << 20


class FolderRemote:
    """A folder that holds a published dataset, or does not exist yet.

    Args:
        path: the folder.
        dataset: the folder of the dataset, which must not contain the mirror.

    Raises:
        ConfigError: the path has no name.
    """

    unused: frozenset[str] = frozenset()

    def __init__(self, path: Path, dataset: Path) -> None:
        self._path = path.resolve()
        self._dataset = dataset.resolve()
        if not self._path.name:
            raise ConfigError(f"{path}: cannot be the folder of a published dataset; name another")
        self._partial = partial_name(self._path)
        self._busy = f"{self._path}: another augpipe is publishing there; wait for it, and run the same again"
        self.name = f"folder {self._path}"

    def check(self) -> None:
        """Refuse a folder that is the dataset's, or holds anything but a published dataset.

        Raises:
            ConfigError: it is, or does.
        """
        if self._path.is_relative_to(self._dataset) or self._dataset.is_relative_to(self._path):
            raise ConfigError(f"{self._path}: lies in the dataset or around it; name another folder")
        if not self._path.exists():
            return
        if not self._path.is_dir() or (self._path / BUILD_INFO_FILE).exists():
            raise ConfigError(f"{self._path}: is not the folder of a published dataset; name another")
        if any(self._path.iterdir()):
            try:
                open_dataset(self._path)
            except DatasetError as error:
                raise ConfigError(f"{self._path}: holds other things than a published dataset; name another") from error

    def look(self) -> RemoteState:
        """Read every byte of the dataset that is there, after repairing what a killed run left."""
        with storage_errors(self._path):
            if replaced_name(self._path).exists():
                with locked(self._path, busy=self._busy):
                    repair_folder(self._path, lambda folder: _whole_dataset(folder) is not None)
            if not self._path.exists() or not any(self._path.iterdir()):
                return RemoteState(exists=False)
        return RemoteState(exists=True, dataset_sha256=_whole_dataset(self._path))

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Be the only process that copies there.

        Raises:
            StorageError: another one does.
        """
        with storage_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self._path, busy=self._busy):
            with storage_errors(self._partial):
                self._partial.mkdir(exist_ok=True)
            yield

    def send(self, file: PublishedFile) -> int:
        """Copy a file, unless an earlier attempt has."""
        target = self._partial / file.name
        with storage_errors(target, file.n_bytes):
            if target.is_file() and target.stat().st_size == file.n_bytes and file_digest(target) == file.sha256:
                return 0
        digest = hashlib.sha256()
        with file.path.open("rb") as source, whole_file(target, n_bytes=file.n_bytes) as copy:
            while block := source.read(_BLOCK_BYTES):
                digest.update(block)
                copy.write(block)
            if digest.hexdigest() != file.sha256:
                raise file.changed()
        return file.n_bytes

    def commit(self, metadata: Metadata, files: tuple[PublishedFile, ...], state: RemoteState) -> str:  # noqa: ARG002
        """Give the copies the folder's name, in the place of what was there before."""
        names = {file.name for file in files}
        with storage_errors(self._path):
            self._require_nothing_else(names)
            for copy in self._partial.iterdir():
                if copy.name not in names:
                    copy.unlink()
            replace_folder(self._partial, self._path)
        return str(self._path)

    def wait(self, after: int | None) -> RemoteState:  # noqa: ARG002
        """Return at once: it is there."""
        return RemoteState(exists=True, url=str(self._path))

    def describe(self, metadata: Metadata, files: tuple[PublishedFile, ...], *, anew: bool) -> None:
        """Do nothing: the card, which is among the files, describes it."""

    def _require_nothing_else(self, names: set[str]) -> None:
        """Refuse to replace a folder into which somebody has put other files."""
        if not self._path.exists() or not any(self._path.iterdir()):
            return
        own = names | {shard.file for shard in open_dataset(self._path).record.shards}
        if foreign := sorted(entry.name for entry in self._path.iterdir() if entry.name not in own):
            raise ConfigError(f"{self._path / foreign[0]}: is not of the dataset that would be replaced; move it away")


def _whole_dataset(folder: Path) -> str | None:
    """Return the digest of the dataset in a folder, if all of it and of its card is there."""
    try:
        dataset = open_dataset(folder)
        dataset_files(dataset)
    except (DatasetError, DamagedError):
        return None
    return dataset.digest if all((folder / name).is_file() for name in CARD_FILES) else None
