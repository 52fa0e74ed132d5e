"""Which slice belongs to which split, and how many samples each split gets.

The unit is the slice, never the sample: neighbouring sections look alike (on ISBI 2012, copying the neighbour's
label scores a membrane F1 of 0.36 where chance is 0.22), so slices near another split belong to none.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from augment.errors import ConfigError
from augment.seeding import Stream
from pipeline.config import BuildConfig

SPLITS = ("train", "val", "test")
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
        owned = {owner for _, owner in self}
        return tuple(split for split in SPLITS if split in owned)

    def to_json(self) -> dict[str, Any]:
        """Return the slices of each split, and of none, as lists of z for each stack."""
        names: dict[str | None, str] = {split: split for split in self.splits}
        names[None] = "unused"
        return {
            name: [
                {"stack": stack, "z": [z for z, owner in enumerate(owners) if owner == split]}
                for stack, owners in enumerate(self.stacks)
                if split in owners
            ]
            for split, name in names.items()
        }


def assign_slices(config: BuildConfig, depths: tuple[int, ...]) -> Assignment:
    """Return the split of every slice, for stacks of the given numbers of slices.

    Raises:
        ConfigError: a split that was asked for would be empty.
    """
    assignment = Assignment(tuple(_assign_stack(config, stack, depth) for stack, depth in enumerate(depths)))
    for split, fraction in split_fractions(config).items():
        if fraction > 0 and split not in assignment.splits:
            raise ConfigError(
                f"split {config.split}: no slice of {sum(depths)} is left for {split} with test {config.test:g}, "
                f"val {config.val:g} and gap {config.gap}; use a smaller gap or other fractions"
                + (", or --split block" if config.split == "random" else "")
            )
    return assignment


def split_fractions(config: BuildConfig) -> dict[str, Fraction]:
    """Return each split's exact share of slices and samples; the decimals mean what they say, 0.2 is 1/5."""
    test, val = Fraction(repr(config.test)), Fraction(repr(config.val))
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
    most_guaranteed = len(shares) - 1
    counts = {split: max(1, int(n * fraction) - most_guaranteed) for split, fraction in shares.items()}
    for _ in range(n - sum(counts.values())):
        neediest = max(shares, key=lambda split: shares[split] / (2 * counts[split] + 1))
        counts[neediest] += 1
    return counts


def _assign_stack(config: BuildConfig, stack: int, depth: int) -> tuple[str | None, ...]:
    n_test, n_val = (_n_slices(fraction, depth) for fraction in (config.test, config.val))
    if config.split == "block":
        return _assign_blocks(depth, n_val, n_test, config.gap)
    order = Stream(config.seed, (_SPLIT_STREAM, stack)).shuffled(depth)
    return _assign_random(order, n_val, n_test, config.gap)


def _n_slices(fraction: float, depth: int) -> int:
    return max(1, int(Fraction(repr(fraction)) * depth + Fraction(1, 2))) if fraction > 0 else 0


def _assign_blocks(depth: int, n_val: int, n_test: int, gap: int) -> tuple[str | None, ...]:
    """Return train, then val, then test at the end, each pair of them a gap apart."""
    end: list[str | None] = []
    for split, n_slices in (("val", n_val), ("test", n_test)):
        if n_slices:
            end += [None] * gap + [split] * n_slices
    return tuple((["train"] * (depth - len(end)) + end)[:depth])


def _assign_random(order: list[int], n_val: int, n_test: int, gap: int) -> tuple[str | None, ...]:
    """Return single slices drawn for test, then for val; what lies within the gap of them belongs to none."""
    owners: list[str | None] = [None] * len(order)
    for split, wanted in (("test", n_test), ("val", n_val), ("train", len(order))):
        for z in order:
            near = owners[max(0, z - gap) : z + gap + 1]
            if owners.count(split) < wanted and owners[z] is None and all(owner in {None, split} for owner in near):
                owners[z] = split
    return tuple(owners)
