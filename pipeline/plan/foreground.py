"""What to say of slices that show no foreground at all."""

from pipeline.errors import counted
from pipeline.plan.split import SliceAddress
from pipeline.plan.strategies import assign_slices
from pipeline.shards.config import BuildConfig
from pipeline.source.stacks import Source


def foreground_notes(source: Source, config: BuildConfig) -> list[str]:
    """Return a line for each split none of whose slices is labelled with anything but background.

    Likewise where only some of train are, and windows are to show foreground.

    Raises:
        ConfigError: a split would be empty.
    """
    if not any(stack.unlabelled for stack in source.stacks):
        return []

    def is_empty(address: SliceAddress) -> bool:
        return address.z in source.stacks[address.stack].unlabelled

    assignment = assign_slices(config, source.inputs)
    notes = []
    for split in assignment.splits:
        slices = assignment.slices(split)
        if all(map(is_empty, slices)):
            notes.append(
                f"split: {source.coding.nothing} in the labels of {split} "
                f"({counted(len(slices), 'slice')}), so that its samples show no foreground; choose another --split, "
                "or a --split-file"
            )
        elif split == "train" and config.focus != "uniform" and (n_empty := sum(map(is_empty, slices))):
            notes.append(
                f"focus: {n_empty} of {counted(len(slices), 'slice')} of train show no foreground; their windows lie "
                "anywhere"
            )
    return notes
