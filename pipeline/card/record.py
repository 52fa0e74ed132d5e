"""The one record that every face of a card is made from: dataset.json, the manifest and an audit, read once."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from augment.errors import DamagedError
from pipeline.audit.conductor import audit_dataset
from pipeline.audit.progress import AuditProgress
from pipeline.audit.report import AuditReport
from pipeline.card.index import IndexRow, index_row
from pipeline.config import DEFAULT_GAP
from pipeline.manifest import read_manifest
from pipeline.shards.record import BUILD_INFO_FILE, DATASET_FILE, MANIFEST_FILE, DatasetRecord, read_record
from pipeline.show import dataset_json

_RECORD_CHECKS = ("M001", "M002")
_DATE = "%Y-%m-%d"


@dataclass(frozen=True, slots=True)
class CardRecord:
    """All that a card tells.

    Attributes:
        record: dataset.json.
        facts: what `augpipe show` tells of the dataset, without its place on this machine.
        rows: what the index tells of every sample, in the manifest's order.
        report: the audit, without places on this machine.
        version: of the augpipe that makes the card.
        date: when the dataset was built, as YYYY-MM-DD; else when its dataset.json was written here.
    """

    record: DatasetRecord
    facts: Mapping[str, Any]
    rows: tuple[IndexRow, ...]
    report: AuditReport
    version: str
    date: str

    @property
    def source(self) -> Mapping[str, Any]:
        """What is known of the specimen and its terms."""
        source: Mapping[str, Any] = self.facts["source"]
        return source

    @property
    def synthetic(self) -> bool:
        """Whether a computer made the stack."""
        return bool(self.source.get("synthetic"))

    @property
    def n_slices(self) -> int:
        """Slices in all splits."""
        return sum(n for split, n in self.facts["split"]["slices"].items() if split != "unused")

    @property
    def gap(self) -> int | None:
        """The fewest slices between two splits of a stack; None where there are no such neighbours."""
        gap: int | None = self.facts["split"]["gap"]
        return gap

    @property
    def is_near(self) -> bool:
        """Whether slices of two splits are so near that they look alike."""
        return self.gap is not None and self.gap < DEFAULT_GAP


def gather_card(
    dataset: Path,
    *,
    source: Path | None = None,
    gap: int = DEFAULT_GAP,
    allow_unknown: bool = False,
    jobs: int = -1,
    progress: AuditProgress | None = None,
) -> CardRecord:
    """Return all that there is to tell of a dataset, after an audit.

    Args:
        dataset: its folder.
        source: where the stack is, if not where build-info.json remembers it.
        gap: slices of two splits must be further apart than this.
        allow_unknown: samples whose slice the audit does not find are warnings.
        jobs: threads; decides the time taken, nothing else.
        progress: is told how far the audit is.

    Raises:
        DamagedError: the dataset is not what its own records say. One that leaks is described, and said to leak.
        DatasetError: the dataset cannot be read, or the source named is not the one it was made from.
        ConfigError: the gap is no number of slices.
    """
    report = audit_dataset(
        dataset, source_folder=source, gap=gap, allow_unknown=allow_unknown, jobs=jobs, progress=progress
    )
    if damage := next((finding for finding in report.findings if finding.check in _RECORD_CHECKS), None):
        raise DamagedError(f"{damage.text}; a card would describe another dataset: {damage.advice}")
    return describe_dataset(read_record(dataset), report, source=source)


def describe_dataset(record: DatasetRecord, report: AuditReport, *, source: Path | None = None) -> CardRecord:
    """Return all that there is to tell of a dataset that was audited already.

    Args:
        record: the dataset.
        report: the audit; what it tells of places on this machine is left out.
        source: where the stack was looked for, so that it can be left out.

    Raises:
        DatasetError: the dataset cannot be read.
    """
    facts = {key: value for key, value in dataset_json(record.folder).items() if key != "dataset"}
    return CardRecord(
        record=record,
        facts=facts,
        rows=tuple(map(index_row, read_manifest(record.folder / MANIFEST_FILE))),
        report=_without_places(report, record, source),
        version=_version(),
        date=_built_on(record),
    )


def _without_places(report: AuditReport, record: DatasetRecord, source: Path | None) -> AuditReport:
    """Return the report as it may leave this machine: it names the dataset, and no folder of its author's."""
    words = {str(place): word for place, word in _places(record, source) if "/" in str(place).strip("/")}

    def plain(text: str) -> str:
        for place in sorted(words, key=len, reverse=True):
            text = text.replace(place, words[place])
        return text

    return replace(
        report,
        subject=record.name,
        checks=tuple(replace(check, reason=plain(check.reason)) for check in report.checks),
        findings=tuple(replace(finding, text=plain(finding.text)) for finding in report.findings),
    )


def _places(record: DatasetRecord, source: Path | None) -> Iterator[tuple[Path, str]]:
    for folder, word in ((record.folder, record.name), (source, "the source"), (Path.home(), "~")):
        if folder is not None:
            yield folder, word
            yield folder.resolve(), word
    for stack in _build_info(record).get("inputs", []):
        for file in stack.values():
            yield Path(file["path"]), Path(file["path"]).name


def _built_on(record: DatasetRecord) -> str:
    finished = str(_build_info(record).get("finished", ""))
    try:
        return time.strftime(_DATE, time.strptime(finished, "%Y-%m-%dT%H:%M:%SZ"))
    except ValueError:
        return time.strftime(_DATE, time.gmtime((record.folder / DATASET_FILE).stat().st_mtime))


def _build_info(record: DatasetRecord) -> dict[str, Any]:
    """Return build-info.json, which is not there in a dataset that was published."""
    try:
        values = json.loads((record.folder / BUILD_INFO_FILE).read_bytes())
        places = [file["path"] for stack in values["inputs"] for file in stack.values()]
        return values if all(isinstance(place, str) for place in places) else {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def _version() -> str:
    try:
        return version("augpipe")
    except PackageNotFoundError:
        return "unknown"
