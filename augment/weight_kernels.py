"""The compiled half of the weight map: which cell every pixel is of, how far it is from two of them, what it weighs.

Only + - * / and the square root of float64, in a fixed order: no library's exp, no fast-math, no fused multiply-add.

This module imports numba. It is imported to compile what it holds, once: `augment.native` keeps the machine code.
"""

import math

import numpy as np

from augment import weight_map
from augment.compiled import compiled

_i4 = np.int32  # numba adds two int32 as int64, which halves the speed
_FAR = _i4(weight_map.FAR)
_fall = compiled(weight_map.fall)


@compiled
def number_regions(values, number, parent, region):
    """Write the number of every pixel's region, in the order in which regions are met; return how many there are.

    Connected components by union-find (Rosenfeld and Pfaltz 1966): the first pass gives each pixel the number of a part
    above or before it, and notes which parts meet; the last replaces parts by regions. `scipy.ndimage.label` and
    `find_objects` give the same numbers and boxes, but take three times as long on a label of 700 x 700 (15 against
    6 ms of the whole map's 45), hold the interpreter's lock meanwhile, and cost 190 ms to import.

    Args:
        values: int32 (Y, X).
        number: int32 (Y, X).
        parent: int32, of as many pixels, each of which may be a part, to work in.
        region: likewise.
    """
    height, width = values.shape
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
def find_boxes(number, boxes):
    """Write the box (N, 4) of every cell."""
    height, width = number.shape
    boxes[:, 0], boxes[:, 1], boxes[:, 2], boxes[:, 3] = height, 0, width, 0
    for y in range(height):
        for x in range(width):
            cell = number[y, x]
            if cell >= 0:
                boxes[cell, 0] = min(boxes[cell, 0], y)
                boxes[cell, 1] = y + 1
                boxes[cell, 2] = min(boxes[cell, 2], x)
                boxes[cell, 3] = max(boxes[cell, 3], x + 1)


@compiled
def measure(number, boxes, margin, nearest, second, below, padded, row):
    """Write the squared distances to the nearest and the second nearest cell, right where they are within reach.

    Cells come one after the other, each measured in its own box and what lies within reach of it. Only the two
    smallest distances so far are kept, so memory does not grow with the number of cells.

    Args:
        number: int32 (Y, X).
        boxes: int32 (N, 4).
        margin: how far a distance counts, in pixels.
        nearest: int32 (Y, X).
        second: likewise.
        below: likewise, to work in.
        padded: int32, X and twice the margin long, to work in.
        row: int32, X long, to work in.
    """
    height, width = number.shape
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
def weigh(values, class_weights, nearest, second, w0, spread, end_squared, weights):
    """Write w_c and the emphasis, where the two cells are within reach."""
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            one, other = float(nearest[y, x]), float(second[y, x])
            squared = one + other + 2.0 * math.sqrt(one * other)
            emphasis = w0 * _fall(squared * spread) if squared < end_squared else 0.0
            weights[y, x] = class_weights[values[y, x]] + emphasis
