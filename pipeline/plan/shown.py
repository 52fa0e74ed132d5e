"""Which split's samples show a slice: those of its own split, and with context also those of its neighbours."""

from collections.abc import Sequence

from pipeline.errors import ConfigError
from pipeline.plan.split import Assignment
from pipeline.shards.context import neighbours
from pipeline.shards.inputs import StackInput


def shown_slices(assignment: Assignment, inputs: Sequence[StackInput], reach: int) -> Assignment:
    """Return the split that shows each slice; None where none does.

    Args:
        assignment: the split of every slice.
        inputs: the stacks.
        reach: slices that a sample shows on either side of its own.

    Raises:
        ConfigError: two splits show the same slice.
    """
    if not reach:
        return assignment
    owners: list[list[str | None]] = [[None] * stack.depth for stack in inputs]
    for address, split in ((address, split) for address, split in assignment if split):
        for z in (address.z, *neighbours(inputs[address.stack], address.z, reach)):
            other = owners[address.stack][z] or split
            if other != split:
                raise ConfigError(
                    f"context {reach}: samples of {other} and of {split} would both show slice {z} of stack "
                    f"{address.stack}; leave {2 * reach} slices between two splits of a stack in neither"
                )
            owners[address.stack][z] = split
    return Assignment(tuple(map(tuple, owners)))
