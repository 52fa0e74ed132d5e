"""What is not published: what leaks, is not proven or is not whole; before anything is asked."""

import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kaggle_loopback import OWNER, TOKEN, Loopback
from publish_worlds import REF, SENT, TO_KAGGLE, clean_report, leak, one_line, statuses, write_report
from small_worlds import SHARDS, edit_record, flip_bit, run_python

from pipeline.audit.auditing import audit_dataset
from pipeline.audit.report import AuditReport, Coverage, Finding
from pipeline.card.kaggle_terms import LICENCES
from pipeline.shards.digest import bytes_digest, canonical_json

pytestmark = pytest.mark.usefixtures("home", "clock", "quick_preview")

Run = Callable[..., Any]


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
        ({"coverage": Coverage(12, 11, compared=1)}, 3, "knows the slice of 11 of 12 samples"),
        ({"coverage": Coverage(12, 11, not_compared=1)}, 3, "the slice of 11 of 12 samples"),
        ({"coverage": Coverage(0)}, 3, "knows the slice of 0 of 12 samples"),
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
        ({"schema": "augpipe/verify-report/1"}, "of schema augpipe/audit-report/2"),
        ({"schema": "augpipe/audit-report/1"}, "was written by an older augpipe (augpipe/audit-report/1"),
        ({"checks": None}, "not the report of an audit"),
        ({"exit_code": 1, "verdict": "LEAKAGE"}, "contradict it"),
        ({"findings": [{**leak("P002").to_json(), "severity": "Critical"}]}, "severity"),
        ({"findings": [{**leak("P002").to_json(), "severity": []}]}, "not the report of an audit"),
        ({"findings": [{**leak("P002").to_json(), "text": 5}]}, "text"),
        ({"gap": float("inf")}, "expected finite numbers"),
        ({"leak_rate": {"test": float("inf")}}, "expected finite numbers"),
        ({"thresholds": {"ncc": float("nan")}}, "expected finite numbers"),
    ],
)
def test_a_report_that_no_audit_has_written_is_no_proof(
    augpipe: Run, server: Loopback, dataset: Path, changes: dict[str, Any], said: str
) -> None:
    path = dataset.parent / "report.json"
    values = {**clean_report(dataset).to_json(), **changes}
    del values["sha256"]
    with contextlib.suppress(ValueError):  # what is no JSON has no digest
        values["sha256"] = bytes_digest(canonical_json(values))
    path.write_text(json.dumps(values))
    code, _, err = augpipe("publish", dataset, *TO_KAGGLE, "--audit", path)
    assert (code, server.requests) == (3, [])
    assert said in one_line(err)


@pytest.mark.parametrize(
    "changes",
    [{"subject": "another"}, {"gap": 9}, {"thresholds": {}}, {"sha256": "0" * 64}, {"sha256": None}, {"more": 1}],
)
def test_a_report_that_was_edited_by_hand_is_no_proof(
    augpipe: Run, server: Loopback, dataset: Path, changes: dict[str, Any]
) -> None:
    """None of these contradicts another part of the report: the digest of it all does."""
    path = dataset.parent / "report.json"
    path.write_text(json.dumps({**clean_report(dataset).to_json(), **changes}))
    code, _, err = augpipe("publish", dataset, *TO_KAGGLE, "--audit", path)
    assert (code, server.requests) == (3, [])
    assert f"{path}: was changed after the audit" in one_line(err)


def test_a_report_laid_out_for_reading_is_still_one(augpipe: Run, dataset: Path) -> None:
    path = dataset.parent / "report.json"
    path.write_text(json.dumps(clean_report(dataset).to_json(), indent=2))
    assert augpipe("publish", dataset, *TO_KAGGLE, "--audit", path, "--dry-run").code == 0


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


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("KAGGLE_USERNAME", "KAGGLE_KEY: expected the key beside the user name that was found"),
        ("KAGGLE_KEY", "KAGGLE_USERNAME: expected the user name beside the key that was found"),
    ],
)
def test_the_missing_half_of_the_credentials_is_named(
    publish: Run, server: Loopback, home: Path, monkeypatch: Any, variable: str, said: str
) -> None:
    (home / ".kaggle" / "access_token").unlink()
    monkeypatch.setenv(variable, "blob-secret-key")
    code, _, err = publish()
    assert (code, server.requests) == (2, [])
    assert said in one_line(err)
    assert "blob-secret-key" not in err


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
    assert "The audit checked a gap of only 1, not the usual 3" in server.datasets[REF].files["README.md"].decode()


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
    root = str(Path(__file__).parents[3])
    arguments = ("publish", str(dataset), "--to", "kaggle", "--id", REF)
    result = run_python(code, *arguments, cwd=tmp_path, HOME=str(home), PYTHONPATH=root)
    assert result.stdout == "1 []\n", result.stderr


def test_one_folder_alone_knows_kaggles_client() -> None:
    root = Path(__file__).parents[3] / "pipeline"
    own = re.compile(r"^ *(from|import) kaggle", re.MULTILINE)
    users = {path.parent for path in root.rglob("*.py") if own.search(path.read_text())}
    assert users == {root / "publish" / "kaggle"}


def test_licences_are_named_once() -> None:
    assert len(set(map(str.lower, LICENCES))) == len(LICENCES)


def test_a_report_is_read_as_it_was_written(dataset: Path) -> None:
    report = audit_dataset(dataset, gap=2, manifest_only=True, jobs=1)
    assert report.findings
    assert AuditReport.from_json(json.loads(json.dumps(report.to_json()))) == report
