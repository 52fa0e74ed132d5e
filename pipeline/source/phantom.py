"""A synthetic stack that looks like serial-section EM, so that tests and demos need no download.

Every pixel comes from integer hashes and float64 + - * / sqrt floor, operations that IEEE 754 fixes to the
last bit; exp, sin and pow differ between CPUs, so none is used and a seed gives the same bytes everywhere.
Every random number has an address (seed, stream, position), never a history. NumPy draws the few numbers
that describe the tissue; the loops over pixels are compiled.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Function = TypeVar("Function", bound=Callable[..., Any])

_PATH, _SHAPE, _WARP, _GRAIN, _SYNAPSE, _LIGHT, _SHOT, _VESICLE, _SECTION = range(1, 10)  # streams

# Profiles (cell cross-sections) sit on three jittered lattices, the largest first:
# lattice pitch (px), chance of a profile at a node, smallest and largest radius (px).
_LEVELS = ((128.0, 0.85, 30.0, 92.0), (56.0, 0.80, 13.0, 32.0), (29.0, 0.50, 5.0, 13.0))
_PAD_PX = 200.0  # profiles outside the image that may reach into it
_MIN_RADIUS_PX = 4.5
_TURN_SECTIONS = 4.5  # a profile's path changes direction about this often
_WARPS_PX = ((72.0, 13.0), (27.0, 6.0), (11.0, 2.0))  # wavelength and amplitude of the bends of outlines
_WARP_TURN_SECTIONS = 4.5
_MISALIGNED_PX = 6.0  # largest shift that alignment left in a section
_BUCKET_PX = 8.0
_MARGIN_PX = 32.0  # more than warp and misalignment together
_NEAR = 48  # most profiles that compete for one bucket
_MEMBRANE_PX = 4.2  # half width of a membrane, to where it has faded out
_PAINTED_DARKNESS, _PAINTED_PX = 0.36, 1.8  # an annotator paints what is this dark or this close

# Columns of the profile table; the mitochondrion of a profile is an ellipse.
_Y, _X, _RADIUS, _COS, _SIN, _STRETCH, _TONE, _CROWD = range(8)
_MITO_Y, _MITO_X, _MITO_LONG, _MITO_SHORT, _MITO_COS, _MITO_SIN = range(8, 14)


def make_phantom(
    shape_zyx: tuple[int, int, int] = (30, 512, 512), *, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return (images, labels), both (Z, Y, X) uint8, the same bytes on every x86-64 CPU.

    Labels follow ISBI 2012: 255 = cell, 0 = membrane. The texture has the scale of ISBI 2012
    (4 x 4 x 50 nm voxels) whatever the shape. In images 0 is black.

    Args:
        shape_zyx: sections, rows, columns; at least (1, 16, 16).
        seed: 0 to 2**64 - 1; another seed is another tissue.

    Raises:
        ConfigError: the shape or the seed is out of range.
    """
    if len(shape_zyx) != 3 or any(n < least for n, least in zip(shape_zyx, (1, 16, 16), strict=True)):
        raise ConfigError(
            f"phantom: shape_zyx must be three integers, at least (1, 16, 16), got {tuple(shape_zyx)}; "
            "make a larger stack and crop it"
        )
    if not 0 <= seed < 2**64:
        raise ConfigError(f"phantom: seed must be 0 to 2**64 - 1, got {seed}; pass a non-negative integer")
    n_sections, *size_yx = (int(n) for n in shape_zyx)
    images, labels = np.empty((2, n_sections, *size_yx), np.uint8)
    # Tables at the faces and in the middle of every section: a section shows all that it contains.
    halves = range(-1, 2 * n_sections)
    tables = np.stack([_pack(_draw_profiles(seed, half / 2.0, size_yx)) for half in halves])
    for z in range(n_sections):
        gray, owner, depth = _render_cells(seed, z, tables[2 * z : 2 * z + 3], labels[z])
        _stamp_vesicles(gray, depth, *_draw_vesicles(seed, z, tables[2 * z + 1], owner))
        _expose_section(seed, z, gray, images[z])
    return images, labels


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return well-stirred bits (the finaliser of splitmix64, Steele, Lea and Flood 2014)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _hash(seed: int, stream: int, *address: Any) -> NDArray[np.uint64]:
    """Return 64 bits for every address; the parts of an address are integers that broadcast."""
    bits = np.array([seed], np.uint64)  # an array, since NumPy warns when scalars wrap around
    for part in (stream, *address):
        bits = _mix((bits ^ np.asarray(part, np.int64).astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15))
    return bits


def _unit(seed: int, stream: int, *address: Any) -> Floats:
    """Return a number in [0, 1) for every address."""
    return (_hash(seed, stream, *address) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _one(seed: int, stream: int, *address: int) -> float:
    return float(_unit(seed, stream, *address)[0])


def _ease(t: Floats) -> Floats:
    return t * t * (3.0 - 2.0 * t)


def _wander(seed: int, stream: int, z: Any, *address: Any) -> Floats:
    """Return a number in [-1, 1) for every address that changes smoothly with z."""
    node = np.floor(z)
    t = _ease(z - node)
    here, there = (_unit(seed, stream, *address, node + step) for step in (0, 1))
    return 2.0 * (here + t * (there - here)) - 1.0


def _direction(u: Floats) -> tuple[Floats, Floats]:
    """Return (cos, sin) of a direction in the half plane for u in [0, 1), without cos and sin."""
    t = 2.0 * u - 1.0
    return (1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t)


def _add_waves(seed: int, stream: int, z: float, pitch_px: float, gain: float, out: Floats) -> Floats:
    """Add value noise in gain * [-1, 1) to out (Y, X): hashed lattice values, smoothly interpolated."""
    at_y, at_x = (np.arange(n) / pitch_px for n in out.shape)
    i, j = np.floor(at_y).astype(np.int64), np.floor(at_x).astype(np.int64)
    rows, columns = np.arange(i[-1] + 2)[:, None], np.arange(j[-1] + 2)
    nodes = gain * _wander(seed, stream, np.float64(z), rows, columns)
    _add_interpolated(nodes, i, _ease(at_y - i), j, _ease(at_x - j), out)
    return out


def _draw_profiles(seed: int, z: float, size_yx: list[int]) -> Floats:
    """Return the profiles at depth z, (N, 14), larger kinds first; N does not depend on z."""
    return np.concatenate([_draw_level(seed, z, size_yx, level) for level in range(len(_LEVELS))])


def _draw_level(seed: int, z: float, size_yx: list[int], level: int) -> Floats:
    pitch, chance, smallest, largest = _LEVELS[level]
    pad = int(_PAD_PX / pitch) + 1
    i, j = np.mgrid[tuple(slice(-pad, int(n / pitch) + 1 + pad) for n in size_yx)].reshape(2, -1)
    present = _unit(seed, _SHAPE, level, i, j, 0) < chance
    i, j = i[present], j[present]
    u = [_unit(seed, _SHAPE, level, i, j, k) for k in range(15)]
    turn = z / _TURN_SECTIONS + u[1]
    path = [_wander(seed, _PATH, turn, level, i, j, k) for k in range(4)]

    p = np.zeros((i.size, 14))
    roam = 20.0 + 0.15 * pitch
    p[:, _Y] = pitch * (i + u[2] - 0.5) + roam * path[0]
    p[:, _X] = pitch * (j + u[3] - 0.5) + roam * path[1]
    p[:, _RADIUS] = (smallest + (largest - smallest) * u[4] * u[4]) * (1.0 + 0.45 * path[2])
    p[:, _COS], p[:, _SIN] = _direction(u[5])
    p[:, _STRETCH] = 1.0 - 0.5 * u[6] * u[6]
    glia = (u[7] < 0.10) & (level > 0)
    p[:, _TONE] = np.where(glia, -30.0, 16.0 * (u[8] - 0.5))
    p[:, _CROWD] = 0.12 + 0.6 * u[9] * u[9]
    _add_mitochondria(p, path[3], u[10:])
    return p


def _add_mitochondria(p: Floats, bloom: Floats, u: list[Floats]) -> None:
    """Fill the mitochondrion columns; one appears, swells and ends as bloom [-1, 1) goes through 0."""
    size = np.minimum(0.66 * p[:, _RADIUS], 30.0)
    there = (p[:, _RADIUS] > 15.0) & (bloom > 0.0)
    p[:, _MITO_SHORT] = np.where(there, 0.8 * size * np.minimum(1.0, 0.4 + 2.0 * bloom), 0.0)
    p[:, _MITO_LONG] = p[:, _MITO_SHORT] * (1.1 + 0.6 * u[0])
    p[:, _MITO_COS], p[:, _MITO_SIN] = _direction(u[1])
    p[:, _MITO_Y] = p[:, _Y] + (p[:, _RADIUS] - size) * (u[2] - 0.5)
    p[:, _MITO_X] = p[:, _X] + (p[:, _RADIUS] - size) * (u[3] - 0.5)


def _render_cells(seed: int, z: int, tables: Floats, label: NDArray[np.uint8]) -> tuple[Floats, Ints, Floats]:
    """Fill label (Y, X); return the gray values, each pixel's profile, and its distance from a membrane.

    tables (3, N, 14) are the profiles at the upper face, in the middle and at the lower face.
    """
    height, width = label.shape
    warp = np.empty((2, height + 1, width + 1))
    for axis in range(2):
        warp[axis] = 2.0 * _MISALIGNED_PX * (_one(seed, _SECTION, z, axis) - 0.5)
        for k, (pitch, amplitude) in enumerate(_WARPS_PX):
            stream = _WARP + 16 * (2 * k + axis)
            _add_waves(seed, stream, z / _WARP_TURN_SECTIONS, pitch, amplitude, warp[axis])
    waves = np.zeros((3, height, width))
    _add_waves(seed, _GRAIN, z, 7.0, 1.0, waves[0])
    _add_waves(seed, _GRAIN + 16, z, 3.1, 1.0, waves[1])
    _add_waves(seed, _SYNAPSE, z / 3.0, 42.0, 1.0, waves[2])
    rows, columns = (int((n + 2.0 * _MARGIN_PX) / _BUCKET_PX) + 1 for n in label.shape)
    near = np.empty((rows, columns, _NEAR), np.int64)
    _find_near(tables[1], np.flatnonzero(tables[1, :, _RADIUS] > 0.0), near)
    return _fill_cells(tables, near, warp, waves, label)


def _draw_vesicles(seed: int, z: int, table: Floats, owner: Ints) -> tuple[Ints, Ints, Floats]:
    """Return centre rows, centre columns and sizes [0, 1) of vesicles (large) and microtubules (small)."""
    pitch = 11.0
    i, j = np.mgrid[tuple(slice(0, int(n / pitch) + 1) for n in owner.shape)].reshape(2, -1)
    u = [_unit(seed, _VESICLE, z, i, j, k) for k in range(4)]
    y, x = np.floor(pitch * (i + u[0])).astype(np.int64), np.floor(pitch * (j + u[1])).astype(np.int64)
    inside = (y < owner.shape[0]) & (x < owner.shape[1])
    y, x, size, chance = y[inside], x[inside], u[2][inside], u[3][inside]
    kept = chance < table[owner[y, x], _CROWD]
    return y[kept], x[kept], size[kept]


def _expose_section(seed: int, z: int, gray: Floats, image: NDArray[np.uint8]) -> None:
    """Fill image: uneven light, at times a stain, defocus, contrast, shot noise, 8 bits."""
    _add_waves(seed, _LIGHT, z / 2.0, 120.0, 19.0, gray)
    stain = _add_waves(seed, _LIGHT + 16, z, 90.0, 1.0, np.zeros(gray.shape))
    u = [_one(seed, _SECTION, z, k) for k in range(2, 6)]
    if u[0] < 0.12:
        gray -= 45.0 * np.maximum(stain - 0.2, 0.0)
    bits = _hash(seed, _SHOT, z, np.arange(gray.size).reshape(gray.shape))
    quarters = bits.view(np.uint16).reshape(*gray.shape, 4)  # four uniforms; their order does not matter
    defocus, contrast, brightness = 0.10 + 0.10 * u[1], 1.10 + 0.3 * u[2], 123.0 + 36.0 * (u[3] - 0.5)
    _develop(gray, quarters, defocus, contrast, brightness, image)


def _kernel(function: Function) -> Function:
    """Compile function; fastmath stays off, it would let the CPU decide the last bit."""
    return cast(Function, numba.njit(nogil=True, cache=True, error_model="numpy")(function))


@_kernel
def _add_interpolated(nodes: Floats, i: Ints, ty: Floats, j: Ints, tx: Floats, out: Floats) -> None:
    row = np.empty(nodes.shape[1])
    for y in range(out.shape[0]):
        for k in range(row.size):
            row[k] = nodes[i[y], k] + ty[y] * (nodes[i[y] + 1, k] - nodes[i[y], k])
        for x in range(out.shape[1]):
            out[y, x] += row[j[x]] + tx[x] * (row[j[x] + 1] - row[j[x]])


@_kernel
def _locate(table: Floats, i: int, y: float, x: float) -> tuple[float, float]:
    """Return (y, x) in the stretched frame of profile i, where the profile is a disc around 0."""
    dy, dx = y - table[i, _Y], x - table[i, _X]
    u = (dx * table[i, _COS] + dy * table[i, _SIN]) * table[i, _STRETCH]
    v = (dy * table[i, _COS] - dx * table[i, _SIN]) / table[i, _STRETCH]
    return u, v


@_kernel
def _reach(table: Floats, i: int, y: float, x: float) -> float:
    """Return how far (y, x) is outside profile i, negative inside, in the profile's frame."""
    u, v = _locate(table, i, y, x)
    reach: float = math.sqrt(u * u + v * v) - table[i, _RADIUS]
    return reach


@_kernel
def _pull(table: Floats, i: int, y: float, x: float) -> tuple[float, float]:
    """Return the gradient (y, x) of _reach."""
    u, v = _locate(table, i, y, x)
    q = max(math.sqrt(u * u + v * v), 1e-6)
    u, v = u * table[i, _STRETCH] / q, v / table[i, _STRETCH] / q
    return u * table[i, _SIN] + v * table[i, _COS], u * table[i, _COS] - v * table[i, _SIN]


@_kernel
def _pack(table: Floats) -> Floats:
    """Shrink each profile until it clears the earlier, larger ones; radius 0 = no room left."""
    for i in range(table.shape[0]):
        radius = table[i, _RADIUS]
        for j in range(i):
            if table[j, _RADIUS] > 0.0:
                radius = min(radius, _reach(table, j, table[i, _Y], table[i, _X]))
        table[i, _RADIUS] = radius if radius >= _MIN_RADIUS_PX else 0.0
    return table


@_kernel
def _find_near(table: Floats, alive: Ints, near: Ints) -> None:
    """List for each bucket (Y, X, list ended by -1) the profiles that may be first or second within it."""
    reach, slack = np.empty(table.shape[0]), np.empty(table.shape[0])
    for b in range(near.shape[0] * near.shape[1]):
        row, column = b // near.shape[1], b % near.shape[1]
        y, x = (row + 0.5) * _BUCKET_PX - _MARGIN_PX, (column + 0.5) * _BUCKET_PX - _MARGIN_PX
        first = second = 1e30
        for i in alive:
            reach[i] = _reach(table, i, y, x)
            slack[i] = 0.7072 * _BUCKET_PX / table[i, _STRETCH]
            second = min(second, max(first, reach[i] + slack[i]))
            first = min(first, reach[i] + slack[i])
        n = 0
        for i in alive:
            if reach[i] - slack[i] <= second and n < near.shape[2] - 1:
                near[row, column, n] = i
                n += 1
        near[row, column, n] = -1


@_kernel
def _shade_up_to(g: float) -> float:
    """Return the integral of a membrane's darkness (1 - (t / half width)^2)^2 over t from 0 to g pixels."""
    t = min(max(g / _MEMBRANE_PX, -1.0), 1.0)
    return _MEMBRANE_PX * t * (1.0 - t * t * (2.0 / 3.0) + t * t * t * t * 0.2)


@_kernel
def _project_membrane(above: float, below: float) -> float:
    """Return the darkness in [0, 1] of a membrane at these offsets (px) on the two faces of a section.

    A section is 50 nm thick, 12 pixels: an upright membrane is a thin black line, a slanted one a gray band.
    """
    half = min(max(0.5 * (below - above), -5.0), 5.0)
    if abs(half) < 0.25:
        half = 0.25
    middle = 0.5 * (above + below)
    return (_shade_up_to(middle + half) - _shade_up_to(middle - half)) / (2.0 * half)


@_kernel
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


@_kernel
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


@_kernel
def _find_slope(table: Floats, warp: Floats, i: int, j: int, r: int, c: int, y: float, x: float) -> float:
    """Return how fast the rivals' reaches part per image pixel; the chain rule undoes the warp's stretch."""
    iy, ix = _pull(table, i, y, x)
    jy, jx = _pull(table, j, y, x)
    gy, gx = jy - iy, jx - ix
    py = gy * (1.0 + warp[0, r + 1, c] - warp[0, r, c]) + gx * (warp[1, r + 1, c] - warp[1, r, c])
    px = gx * (1.0 + warp[1, r, c + 1] - warp[1, r, c]) + gy * (warp[0, r, c + 1] - warp[0, r, c])
    return max(math.sqrt(py * py + px * px), 0.8)


@_kernel
def _fill_cells(
    tables: Floats, near: Ints, warp: Floats, waves: Floats, label: NDArray[np.uint8]
) -> tuple[Floats, Ints, Floats]:
    gray, owner, depth = np.empty(label.shape), np.empty(label.shape, np.int64), np.empty(label.shape)
    above, middle, below = tables[0], tables[1], tables[2]
    for r in range(label.shape[0]):
        for c in range(label.shape[1]):
            grain, fine, synapse = waves[0, r, c], waves[1, r, c], waves[2, r, c]
            y, x = r + warp[0, r, c], c + warp[1, r, c]
            candidates = near[int((y + _MARGIN_PX) / _BUCKET_PX), int((x + _MARGIN_PX) / _BUCKET_PX)]
            i, j, first, second = _find_two(middle, candidates, y, x)
            slope = _find_slope(middle, warp, i, j, r, c, y, x)
            distance = (second - first) / slope
            top = (_reach(above, j, y, x) - _reach(above, i, y, x)) / slope
            bottom = (_reach(below, j, y, x) - _reach(below, i, y, x)) / slope
            density = min(max(4.0 * synapse - 2.6, 0.0), 1.0)  # of a synapse, beside the membrane
            dark = _project_membrane(top, bottom) + density * 0.8 / (1.0 + distance * distance * 0.01)
            texture = (18.0 * grain + 27.0 * fine) * (0.9 + middle[i, _CROWD])
            tone = 147.0 + middle[i, _TONE] + texture + _shade_mitochondrion(middle, i, y, x, grain)
            gray[r, c] = tone - min(dark, 1.15) * (86.0 + 18.0 * synapse) * (tone / 147.0)
            label[r, c] = 0 if dark > _PAINTED_DARKNESS or distance < _PAINTED_PX else 255
            owner[r, c] = i
            depth[r, c] = distance
    return gray, owner, depth


@_kernel
def _stamp_vesicles(gray: Floats, depth: Floats, centre_y: Ints, centre_x: Ints, size: Floats) -> None:
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


@_kernel
def _develop(
    gray: Floats, quarters: Any, defocus: float, contrast: float, brightness: float, image: NDArray[np.uint8]
) -> None:
    """Fill image; a fixed 3 x 3 blur and the sum of four uniforms stand in for optics and electrons."""
    height, width = gray.shape
    noise, rows = np.empty((height, width)), np.empty((height, width))
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
