"""Which split takes its samples from which slice, and what is wrong with that whatever the pixels show."""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple, TypeAlias

from pipeline.audit.report import Finding
from pipeline.errors import ConfigError
from pipeline.plan.split import SPLITS

Number: TypeAlias = int | float

_MOST_EXAMPLES = 3


class Unit(NamedTuple):
    """What no split may share with another: a slice at z of a stack, or where z is None all of a group."""

    group: str
    z: Number | None = None

    def __str__(self) -> str:
        return self.group if self.z is None else f"{self.group}, z {self.z}"


class Use(NamedTuple):
    """One sample: its split, the unit that it is from, and the digest of that unit's pixels where it is known."""

    sample: str
    split: str
    unit: Unit
    content: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Usage:
    """How many samples each split takes from what; it grows with the number of units, not of samples.

    Attributes:
        samples: of each split.
        units: of each unit, in each split.
        contents: of each digest, in each split, from each unit.
    """

    samples: Mapping[str, int]
    units: Mapping[Unit, Mapping[str, int]]
    contents: Mapping[str, Mapping[str, Mapping[Unit, int]]]

    @property
    def members(self) -> set[tuple[Unit, str]]:
        """Every unit with every split that it has samples in."""
        return {(unit, split) for unit, counts in self.units.items() for split in counts}

    @property
    def shared_contents(self) -> tuple[str, ...]:
        """The digests that are in several splits."""
        return tuple(digest for digest, splits in self.contents.items() if len(splits) > 1)


class UseCounter:
    """Counts how many samples each split takes from what, sample by sample; `usage` is the count so far."""

    def __init__(self) -> None:
        self._samples: Counter[str] = Counter()
        self._units: defaultdict[Unit, Counter[str]] = defaultdict(Counter)
        self._contents: defaultdict[str, defaultdict[str, Counter[Unit]]] = defaultdict(lambda: defaultdict(Counter))
        self.usage = Usage(self._samples, self._units, self._contents)

    def add(self, use: Use) -> None:
        """Count one more sample."""
        self._samples[use.split] += 1
        self._units[use.unit][use.split] += 1
        if use.content is not None:
            self._contents[use.content][use.split][use.unit] += 1


def count_uses(uses: Iterable[Use]) -> Usage:
    """Return how many samples each split takes from what."""
    counter = UseCounter()
    for use in uses:
        counter.add(use)
    return counter.usage


def count_leaking(usage: Usage, harmless: Collection[str] = ()) -> dict[str, int]:
    """Return, for each split but train, how many samples are of units or contents that train has samples of.

    Args:
        usage: who uses what.
        harmless: digests that do not count.
    """
    if "train" not in usage.samples:
        return {}
    contents = [usage.contents[digest] for digest in usage.shared_contents if digest not in harmless]
    by_content = [{split: sum(units.values()) for split, units in splits.items()} for splits in contents]
    return {
        split: max(_leaking(split, usage.units.values()), _leaking(split, by_content))
        for split in in_order(usage.samples)
        if split != "train"
    }


def find_shared(usage: Usage, harmless: Collection[str] = ()) -> list[Finding]:
    """Return M003: one finding for every digest and two splits that share it.

    Args:
        usage: who uses what.
        harmless: digests that do not count, because their pixels show nothing.
    """
    return [
        _shared(digest, usage.contents[digest], pair)
        for digest in usage.shared_contents
        if digest not in harmless
        for pair in combinations(in_order(usage.contents[digest]), 2)
    ]


def find_near(members: Iterable[tuple[Unit, str]], gap: int) -> list[Finding]:
    """Return M004: one finding for every stack and two splits that have slices at most `gap` apart in it."""
    places: defaultdict[str, defaultdict[str, set[Number]]] = defaultdict(lambda: defaultdict(set))
    for unit, split in members:
        if unit.z is not None:
            places[unit.group][split].add(unit.z)
    return [
        finding
        for group, splits in sorted(places.items())
        for here, there in combinations(in_order(splits), 2)
        if (finding := _near(group, (here, there), sorted(splits[here]), sorted(splits[there]), gap))
    ]


def find_spread(
    units: Mapping[Unit, Mapping[str, int]], *, total: int, check: str = "M005", noun: str = "slices"
) -> list[Finding]:
    """Return at most one finding, about all units that have samples in several splits.

    Args:
        units: samples of each unit in each split.
        total: how many units there are.
        check: the id of the finding.
        noun: what to call the units.
    """
    spread = {unit: counts for unit, counts in units.items() if len(counts) > 1}
    if not spread:
        return []
    examples = "; ".join(f"{unit} ({_shares(counts)})" for unit, counts in list(spread.items())[:_MOST_EXAMPLES])
    verb = "are" if len(spread) > 1 else "is"
    return [
        Finding(
            check=check,
            severity="critical",
            text=f"{len(spread)} of {total} {noun} {verb} in more than one split, such as {examples}",
            advice="give each of them to one split alone, before anything is augmented or cut into pieces",
            other=str(next(iter(spread))),
            splits=in_order({split for counts in spread.values() for split in counts}),
            measures={"shared": len(spread), "total": total},
        )
    ]


def in_order(splits: Iterable[str]) -> tuple[str, ...]:
    """Return train, val and test in this order, then others by name."""
    return tuple(sorted(splits, key=lambda split: (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)))


def require_gap(gap: int) -> None:
    """Refuse a gap that is no number of slices.

    Raises:
        ConfigError: it is no whole number, or below 0.
    """
    if isinstance(gap, bool) or not hasattr(gap, "__index__") or gap < 0:
        raise ConfigError(f"gap: expected 0 or more slices, got {gap!r}")


def _leaking(split: str, table: Iterable[Mapping[str, int]]) -> int:
    return sum(counts.get(split, 0) for counts in table if "train" in counts)


def _shared(digest: str, splits: Mapping[str, Mapping[Unit, int]], pair: tuple[str, str]) -> Finding:
    told = [_told(split, splits[split]) for split in pair]
    return Finding(
        check="M003",
        severity="critical",
        text=f"one source slice is in two splits: {told[0]} and {told[1]}; its sha256 is {digest:.12}...",
        advice="take it out of one split, or out of the source where it is there twice, and build again",
        other=str(next(iter(splits[pair[0]]))),
        splits=pair,
        measures={"samples": sum(sum(splits[split].values()) for split in pair)},
    )


def _near(
    group: str, pair: tuple[str, str], here: Sequence[Number], there: Sequence[Number], gap: int
) -> Finding | None:
    """Return the finding about two splits of one stack, whose slices are given in ascending order."""
    near = [(abs(z - other), z, other) for z in here for other in _nearest(z, there) if abs(z - other) <= gap]
    if not near:
        return None
    distance, z, other = min(near)
    n_here = len({each[1] for each in near})
    n_there = sum(any(abs(each - own) <= gap for own in _nearest(each, here)) for each in there)
    return Finding(
        check="M004",
        severity="critical" if distance <= 1 else "error",
        text=f"{group}: {n_here} {pair[0]} and {n_there} {pair[1]} slices lie within {gap} of each other; the closest "
        f"are z {z} ({pair[0]}) and z {other} ({pair[1]})",
        advice=f"leave {gap} slices between two splits in neither (augpipe build --gap {gap}, or another split file)",
        other=str(Unit(group, z)),
        splits=pair,
        measures={"distance": distance, "slices": n_here + n_there},
    )


def _nearest(z: Number, places: Sequence[Number]) -> list[Number]:
    """Return the next place below z and the next above it; z itself is no neighbour."""
    below, above = bisect_left(places, z), bisect_right(places, z)
    return [*places[max(0, below - 1) : below], *places[above : above + 1]]


def _told(split: str, units: Mapping[Unit, int]) -> str:
    more = f" and {len(units) - 1} more" * (len(units) > 1)
    return f"{next(iter(units))}{more} in {split} ({sum(units.values())} samples)"


def _shares(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[split]} {split}" for split in in_order(counts))
