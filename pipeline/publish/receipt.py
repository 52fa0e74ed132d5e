"""publish-receipt.json: what was published from a folder, beside the datasets and never in one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from pipeline.errors import ConfigError, DatasetError
from pipeline.files import locked, require_writable, write_atomically
from pipeline.shards.digest import canonical_json, parse_json
from pipeline.shards.record import require_same

RECEIPT_FILE = "publish-receipt.json"
_MAX_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class SentFile:
    """The name, size and digest of a file that was published."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """One publication.

    Attributes:
        dataset: the name of the dataset's folder.
        dataset_sha256: the digest of dataset.json.
        remote: where it was published.
        url: its address.
        state: `accepted` until it can be seen, with its licence and all that describes it; then `ready`.
        version: which version it became; None until that is known.
        after: the version before it; None where there was none.
        licence: under which it was published.
        gap: of the audit.
        files: everything that was published.
    """

    dataset: str
    dataset_sha256: str
    remote: str
    url: str
    state: Literal["accepted", "ready"]
    version: int | None
    after: int | None
    licence: str
    gap: int
    files: tuple[SentFile, ...]


@dataclass(frozen=True, slots=True)
class _Receipts:
    schema: Literal["augpipe/publish-receipt/1"]
    publications: tuple[Receipt, ...]


class ReceiptBook:
    """All receipts of one folder of datasets; for each dataset and remote, the last one."""

    def __init__(self, dataset: Path) -> None:
        self._dataset = dataset.resolve()
        self.path = self._dataset.parent / RECEIPT_FILE

    def require_writable(self) -> None:
        """Refuse to publish what no receipt could be kept of.

        Raises:
            StorageError: nothing can be written where receipts are.
            DatasetError: those that are there cannot be read.
        """
        self._read()
        require_writable(self.path)

    def find(self, remote: str, dataset_sha256: str) -> Receipt | None:
        """Return the receipt of the dataset at a remote, if the last that was published there has this digest.

        Raises:
            DatasetError: the receipts cannot be read.
        """
        last = next((each for each in self._read() if self._is_of(each, remote)), None)
        return last if last and last.dataset_sha256 == dataset_sha256 else None

    def write(self, receipt: Receipt) -> None:
        """Keep a receipt, instead of an older one of the same dataset and remote.

        Raises:
            StorageError: it cannot be written.
        """
        self._replace(receipt.remote, receipt)

    def remove(self, remote: str) -> None:
        """Forget what was published of the dataset to a remote."""
        self._replace(remote)

    def _replace(self, remote: str, *receipts: Receipt) -> None:
        with locked(self.path):
            kept = [each for each in self._read() if not self._is_of(each, remote)]
            ordered = sorted([*kept, *receipts], key=lambda each: (each.dataset, each.remote))
            values = msgspec.to_builtins(_Receipts("augpipe/publish-receipt/1", tuple(ordered)))
            write_atomically(self.path, [canonical_json(values)])

    def _is_of(self, receipt: Receipt, remote: str) -> bool:
        return (receipt.dataset, receipt.remote) == (self._dataset.name, remote)

    def _read(self) -> tuple[Receipt, ...]:
        if not self.path.exists():
            return ()
        try:
            if self.path.stat().st_size > _MAX_BYTES:
                raise DatasetError(f"{self.path}: too large for receipts")
            values = parse_json(self.path.read_bytes())
            receipts = msgspec.convert(values, _Receipts)
            require_same(values, msgspec.to_builtins(receipts))
        except (OSError, ValueError, RecursionError, ConfigError) as error:
            raise DatasetError(
                f"{self.path}: not receipts of augpipe ({error!s:.200}); move it away to publish again"
            ) from error
        return receipts.publications
