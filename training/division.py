"""Which samples of a dataset a run trains on, and which it watches: no slice, and no group, is on both sides."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import ConfigError, DatasetError
from pipeline.shards import Dataset, DatasetRecord, open_dataset
from pipeline.shards.blank import blank_digests
from pipeline.shards.config import DEFAULT_GAP
from pipeline.shards.digest import file_digest
from pipeline.shards.manifest import ManifestRow


class Slice(NamedTuple):
    """One slice of the source: number of its stack, and its place there."""

    stack: int
    z: int


@dataclass(frozen=True, slots=True)
class Division:
    """What a run trains on and what it watches.

    Attributes:
        digest: the dataset's, SHA-256 of dataset.json.
        train: positions within the split `train`.
        watched_split: the split that validation reads: `val`, or `train` where slices of it were held out.
        watched: positions within that split.
        train_slices: what the training samples show.
        watched_slices: what the validation samples show.
        trained_on: the digests of the pixels of the slices that the training samples show.
    """

    digest: str
    train: tuple[int, ...]
    watched_split: str
    watched: tuple[int, ...]
    train_slices: tuple[Slice, ...]
    watched_slices: tuple[Slice, ...]
    trained_on: tuple[str, ...]

    def __post_init__(self) -> None:
        both = set(self.train) & set(self.watched) if self.watched_split == "train" else set()
        if both:
            raise ConfigError(f"division: {len(both)} samples are trained on and watched at once; divide again")


def divide(folder: Path | str, *, n_train: int = 0, held_out: float = 0.1, fold: int = 0, folds: int = 0) -> Division:
    """Return which samples to train on and which to validate with; no slice is on both sides.

    Validation is the dataset's split `val`. Where it has none, a contiguous block of the slices of `train` is held
    out whole, and with it, unused, the slices nearer to it than the dataset's gap; where samples show neighbours of
    their slices, the gap is between all that is shown. No group is on both sides either.

    Args:
        folder: the dataset.
        n_train: only the first so many training samples; 0: all.
        held_out: share of the slices of `train` that validation gets where there is no split `val`.
        fold: which of the folds validation gets instead, from 0.
        folds: how many contiguous blocks the slices of `train` are cut into for that; 0: none. So one dataset serves
            all folds: recipes do not depend on what is held out.

    Raises:
        ConfigError: too few slices or samples, or folds of a dataset that has a split `val`.
        DatasetError: the dataset cannot be read, or shows one slice in two splits.
    """
    dataset = open_dataset(folder)
    _require_honest(dataset)
    if "train" not in dataset:
        raise ConfigError(f"{folder}: expected a split train, found {', '.join(dataset.splits)}")
    there = dataset["train"].manifest
    shown = [slice_of(row) for row in there]
    train = tuple(range(len(there)))
    if "val" in dataset and folds:
        raise ConfigError(
            f"{folder}: has a split val, which validation reads; for folds of train, build without --val, or leave out "
            "--fold"
        )
    if "val" in dataset:
        watched_split, watched = "val", tuple(range(len(dataset["val"])))
    else:
        watched_split = "train"
        groups = {
            Slice(index, z): group
            for index, stack in enumerate(dataset.record.inputs)
            for z, group in enumerate(stack.groups or ())
        }
        gap = _find_gap(dataset.record)
        if folds:
            block, near = hold_out_fold(shown, fold, folds, gap=gap, groups=groups)
        else:
            block, near = hold_out(shown, share=held_out, gap=gap, groups=groups)
        watched = tuple(row for row in train if shown[row] in block)
        copies = _digests(there[row] for row in watched)  # the same picture may stand in a stack twice
        lost = block | near
        train = tuple(row for row in train if shown[row] not in lost and not copies & _digests([there[row]]))
    kept = train[: n_train or None]
    if not kept:
        raise ConfigError(f"{folder}: validation leaves no sample to train on; build with --val, or with more slices")
    if n_train > len(kept):
        raise ConfigError(f"--n-train: {n_train} samples asked for, {len(kept)} are there to train on")
    return Division(
        digest=dataset.digest,
        train=kept,
        watched_split=watched_split,
        watched=watched,
        train_slices=tuple(sorted({each for row in kept for each in _shown(there[row])})),
        watched_slices=tuple(
            sorted({each for row in watched for each in _shown(dataset[watched_split].manifest[row])})
        ),
        trained_on=tuple(sorted(_digests(there[row] for row in kept))),
    )


def hold_out(
    slices: Sequence[Slice], *, share: float, gap: int, groups: Mapping[Slice, str] | None = None
) -> tuple[set[Slice], set[Slice]]:
    """Return a contiguous block of slices to hold out, and the slices too near to it to train on.

    Of all blocks of that size, the one that costs the fewest slices is taken; among those, the first. Stacks follow
    each other: a block may take the last slices of one and the first of the next, or several whole ones. Where slices
    are in groups, a block is of whole groups, in the order of their first slices, and about of that size.

    Args:
        slices: what the training samples show.
        share: of the slices to hold out.
        gap: slices that are left out on either side.
        groups: what slices belong to, such as patients; a slice without a group is one by itself.

    Raises:
        ConfigError: nothing would be left to train on.
    """
    there = sorted(set(slices))
    size = max(1, round(share * len(there)))
    choices = []
    for first, block in enumerate(_blocks(_units(there, groups), size)):
        near = _near(there, block, gap)
        choices.append((len(near) + abs(len(block) - size), first, block, near))
    _, _, block_held, near_held = min(choices, key=lambda choice: choice[:2])
    _require_some_left(there, block_held, near_held, gap)
    return block_held, near_held


def hold_out_fold(
    slices: Sequence[Slice], fold: int, folds: int, *, gap: int, groups: Mapping[Slice, str] | None = None
) -> tuple[set[Slice], set[Slice]]:
    """Return one of several contiguous blocks of slices, and the slices too near to it to train on.

    Every slice is in one block. A group is in the block that its first slice would be in.

    Args:
        slices: what the training samples show.
        fold: which block, from 0.
        folds: how many.
        gap: slices that are left out on either side.
        groups: what slices belong to, as in `hold_out`.

    Raises:
        ConfigError: a block would be empty, or nothing would be left to train on.
    """
    there, block, n_before = sorted(set(slices)), set[Slice](), 0
    for unit in _units(there, groups):
        if n_before * folds // len(there) == fold:
            block |= set(unit)
        n_before += len(unit)
    if not block:
        raise ConfigError(f"--fold {fold}/{folds}: {len(there)} training slices are too few, or in too few groups")
    near = _near(there, block, gap)
    _require_some_left(there, block, near, gap)
    return block, near


def _units(there: Sequence[Slice], groups: Mapping[Slice, str] | None) -> list[list[Slice]]:
    """Return slices in their groups, in the order of their first slices."""
    units: dict[Slice | str, list[Slice]] = {}
    for each in there:
        units.setdefault((groups or {}).get(each, each), []).append(each)
    return list(units.values())


def _near(there: Sequence[Slice], block: set[Slice], gap: int) -> set[Slice]:
    """Return the slices that are too near to a block, and not in it."""
    held = {stack: sorted(s.z for s in block if s.stack == stack) for stack in {s.stack for s in block}}
    return {s for s in there if s.stack in held and _distance(s.z, held[s.stack]) <= gap} - block


def _require_some_left(there: Sequence[Slice], block: set[Slice], near: set[Slice], gap: int) -> None:
    if len(block) + len(near) >= len(there):
        raise ConfigError(
            f"validation needs {len(block)} of {len(there)} training slices and a gap of {gap} beside them, and "
            "leaves none to train on; build with --val, or with more slices"
        )


def _blocks(units: Sequence[Sequence[Slice]], size: int) -> Iterator[set[Slice]]:
    """Yield the consecutive units from each one on that have together about so many slices, as long as there are."""
    n_left = sum(map(len, units))
    for first, unit in enumerate(units):
        if first and n_left < size:
            return
        block = set(unit)
        for other in units[first + 1 :]:
            if 2 * (size - len(block)) < len(other):
                break
            block |= set(other)
        yield block
        n_left -= len(unit)


def _distance(z: int, held: Sequence[int]) -> int:
    """Return how far a slice is from the nearest of some, which are in ascending order."""
    above = bisect_left(held, z)
    return min(abs(z - other) for other in held[max(0, above - 1) : above + 1])


def _find_gap(record: DatasetRecord) -> int:
    """Return the gap that was asked for; where the strategy asks for none, the one that is there, and 3 at least.

    It is that between samples' own slices: what they show beside these counts.
    """
    if record.split.independent:
        return 0
    if record.config.split in ("block", "random", "kfold"):
        return record.config.own_gap
    return max(record.split.gap or 0, DEFAULT_GAP) + 2 * record.config.context


def slice_of(row: ManifestRow) -> Slice:
    """Return the slice that a sample is of."""
    return Slice(row.stack, row.z)


def _shown(row: ManifestRow) -> set[Slice]:
    return {Slice(row.stack, z) for z, _ in row.shown}


def _name(key: Slice | str, row: ManifestRow) -> str:
    stack, z = key if isinstance(key, Slice) else (row.stack, next(z for z, sha256 in row.shown if sha256 == key))
    return f"stack {stack}, z {z}"


def _digests(rows: Iterable[ManifestRow]) -> set[str]:
    """Return the digests of all slices that samples show."""
    return {sha256 for row in rows for _, sha256 in row.shown}


def _require_honest(dataset: Dataset) -> None:
    """Refuse a dataset that leaks, or whose manifest is another one.

    Raises:
        DatasetError: one slice is shown in two splits, or the manifest is not the one that dataset.json records.
    """
    owner: dict[Slice | str, ManifestRow] = {}
    shared: dict[Slice | str, ManifestRow] = {}
    for split in dataset.splits:
        for row in dataset[split].manifest:
            keys: list[Slice | str] = [*_shown(row), *_digests([row])]
            shared |= {key: row for key in keys if owner.setdefault(key, row).split != split}
    blank = blank_digests(dataset.record) if shared else frozenset()
    for key, row in shared.items():
        if key not in blank:
            other = owner[key]
            raise DatasetError(
                f"{dataset.folder}: leakage: {other.split} sample {other.id} and {row.split} sample {row.id} show the "
                f"same slice ({_name(key, row)}); build again, and run augpipe audit"
            )
    path = dataset.manifest_path
    if file_digest(path) != dataset.record.manifest.sha256:
        raise DatasetError(f"{path}: not the manifest that dataset.json records; run augpipe verify")
