"""Uploading single files to Kaggle: in as many pieces as it takes, continued where they were cut, even by a later run.

The protocol is the official client's. Unlike there, an upload is found again by its content, not by its path.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from pipeline.errors import DamagedError, RemoteError
from pipeline.files import storage_errors
from pipeline.publish.kaggle.messages import fill, read_address
from pipeline.publish.kaggle.session import MAX_ATTEMPTS, PASSING, Clock, KaggleSession, limit_waiting
from pipeline.publish.published_files import PublishedFile
from pipeline.shards.digest import bytes_digest, canonical_json

_MAX_AGE_S = 6 * 24 * 3600  # addresses of uploads last a week; the official client trusts them for six days
_MAX_JOURNAL_BYTES = 1 << 26
_WHOLE, _INCOMPLETE, _GONE = (200, 201), 308, (400, 401, 403, 404, 410)


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


class Journal:
    """Uploads that were begun for a dataset, by account, name and content; nobody but their owner can read them.

    Args:
        dataset: the dataset's folder, beside which they are noted until they have become part of a version.
        account: who has begun them.
    """

    def __init__(self, dataset: Path, account: str) -> None:
        self._path = dataset.parent / f".{dataset.name}.uploads.json"
        self._account = account

    def find(self, file: PublishedFile, now: float) -> Upload | None:
        """Return the upload that was begun for a content, unless it is too old to be continued."""
        upload = self._read().get(self._key(file))
        return upload if upload and 0 <= now - upload.begun < _MAX_AGE_S else None

    def keep(self, file: PublishedFile, upload: Upload) -> None:
        """Note an upload.

        Raises:
            StorageError: the journal cannot be written.
        """
        self._write({**self._read(), self._key(file): upload})

    def forget(self, *files: PublishedFile) -> None:
        """Forget uploads: they have become part of a version, or have expired.

        Raises:
            StorageError: the journal cannot be written.
        """
        keys = {self._key(file) for file in files}
        self._write({key: upload for key, upload in self._read().items() if key not in keys})

    def _key(self, file: PublishedFile) -> str:
        return bytes_digest(f"{self._account}\n{file.name}\n{file.sha256}".encode())

    def _read(self) -> dict[str, Upload]:
        """Return all uploads; a journal that cannot be read only costs time."""
        try:
            if self._path.stat().st_size > _MAX_JOURNAL_BYTES:
                return {}
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, Upload])
        except (OSError, ValueError, RecursionError):
            return {}

    def _write(self, uploads: dict[str, Upload]) -> None:
        """Replace the journal; it is not flushed to the disk, because a lost one only costs time."""
        temporary = self._path.with_name(f"{self._path.name}.tmp")
        with storage_errors(self._path):
            if not uploads:
                self._path.unlink(missing_ok=True)
                return
            temporary.unlink(missing_ok=True)
            temporary.touch(0o600, exist_ok=False)
            temporary.write_bytes(canonical_json({key: asdict(upload) for key, upload in uploads.items()}))
            temporary.replace(self._path)


# The states of an upload of S bytes:
#
#   state                 what is asked                      answer                     next state
#   not begun             StartBlobUpload                    token and address          begun, 0 bytes there
#   begun, unknown        PUT nothing, `bytes */S`           308, `Range: bytes=0-N-1`  begun, N bytes there
#                                                            200, 201                   whole
#   begun, N bytes there  PUT the rest, `bytes N-(S-1)/S`,   200, 201                   whole
#                         or all without a range if N = 0
#   either of the two                                        308 to the rest; none;     begun, unknown, after a pause
#                                                            408, 429, 5xx
#                                                            400, 401, 403, 404, 410    not begun; refused, if this very
#                                                                                       run has begun it
#                                                            any other                  refused
#   whole                 Create... with its token           accepted                   its token is consumed
#                                                            400                        not begun
#
# The journal holds an upload while it is begun or whole; a later run finds it as `begun, unknown`. A Range that cannot
# be read, or reaches beyond the file, counts as 400. Five pauses without more bytes there are the end.


class Uploader:
    """Uploads files, and notes in its journal what it has begun."""

    def __init__(self, session: KaggleSession, journal: Journal, clock: Clock) -> None:
        import requests

        self._session = session
        self.journal = journal
        self._clock = clock
        self._http = limit_waiting(requests.Session())

    def upload(self, file: PublishedFile, *, cover: bool = False) -> tuple[str, int]:
        """Return the token of a file that is there in full, and how many bytes were put for it now.

        Args:
            file: the file.
            cover: whether it is the cover of a dataset, a PNG, and not one of its files.

        Raises:
            RemoteError: it could not be sent.
            DamagedError: it changed meanwhile.
        """
        upload = self.journal.find(file, self._clock.now())
        begun_now = upload is None
        n_before, furthest, failures, status = None, 0, 0, 0
        while failures < MAX_ATTEMPTS:
            known = 0 if upload is None else None
            if upload is None:
                upload, begun_now, n_before = self._begin(file, cover=cover), True, 0
            self._session.hide(upload.token, upload.url)
            status, there = self._continue(file, upload, known)
            self._require_unchanged(file)
            n_before = there if n_before is None else n_before
            if status in _WHOLE:
                return upload.token, file.n_bytes - (n_before or 0)
            if status in _GONE and not begun_now:
                self.journal.forget(file)
                upload = None
                continue
            if status and status not in (*PASSING, _INCOMPLETE):
                self.journal.forget(file)
                raise RemoteError(self._session.tell(f"{file.name} was not taken", status, "refused"))
            if there and there > furthest:  # it moves on, however often it is cut
                furthest, failures = there, 0
            failures += 1
            if failures < MAX_ATTEMPTS:
                self._session.wait(failures - 1)
        reason = f"{'refused' if status else 'the connection was lost'}, {MAX_ATTEMPTS} times"
        raise RemoteError(self._session.tell(f"{file.name} could not be sent", status, reason))

    def _require_unchanged(self, file: PublishedFile) -> None:
        """Refuse a file that has changed, and forget what was put: it may belong to neither content."""
        try:
            file.require_unchanged()
        except DamagedError:
            self.journal.forget(file)
            raise

    def _begin(self, file: PublishedFile, *, cover: bool) -> Upload:
        from kagglesdk.blobs.types.blob_api_service import ApiBlobType, ApiStartBlobUploadRequest

        request = fill(
            ApiStartBlobUploadRequest(),
            type=ApiBlobType.INBOX if cover else ApiBlobType.DATASET,
            content_type="image/png" if cover else None,
            name=file.name,
            content_length=file.n_bytes,
            last_modified_epoch_seconds=file.stamp.modified_ns // 10**9,
        )
        start = self._session.client.blobs.blob_api_client.start_blob_upload
        token, url = self._session.call(start, request, read_address, what=f"{file.name} cannot be sent")
        upload = Upload(token, url, self._clock.now())
        self.journal.keep(file, upload)
        return upload

    def _continue(self, file: PublishedFile, upload: Upload, there: int | None) -> tuple[int, int | None]:
        """Put what is missing; return the last status, 0 where there was no answer, and how much was there before.

        Args:
            file: the file.
            upload: its upload.
            there: how many bytes are there; None where that has to be asked.
        """
        import requests

        try:
            if there is None:
                answer = self._put(upload.url, b"", f"bytes */{file.n_bytes}")
                if answer.status_code != _INCOMPLETE:
                    return answer.status_code, file.n_bytes if answer.status_code in _WHOLE else None
                there = _received(answer.headers.get("Range"))
                if not 0 <= there < file.n_bytes:
                    return _GONE[0], None
            with file.path.open("rb") as data:
                data.seek(there)
                rest = f"bytes {there}-{file.n_bytes - 1}/{file.n_bytes}" if there else None
                return self._put(upload.url, data, rest).status_code, there
        except (requests.RequestException, ConnectionError):
            return 0, there

    def _put(self, url: str, body: Any, content_range: str | None) -> Any:
        headers = {"Content-Range": content_range} if content_range else {}
        return self._http.put(url, data=body, headers=headers, allow_redirects=False)


def _received(header: str | None) -> int:
    """Return how many bytes the server has, by its `Range: bytes=0-999`; -1 where that cannot be read."""
    if header is None:
        return 0
    last = header.rpartition("-")[2]
    return int(last) + 1 if last.isdecimal() and len(last) < 19 else -1
