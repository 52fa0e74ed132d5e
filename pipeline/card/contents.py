"""The contents of a card: dataset.json, what was collected from the manifest while it was read, and an audit."""

import csv
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from pipeline.audit.report import AuditReport
from pipeline.card.index import index_columns, index_row
from pipeline.errors import DamagedError
from pipeline.files import storage_errors
from pipeline.look.preview import PreviewSamples
from pipeline.shards.dataset import Dataset
from pipeline.shards.manifest import ManifestRow
from pipeline.shards.provenance import SourceFacts
from pipeline.shards.record import DatasetRecord
from pipeline.source.build_info import BuildInfo, read_build_info
from pipeline.version import VERSION

_RECORD_CHECKS = ("M001", "M002")
_DATE = "%Y-%m-%d"
_HELD_OUT = ("test", "val")


@dataclass(frozen=True, slots=True)
class Card:
    """All that a card says.

    Attributes:
        dataset: the dataset.
        report: the audit, without paths on this machine.
        index: where index.csv is.
        n_slices: slices that samples show.
        previewed: the samples on the preview.
        version: of the augpipe that makes the card.
        built_by: version of the augpipe that made the samples; None if that is not known.
        date: when the dataset was built, as YYYY-MM-DD; else when its dataset.json was written here.
        licence: the one that its publisher has chosen, by Kaggle's name; None if none was.
        is_rechecked: whether the audit was made for this card, and not read from a file.
    """

    dataset: Dataset
    report: AuditReport
    index: Path
    n_slices: int
    previewed: tuple[ManifestRow, ...]
    version: str
    built_by: str | None
    date: str
    licence: str | None = None
    is_rechecked: bool = True

    @property
    def record(self) -> DatasetRecord:
        """dataset.json."""
        return self.dataset.record

    @property
    def source(self) -> SourceFacts:
        """What is known of the specimen and its terms."""
        return self.record.source

    @property
    def title(self) -> str:
        """The title of the dataset; folds of the same slices have different ones."""
        return f"{self.record.name}, fold {self.fold[0]} of {self.fold[1]}" if self.fold else self.record.name

    @property
    def key(self) -> str:
        """The title as one word."""
        return f"{self.record.name}-fold{self.fold[0]}of{self.fold[1]}" if self.fold else self.record.name

    @property
    def fold(self) -> tuple[int, int] | None:
        """Which block is held out, counted from 0, and of how many; None for other strategies."""
        config = self.record.config
        return (config.fold, config.folds) if config.split == "kfold" else None

    @property
    def held_out(self) -> tuple[str, ...]:
        """The splits but train, test first."""
        return tuple(split for split in _HELD_OUT if split in self.record.splits)

    @property
    def plain(self) -> tuple[str, ...]:
        """The splits whose samples are not augmented."""
        return self.record.config.plain

    @property
    def is_clean(self) -> bool:
        """Whether every check of the audit was run, and found nothing worse than warnings."""
        return self.report.exit_code == 0

    @property
    def gap(self) -> int | None:
        """The fewest slices between two splits of a stack; None where there are no such neighbours."""
        return self.record.split.gap


class CardRows:
    """What a card takes from the manifest's rows while they are read, once; none but those on the preview is kept.

    Args:
        dataset: the dataset.
        file: what index.csv is written to: a header, then one line a sample, with numbers in the shortest form that
            reads back the same.
    """

    def __init__(self, dataset: Dataset, file: IO[str]) -> None:
        self._file, self._record = file, dataset.record
        self._lines = csv.writer(file, lineterminator="\n")
        self._write(index_columns(dataset.record))
        self.slices: set[tuple[int, int]] = set()
        self.preview = PreviewSamples(dataset)

    def add(self, row: ManifestRow) -> None:
        """Take in one more row."""
        self._write(index_row(row, self._record))
        self.slices.add((row.stack, row.z))
        self.preview.add(row)

    def index(self) -> Path:
        """Return where index.csv is, with all rows so far."""
        path = Path(self._file.name)
        with storage_errors(path):
            self._file.flush()
        return path

    def _write(self, line: Sequence[object]) -> None:
        with storage_errors(Path(self._file.name)):
            self._lines.writerow(line)


@contextmanager
def gather_rows(dataset: Dataset) -> Iterator[CardRows]:
    """Yield what collects the rows of a dataset's manifest; its index.csv is a temporary file, removed at the end."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="", prefix="augpipe-", suffix=".csv") as file:
        yield CardRows(dataset, file)


def describe_card(
    dataset: Dataset,
    report: AuditReport,
    rows: CardRows,
    *,
    source: Path | None = None,
    licence: str | None = None,
    is_rechecked: bool = True,
) -> Card:
    """Return the contents of the card of a dataset.

    Args:
        dataset: the dataset.
        report: the audit; paths on this machine are left out.
        rows: what was collected from its manifest.
        source: where the stack was looked for; this path is left out too.
        licence: the one to publish under, by Kaggle's name, if one was chosen.
        is_rechecked: whether the audit was made now, and not read from a file.

    Raises:
        DamagedError: the dataset is not what its own records say. One that leaks is described as leaking.
    """
    if damage := next((finding for finding in report.findings if finding.check in _RECORD_CHECKS), None):
        raise DamagedError(f"{damage.text}; a card would describe another dataset: {damage.advice}")
    build = read_build_info(dataset.folder)
    return Card(
        dataset=dataset,
        report=_without_places(report, dataset, source, build),
        index=rows.index(),
        n_slices=len(rows.slices),
        previewed=rows.preview.found(),
        version=VERSION,
        built_by=build.version,
        date=build.date or time.strftime(_DATE, time.gmtime(dataset.record_path.stat().st_mtime)),
        licence=licence,
        is_rechecked=is_rechecked,
    )


def _without_places(report: AuditReport, dataset: Dataset, source: Path | None, build: BuildInfo) -> AuditReport:
    """Return the report as it may be published: it names the dataset, and no folder of its author's."""
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
    yield from ((path, path.name) for pair in build.pairs for path in pair)
