"""Gray levels of many bits, as samples can have them: in fewer bits where nothing is lost, or scaled by percentiles.

Percentiles are exact, and in bounded memory: levels are counted by their first 16 bits, then, of those that a
percentile may be among, by the next 16, and so on.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, SourceError
from pipeline.shards.inputs import GrayScaling
from pipeline.source.stacks import RawStack, Slices

_WIDE = ("int32", "uint32", "int64", "uint64", "float64")
_STEP_BITS = 16  # that are looked at in one pass
_ADVICE = (
    "scale them with --scale-gray 0.5 99.8, the percentiles of all pixels that become black and white, or convert the "
    "stack yourself"
)


@dataclass(frozen=True, slots=True)
class ScaleGray:
    """What is asked for: gray levels between two percentiles of all pixels of all stacks, in so many bits.

    Raises:
        ConfigError: the percentiles do not rise from 0 to 100.
    """

    percentiles: tuple[float, float]
    bits: Literal[8, 16] = 16

    def __post_init__(self) -> None:
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ConfigError(f"scale-gray: expected two percentiles that rise, from 0 to 100, got {low:g} {high:g}")


class ConvertedSlices:
    """Slices that are converted as they are read.

    Args:
        slices: any.
        convert: what makes of one what is used.
        dtype: of that.
        shape: of all, where it is another one than that of the slices.
    """

    def __init__(
        self,
        slices: Slices,
        convert: Callable[[NDArray[Any]], NDArray[Any]],
        dtype: np.dtype[Any] | type,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        self._slices, self._convert = slices, convert
        self.dtype, self.shape = np.dtype(dtype), slices.shape if shape is None else shape

    @property
    def notes(self) -> tuple[str, ...]:
        """What to say of how the slices were read, once all have been."""
        notes: tuple[str, ...] = getattr(self._slices, "notes", ())
        return notes

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, z: int) -> NDArray[Any]:
        """Return slice z."""
        return self._convert(self._slices[z])

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the slices."""
        return map(self._convert, self._slices)


def in_few_bits(
    raw: Sequence[RawStack], scale: ScaleGray | None
) -> tuple[list[RawStack], GrayScaling | None, tuple[str, ...]]:
    """Return stacks whose images can be rendered, how they were scaled, if they were, and what to say of them.

    Without a scale, integers of 32 and 64 bits become 16 where all levels are whole there, and float64 becomes float32
    where that changes no pixel by half a level of 16 bits between the darkest and the brightest.

    Raises:
        ConfigError: the two percentiles are the same gray level.
        SourceError: gray levels do not fit, or are not finite.
    """
    if scale is not None:
        scaling = _measured(raw, scale)
        return (
            [replace(stack, images=scaled(stack.images, scaling)) for stack in raw],
            scaling,
            (_scaling_note(scaling),),
        )
    integers = [stack for stack in raw if stack.images.dtype.name in _WIDE and stack.images.dtype.kind != "f"]
    target = _integer_dtype(integers) if integers else None
    stacks, notes = [], []
    for stack in raw:
        name = stack.images.dtype.name
        if name not in _WIDE:
            stacks.append(stack)
            continue
        if name == "float64":
            dtype, change = np.dtype(np.float32), _float32_change(stack)
            kept = "exactly" if change == 0 else f"which changes no pixel by more than {change:.1g}"
        else:
            dtype, kept = target or np.dtype(np.uint16), "unchanged"
        stacks.append(replace(stack, images=_converted(stack.images, dtype)))
        notes.append(f"source: {stack.where[0]}: {name} gray levels are stored as {dtype.name}, {kept}")
    return stacks, None, tuple(notes)


def scaled(images: Slices, scaling: GrayScaling) -> Slices:
    """Return images whose gray level x is round((x - low) / (high - low) * (2^bits - 1)), half to even, and clipped."""
    top = 2**scaling.bits - 1
    dtype = np.dtype(np.uint8 if scaling.bits == 8 else np.uint16)
    factor = top / (scaling.high - scaling.low)

    def convert(pixels: NDArray[Any]) -> NDArray[Any]:
        levels = (pixels.astype(np.float64) - scaling.low) * factor
        if not np.isfinite(levels).all():
            raise SourceError("gray levels hold NaN or infinite pixels; replace them")
        whole: NDArray[Any] = np.clip(np.rint(levels), 0, top).astype(dtype)
        return whole

    return ConvertedSlices(images, convert, dtype)


def _converted(images: Slices, dtype: np.dtype[Any]) -> Slices:
    return ConvertedSlices(images, lambda pixels: pixels.astype(dtype), dtype)


def _integer_dtype(stacks: Sequence[RawStack]) -> np.dtype[Any]:
    """Return the 16 bits that hold all gray levels of some stacks."""
    low = min(int(image.min()) for stack in stacks for image in stack.images)
    high = max(int(image.max()) for stack in stacks for image in stack.images)
    for dtype in (np.uint16, np.int16):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    more = f" and {len(stacks) - 1} more" if len(stacks) > 1 else ""
    raise SourceError(
        f"{stacks[0].where[0]}{more}: {stacks[0].images.dtype.name} gray levels from {low:,} to {high:,}, more than 16 "
        f"bits hold; {_ADVICE}"
    )


def _float32_change(stack: RawStack) -> float:
    """Return by how much float32 changes a pixel of float64 at most."""
    low, high, change = math.inf, -math.inf, 0.0
    for z, image in enumerate(stack.images):
        _require_finite(image, stack.where[0], z)
        low, high = min(low, float(image.min())), max(high, float(image.max()))
        with np.errstate(over="ignore"):
            change = max(change, float(np.abs(image - image.astype(np.float32)).max()))
    if not change <= (high - low) / 2**17:
        raise SourceError(
            f"{stack.where[0]}: float64 gray levels from {low:.12g} to {high:.12g}, which float32 would change by "
            f"{change:.1g}; {_ADVICE}"
        )
    return change


def _require_finite(image: NDArray[Any], where: str, z: int) -> None:
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise SourceError(f"{where}: slice {z} holds NaN or infinite pixels; replace them")


def _measured(raw: Sequence[RawStack], scale: ScaleGray) -> GrayScaling:
    """Return the scaling that percentiles ask for; a percentile is a gray level that occurs."""
    for stack in raw:
        if stack.images.dtype.kind not in "buif":
            raise SourceError(f"{stack.where[0]}: expected gray levels, got {stack.images.dtype.name}")
    n_pixels = sum(math.prod(stack.images.shape) for stack in raw)
    ranks = [max(0, math.ceil(Fraction(repr(float(p))) * n_pixels / 100) - 1) for p in scale.percentiles]
    low, high = _levels_at(raw, ranks)
    if not low < high or not math.isfinite((2**scale.bits - 1) / (high - low)):
        one, other = scale.percentiles
        raise ConfigError(
            f"scale-gray: percentiles {one:g} and {other:g} are the gray levels {low:g} and {high:g}; choose two that "
            "are different"
        )
    return GrayScaling(scale.percentiles, low, high, scale.bits)


def _levels_at(raw: Sequence[RawStack], ranks: Sequence[int]) -> tuple[float, ...]:
    """Return the gray levels that have these places when all pixels are sorted."""
    dtype = np.result_type(*(stack.images.dtype for stack in raw))
    dtype = np.dtype({1: np.int16, 2: np.float32}.get(dtype.itemsize, dtype) if dtype.kind in "bf" else dtype)
    n_bits = 8 * max(2, dtype.itemsize)
    starts, places = [0] * len(ranks), list(ranks)
    for shift in range(n_bits - _STEP_BITS, -1, -_STEP_BITS):
        counts = [np.zeros(1 << _STEP_BITS, np.int64) for _ in ranks]
        for stack in raw:
            for z, image in enumerate(stack.images):
                _require_finite(image, stack.where[0], z)
                keys = _keys(image.astype(dtype), n_bits).ravel()
                for number, start in enumerate(starts):
                    among = keys if shift + _STEP_BITS == n_bits else keys[keys >> (shift + _STEP_BITS) == start]
                    steps = (among >> shift & ((1 << _STEP_BITS) - 1)).astype(np.int64)
                    counts[number] += np.bincount(steps, minlength=1 << _STEP_BITS)
        for number, count in enumerate(counts):
            ends = np.cumsum(count)
            step = int(np.searchsorted(ends, places[number], side="right"))
            places[number] -= int(ends[step] - count[step])
            starts[number] = starts[number] << _STEP_BITS | step
    return tuple(_level(start, dtype, n_bits) for start in starts)


def _keys(pixels: NDArray[Any], n_bits: int) -> NDArray[Any]:
    """Return unsigned numbers of so many bits that have the same order as the pixels."""
    unsigned = np.dtype(f"u{n_bits // 8}")
    if pixels.dtype.kind == "u":
        return pixels.astype(unsigned)
    sign = unsigned.type(1 << n_bits - 1)
    if pixels.dtype.kind == "i":
        keys: NDArray[Any] = pixels.astype(f"i{n_bits // 8}").view(unsigned) ^ sign
        return keys
    bits = pixels.view(unsigned)  # of IEEE 754: rising above zero, falling below
    return np.where(bits & sign, ~bits, bits | sign)


def _level(key: int, dtype: np.dtype[Any], n_bits: int) -> float:
    """Return the gray level that has a key."""
    unsigned = np.dtype(f"u{n_bits // 8}")
    if dtype.kind == "u":
        return float(key)
    sign = 1 << n_bits - 1
    if dtype.kind == "i":
        return float(key - sign)
    bits = key ^ sign if key & sign else ~key & (1 << n_bits) - 1
    return float(np.array(bits, unsigned).view(dtype)[()])


def _scaling_note(scaling: GrayScaling) -> str:
    low, high = scaling.percentiles
    return (
        f"source: gray levels from {scaling.low:g} to {scaling.high:g}, the percentiles {low:g} and {high:g} of all "
        f"pixels, are scaled to {scaling.bits} bits"
    )
