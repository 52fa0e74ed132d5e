"""The files that are published, each with its digest, and proof that it has not changed since."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import DamagedError, DatasetError
from pipeline.files import require_plain_file
from pipeline.shards.dataset import Dataset
from pipeline.shards.digest import file_digest


class Stamp(NamedTuple):
    """What changes with a file; no program can reset all of it.

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


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """One file to publish.

    Attributes:
        name: its name where it is published.
        path: where it is on this machine.
        sha256: the digest of its bytes.
        stamp: its stamp just before the digest was taken.
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
            unchanged = _read_stamp(self.path) == self.stamp
        except OSError:
            unchanged = False
        if not unchanged:
            raise self.changed()

    def changed(self) -> DamagedError:
        """Return the error that says that it has changed."""
        return DamagedError(f"{self.path}: was changed while it was being published; nothing was published")


def dataset_files(dataset: Dataset) -> tuple[PublishedFile, ...]:
    """Return the files of a dataset, without build-info.json; every one exists and has its recorded digest.

    Raises:
        DamagedError: a file is missing, or differs from what was recorded.
    """
    expected = {dataset.record_path: dataset.digest, dataset.manifest_path: dataset.record.manifest.sha256}
    expected |= {dataset.folder / shard.file: shard.sha256 for shard in dataset.record.shards}
    files = tuple(read_file(path) for path in expected)
    for file, sha256 in zip(files, expected.values(), strict=True):
        if file.sha256 != sha256:
            raise DamagedError(
                f"{file.path}: was changed after it was recorded: expected sha256 {sha256[:12]}, found "
                f"{file.sha256[:12]}; build the dataset again"
            )
    return files


def read_file(path: Path) -> PublishedFile:
    """Return a file to publish.

    Raises:
        DamagedError: it is missing, or not a plain file.
        DatasetError: it cannot be read.
    """
    try:
        require_plain_file(path)
        stamp = _read_stamp(path)  # before the digest: any later change is noticed
        return PublishedFile(path.name, path, file_digest(path), stamp)
    except DatasetError as error:
        raise DamagedError(str(error)) from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error


def _read_stamp(path: Path) -> Stamp:
    stat = path.stat()
    return Stamp(stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
