"""Rendering: a slice and a recipe in, a sample out.

The four stages (crop, deform, rotate, pad) are coordinate maps; composed, they say for every pixel of the window
where in the slice to look. Only those pixels are computed, once, by `augment.kernel`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from augment.deform import spline_basis
from augment.errors import ConfigError, RecipeError
from augment.gray import NO_CHANGE, gray_constants, gray_limits, lifted_gray, lower_gray, working_dtype
from augment.mirror_tiles import CHANGES_LABELS, Margin, find_mask, find_tiles, highest_id, ignore_value, mark_mirrored
from augment.native import Kernel
from augment.operations import Operation
from augment.operations.faults import is_beyond, is_hidden
from augment.operations.rendering import change_planes, round_planes
from augment.operations.stain import STAINED_DTYPES
from augment.recipe import Recipe
from augment.spline import FILTERED_ROWS, MARGIN_PX, MAX_PERIODS, ROOM, coefficient_blocks

Allocate: TypeAlias = Callable[[tuple[int, ...], np.dtype[Any]], NDArray[Any]]

_MAX_SLICE_PX = 2**31 - 1  # with its margin: the kernel counts pixels in int32
_resample = Kernel("augment.kernel", "resample")
MAX_CHANNELS = 32
LABEL_DTYPES = ("uint8", "uint16", "uint32")
_MAX_OVERSHOOT = 4.0  # an interpolating cubic spline in two dimensions stays below 2.5 times its control points


class Sample(NamedTuple):
    """A rendered image, (h, w) or (h, w, C), and its label (h, w)."""

    image: NDArray[Any]
    label: NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class PreparedSlice:
    """A slice as the kernel wants it: computed once, shared by every sample and thread.

    Attributes:
        size: (height, width) of the slice, in pixels.
        dtype: of the image.
        coefficients: (C, pixels) spline coefficients of every channel, flat, with MARGIN_PX mirrored pixels on every
            side; float32 for 8-bit images, else float64.
        label: the label, flat, with the same margin.
        n_channels: of the image; None where it has but one, and no axis for it.
        highest_id: in the label, the ignore value left aside.
        has_highest: whether the label holds the ignore value.
    """

    size: tuple[int, int]
    dtype: np.dtype[Any]
    coefficients: NDArray[np.floating[Any]]
    label: NDArray[Any]
    n_channels: int | None = None
    highest_id: int = 0
    has_highest: bool = False

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return self.coefficients.nbytes + self.label.nbytes


def mirror_pad(pixels: NDArray[Any], margin_px: int) -> NDArray[Any]:
    """Return the (Y, X) slice with `margin_px` mirrored pixels on every side, its edge pixels twice."""
    return np.pad(pixels, margin_px, mode="symmetric")


def prepare_slice(
    image: NDArray[Any],
    label: NDArray[Any],
    *,
    allocate: Allocate = np.empty,
    on_rows: Callable[[], None] = lambda: None,
) -> PreparedSlice:
    """Return what the kernel needs of one slice.

    Args:
        image: (Y, X), or (Y, X, C) with 1 to 32 channels; uint8, uint16, int16 or float32.
        label: (Y, X) uint8, uint16 or uint32.
        allocate: gives an array of a shape and dtype, to keep the coefficients or the label in.
        on_rows: called whenever a few rows of one of the two are written.

    Raises:
        ConfigError: shapes or dtypes that cannot be rendered.
    """
    gray_limits(image.dtype)
    if image.ndim not in (2, 3) or image.shape[:2] != label.shape or image.size == 0:
        raise ConfigError(
            f"render: image and label must be (Y, X), or (Y, X, C) and (Y, X), got {image.shape} and {label.shape}"
        )
    if image.shape[2:] > (MAX_CHANNELS,):
        raise ConfigError(f"render: an image may have {MAX_CHANNELS} channels, got {image.shape[2]}; choose some")
    if label.dtype.name not in LABEL_DTYPES:
        raise ConfigError(f"render: the label must be {', '.join(LABEL_DTYPES)}, got {label.dtype.name}")
    height, width = label.shape
    if (height + 2 * MARGIN_PX) * (width + 2 * MARGIN_PX) > _MAX_SLICE_PX:
        raise ConfigError(f"render: a slice may have about {_MAX_SLICE_PX:,} pixels, got {label.size:,}")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise ConfigError("render: the image holds pixels that are not numbers (NaN or infinity); replace them")
    image, label = (pixels.astype(pixels.dtype.newbyteorder("="), copy=False) for pixels in (image, label))
    channels = [image] if image.ndim == 2 else list(np.moveaxis(image, -1, 0))
    real, padded = working_dtype(image.dtype), (height + 2 * MARGIN_PX, width + 2 * MARGIN_PX)
    coefficients = allocate((len(channels), *padded), np.dtype(real))
    for channel, room in zip(channels, coefficients, strict=True):
        _fill(room, coefficient_blocks(channel, real), on_rows)
    padded_label = allocate(padded, label.dtype)
    _fill(padded_label, _blocks(label), on_rows)
    return PreparedSlice(
        size=(height, width),
        dtype=image.dtype,
        coefficients=coefficients.reshape(len(channels), -1),
        label=padded_label.reshape(-1),
        n_channels=None if image.ndim == 2 else image.shape[2],
        highest_id=highest_id(label),
        has_highest=int(label.max()) == ignore_value(label.dtype),
    )


def render_prepared(
    source: PreparedSlice, recipe: Recipe, out: Sample | None = None, *, margin: Margin = "shared"
) -> Sample:
    """Return the sample that `recipe` makes of a prepared slice.

    Args:
        source: the slice.
        recipe: what to make of it.
        out: arrays of the window's shape and the slice's dtypes to render into, instead of new ones.
        margin: what becomes of the label where the window shows mirror images of the slice: it is that of the slice;
            `own` gives every copy of an object an id of its own; `ignore` sets the dtype's highest value. `mask`
            leaves it as it is, for `find_mask` to tell.

    Raises:
        ConfigError: `out` has another shape or dtype, or there are not enough ids for all copies.
        RecipeError: the recipe reaches further over the slice's mirror images than can be rendered, or has gray levels
            of another number of channels.
    """
    for each in (recipe, recipe.beyond_fault()):
        if each is not None:
            require_reach(source.size, each, smaller="shift or sigma" if each is recipe else "defects")
    shape = recipe.window if source.n_channels is None else (*recipe.window, source.n_channels)
    out = sample_arrays(out, shape, source.dtype, source.label.dtype)
    if recipe.operations:
        _render_operations(source, recipe, out)
    else:
        levels = gray_constants(recipe.gray_of(len(source.coefficients)), source.dtype)
        image = lifted_gray(out.image).reshape(recipe.window[0], -1)
        _resample_into(image, out.label, source, recipe, source.coefficients, levels)
        lower_gray(out.image)
    if margin in CHANGES_LABELS and (tiles := find_tiles(recipe, source.size)) is not None:
        mark_mirrored(out.label, tiles, margin, source.label, source.highest_id)
    if recipe.defects is not None and (hidden := is_hidden(recipe.defects, recipe.window)) is not None:
        out.label[hidden] = ignore_value(out.label.dtype)
    return out


def render(image: NDArray[Any], label: NDArray[Any], recipe: Recipe, *, margin: Margin = "shared") -> Sample:
    """Return the sample that `recipe` makes of one slice: a cubic spline for the image, nearest for the label.

    Args:
        image: (Y, X), or (Y, X, C) with 1 to 32 channels; uint8, uint16, int16 or float32.
        label: (Y, X) uint8, uint16 or uint32.
        recipe: what to make of it.
        margin: what becomes of the label where the window shows mirror images of the slice, as for `render_prepared`.

    Returns:
        Image and label of the recipe's window, each in its own dtype; the image has channels as the slice has.

    Raises:
        ConfigError: shapes or dtypes that cannot be rendered.
        RecipeError: the recipe reaches further over the slice's mirror images than can be rendered.
    """
    return render_prepared(prepare_slice(image, label), recipe, margin=margin)


def load_kernels(
    image_dtype: np.dtype[Any],
    label_dtype: np.dtype[Any],
    margin: Margin = "shared",
    channels: tuple[int, ...] = (),
    operations: Mapping[str, Operation] | None = None,
) -> None:
    """Load, or on a first run compile, what renders such slices; else the first sample would wait for it.

    Args:
        image_dtype: of the slices.
        label_dtype: of their labels.
        margin: as for `render`.
        channels: how many there are, or nothing where there is no axis for them.
        operations: those of a sample of so many channels, by name.
    """
    recipe = Recipe(
        window=(2, 2),
        grid_px=(((0.0, 0.0), (0.0, 0.0)), ((0.0, 0.0), (0.0, 0.0))),
        extent_px=(2, 2),
        matrix=((1.0, 0.0), (0.0, 1.0)),
        shift_px=(0.0, 0.0),
        **(operations or {}),  # type: ignore[arg-type]  # each under its own name
    )
    render(np.zeros((2, 2, *channels), image_dtype), np.zeros((2, 2), label_dtype), recipe, margin=margin)
    if margin == "mask":
        find_mask(recipe, (2, 2))


def _render_operations(source: PreparedSlice, recipe: Recipe, out: Sample) -> None:
    """Render a sample whose gray levels are changed before they are rounded: channel by channel, into planes."""
    if recipe.stain is not None and source.dtype.name not in STAINED_DTYPES:
        raise RecipeError(f"recipe: stain is for images of {' or '.join(STAINED_DTYPES)}, got {source.dtype}")
    planes = np.empty((len(source.coefficients), *recipe.window), source.coefficients.dtype)
    _resample_planes(planes, out.label, source, recipe)
    if (beyond := recipe.beyond_fault()) is not None and recipe.defects is not None:
        moved, label = np.empty_like(planes), np.empty_like(out.label)
        _resample_planes(moved, label, source, beyond)
        is_moved = is_beyond(recipe.defects, recipe.window)
        np.copyto(planes, moved, where=is_moved)
        np.copyto(out.label, label, where=is_moved)
    change_planes(planes, recipe)
    round_planes(planes, out.image)


def _resample_planes(
    planes: NDArray[np.floating[Any]], label: NDArray[Any], source: PreparedSlice, recipe: Recipe
) -> None:
    as_it_is = gray_constants((NO_CHANGE,), np.dtype(np.float32)).astype(planes.dtype)
    for channel, plane in enumerate(planes):
        _resample_into(plane, label, source, recipe, source.coefficients[channel : channel + 1], as_it_is)


def _resample_into(
    image: NDArray[Any],
    label: NDArray[Any],
    source: PreparedSlice,
    recipe: Recipe,
    coefficients: NDArray[np.floating[Any]],
    levels: NDArray[np.floating[Any]],
) -> None:
    """Render channels of these coefficients, (C, pixels), and with these gray levels, (C, 5), and the label."""
    (height, width), (extent_y, extent_x) = recipe.window, recipe.extent_px
    _resample(
        coefficients,
        source.label,
        np.asarray(source.size, np.float64),
        np.asarray(recipe.grid_px, np.float64),
        spline_basis(height, extent_y, recipe.n_points),
        spline_basis(width, extent_x, recipe.n_points),
        np.asarray(recipe.matrix, np.float64),
        np.asarray(recipe.slice_centre(source.size), np.float64),
        levels,
        image,
        label,
        np.empty(ROOM),
        np.empty((3, recipe.n_points)),
    )


def sample_arrays(
    out: Sample | None, shape: tuple[int, ...], image_dtype: np.dtype[Any], label_dtype: np.dtype[Any]
) -> Sample:
    """Return arrays to render an image of this shape and its label into: `out`, or new ones.

    Raises:
        ConfigError: `out` has another shape, dtype or order.
    """
    if out is None:
        return Sample(np.empty(shape, image_dtype), np.empty(shape[:2], label_dtype))
    for array, expected, dtype in zip(out, (shape, shape[:2]), (image_dtype, label_dtype), strict=True):
        if array.shape != expected or array.dtype != dtype:
            raise ConfigError(f"render: out must be {expected} {dtype}, got {array.shape} {array.dtype}")
        if not array.flags.c_contiguous:
            raise ConfigError(f"render: out must be in C order, got strides {array.strides}; copy it afterwards")
    return out


def _blocks(label: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    return ((top, label[top : top + FILTERED_ROWS]) for top in range(0, len(label), FILTERED_ROWS))


def _fill(room: NDArray[Any], blocks: Iterable[tuple[int, NDArray[Any]]], on_rows: Callable[[], None]) -> None:
    """Write blocks of rows, each with its first row's place, into the middle of an array, and mirror them around it."""
    rows, columns = (np.pad(np.arange(side - 2 * MARGIN_PX), MARGIN_PX, mode="symmetric") for side in room.shape)
    margins = slice(MARGIN_PX), slice(-MARGIN_PX, None)
    for top, block in blocks:
        written = room[MARGIN_PX + top : MARGIN_PX + top + len(block)]
        written[:, MARGIN_PX:-MARGIN_PX] = block
        for margin in margins:
            written[:, margin] = block[:, columns[margin]]
        on_rows()
    for margin in margins:
        room[margin] = room[MARGIN_PX + rows[margin]]


def require_reach(size: tuple[int, int], recipe: Recipe, smaller: str = "shift or sigma") -> None:
    """Refuse a recipe whose window reaches too far over the mirror images of a slice of this size.

    Args:
        size: (height, width) of the slice, in pixels.
        recipe: where the window lies.
        smaller: what to make smaller, beside the window.

    Raises:
        RecipeError: it does.
    """
    furthest = max(abs(value) for axis in recipe.grid_px for row in axis for value in row)
    from_centre = max(recipe.window) / 2 + _MAX_OVERSHOOT * furthest
    stretch = max(sum(map(abs, row)) for row in recipe.matrix)
    reach = stretch * from_centre + max(map(abs, recipe.shift_px)) + max(size)
    if reach > MAX_PERIODS * min(size):
        raise RecipeError(
            f"recipe: it reaches {reach:.0f} px over a slice of {size} px; use a smaller window, {smaller}, or "
            "a larger zoom"
        )
