"""What a file says of samples and splits, one table for each fold or column that is looked at by itself."""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.audit.splits.split_overlap import SplitRow
from pipeline.shards.record import DatasetRecord

UNUSED = "unused"
SYNONYMS = {
    "training": "train",
    **dict.fromkeys(("valid", "validation", "dev"), "val"),
    "testing": "test",
    **{name: name for name in ("train", "val", "test", UNUSED)},
}
FORMS = (
    "augpipe's manifest.jsonl, nnU-Net's splits_final.json (a list of folds), a split file that names files, MONAI's "
    "data list, or CSV with the columns id,group,split and, where slices have neighbours, z"
)


@dataclass(frozen=True, slots=True, eq=False)
class SplitTable:
    """Samples and their splits, to be compared with each other: a file, or one fold or column of it.

    Attributes:
        where: what to call it.
        rows: the samples that are in a split; read from the file as they are asked for.
        checks: the ids of those that it has the columns for; M006 where a file can name the groups of its samples.
        sample_noun: what its samples are called.
        unit_noun: what its units are called.
        has_groups: whether it tells itself what must not be cut.
        record: the dataset that it is the manifest of, where that lies beside it.
    """

    where: str
    rows: Iterator[SplitRow]
    checks: frozenset[str]
    sample_noun: str
    unit_noun: str
    has_groups: bool = False
    record: DatasetRecord | None = None


@dataclass(frozen=True, slots=True)
class NamedColumns:
    """The columns that the user has named; None for those that are to be found by their usual names."""

    group: str | None = None
    split: str | None = None


def split_name(text: str) -> str:
    """Return a split's name, the same for all that mean train, val or test."""
    name = text.strip()
    return SYNONYMS.get(name.casefold(), name)
