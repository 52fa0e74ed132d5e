"""What an audit found: findings, checks and their states, the verdict, and the exit code that follows from them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from pipeline.audit.splits.regrouping import Regrouping
from pipeline.errors import DatasetError, counted
from pipeline.plan.split import in_order
from pipeline.shards.digest import bytes_digest, canonical_json

Severity: TypeAlias = Literal["critical", "error", "warning"]
Status: TypeAlias = Literal["passed", "failed", "passed in part", "not applicable", "not run"]
Outcome: TypeAlias = Literal["LEAKAGE", "NOT CLEAN", "NOT PROVEN", "CLEAN"]
Measures: TypeAlias = Mapping[str, float | int | bool | None]

AUDIT_SCHEMA = "augpipe/audit-report/2"
_FORMER_SCHEMAS = ("augpipe/audit-report/1",)
SEVERITIES: tuple[Severity, ...] = ("critical", "error", "warning")
_TELLING = ("P002", "P007", "P001", "M005", "M003")  # of equally bad findings, these say most about what went wrong

CHECKS: Mapping[str, str] = {
    "M001": "records: schema, counts, unique ids, manifest against shards",
    "M002": "digests of images, labels, shards and manifest",
    "M003": "no source slice in two splits",
    "M004": "slices of two splits are further apart than the gap",
    "M005": "samples of one slice are all in one split",
    "M006": "no group, such as a patient, is in two splits",
    "S001": "no slice is in the source twice",
    "R001": "rendering every recipe again gives the stored pixels",
    "P001": "no sample is in two splits",
    "P002": "no sample shows a slice that another split uses",
    "P003": "every sample shows the slice that the manifest claims",
    "P004": "slices seen in two splits are further apart than the gap",
    "P005": "every sample's slice is proven or was found",
    "P006": "every label fits its image",
    "P007": "no two samples of two splits show the same tissue",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault.

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
    measures: Measures = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the finding as plain JSON values."""
        return {**asdict(self), "splits": list(self.splits)}


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of one check.

    Attributes:
        id: one of CHECKS.
        status: not applicable where its inputs were not given; not run where it should have been and could not be;
            passed in part where it found nothing and should have looked at more.
        n: how many things were looked at.
        reason: why it was not run, or not on all, or does not apply.
        n_skipped: how many more it should have looked at and could not.
    """

    id: str
    status: Status
    n: int = 0
    reason: str = ""
    n_skipped: int = 0


class Skip(NamedTuple):
    """Why checks are skipped: not applicable, or not run."""

    status: Status
    reason: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many samples there are, and how each of them ended.

    Where pixels were looked at, every sample is one of four: proven, identified, compared or not compared.

    Attributes:
        total: samples in all splits.
        proven: whose recipe, rendered again from the source, gives what is stored: then its slice is the recorded one.
        identified: others whose slice was found in the source.
        compared: others that were compared with the samples of all other splits.
        not_compared: all others: of these nothing is known.
        replayed: that were rendered again, whatever came out.
        searched_again: proven ones whose slice was looked for all the same, as a check on the records.
        in_part: of which a part was left out when they were compared, such as a data bar, because pictures that share
            nothing else show it at the same place.
        sparse: compared ones that show so little that small parts which they share may have been missed.
    """

    total: int
    proven: int = 0
    identified: int = 0
    compared: int = 0
    not_compared: int = 0
    replayed: int = 0
    searched_again: int = 0
    in_part: int = 0
    sparse: int = 0

    @property
    def by_pixels(self) -> int:
        """Samples whose pixels tell something."""
        return self.proven + self.identified + self.compared

    @property
    def outcomes(self) -> str:
        """How samples ended that their pixels tell something of, in words."""
        parts = {
            "proven by rendering them again": self.proven,
            "found in the source by search": self.identified,
            "compared with each other alone": self.compared,
        }
        (first, n_first), *others = [(text, n) for text, n in parts.items() if n] or [("looked at", 0)]
        return ", ".join([f"{n_first} of {self.total} samples {first}", *(f"{n} {text}" for text, n in others)])


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The outcome of an audit.

    Attributes:
        subject: what was audited, as it was named.
        dataset_sha256: the dataset's digest; None for samples in folders.
        gap: slices of two splits must be further apart than this.
        independent: whether slices were taken for fields of view without neighbours.
        checks: one for every id.
        findings: the worst first.
        coverage: what was looked at.
        n_samples: samples in each split.
        n_leaking: for each split but train, the samples that show tissue that was trained on.
        thresholds: the numbers that decided.
        pictures: the files that the worst findings were drawn in; not part of the JSON.
        repair: the split that would not leak, where it was asked for; not part of the JSON.
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
    thresholds: Mapping[str, float | int]
    pictures: tuple[Path, ...] = ()
    repair: Regrouping | None = None

    @property
    def counts(self) -> dict[Severity, int]:
        """Findings of each severity."""
        found = Counter(finding.severity for finding in self.findings)
        return {severity: found[severity] for severity in SEVERITIES}

    # The first row that applies decides:
    #
    #   what there is                                    outcome      exit code
    #   a sample that shows tissue that was trained on,
    #   or a finding of severity critical                LEAKAGE      1
    #   a finding of severity error                      NOT CLEAN    1
    #   a check that should have been run and was not,
    #   or a sample that nothing is known of             NOT PROVEN   3
    #   at most warnings                                 CLEAN        0
    #
    # So a finding counts though another check was not run, and what was not looked at never reads as passed.

    @property
    def outcome(self) -> Outcome:
        """The outcome in one word or two: the beginning of the verdict."""
        if any(self.n_leaking.values()) or self.counts["critical"]:
            return "LEAKAGE"
        if self.counts["error"]:
            return "NOT CLEAN"
        is_whole = not (self._with_status("not run") or self._with_status("passed in part"))
        return "CLEAN" if is_whole and not self.coverage.not_compared else "NOT PROVEN"

    @property
    def exit_code(self) -> int:
        """0 clean, 1 a finding of severity error or critical, 3 a check that was required could not be run."""
        return {"CLEAN": 0, "NOT PROVEN": 3}.get(self.outcome, 1)

    @property
    def verdict(self) -> str:
        """The outcome in one line."""
        if self.outcome == "LEAKAGE":
            leaks = [
                f"{self.n_leaking[split]} of {self.n_samples[split]} {split} samples show tissue that was trained on"
                for split in in_order(self.n_leaking)
                if self.n_leaking[split]
            ]
            found = "; ".join(leaks) or counted(self.counts["critical"], "critical finding")
            return f"LEAKAGE: {found}{self._not_compared}"
        if self.outcome == "NOT CLEAN":
            found = f"{counted(self.counts['error'], 'finding')}, which show no leakage themselves"
            return f"NOT CLEAN: {found}{self._not_compared}"
        if self.outcome == "NOT PROVEN":
            not_run, in_part = self._with_status("not run"), self._with_status("passed in part")
            others = [check for check in not_run if check != "M006"]
            parts = {
                self._not_compared.removeprefix("; "): self._not_compared,
                "no group in two splits could be checked": "M006" in not_run,
                f"{', '.join(others)} could not be run": others,
                f"{', '.join(in_part)} looked at a part": in_part and not self._not_compared,
            }
            return f"NOT PROVEN: {'; '.join(part for part, applies in parts.items() if applies)}"
        if not self.coverage.by_pixels:
            return f"CLEAN by its records alone: pixels were not checked{self._no_groups}"
        return f"CLEAN: {self._clean_splits}; {self.coverage.outcomes}{self._limits}{self._no_groups}"

    def _with_status(self, status: Status) -> list[str]:
        return [check.id for check in self.checks if check.status == status]

    @property
    def _limits(self) -> str:
        parts = {
            "{} of them without what pictures show at the same place that share nothing else": self.coverage.in_part,
            "{} show so little that small shared parts may be missed": self.coverage.sparse,
        }
        return "".join(f"; {text.format(n)}" for text, n in parts.items() if n)

    @property
    def _not_compared(self) -> str:
        n = self.coverage.not_compared
        return f"; {n} of {self.coverage.total} samples were neither proven nor compared" if n else ""

    @property
    def _no_groups(self) -> str:
        unchecked = any(check.id == "M006" and check.status == "not applicable" for check in self.checks)
        return "; no groups could be checked" if unchecked else ""

    @property
    def _clean_splits(self) -> str:
        held_out = [split for split in in_order(self.n_samples) if split != "train"]
        if not held_out:
            return "no sample is held out, so that none can leak"
        return f"no {' or '.join(held_out)} sample shows tissue that was trained on"

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values, the same for any number of jobs, with a digest of all others."""
        values = {
            "schema": AUDIT_SCHEMA,
            "subject": self.subject,
            "dataset_sha256": self.dataset_sha256,
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "gap": self.gap,
            "independent": self.independent,
            "counts": self.counts,
            "coverage": asdict(self.coverage),
            "samples": dict(self.n_samples),
            "leak_rate": {split: n / self.n_samples[split] for split, n in self.n_leaking.items()},
            "thresholds": dict(self.thresholds),
            "checks": [{**asdict(check), "title": CHECKS[check.id]} for check in self.checks],
            "findings": [finding.to_json() for finding in self.findings],
        }
        return {**values, "sha256": _digest_without_own(values)}

    @classmethod
    def from_json(cls, values: Any) -> "AuditReport":
        """Return the report that `to_json` has written.

        Raises:
            DatasetError: these values are not a report, contradict each other, or are those of another version.
        """
        if isinstance(values, Mapping) and values.get("schema") in _FORMER_SCHEMAS:
            raise DatasetError(f"was written by an older augpipe ({values['schema']}, not {AUDIT_SCHEMA}); audit again")
        if not isinstance(values, Mapping) or values.get("schema") != AUDIT_SCHEMA:
            raise DatasetError(f"expected the report of an audit, of schema {AUDIT_SCHEMA}")
        try:
            is_whole = values.get("sha256") == _digest_without_own(values)
            n_samples = values["samples"]
            n_leaking = {split: round(rate * n_samples[split]) for split, rate in values["leak_rate"].items()}
            checks = [check for check in values["checks"] if check["id"] in CHECKS]
            own = {"checks": checks, "n_samples": n_samples, "n_leaking": n_leaking, "pictures": (), "repair": None}
            report = msgspec.convert({**values, **own}, cls)
            same = canonical_json(report.to_json()) == canonical_json(values)
        except (
            ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, msgspec.ValidationError
        ) as error:  # fmt: skip
            raise DatasetError(f"not the report of an audit ({type(error).__name__}: {error})") from error
        if not is_whole:
            raise DatasetError("was changed after the audit, or is not whole: its sha256 is not that of the rest")
        if not same:
            raise DatasetError("not a report as this version writes it: its verdict, counts or checks contradict it")
        return report


def _digest_without_own(values: Mapping[str, Any]) -> str:
    return bytes_digest(canonical_json({name: value for name, value in values.items() if name != "sha256"}))


def conclude(check: str, findings: Iterable[Finding], n: int, doubt: str = "", *, n_skipped: int = 0) -> Check:
    """Return how a check ended that looked at n things: no finding is a pass only where there is no doubt.

    Args:
        check: its id.
        findings: of all checks.
        n: how many things it looked at.
        doubt: why it did not look at all that it should have.
        n_skipped: how many more those are, where that is known.
    """
    if any(finding.check == check for finding in findings):
        return Check(check, "failed", n, doubt if n_skipped else "", n_skipped)
    if not doubt:
        return Check(check, "passed", n)
    return Check(check, "passed in part" if n and n_skipped else "not run", n, doubt, n_skipped)


def skipped(skip: Skip, *ids: str) -> list[Check]:
    """Return the checks whose ids begin with one of these, as skipped for this reason."""
    return [Check(check, skip.status, 0, skip.reason) for check in CHECKS if check.startswith(ids)]


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings by severity, then by how telling they are, in an order that never depends on threads."""

    def key(finding: Finding) -> tuple[Any, ...]:
        telling = _TELLING.index(finding.check) if finding.check in _TELLING else len(_TELLING)
        place = finding.sample or "", finding.other or "", finding.text
        return SEVERITIES.index(finding.severity), telling, finding.check, *place

    return tuple(sorted(findings, key=key))
