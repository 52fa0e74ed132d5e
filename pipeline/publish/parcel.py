"""What leaves the machine: files, those of the dataset proven whole."""

from dataclasses import dataclass
from pathlib import Path

from augment.errors import DamagedError, DatasetError
from pipeline.digest import file_digest
from pipeline.shards.record import (
    DATASET_FILE,
    MANIFEST_FILE,
    DatasetRecord,
    require_plain_file,
)


@dataclass(frozen=True, slots=True)
class Item:
    """One file to send.

    Attributes:
        name: what it is called there.
        path: where it lies here.
        n_bytes: its size.
        sha256: the digest of its bytes.
        modified_ns: when it was last changed, as it was when its digest was taken.
    """

    name: str
    path: Path
    n_bytes: int
    sha256: str
    modified_ns: int

    def require_unchanged(self) -> None:
        """Refuse a file that has changed since its digest was taken.

        Raises:
            DamagedError: it has.
        """
        try:
            now = self.path.stat()
        except OSError:
            now = None
        if now is None or (now.st_size, now.st_mtime_ns) != (self.n_bytes, self.modified_ns):
            raise DamagedError(f"{self.path}: was changed while it was being published; nothing was published")


def dataset_items(record: DatasetRecord) -> tuple[Item, ...]:
    """Return the files of a dataset, each of which is there and has its digest; build-info.json is none of them.

    Raises:
        DamagedError: a file is missing, or is not the one that was recorded.
    """
    expected = [
        (DATASET_FILE, record.sha256),
        (MANIFEST_FILE, record.manifest_sha256),
        *((shard.file, shard.sha256) for shard in record.shards),
    ]
    items = []
    for name, sha256 in expected:
        item = make_item(record.folder / name)
        if item.sha256 != sha256:
            raise DamagedError(
                f"{item.path}: was changed after it was recorded: expected sha256 {sha256[:12]}, found "
                f"{item.sha256[:12]}; build the dataset again"
            )
        items.append(item)
    return tuple(items)


def make_item(path: Path) -> Item:
    """Return a file to send.

    Raises:
        DamagedError: it is missing, or no plain file.
        DatasetError: it cannot be read.
    """
    try:
        require_plain_file(path)
        before = path.stat()
        return Item(path.name, path, before.st_size, file_digest(path), before.st_mtime_ns)
    except DatasetError as error:
        raise DamagedError(str(error)) from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
