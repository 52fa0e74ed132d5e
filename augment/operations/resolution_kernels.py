"""The compiled half of low resolution: pixels are picked, and what lies between them is interpolated.

This module imports numba. It is imported to compile what it holds, once: `augment.native` keeps the machine code.
"""

from augment.compiled import compiled


@compiled
def lower_resolution(plane, picked_y, picked_x, above, left, part_y, part_x, spare, line):
    """Make a plane of lower resolution, and of that one of its own size again, in place.

    Args:
        plane: float32 or float64 (h, w).
        picked_y: int32 (n,), the rows that the smaller one has.
        picked_x: int32 (m,), its columns.
        above: int32 (h,), of each row, the row of the smaller one that lies above it; the next one lies below.
        left: int32 (w,), likewise of each column.
        part_y: (h,) of the plane's dtype, how far each row lies below that, from 0 to 1; 0 where there is no next one.
        part_x: (w,), likewise of each column.
        spare: like the plane, to work in.
        line: (m + 1,), to work in.
    """
    n, m = picked_y.shape[0], picked_x.shape[0]
    for row in range(n):
        for c in range(m):
            spare[row, c] = plane[picked_y[row], picked_x[c]]
    for row in range(plane.shape[0]):
        upper, lower = above[row], min(above[row] + 1, n - 1)
        t = part_y[row]
        for c in range(m):
            line[c] = spare[upper, c] + t * (spare[lower, c] - spare[upper, c])
        line[m] = line[m - 1]
        for c in range(plane.shape[1]):
            from_left = line[left[c]]
            plane[row, c] = from_left + part_x[c] * (line[left[c] + 1] - from_left)
