"""Places on a slice: pixels of its foreground, its classes or its objects, one of which a window is to show."""

import math
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.recipe import Place
from augment.seeding import Stream
from pipeline.shards.config import Focus
from pipeline.source.label_values import run_starts
from pipeline.source.stacks import Source

_MAX_HELD_BYTES = 1 << 28  # of all slices; the places of others are found again whenever they are needed


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """The places of one slice, group by group: all of its foreground, or each class, or each object.

    Attributes:
        width: of the slice, in pixels.
        starts: the first pixel of every run of pixels of a group, counted along the rows; group by group.
        ends: how many pixels that run and those before it have.
        bounds: how many pixels the groups before each have, and all groups.
    """

    width: int
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    bounds: NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return self.starts.nbytes + self.ends.nbytes + self.bounds.nbytes

    def draw(self, stream: Stream) -> Place | None:
        """Return (y, x) of a pixel: of a group, each as likely, then of its pixels; None where there is none.

        Args:
            stream: a fresh one; two of its numbers are used.
        """
        if not self.ends.size:
            return None
        group = _below(self.bounds.size - 1, stream)
        first, last = int(self.bounds[group]), int(self.bounds[group + 1])
        number = first + _below(last - first, stream)
        run = int(np.searchsorted(self.ends, number, side="right"))
        before = int(self.ends[run - 1]) if run else 0
        return divmod(int(self.starts[run]) + number - before, self.width)


def find_places(label: NDArray[Any], focus: Focus, *, instances: bool, ignore: int | None) -> Places:
    """Return the places of a slice.

    Args:
        label: (Y, X) class indices or ids, as they are stored; 0 is the background.
        focus: which groups they are of. Objects are those of an id, or, where labels are no ids, connected regions of
            a class, whose pixels have edges in common.
        instances: labels are ids.
        ignore: the value that means nothing, if there is one.
    """
    wanted = label != 0
    if ignore is not None:
        wanted &= label != ignore
    if focus == "foreground":
        groups: NDArray[Any] = wanted
    elif focus == "class" or instances:
        groups = np.where(wanted, label, 0)
    else:
        groups = _regions(label, wanted)
    pixels = groups.ravel()
    starts = run_starts(pixels)
    lengths, of_group = np.diff(starts, append=pixels.size), pixels[starts]
    order = np.argsort(of_group, kind="stable")
    order = order[of_group[order] != 0]
    ends = np.cumsum(lengths[order])
    last_runs = np.flatnonzero(np.diff(of_group[order].astype(np.int64), append=-1))
    return Places(label.shape[1], starts[order], ends, np.concatenate(([0], ends[last_runs])))


class SourcePlaces:
    """The places of all slices of a source, each found once, as far as they have room in memory.

    Args:
        source: the slices.
        focus: which places.
    """

    def __init__(self, source: Source, focus: Focus) -> None:
        self._source, self._focus = source, focus
        self._found: dict[tuple[int, int], Places] = {}
        self._held_bytes = 0
        self._one_by_one = threading.Lock()  # large slices need memory while their places are found

    def of_slice(self, stack: int, z: int) -> Places:
        """Return the places of a slice; from several threads."""
        with self._one_by_one:
            if (known := self._found.get((stack, z))) is not None:
                return known
            coding = self._source.coding
            label = self._source.stacks[stack].labels[z]
            found = find_places(label, self._focus, instances=coding.kind == "instances", ignore=coding.ignore)
            if self._held_bytes + found.nbytes <= _MAX_HELD_BYTES:
                self._found[stack, z] = found
                self._held_bytes += found.nbytes
            return found


def _regions(label: NDArray[Any], wanted: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the connected regions of every class, numbered from 1, class by class."""
    from scipy import ndimage

    regions, n_regions = np.zeros(label.shape, np.int64), 0
    for value in np.unique(label[wanted]):
        numbers, n_found = ndimage.label(label == value)
        np.add(numbers, n_regions, out=regions, where=numbers > 0)
        n_regions += n_found
    return regions


def _below(n: int, stream: Stream) -> int:
    """Return a whole number from 0 to n - 1."""
    return min(math.floor(stream.fraction() * n), n - 1)
