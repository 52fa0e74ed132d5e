"""The one record that every face of a card is made from: dataset.json, the manifest and an audit, read once."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline.audit.conductor import audit_dataset
from pipeline.audit.progress import AuditProgress
from pipeline.audit.report import AuditReport
from pipeline.card.index import COLUMNS, IndexRow, index_row
from pipeline.errors import ConfigError, DamagedError, DatasetError
from pipeline.look.show import dataset_json
from pipeline.shards.config import DEFAULT_GAP
from pipeline.shards.facts import check_recorded
from pipeline.shards.inputs import require_inputs
from pipeline.shards.manifest import read_manifest
from pipeline.shards.record import DATASET_FILE, MANIFEST_FILE, DatasetRecord, read_record
from pipeline.source.build_info import BuildInfo, read_build_info

_RECORD_CHECKS = ("M001", "M002")
_DATE = "%Y-%m-%d"
_STACK, _Z = (list(COLUMNS).index(name) for name in ("stack", "z"))
_HELD_OUT = ("test", "val")


@dataclass(frozen=True, slots=True)
class CardRecord:
    """All that a card tells.

    Attributes:
        record: dataset.json.
        facts: what `augpipe show` tells of the dataset, without its place on this machine.
        rows: what the index tells of every sample, in the manifest's order.
        report: the audit, without places on this machine.
        version: of the augpipe that makes the card.
        built_by: version of the augpipe that made the samples; None if that is not known.
        date: when the dataset was built, as YYYY-MM-DD; else when its dataset.json was written here.
        licence: the one that its publisher has chosen, by Kaggle's name; None if none was.
    """

    record: DatasetRecord
    facts: Mapping[str, Any]
    rows: tuple[IndexRow, ...]
    report: AuditReport
    version: str
    built_by: str | None
    date: str
    licence: str | None = None

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
    def title(self) -> str:
        """What the dataset is called; folds of the same slices are told apart."""
        return f"{self.record.name}, fold {self.fold[0]} of {self.fold[1]}" if self.fold else self.record.name

    @property
    def key(self) -> str:
        """The same as one word."""
        return f"{self.record.name}-fold{self.fold[0]}of{self.fold[1]}" if self.fold else self.record.name

    @property
    def fold(self) -> tuple[int, int] | None:
        """Which block is held out, counted from 0, and of how many; None for other strategies."""
        config = self.facts["config"]
        return (config["fold"], config["folds"]) if self.facts["split"]["strategy"] == "kfold" else None

    @property
    def held_out(self) -> tuple[str, ...]:
        """The splits but train, test first."""
        return tuple(split for split in _HELD_OUT if split in self.facts["split"]["samples"])

    @property
    def n_assigned(self) -> int:
        """Slices in all splits, whether samples show them or not."""
        return sum(n for split, n in self.facts["split"]["slices"].items() if split != "unused")

    @property
    def n_slices(self) -> int:
        """Slices that samples show."""
        return len({(row[_STACK], row[_Z]) for row in self.rows})

    @property
    def is_clean(self) -> bool:
        """Whether every check of the audit was run, and found nothing but what it warns of."""
        return self.report.exit_code == 0

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
        DatasetError: the dataset cannot be read, what it says of its source is nothing that a build records, or the
            source named is not the one it was made from.
        ConfigError: the gap is no number of slices.
    """
    _require_facts(read_record(dataset))  # before an audit of minutes
    report = audit_dataset(
        dataset, source_folder=source, gap=gap, allow_unknown=allow_unknown, jobs=jobs, progress=progress
    )
    if damage := next((finding for finding in report.findings if finding.check in _RECORD_CHECKS), None):
        raise DamagedError(f"{damage.text}; a card would describe another dataset: {damage.advice}")
    return describe_dataset(read_record(dataset), report, source=source)


def describe_dataset(
    record: DatasetRecord, report: AuditReport, *, source: Path | None = None, licence: str | None = None
) -> CardRecord:
    """Return all that there is to tell of a dataset that was audited already.

    Args:
        record: the dataset.
        report: the audit; what it tells of places on this machine is left out.
        source: where the stack was looked for, so that it can be left out.
        licence: the one to publish under, by Kaggle's name, if one was chosen.

    Raises:
        DatasetError: the dataset cannot be read, or what it says of its source is nothing that a build records.
    """
    _require_facts(record)
    facts = {key: value for key, value in dataset_json(record.folder).items() if key != "dataset"}
    build = read_build_info(record.folder)
    return CardRecord(
        record=record,
        facts=facts,
        rows=tuple(map(index_row, read_manifest(record.folder / MANIFEST_FILE))),
        report=_without_places(report, record, source, build),
        version=_version(),
        built_by=build.version,
        date=build.date or _written_on(record),
        licence=licence,
    )


def _require_facts(record: DatasetRecord) -> None:
    path = record.folder / DATASET_FILE
    try:
        require_inputs(record.values["inputs"])
        check_recorded(record.values["source"], n_stacks=len(record.values["inputs"]), where="source")
    except ConfigError as error:
        raise DatasetError(f"{path}: {error}; a card cannot tell it") from error
    except (LookupError, TypeError) as error:
        raise DatasetError(f"{path}: not a record of this version ({type(error).__name__}: {error})") from error


def _without_places(report: AuditReport, record: DatasetRecord, source: Path | None, build: BuildInfo) -> AuditReport:
    """Return the report as it may leave this machine: it names the dataset, and no folder of its author's."""
    words = {str(place): word for place, word in _places(record, source, build) if "/" in str(place).strip("/")}

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


def _places(record: DatasetRecord, source: Path | None, build: BuildInfo) -> Iterator[tuple[Path, str]]:
    for folder, word in ((record.folder, record.name), (source, "the source"), (Path.home(), "~")):
        if folder is not None:
            yield folder, word
            yield folder.resolve(), word
    for pair in build.pairs:
        for path in pair:
            yield path, path.name


def _written_on(record: DatasetRecord) -> str:
    return time.strftime(_DATE, time.gmtime((record.folder / DATASET_FILE).stat().st_mtime))


def _version() -> str:
    try:
        return version("augpipe")
    except PackageNotFoundError:
        return "unknown"
