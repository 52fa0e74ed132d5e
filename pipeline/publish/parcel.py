"""What leaves the machine: files, those of the dataset proven whole."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DamagedError, DatasetError
from pipeline.files import require_plain_file
from pipeline.shards.digest import file_digest
from pipeline.shards.record import DATASET_FILE, MANIFEST_FILE, DatasetRecord


@dataclass(frozen=True, slots=True)
class Stamp:
    """By what a file is known not to have changed: no program can set all of it.

    Attributes:
        inode: which file of its disk it is.
        n_bytes: its size.
        modified_ns: when its bytes were last changed, in nanoseconds since 1970; programs can set that.
        changed_ns: when anything about it was last changed.
    """

    inode: int
    n_bytes: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> "Stamp":
        """Return the stamp that a file has now."""
        stat = path.stat()
        return cls(stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class Item:
    """One file to send.

    Attributes:
        name: what it is called there.
        path: where it lies here.
        sha256: the digest of its bytes.
        stamp: as it was when its digest was taken.
    """

    name: str
    path: Path
    sha256: str
    stamp: Stamp

    @property
    def n_bytes(self) -> int:
        """Its size."""
        return self.stamp.n_bytes

    def require_unchanged(self) -> None:
        """Refuse a file that has changed since its digest was taken.

        Raises:
            DamagedError: it has.
        """
        try:
            same = Stamp.of(self.path) == self.stamp
        except OSError:
            same = False
        if not same:
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
        stamp = Stamp.of(path)  # before the digest: whatever changes from now on is noticed
        return Item(path.name, path, file_digest(path), stamp)
    except DatasetError as error:
        raise DamagedError(str(error)) from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
