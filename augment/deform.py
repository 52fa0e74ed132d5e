"""Elastic deformation: the weight of every control point at every pixel, for a cubic spline through a control grid.

The displacement D equals what elasticdeform (van Tulder) makes of the same grid: an interpolating cubic B-spline,
mirrored at the outermost control points. Being a tensor product, it needs the weights of one axis at a time.
"""

from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]


@lru_cache(maxsize=64)
def spline_basis(n_pixels: int, n_extent: int, n_points: int) -> Floats:
    """Return each control point's weight at each pixel, as a read-only (n_points, n_pixels) array.

    This is the cardinal spline of Unser 1999 ("Splines: a perfect fit for signal and image processing"): the B-spline
    filtered so that it is 1 at its own control point and 0 at all others.

    Args:
        n_pixels: pixels along the window, centred on the extent.
        n_extent: pixels from the first control point to the last, both included.
        n_points: control points, at least 2.
    """
    position = (np.arange(n_pixels) + (n_extent - n_pixels) / 2) * ((n_points - 1) / (n_extent - 1))
    knot = np.minimum(position.astype(np.int64), n_points - 2)
    t = (position - knot).astype(np.float64)
    b_spline = np.zeros((n_points, n_pixels))
    for tap, weight in enumerate(_b_spline_weights(t), start=-1):
        mirrored = np.abs(knot + tap)  # -1 is 1 again: the control point at the end is there once
        mirrored = np.where(mirrored > n_points - 1, 2 * (n_points - 1) - mirrored, mirrored)
        b_spline[mirrored, np.arange(n_pixels)] += weight
    basis = np.zeros_like(b_spline)
    for point, coefficients in enumerate(_interpolating_coefficients(n_points)):
        for knot_index, coefficient in enumerate(coefficients):
            basis[point] += coefficient * b_spline[knot_index]
    basis.flags.writeable = False
    return basis


def _b_spline_weights(t: Floats) -> tuple[Floats, ...]:
    """Return the cubic B-spline's value at the knots -1, 0, 1 and 2, seen from a point t in [0, 1] past knot 0."""
    t2, t3 = t * t, t * t * t
    return (1 - 3 * t + 3 * t2 - t3) / 6, (4 - 6 * t2 + 3 * t3) / 6, (1 + 3 * t + 3 * t2 - 3 * t3) / 6, t3 / 6


def _interpolating_coefficients(n_points: int) -> list[list[float]]:
    """Return, for a 1 at each control point in turn, the B-spline coefficients that interpolate it.

    Solves c[k-1] + 4 c[k] + c[k+1] = 6 s[k] with mirrored ends by elimination, in plain floats: a linear algebra
    library's result would depend on the CPU.
    """
    last = n_points - 1
    upper = [0.0] * n_points
    for k in range(last):
        upper[k] = (2.0 if k == 0 else 1.0) / (4.0 - (upper[k - 1] if k else 0.0))
    solutions = []
    for point in range(n_points):
        c: list[float] = []
        for k in range(n_points):
            lower = 0.0 if k == 0 else 2.0 if k == last else 1.0
            pivot = 4.0 - lower * (upper[k - 1] if k else 0.0)
            c.append(((6.0 if k == point else 0.0) - lower * (c[k - 1] if k else 0.0)) / pivot)
        for k in range(last - 1, -1, -1):
            c[k] -= upper[k] * c[k + 1]
        solutions.append(c)
    return solutions
