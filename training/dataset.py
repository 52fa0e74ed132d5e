"""The samples of a dataset as a network wants them, and the slices that they show; numpy and h5py are all it loads."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, DatasetError
from pipeline.shards import Dataset, DatasetRecord, open_dataset
from pipeline.shards.blank import blank_digests
from pipeline.shards.config import DEFAULT_GAP
from pipeline.shards.digest import file_digest
from pipeline.shards.manifest import ManifestRow
from training.config import Learn, Weights
from training.targets import BORDER, choose_target, make_target, make_weights

IGNORE = 255  # where nothing is known, as torch's ignore_index is mostly set to


class Slice(NamedTuple):
    """One slice of the source: number of its stack, and its place there."""

    stack: int
    z: int


class ShardDataset:
    """Some samples of one split, read from the shards when they are asked for: a map-style dataset for torch and Keras.

    A sample is a dict of `image` (h, w), or (C, h, w) of several channels, in the dtype of the shards, `label` (h, w)
    uint8, and, where weights were asked for, `weights` (h, w) float16. A label is what `learn` makes of it: 1 where
    there is a cell and 0 where there is none, or the index of a class; it is `ignore` where nothing is known, and
    weights are 0 there. They are numpy arrays: the default collate of `torch.utils.data.DataLoader` turns them into
    tensors, and reading samples needs no torch.

    It can be pickled, and a process that was forked off can go on with it: every process opens the shards for itself,
    when it first reads from them, since no HDF5 handle may cross from one process into another.

    Args:
        folder: the dataset, or where it lies.
        split: `train`, `val` or `test`.
        rows: positions within the split; None: all of them.
        weights: the weight map that goes with each sample: stored ones where the shards hold them, else computed. Of
            cells that are kept apart, they are always computed: stored ones take the pixels where two touch for cell.
        learn: what labels become, see `training.config.FitConfig`.

    Attributes:
        ignore: the value of label pixels that must not count, 255 as by custom: those that mean nothing, and those that
            the split's masks leave out; None where all count.
        learn: what labels become, with `auto` decided.
        n_classes: how many values they have, the background included, without `ignore`.
        is_plain: the samples are not augmented: they are the tiles of the slices.
        own_channels: which channels are of the slice that the label is of, and not of its neighbours.

    Raises:
        ConfigError: that cannot be learnt from these labels; there is no such split, no sample is left, or a row does
            not exist.
        DatasetError: a shard or the manifest cannot be read, or is not what dataset.json says.
    """

    def __init__(
        self, folder: Dataset | Path | str, split: str, rows: Sequence[int] | None = None, *, weights: Weights = "none",
        learn: Learn = "auto",
    ) -> None:  # fmt: skip
        dataset = open_dataset(folder)
        self._split = dataset[split]
        self._instances = dataset.record.label_kind == "instances"
        self._sizes = [stack.slice_size for stack in dataset.record.inputs]
        self.is_plain = split in dataset.record.config.plain
        self._ignored = dataset.record.arrays.ignore
        self.ignore = None if self._ignored is None and self._split.masks is None else IGNORE
        self.learn = choose_target(learn, dataset.record.label_kind)
        self.n_classes = count_classes(self.learn, dataset.record)
        self.rows = tuple(range(len(self._split)) if rows is None else rows)
        self.weights = weights
        if not set(self.rows) <= set(range(len(self._split))):
            raise ConfigError(f"{dataset.folder}: expected samples 0 to {len(self._split) - 1} of {split}, got others")
        if not self.rows:
            raise ConfigError(f"{dataset.folder}: no sample of {split} is left; build more samples or ask for more")
        self.image_dtype, self.window = self._split.images.dtype, dataset.record.window
        self.n_channels = len(dataset.record.arrays.channels or ("gray",))
        n_own, context = len(dataset.record.inputs[0].images.channels or ("gray",)), dataset.record.config.context
        self.own_channels = slice(context * n_own, (context + 1) * n_own)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, NDArray[Any]]:
        """Return one sample."""
        label = self._split.labels[self.rows[index]]
        target = make_target(label, self.learn, self._ignored)
        if self._ignored is not None:
            target[label == self._ignored] = IGNORE
        if (mask := self._mask(index)) is not None:
            target[mask == 0] = IGNORE
        sample = {"image": self.image(index), "label": target}
        if self.weights != "none":
            sample["weights"] = self._weigh(index, label)
        return sample

    def image(self, index: int) -> NDArray[Any]:
        """Return the image of one sample alone, (h, w), or (C, h, w) of several channels."""
        image = self._split.images[self.rows[index]]
        return image if image.ndim == 2 else np.ascontiguousarray(np.moveaxis(image, -1, 0))

    def slices(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the slices that the samples of a plain split are tiles of, put together again, as samples are.

        Raises:
            DatasetError: of some pixel, no sample counts, so that these are not all tiles of the slices.
        """
        rows = [self._row(index) for index in range(len(self))]
        return (whole for _, whole in join_tiles(rows, self._sizes, self.__getitem__))

    def _row(self, index: int) -> ManifestRow:
        return self._split.manifest[self.rows[index]]

    @property
    def ids(self) -> tuple[str, ...]:
        """The samples' ids, in order."""
        names = self._split.ids
        return tuple(names[row] for row in self.rows)

    @property
    def firsts(self) -> tuple[int, ...]:
        """Where the first sample of each slice is, in order."""
        found: dict[Slice, int] = {}
        for index, row in enumerate(self.rows):
            found.setdefault(_slice_of(self._split.manifest[row]), index)
        return tuple(found.values())

    def _mask(self, index: int) -> NDArray[np.uint8] | None:
        return None if self._split.masks is None else self._split.masks[self.rows[index]]

    def _weigh(self, index: int, label: NDArray[Any]) -> NDArray[np.float16]:
        if self._split.weights is not None and self.learn not in ("cells", "border"):
            return self._split.weights[self.rows[index]]
        mask = self._mask(index)
        return make_weights(label, self.learn, instances=self._instances, ignored=self._ignored, mask=mask)


def count_classes(learn: Learn, record: DatasetRecord) -> int:
    """Return how many values there are in what is learnt of a dataset's labels, the background included."""
    return {"classes": len(record.classes), "border": BORDER + 1}.get(learn, 2)


def join_tiles(
    rows: Sequence[ManifestRow], sizes: Sequence[tuple[int, int]], read: Callable[[int], Mapping[str, NDArray[Any]]]
) -> Iterator[tuple[Slice, dict[str, NDArray[Any]]]]:
    """Yield the slices that the samples of a plain split are tiles of, each put together again.

    Args:
        rows: of the samples in the manifest, slice by slice.
        sizes: (height, width) of the slices of each stack.
        read: returns the arrays (..., h, w) of sample k, by name.

    Raises:
        DatasetError: of some pixel, no sample counts, so that these are not all tiles of the slices.
    """
    for each, tiles in groupby(range(len(rows)), lambda k: _slice_of(rows[k])):
        size, where = sizes[each.stack], f"slice {each.z} of stack {each.stack}"
        whole: dict[str, NDArray[Any]] = {}
        is_there = np.zeros(size, bool)
        for k in tiles:
            recipe = rows[k].recipe
            if recipe.scored is None:
                raise DatasetError(f"{where} has a sample that is no tile of it; run augpipe verify")
            (row, column), (top, left, bottom, right) = recipe.slice_corner(size), recipe.scored
            there = np.s_[row + top : row + bottom, column + left : column + right]
            for name, part in read(k).items():
                room = whole.setdefault(name, np.empty((*part.shape[:-2], *size), part.dtype))
                room[..., *there] = part[..., top:bottom, left:right]
            is_there[there] = True
        if not is_there.all():
            raise DatasetError(f"{where} has pixels that no sample counts; run augpipe verify")
        yield each, whole


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
    shown = [_slice_of(row) for row in there]
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


def _slice_of(row: ManifestRow) -> Slice:
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
