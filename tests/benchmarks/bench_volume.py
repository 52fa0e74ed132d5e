"""A sketch of the kernel in three dimensions: 32 x 256 x 256 voxels of image and label, one thread.

    python tests/benchmarks/bench_volume.py        (needs the extra `bench`)

`docs/volumes.md` says what it is for, and has the figures. A sample is a window of a volume: rotated by any angle in
the plane of the sections and tilted a little out of it, deformed by a cubic spline through 3 x 3 x 3 points, mirrored
at all six faces; the image is the volume's cubic B-spline, the label the nearest voxel. It is held against
scipy.ndimage.map_coordinates at the same coordinates before anything is timed.

The taps are those of the kernel in two dimensions: of each of four planes, 4 x 4 voxels are blended as there, at a
corner that lies in this voxel's own plane, and the four results are weighted along z. Nothing of it is exported: it
has no recipe, no margin for labels, no other dtype than uint8.
"""

import math
from typing import NamedTuple

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray
from timing import median_ms, print_table

from augment import AugmentRanges, Sample, Stream, draw_recipe, prepare_slice, render_prepared
from augment.compiled import compiled
from augment.deform import spline_basis
from augment.kernel import _blend, _weigh
from augment.spline import BLOCK_PX, MARGIN_PX
from pipeline.source.phantom import make_phantom

WINDOW = (32, 256, 256)
VOLUME = (48, 320, 320)
ANISOTROPY = 50 / 4  # a voxel of ISBI 2012 is 50 nm high and 4 nm wide
TILT_DEG, ANGLE_DEG = 2.0, 30.0
SIGMA_PX = (0.5, 10.0, 10.0)  # of the control points, in voxels along (z, y, x)
N_POINTS = 3
MAX_OFF = 1  # gray levels: float32 and float64 may round a value near one half to either side
MAX_OFF_SHARE = 1e-3


class Geometry(NamedTuple):
    """Where the voxels of a window look: q = M (u + D(p)) + centre, as in two dimensions."""

    grid: NDArray[np.float64]  # (3, K, K, K)
    bases: tuple[NDArray[np.float64], ...]  # for each axis (K, n)
    matrix: NDArray[np.float64]  # (3, 3)
    centre: NDArray[np.float64]  # (3,)


class Prepared(NamedTuple):
    """The volume as the kernel takes it, flat, with MARGIN_PX mirrored voxels on every side."""

    coefficients: NDArray[np.float32]
    label: NDArray[np.uint8]


def main() -> None:
    image, label = make_phantom(VOLUME, seed=0)
    geometry, prepared = draw_geometry(), prepare(image, label)
    out = np.empty(WINDOW, np.uint8), np.empty(WINDOW, np.uint8)
    at = coordinates(geometry)
    coefficients = scipy.ndimage.spline_filter(image.astype(np.float64), mode="reflect")

    def by_scipy(*, prefilter: bool = False) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        pixels = image.astype(np.float64) if prefilter else coefficients
        values = scipy.ndimage.map_coordinates(pixels, at, order=3, mode="reflect", prefilter=prefilter)
        labels = scipy.ndimage.map_coordinates(label, at, order=0, mode="reflect")
        return np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8), labels

    render_volume(prepared, geometry, *out)
    require_equal(out, by_scipy())
    recipe = draw_recipe(AugmentRanges(), Stream(0, (0, 0, 0, 0)), window=WINDOW[1:], slice_size=VOLUME[1:])
    flat, section = prepare_slice(image[0], label[0]), Sample(out[0][0], out[1][0])

    def by_sections() -> None:
        for _ in range(WINDOW[0]):
            render_prepared(flat, recipe, section)

    times = median_ms(
        {
            "the sketch, in three dimensions": lambda: render_volume(prepared, geometry, *out),
            "the kernel, 32 sections one by one": by_sections,
            "the sketch, coefficients anew": lambda: render_volume(prepare(image, label), geometry, *out),
            "scipy on ready-made coefficients": by_scipy,
            "scipy, coefficients anew": lambda: by_scipy(prefilter=True),
        },
        rounds=7,
    )
    size = " x ".join(map(str, WINDOW))
    print_table(f"{size} image and label, one thread", times, yardstick="the sketch, in three dimensions")
    rate = math.prod(WINDOW) / times["the sketch, in three dimensions"] / 1e3
    memory = (prepared.coefficients.nbytes + prepared.label.nbytes) / math.prod(VOLUME)
    print(f"  {rate:.1f} million voxels a second; prepared, a voxel takes {memory:.1f} bytes")


def draw_geometry() -> Geometry:
    """Return a rotation in the plane, a tilt out of it in nanometres, and a deformation."""
    stream = Stream(0, (0, 0, 0, 0))
    grid = np.array([[stream.normal() * sigma for _ in range(N_POINTS**3)] for sigma in SIGMA_PX])
    turn, tilt = math.radians(ANGLE_DEG), math.radians(TILT_DEG)
    in_plane = np.array([[1, 0, 0], [0, math.cos(turn), math.sin(turn)], [0, -math.sin(turn), math.cos(turn)]])
    out_of_plane = np.array([[math.cos(tilt), math.sin(tilt), 0], [-math.sin(tilt), math.cos(tilt), 0], [0, 0, 1]])
    to_isotropic = np.diag([ANISOTROPY, 1.0, 1.0])
    return Geometry(
        grid.reshape(3, N_POINTS, N_POINTS, N_POINTS),
        tuple(spline_basis(side, side, N_POINTS) for side in WINDOW),
        np.linalg.inv(to_isotropic) @ out_of_plane @ in_plane @ to_isotropic,
        (np.array(VOLUME) - 1) / 2,
    )


def prepare(image: NDArray[np.uint8], label: NDArray[np.uint8]) -> Prepared:
    """Return the volume's spline coefficients and label, with mirrored voxels around them."""
    coefficients = scipy.ndimage.spline_filter(image.astype(np.float64), mode="reflect").astype(np.float32)
    padded = (np.pad(voxels, MARGIN_PX, mode="symmetric").ravel() for voxels in (coefficients, label))
    return Prepared(*padded)


def coordinates(geometry: Geometry) -> NDArray[np.float64]:
    """Return q for every voxel of the window, (3, d, h, w): NumPy's word for what the kernel does."""
    offsets = np.meshgrid(*(np.arange(side) - (side - 1) / 2 for side in WINDOW), indexing="ij")
    field = np.einsum("aijk,iz,jy,kx->azyx", geometry.grid, *geometry.bases)
    return np.einsum("ab,bzyx->azyx", geometry.matrix, offsets + field) + geometry.centre[:, None, None, None]


def require_equal(
    out: tuple[NDArray[np.uint8], NDArray[np.uint8]], expected: tuple[NDArray[np.uint8], NDArray[np.uint8]]
) -> None:
    """Refuse to time what does not give scipy's voxels."""
    off = np.abs(out[0].astype(int) - expected[0])
    share, wrong = float((off > 0).mean()), float((out[1] != expected[1]).mean())
    print(f"against scipy: {share:.1e} of the voxels off by {off.max()} gray level, {wrong:.1e} of the labels differ")
    if off.max() > MAX_OFF or share > MAX_OFF_SHARE or wrong > MAX_OFF_SHARE:
        raise SystemExit("bench_volume: the sketch does not give what scipy gives")


def render_volume(
    prepared: Prepared, geometry: Geometry, image_out: NDArray[np.uint8], label_out: NDArray[np.uint8]
) -> None:
    """Render one window into `image_out` and `label_out`, (d, h, w)."""
    _resample_volume(
        prepared.coefficients,
        prepared.label,
        np.array(VOLUME, np.int64),
        geometry.grid,
        *geometry.bases,
        geometry.matrix,
        geometry.centre,
        image_out,
        label_out,
    )


@compiled
def _folded(q, size):
    """Return where a coordinate lies on a volume that goes on as its own mirror image, as in two dimensions."""
    period = 2.0 * size
    q -= period * np.floor((q + 0.5) / period)
    return min(q, period - 1.0 - q)


@compiled
def _displace(shifts, grid, basis_z, basis_y, z, y):
    """Write the displacement that each column of control points has at a row of the window."""
    n_points = grid.shape[1]
    for axis in range(3):
        for k in range(n_points):
            shifts[axis, k] = 0.0
            for i in range(n_points):
                for j in range(n_points):
                    shifts[axis, k] += basis_z[i, z] * basis_y[j, y] * grid[axis, i, j, k]


@compiled
def _offset(at, shifts, basis_x, start, left, n):
    """Write u + D(p) for a block of a row; `start` is u of its first voxel."""
    for axis in range(3):
        for c in range(n):
            at[axis, c] = start[axis] + c * (axis == 2)
        for k in range(shifts.shape[1]):
            shift = shifts[axis, k]
            for c in range(n):
                at[axis, c] += basis_x[k, left + c] * shift


@compiled
def _locate(at, matrix, centre, size, plane, stride, corner, nearest, fractions, n):
    """Find where every voxel of a block looks: the first of 4 x 4 x 4 voxels, the nearest, the fractions."""
    for c in range(n):
        v_z, v_y, v_x = at[0, c], at[1, c], at[2, c]
        q_z = _folded(matrix[0, 0] * v_z + matrix[0, 1] * v_y + matrix[0, 2] * v_x + centre[0], size[0]) + MARGIN_PX
        q_y = _folded(matrix[1, 0] * v_z + matrix[1, 1] * v_y + matrix[1, 2] * v_x + centre[1], size[1]) + MARGIN_PX
        q_x = _folded(matrix[2, 0] * v_z + matrix[2, 1] * v_y + matrix[2, 2] * v_x + centre[2], size[2]) + MARGIN_PX
        whole_z, whole_y, whole_x = np.int64(q_z), np.int64(q_y), np.int64(q_x)
        corner[c] = (whole_z - 1) * plane + (whole_y - 1) * stride + whole_x - 1
        nearest[c] = np.int64(q_z + 0.5) * plane + np.int64(q_y + 0.5) * stride + np.int64(q_x + 0.5)
        fractions[0, c], fractions[1, c], fractions[2, c] = q_z - whole_z, q_y - whole_y, q_x - whole_x


@compiled
def _blend_planes(coefficients, plane, stride, corner, weights, blended, total, n):
    """Write the spline's value at every voxel of a block: of four planes, what one plane gives in two dimensions."""
    total[:n] = np.float32(0)
    for k in range(4):
        _blend(coefficients[k * plane :], stride, corner, weights[1], weights[2], blended, n)
        for c in range(n):
            total[c] += weights[0, k * BLOCK_PX + c] * blended[c]


@compiled
def _resample_volume(coefficients, label, size, grid, basis_z, basis_y, basis_x, matrix, centre, image_out, label_out):
    """Render one window, in blocks of rows."""
    depth, height, width = label_out.shape
    stride = size[2] + 2 * MARGIN_PX
    plane = (size[1] + 2 * MARGIN_PX) * stride
    corner, nearest = np.zeros(BLOCK_PX, np.uint32), np.zeros(BLOCK_PX, np.uint32)
    fractions, weights = np.zeros((3, BLOCK_PX), np.float32), np.zeros((3, 4 * BLOCK_PX), np.float32)
    blended, total = np.zeros(BLOCK_PX, np.float32), np.zeros(BLOCK_PX, np.float32)
    shifts, at = np.zeros((3, grid.shape[1])), np.zeros((3, BLOCK_PX))
    for z in range(depth):
        for y in range(height):
            _displace(shifts, grid, basis_z, basis_y, z, y)
            for left in range(0, width, BLOCK_PX):
                n = min(BLOCK_PX, width - left)
                start = (z - (depth - 1) * 0.5, y - (height - 1) * 0.5, left - (width - 1) * 0.5)
                _offset(at, shifts, basis_x, start, left, n)
                _locate(at, matrix, centre, size, plane, stride, corner, nearest, fractions, n)
                for axis in range(3):
                    _weigh(fractions[axis, :n], weights[axis])
                _blend_planes(coefficients, plane, stride, corner, weights, blended, total, n)
                for c in range(n):
                    gray = min(max(total[c], np.float32(0)), np.float32(255))
                    image_out[z, y, left + c] = np.uint8(gray + np.float32(0.5))
                    label_out[z, y, left + c] = label[nearest[c]]


if __name__ == "__main__":
    main()
