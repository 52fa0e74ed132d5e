"""What identifies the pixels that a dataset was made from, stack by stack, and what was done to them before."""

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from pipeline.errors import ConfigError
from pipeline.shards.config import LabelKind
from pipeline.shards.digest import SHA256

MAX_LABEL_VALUE = 65535  # of a label as it is in its file, unless it is renumbered, ignored or a colour
_MAX_STACKS, _MAX_SLICES = 10**3, 10**5  # what the ids of samples have room for
_MAX_SLICES_IN_ALL = 10**6  # the split of every slice is held in memory
MAX_CHANNELS = 32
_MAX_NAME_LENGTH = 80
_COLOR = re.compile(r"#[0-9a-f]{6}")
NOT_IN_A_LINE = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of characters, ends of lines


@dataclass(frozen=True, slots=True)
class ImageInput:
    """The images of one stack.

    Attributes:
        sha256: array digest, of (Z, Y, X), or of (Z, Y, X, C) where there are channels.
        shape: (Z, Y, X).
        dtype: as they are rendered.
        channels: what they are called, 2 to 32; None for gray.
    """

    sha256: str
    shape: tuple[int, int, int]
    dtype: str
    channels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _require_array(self.shape, self.sha256)
        if self.channels is not None:
            require_channels(self.channels)


@dataclass(frozen=True, slots=True)
class Renumbering:
    """Ids that were numbered anew, 1 to n, in the order of their values.

    Attributes:
        rule: `by value`, the only one there is.
        n: ids, without background and without what is ignored.
        sha256: array digest of the ids as they were, uint64, in rising order.
    """

    rule: Literal["by value"]
    n: int
    sha256: str

    def __post_init__(self) -> None:
        if self.n < 1 or not SHA256.fullmatch(self.sha256):
            raise ConfigError(f"renumbered: n or sha256 is out of range, got {self.n!r:.40}, {self.sha256!r:.80}")


@dataclass(frozen=True, slots=True)
class LabelInput:
    """The labels of one stack, as they are in the file.

    Attributes:
        sha256: array digest.
        shape: (Z, Y, X).
        dtype: in the file.
        kind: what the values mean.
        values: the value of each class index, in rising order; empty for instances. That of a colour is 0xRRGGBB.
        names: what each class is called, where that is known; `background` and one more for instances.
        colors: the colour of each class as `#rrggbb`, where labels were colours or places in a table of them.
        ignored: the values that mean nothing, in rising order: they are stored as the one value for that.
        renumbered: how ids were numbered anew, if they were.
    """

    sha256: str
    shape: tuple[int, int, int]
    dtype: str
    kind: LabelKind
    values: tuple[int, ...]
    names: tuple[str, ...] | None = None
    colors: tuple[str, ...] | None = None
    ignored: tuple[int, ...] | None = None
    renumbered: Renumbering | None = None

    def __post_init__(self) -> None:
        _require_array(self.shape, self.sha256)
        n = len(self.values) or 2
        if self.names is not None and (len(self.names) != n or not all(map(is_name, self.names))):
            raise ConfigError(f"expected the names of {n} classes, got {self.names!r:.80}")
        if self.colors is not None and (len(self.colors) != n or not all(map(_COLOR.fullmatch, self.colors))):
            raise ConfigError(f"expected the colours of {n} classes, such as #ff0000, got {self.colors!r:.80}")
        if self.ignored is not None and not self.ignored:
            raise ConfigError("expected the label values that are ignored, got none")

    @property
    def stored_dtype(self) -> str:
        """The dtype of labels as they are stored: uint8 class indices; uint16 ids, or uint32 where they are more."""
        if self.kind != "instances":
            return "uint8"
        return "uint32" if self.renumbered is not None and self.renumbered.n >= MAX_LABEL_VALUE else "uint16"


@dataclass(frozen=True, slots=True)
class StackInput:
    """What identifies the pixels of one stack, and what of its slices decides where they may go.

    Attributes:
        images: of the stack.
        labels: of the stack.
        groups: what each slice belongs to, such as a patient; slices of a group are never in two splits.
        sequence: the place of each slice in the one sequence that the slices of all stacks make for the split; None
            where every stack is one by itself.
        skipped: slices that no split has, because nothing is annotated in them.
        boxes: for each slice, the (z, y, x) in the source of the first pixel of the box that it is.
    """

    images: ImageInput
    labels: LabelInput
    groups: tuple[str, ...] | None = None
    sequence: tuple[int, ...] | None = None
    skipped: tuple[int, ...] | None = None
    boxes: tuple[tuple[int, int, int], ...] | None = None

    def __post_init__(self) -> None:
        for name in ("groups", "sequence", "boxes"):
            values = getattr(self, name)
            if values is not None and len(values) != self.depth:
                raise ConfigError(f"{name}: expected one for each of {self.depth} slices, got {len(values)}")
        if self.groups is not None and not all(map(is_name, self.groups)):
            raise ConfigError(f"groups: expected names of 1 to {_MAX_NAME_LENGTH} characters in one line")
        if self.skipped is not None and not (self.skipped and 0 <= min(self.skipped) <= max(self.skipped) < self.depth):
            raise ConfigError(f"skipped: expected slices from 0 to {self.depth - 1}, got {self.skipped!r:.80}")
        if self.boxes is not None and min(map(min, self.boxes)) < 0:
            raise ConfigError("boxes: expected places from 0")

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values; what is not there has no key."""
        return known_values(self)

    @property
    def depth(self) -> int:
        """Slices."""
        return self.images.shape[0]

    @property
    def slice_size(self) -> tuple[int, int]:
        """(height, width) of a slice, in pixels."""
        return self.images.shape[1:]


@dataclass(frozen=True, slots=True)
class GrayScaling:
    """How gray levels of a wide range were brought to few bits: linearly from `low` and `high`, clipped and rounded.

    Attributes:
        percentiles: (low, high), of all pixels of all stacks.
        low: the gray level that became 0.
        high: the gray level that became the highest there is.
        bits: 8 or 16.
    """

    percentiles: tuple[float, float]
    low: float
    high: float
    bits: Literal[8, 16]

    def __post_init__(self) -> None:
        p_low, p_high = self.percentiles
        if not (0 <= p_low < p_high <= 100 and -math.inf < self.low < self.high < math.inf):
            raise ConfigError(f"scale_gray: expected rising percentiles and gray levels, got {self!r:.160}")


@dataclass(frozen=True, slots=True)
class SourceReading:
    """What was done to the pixels of files before they became the source, where anything was.

    Attributes:
        scale_gray: how gray levels were scaled.
        pixel_size_nm: the side of a pixel to which stacks of several resolutions were brought.
        stack_pixel_sizes_nm: the side that it had in each stack.
    """

    scale_gray: GrayScaling | None = None
    pixel_size_nm: float | None = None
    stack_pixel_sizes_nm: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.scale_gray is None and self.pixel_size_nm is None:
            raise ConfigError("reading: expected something that was done, got nothing")
        sides = (*(self.stack_pixel_sizes_nm or ()), *(() if self.pixel_size_nm is None else (self.pixel_size_nm,)))
        if not all(0 < side < math.inf for side in sides):
            raise ConfigError(f"pixel_size_nm: expected positive numbers, got {sides!r:.80}")

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values; what is not there has no key."""
        return known_values(self)


def known_values(record: Any) -> dict[str, Any]:
    """Return a record as plain JSON values, at every level without what is None."""
    values = _without_none(msgspec.to_builtins(record))
    return values if isinstance(values, dict) else {}


def is_name(text: object) -> bool:
    """Return whether a text can name a channel, a class or a group: short, and in one line."""
    return (
        isinstance(text, str)
        and 0 < len(text.strip()) == len(text) <= _MAX_NAME_LENGTH
        and not any(unicodedata.category(character) in NOT_IN_A_LINE for character in text)
    )


def require_channels(channels: Sequence[str]) -> None:
    """Refuse channels that no dataset has.

    Raises:
        ConfigError: not 2 to 32 of them, or two of one name, or a name that is none.
    """
    distinct = len(set(channels)) == len(channels) and all(map(is_name, channels))
    if not 2 <= len(channels) <= MAX_CHANNELS or not distinct:
        raise ConfigError(
            f"channels: expected 2 to {MAX_CHANNELS} different names of 1 to {_MAX_NAME_LENGTH} characters, got "
            f"{list(channels)!r:.80}"
        )


def require_inputs(inputs: Sequence[StackInput]) -> None:
    """Refuse stacks that a dataset cannot have, before anything is made for every slice of them.

    Raises:
        ConfigError: there are none, or too many stacks or slices.
    """
    if not 1 <= len(inputs) <= _MAX_STACKS:
        raise ConfigError(f"inputs: ids have room for 1 to {_MAX_STACKS} stacks, got {len(inputs)}")
    for index, stack in enumerate(inputs):
        if stack.depth > _MAX_SLICES:
            raise ConfigError(
                f"inputs: stack {index}: ids have room for {_MAX_SLICES} slices a stack, got {stack.depth}"
            )
    if len({stack.images.channels for stack in inputs}) > 1:
        raise ConfigError("inputs: expected the same channels in all stacks")
    if (n_slices := sum(stack.depth for stack in inputs)) > _MAX_SLICES_IN_ALL:
        raise ConfigError(f"inputs: expected at most {_MAX_SLICES_IN_ALL} slices in all stacks, got {n_slices}")


def _require_array(shape: tuple[int, int, int], sha256: str) -> None:
    if min(shape) < 1:
        raise ConfigError(f"expected the shape (z, y, x), got {shape!r:.80}")
    if not SHA256.fullmatch(sha256):
        raise ConfigError(f"expected a SHA-256, got {sha256!r:.80}")


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    return [_without_none(each) for each in value] if isinstance(value, list | tuple) else value
