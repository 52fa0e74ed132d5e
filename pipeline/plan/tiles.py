"""The samples of a plain split: slice by slice, every tile of it, row by row."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from augment.plain import count_tiles
from pipeline.errors import ConfigError
from pipeline.plan.split import Assignment, SliceAddress
from pipeline.shards.config import BuildConfig
from pipeline.shards.manifest import MAX_REPLICATES

_Sizes = Sequence[tuple[int, int]]


def count_plain_samples(
    config: BuildConfig, assignment: Assignment, slice_sizes: _Sizes, counts: Mapping[str, int]
) -> dict[str, int]:
    """Return how many samples each plain split has.

    Args:
        config: of the build.
        assignment: the split of every slice.
        slice_sizes: (height, width) of the slices of each stack.
        counts: the samples of each split that there is.

    Raises:
        ConfigError: a split that is to be plain has no slice, or the ids have no room for so many tiles.
    """
    for split in config.plain:
        if split not in counts:
            raise ConfigError(
                f"plain-{split}: no slice is in {split}; hold some out with --{split}, or leave out --plain-{split}"
            )
    n_tiles = [count_tiles(size, config.size) for size in slice_sizes]
    if config.plain and max(n_tiles) > MAX_REPLICATES:
        raise ConfigError(
            f"size: ids have room for {MAX_REPLICATES} samples a slice; a plain split needs {max(n_tiles)} of "
            f"{config.size[0]} x {config.size[1]} px"
        )
    return {split: sum(n_tiles[address.stack] for address in assignment.slices(split)) for split in config.plain}


def place_tiles(
    slices: Sequence[SliceAddress], slice_sizes: _Sizes, window: tuple[int, int], positions: range
) -> Iterator[tuple[SliceAddress, int]]:
    """Yield for some positions in a plain split which slice is there, and which tile of it.

    Args:
        slices: of the split.
        slice_sizes: (height, width) of the slices of each stack.
        window: (height, width) of a tile.
        positions: counted from 0 in the split.
    """
    ends = list(accumulate(count_tiles(slice_sizes[address.stack], window) for address in slices))
    for position in positions:
        index = bisect_right(ends, position)
        yield slices[index], position - (ends[index - 1] if index else 0)
