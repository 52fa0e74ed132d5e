"""Uploading one file to Kaggle: begun once, put in as many pieces as it takes, continued where it was cut off.

The protocol is the official client's: StartBlobUpload gives a token and an address; the bytes are PUT there; after a
failure an empty PUT with `Content-Range: bytes */N` asks how many arrived (308 and Range), and the rest follows with
`Content-Range: bytes A-B/N`. Unlike the client's, an upload is found again by its content, not by its path.
"""

from typing import Any

from pipeline.errors import DamagedError, RemoteError
from pipeline.publish.clock import Clock
from pipeline.publish.journal import Journal, Upload
from pipeline.publish.kaggle.calls import ATTEMPTS, PASSING, KaggleCalls, bounded_session
from pipeline.publish.parcel import Item

_DONE, _INCOMPLETE, _GONE = (200, 201), 308, (400, 401, 403, 404, 410)


class Uploader:
    """Sends files, and remembers what it has begun."""

    def __init__(self, calls: KaggleCalls, journal: Journal, clock: Clock) -> None:
        self._calls = calls
        self._journal = journal
        self._clock = clock
        self._session = bounded_session()

    def upload(self, item: Item, *, picture: bool = False) -> tuple[str, int]:
        """Return the token of a file that is there in full, and how many bytes were put for it now.

        Args:
            item: the file.
            picture: whether it is the picture of a dataset, a PNG, and not one of its files.

        Raises:
            RemoteError: it could not be sent.
            DamagedError: it changed meanwhile.
        """
        upload = self._journal.find(item, self._clock.now())
        begun_now = upload is None
        had, most, failures, status = None, 0, 0, 0
        while failures < ATTEMPTS:
            ask = upload is not None
            if upload is None:
                upload, begun_now, had = self._begin(item, picture=picture), True, 0
            self._calls.hide(upload.token, upload.url)
            status, there = self._go_on(item, upload, ask=ask)
            self._require_same(item)
            had = there if had is None else had
            if status in _DONE:
                return upload.token, item.n_bytes - (had or 0)
            if status in _GONE and not begun_now:  # expired: its address is of no use any more
                self._journal.forget(item)
                upload = None
                continue
            if status and status not in (*PASSING, _INCOMPLETE):
                self._journal.forget(item)
                raise RemoteError(self._calls.tell(f"{item.name} was not taken", status, "refused"))
            if there and there > most:  # it is on its way, however often it is cut
                most, failures = there, 0
            failures += 1
            if failures < ATTEMPTS:
                self._calls.wait(failures - 1)
        said = "refused" if status else "the connection was lost"
        raise RemoteError(self._calls.tell(f"{item.name} could not be sent", status, f"{said}, {ATTEMPTS} times"))

    def _require_same(self, item: Item) -> None:
        """Refuse a file that has changed, and forget what was put: it may be of neither content."""
        try:
            item.require_unchanged()
        except DamagedError:
            self._journal.forget(item)
            raise

    def forget(self, items: tuple[Item, ...]) -> None:
        """Forget uploads that have become part of a version.

        Raises:
            StorageError: the journal cannot be written.
        """
        self._journal.forget(*items)

    def _begin(self, item: Item, *, picture: bool) -> Upload:
        from kagglesdk.blobs.types.blob_api_service import ApiBlobType, ApiStartBlobUploadRequest

        what = f"{item.name} cannot be sent"
        request = ApiStartBlobUploadRequest()
        request.type = ApiBlobType.INBOX if picture else ApiBlobType.DATASET
        request.content_type = "image/png" if picture else None
        request.name = item.name
        request.content_length = item.n_bytes
        request.last_modified_epoch_seconds = item.stamp.modified_ns // 10**9
        token, url = self._calls.call(
            self._calls.client.blobs.blob_api_client.start_blob_upload, request, _read_address, what=what
        )
        upload = Upload(token, url, self._clock.now())
        self._journal.keep(item, upload)
        return upload

    def _go_on(self, item: Item, upload: Upload, *, ask: bool) -> tuple[int, int | None]:
        """Put what is missing; return the last status, 0 where there was no answer, and how much was there before."""
        import requests

        there = None if ask else 0
        try:
            if ask:
                answer = self._put(upload.url, b"", f"bytes */{item.n_bytes}")
                if answer.status_code != _INCOMPLETE:
                    return answer.status_code, item.n_bytes if answer.status_code in _DONE else None
                there = _received(answer.headers.get("Range"))
                if not 0 <= there < item.n_bytes:
                    return _GONE[0], None
            with item.path.open("rb") as file:
                file.seek(there or 0)
                piece = f"bytes {there}-{item.n_bytes - 1}/{item.n_bytes}" if there else None
                return self._put(upload.url, file, piece).status_code, there
        except (requests.RequestException, ConnectionError):
            return 0, there

    def _put(self, url: str, body: Any, content_range: str | None) -> Any:
        headers = {"Content-Range": content_range} if content_range else {}
        return self._session.put(url, data=body, headers=headers, allow_redirects=False)


def _received(header: str | None) -> int:
    """Return how many bytes the server has, by its `Range: bytes=0-999`; -1 where that cannot be read."""
    if header is None:
        return 0
    last = header.rpartition("-")[2]
    return int(last) + 1 if last.isdecimal() and len(last) < 19 else -1


def _read_address(answer: Any) -> tuple[str, str]:
    """Return the token of an upload, and where to put it."""
    token, url = answer.token, answer.create_url
    if not (isinstance(token, str) and isinstance(url, str) and token and url.startswith(("https://", "http://"))):
        raise ValueError("no address to send it to")
    return token, url
