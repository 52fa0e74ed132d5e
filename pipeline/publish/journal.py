"""The journal of uploads: which content was begun under which address, so that a re-run sends only what is missing."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipeline.files import storage_errors
from pipeline.publish.parcel import Item
from pipeline.shards.digest import bytes_digest, canonical_json

_LONGEST_SECONDS = 6 * 24 * 3600  # addresses of uploads last a week; the official client trusts them for six days

_LARGEST_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that was begun; whoever holds its token or address can act for the account.

    Attributes:
        token: what a version names the file by.
        url: where its bytes are put.
        begun: when, in seconds since 1970.
    """

    token: str = field(repr=False)
    url: str = field(repr=False)
    begun: float

    def __post_init__(self) -> None:
        if not (isinstance(self.token, str) and isinstance(self.url, str) and isinstance(self.begun, int | float)):
            raise TypeError("not an upload")


class Journal:
    """Uploads that were begun for a dataset, by account, name and content; nobody but their owner can read them.

    Args:
        dataset: the dataset's folder, beside which they are noted until they have become part of a version.
        account: who has begun them.
    """

    def __init__(self, dataset: Path, account: str) -> None:
        self._path = dataset.parent / f".{dataset.name}.uploads.json"
        self._account = account

    def find(self, item: Item, now: float) -> Upload | None:
        """Return the upload that was begun for a content, unless it is too old to go on with."""
        upload = self._read().get(self._key(item))
        return upload if upload and 0 <= now - upload.begun < _LONGEST_SECONDS else None

    def keep(self, item: Item, upload: Upload) -> None:
        """Note an upload.

        Raises:
            StorageError: the journal cannot be written.
        """
        self._write({**self._read(), self._key(item): upload})

    def forget(self, *items: Item) -> None:
        """Forget uploads: they have become part of a version, or have expired.

        Raises:
            StorageError: the journal cannot be written.
        """
        gone = {self._key(item) for item in items}
        self._write({key: upload for key, upload in self._read().items() if key not in gone})

    def _key(self, item: Item) -> str:
        return bytes_digest(f"{self._account}\n{item.name}\n{item.sha256}".encode())

    def _read(self) -> dict[str, Upload]:
        """Return all uploads; a journal that cannot be read only costs time."""
        try:
            if self._path.stat().st_size > _LARGEST_BYTES:
                return {}
            return {key: Upload(**each) for key, each in json.loads(self._path.read_bytes()).items()}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return {}

    def _write(self, uploads: dict[str, Upload]) -> None:
        with storage_errors(self._path):
            if not uploads:
                self._path.unlink(missing_ok=True)
                return
            temporary = self._path.with_name(f"{self._path.name}.tmp")
            with suppress(FileNotFoundError):
                temporary.unlink()
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(canonical_json({key: asdict(upload) for key, upload in uploads.items()}))
            temporary.replace(self._path)
