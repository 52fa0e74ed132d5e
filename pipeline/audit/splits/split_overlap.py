"""What splits share by their records: samples counted by slice and by digest, and the findings M003 to M005."""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple, TypeAlias

from pipeline.audit.report import Finding, Severity
from pipeline.errors import ConfigError
from pipeline.plan.split import in_order
from pipeline.shards.manifest import ManifestRow

Number: TypeAlias = int | float

_MAX_EXAMPLES = 3


class Unit(NamedTuple):
    """What no two splits may share: a slice at z of a stack, or where z is None all of a group."""

    group: str
    z: Number | None = None

    def __str__(self) -> str:
        return self.group if self.z is None else f"{self.group}, z {self.z}"


class SplitRow(NamedTuple):
    """What a manifest or a split file says of one sample.

    Attributes:
        sample: its name.
        split: the split that it is in.
        unit: what it is from.
        content: the digest of that unit's pixels, where it is known.
        replicate: which sample of that unit it is, counted from 0; None where samples are identified by name.
        beside: the units that it shows beside that, and their contents.
    """

    sample: str
    split: str
    unit: Unit
    content: str | None = None
    replicate: int | None = None
    beside: tuple[tuple[Unit, str], ...] = ()


class SplitCounts:
    """How many samples of each split show what; it grows with the number of units, not of samples.

    Attributes:
        samples: of each split.
        units: of each unit, in each split.
        contents: of each digest, in each split, from each unit.
        shown: of each split, that show the same units with the same contents.
    """

    def __init__(self, rows: Iterable[SplitRow] = ()) -> None:
        self.samples: Counter[str] = Counter()
        self.units: defaultdict[Unit, Counter[str]] = defaultdict(Counter)
        self.contents: defaultdict[str, defaultdict[str, Counter[Unit]]] = defaultdict(lambda: defaultdict(Counter))
        self.shown: Counter[tuple[str, frozenset[tuple[Unit, str | None]]]] = Counter()
        for row in rows:
            self.add(row)

    def add(self, row: SplitRow) -> None:
        """Count one more sample."""
        self.samples[row.split] += 1
        shown = frozenset(((row.unit, row.content), *row.beside))
        self.shown[row.split, shown] += 1
        for unit, content in shown if row.beside else ((row.unit, row.content),):
            self.units[unit][row.split] += 1
            if content is not None:
                self.contents[content][row.split][unit] += 1

    @property
    def members(self) -> set[tuple[Unit, str]]:
        """Every unit with every split that it has samples in."""
        return {(unit, split) for unit, counts in self.units.items() for split in counts}

    @property
    def shared_contents(self) -> tuple[str, ...]:
        """The digests that are in several splits."""
        return tuple(digest for digest, splits in self.contents.items() if len(splits) > 1)


def split_row(row: ManifestRow) -> SplitRow:
    """Return what a row of a manifest says of slices and splits."""
    unit, beside = slice_unit(row.stack, row.z), ((slice_unit(row.stack, each.z), each.sha256) for each in row.context)
    return SplitRow(row.id, row.split, unit, row.source_sha256, row.replicate, tuple(beside))


def slice_unit(stack: int, z: int) -> Unit:
    """Return a slice of a dataset's source as a unit."""
    return Unit(f"stack {stack}", z)


def find_shared(counts: SplitCounts, harmless: Collection[str] = ()) -> list[Finding]:
    """Return M003: one finding for every digest and two splits that share it.

    Args:
        counts: which split takes samples from what.
        harmless: digests that do not count, because their pixels show nothing.
    """
    return [
        _shared(digest, counts.contents[digest], pair)
        for digest in counts.shared_contents
        if digest not in harmless
        for pair in combinations(in_order(counts.contents[digest]), 2)
    ]


def find_near(members: Iterable[tuple[Unit, str]], gap: int, context: int = 0) -> list[Finding]:
    """Return M004: one finding for every stack and two splits that have slices at most `gap` apart in it.

    Args:
        members: every slice that samples of a split show.
        gap: slices of two splits must be further apart than this.
        context: how many of them a sample shows on either side of its own, which a split file does not name.
    """
    places: defaultdict[str, defaultdict[str, set[Number]]] = defaultdict(lambda: defaultdict(set))
    for unit, split in members:
        if unit.z is not None:
            places[unit.group][split].add(unit.z)
    return [
        Finding(
            check="M004",
            severity=near.severity,
            text=f"{group}: {near.n_here} {pair[0]} and {near.n_there} {pair[1]} slices lie within {gap} of each "
            f"other; the closest are z {near.here} ({pair[0]}) and z {near.there} ({pair[1]})",
            advice=f"leave {gap + 2 * context} slices between two splits in neither (augpipe build --gap {gap}, or "
            "another split file)",
            other=str(Unit(group, near.here)),
            splits=pair,
            measures={"distance": near.distance, "slices": near.n_here + near.n_there},
        )
        for group, splits in sorted(places.items())
        for pair in combinations(in_order(splits), 2)
        if (near := find_closest(splits[pair[0]], splits[pair[1]], gap))
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
    shares = [
        f"{unit} ({', '.join(f'{counts[split]} {split}' for split in in_order(counts))})"
        for unit, counts in list(spread.items())[:_MAX_EXAMPLES]
    ]
    verb = "are" if len(spread) > 1 else "is"
    return [
        Finding(
            check=check,
            severity="critical",
            text=f"{len(spread)} of {total} {noun} {verb} in more than one split, such as {'; '.join(shares)}",
            advice="give each of them to one split alone, before anything is augmented or cut into pieces",
            other=str(next(iter(spread))),
            splits=in_order({split for counts in spread.values() for split in counts}),
            measures={"shared": len(spread), "total": total},
        )
    ]


def count_leaking(counts: SplitCounts, harmless: Collection[str] = (), *, by_content: bool = True) -> dict[str, int]:
    """Return, for each split but train, how many samples show a unit or a content that samples of train show.

    Args:
        counts: which split takes samples from what.
        harmless: digests that do not count.
        by_content: whether digests count at all.
    """
    if "train" not in counts.samples:
        return {}
    trained = {unit for unit, splits in counts.units.items() if "train" in splits}
    contents = {
        digest
        for digest in (counts.shared_contents if by_content else ())
        if digest not in harmless and "train" in counts.contents[digest]
    }
    leaking = {split: [0, 0] for split in in_order(counts.samples) if split != "train"}
    for (split, shown), n in counts.shown.items():
        if split != "train":
            leaking[split][0] += n * any(unit in trained for unit, _ in shown)
            leaking[split][1] += n * any(content in contents for _, content in shown)
    return {split: max(numbers) for split, numbers in leaking.items()}


class Closest(NamedTuple):
    """The closest two slices of two splits, and how many slices of each split lie within the gap of the other's."""

    distance: Number
    here: Number
    there: Number
    n_here: int
    n_there: int

    @property
    def severity(self) -> Severity:
        """How bad it is: sections next to each other show much the same."""
        return "critical" if self.distance <= 1 else "error"


def find_closest(here: Collection[Number], there: Collection[Number], gap: int) -> Closest | None:
    """Return the closest slices of two splits of a stack, if any lie within the gap; a slice is not near itself."""
    own, others = sorted(here), sorted(there)
    near = [(abs(z - other), z, other) for z in own for other in _nearest(z, others) if abs(z - other) <= gap]
    if not near:
        return None
    n_there = sum(any(abs(other - z) <= gap for z in _nearest(other, own)) for other in others)
    return Closest(*min(near), len({z for _, z, _ in near}), n_there)


def require_gap(gap: int) -> None:
    """Refuse a gap that is not a number of slices.

    Raises:
        ConfigError: it is not a whole number, or below 0.
    """
    if isinstance(gap, bool) or not hasattr(gap, "__index__") or gap < 0:
        raise ConfigError(f"gap: expected 0 or more slices, got {gap!r}")


def _shared(digest: str, splits: Mapping[str, Counter[Unit]], pair: tuple[str, str]) -> Finding:
    parts = []
    for split in pair:
        first, *others = splits[split]
        more = f" and {len(others)} more" if others else ""
        parts.append(f"{first}{more} in {split} ({splits[split].total()} samples)")
    return Finding(
        check="M003",
        severity="critical",
        text=f"one source slice is in two splits: {parts[0]} and {parts[1]}; its sha256 is {digest:.12}...",
        advice="take it out of one split, or out of the source where it is there twice, and build again",
        other=str(next(iter(splits[pair[0]]))),
        splits=pair,
        measures={"samples": sum(splits[split].total() for split in pair)},
    )


def _nearest(z: Number, places: Sequence[Number]) -> list[Number]:
    """Return the next place below z and the next above it, of places in ascending order."""
    below, above = bisect_left(places, z), bisect_right(places, z)
    return [*places[max(0, below - 1) : below], *places[above : above + 1]]
