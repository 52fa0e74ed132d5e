"""A Kaggle of our own on 127.0.0.1: speaks what the official client speaks, records every request, fails on demand."""

import io
import json
import re
import socket
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

OWNER, TOKEN = "ada", "KGAT_0123456789abcdef0123456789abcdef"
MAX_BYTES = 1 << 26
DATASETS, BLOBS, OAUTH = "datasets.DatasetApiService", "blobs.BlobApiService", "security.OAuthService"


@dataclass
class Request:
    """What was asked: the method of the API or PUT, its JSON, the range and number of bytes of a PUT."""

    name: str
    values: dict[str, Any]
    content_range: str | None = None
    n_bytes: int = 0
    authorization: str | None = None
    query: str = ""


@dataclass
class Blob:
    name: str
    size: int
    kind: str = ""
    data: bytes = b""


@dataclass
class Fault:
    """An answer to give instead of the right one.

    Without a status, the connection drops: after what was asked is done, or after the share `cut` of a file.
    """

    name: str
    status: int = 0
    cut: float = 0.0
    times: int = 1
    body: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Dataset:
    """Its versions, each as it was asked for, and what they share."""

    versions: list[dict[str, Any]]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, bytes]:
        return self.versions[-1]["files"]

    @property
    def cover(self) -> bytes:
        return self.settings["image"]


class Loopback:
    """The server and what it knows; use as a context."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.blobs: dict[str, Blob] = {}
        self.datasets: dict[str, Dataset] = {}
        self.statuses: list[str] = []
        self.errors: list[str] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"loopback": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def names(self) -> list[str]:
        """Return what was asked, in order; PUTs with the name of their file."""
        return [request.name for request in self.requests]

    def count(self, pattern: str) -> int:
        return sum(bool(re.fullmatch(pattern, name)) for name in self.names())

    def put_bytes(self) -> int:
        return sum(request.n_bytes for request in self.requests if request.name.startswith("PUT "))

    def fault(self, name: str, *, asking: bool = False) -> Fault | None:
        """Return the next fault of a request; a question of how much has arrived is too short to be cut."""
        with self._lock:
            fitting = (each for each in self.faults if each.times and re.fullmatch(each.name, name))
            found = next((each for each in fitting if not (asking and each.cut)), None)
            if found:
                found.times -= 1
            return found

    def answer(self, name: str, values: dict[str, Any]) -> tuple[int, dict[str, Any]]:  # noqa: PLR0911  # a table
        """Return the status and the JSON of an answer."""
        ref = f"{values.get('ownerSlug')}/{values.get('datasetSlug', values.get('slug'))}"
        if name == "IntrospectToken":
            return 200, {"active": values["token"] == TOKEN, "username": OWNER if values["token"] == TOKEN else ""}
        if name == "StartBlobUpload":
            token = f"blob-secret-{len(self.blobs)}"
            self.blobs[token] = Blob(values["name"], values["contentLength"], values["type"])
            return 200, {"token": token, "createUrl": f"{self.url}/blobs/{token}?signature=url-secret"}
        if name == "CreateDataset" and ref in self.datasets:
            return 200, {"status": "error", "error": "The requested title is already in use by a dataset."}
        if name == "CreateDataset":
            settings = {"title": values["title"], "licenses": [{"name": values["licenseName"]}]}
            settings |= {"isPrivate": values.get("isPrivate", False)}
            return 200, self._make(ref, values, Dataset([], settings))
        if name == "CreateDatasetVersion":
            return 200, self._make(ref, values["body"], self.datasets[ref])
        if name == "ListDatasets":
            return 200, {"datasets": [{"ref": each} for each in self.datasets if each.startswith(self._listed(values))]}
        return self._known(name, ref, values)

    def _listed(self, values: dict[str, Any]) -> str:
        """Return how the datasets of a list begin: those of a user, or the account's own."""
        return f"{values.get('user', OWNER)}/"

    def _known(self, name: str, ref: str, values: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if ref not in self.datasets:
            return 404, {"code": 404, "message": "Not found"}
        dataset = self.datasets[ref]
        if name == "GetDatasetStatus":
            return 200, {"status": self.statuses.pop(0) if self.statuses else "READY"}
        if name == "GetDatasetMetadata":
            shared = {name: value for name, value in dataset.settings.items() if name != "image"}
            texts = {name: dataset.versions[-1].get(name, "") for name in ("subtitle", "description")}
            return 200, {"info": {"datasetSlug": ref.partition("/")[2], **texts, **shared}}
        if name == "UpdateDatasetMetadata":
            return 200, self._set(dataset, values["settings"])
        assert name == "GetDataset", name
        seen = max(1, len(dataset.versions) - bool(self.statuses))  # another version is shown when it is ready
        return 200, {
            "ref": ref,
            "url": f"https://www.kaggle.com/datasets/{ref}",
            "currentVersionNumber": seen,
            "description": dataset.versions[seen - 1]["description"],
            "isPrivate": dataset.settings.get("isPrivate", False),
            "versions": [
                {"versionNumber": number, "versionNotes": each.get("versionNotes", "")}
                for number, each in enumerate(dataset.versions[:seen], start=1)
            ],
        }

    def _make(self, ref: str, values: dict[str, Any], before: Dataset) -> dict[str, Any]:
        blobs = [self.blobs[each["token"]] for each in values["files"]]
        assert all(len(blob.data) == blob.size for blob in blobs), "a version of files that are not whole"
        assert {blob.kind for blob in blobs} <= {"DATASET"}
        made = {**values, "files": {blob.name: blob.data for blob in blobs}}
        self.datasets[ref] = Dataset([*before.versions, made], before.settings)
        return {"status": "Ok", "ref": f"/{ref}", "url": f"https://www.kaggle.com/datasets/{ref}"}

    def _set(self, dataset: Dataset, settings: dict[str, Any]) -> dict[str, Any]:
        """Take settings as a whole, as Kaggle does: what is not among them is gone, what is not private is public."""
        if image := settings.get("image"):
            blob = self.blobs[image["token"]]
            assert (blob.kind, len(blob.data)) == ("INBOX", blob.size), "a picture that is not whole"
            image = blob.data
        dataset.settings = {**settings, "image": image or dataset.settings.get("image")}
        return {"errors": []}

    def archive(self, ref: str) -> bytes:
        """Return a dataset as the zip that a download is."""
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as file:
            for name, content in self.datasets[ref].files.items():
                file.writestr(name, content)
        return data.getvalue()


@dataclass
class StillClock:
    """A clock that only moves when someone waits."""

    time: float = 1.8e9
    slept: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


class _Handler(BaseHTTPRequestHandler):
    loopback: Loopback
    protocol_version = "HTTP/1.1"
    timeout = 20
    wbufsize = -1  # head and body of an answer in one piece: two would wait 40 ms for each other
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None: ...

    def do_POST(self) -> None:
        _, _, service, name = self.path.split("/")
        values = json.loads(self._body() or b"{}")
        self.loopback.requests.append(Request(name, values, authorization=self.headers.get("Authorization")))
        if service not in (DATASETS, BLOBS, OAUTH):
            self.loopback.errors.append(self.path)
            self._reply(404, b"{}")
        elif (fault := self.loopback.fault(name)) and not fault.status:
            self.loopback.answer(name, values)
            self._drop()
        elif fault:
            self._reply(fault.status, json.dumps(fault.body).encode(), fault.headers)
        elif name == "DownloadDataset":
            data = self.loopback.archive(f"{values['ownerSlug']}/{values['datasetSlug']}")
            headers = {"Last-Modified": "Mon, 02 Nov 2026 10:00:00 GMT", "Content-Type": "application/zip"}
            self._reply(200, data, headers)
        else:
            status, answer = self.loopback.answer(name, values)
            self._reply(status, json.dumps(answer).encode())

    def do_PUT(self) -> None:
        path, _, query = self.path.partition("?")
        blob = self.loopback.blobs[path.rpartition("/")[2]]
        name, content_range = f"PUT {blob.name}", self.headers.get("Content-Range")
        length = int(self.headers["Content-Length"])
        fault = self.loopback.fault(name, asking=not length)
        take = int(length * fault.cut) if fault and fault.cut else length
        data = self._body(take) if not fault or fault.cut else self._body(length)
        self.loopback.requests.append(
            Request(name, {}, content_range, len(data), self.headers.get("Authorization"), query)
        )
        if fault and not fault.cut:
            self._reply(fault.status, b"", fault.headers)
            return
        start = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", content_range or "")
        if start and int(start[1]) != len(blob.data):
            self.loopback.errors.append(f"{name}: {content_range} after {len(blob.data)} bytes")
        blob.data = (blob.data if content_range else b"") + data
        if fault:
            self._drop()
        elif len(blob.data) == blob.size:
            self._reply(200, b"")
        else:
            self._reply(308, b"", {"Range": f"bytes=0-{len(blob.data) - 1}"} if blob.data else {})

    def _drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _body(self, length: int | None = None) -> bytes:
        n = int(self.headers.get("Content-Length") or 0) if length is None else length
        assert n <= MAX_BYTES
        return self.rfile.read(n)

    def _reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
