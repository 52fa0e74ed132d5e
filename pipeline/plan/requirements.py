"""What a build refuses: options that its labels, or its slices and their splits, have nothing for."""

from collections.abc import Sequence

import numpy as np

from augment.operations.stain import STAINED_DTYPES
from pipeline.errors import ConfigError, counted
from pipeline.plan.split import Assignment, SliceAddress
from pipeline.shards.config import BuildConfig
from pipeline.shards.context import neighbours, offsets
from pipeline.shards.inputs import MAX_CHANNELS, ImageInput, LabelInput, StackInput
from pipeline.source.colours import RGB
from pipeline.source.stacks import Source

_NO_COLOURS = "leave it out, or use another preset"


def require_labels(config: BuildConfig, labels: LabelInput) -> None:
    """Refuse options that go with other labels.

    Raises:
        ConfigError: a margin that needs ids where there are none, or a focus on classes where there are none.
    """
    if config.focus == "class" and labels.kind == "instances":
        raise ConfigError("focus class: instances are all of one class; use focus object, or foreground")
    if config.margin == "own" and labels.kind != "instances":
        raise ConfigError(
            f"margin own: it numbers mirrored objects, and these labels are {labels.kind}; use margin shared, or ignore"
        )
    if config.marks_ignored and len(labels.values) > np.iinfo(labels.stored_dtype).max:
        raise ConfigError(
            f"{config.takes_highest}: {len(labels.values)} classes leave no value for what is ignored; "
            f"{way_out(config)}"
        )


def require_colors(config: BuildConfig, images: ImageInput) -> None:
    """Refuse operations on colours where there are none.

    Raises:
        ConfigError: the images are not of red, green and blue, or nobody knows which of their gray levels is white.
    """
    for name in ("color", "stain"):
        if name in config.ranges.operations and images.channels != RGB:
            channels = f"the channels {', '.join(images.channels)}" if images.channels else "one channel"
            raise ConfigError(
                f"{name}: expected images of red, green and blue, got {channels}; leave it out, or use another preset"
            )
    if config.ranges.stain is not None and images.dtype not in STAINED_DTYPES:
        expected = " or ".join(STAINED_DTYPES)
        raise ConfigError(f"stain: expected images of {expected}, got {images.dtype}; {_NO_COLOURS}")


def way_out(config: BuildConfig) -> str:
    """Return what to do where labels have no value for what is ignored."""
    return "use margin shared" if config.margin in ("own", "ignore") else "switch it off with --defects 0 0"


def require_engine(config: BuildConfig) -> None:
    """Refuse what the engine cannot make.

    Raises:
        ConfigError: it tells no mirror images apart, or does no operations on gray levels.
    """
    if config.engine != "staged":
        return
    if config.margin != "shared":
        raise ConfigError(
            f"margin {config.margin}: the staged engine does not tell mirror images apart; use margin shared, or the "
            "fused engine"
        )
    if operations := config.ranges.operations:
        raise ConfigError(
            f"{next(iter(operations)).replace('_', '-')}: the staged engine knows gain and bias alone; "
            "use the fused engine"
        )


def require_context(config: BuildConfig, inputs: Sequence[StackInput], assignment: Assignment) -> None:
    """Refuse to show the neighbours of a slice that has none, or more channels than an image may have.

    Raises:
        ConfigError: there is such a slice in a split, or there are so many channels.
    """
    if not config.context:
        return
    n_channels = len(inputs[0].images.channels or ("gray",))
    if (n := n_channels * len(offsets(config.context))) > MAX_CHANNELS:
        raise ConfigError(
            f"context {config.context}: {len(offsets(config.context))} slices of {counted(n_channels, 'channel')} are "
            f"{n}, an image may have {MAX_CHANNELS}; show fewer, or keep fewer with --channel"
        )
    for address, split in assignment:
        if split and set(neighbours(inputs[address.stack], address.z, 1)) == {address.z}:
            raise ConfigError(
                f"context {config.context}: slice {address.z} of stack {address.stack} has no neighbour to show, as "
                "the only one of its stack, its group or its place in a sequence; leave out --context"
            )


def require_distinct(source: Source, assignment: Assignment) -> None:
    """Refuse the same picture in two splits under two numbers; slices of one gray level show no tissue.

    Raises:
        ConfigError: there is one.
    """
    first: dict[str, tuple[SliceAddress, str]] = {}
    for address, split in assignment:
        stack = source.stacks[address.stack]
        if split is None or address.z in stack.blank:
            continue
        earlier, earlier_split = first.setdefault(stack.slice_sha256[address.z], (address, split))
        if earlier_split != split:
            raise ConfigError(
                f"split {split}: slice {address.z} of stack {address.stack} is the same picture as slice {earlier.z} "
                f"of stack {earlier.stack}, which is in {earlier_split}; remove one of the two from the stack"
            )


def require_foreground(source: Source, config: BuildConfig, slices: Sequence[SliceAddress]) -> None:
    """Refuse to look for foreground where there is none.

    Args:
        source: the slices.
        config: of the build.
        slices: those of the split that is trained on.

    Raises:
        ConfigError: no slice has a place for the focus, or some slice cannot have the least foreground.
    """
    if not config.looks_at_labels:
        return
    empty = [address for address in slices if address.z in source.stacks[address.stack].unlabelled]
    if config.min_foreground and empty:
        raise ConfigError(
            f"min-foreground {config.min_foreground:g}: slice {empty[0].z} of stack {empty[0].stack} shows no "
            f"foreground, as {len(empty)} of {counted(len(slices), 'slice')} of train; leave them out with "
            "--skip-unlabelled, or leave out --min-foreground"
        )
    if len(empty) == len(slices):
        raise ConfigError(
            f"focus {config.focus}: no slice of train shows any foreground; choose another --split, or focus uniform"
        )
