"""Which slice belongs to which split, and how many samples each split gets.

The unit is the slice, never the sample: neighbouring sections look alike (on ISBI 2012, copying the neighbour's
label scores a membrane F1 of 0.36 where chance is 0.22), so slices near another split belong to none.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from augment.seeding import Stream
from pipeline.errors import ConfigError
from pipeline.shards.config import DEFAULT_GAP, SPLIT_LETTERS, BuildConfig
from pipeline.shards.record import StackSlices

SPLITS = ("train", "val", "test")
_LETTER_OF = {split: letter for letter, split in SPLIT_LETTERS.items()}
_SPLIT_STREAM = 1  # first part of the stream's key; recipes have another


@dataclass(frozen=True, slots=True)
class SliceAddress:
    """One slice: its stack and its position in it."""

    stack: int
    z: int


@dataclass(frozen=True, slots=True)
class Assignment:
    """The split of every slice.

    Attributes:
        stacks: for each stack, for each z, the split's name or None.
    """

    stacks: tuple[tuple[str | None, ...], ...]

    def slices(self, split: str) -> tuple[SliceAddress, ...]:
        """Return the slices of a split, by stack and z."""
        return tuple(address for address, owner in self if owner == split)

    def __iter__(self) -> Iterator[tuple[SliceAddress, str | None]]:
        """Yield every slice with its split."""
        for stack, owners in enumerate(self.stacks):
            for z, owner in enumerate(owners):
                yield SliceAddress(stack, z), owner

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that own a slice, in the order train, val, test."""
        return in_order({owner for _, owner in self if owner})

    @property
    def pictures(self) -> tuple[str, ...]:
        """One text a stack, one character a slice: T train, V val, E test, a dot for none."""
        return tuple("".join(_LETTER_OF[owner] for owner in owners) for owners in self.stacks)

    @property
    def gap(self) -> int | None:
        """The fewest slices between two splits of a stack; None where no stack is in two splits."""
        return min((gap for owners in self.stacks for gap in _gaps(owners)), default=None)

    def touching(self, split: str, reach: int = DEFAULT_GAP) -> int:
        """Return how many slices of a split have a training slice of their stack at most `reach` slices away."""
        return sum(
            "train" in owners[max(0, z - reach) : z + reach + 1]
            for owners in self.stacks
            for z, owner in enumerate(owners)
            if owner == split
        )

    def by_split(self) -> dict[str, tuple[StackSlices, ...]]:
        """Return the slices of each split, and of none as `unused`, stack by stack."""
        names: dict[str | None, str] = {split: split for split in self.splits}
        names[None] = "unused"
        return {
            name: tuple(
                StackSlices(stack, tuple(z for z, owner in enumerate(owners) if owner == split))
                for stack, owners in enumerate(self.stacks)
                if split in owners
            )
            for split, name in names.items()
        }


def in_order(splits: Iterable[str]) -> tuple[str, ...]:
    """Return train, val and test in this order, then other splits by name."""
    return tuple(sorted(splits, key=lambda split: (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)))


def assign_slices(config: BuildConfig, depths: tuple[int, ...]) -> Assignment:
    """Return the split of every slice, for stacks of the given numbers of slices.

    Raises:
        ConfigError: a split that was asked for would be empty, or the picture is of other stacks.
    """
    wanted = {"train": True, "val": config.val > 0, "test": config.test > 0}
    if sum(depths) == 1 and config.split != "explicit":
        _require_no_split(config, [split for split in ("test", "val") if wanted[split]])
    if config.split == "explicit":
        assignment = _assign_picture(config.picture, depths)
    elif config.split == "stack":
        assignment = _assign_stacks(config, depths)
    else:
        assignment = Assignment(tuple(_assign_stack(config, stack, depth) for stack, depth in enumerate(depths)))
    for split in (split for split in SPLITS if wanted[split] and split not in assignment.splits):
        raise ConfigError(
            f"split {config.split}: no slice of {sum(depths)} is left for {split} with test {config.test:g}, "
            f"val {config.val:g} and gap {config.gap}; use a smaller gap or other fractions"
            + (", or --split block" if config.split == "random" else "")
        )
    return assignment


def split_fractions(config: BuildConfig, assignment: Assignment) -> dict[str, Fraction]:
    """Return each split's exact share of the samples; the decimals mean what they say, 0.2 is 1/5.

    Where whole stacks or a picture decide, shares go by the number of slices.
    """
    if config.split in ("stack", "explicit"):
        counts = {split: len(assignment.slices(split)) for split in SPLITS}
        return {split: Fraction(count, sum(counts.values())) for split, count in counts.items()}
    test = Fraction(1, config.folds) if config.split == "kfold" else Fraction(repr(config.test))
    val = Fraction(repr(config.val))
    return {"train": 1 - test - val, "val": val, "test": test}


def share_samples(n: int, fractions: Mapping[str, Fraction]) -> dict[str, int]:
    """Return how many of n samples each split gets: at least one each, and never fewer as n grows.

    One each first; then each next sample goes where fraction / (2 x count + 1) is largest (Webster, also known as
    Sainte-Lague, a divisor method: rounding each share for itself would take samples back as n grows).

    Raises:
        ConfigError: n is smaller than the number of splits.
    """
    shares = {split: fraction for split, fraction in fractions.items() if fraction > 0}
    if n < len(shares):
        raise ConfigError(f"n: expected at least one sample for each of {', '.join(shares)}, got {n}")
    # Webster never gives a split less than its share rounded down; the guaranteed ones cost the others no more
    # than one each. Starting there, few samples are left to give out one by one.
    max_guaranteed = len(shares) - 1
    counts = {split: max(1, int(n * fraction) - max_guaranteed) for split, fraction in shares.items()}
    for _ in range(n - sum(counts.values())):
        neediest = max(shares, key=lambda split: shares[split] / (2 * counts[split] + 1))
        counts[neediest] += 1
    return counts


def _assign_stack(config: BuildConfig, stack: int, depth: int) -> tuple[str | None, ...]:
    """Return the split of every slice of a stack: test slices are taken first, then val, then train.

    Single slices at random, or blocks from the end of the stack; of k folds, one block is test. What lies within the
    gap of another split belongs to none.
    """
    n_test, n_val = (_n_slices(fraction, depth) for fraction in (config.test, config.val))
    order: Sequence[int] = range(depth - 1, -1, -1)
    of_test = order[:n_test]
    if config.split == "random":
        order = Stream(config.seed, (_SPLIT_STREAM, stack)).shuffled(depth)
        of_test = order[:n_test]
    elif config.split == "kfold":
        of_test = range(config.fold * depth // config.folds, (config.fold + 1) * depth // config.folds)
    owners: list[str | None] = [None] * depth
    for z in of_test:
        owners[z] = "test"
    for split, wanted in (("val", n_val), ("train", depth)):
        free = [z for z in order if owners[z] is None and _is_apart(owners, z, split, config.gap)]
        for z in free[:wanted]:
            owners[z] = split
    return tuple(owners)


def _require_no_split(config: BuildConfig, held_out: Sequence[str]) -> None:
    """Refuse to hold anything out of a single slice."""
    if held_out:
        options = [] if config.split in ("block", "random") else ["--split block"]
        options += [f"--{split} 0" for split in held_out]
        raise ConfigError(
            f"split {config.split}: one slice cannot be split between train and {' and '.join(held_out)}; use "
            f"{' '.join(options)} to train on it, or name more slices"
        )


def _n_slices(fraction: float, depth: int) -> int:
    return max(1, int(Fraction(repr(fraction)) * depth + Fraction(1, 2))) if fraction > 0 else 0


def _is_apart(owners: list[str | None], z: int, split: str, gap: int) -> bool:
    """Return whether a slice is further than the gap from every slice of another split."""
    return all(owner in {None, split} for owner in owners[max(0, z - gap) : z + gap + 1])


def _assign_stacks(config: BuildConfig, depths: tuple[int, ...]) -> Assignment:
    """Return whole stacks, the last ones for test, those before them for val."""
    n_test, n_val = (_n_slices(fraction, len(depths)) for fraction in (config.test, config.val))
    n_train = len(depths) - n_test - n_val
    if n_train < 1:
        raise ConfigError(
            f"split stack: {len(depths)} stacks are too few for {n_test} test and {n_val} val; name more stacks with "
            "--images and --labels, or use --split block"
        )
    owners = ["train"] * n_train + ["val"] * n_val + ["test"] * n_test
    return Assignment(tuple((owner,) * depth for owner, depth in zip(owners, depths, strict=True)))


def _assign_picture(picture: tuple[str, ...], depths: tuple[int, ...]) -> Assignment:
    found = tuple(len(stack) for stack in picture)
    if found != depths:
        raise ConfigError(f"split explicit: expected the split of {depths} slices (one number a stack), got {found}")
    assignment = Assignment(tuple(tuple(SPLIT_LETTERS[letter] for letter in stack) for stack in picture))
    if assignment.splits in ((), ("train",)):
        raise ConfigError("split explicit: nothing is held out; name slices for val or test in the split file")
    return assignment


def _gaps(owners: tuple[str | None, ...]) -> Iterator[int]:
    """Yield the number of slices between each two neighbouring slices of different splits."""
    used = [(z, owner) for z, owner in enumerate(owners) if owner is not None]
    for (z, owner), (next_z, next_owner) in pairwise(used):
        if owner != next_owner:
            yield next_z - z - 1
