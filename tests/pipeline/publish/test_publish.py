"""Publishing: what is sent, once and to the end, and as Kaggle's own client would. The server is on 127.0.0.1."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kaggle_loopback import TOKEN, Dataset, Fault, Loopback, Request
from publish_worlds import COVER, REF, SENT, cover, one_line, own_client, receipts, sent, write_report
from small_worlds import SHARDS, build_small, flip_bit, names

from pipeline.files import locked
from pipeline.publish.folder_remote import FolderRemote
from pipeline.publish.kaggle.remote import KaggleRemote
from pipeline.publish.options import KaggleId, PublishOptions
from pipeline.publish.publisher import publish_dataset
from pipeline.shards.digest import file_digest

pytestmark = pytest.mark.usefixtures("home", "clock", "quick_preview")

Run = Callable[..., Any]


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
    assert server.datasets[REF].cover == cover(dataset)
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
    assert server.datasets[REF].cover == cover(dataset)
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
    assert server.datasets[REF].cover == cover(dataset)
    assert receipts(dataset)[0]["state"] == "ready"


def test_a_version_that_failed_is_made_again(publish: Run, server: Loopback, dataset: Path) -> None:
    """What Kaggle says of a version that will never be ready does not make it one."""
    server.statuses = ["BLOBS_RECEIVED", "FAILED"]
    code, _, err = publish()
    assert (code, receipts(dataset)) == (3, [])
    assert "FAILED" in one_line(err)
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


def test_a_dry_run_asks_and_sends_nothing(publish: Run, server: Loopback, dataset: Path) -> None:
    code, out, _ = publish("--dry-run")
    assert code == 0
    assert "would be published" in out
    assert server.names() == ["IntrospectToken", "GetDataset"]
    assert receipts(dataset) == []


def test_what_is_public_is_not_made_or_said_to_be_private(publish: Run, server: Loopback, dataset: Path) -> None:
    """Kaggle's versions have no privacy of their own: another one would be public, too."""
    publish()
    code, out, err = publish("--private")  # it is there already
    assert (code, out) == (1, "")
    assert "--private" in one_line(err)
    shutil.rmtree(dataset)
    build_small(dataset, seed=1)
    code, _, err = publish("--private")
    assert code == 1
    assert "--private" in one_line(err)
    assert len(server.datasets[REF].versions) == 1


def test_two_at_once_publish_once(publish: Run, server: Loopback, dataset: Path) -> None:
    with locked(dataset, busy="busy"):
        code, _, err = publish()
    assert (code, server.requests) == (3, [])
    assert "published by another augpipe" in one_line(err)


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


@pytest.mark.parametrize("version", [False, True], ids=["new", "version"])
def test_kaggles_own_client_takes_the_metadata_and_sends_the_same_requests(
    server: Loopback, dataset: Path, tmp_path: Path, home: Path, clock: Any, monkeypatch: Any, version: bool
) -> None:
    """Its own validation runs before its upload, and what it sends of a mirror is what we send."""
    order = PublishOptions(KaggleId.parse(REF), licence="CC-BY-4.0", gap=1)
    report = {"report_file": write_report(dataset)}
    before = {REF: Dataset([{"description": "", "files": {}}])} if version else {}
    server.datasets = before.copy()
    publish_dataset(dataset, KaggleRemote(KaggleId.parse(REF), dataset, clock=clock), order, **report)
    publish_dataset(dataset, FolderRemote(tmp_path / "mirror", dataset), order, **report)
    ours = server.requests.copy()
    server.datasets = before
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    api = own_client(home)
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
    order, report = PublishOptions(KaggleId.parse(REF), licence="CC-BY-4.0", gap=1), write_report(dataset)
    publish_dataset(dataset, KaggleRemote(KaggleId.parse(REF), dataset, clock=clock), order, report_file=report)
    publish_dataset(dataset, FolderRemote(tmp_path / "mirror", dataset), order, report_file=report)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    api = own_client(home)
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
