"""The small world that the tests of publishing share: a dataset, the report of its audit, and what is sent of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from kaggle_loopback import OWNER, TOKEN
from small_worlds import SHARDS

from pipeline.audit.report import CHECKS, AuditReport, Check, Coverage, Finding
from pipeline.card.kaggle import draw_cover
from pipeline.shards.dataset import open_dataset
from pipeline.shards.digest import canonical_json, file_digest

REF = f"{OWNER}/small-cells"
PLAIN = {"dataset.json", "manifest.jsonl", *SHARDS, "README.md", "audit.json", "index.csv"}
SENT = PLAIN | {"croissant.json", "preview.png"}
COVER = "dataset-cover-image.png"
SMALL_GAP = ("--gap", "1")  # that of the small dataset
TO_KAGGLE = ("--to", "kaggle", "--id", REF, "--license", "cc-by-4.0", *SMALL_GAP)
SECRETS = (TOKEN, "blob-secret", "url-secret")


def to_folder(mirror: Path) -> tuple[object, ...]:
    return ("--to", "folder", mirror, "--license", "other", *SMALL_GAP)


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
        coverage=Coverage(12, proven=12, replayed=12),
        n_samples={"train": 9, "test": 3},
        n_leaking={"test": 0},
        thresholds={"ncc": 0.6},
    )
    return replace(report, **changes)


def write_report(dataset: Path, **changes: Any) -> Path:
    """Write the report of a clean audit, and forget where the source is: else publishing audits again."""
    (dataset / "build-info.json").unlink(missing_ok=True)
    path = dataset.parent / "report.json"
    path.write_bytes(canonical_json(clean_report(dataset, **changes).to_json()))
    return path


def receipts(dataset: Path) -> list[dict[str, Any]]:
    path = dataset.parent / "publish-receipt.json"
    return json.loads(path.read_bytes())["publications"] if path.exists() else []


def sent(dataset: Path) -> dict[str, bytes]:
    return {name: (dataset / name).read_bytes() for name in ("dataset.json", "manifest.jsonl", *SHARDS)}


def cover(dataset: Path) -> bytes:
    return draw_cover(open_dataset(dataset))


def one_line(err: str) -> str:
    assert err.startswith("augpipe: ")
    assert err.count("\n") == 1
    return err


def own_client(home: Path) -> Any:
    """Return Kaggle's own client, with the token in a home of ours."""
    from kaggle.api.kaggle_api_extended import KaggleApi

    api = KaggleApi()
    api.config = str(home / "none.json")
    api.authenticate()
    return api
