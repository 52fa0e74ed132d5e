"""A synthetic stack that looks like serial-section EM, so that tests and demos need no download.

Every pixel comes from integer hashes and float64 + - * / sqrt floor, operations that IEEE 754 fixes to the
last bit; exp, sin and pow differ between CPUs, so none is used and a seed gives the same bytes everywhere.
Every random number has an address (seed, stream, position), never a history. NumPy draws the few numbers
that describe the tissue; the loops over pixels are compiled.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.native import Kernel
from pipeline.errors import ConfigError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CROWD = 7  # the column of the table of profiles that says how crowded with vesicles one is
BUCKET_PX, MAX_NEAR = 8.0, 48  # squares of pixels, and how many profiles compete for one of them at most
MARGIN_PX = 32.0  # more than warp and misalignment together

MITOCHONDRIA = 2  # in labels of three classes
_MIN_MITOCHONDRION_PX, _RIM_PX = 4.0, 1.0  # half its width where one is drawn, and how far its dark rim reaches

_PATH, _SHAPE, _WARP, _GRAIN, _SYNAPSE, _LIGHT, _SHOT, _VESICLE, _SECTION = range(1, 10)  # streams

# Profiles (cross-sections of cells) sit on three jittered lattices, the largest first:
# lattice pitch (px), chance of a profile at a node, smallest and largest radius (px).
_LEVELS = ((128.0, 0.85, 30.0, 92.0), (56.0, 0.80, 13.0, 32.0), (29.0, 0.50, 5.0, 13.0))
_PAD_PX = 200.0  # profiles outside the image that may reach into it
_TURN_SECTIONS = 4.5  # a profile's path changes direction about this often
_WARPS_PX = ((72.0, 13.0), (27.0, 6.0), (11.0, 2.0))  # wavelength and amplitude of the bends of outlines
_WARP_TURN_SECTIONS = 4.5
_MAX_MISALIGNED_PX = 6.0  # shift that alignment left in a section

_add_interpolated, _pack, _fill_cells, _stamp_vesicles, _develop = (
    Kernel("pipeline.source.phantom_kernels", name)
    for name in ("add_interpolated", "pack", "fill_cells", "stamp_vesicles", "develop")
)


def make_phantom(
    shape_zyx: tuple[int, int, int] = (30, 512, 512), *, seed: int = 0, n_classes: int = 2
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return (images, labels), both (Z, Y, X) uint8, the same bytes on every x86-64 CPU.

    Labels follow ISBI 2012: 255 = cell, 0 = membrane; of three classes they are 0 = membrane, 1 = cell and
    2 = mitochondria, of the same images. The texture has the scale of ISBI 2012
    (4 x 4 x 50 nm voxels) whatever the shape. In images 0 is black.

    Args:
        shape_zyx: sections, rows, columns; at least (1, 16, 16).
        seed: 0 to 2**64 - 1; another seed is another tissue.
        n_classes: 2 or 3.

    Raises:
        ConfigError: the shape, the seed or the number of classes is out of range.
    """
    if len(shape_zyx) != 3 or any(n < least for n, least in zip(shape_zyx, (1, 16, 16), strict=True)):
        raise ConfigError(f"phantom: shape_zyx must be at least (1, 16, 16), got {tuple(shape_zyx)}; crop a larger one")
    if not 0 <= seed < 2**64:
        raise ConfigError(f"phantom: seed must be 0 to 2**64 - 1, got {seed}; pass a non-negative integer")
    if n_classes not in (2, 3):
        raise ConfigError(f"phantom: expected 2 or 3 classes, got {n_classes}")
    n_sections, *size_yx = (int(n) for n in shape_zyx)
    images, labels = np.empty((2, n_sections, *size_yx), np.uint8)
    # Tables at the faces and in the middle of every section: a section shows all that it contains.
    halves = range(-1, 2 * n_sections)
    tables = np.stack([_draw_profiles(seed, half / 2.0, size_yx) for half in halves])
    for table in tables:
        _pack(table)
    for z in range(n_sections):
        gray, owner, depth, warp = _render_cells(seed, z, tables[2 * z : 2 * z + 3], labels[z])
        if n_classes == 3:
            inside = _find_mitochondria(tables[2 * z + 1], warp, owner) & (labels[z] != 0)
            labels[z] = np.where(inside, MITOCHONDRIA, labels[z] != 0)
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
    _add_interpolated(nodes, i, _ease(at_y - i), j, _ease(at_x - j), out, np.empty(nodes.shape[1]))
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

    roam = 20.0 + 0.15 * pitch
    y = pitch * (i + u[2] - 0.5) + roam * path[0]
    x = pitch * (j + u[3] - 0.5) + roam * path[1]
    radius = (smallest + (largest - smallest) * u[4] * u[4]) * (1.0 + 0.45 * path[2])
    cos, sin = _direction(u[5])
    stretch = 1.0 - 0.5 * u[6] * u[6]
    glia = (u[7] < 0.10) & (level > 0)
    tone = np.where(glia, -30.0, 16.0 * (u[8] - 0.5))
    crowd = 0.12 + 0.6 * u[9] * u[9]
    mitochondrion = _draw_mitochondrion(y, x, radius, path[3], u[10:])
    return np.stack([y, x, radius, cos, sin, stretch, tone, crowd, *mitochondrion], axis=1)


def _draw_mitochondrion(y: Floats, x: Floats, radius: Floats, bloom: Floats, u: list[Floats]) -> tuple[Floats, ...]:
    """Return the mitochondrion columns; one appears, swells and ends as bloom [-1, 1) goes through 0."""
    size = np.minimum(0.66 * radius, 30.0)
    there = (radius > 15.0) & (bloom > 0.0)
    short = np.where(there, 0.8 * size * np.minimum(1.0, 0.4 + 2.0 * bloom), 0.0)
    long = short * (1.1 + 0.6 * u[0])
    return y + (radius - size) * (u[2] - 0.5), x + (radius - size) * (u[3] - 0.5), long, short, *_direction(u[1])


def _find_mitochondria(table: Floats, warp: Floats, owner: Ints) -> NDArray[np.bool_]:
    """Return where (Y, X) the mitochondrion of the profile that each pixel is in lies, its dark rim included."""
    rows, columns = np.mgrid[: owner.shape[0], : owner.shape[1]].astype(np.float64)
    centre_y, centre_x, long, short, cos, sin = (table[:, column][owner] for column in range(CROWD + 1, CROWD + 7))
    dy, dx = rows + warp[0, :-1, :-1] - centre_y, columns + warp[1, :-1, :-1] - centre_x
    there = short >= _MIN_MITOCHONDRION_PX
    u = (dx * cos + dy * sin) / np.where(there, long, 1.0)
    v = (dy * cos - dx * sin) / np.where(there, short, 1.0)
    return np.asarray(there & ((np.sqrt(u * u + v * v) - 1.0) * short < _RIM_PX))


def _render_cells(seed: int, z: int, tables: Floats, label: NDArray[np.uint8]) -> tuple[Floats, Ints, Floats, Floats]:
    """Fill label (Y, X); return gray values, each pixel's profile and distance from a membrane, and how it is bent.

    tables (3, N, 14) are the profiles at the upper face, in the middle and at the lower face.
    """
    height, width = label.shape
    warp = np.empty((2, height + 1, width + 1))
    for axis in range(2):
        warp[axis] = 2.0 * _MAX_MISALIGNED_PX * (_one(seed, _SECTION, z, axis) - 0.5)
        for k, (pitch, amplitude) in enumerate(_WARPS_PX):
            stream = _WARP + 16 * (2 * k + axis)
            _add_waves(seed, stream, z / _WARP_TURN_SECTIONS, pitch, amplitude, warp[axis])
    waves = np.zeros((3, height, width))
    _add_waves(seed, _GRAIN, z, 7.0, 1.0, waves[0])
    _add_waves(seed, _GRAIN + 16, z, 3.1, 1.0, waves[1])
    _add_waves(seed, _SYNAPSE, z / 3.0, 42.0, 1.0, waves[2])
    gray, depth = np.empty((2, height, width))
    owner = np.empty((height, width), np.int64)
    n_rows, n_columns = (int((side + 2.0 * MARGIN_PX) / BUCKET_PX) + 1 for side in label.shape)
    near, room = np.empty((n_rows, n_columns, MAX_NEAR), np.int64), np.empty((2, tables.shape[1]))
    _fill_cells(tables, warp, waves, label, gray, owner, depth, near, room)
    return gray, owner, depth, warp


def _draw_vesicles(seed: int, z: int, table: Floats, owner: Ints) -> tuple[Ints, Ints, Floats]:
    """Return centre rows, centre columns and sizes [0, 1) of vesicles (large) and microtubules (small)."""
    pitch = 11.0
    i, j = np.mgrid[tuple(slice(0, int(n / pitch) + 1) for n in owner.shape)].reshape(2, -1)
    u = [_unit(seed, _VESICLE, z, i, j, k) for k in range(4)]
    y, x = np.floor(pitch * (i + u[0])).astype(np.int64), np.floor(pitch * (j + u[1])).astype(np.int64)
    inside = (y < owner.shape[0]) & (x < owner.shape[1])
    y, x, size, chance = y[inside], x[inside], u[2][inside], u[3][inside]
    kept = chance < table[owner[y, x], CROWD]
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
    noise, rows = np.empty((2, *gray.shape))
    _develop(gray, quarters, defocus, contrast, brightness, image, noise, rows)
