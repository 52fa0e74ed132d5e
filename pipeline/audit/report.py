"""What an audit found: findings, checks and their states, the verdict, and the exit code that follows from them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from pipeline.errors import DatasetError
from pipeline.shards.digest import canonical_json

Severity: TypeAlias = Literal["critical", "error", "warning"]
Status: TypeAlias = Literal["passed", "failed", "not applicable", "not run"]
Outcome: TypeAlias = Literal["LEAKAGE", "NOT CLEAN", "NOT PROVEN", "CLEAN"]

AUDIT_SCHEMA = "augpipe/audit-report/1"
_TELLING = ("P002", "P007", "P001", "M005", "M003")  # of equally bad findings, these say most about what went wrong
SEVERITIES: tuple[Severity, ...] = ("critical", "error", "warning")

CHECKS: Mapping[str, str] = {
    "M001": "records: schema, counts, unique ids, manifest against shards",
    "M002": "digests of images, labels, shards and manifest",
    "M003": "no source slice in two splits",
    "M004": "slices of two splits are further apart than the gap",
    "M005": "samples of one slice are all in one split",
    "S001": "no slice is in the source twice",
    "R001": "rendering every recipe again gives the stored pixels",
    "P001": "no sample is in two splits",
    "P002": "no sample shows a slice that another split uses",
    "P003": "every sample shows the slice that the manifest claims",
    "P004": "slices seen in two splits are further apart than the gap",
    "P005": "every sample's slice was found",
    "P006": "every label fits its image",
    "P007": "no two samples of two splits show the same tissue",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        check: the id of the check that found it.
        severity: how bad it is; warnings do not fail an audit.
        text: what was found, in one line.
        advice: what to do about it.
        sample: the id or file of the sample, where it is about one.
        other: the other sample, or the slice, such as `stack 0, z 12`.
        splits: the splits of the two.
        measures: numbers that support it: inliers, ncc, angle_deg, scale, mirrored, f1.
    """

    check: str
    severity: Severity
    text: str
    advice: str = ""
    sample: str | None = None
    other: str | None = None
    splits: tuple[str, ...] = ()
    measures: Mapping[str, float | int | bool | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES or not (isinstance(self.text, str) and isinstance(self.advice, str)):
            raise TypeError(f"expected a severity of {', '.join(SEVERITIES)}, a text and an advice")

    def to_json(self) -> dict[str, Any]:
        """Return the finding as plain JSON values."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**values, "splits": list(self.splits), "measures": dict(self.measures)}


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of one check.

    Attributes:
        id: one of CHECKS.
        status: not applicable where its inputs were not given; not run where it should have been and could not be.
        n: how many things were looked at.
        reason: why it was not run or does not apply.
    """

    id: str
    status: Status
    n: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many samples there are, and how many were checked in which way.

    Attributes:
        total: samples in all splits.
        by_pixels: whose slice was looked for, or that were compared with samples of other splits.
        replayed: that were rendered again.
        unknown: whose slice was not found.
    """

    total: int
    by_pixels: int = 0
    replayed: int = 0
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The outcome of an audit.

    Attributes:
        subject: what was audited, as it was named.
        dataset_sha256: the dataset's digest; None for bare folders.
        gap: slices of two splits must be further apart than this.
        independent: whether slices were taken for fields of view without neighbours.
        checks: one for every id.
        findings: the worst first.
        coverage: what was looked at.
        n_samples: samples in each split.
        n_leaking: for each split but train, the samples that show tissue that was trained on.
        thresholds: the numbers that decided.
    """

    subject: str
    dataset_sha256: str | None
    gap: int
    independent: bool
    checks: tuple[Check, ...]
    findings: tuple[Finding, ...]
    coverage: Coverage
    n_samples: Mapping[str, int]
    n_leaking: Mapping[str, int]
    thresholds: Mapping[str, float]

    @property
    def counts(self) -> dict[Severity, int]:
        """Findings of each severity."""
        found = Counter(finding.severity for finding in self.findings)
        return {severity: found[severity] for severity in SEVERITIES}

    @property
    def outcome(self) -> Outcome:
        """The outcome in one word or two: the beginning of the verdict."""
        if any(self.n_leaking.values()) or self.counts["critical"]:
            return "LEAKAGE"
        if self.counts["error"]:
            return "NOT CLEAN"
        return "NOT PROVEN" if any(check.status == "not run" for check in self.checks) else "CLEAN"

    @property
    def exit_code(self) -> int:
        """0 clean, 1 a finding of severity error or critical, 3 a check that was required could not be run."""
        return {"CLEAN": 0, "NOT PROVEN": 3}.get(self.outcome, 1)

    @property
    def verdict(self) -> str:
        """The outcome in one line."""
        leaks = [
            f"{self.n_leaking[split]} of {self.n_samples[split]} {split} samples show tissue that was trained on"
            for split in _in_order(self.n_leaking)
            if self.n_leaking[split]
        ]
        if leaks:
            return f"LEAKAGE: {'; '.join(leaks)}"
        if self.counts["critical"]:
            return f"LEAKAGE: {_counted(self.counts['critical'], 'critical finding')}"
        if self.counts["error"]:
            return f"NOT CLEAN: {_counted(self.counts['error'], 'finding')}, which show no leakage themselves"
        if not_run := [check.id for check in self.checks if check.status == "not run"]:
            return f"NOT PROVEN: {', '.join(not_run)} could not be run"
        if not self.coverage.by_pixels:
            return "CLEAN by its records alone: pixels were not checked"
        compared = ", with each other alone" * any(
            check.id == "P002" and check.status == "not applicable" for check in self.checks
        )
        unknown = f", the slice of {self.coverage.unknown} not found" * bool(self.coverage.unknown)
        return (
            f"CLEAN: {self._clean_splits}; {self.coverage.by_pixels} of "
            f"{self.coverage.total} samples checked by their pixels{compared}{unknown}"
        )

    @property
    def _clean_splits(self) -> str:
        held_out = [split for split in _in_order(self.n_samples) if split != "train"]
        if not held_out:
            return "no sample is held out, so that none can leak"
        return f"no {' or '.join(held_out)} sample shows tissue that was trained on"

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values, the same for any number of jobs."""
        return {
            "schema": AUDIT_SCHEMA,
            "subject": self.subject,
            "dataset_sha256": self.dataset_sha256,
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "gap": self.gap,
            "independent": self.independent,
            "counts": self.counts,
            "coverage": {name: getattr(self.coverage, name) for name in Coverage.__dataclass_fields__},
            "samples": dict(self.n_samples),
            "leak_rate": {split: n / self.n_samples[split] for split, n in self.n_leaking.items()},
            "thresholds": dict(self.thresholds),
            "checks": [
                {"id": each.id, "title": CHECKS[each.id], "status": each.status, "n": each.n, "reason": each.reason}
                for each in self.checks
            ],
            "findings": [finding.to_json() for finding in self.findings],
        }

    @classmethod
    def from_json(cls, values: Any) -> "AuditReport":
        """Return the report that `to_json` has written.

        Raises:
            DatasetError: these values are none, contradict each other, or are those of another version.
        """
        if not isinstance(values, Mapping) or values.get("schema") != AUDIT_SCHEMA:
            raise DatasetError(f"expected the report of an audit, of schema {AUDIT_SCHEMA}")
        try:
            known = [check for check in values["checks"] if check["id"] in CHECKS]
            report = cls(
                subject=str(values["subject"]),
                dataset_sha256=values["dataset_sha256"],
                gap=int(values["gap"]),
                independent=values["independent"] is True,
                checks=tuple(Check(each["id"], each["status"], int(each["n"]), str(each["reason"])) for each in known),
                findings=tuple(
                    Finding(**{**each, "splits": tuple(each["splits"]), "measures": dict(each["measures"])})
                    for each in values["findings"]
                ),
                coverage=Coverage(**values["coverage"]),
                n_samples={str(split): int(n) for split, n in values["samples"].items()},
                n_leaking={
                    str(split): round(rate * values["samples"][split]) for split, rate in values["leak_rate"].items()
                },
                thresholds=dict(values["thresholds"]),
            )
            same = canonical_json(report.to_json()) == canonical_json(values)
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError) as error:
            raise DatasetError(f"not the report of an audit ({type(error).__name__}: {error})") from error
        if not same:
            raise DatasetError("not a report as this version writes it: its verdict, counts or checks contradict it")
        return report


def worst_first(findings: list[Finding]) -> tuple[Finding, ...]:
    """Return findings by severity, then by how telling they are, in an order that never depends on threads."""

    def rank(check: str) -> int:
        return _TELLING.index(check) if check in _TELLING else len(_TELLING)

    return tuple(
        sorted(
            findings,
            key=lambda each: (
                SEVERITIES.index(each.severity),
                rank(each.check),
                each.check,
                each.sample or "",
                each.other or "",
                each.text,
            ),
        )
    )


def _in_order(splits: Iterable[str]) -> list[str]:
    """Return train, val and test in this order, whatever that of a report's JSON is."""
    return sorted(splits, key=lambda split: (split == "test", split))


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"
