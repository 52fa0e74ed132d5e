"""Stacks of several resolutions brought to one: images by area or linearly, labels by the nearest pixel.

A pixel of the new grid is the mean of the area that it covers in the old one, or, where the new pixels are the smaller
ones, lies linearly between the centres of old ones; both grids begin at the same corner. All weights come from
arithmetic that IEEE 754 defines, so that they are the same on every machine.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from augment.gray import as_renderable, renderable_dtype
from pipeline.errors import ConfigError
from pipeline.shards.inputs import SourceReading
from pipeline.source.gray_levels import ConvertedSlices
from pipeline.source.stacks import ObjectSlices, RawStack

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_MAX_FACTOR = 32


@dataclass(frozen=True, slots=True)
class PixelSize:
    """The side of a pixel, in nanometres, that all stacks are to have.

    Attributes:
        target_nm: that side.
        stacks_nm: the side that it has in each stack; as the files say where it is empty.

    Raises:
        ConfigError: a side that is not a positive number.
    """

    target_nm: float
    stacks_nm: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for side in (self.target_nm, *self.stacks_nm):
            if not 0 < side < math.inf:
                raise ConfigError(f"pixel-size: expected a positive number of nanometres, got {side:g}")


def at_pixel_size(
    raw: Sequence[RawStack], asked: PixelSize, stored_nm: Sequence[float | None]
) -> tuple[list[RawStack], SourceReading]:
    """Return stacks of one resolution, and what to record of that; one that has it already stays as it is.

    Args:
        raw: stacks.
        asked: the pixel size.
        stored_nm: for each stack the side of a pixel that its files tell; None where they do not.

    Raises:
        ConfigError: it is not known for a stack, is given for more or fewer, or differs by more than 32 times.
    """
    given: Sequence[float | None] = asked.stacks_nm or stored_nm
    if len(given) != len(raw):
        raise ConfigError(
            f"pixel-size-of: expected one for each of {len(raw)} stacks, in their order, got {len(given)}"
        )
    sizes, stacks = [], []
    for stack, size in zip(raw, given, strict=True):
        where = stack.where[0]
        if size is None:
            raise ConfigError(
                f"{where}: does not say how large its pixels are; say it for all, with --pixel-size-of NM"
            )
        if not 1 / _MAX_FACTOR <= asked.target_nm / size <= _MAX_FACTOR:
            raise ConfigError(
                f"{where}: pixels of {size:g} nm, more than {_MAX_FACTOR} times as large or small as "
                f"{asked.target_nm:g} nm; see whether both are right"
            )
        if isinstance(stack.labels, ObjectSlices):
            raise ConfigError(f"{stack.where[1]}: masks of single objects are not resampled yet; make them one label")
        sizes.append(size)
        is_pair = stack.images.shape[:3] == stack.labels.shape[:3]  # else it is refused as it is
        stacks.append(_resampled(stack, asked.target_nm / size) if is_pair and size != asked.target_nm else stack)
    return stacks, SourceReading(pixel_size_nm=asked.target_nm, stack_pixel_sizes_nm=tuple(sizes))


def _resampled(stack: RawStack, step: float) -> RawStack:
    """Return a stack whose pixels are so many times as wide."""
    depth, height, width = stack.images.shape[:3]
    size = _length(height, step), _length(width, step)
    rows, columns = _weights(height, size[0], step), _weights(width, size[1], step)
    dtype = renderable_dtype(stack.images.dtype)
    nearest = np.ix_(_nearest(height, size[0], step), _nearest(width, size[1], step))
    convert = _image_converter(rows, columns, dtype)
    images_shape = (depth, *size, *stack.images.shape[3:])
    return replace(
        stack,
        images=ConvertedSlices(stack.images, convert, dtype, images_shape),
        labels=ConvertedSlices(
            stack.labels,
            lambda label: np.ascontiguousarray(label[nearest]),
            stack.labels.dtype,
            (depth, *size, *stack.labels.shape[3:]),
        ),
    )


def _image_converter(
    rows: "csr_array", columns: "csr_array", dtype: np.dtype[Any]
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return what resamples an image (Y, X) or (Y, X, C)."""

    def convert(image: NDArray[Any]) -> NDArray[Any]:
        planes = as_renderable(image).astype(np.float64).reshape(*image.shape[:2], -1)
        means = [columns @ (rows @ planes[..., channel]).T for channel in range(planes.shape[2])]
        levels = np.stack([mean.T for mean in means], axis=2).reshape(rows.shape[0], columns.shape[0], *image.shape[2:])
        if dtype.kind in "ui":  # means lie within the range of the dtype
            levels = np.floor(levels + 0.5)
        resampled: NDArray[Any] = levels.astype(dtype)
        return resampled

    return convert


def _length(n: int, step: float) -> int:
    return max(1, math.floor(n / step + 0.5))


def _nearest(n_old: int, n_new: int, step: float) -> NDArray[np.intp]:
    """Return for each new pixel the old one in which its centre lies."""
    places: NDArray[np.intp] = np.minimum((np.arange(n_new) + 0.5) * step, n_old - 1).astype(np.intp)
    return places


def _weights(n_old: int, n_new: int, step: float) -> "csr_array":
    """Return the weight of each old pixel in each new one, (n_new, n_old); each row sums to one."""
    from scipy.sparse import csr_array

    values, places, ends = [], [], [0]
    for number in range(n_new):
        if step > 1:
            begin, end = min(number * step, n_old - 1), min((number + 1) * step, n_old)
            taken = range(math.floor(begin), min(n_old, math.ceil(end)))
            weights = [min(end, place + 1) - max(begin, place) for place in taken]
        else:
            centre = min(max((number + 0.5) * step - 0.5, 0), n_old - 1)
            first = min(math.floor(centre), max(0, n_old - 2))
            taken = range(first, min(n_old, first + 2))
            weights = [first + 1 - centre, centre - first][: len(taken)]
        total = math.fsum(weights)
        values += [weight / total for weight in weights]
        places += list(taken)
        ends.append(len(places))
    return csr_array((np.array(values), np.array(places), np.array(ends)), shape=(n_new, n_old))
