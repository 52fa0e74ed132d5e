"""The compiled half of rendering: the one pass that makes a sample of a slice's spline coefficients.

`resample` renders image and label at the same coordinates (`augment.coordinates` is its readable twin). The window is
worked through in columns of blocks, each a part of a row of at most BLOCK_PX pixels, in a few small loops over arrays
that stay in the first-level cache. Every loop does the same arithmetic to every pixel, so the compiler may use any
vector width without changing a bit: there is no fast-math, no fused multiply-add, no reordering.

Coordinates are float64, so that they are exact to 1e-9 px on slices of any size. Weights and pixels are of the
coefficients' dtype: float32 is enough for 8-bit images, the others take float64.

The spline is the cubic B-spline of Unser 1999, "Splines: a perfect fit for signal and image processing", IEEE Signal
Processing Magazine 16(6); `augment.spline_kernels` makes its coefficients.

This module imports numba. It is imported to compile what it holds, once: `augment.native` keeps the machine code.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from augment.compiled import compiled
from augment.spline import BLOCK_PX, MARGIN_PX, MAX_PERIODS, ROOM

_i4 = np.int32  # numba adds two int32 as int64, which halves the speed, or worse


@intrinsic
def _blend_four(typing_context, row_0, row_1, row_2, row_3, corner, weights_y, weights_x, blended, index):
    """Write four pixels of the window, index to index + 3: each the weighted sum of 4 x 4 pixels of the slice.

    The compiler does not find this by itself: written as sixteen products, it stays scalar and twice as slow. So the
    body is written in LLVM's own language. For each of the four pixels, and each of the four rows around it, it

        loads four neighbouring pixels as one vector         (load <4 x real>, at any address: align is one pixel)
        copies the row's weight into all four lanes          (insert_element, then shuffle_vector with lanes 0 0 0 0)
        multiplies, and adds to the rows before              (fmul, fadd: never contracted into a fused multiply-add)

    which leaves four columns of each pixel. Transposed, they are the first columns of all four pixels, the second, and
    so on: four vectors, which are weighted by column, and added: first and second, third and fourth, then both sums.
    All lanes do the same, so every CPU rounds alike, however wide its vectors are.
    """
    real = row_0.dtype
    signature = types.void(row_0, row_1, row_2, row_3, corner, weights_y, weights_x, blended, types.uintp)

    def generate(context, builder, signature, arguments):
        pointers = [
            context.make_array(array)(context, builder, argument).data
            for array, argument in zip(signature.args[:-1], arguments[:-1], strict=True)
        ]
        *rows, corner, weights_y, weights_x, blended = pointers
        index = arguments[-1]
        scalar, size = context.get_value_type(real), real.bitwidth // 8
        four, number = ir.VectorType(scalar, 4), ir.IntType(64)
        undefined, first = ir.Constant(four, ir.Undefined), ir.Constant(ir.IntType(32), 0)

        def lanes(one, other, *chosen):
            return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(ir.IntType(32), 4), list(chosen)))

        def at(pointer, place):
            return builder.bitcast(builder.gep(pointer, [place]), four.as_pointer())

        def plus(place, more):
            return builder.add(place, ir.Constant(number, more))

        def add_up(terms):
            total = next(terms)
            for term in terms:
                total = builder.fadd(total, term)
            return total

        def weighted(pixel, row):
            place = builder.zext(builder.load(builder.gep(corner, [plus(index, pixel)])), number)
            weight = builder.load(builder.gep(weights_y, [plus(index, row * BLOCK_PX + pixel)]))
            spread = lanes(builder.insert_element(undefined, weight, first), undefined, 0, 0, 0, 0)
            return builder.fmul(builder.load(at(rows[row], place), align=size), spread)

        pixels = [add_up(weighted(pixel, row) for row in range(4)) for pixel in range(4)]
        pairs = [
            lanes(one, other, *chosen)
            for one, other in (pixels[:2], pixels[2:])
            for chosen in ((0, 4, 1, 5), (2, 6, 3, 7))
        ]
        columns = [
            lanes(one, other, *chosen)
            for one, other in (pairs[::2], pairs[1::2])
            for chosen in ((0, 1, 4, 5), (2, 3, 6, 7))
        ]
        products = [
            builder.fmul(column, builder.load(at(weights_x, plus(index, k * BLOCK_PX)), align=size))
            for k, column in enumerate(columns)
        ]
        left, right = (builder.fadd(*products[side : side + 2]) for side in (0, 2))
        builder.store(builder.fadd(left, right), at(blended, index), align=size)
        return context.get_dummy_value()

    return signature, generate


@compiled
def weigh_row(basis_y, grid, row, shift_y, shift_x):
    """Write the displacement that each column of control points has at a row of the window."""
    for j in range(grid.shape[1]):
        shift_y[j] = 0.0
        shift_x[j] = 0.0
        for i in range(grid.shape[1]):
            shift_y[j] += basis_y[i, row] * grid[0, i, j]
            shift_x[j] += basis_y[i, row] * grid[1, i, j]


@compiled
def _begin(y, x, row_y, columns_x, left, basis_x, shift_y, shift_x):
    """Write u, the window's own coordinates, plus the displacement by all control points but the last three."""
    for c in range(y.shape[0]):
        y[c] = row_y
        x[c] = columns_x[c]
    for j in range(basis_x.shape[0] - 3):
        dy, dx = shift_y[j], shift_x[j]
        for c in range(y.shape[0]):
            weight = basis_x[j, left + c]
            y[c] += weight * dy
            x[c] += weight * dx


@compiled
def _locate(y, x, shift_y, shift_x, basis, matrix, centre, size, stride, folds, corner, nearest, t_y, t_x):
    """Find where every pixel of a block looks in the slice: the first of 4 x 4 pixels, the nearest, the fractions.

    First v = u + D(p), by the last three control points. Then q = M v + centre, folded back onto the slice, and counted
    from the margin's corner.

    The slice goes on beyond its edges as its own reflection, the outermost pixel twice, so it repeats after 2 n
    pixels. Folding has two steps: take away whole periods until q is in [-0.5, 2 n - 0.5), then mirror the second
    half onto the first, q -> 2 n - 1 - q, which is the smaller of the two. That leaves [-0.5, n - 0.5].

        n = 3:   q       -4 -3 -2 -1  0  1  2  3  4  5  6  7
                 folded   2  2  1  0  0  1  2  2  1  0  0  1

    Where a block lies within the slice, `folds` is false, and this is left out: it would change nothing.
    """
    yy, yx, xy, xx = matrix[0, 0], matrix[0, 1], matrix[1, 0], matrix[1, 1]
    (dy_0, dy_1, dy_2), (dx_0, dx_1, dx_2), (basis_0, basis_1, basis_2) = shift_y, shift_x, basis
    centre_y, centre_x = centre[0], centre[1]
    period_y, period_x = 2.0 * size[0], 2.0 * size[1]
    per_pixel_y, per_pixel_x = 1.0 / period_y, 1.0 / period_x
    for c in range(y.shape[0]):
        v_y = y[c] + basis_0[c] * dy_0 + basis_1[c] * dy_1 + basis_2[c] * dy_2
        v_x = x[c] + basis_0[c] * dx_0 + basis_1[c] * dx_1 + basis_2[c] * dx_2
        q_y = yy * v_y + yx * v_x + centre_y
        q_x = xy * v_y + xx * v_x + centre_x
        if folds:
            # Whole periods are floor((q + 0.5) / period). Truncation is a floor where the number is positive, and every
            # CPU has an instruction for it: hence MAX_PERIODS, added before and taken away after.
            q_y -= period_y * _i4(_i4((q_y + 0.5) * per_pixel_y + MAX_PERIODS) - _i4(MAX_PERIODS))
            q_x -= period_x * _i4(_i4((q_x + 0.5) * per_pixel_x + MAX_PERIODS) - _i4(MAX_PERIODS))
            q_y = min(q_y, period_y - 1.0 - q_y)
            q_x = min(q_x, period_x - 1.0 - q_x)
        q_y += MARGIN_PX
        q_x += MARGIN_PX
        whole_y, whole_x = _i4(q_y), _i4(q_x)
        corner[c] = _i4(_i4(whole_y - _i4(1)) * stride) + _i4(whole_x - _i4(1))
        nearest[c] = _i4(_i4(q_y + 0.5) * stride) + _i4(q_x + 0.5)
        t_y[c] = q_y - whole_y
        t_x[c] = q_x - whole_x


@compiled
def is_within(row_y, columns_x, far, shift_y, shift_x, matrix, centre, size):
    """Return whether all of a block surely looks at the slice itself, and not at its mirror images.

    Undeformed, a block is a straight line: its ends are looked at. `far` is each control point's largest weight in it.
    """
    far_y, far_x = 0.0, 0.0
    for j in range(far.shape[0]):
        far_y += far[j] * abs(shift_y[j])
        far_x += far[j] * abs(shift_x[j])
    within = True
    for axis in range(2):
        reach = abs(matrix[axis, 0]) * far_y + abs(matrix[axis, 1]) * far_x
        for x in (columns_x[0], columns_x[-1]):
            q = matrix[axis, 0] * row_y + matrix[axis, 1] * x + centre[axis]
            within = within and q - reach > 0.0 and q + reach < size[axis] - 1.0
    return within


@compiled
def _weigh(fraction, weights):
    """Write the cubic B-spline's four weights for every fraction, each BLOCK_PX after the one before."""
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
        weights[c] = one - w1 - w2 - w3  # what is left of 1: equal gray levels stay as they are
        weights[BLOCK_PX + c] = w1
        weights[2 * BLOCK_PX + c] = w2
        weights[3 * BLOCK_PX + c] = w3


@compiled
def _blend(coefficients, stride, corner, weights_y, weights_x, blended, n):
    """Write the spline's value at every pixel of a block; beyond its n pixels, up to the next four, whatever comes."""
    row_1, row_2, row_3 = coefficients[stride:], coefficients[2 * stride :], coefficients[3 * stride :]
    for c in range(0, n, 4):
        _blend_four(  # type: ignore[call-arg]  # numba passes the typing context itself
            coefficients, row_1, row_2, row_3, corner, weights_y, weights_x, blended, np.uintp(c)
        )


@compiled
def _finish(blended, gain, bias, low, high, half, image):
    """Set each pixel's gray level, clip it, and round it where the image is of whole numbers."""
    for c in range(image.shape[0]):
        image[c] = min(max(blended[c] * gain + bias, low), high) + half


@compiled
def _interleave(line, n_channels, channel, image):
    """Write one channel of a block among the others: pixel by pixel, as images of several channels are stored."""
    for c in range(line.shape[0]):
        image[c * n_channels + channel] = line[c]


@compiled
def _interleave_three(first, second, third, image):
    """Write three channels of a block at once: one loop over all, so that vectors of pixels are stored together."""
    for c in range(first.shape[0]):
        image[3 * c] = first[c]
        image[3 * c + 1] = second[c]
        image[3 * c + 2] = third[c]


@compiled
def _store(blended, gray, lines, n, channel, n_channels, image):
    """Finish one channel of a block, and write it where it belongs; of three, all are written with the last."""
    gain, bias, low, high, half = gray[0], gray[1], gray[2], gray[3], gray[4]
    first, second, third = lines[:n], lines[BLOCK_PX : BLOCK_PX + n], lines[2 * BLOCK_PX : 2 * BLOCK_PX + n]
    if n_channels == 1:
        _finish(blended, gain, bias, low, high, half, image[:n])
    elif n_channels == 3:
        _finish(blended, gain, bias, low, high, half, first if channel == 0 else second if channel == 1 else third)
        if channel == 2:
            _interleave_three(first, second, third, image)
    else:
        _finish(blended, gain, bias, low, high, half, first)
        _interleave(first, n_channels, channel, image)


@compiled
def _pick(label, nearest, picked):
    """Copy each pixel's nearest label."""
    for c in range(picked.shape[0]):
        picked[c] = label[np.uintp(nearest[c])]


@compiled
def resample(
    coefficients, label, slice_size, grid, basis_y, basis_x, matrix, centre, gray, image_out, label_out, room, shifts
):
    """Render one window into `image_out` and `label_out`: where to look, once, then every channel.

    Args:
        coefficients: float32 or float64 (C, pixels) spline coefficients of the slice's channels, each flat, with
            MARGIN_PX mirrored pixels on every side.
        label: the label, likewise.
        slice_size: float64 (height, width) of the bare slice, in pixels.
        grid: float64 (2, K, K) displacements of the control points, in output pixels.
        basis_y: float64 (K, h), the control points' weight at each row.
        basis_x: float64 (K, w), their weight at each column.
        matrix: float64 (2, 2), window to slice coordinates.
        centre: float64 (y, x) of the slice point in the window's centre, in slice pixels.
        gray: (C, 5), for every channel gain, bias, lowest and highest gray level, and what turns truncation into
            rounding.
        image_out: (h, w x C) of the slice's dtype; the channels of a pixel lie beside each other.
        label_out: (h, w) of the label's dtype.
        room: float64 (ROOM,), to work in.
        shifts: float64 (3, K), to work in.
    """
    if room.size != ROOM:  # it never is: so the compiler knows what follows what, and that no part overlaps another
        return
    (height, width), n_channels = label_out.shape, coefficients.shape[0]
    n_points = grid.shape[1]
    stride = _i4(slice_size[1] + 2 * MARGIN_PX)
    n_blocks = (width + BLOCK_PX - 1) // BLOCK_PX
    n = min((width + 8 * n_blocks - 1) // (8 * n_blocks) * 8, width)  # whole vectors, where there is room for them
    y, x, columns_x = room[:n], room[BLOCK_PX : BLOCK_PX + n], room[2 * BLOCK_PX : 2 * BLOCK_PX + n]
    places = room[3 * BLOCK_PX : 4 * BLOCK_PX].view(np.uint32)
    corner, nearest = places[:BLOCK_PX], places[BLOCK_PX:]
    reals = room[4 * BLOCK_PX :].view(coefficients.dtype)
    t_y, t_x, blended = reals[:n], reals[BLOCK_PX : BLOCK_PX + n], reals[2 * BLOCK_PX : 3 * BLOCK_PX]
    weights_y, weights_x = reals[3 * BLOCK_PX : 7 * BLOCK_PX], reals[7 * BLOCK_PX : 11 * BLOCK_PX]
    lines = room[15 * BLOCK_PX :].view(image_out.dtype)
    shift_y, shift_x, far = shifts[0], shifts[1], shifts[2]
    for c in range(n, BLOCK_PX):
        corner[c] = 0
    first = max(n_points - 3, 0)  # of the last three control points; where there are but two, one counts for nothing
    for block in range(n_blocks):
        left = min(block * n, width - n)  # the last block may render again what the one before it rendered
        for c in range(n):
            columns_x[c] = (left + c) - (width - 1) * 0.5
        for j in range(n_points):
            far[j] = 0.0
            for c in range(left, left + n):
                far[j] = max(far[j], abs(basis_x[j, c]))
        basis = (
            basis_x[first, left : left + n],
            basis_x[n_points - 2, left : left + n],
            basis_x[n_points - 1, left : left + n],
        )
        for row in range(height):
            weigh_row(basis_y, grid, row, shift_y, shift_x)
            row_y = row - (height - 1) * 0.5
            counts = 1.0 if n_points > 2 else 0.0
            last_y = (counts * shift_y[first], shift_y[n_points - 2], shift_y[n_points - 1])
            last_x = (counts * shift_x[first], shift_x[n_points - 2], shift_x[n_points - 1])
            _begin(y, x, row_y, columns_x, left, basis_x, shift_y, shift_x)
            if is_within(row_y, columns_x, far, shift_y, shift_x, matrix, centre, slice_size):
                _locate(
                    y, x, last_y, last_x, basis, matrix, centre, slice_size, stride, False, corner, nearest, t_y, t_x
                )
            else:
                _locate(
                    y, x, last_y, last_x, basis, matrix, centre, slice_size, stride, True, corner, nearest, t_y, t_x
                )
            _weigh(t_y, weights_y)
            _weigh(t_x, weights_x)
            for channel in range(n_channels):
                _blend(coefficients[channel], stride, corner, weights_y, weights_x, blended, n)
                _store(blended, gray[channel], lines, n, channel, n_channels, image_out[row, left * n_channels :])
            _pick(label, nearest, label_out[row, left : left + n])
