"""Stacks that are the channels of one, and the channels that are chosen of a stack."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.source.colours import channel_names
from pipeline.source.pages.formats import FileSlices


class JoinedChannels:
    """Several stacks as the channels of one: `stack[z]` reads slice z as (Y, X, C), native byte order.

    Args:
        parts: the stacks, two or more; channels that one of them has are channels of the whole.
        names: what each of the parts is called.
        slices: what the slices are called, or all together.
        notes: what to say of them beside what there is to say of the parts.

    Attributes:
        path: of the first part.
        files: those of all parts.
        slices: what the slices are called, or all together.
        axis: what the first part calls its slices.
        shape: (Z, Y, X, C).
        dtype: of every slice.
        channels: what they are called.
        white_is_zero: False.
        palette: None.
        notes: what to say of how pixels are read, once all have been.

    Raises:
        ConfigError: the parts differ in size or dtype.
    """

    white_is_zero, palette = False, None

    def __init__(
        self,
        parts: Sequence[FileSlices],
        names: Sequence[str],
        *,
        slices: Sequence[str],
        notes: Sequence[str] = (),
    ) -> None:
        first, self.parts = parts[0], tuple(parts)
        self.path, self.axis, self.dtype = first.path, first.axis, first.dtype
        places = [(part.path, part.files) for part in parts]
        if twice := next((place for place in places if places.count(place) > 1), None):
            raise ConfigError(f"{twice[0]}: is named twice for channels of one stack; name every channel once")
        for part in parts:
            if (part.shape[:3], part.dtype) != (first.shape[:3], first.dtype):
                raise ConfigError(
                    f"{part.path}: {_kind(part)}, but {first.path} has {_kind(first)}; the channels of one stack are "
                    "alike: export them again"
                )
        self.files = tuple(file for part in parts for file in part.files)
        self.slices = tuple(slices)
        called = [channel for part, name in zip(parts, names, strict=True) for channel in part.channels or (name,)]
        self.channels = channel_names(called, len(called))
        self.shape = (*first.shape[:3], len(called))
        self.notes = tuple(dict.fromkeys((*notes, *(note for part in parts for note in part.notes))))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, z: int) -> NDArray[Any]:
        """Return slice z.

        Raises:
            SourceError: its pixels are damaged.
        """
        return np.dstack([part[z] for part in self.parts])

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the slices."""
        return map(np.dstack, zip(*self.parts, strict=True))


class ChosenChannels:
    """Some channels of a stack, in an order of their own: `stack[z]` reads slice z as (Y, X, C), or (Y, X) of one.

    Args:
        stack: one of several channels.
        wanted: their names, or their numbers from 0.

    Attributes:
        channels: what they are called; empty where there is one.

    The others are those of the stack.

    Raises:
        ConfigError: there is no such channel, or it is named twice.
    """

    def __init__(self, stack: FileSlices, wanted: Sequence[str]) -> None:
        self._stack = stack
        self.path, self.files, self.axis, self.dtype = stack.path, stack.files, stack.axis, stack.dtype
        self.white_is_zero, self.palette, self.notes = stack.white_is_zero, stack.palette, stack.notes
        self._places = [_place_of(name, stack) for name in wanted]
        for name, place in zip(wanted, self._places, strict=True):
            if self._places.count(place) > 1:
                raise ConfigError(f"channel: {name} is named twice; name every channel once")
        names = tuple(stack.channels[place] for place in self._places)
        self.channels = names if len(names) > 1 else ()
        self.shape = (*stack.shape[:3], *([len(names)] if self.channels else []))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, z: int) -> NDArray[Any]:
        """Return slice z.

        Raises:
            SourceError: its pixels are damaged.
        """
        return self._chosen(self._stack[z])

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the slices."""
        return map(self._chosen, self._stack)

    def _chosen(self, pixels: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(pixels[..., self._places] if self.channels else pixels[..., self._places[0]])


def split_names(wanted: Sequence[str], stack: FileSlices) -> list[str]:
    """Return the channels that are wanted one by one, where several may be in one text, with commas between them."""
    return [
        name.strip()
        for text in wanted
        for name in ([text] if text in stack.channels else text.split(","))
        if name.strip()
    ]


def _place_of(name: str, stack: FileSlices) -> int:
    """Return the place of a channel, by its name or, where none has that name, its number from 0."""
    by_name = {channel.casefold(): place for place, channel in enumerate(stack.channels)}
    if name in stack.channels:
        return stack.channels.index(name)
    if len(by_name) == len(stack.channels) and name.casefold() in by_name:
        return by_name[name.casefold()]
    if name.isdecimal() and name.isascii() and int(name) < len(stack.channels):
        return int(name)
    raise ConfigError(
        f"channel: there is no channel {name!r:.80} in {stack.path}; it has {', '.join(stack.channels)}, or 0 to "
        f"{len(stack.channels) - 1}"
    )


def _kind(stack: FileSlices) -> str:
    return f"{' x '.join(map(str, stack.shape[:3]))} (Z, Y, X) {stack.dtype.name}"


def require_same_labels(labels: Sequence[FileSlices], images: Sequence[Path]) -> None:
    """Refuse channels whose slices have other labels, so that they would not be channels of the same slices.

    Raises:
        ConfigError: they have.
    """
    for each, path in zip(labels, images, strict=True):
        if each.files != labels[0].files:
            raise ConfigError(
                f"{path}: its pages come in another order than those of {images[0]}; name the channels of a slice alike"
            )
