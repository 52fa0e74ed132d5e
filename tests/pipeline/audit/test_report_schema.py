"""What an audit reports as JSON is what manifests/audit-report.schema.json describes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from folder_worlds import clean_split, random_split, tissue, write_pictures_of
from schema_tools import broken_versions, change, objects, validator

from pipeline.audit.auditing import audit_dataset, audit_folders
from pipeline.audit.report import AUDIT_SCHEMA, CHECKS, SEVERITIES, AuditReport, Check, Coverage, Finding
from pipeline.audit.split_checks import split_check
from pipeline.shards.digest import canonical_json

SCHEMA = validator("audit-report.schema.json")


def written(report: AuditReport) -> dict[str, Any]:
    """Return a report as whoever reads the file gets it."""
    values: dict[str, Any] = json.loads(canonical_json(report.to_json()))
    return values


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of a random split, a copy among it, with its source at hand."""
    folders = random_split(tmp_path_factory.mktemp("leaky"))
    images, _ = tissue()
    write_pictures_of(folders["test"], {"slice.png": images[2]})
    return written(audit_folders(folders, [images], jobs=2))


def test_reports_of_bare_folders_follow_the_schema(tmp_path: Path, leaky: dict[str, Any]) -> None:
    SCHEMA.validate(leaky)
    assert leaky["findings"]
    folders = random_split(tmp_path / "leaky")
    SCHEMA.validate(written(audit_folders(folders, jobs=2)))
    SCHEMA.validate(written(audit_folders(clean_split(tmp_path / "clean"), jobs=2)))


@pytest.mark.parametrize("options", [{}, {"manifest_only": True}, {"allow_unknown": True}])
def test_reports_of_datasets_follow_the_schema(built: Path, options: dict[str, Any]) -> None:
    SCHEMA.validate(written(audit_dataset(built, jobs=2, **options)))


def test_reports_of_broken_datasets_follow_the_schema(dataset: Path) -> None:
    (dataset / "train-00000.h5").unlink()
    with (dataset / "manifest.jsonl").open("a") as file:
        file.write("{}\n")
    report = written(audit_dataset(dataset, jobs=2))
    SCHEMA.validate(report)
    assert report["exit_code"] != 0


def test_reports_of_split_files_follow_the_schema(built: Path, tmp_path: Path) -> None:
    SCHEMA.validate(written(split_check([built / "manifest.jsonl"])))
    file = tmp_path / "split.csv"
    file.write_text("id,group,split,z\na,x,train,1\nb,x,test,2\nc,x,holdout,2\nd,x,train,2\nd,x,test,7\n")
    report = written(split_check([file]))
    SCHEMA.validate(report)
    assert report["findings"]


def test_every_id_and_severity_can_be_reported() -> None:
    findings = tuple(Finding(check, severity, "x") for check in CHECKS for severity in SEVERITIES)
    checks = tuple(Check(check, "failed", 1) for check in CHECKS)
    report = AuditReport("x", None, 0, False, checks, findings, Coverage(1), {"train": 1}, {}, {})
    SCHEMA.validate(written(report))
    assert SCHEMA.schema["properties"]["schema"] == {"const": AUDIT_SCHEMA}


def test_nothing_may_be_missing_or_added(leaky: dict[str, Any]) -> None:
    short = {**leaky, "findings": leaky["findings"][:2]}
    free = {"samples", "leak_rate", "thresholds"}  # objects whose keys are names
    optional = {key for name in free for key in leaky[name]} | {*short["findings"][0]["measures"]}
    places = [k for k, part in enumerate(objects(short)) if any(part == leaky[name] for name in free)]
    accepted = [
        what
        for what, version in broken_versions(short, optional)
        if SCHEMA.is_valid(version) and what not in {f"None of object {k}" for k in places}
    ]
    assert accepted == []


@pytest.mark.parametrize(
    "edit",
    [
        change("schema", to="augpipe/audit-report/1"),
        change("dataset_sha256", to="0" * 63),
        change("verdict", to=""),
        change("exit_code", to=2),
        change("gap", to=-1),
        change("independent", to=0),
        change("counts", "critical", to=1.5),
        change("samples", "test", to=-1),
        change("leak_rate", "test", to=1.2),
        change("leak_rate", "train", to=0.0),
        change("checks", to=[]),
        change("checks", 0, "id", to="M002"),
        change("checks", 0, "status", to="skipped"),
        change("checks", 0, "reason", to=""),
        change("checks", 0, "n_skipped", to=-1),
        change("coverage", "not_compared", to=-1),
        change("findings", 0, "check", to="P008"),
        change("findings", 0, "severity", to="fatal"),
        change("findings", 0, "text", to=""),
        change("findings", 0, "sample", to=3),
        change("findings", 0, "splits", to="test"),
        change("findings", 0, "measures", to={"ncc": 1.01}),
        change("findings", 0, "measures", to={"angle_deg": -1}),
        change("findings", 0, "measures", to={"inliers": 1.5}),
        change("findings", 0, "measures", to={"luck": 1}),
    ],
)
def test_a_broken_report_is_refused(leaky: dict[str, Any], edit: Callable[[Any], None]) -> None:
    values = json.loads(json.dumps(leaky))
    edit(values)
    assert not SCHEMA.is_valid(values)
