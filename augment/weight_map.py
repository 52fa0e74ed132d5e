"""The loss weight of every pixel: classes balanced, and the thin background between two cells emphasised.

Equation 2 of Ronneberger et al. 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation"
(arXiv:1505.04597):

    w(x) = w_c(x) + w0 exp(-(d1(x) + d2(x))^2 / (2 sigma^2))

where d1 and d2 are the distances to the nearest and to the second nearest cell. The same label gives the same bits on
any CPU: distances are squared whole numbers, and what follows is float64 addition, multiplication, division and square
root, which IEEE 754 rounds in one way. There is no library's exp, no fast-math and no fused multiply-add.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from augment.errors import ConfigError
from augment.native import Kernel

W0, SIGMA_PX = 10.0, 5.0  # the paper's
MAX_VALUE = 65535  # of a class

_HALF_SPACING = 2.0**-12  # half the distance between two float16 numbers is at least this fraction of them
FAR = 1 << 30  # above every squared distance, and a squared side can be added without overflow
_MAX_SIGMA_PX = 1000.0
_MAX_W0 = 1e6
_MAX_SIDE_PX = 16384
_TERMS = tuple(1.0 / math.factorial(k) for k in range(13))
_HALVINGS = 5

_number_regions = Kernel("augment.weight_kernels", "number_regions", returns_int=True)
_find_boxes = Kernel("augment.weight_kernels", "find_boxes")
_measure = Kernel("augment.weight_kernels", "measure")
_weigh = Kernel("augment.weight_kernels", "weigh")


class Cells(NamedTuple):
    """Every cell of a label.

    Attributes:
        number: int32 (Y, X), for each pixel which cell it is of, counted from 0; -1 for background.
        boxes: int32 (N, 4), for each cell its first row, the row after its last, its first column, and the column
            after its last.
    """

    number: NDArray[np.int32]
    boxes: NDArray[np.int32]


def unet_weight_map(
    label: NDArray[Any],
    *,
    w0: float = W0,
    sigma_px: float = SIGMA_PX,
    instances: bool = False,
    ignore: int | None = None,
    mask: NDArray[Any] | None = None,
) -> NDArray[np.float32]:
    """Return the weight (Y, X) of every pixel in the loss.

    Background is the value 0. A cell is a 4-connected region of one other class, or with `instances` all pixels of
    one id. The distance to a cell is that to the centre of its nearest pixel, so it is 0 inside and 1 beside it. The
    formula holds for every pixel: inside a cell d1 is 0, and the emphasis fades with the distance to the next cell.
    (The paper measures to the cell's border, which on background is the same.) Without a second cell it is 0.

    w_c = pixels / (classes x pixels of the class), counting the classes that the label shows: each has the same total
    weight, and the mean of w_c is 1. With one class, w_c is 1. Instances count as two classes, background and cell. A
    class of very few pixels gets very large weights.

    Pixels of the value `ignore`, and those where `mask` is 0, get the weight 0, and count for nothing else: neither as
    pixels, nor as a class or as a cell.

    Where d1 + d2 is so large that the emphasis is less than half the spacing of float16 at the smallest possible w_c,
    which is 1 / classes, it is left out: from 24 px on for two classes and the paper's constants.

    Args:
        label: (Y, X) whole numbers from 0 to 65535; ids up to 2^64 - 1.
        w0: weight that is added to a pixel squeezed between two cells, 0 to 1e6.
        sigma_px: how far that emphasis reaches, in pixels, 0.1 to 1000; time grows with it.
        instances: values are the ids of cells, not classes.
        ignore: the value of pixels that mean nothing; None where there is none.
        mask: (Y, X), 0 where pixels mean nothing whatever their value; None where there are none.

    Raises:
        ConfigError: the label or a number is not as above.
    """
    if not 0 <= w0 <= _MAX_W0 or not 0.1 <= sigma_px <= _MAX_SIGMA_PX:
        raise ConfigError(
            f"weight map: expected w0 from 0 to {_MAX_W0:g} and sigma_px from 0.1 to {_MAX_SIGMA_PX:g}, "
            f"got {w0!r} and {sigma_px!r}"
        )
    ignored = None if ignore is None else label == ignore
    if mask is not None:
        ignored = mask == 0 if ignored is None else ignored | (mask == 0)
    values = _checked(label if ignored is None else np.where(ignored, 0, label), instances=instances)
    class_weights, n_classes = _balance(values if ignored is None else values[~ignored], instances=instances)
    spread = 1.0 / (2.0 * sigma_px * sigma_px)
    reach_px = _reach(w0, spread, n_classes, 2 * sum(values.shape))
    cells = find_cells(values, instances=instances)
    nearest, second = (np.full(values.shape, FAR, np.int32) for _ in range(2))
    if len(cells.boxes) > 1:
        margin, width = min(reach_px, sum(values.shape)), values.shape[1]
        below, padded, row = (np.empty(size, np.int32) for size in (values.shape, width + 2 * margin, width))
        _measure(cells.number, cells.boxes, margin, nearest, second, below, padded, row)
    weights = np.empty(values.shape, np.float32)
    _weigh(values, class_weights, nearest, second, float(w0), spread, float(reach_px * reach_px), weights)
    if ignored is not None:
        weights[ignored] = 0
    return weights


def _checked(label: NDArray[Any], *, instances: bool) -> NDArray[np.int32]:
    """Return a label as the kernels want it; ids that are large are numbered anew, in the same order."""
    if label.ndim != 2 or label.size == 0 or max(label.shape) > _MAX_SIDE_PX or label.dtype.kind not in "bui":
        raise ConfigError(
            f"weight map: expected a label (Y, X) of whole numbers, 1 to {_MAX_SIDE_PX} px a side, got "
            f"{label.shape} {label.dtype}"
        )
    lowest, highest = int(label.min()), int(label.max())
    if lowest < 0 or (highest > MAX_VALUE and not instances):
        raise ConfigError(f"weight map: expected values from 0 to {MAX_VALUE}, got {lowest} to {highest}")
    if highest > MAX_VALUE:
        ids = np.unique(label)
        label = np.searchsorted(ids, label) + (ids[0] > 0)
    return label.astype(np.int32, order="C")


def _balance(values: NDArray[np.int32], *, instances: bool) -> tuple[NDArray[np.float64], int]:
    """Return w_c of every value up to the largest, and how many classes there are."""
    counts = np.bincount(values.ravel(), minlength=1)
    if instances:
        counts[1:] = counts[1:].sum()
        n_classes = int(counts[0] > 0) + int(counts[0] < values.size)
    else:
        n_classes = int(np.count_nonzero(counts))
    n_classes = max(n_classes, 1)  # of pixels that are all ignored
    return values.size / (n_classes * np.maximum(counts, 1).astype(np.float64)), n_classes


def _reach(w0: float, spread: float, n_classes: int, longest_px: int) -> int:
    """Return the smallest whole d1 + d2 from which on the emphasis does not count in float16."""
    least = _HALF_SPACING / n_classes
    reach_px = 1
    while reach_px < longest_px and w0 * fall(float(reach_px * reach_px) * spread) >= least:
        reach_px += 1
    return reach_px


def find_cells(values: NDArray[np.int32], *, instances: bool) -> Cells:
    """Return the cells of a label (Y, X) whose background is 0.

    Args:
        values: class indices or ids, 0 to MAX_VALUE.
        instances: every value is the id of one cell, in however many parts; else a cell is a region of one class whose
            pixels are connected by their sides (4-connectivity, so that a membrane one pixel wide and drawn at a slant
            still keeps two cells apart).
    """
    if instances:
        present = np.bincount(values.ravel()) > 0
        present[0] = False
        n_cells = np.count_nonzero(present)
        number = np.where(present, np.cumsum(present) - 1, -1).astype(np.int32)[values]
    else:
        number = np.empty(values.shape, np.int32)
        parent, region = (np.empty(values.size, np.int32) for _ in range(2))  # untouched memory costs nothing
        n_cells = _number_regions(values, number, parent, region)
    boxes = np.empty((n_cells, 4), np.int32)
    _find_boxes(number, boxes)
    return Cells(number, boxes)


def fall(x: float) -> float:
    """Return exp(-x) for x of 0 or more: a Taylor sum for a small part of x, squared as often as x was halved."""
    part = x * (1.0 / (1 << _HALVINGS))
    rise = _TERMS[12]
    for k in range(11, -1, -1):
        rise = rise * part + _TERMS[k]
    for _ in range(_HALVINGS):
        rise *= rise
    return 1.0 / rise


def round_weights(weights: NDArray[np.float32]) -> NDArray[np.float16]:
    """Return weights as they are stored and trained with: float16, none above the largest that it holds, 65504."""
    return np.minimum(weights, np.float32(np.finfo(np.float16).max)).astype(np.float16)
