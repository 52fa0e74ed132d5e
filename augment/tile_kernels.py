"""The compiled half of `augment.mirror_tiles`: on which mirror image of a slice every pixel of a window lies.

This module imports numba. It is imported to compile what it holds, once: `augment.native` keeps the machine code.
"""

import numpy as np

from augment.compiled import compiled
from augment.kernel import is_within, weigh_row
from augment.spline import TILE_STRIDE

_i4 = np.int32  # numba adds two int32 as int64, which halves the speed, or worse


@compiled
def _tile(q, per_pixel):
    """Return in which tile of `1 / per_pixel` pixels the pixel nearest to q lies, 0 for the slice itself.

    Both floors are truncations, and one less where that went up: adding a large number first would round what lies
    just below a pixel's edge. Half a pixel further in, no rounding of the division counts.
    """
    centred = q + 0.5
    nearest = _i4(centred)
    nearest = _i4(nearest - _i4(centred < nearest))
    place = (nearest + 0.5) * per_pixel
    tile = _i4(place)
    return _i4(tile - _i4(place < tile))


@compiled
def _trace(row_y, columns_x, basis_x, shift_y, shift_x, matrix, centre, size, y, x, line):
    """Write the tile of every pixel of a row: v = u + D(p), then q = M v + centre, as `augment.kernel.resample`."""
    yy, yx, xy, xx = matrix[0, 0], matrix[0, 1], matrix[1, 0], matrix[1, 1]
    centre_y, centre_x = centre[0], centre[1]
    per_pixel_y, per_pixel_x = 1.0 / size[0], 1.0 / size[1]
    for c in range(line.shape[0]):
        y[c] = row_y
        x[c] = columns_x[c]
    for j in range(basis_x.shape[0]):
        dy, dx = shift_y[j], shift_x[j]
        for c in range(line.shape[0]):
            weight = basis_x[j, c]
            y[c] += weight * dy
            x[c] += weight * dx
    for c in range(line.shape[0]):
        tile_y = _tile(yy * y[c] + yx * x[c] + centre_y, per_pixel_y)
        tile_x = _tile(xy * y[c] + xx * x[c] + centre_x, per_pixel_x)
        line[c] = _i4(_i4(tile_y * _i4(TILE_STRIDE)) + tile_x)


@compiled
def find_tiles(slice_size, grid, basis_y, basis_x, matrix, centre, tiles, room, shifts):
    """Write on which mirror image of the slice every pixel lies, and return how many lie on any, not on the slice.

    The coordinates are worked out as by `augment.kernel.resample`, but not folded back onto the slice.

    Args:
        slice_size: float64 (height, width) of the slice, in pixels.
        grid: float64 (2, K, K) displacements of the control points, in output pixels.
        basis_y: float64 (K, h), the control points' weight at each row.
        basis_x: float64 (K, w), their weight at each column.
        matrix: float64 (2, 2), window to slice coordinates.
        centre: float64 (y, x) of the slice point in the window's centre, in slice pixels.
        tiles: int32 (h, w), tile row x TILE_STRIDE + tile column; 0 is the slice itself.
        room: float64 (3, w), to work in.
        shifts: float64 (3, K), to work in.
    """
    height, width = tiles.shape
    n_points = grid.shape[1]
    y, x, columns_x = room[0], room[1], room[2]
    shift_y, shift_x, far = shifts[0], shifts[1], shifts[2]
    for c in range(width):
        columns_x[c] = c - (width - 1) * 0.5
    for j in range(n_points):
        far[j] = 0.0
        for c in range(width):
            far[j] = max(far[j], abs(basis_x[j, c]))
    n_mirrored = 0
    for row in range(height):
        line = tiles[row]
        weigh_row(basis_y, grid, row, shift_y, shift_x)
        row_y = row - (height - 1) * 0.5
        if is_within(row_y, columns_x, far, shift_y, shift_x, matrix, centre, slice_size):
            for c in range(width):
                line[c] = 0
            continue
        _trace(row_y, columns_x, basis_x, shift_y, shift_x, matrix, centre, slice_size, y, x, line)
        for c in range(width):
            n_mirrored += line[c] != 0
    return n_mirrored
