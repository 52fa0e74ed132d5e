"""The cells in a label: connected regions of one class, or the ids of single objects, each with its box."""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

LARGEST_VALUE = 65535

_compiled = numba.njit(nogil=True, cache=True, error_model="numpy")


class Cells(NamedTuple):
    """Every cell of a label.

    Attributes:
        number: int32 (Y, X), for each pixel which cell it is of, counted from 0; -1 for background.
        boxes: int32 (N, 4), for each cell its first row, the row after its last, its first column, and the column
            after its last.
    """

    number: NDArray[np.int32]
    boxes: NDArray[np.int32]


def find_cells(values: NDArray[np.int32], *, instances: bool) -> Cells:
    """Return the cells of a label (Y, X) whose background is 0.

    Args:
        values: class indices or ids, 0 to LARGEST_VALUE.
        instances: every value is the id of one cell, in however many parts; else a cell is a region of one class whose
            pixels are connected by their sides (4-connectivity, so that a membrane one pixel wide and drawn at a slant
            still keeps two cells apart).
    """
    index = np.empty(values.shape, np.int32)
    n_cells = _index_ids(values, index) if instances else _index_regions(values, index)
    return Cells(index, _find_boxes(index, n_cells))


@_compiled
def _index_ids(values, index):
    """Write the number of every pixel's id, in the order in which ids are met; return how many there are."""
    number = np.full(LARGEST_VALUE + 1, -1, np.int32)
    n_cells = 0
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            value = values[y, x]
            if value and number[value] < 0:
                number[value] = n_cells
                n_cells += 1
            index[y, x] = number[value]
    return n_cells


@_compiled
def _index_regions(values, index):
    """Write the number of every pixel's region, in the order in which regions are met; return how many there are."""
    height, width = values.shape
    parent = np.empty(height * width, np.int32)  # every pixel may be a region; untouched memory costs nothing
    n_parts = 0
    for y in range(height):
        for x in range(width):
            value = values[y, x]
            if value == 0:
                index[y, x] = -1
                continue
            above = index[y - 1, x] if y and values[y - 1, x] == value else np.int32(-1)
            before = index[y, x - 1] if x and values[y, x - 1] == value else np.int32(-1)
            if above < 0 and before < 0:
                parent[n_parts] = n_parts
                index[y, x] = n_parts
                n_parts += 1
            else:
                index[y, x] = before if above < 0 else above
                if above >= 0 and before >= 0 and above != before:
                    one, other = _root(parent, above), _root(parent, before)
                    parent[max(one, other)] = min(one, other)
    number = np.full(n_parts, -1, np.int32)
    n_cells = 0
    for part in range(n_parts):  # a root comes before all that hang on it
        root = _root(parent, part)
        if root == part:
            number[part] = n_cells
            n_cells += 1
        else:
            number[part] = number[root]
    for y in range(height):
        for x in range(width):
            if index[y, x] >= 0:
                index[y, x] = number[index[y, x]]
    return n_cells


@_compiled
def _root(parent, part):
    """Return the first part of the same region, and make the way to it shorter for the next who asks."""
    while parent[part] != part:
        parent[part] = parent[parent[part]]
        part = parent[part]
    return part


@_compiled
def _find_boxes(index, n_cells):
    """Return the box of every cell."""
    height, width = index.shape
    boxes = np.empty((n_cells, 4), np.int32)
    boxes[:, 0], boxes[:, 1], boxes[:, 2], boxes[:, 3] = height, 0, width, 0
    for y in range(height):
        for x in range(width):
            cell = index[y, x]
            if cell >= 0:
                boxes[cell, 0] = min(boxes[cell, 0], y)
                boxes[cell, 1] = y + 1
                boxes[cell, 2] = min(boxes[cell, 2], x)
                boxes[cell, 3] = max(boxes[cell, 3], x + 1)
    return boxes
