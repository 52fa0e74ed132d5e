"""Splits made anew so that no two of them have files that show the same: what is joined in, what moves out."""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.plan.split import in_order


class PlacedFile(NamedTuple):
    """A file, and the split that it was found in."""

    split: str
    name: str


class Join(NamedTuple):
    """Files that belong into one split, and why, as words before the name of one of them: `has the same pixels as`."""

    because: str
    files: tuple[PlacedFile, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """A file that goes to an earlier split.

    Attributes:
        file: the file, where it was.
        to: the split that it goes to.
        because: why, as a join says it.
        other: the file that it goes with.
    """

    file: PlacedFile
    to: str
    because: str
    other: PlacedFile


@dataclass(frozen=True, slots=True)
class Regrouping:
    """The files of a split, and those of them that move.

    Attributes:
        files: all of them, split by split.
        moves: in the order of the files.
    """

    files: tuple[PlacedFile, ...]
    moves: tuple[Move, ...]

    @property
    def placed(self) -> dict[PlacedFile, str]:
        """The split of every file after the moves."""
        return {file: file.split for file in self.files} | {move.file: move.to for move in self.moves}

    @property
    def emptied(self) -> tuple[str, ...]:
        """The splits that no file would be left in."""
        return in_order({file.split for file in self.files} - set(self.placed.values()))


def regroup(files: Sequence[PlacedFile], joins: Iterable[Join]) -> Regrouping:
    """Return the regrouping that moves each file to the earliest split that joins lead to: train, val, then test.

    So held-out splits shrink, and what was trained on stays. A file that no join leads out of its split stays there.
    """
    joins_of: defaultdict[PlacedFile, list[Join]] = defaultdict(list)
    for join in dict.fromkeys(joins):
        for file in join.files:
            joins_of[file].append(join)
    # Breadth first from all files of a split at once: so `because` names the shortest way into it. Whatever an earlier
    # split has reached is taken, and a join needs to be followed once.
    moves: dict[PlacedFile, Move | None] = {}
    followed: set[Join] = set()
    for split in in_order({file.split for file in files}):
        reached = deque(file for file in files if file.split == split and file not in moves)
        moves |= dict.fromkeys(reached)
        while reached:
            file = reached.popleft()
            for join in joins_of[file]:
                new = () if join in followed else [other for other in join.files if other not in moves]
                followed.add(join)
                moves |= {other: Move(other, split, join.because, file) for other in new}
                reached.extend(new)
    return Regrouping(tuple(files), tuple(move for file in files if (move := moves[file])))
