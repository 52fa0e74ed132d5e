"""A report as lines for the terminal: the verdict first, then how much was looked at, then the worst findings."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence

from pipeline.audit.report import CHECKS, AuditReport, Check, Finding
from pipeline.look.fact_sheet import WIDTH

_LABEL_WIDTH = 13
_RANK_WIDTH = 4
_GAP_CHECKS = ("M004", "P004")
_MEASURES = {
    "exact": "the same pixels",
    "inliers": "{} inliers",
    "ncc": "NCC {:.2f}",
    "ncc_neighbour": "{:.2f} for its neighbour",
    "angle_deg": "turned {:.1f} deg",
    "scale": "scale {:.2f}",
    "f1": "label F1 {:.2f}",
    "distance": "distance {}",
    "mirrored": "mirrored",
    "inverted": "inverted",
    "area_px": "{:,} pixels agree",
}


def report_lines(report: AuditReport, *, worst: int = 10) -> list[str]:
    """Return a report as lines of text, few of them longer than 110 characters.

    Args:
        report: the report.
        worst: how many findings to describe in full, and how many kinds of advice to give.
    """
    return [
        *_wrapped("", report.verdict),
        "",
        *_summary(report),
        "",
        *_check_table(report),
        *_worst_findings(report.findings, worst),
        *_advice(report.findings, worst),
    ]


def measures_text(finding: Finding) -> str:
    """Return the numbers that support a finding, as words: `98 inliers, NCC 0.93, turned 141.2 deg, mirrored`."""
    measured = {name: value for name, value in finding.measures.items() if value is not None and value is not False}
    return ", ".join(text.format(measured[name]) for name, text in _MEASURES.items() if name in measured)


def printable(text: str) -> str:
    """Return text in one line, with a `?` for every control character: names of files may hold some."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _summary(report: AuditReport) -> list[str]:
    samples = ", ".join(f"{n} {split}" for split, n in report.n_samples.items())
    facts = {
        "audited": report.subject,
        "digest": report.dataset_sha256,
        "samples": f"{report.coverage.total} ({samples})",
        "findings": ", ".join(f"{n} {severity}" for severity, n in report.counts.items()),
        "coverage": _coverage(report),
        "leak rate": _leak_rate(report),
        "gap": _gap(report),
    }
    return [line for label, fact in facts.items() if fact for line in _wrapped(f"{label:<{_LABEL_WIDTH}}", fact)]


def _coverage(report: AuditReport) -> str:
    coverage = report.coverage
    parts = {
        f"{coverage.proven} proven by rendering again": coverage.proven,
        f"{coverage.searched_again} of them checked again by search": coverage.searched_again,
        f"{coverage.identified} found by search": coverage.identified,
        f"{coverage.compared} compared with each other alone": coverage.compared,
        f"{coverage.in_part} of them without a part, such as a data bar, that is the same elsewhere": coverage.in_part,
        f"{coverage.sparse} of them show little": coverage.sparse,
        f"{coverage.not_compared} not compared": coverage.not_compared,
        "pixels were not checked": not coverage.by_pixels and not coverage.not_compared,
    }
    return ", ".join(part for part, applies in parts.items() if applies)


def _gap(report: AuditReport) -> str:
    if report.independent:
        return "none, the slices are fields of view without neighbours"
    asked_for = any(check.id in _GAP_CHECKS and check.status != "not applicable" for check in report.checks)
    return f"slices of two splits are to be more than {report.gap} apart" if asked_for else ""


def _leak_rate(report: AuditReport) -> str:
    """Return the share of each split's samples that show tissue that was trained on; unknown if nobody has looked."""
    shares = [(split, n, report.n_samples[split]) for split, n in report.n_leaking.items()]
    rates = "; ".join(f"{split} {n / total:.1%} ({n} of {total})" for split, n, total in shares)
    if report.coverage.by_pixels:
        unknown, total = report.coverage.not_compared, report.coverage.total
        return f"{rates}; {unknown} of all {total} samples were not compared" if rates and unknown else rates
    return f"{rates}, by the records alone" if any(n for _, n, _ in shares) else "unknown"


def _check_table(report: AuditReport) -> list[str]:
    """Return a line for each check, and the reasons why some of them were not run, each once."""
    found = Counter(finding.check for finding in report.findings)
    looked_at = {check.id: _looked_at(check) for check in report.checks}
    width = max(7, *(len(text) + 1 for text in looked_at.values()))
    lines = [f"{'check':<7}{'outcome':<16}{'of':>{width}}{'found':>7}  what must hold"]
    reasons: dict[str, list[str]] = {}
    for check in report.checks:
        n = f"{looked_at[check.id]:>{width}}"
        lines.append(f"{check.id:<7}{check.status:<16}{n}{found[check.id] or '':>7}  {CHECKS[check.id]}")
        if check.reason:
            reasons.setdefault(f"{check.status}: {check.reason}", []).append(check.id)
    for reason, checks in reasons.items():
        lines += _wrapped("", f"{reason} ({', '.join(checks)})")
    return lines


def _looked_at(check: Check) -> str:
    """Return how many things a check looked at, and of how many where it should have looked at more: `6 of 20`."""
    if check.status == "not applicable":
        return ""
    return f"{check.n} of {check.n + check.n_skipped}" if check.n_skipped else str(check.n)


def _worst_findings(findings: Sequence[Finding], worst: int) -> list[str]:
    shown = findings[:worst]
    if not shown:
        return []
    first = f"the {len(shown)} worst of {len(findings)} findings" if len(shown) < len(findings) else "all findings"
    lines = ["", f"{first}:"]
    for rank, finding in enumerate(shown, start=1):
        lines += _wrapped(f"{rank:>{_RANK_WIDTH - 2}}  ", f"{finding.check} {finding.severity:<9}{finding.text}")
        if more := _more(finding):
            lines += _wrapped(" " * _RANK_WIDTH, more)
    return lines


def _more(finding: Finding) -> str:
    """Return what a finding's text does not say."""
    named = {"of": finding.sample, "with": finding.other}
    others = [f"{how} {name}" for how, name in named.items() if name and name not in finding.text]
    return "; ".join(part for part in (" - ".join(finding.splits), *others, measures_text(finding)) if part)


def _advice(findings: Iterable[Finding], most: int) -> list[str]:
    """Return what to do, once for each thing that should be done."""
    checks: dict[str, list[str]] = {}
    for finding in findings:
        if finding.advice and finding.check not in checks.setdefault(finding.advice, []):
            checks[finding.advice].append(finding.check)
    lines = ["", "what to do:"] if checks else []
    for advice, found_by in list(checks.items())[:most]:
        lines += _wrapped(" " * _RANK_WIDTH, f"{', '.join(found_by)}: {advice}")
    return lines


def _wrapped(start: str, text: str) -> list[str]:
    """Return `text` after `start`, wrapped below it."""
    lines = textwrap.wrap(
        printable(text), WIDTH, initial_indent=start, subsequent_indent=" " * len(start),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return lines or [start.rstrip()]
