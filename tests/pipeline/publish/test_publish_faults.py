"""Publishing where something fails: nothing is shown half, and a second run sends what is missing."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kaggle_loopback import OWNER, TOKEN, Fault, Loopback, StillClock
from publish_worlds import COVER, REF, SENT, cover, one_line, receipts, sent
from small_worlds import build_small

pytestmark = pytest.mark.usefixtures("home", "clock", "quick_preview")

Run = Callable[..., Any]


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


@pytest.mark.parametrize("status", [0, 408], ids=["lost", "too slow"])
def test_what_was_not_answered_is_asked_again(publish: Run, server: Loopback, status: int) -> None:
    server.faults = [Fault("GetDataset", status), Fault("StartBlobUpload", status, times=2)]
    server.faults.append(Fault("PUT train-00001.h5", 408, times=2))
    assert publish().code == 0
    assert len(server.datasets[REF].versions) == 1


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


def test_what_is_too_much_in_an_answer_of_status_200_is_asked_again(
    publish: Run, server: Loopback, clock: StillClock
) -> None:
    """The SDK raises what the JSON says, whatever the status is."""
    server.faults = [Fault("CreateDataset", 200, body={"code": 429, "message": "Too many requests"}, times=2)]
    assert publish().code == 0
    assert clock.slept == [2.0, 4.0]
    assert len(server.datasets[REF].versions) == 1


@pytest.mark.parametrize(("header", "slept"), [("Wed, 21 Oct 2026 07:28:00 GMT", 2.0), ("99999", 120.0), ("", 2.0)])
def test_how_long_a_server_may_ask_to_wait(
    publish: Run, server: Loopback, clock: StillClock, header: str, slept: float
) -> None:
    server.faults = [Fault("GetDataset", 503, headers={"Retry-After": header})]
    assert publish().code == 0
    assert clock.slept == [slept]


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
    assert server.datasets[REF].cover == cover(dataset)
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
    assert (len(made.versions), set(made.files), made.cover) == (1, SENT, cover(dataset))
    assert made.settings["expectedUpdateFrequency"] == "never"
    assert not {each.name[4:] for each in server.requests if each.n_bytes} & sent_before
    assert receipts(dataset)[0]["state"] == "ready"
    assert not (dataset.parent / ".dataset.uploads.json").exists()


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
        ("CreateDataset", {"status": "ok", "ref": "/ada/others"}),
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
