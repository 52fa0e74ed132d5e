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

from augment.compiled import compiled
from augment.errors import ConfigError

W0, SIGMA_PX = 10.0, 5.0  # the paper's
MAX_VALUE = 65535  # of a label

_HALF_SPACING = 2.0**-12  # half the distance between two float16 numbers is at least this fraction of them
_i4 = np.int32  # numba adds two int32 as int64, which halves the speed
_FAR = _i4(1 << 30)  # above every squared distance, and a squared side can be added without overflow
_MAX_SIGMA_PX = 1000.0
_MAX_W0 = 1e6
_MAX_SIDE_PX = 16384
_TERMS = np.array([1.0 / math.factorial(k) for k in range(13)])
_HALVINGS = 5


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
    label: NDArray[Any], *, w0: float = W0, sigma_px: float = SIGMA_PX, instances: bool = False
) -> NDArray[np.float32]:
    """Return the weight (Y, X) of every pixel in the loss.

    Background is the value 0. A cell is a 4-connected region of one other class, or with `instances` all pixels of
    one id. The distance to a cell is that to the centre of its nearest pixel, so it is 0 inside and 1 beside it. The
    formula holds for every pixel: inside a cell d1 is 0, and the emphasis fades with the distance to the next cell.
    (The paper measures to the cell's border, which on background is the same.) Without a second cell it is 0.

    w_c = pixels / (classes x pixels of the class), counting the classes that the label shows: each has the same total
    weight, and the mean of w_c is 1. With one class, w_c is 1. Instances count as two classes, background and cell. A
    class of very few pixels gets very large weights.

    Where d1 + d2 is so large that the emphasis is less than half the spacing of float16 at the smallest possible w_c,
    which is 1 / classes, it is left out: from 24 px on for two classes and the paper's constants.

    Args:
        label: (Y, X) whole numbers from 0 to 65535.
        w0: weight that is added to a pixel squeezed between two cells, 0 to 1e6.
        sigma_px: how far that emphasis reaches, in pixels, 0.1 to 1000; time grows with it.
        instances: values are the ids of cells, not classes.

    Raises:
        ConfigError: the label or a number is not as above.
    """
    if not 0 <= w0 <= _MAX_W0 or not 0.1 <= sigma_px <= _MAX_SIGMA_PX:
        raise ConfigError(
            f"weight map: expected w0 from 0 to {_MAX_W0:g} and sigma_px from 0.1 to {_MAX_SIGMA_PX:g}, "
            f"got {w0!r} and {sigma_px!r}"
        )
    values = _checked(label)
    class_weights, n_classes = _balance(values, instances=instances)
    spread = 1.0 / (2.0 * sigma_px * sigma_px)
    reach_px = _reach(w0, spread, n_classes, 2 * sum(values.shape))
    cells = find_cells(values, instances=instances)
    nearest, second = (np.full(values.shape, _FAR) for _ in range(2))
    if len(cells.boxes) > 1:
        _measure(cells.number, cells.boxes, reach_px, nearest, second)
    weights = np.empty(values.shape, np.float32)
    _weigh(values, class_weights, nearest, second, float(w0), spread, float(reach_px * reach_px), weights)
    return weights


def _checked(label: NDArray[Any]) -> NDArray[np.int32]:
    if label.ndim != 2 or label.size == 0 or max(label.shape) > _MAX_SIDE_PX or label.dtype.kind not in "bui":
        raise ConfigError(
            f"weight map: expected a label (Y, X) of whole numbers, 1 to {_MAX_SIDE_PX} px a side, got "
            f"{label.shape} {label.dtype}"
        )
    if label.dtype.itemsize > 1 and (int(label.min()) < 0 or int(label.max()) > MAX_VALUE):
        raise ConfigError(f"weight map: expected values from 0 to {MAX_VALUE}, got {label.min()} to {label.max()}")
    return label.astype(np.int32, order="C")


def _balance(values: NDArray[np.int32], *, instances: bool) -> tuple[NDArray[np.float64], int]:
    """Return w_c of every value up to the largest, and how many classes there are."""
    counts = np.bincount(values.ravel())
    if instances:
        counts[1:] = counts[1:].sum()
        n_classes = int(counts[0] > 0) + int(counts[0] < values.size)
    else:
        n_classes = int(np.count_nonzero(counts))
    return values.size / (n_classes * np.maximum(counts, 1).astype(np.float64)), n_classes


def _reach(w0: float, spread: float, n_classes: int, longest_px: int) -> int:
    """Return the smallest whole d1 + d2 from which on the emphasis does not count in float16."""
    least = _HALF_SPACING / n_classes
    reach_px = 1
    while reach_px < longest_px and w0 * _fall(float(reach_px * reach_px) * spread) >= least:
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
        n_cells = _number_regions(values, number)
    return Cells(number, _find_boxes(number, n_cells))


@compiled
def _number_regions(values, number):
    """Write the number of every pixel's region, in the order in which regions are met; return how many there are.

    Connected components by union-find (Rosenfeld and Pfaltz 1966): the first pass gives each pixel the number of a part
    above or before it, and notes which parts meet; the last replaces parts by regions. `scipy.ndimage.label` and
    `find_objects` give the same numbers and boxes, but take three times as long on a label of 700 x 700 (15 against
    6 ms of the whole map's 45), hold the interpreter's lock meanwhile, and cost 190 ms to import.
    """
    height, width = values.shape
    parent = np.empty(height * width, np.int32)  # every pixel may be a part; untouched memory costs nothing
    n_parts = 0
    # Invariant: parent[part] <= part, and a part is the root of its region where the two are equal.
    for y in range(height):
        for x in range(width):
            value = values[y, x]
            if value == 0:
                number[y, x] = -1
                continue
            above = number[y - 1, x] if y and values[y - 1, x] == value else np.int32(-1)
            before = number[y, x - 1] if x and values[y, x - 1] == value else np.int32(-1)
            if above < 0 and before < 0:
                parent[n_parts] = n_parts
                number[y, x] = n_parts
                n_parts += 1
            else:
                number[y, x] = before if above < 0 else above
                if above >= 0 and before >= 0 and above != before:
                    one, other = _root(parent, above), _root(parent, before)
                    parent[max(one, other)] = min(one, other)
    region = np.empty(n_parts, np.int32)
    n_regions = 0
    for part in range(n_parts):  # a root comes before all other parts of its region
        root = _root(parent, part)
        if root == part:
            region[part] = n_regions
            n_regions += 1
        else:
            region[part] = region[root]
    for y in range(height):
        for x in range(width):
            if number[y, x] >= 0:
                number[y, x] = region[number[y, x]]
    return n_regions


@compiled
def _root(parent, part):
    """Return the first part of the same region, and halve the path to it for the next search."""
    while parent[part] != part:
        parent[part] = parent[parent[part]]
        part = parent[part]
    return part


@compiled
def _find_boxes(number, n_cells):
    """Return the box of every cell."""
    height, width = number.shape
    boxes = np.empty((n_cells, 4), np.int32)
    boxes[:, 0], boxes[:, 1], boxes[:, 2], boxes[:, 3] = height, 0, width, 0
    for y in range(height):
        for x in range(width):
            cell = number[y, x]
            if cell >= 0:
                boxes[cell, 0] = min(boxes[cell, 0], y)
                boxes[cell, 1] = y + 1
                boxes[cell, 2] = min(boxes[cell, 2], x)
                boxes[cell, 3] = max(boxes[cell, 3], x + 1)
    return boxes


@compiled
def _fall(x):
    """Return exp(-x) for x of 0 or more: a Taylor sum for a small part of x, squared as often as x was halved."""
    part = x * (1.0 / (1 << _HALVINGS))
    rise = _TERMS[12]
    for k in range(11, -1, -1):
        rise = rise * part + _TERMS[k]
    for _ in range(_HALVINGS):
        rise *= rise
    return 1.0 / rise


@compiled
def _measure(number, boxes, reach_px, nearest, second):
    """Write the squared distances to the nearest and the second nearest cell, right where they are within reach.

    Cells come one after the other, each measured in its own box and what lies within reach of it. Only the two
    smallest distances so far are kept, so memory does not grow with the number of cells.
    """
    height, width = number.shape
    margin = min(reach_px, height + width)
    below = np.empty((height, width), np.int32)
    padded, row = np.empty(width + 2 * margin, np.int32), np.empty(width, np.int32)
    for cell in range(boxes.shape[0]):
        top, bottom = max(boxes[cell, 0] - margin, 0), min(boxes[cell, 1] + margin, height)
        left, right = max(boxes[cell, 2] - margin, 0), min(boxes[cell, 3] + margin, width)
        n = right - left
        box = below[: bottom - top, :n]
        _measure_columns(number[top:bottom, left:right], cell, box)
        padded[:margin] = _FAR
        padded[margin + n : n + 2 * margin] = _FAR
        for y in range(bottom - top):
            least = _square(box[y], margin, padded[margin : margin + n])
            _measure_row(padded[: n + 2 * margin], margin, least, row[:n])
            _keep_two(row[:n], nearest[top + y, left:right], second[top + y, left:right])


@compiled
def _measure_columns(number, cell, distance):
    """Write each pixel's distance to the cell along its column."""
    height, width = number.shape
    for x in range(width):
        distance[0, x] = 0 if number[0, x] == cell else _FAR
    for y in range(1, height):
        for x in range(width):
            distance[y, x] = 0 if number[y, x] == cell else _i4(distance[y - 1, x] + 1)
    for y in range(height - 2, -1, -1):
        for x in range(width):
            distance[y, x] = min(distance[y, x], _i4(distance[y + 1, x] + 1))


@compiled
def _square(distance, margin, squared):
    """Write squares, and return the least of them; what is out of reach becomes far."""
    least = _FAR
    for x in range(distance.shape[0]):
        near = min(distance[x], _i4(margin + 1))
        squared[x] = _i4(near * near) if near <= margin else _FAR
        least = min(least, squared[x])
    return least


@compiled
def _measure_row(squared, margin, least, row):
    """Write the squared distance to the cell: the smallest, over the columns within reach, of column plus row."""
    n = row.shape[0]
    for x in range(n):
        row[x] = squared[margin + x]
    for step in range(1, min(margin + 1, n)):
        across = _i4(step * step)
        if least + across > margin * margin:
            break
        before, after = squared[margin - step : margin - step + n], squared[margin + step : margin + step + n]
        for x in range(n):
            row[x] = min(row[x], _i4(min(before[x], after[x]) + across))


@compiled
def _keep_two(row, nearest, second):
    """Keep the two smallest distances of each pixel."""
    for x in range(row.shape[0]):
        second[x] = min(second[x], max(nearest[x], row[x]))
        nearest[x] = min(nearest[x], row[x])


@compiled
def _weigh(values, class_weights, nearest, second, w0, spread, end_squared, weights):
    """Write w_c and the emphasis, where the two cells are within reach."""
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            one, other = float(nearest[y, x]), float(second[y, x])
            squared = one + other + 2.0 * math.sqrt(one * other)
            emphasis = w0 * _fall(squared * spread) if squared < end_squared else 0.0
            weights[y, x] = class_weights[values[y, x]] + emphasis


def round_weights(weights: NDArray[np.float32]) -> NDArray[np.float16]:
    """Return weights as they are stored and trained with: float16, none above the largest that it holds, 65504."""
    return np.minimum(weights, np.float32(np.finfo(np.float16).max)).astype(np.float16)
