"""The proof that a dataset does not leak: an audit that is run now, or the report of one of the same bytes."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment.errors import DatasetError, RefusedError
from pipeline.audit.report import AUDIT_SCHEMA, AuditReport
from pipeline.shards.record import DatasetRecord

CARD_FOLDER, AUDIT_FILE = "card", "audit.json"
_LARGEST_BYTES = 1 << 28
# All that needs the source or the records; S001 and P007 say more where they apply.
_REQUIRED = ("M001", "M002", "M003", "M005", "R001", "P001", "P002", "P003", "P005", "P006")
_REQUIRED_OF_STACKS = ("M004", "P004")


@dataclass(frozen=True, slots=True)
class Proof:
    """An audit that found nothing.

    Attributes:
        report: the report, as JSON values; its subject is the dataset's name, never a path of this machine.
        found: where it comes from, to be told.
    """

    report: Mapping[str, Any]
    found: str

    @property
    def gap(self) -> int:
        """Slices of two splits were required to be further apart than this."""
        return int(self.report["gap"])


def prove_clean(
    record: DatasetRecord, *, gap: int, report_file: Path | None, audit: Callable[[], AuditReport]
) -> Proof:
    """Return the proof that a dataset does not leak.

    A report beside the dataset's card counts if it was made of this dataset.json and at this gap or a larger one.

    Args:
        record: the dataset.
        gap: slices of two splits must be further apart than this.
        report_file: the report to go by; it must then count.
        audit: runs an audit at this gap.

    Raises:
        RefusedError: the audit found something, or the dataset is not the one that was audited.
        DatasetError: it could not be audited in full, so that nothing is proven.
    """
    path = report_file or record.folder / CARD_FOLDER / AUDIT_FILE
    report = _read_report(path) if report_file or path.is_file() else None
    if report is not None and report.get("dataset_sha256") != record.sha256:
        raise RefusedError(
            f"{record.folder}: is not the dataset that {path} is about: expected dataset.json {record.sha256[:12]}, "
            f"the report names {str(report.get('dataset_sha256'))[:12]}; audit it again, and remove the old report"
        )
    if report is not None and report_file and not _covers(report, gap):
        raise RefusedError(
            f"{path}: was made at a gap of {report.get('gap')!r:.20}, expected {gap} or more; audit again"
        )
    if report is not None and _covers(report, gap):
        return Proof(_require_clean(report, record, str(path)), str(path))
    return Proof(_require_clean(audit().to_json(), record, str(record.folder)), "an audit just now")


def _covers(report: Mapping[str, Any], gap: int) -> bool:
    return type(report.get("gap")) is int and report["gap"] >= gap


def _read_report(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise DatasetError(f"{path}: too large for the report of an audit")
        report = json.loads(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: expected the report of an audit, found no JSON") from error
    if not isinstance(report, dict) or report.get("schema") != AUDIT_SCHEMA:
        raise DatasetError(f"{path}: expected the report of `augpipe audit --json` ({AUDIT_SCHEMA})")
    return report


def _require_clean(report: Mapping[str, Any], record: DatasetRecord, where: str) -> Mapping[str, Any]:
    """Return the report without paths of this machine, if every check that proves something has passed."""
    verdict = str(report.get("verdict"))[:300]
    try:
        checks = {check["id"]: check for check in report["checks"]}
        failed = report["exit_code"] == 1 or any(check["status"] == "failed" for check in checks.values())
        required = _REQUIRED if record.values["split"]["independent"] is True else (*_REQUIRED, *_REQUIRED_OF_STACKS)
        missing = [check for check in required if checks.get(check, {}).get("status") != "passed"]
        reasons = [str(checks[check]["reason"]) for check in missing if checks.get(check, {}).get("reason")]
    except (LookupError, TypeError, AttributeError) as error:
        raise DatasetError(f"{where}: the report of the audit cannot be understood ({error})") from error
    if failed:
        raise RefusedError(f"{where}: not published, the audit found something: {verdict}")
    if missing or report["exit_code"] != 0:
        why = f": {reasons[0]:.300}" if reasons else ""
        raise DatasetError(f"{where}: not published, nothing proves that it does not leak ({', '.join(missing)}){why}")
    return {**report, "subject": record.name}
