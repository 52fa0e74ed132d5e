"""Checking split files alone, ours or anybody's: what two splits share, and what lies too near, without any pixels."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.audit.manifest_checks import blank_digests
from pipeline.audit.report import CHECKS, AuditReport, Check, Coverage, Finding, worst_first
from pipeline.audit.split_tables import SplitTable, read_tables
from pipeline.audit.usage import (
    Unit,
    Use,
    count_leaking,
    count_uses,
    find_near,
    find_shared,
    find_spread,
    in_order,
    require_gap,
)
from pipeline.errors import ConfigError, DatasetError
from pipeline.shards.config import DEFAULT_GAP

_MOST_EXAMPLES = 3
_NO_PIXELS = "a split file holds no pixels"
_REASONS = {
    "M003": "no file has samples in two splits",
    "M004": "no file tells where in a stack the slices of two splits lie, or they have no neighbours",
    "M005": "no file groups the samples of two splits",
}


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What was found in one table, how many things each check looked at, and samples by split."""

    findings: list[Finding]
    n_looked_at: Mapping[str, int]
    n_samples: Mapping[str, int]
    n_leaking: Mapping[str, int]


def split_check(paths: Sequence[Path | str], *, gap: int = DEFAULT_GAP) -> AuditReport:
    """Return what split files tell of overlap and neighbours; each file, and each fold in it, is checked on its own.

    M001 is a sample that is twice in one split, M003 a source slice, sample or case in two splits, M004 neighbours in
    two splits, M005 a slice or group whose samples are in two splits.

    Args:
        paths: manifests of augpipe, nnU-Net's splits_final.json, or CSV files with a header id,group,split[,z]. A
            group is what must not be cut, such as a patient; with z it is a stack, and its slices must not be cut.
            Rows whose split is `unused` are in none.
        gap: slices of two splits must be further apart than this.

    Raises:
        ConfigError: no file is named, or one is missing or of no kind that is known.
        DatasetError: a file cannot be read, or a line of it makes no sense.
    """
    require_gap(gap)
    if not paths:
        raise ConfigError("split-check: expected at least one file, got none")
    outcomes = [_check_table(table, gap) for path in paths for table in read_tables(Path(path))]
    findings = [finding for outcome in outcomes for finding in outcome.findings]
    n_looked_at, n_samples, n_leaking = (
        _total(getattr(outcome, name) for outcome in outcomes) for name in ("n_looked_at", "n_samples", "n_leaking")
    )
    return AuditReport(
        subject=", ".join(map(str, paths)),
        dataset_sha256=None,
        gap=gap,
        independent=False,
        checks=tuple(_check(check, {finding.check for finding in findings}, n_looked_at) for check in CHECKS),
        findings=worst_first(findings),
        coverage=Coverage(sum(n_samples.values())),
        n_samples=n_samples,
        n_leaking=n_leaking,
        thresholds={},
    )


def _check_table(table: SplitTable, gap: int) -> _Outcome:
    repeated: dict[str, Counter[str]] = {}
    usage = count_uses(_watch(table.uses, repeated))
    if not usage.samples:
        raise DatasetError(f"{table.where}: expected samples, found none in any split")
    blank = blank_digests(table.record) if table.record and usage.shared_contents else ()
    n, n_units = sum(usage.samples.values()), len(usage.units)
    shared = find_shared(usage, blank), len(usage.contents)
    if not usage.contents:
        n_names = n - sum(sum(counts.values()) - 1 for counts in repeated.values())
        shared = _find_in_two(repeated, n_names, table.sample_noun), n_names
    found = {
        "M001": (_find_repeated(repeated), n),
        "M003": shared,
        "M004": (find_near(usage.members, gap), n_units),
        "M005": (find_spread(usage.units, total=n_units, noun=table.unit_noun), n_units),
    }
    told = sorted(table.checks if len(usage.samples) > 1 else table.checks & {"M001"})
    findings = [replace(each, text=f"{table.where}: {each.text}") for check in told for each in found[check][0]]
    n_looked_at = {check: found[check][1] for check in told}
    return _Outcome(findings, n_looked_at, usage.samples, count_leaking(usage, blank))


def _watch(uses: Iterable[Use], repeated: dict[str, Counter[str]]) -> Iterator[Use]:
    """Yield the samples, and gather those that come more than once, with how often in which split."""
    first: dict[str, str] = {}
    for use in uses:
        if use.sample in first:
            repeated.setdefault(use.sample, Counter([first[use.sample]]))[use.split] += 1
        first.setdefault(use.sample, use.split)
        yield use


def _find_repeated(repeated: Mapping[str, Mapping[str, int]]) -> list[Finding]:
    """Return M001, at most one finding: samples that are in one split more than once."""
    twice = [(name, split) for name, counts in repeated.items() for split, n in counts.items() if n > 1]
    if not twice:
        return []
    examples = ", ".join(f"{name} ({split})" for name, split in twice[:_MOST_EXAMPLES])
    verb = "samples are" if len(twice) > 1 else "sample is"
    return [
        Finding(
            check="M001",
            severity="error",
            text=f"{len(twice)} {verb} in one split more than once, such as {examples}",
            advice="name every sample once",
            sample=twice[0][0],
            splits=in_order({split for _, split in twice}),
        )
    ]


def _find_in_two(repeated: Mapping[str, Mapping[str, int]], total: int, noun: str) -> list[Finding]:
    """Return M003 where nothing but a sample's name tells what it is."""
    units = {Unit(name): counts for name, counts in repeated.items()}
    return [replace(each, sample=each.other) for each in find_spread(units, total=total, check="M003", noun=noun)]


def _check(check: str, failed: set[str], n_looked_at: Mapping[str, int]) -> Check:
    if check not in n_looked_at:
        return Check(check, "not applicable", reason=_REASONS.get(check, _NO_PIXELS))
    return Check(check, "failed" if check in failed else "passed", n_looked_at[check])


def _total(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)
