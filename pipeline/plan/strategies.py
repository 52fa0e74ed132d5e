"""How slices are shared out: what each strategy holds out for testing and validation.

The unit is the slice, never the sample: neighbouring sections look alike (on ISBI 2012, copying the neighbour's
label scores a membrane F1 of 0.36 where chance is 0.22), so slices near another split belong to none. Where slices
are in groups, such as patients, the unit is the group: all of it goes into one split, whatever stacks it is in.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import accumulate
from typing import TypeAlias

from augment.seeding import Stream
from pipeline.errors import ConfigError, counted
from pipeline.plan.split import SPLITS, Assignment, SliceAddress
from pipeline.shards.config import REGION_WINDOWS, SPLIT_LETTERS, BuildConfig
from pipeline.shards.inputs import StackInput

_SPLIT_STREAM = 1  # first part of the stream's key; recipes have another

_Owners: TypeAlias = list[list[str | None]]  # of each stack, the split of every slice
_Unit: TypeAlias = Sequence[SliceAddress]  # what goes into one split as a whole: a slice, or those of a group


def assign_slices(config: BuildConfig, inputs: Sequence[StackInput]) -> Assignment:
    """Return the split of every slice.

    Every stack is shared out by itself; all stacks together where their slices have places in one sequence, or groups,
    which may be in several stacks. Slices that are skipped are in no split, and do not count.

    Args:
        config: the strategy, and its fractions, gap and folds.
        inputs: the stacks: how many slices they have, and what is said of each slice.

    Raises:
        ConfigError: a split that was asked for would be empty, a group would be in two splits, or the picture is of
            other stacks.
    """
    wanted = {"train": True, "val": config.val > 0, "test": config.test > 0}
    n_slices = sum(stack.depth - len(stack.skipped or ()) for stack in inputs)
    if n_slices == 1 and config.split != "explicit":
        _require_no_split(config, inputs[0].slice_size, [split for split in ("test", "val") if wanted[split]])
    if config.split == "explicit":
        assignment = _without_skipped(_assign_picture(config.picture, inputs), inputs)
        _require_held_out(assignment)
    elif config.split == "stack":
        assignment = _without_skipped(_assign_stacks(config, inputs), inputs)
    else:
        assignment = _assign_units(config, inputs, [split for split in SPLITS if wanted[split]])
    beside = f" between what is shown with context {config.context}" if config.context else ""
    smaller = "a smaller gap or context" if config.context else "a smaller gap"
    for split in (split for split in SPLITS if wanted[split] and split not in assignment.splits):
        raise ConfigError(
            f"split {config.split}: no slice of {n_slices} is left for {split} with test {config.test:g}, "
            f"val {config.val:g} and gap {config.gap}{beside}; use {smaller} or other fractions"
            + (", or --split block" if config.split == "random" else "")
            + (
                ", or --independent if slices of different groups are no neighbours"
                if config.gap and not config.context and any(stack.groups for stack in inputs)
                else ""
            )
        )
    _require_whole_groups(config, inputs, assignment)
    return assignment


def _assign_units(config: BuildConfig, inputs: Sequence[StackInput], splits: Sequence[str]) -> Assignment:
    """Return single slices at random, or blocks from the end; of k folds, one block is test."""
    owners: _Owners = [[None] * stack.depth for stack in inputs]
    for stream, units in enumerate(_sequences(inputs)):
        if any(stack.groups for stack in inputs):
            _require_enough(config, units, splits)
        _share_out(config, owners, units, stream)
    return Assignment(tuple(map(tuple, owners)))


def _sequences(inputs: Sequence[StackInput]) -> Iterator[Sequence[_Unit]]:
    """Yield the units of each sequence that is shared out by itself, in order."""
    if not any(stack.sequence or stack.groups for stack in inputs):
        yield from ([(SliceAddress(index, z),) for z in _used(stack)] for index, stack in enumerate(inputs))
        return
    used = [(stack, SliceAddress(index, z)) for index, stack in enumerate(inputs) for z in _used(stack)]
    if any(stack.sequence for stack in inputs):
        used.sort(key=lambda each: each[0].sequence[each[1].z] if each[0].sequence else -1)
    units: dict[SliceAddress | str, list[SliceAddress]] = {}
    for stack, address in used:
        units.setdefault(stack.groups[address.z] if stack.groups else address, []).append(address)
    yield list(units.values())


def _share_out(config: BuildConfig, owners: _Owners, units: Sequence[_Unit], stream: int) -> None:
    """Give the units of a sequence to splits: test is taken first, then val, then train.

    What lies within the gap of another split belongs to none.
    """
    n_slices = sum(map(len, units))
    order: Sequence[int] = range(len(units) - 1, -1, -1)
    if config.split == "random":
        order = Stream(config.seed, (_SPLIT_STREAM, stream)).shuffled(len(units))
    if config.split == "kfold":
        fold = _fold(config, units)
        for address in (address for index in fold for address in units[index]):
            owners[address.stack][address.z] = "test"
        left = [units[index] for index in order if index not in fold]
    else:
        wanted = Fraction(repr(config.test)) * n_slices
        left = _fill("test", wanted, [units[index] for index in order], owners, config.own_gap)
    left = _fill("val", Fraction(repr(config.val)) * n_slices, left, owners, config.own_gap)
    _fill("train", Fraction(n_slices), left, owners, config.own_gap)


def _fill(split: str, wanted: Fraction, units: list[_Unit], owners: _Owners, gap: int) -> list[_Unit]:
    """Give units to a split until it has about as many slices as are wanted, and one unit at least.

    Of a unit, slices within the gap of another split are left out.

    Returns:
        The units that are left.
    """
    left: list[_Unit] = []
    n_taken, twice = 0, int(2 * wanted)  # a unit is taken that brings n_taken nearer to what is wanted, or as near
    for place, unit in enumerate(units if wanted else ()):
        free = [each for each in unit if _is_apart(owners[each.stack], each.z, split, gap)]
        if n_taken and 2 * n_taken + len(free) > twice:
            return left + units[place:]
        for each in free:
            owners[each.stack][each.z] = split
        n_taken += len(free)
        left += [] if free else [unit]
    return left if wanted else units


def _fold(config: BuildConfig, units: Sequence[_Unit]) -> range:
    """Return which units are held out: folds are as equal as units allow, and each has one if it can."""
    before = [0, *accumulate(map(len, units))]  # how many slices lie before each unit
    cut = cut_before = 0
    for fold in range(1, config.fold + 2):
        cut_before, cut = cut, bisect_right(before, fold * before[-1] // config.folds) - 1
        if len(units) >= config.folds:
            cut = min(max(cut, cut_before + 1), len(units) - (config.folds - fold))
    return range(cut_before, cut)


def _used(stack: StackInput) -> Iterator[int]:
    """Yield the slices of a stack that may be in a split."""
    skipped = set(stack.skipped or ())
    return (z for z in range(stack.depth) if z not in skipped)


def _is_apart(owners: list[str | None], z: int, split: str, gap: int) -> bool:
    """Return whether a slice is further than the gap from every slice of another split."""
    return all(owner is None or owner == split for owner in owners[max(0, z - gap) : z + gap + 1])


def _require_no_split(config: BuildConfig, slice_size: tuple[int, int], held_out: Sequence[str]) -> None:
    """Refuse to hold anything out of a single slice."""
    if held_out:
        options = [] if config.split in ("block", "random") else ["--split block"]
        options += [f"--{split} 0" for split in held_out]
        is_large = math.prod(slice_size) > REGION_WINDOWS * math.prod(config.size)
        regions = "--regions to cut it into several, " if is_large else ""
        raise ConfigError(
            f"split {config.split}: one slice cannot be split between train and {' and '.join(held_out)}; use "
            f"{' '.join(options)} to train on it, {regions}or name more slices"
        )


def _require_enough(config: BuildConfig, units: Sequence[_Unit], splits: Sequence[str]) -> None:
    """Refuse fewer groups than splits or folds."""
    if len(units) < len(splits):
        raise ConfigError(
            f"split {config.split}: {counted(len(units), 'group')} cannot be shared out between {', '.join(splits)}; "
            "no group is in two splits: hold out less (--test 0, --val 0), or name more or smaller groups"
        )
    if len(units) < config.folds:
        raise ConfigError(
            f"split {config.split}: {counted(len(units), 'group')} are too few for {config.folds} folds; use --folds "
            f"{len(units)} at most"
        )


def _require_held_out(assignment: Assignment) -> None:
    if assignment.splits in ((), ("train",)):
        raise ConfigError("split explicit: nothing is held out; name slices for val or test in the split file")


def _require_whole_groups(config: BuildConfig, inputs: Sequence[StackInput], assignment: Assignment) -> None:
    """Refuse a group that is in two splits, as whole stacks or a picture may have it."""
    first: dict[str, tuple[SliceAddress, str]] = {}
    for address, split in assignment:
        groups = inputs[address.stack].groups
        if groups is None or split is None:
            continue
        group = groups[address.z]
        earlier, earlier_split = first.setdefault(group, (address, split))
        if earlier_split != split:
            advice = "change the split file" if config.split == "explicit" else "use --split block"
            raise ConfigError(
                f"split {config.split}: the group {group} is in {earlier_split} (slice {earlier.z} of stack "
                f"{earlier.stack}) and in {split} (slice {address.z} of stack {address.stack}); {advice}, so that all "
                "of it is in one"
            )


def _assign_stacks(config: BuildConfig, inputs: Sequence[StackInput]) -> Assignment:
    """Return whole stacks, the last ones for test, those before them for val."""
    n_test, n_val = (_n_stacks(fraction, len(inputs)) for fraction in (config.test, config.val))
    n_train = len(inputs) - n_test - n_val
    if n_train < 1:
        raise ConfigError(
            f"split stack: {counted(len(inputs), 'stack')} cannot be shared out between train, {n_test} test and "
            f"{n_val} val; name more stacks with --images and --labels, or use --split block"
        )
    owners = ["train"] * n_train + ["val"] * n_val + ["test"] * n_test
    return Assignment(tuple((owner,) * stack.depth for owner, stack in zip(owners, inputs, strict=True)))


def _n_stacks(fraction: float, n: int) -> int:
    return max(1, int(Fraction(repr(fraction)) * n + Fraction(1, 2))) if fraction > 0 else 0


def _assign_picture(picture: tuple[str, ...], inputs: Sequence[StackInput]) -> Assignment:
    depths, found = tuple(stack.depth for stack in inputs), tuple(len(stack) for stack in picture)
    if found != depths:
        raise ConfigError(f"split explicit: expected the split of {depths} slices (one number a stack), got {found}")
    return Assignment(tuple(tuple(SPLIT_LETTERS[letter] for letter in stack) for stack in picture))


def _without_skipped(assignment: Assignment, inputs: Sequence[StackInput]) -> Assignment:
    """Return an assignment in which the slices that are skipped are in no split."""
    if not any(stack.skipped for stack in inputs):
        return assignment
    skipped = [frozenset(stack.skipped or ()) for stack in inputs]
    return Assignment(
        tuple(
            tuple(None if z in out else owner for z, owner in enumerate(owners))
            for out, owners in zip(skipped, assignment.stacks, strict=True)
        )
    )
