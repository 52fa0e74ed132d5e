"""The compiled half of rendering: the spline coefficients of a slice, and the one pass that makes a sample of them.

`resample` renders image and label at the same coordinates (`augment.coordinates` is its readable twin). The window is
worked through in strips of a few hundred pixels, each in seven small loops over arrays that stay in the first-level
cache. Every loop does the same arithmetic to every pixel, so the compiler may use any vector width without changing a
bit: there is no fast-math, no fused multiply-add, no reordering.

Coordinates are float64, so that they are exact to 1e-9 px on slices of any size. Weights and pixels are of the
coefficients' dtype: float32 is enough for 8-bit images, the others take float64.

The spline is the cubic B-spline of Unser 1999, "Splines: a perfect fit for signal and image processing", IEEE Signal
Processing Magazine 16(6), with the recursive filter as Thévenaz, Blu and Unser 2000 write it, "Interpolation
revisited", IEEE Transactions on Medical Imaging 19(7).
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from augment.compiled import compiled

MARGIN_PX = 4  # how far a slice must be mirror-padded: a spline's reach of 2 beyond the folded half pixel
MAX_PERIODS = 1024  # how many times a window may reach over the mirrored slice

_STRIP_PX = 704  # the default window in one strip; anything from 192 up is within 7%
_POLE = math.sqrt(3.0) - 2.0  # of the cubic B-spline's inverse filter
_HORIZON_PX = 32  # |pole| ** 32 is below float64's resolution: no pixel further away counts
_BAND_PX = 16  # rows transposed together
_i4 = np.int32  # numba adds two int32 as int64, which halves the speed


def spline_coefficients(
    pixels: NDArray[np.generic], dtype: type[np.float32 | np.float64] = np.float64
) -> NDArray[np.floating[Any]]:
    """Return the (Y, X) coefficients of the cubic spline through `pixels`, mirrored at half-sample edges.

    Computed in float64 and rounded once to `dtype`, so that they do not depend on anything but the pixels. They are
    those of `scipy.ndimage.spline_filter(order=3, mode="reflect")` to about 1e-12 gray levels, four times faster and
    without scipy's start-up time.
    """
    coefficients = pixels.astype(np.float64)
    _filter_columns(coefficients)
    _filter_rows(coefficients)
    return coefficients.astype(dtype, copy=False)


@compiled
def _filter_columns(c):
    """Filter along y in place, a whole row of pixels at a time.

    Two first-order filters with the same pole z, down and then up (Thévenaz 2000, section on the recursive filter):

        c+[k] = s[k] + z c+[k-1]                c-[k] = z (c-[k+1] - 6 c+[k])

    where 6 is (1 - z)(1 - 1/z), the gain. Half-sample mirroring, s[-1-k] = s[k], decides how each begins:

        c+[0] = s[0] + sum over k >= 0 of z^(k+1) s[k]          c-[N-1] = 6 z / (z - 1) c+[N-1]
    """
    height, width = c.shape
    start = np.zeros(width)
    factor = 1.0
    for k in range(_HORIZON_PX):
        mirrored = k % (2 * height)  # a slice lower than the horizon is mirrored again and again
        row = c[min(mirrored, 2 * height - 1 - mirrored)]
        factor *= _POLE
        for x in range(width):
            start[x] += factor * row[x]
    for x in range(width):
        c[0, x] += start[x]
    for y in range(1, height):
        for x in range(width):
            c[y, x] += _POLE * c[y - 1, x]
    for x in range(width):
        c[height - 1, x] *= 6.0 * _POLE / (_POLE - 1.0)
    for y in range(height - 2, -1, -1):
        for x in range(width):
            c[y, x] = _POLE * (c[y + 1, x] - 6.0 * c[y, x])


@compiled
def _filter_rows(c):
    """Filter along x in place, by way of the transpose of a few rows: that order vectorises."""
    height, width = c.shape
    band = np.empty((width, _BAND_PX))
    for top in range(0, height, _BAND_PX):
        n = min(_BAND_PX, height - top)
        part = band[:, :n]
        for x in range(width):
            for y in range(n):
                part[x, y] = c[top + y, x]
        _filter_columns(part)
        for x in range(width):
            for y in range(n):
                c[top + y, x] = part[x, y]


@intrinsic
def _blend_rows(typing_context, pixels, offset, stride, w0, w1, w2, w3, blended, index):
    """Write to blended[index:index+4] the weighted sum of four pixels in each of four consecutive rows.

    The compiler does not find this by itself: written as sixteen products, it stays scalar and twice as slow. So the
    body is written in LLVM's own language. For each of the four rows it

        loads four neighbouring pixels as one vector         (load <4 x real>, at any address: align is one pixel)
        copies the row's weight into all four lanes          (insert_element, then shuffle_vector with lanes 0 0 0 0)
        multiplies, and adds to the rows before              (fmul, fadd: never contracted into a fused multiply-add)

    and goes one stride down. All four lanes do the same, so every CPU rounds alike, however wide its vectors are.
    """
    real, uintp = pixels.dtype, types.uintp
    signature = types.void(pixels, uintp, uintp, real, real, real, real, blended, uintp)

    def generate(context, builder, signature, arguments):
        pixels, offset, stride, *weights, blended, index = arguments
        source = context.make_array(signature.args[0])(context, builder, pixels).data
        target = context.make_array(signature.args[7])(context, builder, blended).data
        scalar = context.get_value_type(real)
        four, aligned = ir.VectorType(scalar, 4), real.bitwidth // 8
        undefined = ir.Constant(four, ir.Undefined)
        first = ir.Constant(ir.IntType(32), 0)
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), 4), [0] * 4)
        total = None
        for weight in weights:
            row = builder.load(builder.bitcast(builder.gep(source, [offset]), four.as_pointer()), align=aligned)
            spread = builder.shuffle_vector(builder.insert_element(undefined, weight, first), undefined, everywhere)
            term = builder.fmul(row, spread)
            total = term if total is None else builder.fadd(total, term)
            offset = builder.add(offset, stride)
        builder.store(total, builder.bitcast(builder.gep(target, [index]), four.as_pointer()), align=aligned)
        return context.get_dummy_value()

    return signature, generate


@compiled
def _deform(y, x, row, left, basis_x, shift_y, shift_x, half_y, half_x):
    """Write v = u + D(p) of one strip of the window's row."""
    for c in range(y.shape[0]):
        y[c] = row - half_y
        x[c] = (left + c) - half_x
    for j in range(basis_x.shape[0]):
        dy, dx = shift_y[j], shift_x[j]
        for c in range(y.shape[0]):
            weight = basis_x[j, left + c]
            y[c] += weight * dy
            x[c] += weight * dx


@compiled
def _rotate_and_fold(y, x, matrix, centre_y, centre_x, size_y, size_x):
    """Replace v by q = M v + centre, folded back onto the slice and counted from the margin's corner.

    The slice goes on beyond its edges as its own reflection, the outermost pixel twice, so it repeats after 2 n
    pixels. Folding has two steps: take away whole periods until q is in [-0.5, 2 n - 0.5), then mirror the second
    half onto the first, q -> 2 n - 1 - q, which is the smaller of the two. That leaves [-0.5, n - 0.5].

        n = 3:   q       -4 -3 -2 -1  0  1  2  3  4  5  6  7
                 folded   2  2  1  0  0  1  2  2  1  0  0  1
    """
    yy, yx, xy, xx = matrix[0, 0], matrix[0, 1], matrix[1, 0], matrix[1, 1]
    period_y, period_x = 2.0 * size_y, 2.0 * size_x
    per_pixel_y, per_pixel_x = 1.0 / period_y, 1.0 / period_x
    for c in range(y.shape[0]):
        q_y = yy * y[c] + yx * x[c] + centre_y
        q_x = xy * y[c] + xx * x[c] + centre_x
        # Whole periods are floor((q + 0.5) / period). Truncation is a floor where the number is positive, and every CPU
        # has an instruction for it: hence MAX_PERIODS, added before and taken away after.
        q_y -= period_y * (_i4((q_y + 0.5) * per_pixel_y + MAX_PERIODS) - _i4(MAX_PERIODS))
        q_x -= period_x * (_i4((q_x + 0.5) * per_pixel_x + MAX_PERIODS) - _i4(MAX_PERIODS))
        y[c] = min(q_y, period_y - 1.0 - q_y) + MARGIN_PX
        x[c] = min(q_x, period_x - 1.0 - q_x) + MARGIN_PX


@compiled
def _locate(y, x, stride, corner, nearest, t_y, t_x):
    """Split coordinates into the first of the 4 x 4 pixels around, the nearest pixel, and the fractions."""
    for c in range(y.shape[0]):
        whole_y, whole_x = _i4(y[c]), _i4(x[c])
        corner[c] = _i4(_i4(whole_y - _i4(1)) * stride) + _i4(whole_x - _i4(1))
        nearest[c] = _i4(_i4(y[c] + 0.5) * stride) + _i4(x[c] + 0.5)
        t_y[c] = y[c] - whole_y
        t_x[c] = x[c] - whole_x


@compiled
def _weigh(fraction, weights):
    """Write the cubic B-spline's four weights for every fraction."""
    real = fraction.dtype.type
    one, three, four, six = real(1), real(3), real(4), real(6)
    sixth = one / six
    for c in range(fraction.shape[0]):
        t = fraction[c]
        t2 = t * t
        t3 = t2 * t
        w3 = t3 * sixth
        w2 = (one + three * (t + t2 - t3)) * sixth
        w1 = (four - six * t2 + three * t3) * sixth
        weights[0, c] = one - w1 - w2 - w3  # what is left of 1: equal gray levels stay as they are
        weights[1, c] = w1
        weights[2, c] = w2
        weights[3, c] = w3


@compiled
def _blend(coefficients, stride, corner, weights, blended):
    """Write, for every pixel, the four columns around it, each summed over its four rows."""
    for c in range(corner.shape[0]):
        _blend_rows(  # type: ignore[call-arg]  # numba passes the typing context itself
            coefficients,
            np.uintp(corner[c]),
            np.uintp(stride),
            weights[0, c],
            weights[1, c],
            weights[2, c],
            weights[3, c],
            blended,
            np.uintp(4 * c),
        )


@compiled
def _finish(blended, weights, gain, bias, low, high, half, image):
    """Sum each pixel's four columns, set the gray level, clip it, and round it where the image is of whole numbers."""
    for c in range(image.shape[0]):
        left = blended[4 * c] * weights[0, c] + blended[4 * c + 1] * weights[1, c]
        right = blended[4 * c + 2] * weights[2, c] + blended[4 * c + 3] * weights[3, c]
        value = (left + right) * gain + bias
        image[c] = min(max(value, low), high) + half


@compiled
def _read_ahead(pixels, label):
    """Read one value of every cache line, in order: much faster than meeting each line at an angle, one by one."""
    total = 0.0
    for i in range(0, pixels.size, 64 // pixels.itemsize):
        total += pixels[i]
    for i in range(0, label.size, 64 // label.itemsize):
        total += label[i]
    return total


@compiled
def _pick(label, nearest, picked):
    """Copy each pixel's nearest label."""
    for c in range(picked.shape[0]):
        picked[c] = label[np.uintp(nearest[c])]


@compiled
def resample(coefficients, label, slice_size, grid, basis_y, basis_x, matrix, centre, gray, image_out, label_out):
    """Render one window into `image_out` and `label_out`.

    Args:
        coefficients: float32 or float64 spline coefficients of the slice, flat, with MARGIN_PX mirrored pixels on
            every side.
        label: the label, likewise.
        slice_size: float64 (height, width) of the bare slice, in pixels.
        grid: float64 (2, K, K) displacements of the control points, in output pixels.
        basis_y: float64 (K, h), the control points' weight at each row.
        basis_x: float64 (K, w), their weight at each column.
        matrix: float64 (2, 2), window to slice coordinates.
        centre: float64 (y, x) of the slice point in the window's centre, in slice pixels.
        gray: gain, bias, lowest and highest gray level, and what turns truncation into rounding.
        image_out: (h, w) of the slice's dtype.
        label_out: (h, w) of the label's dtype.
    """
    height, width = image_out.shape
    n_points = grid.shape[1]
    stride = _i4(slice_size[1] + 2 * MARGIN_PX)
    gain, bias, low, high, half = gray
    real = coefficients.dtype
    y, x = np.empty(_STRIP_PX), np.empty(_STRIP_PX)
    t_y, t_x = np.empty(_STRIP_PX, real), np.empty(_STRIP_PX, real)
    corner, nearest = np.empty(_STRIP_PX, np.uint32), np.empty(_STRIP_PX, np.uint32)
    weights_y, weights_x = np.empty((4, _STRIP_PX), real), np.empty((4, _STRIP_PX), real)
    blended = np.empty(4 * _STRIP_PX, real)
    shift_y, shift_x = np.empty(n_points), np.empty(n_points)
    ahead = _read_ahead(coefficients, label)
    for left in range(0, width, _STRIP_PX):
        n = min(_STRIP_PX, width - left)
        for row in range(height):
            for j in range(n_points):
                shift_y[j] = 0.0
                shift_x[j] = 0.0
                for i in range(n_points):
                    shift_y[j] += basis_y[i, row] * grid[0, i, j]
                    shift_x[j] += basis_y[i, row] * grid[1, i, j]
            _deform(y[:n], x[:n], row, left, basis_x, shift_y, shift_x, (height - 1) * 0.5, (width - 1) * 0.5)
            _rotate_and_fold(y[:n], x[:n], matrix, centre[0], centre[1], slice_size[0], slice_size[1])
            _locate(y[:n], x[:n], stride, corner[:n], nearest[:n], t_y[:n], t_x[:n])
            _weigh(t_y[:n], weights_y)
            _weigh(t_x[:n], weights_x)
            _blend(coefficients, stride, corner[:n], weights_y, blended)
            _finish(blended, weights_x, gain, bias, low, high, half, image_out[row, left : left + n])
            _pick(label, nearest[:n], label_out[row, left : left + n])
    return ahead
