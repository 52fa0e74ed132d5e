"""The verdict comes first, then how much was looked at, then the worst; nothing reads better than it is."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from pipeline.audit.report import CHECKS, AuditReport, Check, Coverage, Finding
from pipeline.audit.terminal_report import measures_text, printable, report_lines
from pipeline.look.fact_sheet import WIDTH
from pipeline.shards.digest import canonical_json

SIBLING = Finding(
    check="P007",
    severity="critical",
    text="a.png (test) shows the same tissue as b.png (train)",
    advice="assign whole slices to splits before augmenting, and build the set again",
    sample="a.png",
    other="b.png",
    splits=("train", "test"),
    measures={"inliers": 98, "angle_deg": 141.2, "scale": 0.98, "mirrored": True},
)
LABEL = Finding(
    check="P006",
    severity="error",
    text="a.png: its label does not fit",
    advice="build the set again",
    sample="a.png",
    other="stack 0, z 7",
    splits=("test",),
    measures={"inliers": 80, "area_px": 5100, "ncc": 0.934, "ncc_neighbour": None, "f1": 0.241, "mirrored": False},
)


def report_of(*findings: Finding, statuses: Mapping[str, Check] | None = None, **changes: Any) -> AuditReport:
    """Return a report in which all checks passed but those that have findings or are given."""
    failed = {finding.check for finding in findings}
    checks = {check: Check(check, "failed" if check in failed else "passed", 7) for check in CHECKS}
    values: dict[str, Any] = {
        "subject": "datasets/x",
        "dataset_sha256": "0" * 64,
        "gap": 3,
        "independent": False,
        "checks": tuple({**checks, **(statuses or {})}.values()),
        "findings": findings,
        "coverage": Coverage(7, 7, replayed=7),
        "n_samples": {"train": 5, "test": 2},
        "n_leaking": {"test": int("P007" in failed)},
        "thresholds": {},
    }
    return AuditReport(**{**values, **changes})


def bare(*ids: str) -> dict[str, Check]:
    return {check: Check(check, "not applicable", 0, "there is no manifest") for check in ids}


def test_a_report_reads_like_this() -> None:
    report = report_of(
        SIBLING,
        LABEL,
        statuses={
            "P002": Check("P002", "passed in part", 6, "1 of 7 samples not compared: c.png", 1),
            **bare("M001", "M002"),
            "S001": Check("S001", "not run", 0, "slice 3 cannot be read"),
        },
        coverage=Coverage(7, 4, 1, 1, 1, replayed=4, searched_again=2),
    )
    assert "\n".join(report_lines(report)) == (
        """\
LEAKAGE: 1 of 2 test samples show tissue that was trained on; 1 of 7 samples were neither proven nor compared

audited      datasets/x
digest       0000000000000000000000000000000000000000000000000000000000000000
samples      7 (5 train, 2 test)
findings     1 critical, 1 error, 0 warning
coverage     4 proven by rendering again, 2 of them checked again by search, 1 found by search, 1 compared
             with each other alone, 1 not compared
leak rate    test 50.0% (1 of 2); 1 of all 7 samples were not compared
gap          slices of two splits are to be more than 3 apart

check  outcome              of  found  what must hold
M001   not applicable                  records: schema, counts, unique ids, manifest against shards
M002   not applicable                  digests of images, labels, shards and manifest
M003   passed                7         no source slice in two splits
M004   passed                7         slices of two splits are further apart than the gap
M005   passed                7         samples of one slice are all in one split
M006   passed                7         no group, such as a patient, is in two splits
S001   not run               0         no slice is in the source twice
R001   passed                7         rendering every recipe again gives the stored pixels
P001   passed                7         no sample is in two splits
P002   passed in part   6 of 7         no sample shows a slice that another split uses
P003   passed                7         every sample shows the slice that the manifest claims
P004   passed                7         slices seen in two splits are further apart than the gap
P005   passed                7         every sample's slice is proven or was found
P006   failed                7      1  every label fits its image
P007   failed                7      1  no two samples of two splits show the same tissue
not applicable: there is no manifest (M001, M002)
not run: slice 3 cannot be read (S001)
passed in part: 1 of 7 samples not compared: c.png (P002)

all findings:
 1  P007 critical a.png (test) shows the same tissue as b.png (train)
    train - test; 98 inliers, turned 141.2 deg, scale 0.98, mirrored
 2  P006 error    a.png: its label does not fit
    test; with stack 0, z 7; 80 inliers, NCC 0.93, label F1 0.24, 5,100 pixels agree

what to do:
    P007: assign whole slices to splits before augmenting, and build the set again
    P006: build the set again"""
    )


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        (("train", "test"), "CLEAN: no test sample shows tissue that was trained on; 7 of 7"),
        (("train", "val", "test"), "CLEAN: no val or test sample shows tissue that was trained on; 7 of 7"),
        (("train", "val"), "CLEAN: no val sample shows tissue that was trained on; 7 of 7"),
        (("train",), "CLEAN: no sample is held out, so that none can leak; 7 of 7"),
    ],
)
def test_a_verdict_is_about_the_splits_that_are_there(splits: tuple[str, ...], said: str) -> None:
    report = report_of(n_samples=dict.fromkeys(splits, 2), n_leaking=dict.fromkeys(splits[1:], 0))
    assert report.verdict.startswith(said)
    assert (report.outcome, report.exit_code) == ("CLEAN", 0)
    leaking = replace(report, n_leaking=dict.fromkeys(splits[1:], 1))
    for each in (report, leaking):
        read = AuditReport.from_json(json.loads(canonical_json(each.to_json())))  # whose splits are in another order
        assert (read.verdict, read.outcome, read.exit_code) == (each.verdict, each.outcome, each.exit_code)
        assert each.verdict.startswith(each.outcome)
    assert leaking.exit_code == bool(splits[1:])


def test_a_clean_report_ends_with_its_checks() -> None:
    lines = report_lines(report_of())
    assert lines[0].startswith("CLEAN: no test sample shows tissue that was trained on; 7 of 7 samples")
    assert lines[-1].startswith("P007   passed ")
    assert "findings     0 critical, 0 error, 0 warning" in lines
    assert not any("what to do" in line for line in lines)


def test_pixels_that_nobody_looked_at_have_no_leak_rate() -> None:
    lines = report_lines(report_of(coverage=Coverage(7)))
    assert "leak rate    unknown" in lines
    assert "coverage     pixels were not checked" in lines
    by_records = report_of(coverage=Coverage(7), n_leaking={"test": 1})
    assert "leak rate    test 50.0% (1 of 2), by the records alone" in report_lines(by_records)


def test_findings_do_not_hide_what_was_not_compared() -> None:
    """Else a verdict about 1 of 2 samples reads as if the others were clean."""
    coverage = Coverage(7, compared=3, not_compared=4)
    unknown = "4 of 7 samples were neither proven nor compared"
    assert report_of(SIBLING, coverage=coverage).verdict == (
        f"LEAKAGE: 1 of 2 test samples show tissue that was trained on; {unknown}"
    )
    assert report_of(LABEL, coverage=coverage).verdict == (
        f"NOT CLEAN: 1 finding, which show no leakage themselves; {unknown}"
    )
    assert report_of(coverage=coverage).verdict == f"NOT PROVEN: {unknown}"
    lines = report_lines(report_of(LABEL, coverage=coverage))
    assert "leak rate    test 0.0% (0 of 2); 4 of all 7 samples were not compared" in lines
    assert not any("not compared" in line for line in report_lines(report_of(SIBLING)))


def test_a_gap_is_told_where_it_was_asked_for() -> None:
    assert any(line.startswith("gap ") for line in report_lines(report_of()))
    assert not any(line.startswith("gap ") for line in report_lines(report_of(statuses=bare("M004", "P004"))))
    independent = report_of(independent=True, statuses=bare("M004", "P004"))
    assert "gap          none, the slices are fields of view without neighbours" in report_lines(independent)


@pytest.mark.parametrize(("worst", "n_told"), [(10, 10), (3, 3), (0, 0), (100, 24)])
def test_the_worst_are_told_and_the_others_counted(worst: int, n_told: int) -> None:
    findings = [replace(SIBLING, sample=f"{k}.png", text=f"finding {k}", advice=f"do {k % 3}") for k in range(24)]
    lines = report_lines(report_of(*findings), worst=worst)
    told = [line for line in lines if "P007 critical finding" in line]
    assert [line.split()[-1] for line in told] == [str(k) for k in range(n_told)]
    assert (f"the {n_told} worst of 24 findings:" in lines) == (0 < n_told < 24)
    advice = [line.strip() for line in lines if line.strip().startswith("P007: do")]
    assert advice == [f"P007: do {k}" for k in range(3)][:worst], "once each"


def test_what_several_checks_advise_is_told_once() -> None:
    other = replace(LABEL, advice=SIBLING.advice)
    lines = report_lines(report_of(SIBLING, other, SIBLING))
    assert [line for line in lines if SIBLING.advice in line] == [f"    P007, P006: {SIBLING.advice}"]


def test_long_texts_are_wrapped() -> None:
    finding = replace(SIBLING, text="word " * 60, advice="more " * 60, other="some/very long name " * 9)
    report = report_of(
        finding,
        statuses={"R001": Check("R001", "not run", 0, "because " * 40)},
        subject="train a folder, " * 20,
        n_leaking={"test": 1, "val": 1},
        n_samples={"train": 5, "val": 1, "test": 2},
    )
    lines = report_lines(report)
    assert max(map(len, lines)) <= WIDTH
    assert all(line == line.rstrip() for line in lines)


def test_names_cannot_write_on_the_terminal() -> None:
    evil = "a\x1b[2J\n\u202e\udcff.png"
    assert printable(evil) == "a?[2J???.png"
    finding = replace(SIBLING, sample=evil, other=evil, text=f"{evil} leaks", advice=evil)
    for line in report_lines(report_of(finding, subject=evil)):
        assert line == printable(line)


def test_measures_are_words_and_what_was_not_measured_is_not_told() -> None:
    assert measures_text(replace(SIBLING, measures={})) == ""
    assert measures_text(replace(SIBLING, measures={"exact": True})) == "the same pixels"
    assert measures_text(replace(SIBLING, measures={"distance": 2})) == "distance 2"
    assert measures_text(replace(SIBLING, measures={"inliers": 0, "mirrored": False, "f1": None})) == "0 inliers"
