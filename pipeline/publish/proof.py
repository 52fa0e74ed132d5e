"""The proof that a dataset does not leak: an audit that is run now, or the report of one of the same bytes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.audit.report import CHECKS, AuditReport
from pipeline.card.files import AUDIT_FILE, CARD_FOLDER
from pipeline.errors import ConfigError, DatasetError, RefusedError
from pipeline.shards.dataset import Dataset
from pipeline.shards.digest import parse_json

_MAX_BYTES = 1 << 28
# All that needs the source or the records; M006, S001 and P007 say more where they apply. What is true of proven
# samples without a look counts as passed.
_REQUIRED = ("M001", "M002", "M003", "M005", "R001", "P001", "P002", "P003", "P005", "P006")
_REQUIRED_OF_STACKS = ("M004", "P004")
_UNPROVEN = "not published, nothing proves that it does not leak"


@dataclass(frozen=True, slots=True)
class Proof:
    """An audit that found nothing.

    Attributes:
        report: the report; its subject is the dataset's name, never a path of this machine.
        origin: where it comes from, for the user.
        is_rechecked: whether the audit was made now, from the source.
    """

    report: AuditReport
    origin: str
    is_rechecked: bool


def prove_clean(
    dataset: Dataset,
    *,
    gap: int,
    report_file: Path | None,
    has_source: bool,
    audit: Callable[..., AuditReport],
    say: Callable[[str], object],
) -> Proof:
    """Return the proof that a dataset does not leak.

    With the source at hand, the dataset is audited now. Else a report counts that was made of this dataset.json and at
    this gap or a larger one; its records are checked now, whatever it says.

    Args:
        dataset: the dataset.
        gap: slices of two splits must be further apart than this.
        report_file: the report of an audit, which must count; unless given, the card's, if that counts.
        has_source: whether what the dataset was made from is at hand.
        audit: `audit_dataset`, of this dataset at this gap.
        say: callback for what is being done.

    Raises:
        ConfigError: there is no such report.
        RefusedError: the audit found something, or the dataset is not the one that was audited.
        DatasetError: it could not be audited in full, so that nothing is proven.
    """
    path = report_file or dataset.folder / CARD_FOLDER / AUDIT_FILE
    report = _read_report(path) if report_file or path.is_file() else None
    if report is not None and report.dataset_sha256 != dataset.digest:
        raise RefusedError(
            f"{dataset.folder}: is not the dataset that was audited: expected dataset.json {dataset.digest[:12]}, "
            f"{path} names {str(report.dataset_sha256)[:12]}; audit it again, and remove the old report"
        )
    if report is not None and report_file and report.gap < gap:
        raise RefusedError(f"{path}: was made at a gap of {report.gap}, expected {gap} or more; audit again")
    if has_source or report is None or report.gap < gap:
        say("auditing the dataset")
        return Proof(_require_clean(audit(), dataset, dataset.folder), "an audit just now", is_rechecked=True)
    origin = f"{path}; report not re-checked, the source is not at hand"
    proof = Proof(_require_clean(report, dataset, path), origin, is_rechecked=False)
    say("checking the records")
    records = audit(manifest_only=True)
    _require_nothing_found(records, dataset.folder)
    if records.exit_code:
        raise DatasetError(f"{dataset.folder}: {_UNPROVEN}{_reason(records, CHECKS)}")
    return proof


def _read_report(path: Path) -> AuditReport:
    try:
        values = parse_json(path.read_bytes()) if path.stat().st_size <= _MAX_BYTES else None
        return AuditReport.from_json(values)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: expected the report of an audit, found nothing") from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: expected the report of an audit, found no JSON ({error!s:.200})") from error
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}; make one with augpipe audit --json") from error


def _require_clean(report: AuditReport, dataset: Dataset, where: Path) -> AuditReport:
    """Return the report without paths of this machine, if every check that proves something has passed."""
    _require_nothing_found(report, where)
    status = {check.id: check.status for check in report.checks}
    required = _REQUIRED if dataset.record.split.independent else (*_REQUIRED, *_REQUIRED_OF_STACKS)
    missing = [check for check in required if status.get(check) != "passed"]
    missing += [check.id for check in report.checks if check.status == "not run" and check.id not in missing]
    if missing:
        raise DatasetError(f"{where}: {_UNPROVEN} ({', '.join(missing)}){_reason(report, missing)}")
    samples = {split: sum(shard.n for shard in dataset.record.split_shards(split)) for split in report.n_samples}
    n_known = report.coverage.proven + report.coverage.identified
    if dict(report.n_samples) != samples or {report.coverage.total, n_known, sum(samples.values())} != {dataset.n}:
        raise DatasetError(
            f"{where}: {_UNPROVEN}: the audit knows the slice of {n_known} of {dataset.n} samples; audit again"
        )
    return replace(report, subject=dataset.name)


def _require_nothing_found(report: AuditReport, where: Path) -> None:
    """Refuse what an audit found fault with; its warnings are on the card."""
    if report.exit_code == 1 or any(report.n_leaking.values()):
        first = f" ({report.findings[0].text:.300})" if report.findings else ""
        raise RefusedError(f"{where}: not published, the audit found something: {report.verdict}{first}")


def _reason(report: AuditReport, missing: Iterable[str]) -> str:
    """Return why the first of these checks did not pass, where that is known."""
    reasons = {finding.check: finding.text for finding in reversed(report.findings)}
    reasons |= {check.id: check.reason for check in report.checks if check.reason}
    return next((f": {reasons[check]:.300}" for check in missing if check in reasons), "")
