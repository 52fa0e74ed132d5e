"""The one record that every face of a card is made from: dataset.json, the manifest and an audit, read once."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline.audit.conductor import audit_dataset
from pipeline.audit.report import AuditReport
from pipeline.card.index import COLUMNS, IndexRow, index_row
from pipeline.errors import DamagedError
from pipeline.look.recipe_statistics import Drawn, RecipeStatistics
from pipeline.look.show import dataset_json
from pipeline.shards.config import DEFAULT_GAP
from pipeline.shards.dataset import Dataset, open_dataset
from pipeline.shards.manifest import ManifestRow
from pipeline.shards.progress import Progress
from pipeline.shards.record import DatasetRecord
from pipeline.source.build_info import BuildInfo, read_build_info

_RECORD_CHECKS = ("M001", "M002")
_DATE = "%Y-%m-%d"
_STACK, _Z = (list(COLUMNS).index(name) for name in ("stack", "z"))
_HELD_OUT = ("test", "val")


@dataclass(frozen=True, slots=True)
class CardRecord:
    """All that a card tells.

    Attributes:
        dataset: the dataset.
        facts: what `augpipe show` tells of the dataset, without its place on this machine.
        rows: what the index tells of every sample, in the manifest's order.
        report: the audit, without places on this machine.
        version: of the augpipe that makes the card.
        built_by: version of the augpipe that made the samples; None if that is not known.
        date: when the dataset was built, as YYYY-MM-DD; else when its dataset.json was written here.
        licence: the one that its publisher has chosen, by Kaggle's name; None if none was.
    """

    dataset: Dataset
    facts: Mapping[str, Any]
    rows: tuple[IndexRow, ...]
    report: AuditReport
    version: str
    built_by: str | None
    date: str
    licence: str | None = None

    @property
    def record(self) -> DatasetRecord:
        """dataset.json."""
        return self.dataset.record

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


class CardRows:
    """What a card tells of the manifest's rows, gathered while they are read, once."""

    def __init__(self) -> None:
        self.index: list[IndexRow] = []
        self._statistics = RecipeStatistics()

    def add(self, row: ManifestRow) -> None:
        """Take in one more row."""
        self.index.append(index_row(row))
        self._statistics.add(row.recipe)

    def drawn(self) -> Drawn:
        """Return what the recipes drew."""
        return self._statistics.drawn()


def gather_card(
    dataset: Dataset | Path | str,
    *,
    source: Path | None = None,
    gap: int = DEFAULT_GAP,
    allow_unknown: bool = False,
    jobs: int = -1,
    progress: Progress | None = None,
) -> CardRecord:
    """Return all that there is to tell of a dataset, after an audit.

    Args:
        dataset: its folder, or the dataset, opened.
        source: where the stack is, if not where build-info.json remembers it.
        gap: slices of two splits must be further apart than this.
        allow_unknown: samples whose slice the audit does not find are warnings.
        jobs: threads; decides the time taken, nothing else.
        progress: progress callback.

    Raises:
        DamagedError: the dataset is not what its own records say. One that leaks is described, and said to leak.
        DatasetError: the dataset cannot be read, or the source named is not the one it was made from.
        ConfigError: the gap is no number of slices.
    """
    dataset, rows = open_dataset(dataset), CardRows()
    report = audit_dataset(
        dataset,
        source_folder=source,
        gap=gap,
        allow_unknown=allow_unknown,
        jobs=jobs,
        progress=progress,
        on_row=rows.add,
    )
    if damage := next((finding for finding in report.findings if finding.check in _RECORD_CHECKS), None):
        raise DamagedError(f"{damage.text}; a card would describe another dataset: {damage.advice}")
    return describe_card(dataset, report, rows, source=source)


def describe_card(
    dataset: Dataset,
    report: AuditReport,
    rows: CardRows,
    *,
    source: Path | None = None,
    licence: str | None = None,
) -> CardRecord:
    """Return all that there is to tell of a dataset that was audited already.

    Args:
        dataset: the dataset.
        report: the audit; what it tells of places on this machine is left out.
        rows: what was gathered from its manifest.
        source: where the stack was looked for, so that it can be left out.
        licence: the one to publish under, by Kaggle's name, if one was chosen.

    Raises:
        DatasetError: the dataset cannot be read.
    """
    build = read_build_info(dataset.folder)
    facts = dataset_json(dataset, rows.drawn())
    return CardRecord(
        dataset=dataset,
        facts={key: value for key, value in facts.items() if key != "dataset"},
        rows=tuple(rows.index),
        report=_without_places(report, dataset, source, build),
        version=_version(),
        built_by=build.version,
        date=build.date or _written_on(dataset),
        licence=licence,
    )


def _without_places(report: AuditReport, dataset: Dataset, source: Path | None, build: BuildInfo) -> AuditReport:
    """Return the report as it may leave this machine: it names the dataset, and no folder of its author's."""
    words = {str(place): word for place, word in _places(dataset, source, build) if "/" in str(place).strip("/")}

    def plain(text: str) -> str:
        for place in sorted(words, key=len, reverse=True):
            text = text.replace(place, words[place])
        return text

    return replace(
        report,
        subject=dataset.name,
        checks=tuple(replace(check, reason=plain(check.reason)) for check in report.checks),
        findings=tuple(replace(finding, text=plain(finding.text)) for finding in report.findings),
    )


def _places(dataset: Dataset, source: Path | None, build: BuildInfo) -> Iterator[tuple[Path, str]]:
    for folder, word in ((dataset.folder, dataset.name), (source, "the source"), (Path.home(), "~")):
        if folder is not None:
            yield folder, word
            yield folder.resolve(), word
    for pair in build.pairs:
        for path in pair:
            yield path, path.name


def _written_on(dataset: Dataset) -> str:
    return time.strftime(_DATE, time.gmtime(dataset.record_path.stat().st_mtime))


def _version() -> str:
    try:
        return version("augpipe")
    except PackageNotFoundError:
        return "unknown"
