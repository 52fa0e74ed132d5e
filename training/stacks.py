"""Stacks as a network takes them: opened as a build opens them, and brought to what the dataset was made of."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.shards.context import mirrored, offsets
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


class ContextSlices:
    """The slices of a stack as a network sees them that was trained with context: with their neighbours' channels.

    The slices that were read last are kept for the next one, which shows most of them again.

    Args:
        slices: (Z, Y, X) or (Z, Y, X, C).
        beside: returns the slices that are shown beside slice z, in the order of their channels.
        reach: how many on either side.
    """

    def __init__(self, slices: "Slices", beside: Callable[[int], Sequence[int]], reach: int) -> None:
        depth, height, width, *channels = slices.shape
        self.shape = (depth, height, width, len(offsets(reach)) * (channels or [1])[0])
        self.dtype, self._beside, self._reach = slices.dtype, beside, reach
        self._read = lru_cache(maxsize=len(offsets(reach)))(slices.__getitem__)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, z: int) -> NDArray[Any]:
        """Return slice z with its neighbours, (Y, X, C)."""
        beside = self._beside(z)
        shown = (*beside[: self._reach], z, *beside[self._reach :])
        return np.concatenate([np.atleast_3d(self._read(each)) for each in shown], axis=2)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the slices in order."""
        return (self[z] for z in range(len(self)))


def in_context(slices: "Slices", path: Path, reach: int) -> ContextSlices:
    """Return the slices of a whole stack with their neighbours, mirrored at its ends.

    Raises:
        ConfigError: there is but one slice, which has no neighbours.
    """
    last = len(slices) - 1
    if not last:
        raise ConfigError(
            f"{path}: expected a stack of two slices or more, as the network was trained on slices with "
            f"{reach} on either side, got one; name the whole stack"
        )
    places = [offset for offset in offsets(reach) if offset]
    return ContextSlices(slices, lambda z: [mirrored(z + offset, 0, last) for offset in places], reach)


def open_labels(path: Path, *, are_colors: bool) -> "Slices":
    """Return the labels in a TIFF file, as a build reads them.

    Raises:
        ConfigError: there is no such file.
        SourceError: it cannot be read.
    """
    from pipeline.source.label_colours import ColourLabels
    from pipeline.source.tiff import TiffStack, open_stack

    if not are_colors:
        return open_stack(path, labels=True)
    stack = TiffStack(path, labels=True, colour=True)
    return ColourLabels(stack, str(path), stack.palette)
