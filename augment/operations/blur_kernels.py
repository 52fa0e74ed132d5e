"""The compiled half of blur: a symmetric filter along rows, then along columns.

This module imports numba. It is imported to compile what it holds, once: `augment.native` keeps the machine code.
"""

from augment.compiled import compiled


@compiled
def _mirrored(place, side):
    """Return the pixel that a place beyond an edge shows: the slice's mirror image, the outermost pixel twice."""
    place %= 2 * side
    return 2 * side - 1 - place if place >= side else place


@compiled
def blur(plane, weights, spare, line):
    """Blur a plane in place.

    Args:
        plane: float32 or float64 (h, w).
        weights: (r + 1,) of the same dtype: of a pixel itself, then of those 1, 2, ... r px away.
        spare: like the plane, to work in.
        line: (w + 2 r,), to work in.
    """
    height, width = plane.shape
    reach = weights.shape[0] - 1
    for row in range(height):
        for c in range(width):
            line[reach + c] = plane[row, c]
        for c in range(reach):
            line[c] = plane[row, _mirrored(c - reach, width)]
            line[reach + width + c] = plane[row, _mirrored(width + c, width)]
        for c in range(width):
            spare[row, c] = weights[0] * line[reach + c]
        for k in range(1, reach + 1):
            weight = weights[k]
            for c in range(width):
                spare[row, c] += weight * (line[reach + c - k] + line[reach + c + k])
    for row in range(height):
        for c in range(width):
            plane[row, c] = weights[0] * spare[row, c]
        for k in range(1, reach + 1):
            weight, above, below = weights[k], _mirrored(row - k, height), _mirrored(row + k, height)
            for c in range(width):
                plane[row, c] += weight * (spare[above, c] + spare[below, c])
