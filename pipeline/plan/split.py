"""Which slice belongs to which split, and how many samples each split gets."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from pipeline.errors import ConfigError
from pipeline.shards.config import DEFAULT_GAP, SPLIT_LETTERS, BuildConfig
from pipeline.shards.record import StackSlices

SPLITS = ("train", "val", "test")
_LETTER_OF = {split: letter for letter, split in SPLIT_LETTERS.items()}


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


def _gaps(owners: tuple[str | None, ...]) -> Iterator[int]:
    """Yield the number of slices between each two neighbouring slices of different splits."""
    used = [(z, owner) for z, owner in enumerate(owners) if owner is not None]
    for (z, owner), (next_z, next_owner) in pairwise(used):
        if owner != next_owner:
            yield next_z - z - 1
