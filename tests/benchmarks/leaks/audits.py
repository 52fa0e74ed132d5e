"""What augpipe's own audit says of folders: the function that `augpipe audit --train DIR --test DIR` calls."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.audit.auditing import audit_folders
from pipeline.audit.report import AuditReport

NAMING = ("P001", "P002", "P007")  # the checks that name samples which show tissue that was trained on


def audit(train: Path, test: Path, source: Path | None, *, independent: bool = False, jobs: int = -1) -> dict[str, Any]:
    """Return what an audit says, as plain JSON values.

    Args:
        train: a folder or a file.
        test: a folder or a file.
        source: what the training pictures were cut from, if the audit is to know.
        independent: whether the source holds fields of view.
        jobs: threads.
    """
    start = time.perf_counter()
    folders = {"train": train, "test": test}
    report = audit_folders(folders, source, independent=independent, allow_unknown=True, jobs=jobs)
    return {**_summary(report), "seconds": round(time.perf_counter() - start, 1)}


def _summary(report: AuditReport) -> dict[str, Any]:
    """Return the verdict, which check names which test pictures, and what supports it."""
    found = [each for each in report.findings if each.check in NAMING and each.sample and "test" in each.splits]
    named: Mapping[str, list[str]] = {
        check: sorted({str(each.sample) for each in found if each.check == check}) for check in NAMING
    }
    return {
        "verdict": report.outcome,
        "named": dict(named),
        "not_compared": report.coverage.not_compared,
        "other_findings": sorted({each.check for each in report.findings} - set(NAMING)),
        "evidence": [
            {"check": each.check, "sample": each.sample, "other": each.other, **each.measures}
            for each in found
            if not str(each.sample).startswith("leak")
        ],
    }
