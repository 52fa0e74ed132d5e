"""A folder as a place to publish to: a mirror on disk, which is always whole."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.card.files import CARD_FILES
from pipeline.errors import ConfigError, DamagedError, DatasetError, StorageError
from pipeline.files import beside, held, storage_errors, sync_folder, whole_file
from pipeline.publish.parcel import Item, dataset_items
from pipeline.publish.remote import Listing, Published, RemoteState
from pipeline.shards.digest import file_digest
from pipeline.shards.record import BUILD_INFO_FILE

_BLOCK_BYTES = 1 << 20


class FolderRemote:
    """A folder that holds a published dataset, or is not there yet.

    Args:
        path: the folder.
        dataset: the folder of the dataset, which the mirror must not lie in.

    Raises:
        ConfigError: the path has no name.
    """

    def __init__(self, path: Path, dataset: Path) -> None:
        self._path = path.resolve()
        self._dataset = dataset.resolve()
        if not self._path.name:
            raise ConfigError(f"{path}: cannot be the folder of a published dataset; name another")
        self._partial, self._replaced = beside(self._path)

    @property
    def name(self) -> str:
        """`folder PATH`."""
        return f"folder {self._path}"

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
                read_record(self._path)
            except DatasetError as error:
                raise ConfigError(f"{self._path}: holds other things than a published dataset; name another") from error

    def look(self) -> RemoteState:
        """Read what is there, every byte of the dataset, after repairing what a kill has left."""
        with storage_errors(self._path):
            if self._replaced.exists():
                self._repair()
            if not self._path.exists() or not any(self._path.iterdir()):
                return RemoteState(exists=False)
        return RemoteState(exists=True, dataset_sha256=_whole_dataset(self._path))

    def _repair(self) -> None:
        """Give back its name to a mirror that was about to be replaced; what was being removed is removed."""
        if self._path.exists() or not _whole_dataset(self._replaced):
            shutil.rmtree(self._replaced)
        else:
            self._replaced.rename(self._path)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Be the only one who copies there.

        Raises:
            StorageError: somebody else does.
        """
        busy = f"{self._path}: another augpipe is publishing there; wait for it, and run the same again"
        with storage_errors(self._path):
            self._partial.mkdir(parents=True, exist_ok=True)
        with held(self._partial, busy=busy) as descriptor:
            if not _is_same(descriptor, self._partial):  # whoever held it has finished, and given it another name
                raise StorageError(busy)
            yield

    def wants(self, item: Item) -> bool:  # noqa: ARG002  # as other remotes ask
        """All files."""
        return True

    def send(self, item: Item) -> int:
        """Copy a file, unless an earlier attempt has."""
        target = self._partial / item.name
        with storage_errors(target, item.n_bytes):
            if target.is_file() and target.stat().st_size == item.n_bytes and file_digest(target) == item.sha256:
                return 0
        digest = hashlib.sha256()
        with item.path.open("rb") as source, whole_file(target, n_bytes=item.n_bytes) as copy:
            while block := source.read(_BLOCK_BYTES):
                digest.update(block)
                copy.write(block)
            if digest.hexdigest() != item.sha256:
                raise DamagedError(f"{item.path}: was changed while it was being published; nothing was published")
        return item.n_bytes

    def commit(self, listing: Listing, items: tuple[Item, ...], state: RemoteState) -> str:  # noqa: ARG002
        """Give the copies the folder's name; what was there before is removed after that."""
        names = {item.name for item in items}
        self._require_nothing_else(names)
        with storage_errors(self._path):
            for stray in self._partial.iterdir():
                if stray.name not in names:
                    stray.unlink()
            sync_folder(self._partial)
            if self._path.exists():
                self._path.rename(self._replaced)
            self._partial.rename(self._path)
            sync_folder(self._path.parent)
            shutil.rmtree(self._replaced, ignore_errors=True)  # what stays is removed next time
        return str(self._path)

    def _require_nothing_else(self, names: set[str]) -> None:
        """Refuse to replace a folder into which somebody has put files of their own."""
        if not self._path.exists() or not any(self._path.iterdir()):
            return
        known = names | {shard.file for shard in read_record(self._path).shards}
        if strange := sorted(entry.name for entry in self._path.iterdir() if entry.name not in known):
            raise ConfigError(f"{self._path / strange[0]}: is not of the dataset that would be replaced; move it away")

    def wait(self, after: int | None) -> Published:  # noqa: ARG002
        """It is there at once."""
        return Published(str(self._path), None)

    def describe(self, listing: Listing, items: tuple[Item, ...], *, anew: bool) -> None:
        """The card, which is among the files, says it all."""


def _whole_dataset(folder: Path) -> str | None:
    """Return the digest of the dataset in a folder, if all of it and of its card is there."""
    try:
        record = read_record(folder)
        dataset_items(record)
    except (DatasetError, DamagedError):
        return None
    return record.sha256 if all((folder / name).is_file() for name in CARD_FILES) else None


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
