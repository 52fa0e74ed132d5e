"""Publishing: nothing leaky gets out, nothing is shown half, nothing is sent twice. The server is on 127.0.0.1."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kaggle_loopback import OWNER, TOKEN, Dataset, Fault, Loopback, Request, StillClock
from small_worlds import SHARDS, build_small, digests, edit_record, flip_bit, names, run_python

from augment.errors import StorageError
from pipeline.audit.conductor import audit_dataset
from pipeline.audit.report import CHECKS, AuditReport, Check, Coverage, Finding
from pipeline.card.cover import draw_cover
from pipeline.digest import canonical_json, file_digest
from pipeline.files import held
from pipeline.kaggle_terms import LICENCES
from pipeline.publish.conductor import publish_dataset
from pipeline.publish.folder_remote import FolderRemote
from pipeline.publish.kaggle_remote import KaggleRemote
from pipeline.publish.naming import KaggleId
from pipeline.publish.order import Order

pytestmark = pytest.mark.usefixtures("home", "clock", "quick_preview")

Run = Callable[..., Any]
REF = f"{OWNER}/small-cells"
PLAIN = {"dataset.json", "manifest.jsonl", *SHARDS, "README.md", "audit.json", "index.csv"}
SENT = PLAIN | {"croissant.json", "preview.png"}
COVER = "dataset-cover-image.png"
SMALL_GAP = ("--gap", "1")  # that of the small dataset
TO_KAGGLE = ("--to", "kaggle", "--id", REF, "--license", "cc-by-4.0", *SMALL_GAP)


def to_folder(mirror: Path) -> tuple[object, ...]:
    return ("--to", "folder", mirror, "--license", "other", *SMALL_GAP)


SECRETS = (TOKEN, "blob-secret", "url-secret")


def statuses(check: str, status: Any) -> tuple[Check, ...]:
    """Return the checks of a report, all of which have passed but one."""
    return tuple(Check(each, status if each == check else "passed", 12) for each in CHECKS)


def leak(check: str) -> Finding:
    return Finding(check, "critical", "a test sample shows slice 3", splits=("test", "train"))


def clean_report(dataset: Path, **changes: Any) -> AuditReport:
    """Return the report of an audit in which every check has passed, at the gap that the small dataset keeps."""
    report = AuditReport(
        subject=str(dataset),
        dataset_sha256=file_digest(dataset / "dataset.json"),
        gap=1,
        independent=False,
        checks=statuses("P007", "not applicable"),
        findings=(),
        coverage=Coverage(12, 12, 12),
        n_samples={"train": 9, "test": 3},
        n_leaking={"test": 0},
        thresholds={"ncc": 0.6},
    )
    return replace(report, **changes)


def write_report(dataset: Path, **changes: Any) -> Path:
    path = dataset.parent / "report.json"
    path.write_bytes(canonical_json(clean_report(dataset, **changes).to_json()))
    return path


@pytest.fixture
def quick_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing the preview takes a second, and says nothing about publishing."""
    monkeypatch.setattr("pipeline.card.writer.draw_preview", lambda *_, **__: b"a preview")


@pytest.fixture
def publish(augpipe: Run, dataset: Path) -> Run:
    """Publish the small dataset with the report of a clean audit, and look for secrets in all that is left."""

    def run(*options: object, **changes: Any) -> Any:
        report = write_report(dataset, **changes)
        outcome = augpipe("publish", dataset, *TO_KAGGLE, "--audit", report, *options)
        receipt = dataset.parent / "publish-receipt.json"
        left = [outcome.out, outcome.err, receipt.read_text() if receipt.exists() else ""]
        assert not any(secret in text for secret in SECRETS for text in left)
        return outcome

    return run


def receipts(dataset: Path) -> list[dict[str, Any]]:
    path = dataset.parent / "publish-receipt.json"
    return json.loads(path.read_bytes())["publications"] if path.exists() else []


def sent(dataset: Path) -> dict[str, bytes]:
    return {name: (dataset / name).read_bytes() for name in ("dataset.json", "manifest.jsonl", *SHARDS)}


def one_line(err: str) -> str:
    assert err.startswith("augpipe: ")
    assert err.count("\n") == 1
    return err


def test_a_dataset_is_created_with_every_file_and_its_card(publish: Run, server: Loopback, dataset: Path) -> None:
    code, out, err = publish("--title", "Small cells of a phantom", "--private")
    assert (code, err) == (0, "")
    made = server.datasets[REF]
    assert set(made.files) == SENT
    assert sent(dataset).items() <= made.files.items()
    values = made.versions[0]
    assert (values["title"], values["licenseName"], values["isPrivate"]) == (
        "Small cells of a phantom",
        "CC-BY-4.0",
        True,
    )
    digest = file_digest(dataset / "dataset.json")
    assert values["description"].endswith(f"\n\ndataset sha256 {digest}\n")
    assert f"published  kaggle {REF}, version 1" in out
    assert json.loads(made.files["audit.json"])["subject"] == "small"  # no path of this machine


def test_requests_are_those_of_the_protocol_and_in_this_order(publish: Run, server: Loopback) -> None:
    publish()
    asked = server.names()
    assert asked[:2] == ["IntrospectToken", "GetDataset"]
    assert asked[-5:] == [
        "CreateDataset",
        "GetDatasetStatus",
        "GetDataset",
        "GetDatasetMetadata",
        "UpdateDatasetMetadata",
    ]
    pairs = list(zip(asked[2:-5:2], asked[3:-5:2], strict=True))
    assert {first for first, _ in pairs} == {"StartBlobUpload"}
    assert {second for _, second in pairs} == {f"PUT {name}" for name in SENT | {COVER}}
    for request in server.requests:
        putting = request.name.startswith("PUT ")
        assert request.authorization == (None if putting else f"Bearer {TOKEN}")  # the address of a PUT is its own key
        if request.name == "StartBlobUpload":
            own = {"type", "name", "contentLength", "lastModifiedEpochSeconds"}
            cover = request.values["name"] == COVER
            assert set(request.values) == own | ({"contentType"} if cover else set())
            assert request.values["type"] == ("INBOX" if cover else "DATASET")


def test_a_dataset_gets_its_licence_its_sources_and_its_picture(publish: Run, server: Loopback, dataset: Path) -> None:
    publish()
    settings = server.datasets[REF].settings
    assert settings["licenses"] == [{"name": "CC-BY-4.0"}]
    assert (settings["expectedUpdateFrequency"], settings["userSpecifiedSources"]) == ("never", "small")
    assert server.datasets[REF].cover == draw_cover(dataset)
    (update,) = [each.values["settings"] for each in server.requests if each.name == "UpdateDatasetMetadata"]
    sides = ("title", "left", "top", "width", "height")
    crops = [tuple(each.get(side, 0) for side in sides) for each in update["image"]["cropRectangles"]]
    assert crops == [("cover image", 0, 0, 560, 280), ("thumbnail", 140, 0, 280, 280)]


def test_a_version_keeps_what_its_owner_has_set(publish: Run, server: Loopback, dataset: Path) -> None:
    """Kaggle takes settings as a whole: collaborators that are not sent back would be gone, and the private public."""
    publish("--private", "--title", "Chosen at first")
    owners = {
        "title": "Edited by hand",
        "collaborators": [{"username": "grace", "role": "WRITER"}],
        "expectedUpdateFrequency": "weekly",
    }
    server.datasets[REF].settings |= owners
    shutil.rmtree(dataset)
    build_small(dataset, seed=1)
    assert publish("--license", "CC0-1.0").code == 0
    settings = server.datasets[REF].settings
    assert {name: settings[name] for name in owners} == owners
    assert settings["isPrivate"] is True
    assert settings["licenses"] == [{"name": "CC0-1.0"}]
    assert server.datasets[REF].cover == draw_cover(dataset)
    shutil.rmtree(dataset)
    build_small(dataset, seed=2)
    assert publish("--title", "Chosen again").code == 0
    assert server.datasets[REF].settings["title"] == "Chosen again"


@pytest.mark.parametrize(
    "fault",
    [
        Fault("GetDatasetMetadata", 403),
        Fault("GetDatasetMetadata", 200, body={"errorMessage": "no metadata today"}),
        Fault("UpdateDatasetMetadata", 403),
        Fault("UpdateDatasetMetadata", 500, times=99),
        Fault("UpdateDatasetMetadata", 200, body={"errors": ["the licence is not known"]}),
    ],
    ids=lambda fault: f"{fault.name}-{fault.status}",
)
def test_what_could_not_be_described_is_described_by_a_second_run(
    publish: Run, server: Loopback, dataset: Path, fault: Fault
) -> None:
    server.faults = [fault]
    code, _, err = publish()
    assert code == 3
    assert "is there in full, but its licence, sources and cover could not be set" in one_line(err)
    assert (receipts(dataset)[0]["state"], receipts(dataset)[0]["version"]) == ("accepted", 1)
    server.faults = []
    server.requests.clear()
    code, out, _ = publish()
    assert (code, server.count("StartBlobUpload|Create.*"), server.put_bytes()) == (0, 0, 0)
    assert "published" in out
    assert server.datasets[REF].settings["expectedUpdateFrequency"] == "never"
    assert server.datasets[REF].cover == draw_cover(dataset)
    assert receipts(dataset)[0]["state"] == "ready"


def test_a_version_that_failed_is_made_again(publish: Run, server: Loopback, dataset: Path) -> None:
    """What Kaggle says of a version that will never be ready does not make it one."""
    server.statuses = ["FAILED"]
    assert publish().code == 3
    server.statuses = ["FAILED", "BLOBS_RECEIVED", "READY"]
    assert publish().code == 0
    assert len(server.datasets[REF].versions) == 2
    assert (receipts(dataset)[0]["state"], receipts(dataset)[0]["version"]) == ("ready", 2)


def test_a_version_that_is_being_made_is_not_made_twice(publish: Run, server: Loopback, dataset: Path) -> None:
    """Its receipt and the answer were lost, and until it is ready Kaggle tells of the version before."""
    publish()
    shutil.rmtree(dataset)
    build_small(dataset, seed=1)
    server.faults = [Fault("CreateDatasetVersion")]
    assert publish().code == 3
    server.statuses = ["BLOBS_RECEIVED"]
    assert publish().code == 0
    assert len(server.datasets[REF].versions) == 2


def test_what_may_differ_between_builds_is_never_sent(publish: Run, server: Loopback, dataset: Path) -> None:
    assert (dataset / "build-info.json").exists()
    publish()
    assert not any("build-info" in json.dumps(request.values) + request.name for request in server.requests)
    assert not any(str(dataset.parent).encode() in data for data in server.datasets[REF].files.values())


def test_publishing_twice_sends_nothing(publish: Run, server: Loopback, dataset: Path) -> None:
    publish()
    server.requests.clear()
    code, out, _ = publish()
    assert code == 0
    assert f"already there  kaggle {REF}, version 1" in out
    assert set(server.names()) == {"IntrospectToken", "GetDataset", "GetDatasetStatus"}
    assert receipts(dataset)[0]["version"] == 1


def test_publishing_twice_sends_nothing_even_if_the_receipt_is_lost(
    publish: Run, server: Loopback, dataset: Path
) -> None:
    publish()
    (dataset.parent / "publish-receipt.json").unlink()
    server.requests.clear()
    assert publish().code == 0
    assert set(server.names()) == {"IntrospectToken", "GetDataset", "GetDatasetStatus", "GetDatasetMetadata"}
    assert receipts(dataset)[0]["version"] == 1


def test_another_dataset_of_the_same_id_becomes_a_version(publish: Run, server: Loopback, dataset: Path) -> None:
    publish()
    shutil.rmtree(dataset)
    build_small(dataset, seed=1)
    server.requests.clear()
    code, out, _ = publish("--notes", "another seed")
    assert code == 0
    assert (server.count("CreateDataset"), server.count("CreateDatasetVersion")) == (0, 1)
    digest = file_digest(dataset / "dataset.json")
    assert server.datasets[REF].versions[1]["versionNotes"] == f"another seed; dataset sha256 {digest}"
    assert "version 2, after version 1" in out
    assert [(each["dataset_sha256"], each["version"], each["after"]) for each in receipts(dataset)] == [(digest, 2, 1)]


def test_a_receipt_says_what_was_sent(publish: Run, dataset: Path) -> None:
    publish()
    (receipt,) = receipts(dataset)
    assert (receipt["dataset"], receipt["remote"], receipt["state"]) == ("dataset", f"kaggle {REF}", "ready")
    assert {each["file"] for each in receipt["files"]} == SENT | {COVER}
    own = {each["file"]: each["sha256"] for each in receipt["files"]}
    assert all(own[name] == hashlib.sha256(data).hexdigest() for name, data in sent(dataset).items())
    assert not any("receipt" in name for name in names(dataset))
    assert not (dataset.parent / ".dataset.uploads.json").exists()


def test_another_licence_is_another_version(publish: Run, server: Loopback, dataset: Path) -> None:
    """The card tells the licence, so that one version cannot have two."""
    publish()
    code, out, _ = publish("--license", "CC0-1.0")
    assert code == 0
    assert "version 2, after version 1" in out
    assert [each["licence"] for each in receipts(dataset)] == ["CC0-1.0"]
    assert server.datasets[REF].settings["licenses"] == [{"name": "CC0-1.0"}]


def test_another_title_is_set_without_sending_anything(publish: Run, server: Loopback) -> None:
    publish()
    server.requests.clear()
    code, out, _ = publish("--title", "Another title")
    assert (code, len(server.datasets[REF].versions)) == (0, 1)
    assert "already there" in out
    assert server.datasets[REF].settings["title"] == "Another title"
    assert server.count("Create.*") == 0


def test_another_licence_is_in_the_mirror(augpipe: Run, dataset: Path, tmp_path: Path) -> None:
    mirror, report = tmp_path / "cells", write_report(dataset)
    for licence in ("CC-BY-4.0", "CC0-1.0"):
        asked = ("--to", "folder", mirror, "--license", licence, *SMALL_GAP, "--audit", report)
        assert augpipe("publish", dataset, *asked).code == 0
        assert json.loads((mirror / "dataset-metadata.json").read_bytes())["licenses"] == [{"name": licence}]


def test_a_dry_run_asks_and_sends_nothing(publish: Run, server: Loopback, dataset: Path) -> None:
    code, out, _ = publish("--dry-run")
    assert code == 0
    assert "would be published" in out
    assert server.names() == ["IntrospectToken", "GetDataset"]
    assert receipts(dataset) == []


FAULTS = [
    Fault("IntrospectToken", 401, times=99),
    Fault("GetDataset", 401, times=99),
    Fault("GetDataset", 500, times=99),
    Fault("StartBlobUpload", 401, times=99),
    Fault("StartBlobUpload", 403, times=99, body={"code": 403, "message": f"Permission denied for {TOKEN}"}),
    Fault("StartBlobUpload", 404, times=99),
    Fault("StartBlobUpload", 429, times=99, headers={"Retry-After": "7"}),
    Fault("StartBlobUpload", 500, times=99),
    Fault("PUT train-00001.h5", 403, times=99),
    Fault("PUT train-00001.h5", 500, times=99),
    Fault("PUT train-00001.h5", cut=0.5, times=99),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.name}-{fault.status or 'cut'}")
def test_nothing_is_created_after_a_fault_and_a_second_run_sends_what_is_missing(
    publish: Run, server: Loopback, dataset: Path, fault: Fault
) -> None:
    server.faults = [Fault(**vars(fault))]
    code, _, err = publish()
    assert code == 3
    assert str(fault.status or "connection was lost") in one_line(err)
    assert server.count("Create.*") == 0
    assert receipts(dataset) == []
    server.faults = []
    whole = {blob.name for blob in server.blobs.values() if len(blob.data) == blob.size}
    server.requests.clear()
    assert publish().code == 0
    assert server.count("CreateDataset") == 1
    assert set(server.datasets[REF].files) == SENT
    sent_again = {
        request.name[4:] for request in server.requests if request.name.startswith("PUT ") and request.n_bytes
    }
    assert sent_again == (SENT | {COVER}) - whole


def test_a_file_that_is_cut_goes_on_where_it_was_cut(publish: Run, server: Loopback, clock: StillClock) -> None:
    server.faults = [Fault("PUT train-00001.h5", cut=0.5)]
    assert publish().code == 0
    puts = [request for request in server.requests if request.name == "PUT train-00001.h5"]
    size = sum(request.n_bytes for request in puts)
    half = size // 2
    assert [(request.content_range, request.n_bytes) for request in puts] == [
        (None, half),
        (f"bytes */{size}", 0),
        (f"bytes {half}-{size - 1}/{size}", size - half),
    ]
    assert clock.slept == [2.0]
    assert server.put_bytes() == sum(map(len, (*server.datasets[REF].files.values(), server.datasets[REF].cover)))


def test_a_file_that_moves_on_is_not_given_up_however_often_it_is_cut(publish: Run, server: Loopback) -> None:
    """Seven cuts are more than the attempts that a file has which does not."""
    server.faults = [Fault("PUT train-00001.h5", cut=0.5, times=7)]
    code, out, _ = publish()
    assert code == 0
    made = server.datasets[REF]
    whole = sum(map(len, (*made.files.values(), made.cover)))
    assert f"sent       {whole / 1e6:.1f} of {whole / 1e6:.1f} MB" in out


def test_a_server_that_was_too_slow_is_asked_again(publish: Run, server: Loopback) -> None:
    server.faults = [Fault("PUT train-00001.h5", 408, times=2), Fault("StartBlobUpload", 408)]
    assert publish().code == 0


def test_uploads_that_kaggle_does_not_take_are_not_offered_again(publish: Run, server: Loopback, dataset: Path) -> None:
    server.faults = [Fault("CreateDataset", 400)]
    assert publish().code == 3
    server.requests.clear()
    assert publish().code == 0
    assert server.names().count("StartBlobUpload") == len(SENT)  # not the cover, which was not offered
    assert not (dataset.parent / ".dataset.uploads.json").exists()


def test_nobody_else_can_read_which_uploads_were_begun(publish: Run, server: Loopback, dataset: Path) -> None:
    server.faults = [Fault("CreateDataset", 500)]
    publish()
    journal = dataset.parent / ".dataset.uploads.json"
    assert journal.stat().st_mode & 0o777 == 0o600
    server.faults = [Fault("CreateDataset")]
    publish()
    publish()  # finds what was made, though the answer was lost
    assert not journal.exists()


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"a": 5}', '{"a": {"token": 1, "url": "u", "begun": "x"}}'])
def test_a_journal_that_cannot_be_read_only_costs_time(publish: Run, dataset: Path, text: str) -> None:
    (dataset.parent / ".dataset.uploads.json").write_text(text)
    assert publish().code == 0


@pytest.mark.parametrize(
    "change",
    [
        {"files": [{"file": "dataset.json"}]},
        {"files": 5},
        {"after": "1"},
        {"remote": None},
        {"version": 1.5},
        {"unknown": 1},
    ],
    ids=json.dumps,
)
def test_receipts_that_are_none_are_refused(
    publish: Run, server: Loopback, dataset: Path, change: dict[str, Any]
) -> None:
    publish()
    path = dataset.parent / "publish-receipt.json"
    values = json.loads(path.read_bytes())
    path.write_text(json.dumps({**values, "publications": [{**values["publications"][0], **change}]}))
    server.requests.clear()
    code, _, err = publish()
    assert (code, server.requests) == (3, [])
    assert "not receipts of augpipe" in one_line(err)


def test_without_room_for_a_receipt_nothing_is_begun(publish: Run, server: Loopback, monkeypatch: Any) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("pipeline.files.tempfile.TemporaryFile", read_only)
    code, _, err = publish()
    assert (code, server.requests) == (3, [])
    assert "publish-receipt.json: cannot be written" in one_line(err)


def test_what_others_have_made_of_it_is_not_ours(publish: Run, server: Loopback) -> None:
    """A version keeps the description, with our digest in it, of the one before."""
    publish()
    made = server.datasets[REF].versions
    made.append({**made[0], "files": {}, "versionNotes": "by hand"})
    code, out, _ = publish()
    assert code == 0
    assert "version 3, after version 2" in out
    assert set(server.datasets[REF].files) == SENT


def test_an_upload_of_other_content_is_not_gone_on_with(publish: Run, server: Loopback, dataset: Path) -> None:
    """Names and sizes are the same for another seed; what was begun for one content is of no use for another."""
    server.faults = [Fault("PUT train-00001.h5", cut=0.5, times=99)]
    publish()
    server.faults = []
    shutil.rmtree(dataset)
    build_small(dataset, seed=1)
    assert publish().code == 0
    assert sent(dataset).items() <= server.datasets[REF].files.items()


def test_an_upload_that_expired_is_begun_again(publish: Run, server: Loopback) -> None:
    server.faults = [Fault("CreateDataset", 500)]
    publish()
    server.faults = [Fault("PUT train-00001.h5", 404)]
    server.requests.clear()
    assert publish().code == 0
    assert server.names().count("StartBlobUpload") == 1
    assert {request.name for request in server.requests if request.n_bytes} == {"PUT train-00001.h5"}


def test_what_is_being_one_too_many_waits_as_long_as_the_server_asks(
    publish: Run, server: Loopback, clock: StillClock
) -> None:
    server.faults = [Fault("CreateDataset", 429, headers={"Retry-After": "7"}), Fault("StartBlobUpload", 500, times=2)]
    assert publish().code == 0
    assert clock.slept == [2.0, 4.0, 7.0]
    assert len(server.datasets[REF].versions) == 1


def test_a_creation_of_unknown_outcome_is_not_repeated_blindly(publish: Run, server: Loopback) -> None:
    server.faults = [Fault("CreateDataset", 500)]
    code, _, err = publish()
    assert (code, server.count("CreateDataset")) == (3, 1)
    assert "500" in one_line(err)
    server.requests.clear()
    assert publish().code == 0
    assert server.put_bytes() == 0  # all of it is there: only asked
    assert server.count("StartBlobUpload") == 0
    assert server.count("CreateDataset") == 1


def test_a_creation_whose_answer_was_lost_is_found_again(publish: Run, server: Loopback, dataset: Path) -> None:
    server.faults = [Fault("CreateDataset")]
    code, _, err = publish()
    assert (code, receipts(dataset)) == (3, [])
    assert "no connection, or it was lost" in one_line(err)
    server.requests.clear()
    assert "already there" in publish().out
    assert (server.count("StartBlobUpload|Create.*"), server.put_bytes()) == (0, 0)
    assert server.datasets[REF].cover == draw_cover(dataset)
    assert receipts(dataset)[0]["version"] == 1


ASKED = (
    *("IntrospectToken", "GetDataset", "StartBlobUpload", "blobs", "CreateDataset", "GetDatasetStatus"),
    *("GetDatasetMetadata", "UpdateDatasetMetadata"),
)


@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("asked", ASKED)
def test_what_was_interrupted_anywhere_is_finished_and_made_once(
    publish: Run, server: Loopback, dataset: Path, monkeypatch: pytest.MonkeyPatch, asked: str, answered: bool
) -> None:
    """Ctrl-C before a request, or before its answer is heard."""
    import requests

    send = requests.Session.send

    def interrupt(self: Any, request: Any, **options: Any) -> Any:
        if f"/{asked}" not in request.url:
            return send(self, request, **options)
        if answered:
            send(self, request, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(requests.Session, "send", interrupt)
        assert publish().code == 130
    sent_before = {blob.name for blob in server.blobs.values() if len(blob.data) == blob.size}
    server.requests.clear()
    assert publish().code == 0
    made = server.datasets[REF]
    assert (len(made.versions), set(made.files), made.cover) == (1, SENT, draw_cover(dataset))
    assert made.settings["expectedUpdateFrequency"] == "never"
    assert not {each.name[4:] for each in server.requests if each.n_bytes} & sent_before
    assert receipts(dataset)[0]["state"] == "ready"
    assert not (dataset.parent / ".dataset.uploads.json").exists()


def test_a_question_whose_answer_was_lost_is_asked_again(publish: Run, server: Loopback) -> None:
    server.faults = [Fault("GetDataset"), Fault("StartBlobUpload", times=2)]
    assert publish().code == 0
    assert len(server.datasets[REF].versions) == 1


@pytest.mark.parametrize("status", [403, 404])
def test_a_new_dataset_has_no_status_for_some_moments(
    publish: Run, server: Loopback, clock: StillClock, status: int
) -> None:
    server.faults = [Fault("GetDatasetStatus", status, times=3)]
    assert publish().code == 0
    assert clock.slept == [10.0, 10.0, 10.0]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("IntrospectToken", {"active": 1, "username": OWNER}),
        ("GetDatasetStatus", {"status": None}),
        ("GetDatasetStatus", {"status": 5}),
        ("GetDataset", {"currentVersionNumber": "1"}),
        ("GetDataset", {"lastUpdated": 5}),
        ("GetDataset", {"versions": [5]}),
        ("StartBlobUpload", {"token": 5, "createUrl": "https://x"}),
        ("StartBlobUpload", {"token": "a", "createUrl": "file:///etc/passwd"}),
        ("StartBlobUpload", []),
        ("CreateDataset", {"status": 5, "ref": 5}),
        ("CreateDataset", {}),
        ("CreateDataset", {"code": 409, "message": "a dataset of that name"}),
        ("GetDatasetMetadata", {}),
        ("UpdateDatasetMetadata", {"errors": 5}),
    ],
)
def test_an_answer_that_makes_no_sense_is_an_error(publish: Run, server: Loopback, name: str, body: Any) -> None:
    server.faults = [Fault(name, 200, body=body, times=99)]
    code, _, err = publish()
    assert code in (2, 3)
    assert "Kaggle: " in one_line(err)


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_token_that_kaggle_does_not_know_is_no_dataset_that_does_not_exist(
    publish: Run, server: Loopback, status: int
) -> None:
    publish()
    server.requests.clear()
    server.faults = [Fault("IntrospectToken", status)]
    code, _, err = publish("--dry-run")
    assert (code, server.names()) == (2, ["IntrospectToken"])
    assert "not valid any more" in one_line(err)


def test_an_error_in_an_answer_of_status_200_is_an_error(publish: Run, server: Loopback, dataset: Path) -> None:
    """The official client prints it and exits with 0."""
    server.faults = [Fault("CreateDataset", 200, body={"status": "error", "error": "The title is already in use."})]
    code, _, err = publish()
    assert code == 3
    assert "The title is already in use." in one_line(err)
    assert receipts(dataset) == []


def test_an_answer_about_another_dataset_is_an_error(publish: Run, server: Loopback) -> None:
    server.faults = [Fault("CreateDataset", 200, body={"status": "ok", "ref": "/ada/others"})]
    assert publish().code == 3


def test_a_version_that_fails_leaves_no_receipt(publish: Run, server: Loopback, dataset: Path) -> None:
    server.statuses = ["BLOBS_RECEIVED", "FAILED"]
    code, _, err = publish()
    assert code == 3
    assert "became FAILED" in one_line(err)
    assert receipts(dataset) == []


def test_what_is_never_ready_is_waited_for_again_and_not_sent_again(
    publish: Run, server: Loopback, dataset: Path, clock: StillClock
) -> None:
    server.statuses = ["NOT_YET_PERSISTED"] * 1000
    code, _, err = publish()
    assert code == 3
    assert "was not ready after 30 minutes" in one_line(err)
    assert 1800 <= sum(clock.slept) < 1900
    assert receipts(dataset)[0]["state"] == "accepted"
    server.statuses = ["BLOBS_DECOMPRESSED", "READY"]
    server.requests.clear()
    assert publish().code == 0
    assert (server.count("StartBlobUpload|Create.*"), server.put_bytes()) == (0, 0)
    assert receipts(dataset)[0]["state"] == "ready"


def test_what_kaggle_forbids_to_see_is_looked_for_in_the_accounts_own_list(publish: Run, server: Loopback) -> None:
    """Kaggle may answer 403 for what does not exist; that is no proof of it."""
    server.faults = [Fault("GetDataset", 403)]
    assert publish().code == 0
    assert server.names()[:3] == ["IntrospectToken", "GetDataset", "ListDatasets"]
    assert server.count("CreateDataset") == 1


def test_what_an_organisation_does_not_have_yet_is_created_for_it(publish: Run, server: Loopback) -> None:
    """Kaggle forbids it to everyone, and its list does not hold it."""
    server.faults = [Fault("GetDataset", 403)]
    assert publish("--id", "royal-society/small-cells").code == 0
    assert server.requests[2].values == {"user": "royal-society", "search": "small-cells"}
    assert "royal-society/small-cells" in server.datasets


def test_what_kaggle_forbids_to_see_and_is_there_is_an_error(publish: Run, server: Loopback) -> None:
    publish()
    server.requests.clear()
    server.faults = [Fault("GetDataset", 403)]
    code, _, err = publish()
    assert code == 3
    assert "403" in one_line(err)
    assert server.count("Create.*|PUT .*") == 0


def damage(world: Path) -> None:
    flip_bit(world / "dataset" / SHARDS[1], 5000)


def lose(world: Path) -> None:
    (world / "dataset" / SHARDS[1]).unlink()


def make_synthetic(world: Path) -> None:
    edit_record(world / "dataset", lambda values: values["source"].update(synthetic=True))


def show_token(world: Path) -> None:
    (world / "home" / ".kaggle" / "access_token").chmod(0o640)


def show_key(world: Path) -> None:
    (world / "home" / ".kaggle" / "access_token").unlink()
    path = world / "home" / ".kaggle" / "kaggle.json"
    path.write_text(json.dumps({"username": OWNER, "key": TOKEN}))
    path.chmod(0o644)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (damage, "was changed after it was recorded"),
        (lose, "found nothing"),
        (make_synthetic, "--allow-phantom"),
        (show_token, "chmod 600"),
        (show_key, "chmod 600"),
    ],
)
def test_what_must_not_be_published_is_refused_before_anything_is_asked(
    publish: Run, server: Loopback, tmp_path: Path, harm: Callable[[Path], None], said: str
) -> None:
    harm(tmp_path)
    code, _, err = publish()
    assert (code, server.requests) == (1, [])
    assert said in one_line(err)


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"checks": statuses("P002", "failed"), "findings": (leak("P002"),)}, 1, "LEAKAGE: 1 critical finding"),
        ({"n_leaking": {"test": 1}, "findings": (leak("P002"),)}, 1, "LEAKAGE: 1 of 3 test samples"),
        ({"n_leaking": {"test": 1}}, 1, "LEAKAGE: 1 of 3 test samples"),
        ({"dataset_sha256": "0" * 64}, 1, "is not the dataset that"),
        ({"gap": 0}, 1, "made at a gap of 0, expected 1"),
        ({"checks": statuses("P003", "not run")}, 3, "nothing proves"),
        ({"checks": statuses("M004", "not applicable")}, 3, "nothing proves"),
        ({"checks": statuses("P005", "failed"), "findings": (Finding("P005", "warning", "lost"),)}, 3, "(P005): lost"),
        ({"checks": ()}, 3, "nothing proves"),
        ({"coverage": Coverage(12, 11, 12)}, 3, "looked at 11 of 12 samples"),
        ({"coverage": Coverage(0)}, 3, "looked at 0 of 12 samples"),
        ({"n_samples": {"train": 3, "test": 9}}, 3, "audit again"),
    ],
)
def test_a_report_that_proves_nothing_is_no_proof(
    publish: Run, server: Loopback, changes: dict[str, Any], code: int, said: str
) -> None:
    outcome = publish(**changes)
    assert (outcome.code, server.requests) == (code, [])
    assert said in one_line(outcome.err)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": "augpipe/verify-report/1"}, "of schema augpipe/audit-report/1"),
        ({"checks": None}, "not the report of an audit"),
        ({"exit_code": 1, "verdict": "LEAKAGE"}, "contradict it"),
        ({"findings": [{**leak("P002").to_json(), "severity": "Critical"}]}, "expected a severity"),
        ({"findings": [{**leak("P002").to_json(), "severity": []}]}, "not the report of an audit"),
        ({"findings": [{**leak("P002").to_json(), "text": 5}]}, "expected a severity"),
        ({"gap": float("inf")}, "not the report of an audit"),
        ({"leak_rate": {"test": float("inf")}}, "not the report of an audit"),
        ({"thresholds": {"ncc": float("nan")}}, "not the report of an audit"),
    ],
)
def test_a_report_that_no_audit_has_written_is_no_proof(
    augpipe: Run, server: Loopback, dataset: Path, changes: dict[str, Any], said: str
) -> None:
    path = dataset.parent / "report.json"
    path.write_text(json.dumps({**clean_report(dataset).to_json(), **changes}))
    code, _, err = augpipe("publish", dataset, *TO_KAGGLE, "--audit", path)
    assert (code, server.requests) == (3, [])
    assert said in one_line(err)


def test_records_are_checked_whatever_a_report_says(publish: Run, server: Loopback) -> None:
    """The small dataset keeps one slice between its splits: no report of a clean audit at a gap of three is true."""
    code, _, err = publish("--gap", "3", gap=3)
    assert (code, server.requests) == (1, [])
    assert "the audit found something" in one_line(err)


def test_what_an_audit_only_warns_of_is_published(publish: Run, server: Loopback) -> None:
    twice = Finding("S001", "warning", "slices 2 and 5 of train are the same")
    assert publish(checks=statuses("S001", "failed"), findings=(twice,)).code == 0
    assert "slices 2 and 5" in server.datasets[REF].files["audit.json"].decode()


def test_a_report_that_is_not_there_is_wrong_use(augpipe: Run, server: Loopback, dataset: Path) -> None:
    code, _, err = augpipe("publish", dataset, *TO_KAGGLE, "--audit", dataset / "none.json")
    assert (code, server.requests) == (2, [])
    assert "found nothing" in one_line(err)


@pytest.mark.parametrize("licence", ["unknown", "CC-BY", "", "MIT"])
def test_a_licence_that_kaggle_does_not_know_is_refused(publish: Run, server: Loopback, licence: str) -> None:
    code, _, err = publish("--license", licence)
    assert (code, server.requests) == (1, [])
    assert "not a licence that Kaggle knows" in one_line(err)


def test_without_a_licence_nothing_is_published(augpipe: Run, server: Loopback, dataset: Path) -> None:
    code, _, err = augpipe("publish", dataset, "--to", "kaggle", "--id", REF, "--audit", write_report(dataset))
    assert (code, server.requests) == (1, [])
    assert "choose one with --license" in one_line(err)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--id", "ada/small"), "6 to 50 characters"),
        (("--id", f"ada/{'a' * 51}"), "6 to 50 characters"),
        (("--id", "ada/Small_Cells"), "small letters"),
        (("--id", "small-cells"), "OWNER/SLUG"),
        (("--id", "a da/small-cells"), "user or organisation"),
        (("--title", "cells"), "6 to 50 characters"),
        (("--title", "c" * 51), "6 to 50 characters"),
        (("--gap", "-1"), "gap"),
    ],
)
def test_names_that_kaggle_does_not_take_are_wrong_use(
    publish: Run, server: Loopback, options: tuple[str, ...], said: str
) -> None:
    code, _, err = publish(*options)
    assert (code, server.requests) == (2, [])
    assert said in one_line(err)


def test_without_credentials_nothing_is_asked(publish: Run, server: Loopback, home: Path) -> None:
    (home / ".kaggle" / "access_token").unlink()
    code, _, err = publish()
    assert (code, server.requests) == (2, [])
    assert "no credentials for Kaggle" in one_line(err)


def test_a_token_that_is_not_valid_any_more_is_told(publish: Run, server: Loopback, monkeypatch: Any) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_old")
    code, _, err = publish()
    assert (code, server.names()) == (2, ["IntrospectToken"])
    assert "KAGGLE_API_TOKEN is not valid" in one_line(err)
    assert "KGAT_old" not in err


@pytest.mark.parametrize("text", ["two words", "a\nb", "short", "Übertoken-Übertoken"])
def test_what_is_no_token_is_told_before_anything_is_asked(
    publish: Run, server: Loopback, home: Path, text: str
) -> None:
    (home / ".kaggle" / "access_token").write_text(text, encoding="utf-8")
    code, _, err = publish()
    assert (code, server.requests) == (2, [])
    assert "expected a token or a key" in one_line(err)
    assert text not in err


def test_a_token_that_an_editor_has_marked_is_read(publish: Run, home: Path) -> None:
    (home / ".kaggle" / "access_token").write_bytes(f"\ufeff{TOKEN}\r\n".encode())
    assert publish().code == 0


def test_a_key_file_of_brackets_is_told(publish: Run, server: Loopback, home: Path) -> None:
    (home / ".kaggle" / "access_token").unlink()
    path = home / ".kaggle" / "kaggle.json"
    path.write_text("[" * 60_000)
    path.chmod(0o600)
    code, _, err = publish()
    assert (code, server.requests) == (2, [])
    assert "expected a JSON object with username and key" in one_line(err)


def test_a_legacy_key_works_too(publish: Run, server: Loopback, home: Path, monkeypatch: Any) -> None:
    (home / ".kaggle" / "access_token").unlink()
    monkeypatch.setenv("KAGGLE_USERNAME", OWNER)
    monkeypatch.setenv("KAGGLE_KEY", "blob-secret-key")
    assert publish().code == 0
    assert server.names()[0] == "GetDataset"
    assert (server.requests[0].authorization or "").startswith("Basic ")


def test_a_dataset_that_cannot_be_audited_is_not_published(augpipe: Run, server: Loopback, dataset: Path) -> None:
    """Without its source the audit compares samples with each other alone, which proves too little to publish."""
    (dataset / "build-info.json").unlink()
    code, _, err = augpipe("publish", dataset, *TO_KAGGLE, "--jobs", "1")
    assert (code, server.requests) == (3, [])
    assert "the source is not at hand" in one_line(err)


def test_an_audit_that_is_run_now_is_at_the_usual_gap(augpipe: Run, server: Loopback, dataset: Path) -> None:
    """The dataset keeps one slice between its splits; that is only enough if one asks for it."""
    code, _, err = augpipe("publish", dataset, *TO_KAGGLE[:-2], "--jobs", "1")
    assert (code, server.requests) == (1, [])
    assert "the audit found something" in one_line(err)


def test_a_small_gap_that_was_asked_for_is_on_the_card(publish: Run, server: Loopback) -> None:
    assert publish().code == 0
    assert (
        "The audit was asked for a gap of 1 alone, not for the usual 3"
        in server.datasets[REF].files["README.md"].decode()
    )


def test_the_report_of_the_card_is_proof_enough(augpipe: Run, server: Loopback, dataset: Path) -> None:
    (dataset / "card").mkdir()
    write_report(dataset).rename(dataset / "card" / "audit.json")
    code, out, _ = augpipe("publish", dataset, *TO_KAGGLE)
    assert code == 0
    assert str(dataset / "card" / "audit.json") in out
    assert set(server.datasets[REF].files) == SENT


def test_refusing_imports_no_client_of_kaggle(tmp_path: Path, dataset: Path, home: Path) -> None:
    """Importing it authenticates over the network."""
    code = (
        "import sys; from pipeline.cli import main; code = main(sys.argv[1:]); "
        "print(code, sorted({'kaggle', 'kagglesdk', 'requests'} & set(sys.modules)))"
    )
    root = str(Path(__file__).parents[2])
    arguments = ("publish", str(dataset), "--to", "kaggle", "--id", REF)
    result = run_python(code, *arguments, cwd=tmp_path, HOME=str(home), PYTHONPATH=root)
    assert result.stdout == "1 []\n", result.stderr


def test_the_same_dataset_is_mirrored_in_a_folder(
    augpipe: Run, server: Loopback, dataset: Path, tmp_path: Path
) -> None:
    mirror, report = tmp_path / "share" / "cells", write_report(dataset)
    mirror.parent.mkdir()
    asked = ("publish", dataset, *to_folder(mirror), "--audit", report)
    code, out, _ = augpipe(*asked)
    assert code == 0
    assert set(names(mirror)) == SENT | {"dataset-metadata.json", COVER}
    assert digests(dataset).items() <= digests(mirror).items()
    assert augpipe("verify", mirror).code == 0
    assert names(mirror.parent) == ["cells", *[f"cells/{name}" for name in names(mirror)]]
    code, out, _ = augpipe(*asked)
    assert code == 0
    assert "already there" in out
    assert "sent           0.0 of" in out
    assert server.requests == []


def test_a_mirror_is_whole_at_every_moment(
    augpipe: Run, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that fails leaves what was there; the next one copies what is missing, and replaces it in one go."""
    mirror = tmp_path / "cells"
    asked = ("publish", dataset, *to_folder(mirror), "--audit")
    augpipe(*asked, write_report(dataset))
    before = digests(mirror)
    shutil.rmtree(dataset)
    build_small(dataset, seed=1)
    send, copied = FolderRemote.send, []

    def fail_late(self: FolderRemote, item: Any) -> int:
        if len(copied) == 4:
            raise StorageError("the disk is full")
        copied.append(item.name)
        return send(self, item)

    with monkeypatch.context() as patch:
        patch.setattr(FolderRemote, "send", fail_late)
        assert augpipe(*asked, write_report(dataset)).code == 3
    assert digests(mirror) == before
    code, out, _ = augpipe(*asked, write_report(dataset))
    assert code == 0
    assert digests(dataset).items() <= digests(mirror).items()
    missing = sum((mirror / name).stat().st_size for name in names(mirror) if name not in copied)
    assert f"sent       {missing / 1e6:.1f} of" in out


def test_a_folder_with_other_things_is_not_touched(augpipe: Run, dataset: Path, tmp_path: Path) -> None:
    mirror = tmp_path / "mine"
    mirror.mkdir()
    (mirror / "thesis.txt").write_text("years of work")
    asked = ("--license", "other", *SMALL_GAP, "--audit", write_report(dataset))
    assert augpipe("publish", dataset, "--to", "folder", mirror, *asked).code == 2
    assert augpipe("publish", dataset, "--to", "folder", dataset / "mirror", *asked).code == 2
    assert augpipe("publish", dataset, "--to", "folder", *asked).code == 2
    assert names(mirror) == ["thesis.txt"]


def test_a_mirror_that_was_killed_between_two_names_is_found_again(augpipe: Run, dataset: Path, tmp_path: Path) -> None:
    mirror = tmp_path / "cells"
    asked = (
        "publish",
        dataset,
        "--to",
        "folder",
        mirror,
        "--license",
        "other",
        *SMALL_GAP,
        "--audit",
        write_report(dataset),
    )
    augpipe(*asked)
    mirror.rename(tmp_path / ".cells.replaced")
    assert "already there" in augpipe(*asked).out
    assert augpipe("verify", mirror).code == 0


def test_what_was_being_removed_does_not_come_back(augpipe: Run, dataset: Path, tmp_path: Path) -> None:
    """A mirror that was replaced, and killed half-removed; and one that was to be replaced by what is there."""
    mirror, replaced = tmp_path / "cells", tmp_path / ".cells.replaced"
    asked = ("publish", dataset, *to_folder(mirror), "--audit", write_report(dataset))
    augpipe(*asked)
    shutil.copytree(mirror, replaced)
    assert "already there" in augpipe(*asked).out
    assert not replaced.exists()
    mirror.rename(replaced)
    (replaced / SHARDS[0]).unlink()
    assert augpipe(*asked).code == 0
    assert not replaced.exists()
    assert augpipe("verify", mirror).code == 0


def test_a_mirror_has_one_publisher_at_a_time(augpipe: Run, dataset: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(dataset, tmp_path / "other"))
    mirror = tmp_path / "cells"
    asked = (*to_folder(mirror), "--audit", write_report(dataset))
    with FolderRemote(mirror, other).hold():
        code, _, err = augpipe("publish", dataset, *asked)
    assert code == 3
    assert "another augpipe is publishing there" in one_line(err)
    assert augpipe("publish", dataset, *asked).code == 0
    assert names(tmp_path / "cells") == sorted(SENT | {"dataset-metadata.json", COVER})


def test_a_mirror_without_its_card_is_made_whole(augpipe: Run, dataset: Path, tmp_path: Path) -> None:
    mirror = tmp_path / "cells"
    asked = ("publish", dataset, *to_folder(mirror), "--audit", write_report(dataset))
    augpipe(*asked)
    (mirror / "README.md").unlink()
    assert "published" in augpipe(*asked).out
    assert (mirror / "README.md").exists()


@pytest.mark.parametrize("options", [("--private",), ("--notes", "another seed")])
def test_what_only_kaggle_has_is_wrong_use_for_a_folder(
    augpipe: Run, dataset: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    code, _, err = augpipe("publish", dataset, *to_folder(tmp_path / "cells"), *options)
    assert code == 2
    assert "are for Kaggle" in one_line(err)


def test_the_root_of_the_disk_is_no_mirror(augpipe: Run, dataset: Path) -> None:
    code, _, err = augpipe("publish", dataset, *to_folder(Path("/")))
    assert code == 2
    assert "name another" in one_line(err)


def test_files_of_others_in_a_mirror_are_not_lost(augpipe: Run, dataset: Path, tmp_path: Path) -> None:
    mirror = tmp_path / "cells"
    asked = ("publish", dataset, *to_folder(mirror), "--audit")
    augpipe(*asked, write_report(dataset))
    (mirror / "thesis.txt").write_text("years of work")
    before = digests(mirror)
    shutil.rmtree(dataset)
    build_small(dataset, seed=1)
    code, _, err = augpipe(*asked, write_report(dataset))
    assert code == 2
    assert "thesis.txt" in one_line(err)
    assert digests(mirror) == before


def test_a_mirror_that_was_damaged_is_made_whole(augpipe: Run, dataset: Path, tmp_path: Path) -> None:
    mirror = tmp_path / "cells"
    asked = (
        "publish",
        dataset,
        "--to",
        "folder",
        mirror,
        "--license",
        "other",
        *SMALL_GAP,
        "--audit",
        write_report(dataset),
    )
    augpipe(*asked)
    flip_bit(mirror / SHARDS[1], 5000)
    assert augpipe(*asked).code == 0
    assert augpipe("verify", mirror).code == 0


@pytest.mark.parametrize("version", [False, True], ids=["new", "version"])
def test_kaggles_own_client_takes_the_metadata_and_sends_the_same_requests(
    server: Loopback, dataset: Path, tmp_path: Path, home: Path, clock: Any, monkeypatch: Any, version: bool
) -> None:
    """Its own validation runs before its upload, and what it sends of a mirror is what we send."""
    from kaggle.api.kaggle_api_extended import KaggleApi

    order = Order(KaggleId.parse(REF), licence="CC-BY-4.0", gap=1)
    report = {"report_file": write_report(dataset)}
    before = {REF: Dataset([{"description": "", "files": {}}])} if version else {}
    server.datasets = before.copy()
    publish_dataset(dataset, KaggleRemote(KaggleId.parse(REF), dataset, clock=clock), order, **report)
    publish_dataset(dataset, FolderRemote(tmp_path / "mirror", dataset), order, **report)
    ours = server.requests.copy()
    server.datasets = before
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    api = KaggleApi()
    api.config = str(home / "none.json")
    api.authenticate()
    server.requests.clear()
    if version:
        notes = f"dataset sha256 {file_digest(dataset / 'dataset.json')}"
        answer = api.dataset_create_version(str(tmp_path / "mirror"), notes, quiet=True)
    else:
        answer = api.dataset_create_new(str(tmp_path / "mirror"), public=True, quiet=True)
    assert (answer.error or None, answer.status) == (None, "Ok")
    assert set(server.datasets[REF].files) == SENT
    assert made(server, server.requests) == made(server, ours)
    assert begun(server.requests) == {name: each for name, each in begun(ours).items() if name != COVER}


def test_kaggles_own_client_sets_what_we_set(
    server: Loopback, dataset: Path, tmp_path: Path, home: Path, clock: Any, monkeypatch: Any
) -> None:
    """Its `kaggle datasets metadata --update` of a mirror; only, it makes the dataset public, and we leave that."""
    from kaggle.api.kaggle_api_extended import KaggleApi

    order, report = Order(KaggleId.parse(REF), licence="CC-BY-4.0", gap=1), write_report(dataset)
    publish_dataset(dataset, KaggleRemote(KaggleId.parse(REF), dataset, clock=clock), order, report_file=report)
    publish_dataset(dataset, FolderRemote(tmp_path / "mirror", dataset), order, report_file=report)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    api = KaggleApi()
    api.config = str(home / "none.json")
    api.authenticate()
    api.dataset_metadata_update(REF, str(tmp_path / "mirror"))
    ours, theirs = [each.values["settings"] for each in server.requests if each.name == "UpdateDatasetMetadata"]
    assert ours["image"].pop("token") != theirs["image"].pop("token")
    assert ours.items() <= theirs.items()
    assert set(theirs) - set(ours) == {"keywords", "data"}  # a version has them, and they are not asked for again
    uploads = [each.values for each in server.requests if each.name == "StartBlobUpload"]
    first, second = [{**each, "lastModifiedEpochSeconds": 0} for each in uploads if each["name"] == COVER]
    assert first == second


def made(server: Loopback, requests: list[Request]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return what was to be made, and its files by name, without the tokens of their uploads."""
    ((name, values),) = [(each.name, each.values) for each in requests if each.name.startswith("Create")]
    body = values.get("body", values)
    files = {server.blobs[file["token"]].name: {**file, "token": None} for file in body["files"]}
    return name, {**values, "body": None, **body, "files": None}, files


def begun(requests: list[Request]) -> dict[str, dict[str, Any]]:
    """Return what was begun to be uploaded, without the times of files."""
    values = [each.values for each in requests if each.name == "StartBlobUpload"]
    return {each["name"]: {**each, "lastModifiedEpochSeconds": None} for each in values}


def test_what_is_public_gets_no_private_version(publish: Run, server: Loopback, dataset: Path) -> None:
    """Kaggle's versions have no privacy of their own: this one would be public."""
    publish()
    shutil.rmtree(dataset)
    build_small(dataset, seed=1)
    code, _, err = publish("--private")
    assert code == 1
    assert "this dataset is public there" in one_line(err)
    assert len(server.datasets[REF].versions) == 1


def test_what_is_public_is_not_said_to_be_private(publish: Run) -> None:
    publish()
    code, out, err = publish("--private")
    assert (code, out) == (1, "")
    assert "this dataset is public there" in one_line(err)


def test_two_at_once_publish_once(publish: Run, server: Loopback, dataset: Path) -> None:
    with held(dataset, busy="busy"):
        code, _, err = publish()
    assert (code, server.requests) == (3, [])
    assert "is being published by another augpipe" in one_line(err)


@pytest.mark.parametrize("hide", [False, True], ids=["plainly", "with the time set back"])
def test_a_file_that_changes_while_it_is_sent_is_not_published(
    publish: Run, server: Loopback, monkeypatch: pytest.MonkeyPatch, hide: bool
) -> None:
    send = KaggleRemote.send

    def change(self: KaggleRemote, item: Any) -> int:
        if item.name == SHARDS[2]:
            flip_bit(item.path, 5000)
            if hide:
                os.utime(item.path, ns=(item.stamp.modified_ns, item.stamp.modified_ns))
        return send(self, item)

    monkeypatch.setattr(KaggleRemote, "send", change)
    code, _, err = publish()
    assert code == 1
    assert "was changed while it was being published" in one_line(err)
    assert server.count("Create.*") == 0


def test_licences_are_named_once() -> None:
    assert len(set(map(str.lower, LICENCES))) == len(LICENCES)


def test_a_report_is_read_as_it_was_written(dataset: Path) -> None:
    report = audit_dataset(dataset, gap=2, manifest_only=True, jobs=1)
    assert report.findings
    assert AuditReport.from_json(json.loads(json.dumps(report.to_json()))) == report
