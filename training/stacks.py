"""Stacks as a network takes them: opened as a build opens them, and brought to what the dataset was made of."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.shards.inputs import SourceReading

if TYPE_CHECKING:
    from pipeline.source.stacks import Slices

log = logging.getLogger("augtrain")


def open_images(path: Path, channels: Sequence[str], reading: SourceReading | None) -> "Slices":
    """Return the slices of a stack in the channels and the gray levels that a network was trained on.

    Args:
        path: a TIFF file, or whatever else `augpipe build` reads as a stack.
        channels: what the channels are called; empty for gray.
        reading: what was done to the pixels that it was trained on.

    Raises:
        ConfigError: there is no such file.
        SourceError: it cannot be read.
    """
    from pipeline.source.gray_levels import scaled
    from pipeline.source.opening import open_slices
    from pipeline.source.pages.channels import ChosenChannels

    stack = open_slices(path, labels=False, channels_are_slices=not channels)
    slices: Slices = stack
    if channels and tuple(channels) != stack.channels and set(channels) <= set(stack.channels):
        slices = ChosenChannels(stack, channels)
    if reading is not None and reading.scale_gray is not None:
        slices = scaled(slices, reading.scale_gray)
    if reading is not None and reading.pixel_size_nm is not None:
        log.warning(
            "%s: the network was trained on pixels of %g nm; what is in it is taken as it is",
            path,
            reading.pixel_size_nm,
        )
    return slices
