"""The phantom's loops over pixels, compiled: what is at every pixel of a section, and how it is exposed.

Only + - * / sqrt and floor of float64, in a fixed order: exp, sin and pow differ between CPUs.

This module imports numba. It is imported to compile what it holds, once: `augment.native` keeps the machine code.
"""

import math

import numpy as np
from numpy.typing import NDArray

from augment.compiled import compiled
from pipeline.source.phantom import BUCKET_PX, CROWD, MARGIN_PX, MAX_NEAR, Floats, Ints

# Columns of the table of profiles (cross-sections of cells) beside CROWD, the eighth; the mitochondrion of a profile
# is an ellipse.
_Y, _X, _RADIUS, _COS, _SIN, _STRETCH, _TONE = range(7)
_MITO_Y, _MITO_X, _MITO_LONG, _MITO_SHORT, _MITO_COS, _MITO_SIN = range(8, 14)

_MIN_RADIUS_PX = 4.5
_MEMBRANE_PX = 4.2  # half width of a membrane, to where it has faded out
_PAINTED_DARKNESS, _PAINTED_PX = 0.36, 1.8  # an annotator paints what is this dark or this close


@compiled
def add_interpolated(nodes: Floats, i: Ints, ty: Floats, j: Ints, tx: Floats, out: Floats, row: Floats) -> None:
    """Add to out (Y, X) what lies between nodes: pixel (y, x) is ty[y], tx[x] of the way past node i[y], j[x].

    `row`, as long as a row of nodes, is to work in.
    """
    for y in range(out.shape[0]):
        for k in range(row.size):
            row[k] = nodes[i[y], k] + ty[y] * (nodes[i[y] + 1, k] - nodes[i[y], k])
        for x in range(out.shape[1]):
            out[y, x] += row[j[x]] + tx[x] * (row[j[x] + 1] - row[j[x]])


@compiled
def _locate(table: Floats, i: int, y: float, x: float) -> tuple[float, float]:
    """Return (y, x) in the stretched frame of profile i, where the profile is a disc around 0."""
    dy, dx = y - table[i, _Y], x - table[i, _X]
    u = (dx * table[i, _COS] + dy * table[i, _SIN]) * table[i, _STRETCH]
    v = (dy * table[i, _COS] - dx * table[i, _SIN]) / table[i, _STRETCH]
    return u, v


@compiled
def _reach(table: Floats, i: int, y: float, x: float) -> float:
    """Return how far (y, x) is outside profile i, negative inside, in the profile's frame."""
    u, v = _locate(table, i, y, x)
    reach: float = math.sqrt(u * u + v * v) - table[i, _RADIUS]
    return reach


@compiled
def _pull(table: Floats, i: int, y: float, x: float) -> tuple[float, float]:
    """Return the gradient (y, x) of _reach."""
    u, v = _locate(table, i, y, x)
    q = max(math.sqrt(u * u + v * v), 1e-6)
    u, v = u * table[i, _STRETCH] / q, v / table[i, _STRETCH] / q
    return u * table[i, _SIN] + v * table[i, _COS], u * table[i, _COS] - v * table[i, _SIN]


@compiled
def pack(table: Floats) -> None:
    """Shrink each profile until it clears the earlier, larger ones; radius 0 = no room left."""
    for i in range(table.shape[0]):
        radius = table[i, _RADIUS]
        for j in range(i):
            if table[j, _RADIUS] > 0.0:
                radius = min(radius, _reach(table, j, table[i, _Y], table[i, _X]))
        table[i, _RADIUS] = radius if radius >= _MIN_RADIUS_PX else 0.0


@compiled
def _find_near(table: Floats, near: Ints, reach: Floats, slack: Floats) -> None:
    """Write for each bucket (Y, X, list ended by -1) the profiles that may be first or second within it."""
    for row in range(near.shape[0]):
        for column in range(near.shape[1]):
            y, x = (row + 0.5) * BUCKET_PX - MARGIN_PX, (column + 0.5) * BUCKET_PX - MARGIN_PX
            # over the whole bucket, some two profiles are nearer than `second`: none beyond it can be one of the two
            first = second = 1e30
            for i in range(table.shape[0]):
                if table[i, _RADIUS] <= 0.0:
                    continue
                reach[i] = _reach(table, i, y, x)
                slack[i] = 0.7072 * BUCKET_PX / table[i, _STRETCH]
                second = min(second, max(first, reach[i] + slack[i]))
                first = min(first, reach[i] + slack[i])
            n = 0
            for i in range(table.shape[0]):
                if table[i, _RADIUS] > 0.0 and reach[i] - slack[i] <= second and n < MAX_NEAR - 1:
                    near[row, column, n] = i
                    n += 1
            near[row, column, n] = -1


@compiled
def _shade_up_to(g: float) -> float:
    """Return the integral of a membrane's darkness (1 - (t / half width)^2)^2 over t from 0 to g pixels."""
    t = min(max(g / _MEMBRANE_PX, -1.0), 1.0)
    return _MEMBRANE_PX * t * (1.0 - t * t * (2.0 / 3.0) + t * t * t * t * 0.2)


@compiled
def _project_membrane(above: float, below: float) -> float:
    """Return the darkness in [0, 1] of a membrane at these offsets (px) on the two faces of a section.

    A section is 50 nm thick, 12 pixels: an upright membrane is a thin black line, a slanted one a gray band.
    """
    half = min(max(0.5 * (below - above), -5.0), 5.0)
    if abs(half) < 0.25:
        half = 0.25
    middle = 0.5 * (above + below)
    return (_shade_up_to(middle + half) - _shade_up_to(middle - half)) / (2.0 * half)


@compiled
def _shade_mitochondrion(table: Floats, i: int, y: float, x: float, grain: float) -> float:
    """Return the gray value that the mitochondrion of profile i adds: a rim, and folds across it."""
    long, short = table[i, _MITO_LONG], table[i, _MITO_SHORT]
    if short < 4.0:
        return 0.0
    dy, dx = y - table[i, _MITO_Y], x - table[i, _MITO_X]
    u = dx * table[i, _MITO_COS] + dy * table[i, _MITO_SIN]
    v = dy * table[i, _MITO_COS] - dx * table[i, _MITO_SIN]
    outside_px = (math.sqrt(u * u / (long * long) + v * v / (short * short)) - 1.0) * short
    gray: float = min(outside_px * outside_px * 0.25 - 1.0, 0.0) * 44.0
    if outside_px < 0.0:
        fold = v / 5.5 + 0.45 * grain
        fold = abs(fold - math.floor(fold) - 0.5) * 4.0 - 1.0
        gray += (24.0 * fold - 48.0) * min(1.0, -outside_px)
    return gray


@compiled
def _find_two(table: Floats, candidates: Ints, y: float, x: float) -> tuple[int, int, float, float]:
    """Return the profile at (y, x), its nearest rival, and how far (y, x) is outside each."""
    first = second = 1e30
    i = j = n = 0
    while candidates[n] >= 0:
        reach = _reach(table, candidates[n], y, x)
        if reach < first:
            first, second, i, j = reach, first, candidates[n], i
        elif reach < second:
            second, j = reach, candidates[n]
        n += 1
    return i, j, first, second


@compiled
def _find_slope(table: Floats, warp: Floats, i: int, j: int, r: int, c: int, y: float, x: float) -> float:
    """Return how fast the rivals' reaches part per image pixel; the chain rule undoes the warp's stretch."""
    iy, ix = _pull(table, i, y, x)
    jy, jx = _pull(table, j, y, x)
    gy, gx = jy - iy, jx - ix
    py = gy * (1.0 + warp[0, r + 1, c] - warp[0, r, c]) + gx * (warp[1, r + 1, c] - warp[1, r, c])
    px = gx * (1.0 + warp[1, r, c + 1] - warp[1, r, c]) + gy * (warp[0, r, c + 1] - warp[0, r, c])
    return max(math.sqrt(py * py + px * px), 0.8)


@compiled
def fill_cells(
    tables: Floats,
    warp: Floats,
    waves: Floats,
    label: NDArray[np.uint8],
    gray: Floats,
    owner: Ints,
    depth: Floats,
    near: Ints,
    room: Floats,
) -> None:
    """Fill label (Y, X), the gray values, each pixel's profile, and its distance from a membrane.

    Args:
        tables: (3, N, 14), the profiles at the upper face, in the middle and at the lower face of the section.
        warp: (2, Y + 1, X + 1), how far outlines are bent, in pixels.
        waves: (3, Y, X), coarse and fine grain, and where synapses are.
        label: 255 = cell, 0 = membrane.
        gray: (Y, X).
        owner: (Y, X).
        depth: (Y, X).
        near: (rows of buckets, columns of buckets, MAX_NEAR), to work in.
        room: (2, N), to work in.
    """
    above, middle, below = tables[0], tables[1], tables[2]
    _find_near(middle, near, room[0], room[1])
    for r in range(label.shape[0]):
        for c in range(label.shape[1]):
            grain, fine, synapse = waves[0, r, c], waves[1, r, c], waves[2, r, c]
            y, x = r + warp[0, r, c], c + warp[1, r, c]
            candidates = near[int((y + MARGIN_PX) / BUCKET_PX), int((x + MARGIN_PX) / BUCKET_PX)]
            i, j, first, second = _find_two(middle, candidates, y, x)
            slope = _find_slope(middle, warp, i, j, r, c, y, x)
            distance = (second - first) / slope
            top = (_reach(above, j, y, x) - _reach(above, i, y, x)) / slope
            bottom = (_reach(below, j, y, x) - _reach(below, i, y, x)) / slope
            density = min(max(4.0 * synapse - 2.6, 0.0), 1.0)  # of a synapse, beside the membrane
            dark = _project_membrane(top, bottom) + density * 0.8 / (1.0 + distance * distance * 0.01)
            texture = (18.0 * grain + 27.0 * fine) * (0.9 + middle[i, CROWD])
            tone = 147.0 + middle[i, _TONE] + texture + _shade_mitochondrion(middle, i, y, x, grain)
            gray[r, c] = tone - min(dark, 1.15) * (86.0 + 18.0 * synapse) * (tone / 147.0)
            label[r, c] = 0 if dark > _PAINTED_DARKNESS or distance < _PAINTED_PX else 255
            owner[r, c] = i
            depth[r, c] = distance


@compiled
def stamp_vesicles(gray: Floats, depth: Floats, centre_y: Ints, centre_x: Ints, size: Floats) -> None:
    """Darken rings (vesicles, 2 to 5 px in radius) and dots, wherever they clear the membranes."""
    for n in range(size.size):
        cy, cx = centre_y[n], centre_x[n]
        radius = max(4.0 * size[n] * size[n], 0.4) + 0.6 if size[n] > 0.4 else 0.0
        if depth[cy, cx] < radius + 5.0:
            continue
        for y in range(max(cy - 7, 0), min(cy + 8, gray.shape[0])):
            for x in range(max(cx - 7, 0), min(cx + 8, gray.shape[1])):
                off = math.sqrt((y - cy) * (y - cy) + (x - cx) * (x - cx)) - radius
                gray[y, x] -= 80.0 * max(1.0 - off * off / 3.2, 0.0) * (1.0 - 0.5 * size[n])


@compiled
def develop(
    gray: Floats,
    quarters: NDArray[np.uint16],
    defocus: float,
    contrast: float,
    brightness: float,
    image: NDArray[np.uint8],
    noise: Floats,
    rows: Floats,
) -> None:
    """Fill image; a fixed 3 x 3 blur and the sum of four uniforms stand in for optics and electrons.

    `noise` and `rows`, both (Y, X), are to work in.
    """
    height, width = gray.shape
    for y in range(height):
        for x in range(width):
            total = 0
            for k in range(4):
                total += quarters[y, x, k]
            noise[y, x] = (total - 131070) / 37837.0  # unit variance
            gray[y, x] += 20.0 * noise[y, x]
    for y in range(height):
        for x in range(width):
            beside = gray[y, max(x - 1, 0)] + gray[y, min(x + 1, width - 1)]
            rows[y, x] = gray[y, x] + defocus * (beside - 2.0 * gray[y, x])
    for y in range(height):
        for x in range(width):
            beside = rows[max(y - 1, 0), x] + rows[min(y + 1, height - 1), x]
            blurred = rows[y, x] + defocus * (beside - 2.0 * rows[y, x])
            value = brightness + contrast * (blurred - 126.0) + 10.0 * noise[y, width - 1 - x]
            image[y, x] = np.uint8(min(max(math.floor(value + 0.5), 0.0), 255.0))
