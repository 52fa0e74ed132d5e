"""The kernel on its own: coefficients are scipy's, and a window is the same pixels however it is cut into blocks."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.ndimage

import augment
from augment.draw import draw_recipe
from augment.ranges import AugmentRanges
from augment.recipe import Recipe
from augment.renderer import prepare_slice, render, render_prepared
from augment.seeding import Stream
from augment.spline import BLOCK_PX, MAX_PERIODS, spline_coefficients

LEFT_OF_A_BOUNDARY_AT_AND_RIGHT = [n * BLOCK_PX + more for n in (1, 2) for more in (-1, 0, 1)]
# What `rendered_digest` gives. If it changes, so do all published samples: raise the renderer version.
GOLDEN = {
    "float32": "ad416fc3c7d03d7e05ee73d03fc7d6a2675394150e6826f048612fb1041f699f",
    "uint16": "0c62eb424fbe2ace2054f7314df46a172486979ab5a2fafb08053701e68c4e23",
    "uint8": "84182ddbdcacedc00ca4c835e0a453fff8611d7612219cc1d1558895c10e72c8",
    "unrounded": "21a23bc6d4dc28ca6890cba7b49bd25acb3c1d1c26980d52b6518a7d98bd2d5c",
}


def rendered_digest(kind: str) -> str:
    """Return the sha256 of three samples of a pattern of whole numbers.

    `unrounded` is what the kernel for 8 bits works out before it rounds: there a changed last bit shows, as
    fused multiply-adds or sums in another order make it, which rounding to bytes nearly always hides.
    """
    dtype = "uint8" if kind == "unrounded" else kind
    y, x = np.indices((70, 90))
    pattern = (37 * y + 11 * x + 5 * (x * y % 23)) % 256
    image = pattern.astype(dtype) * np.array(257 if dtype == "uint16" else 1, dtype)
    source = prepare_slice(image, (pattern > 90).astype(np.uint8))
    if kind == "unrounded":
        source = replace(source, dtype=np.dtype("float32"))
    ranges = AugmentRanges(flip=True, zoom=(0.7, 1.4), gain=(0.8, 1.2), bias=(-9.0, 9.0))
    digest = hashlib.sha256()
    for key in range(3):
        sample = render_prepared(source, draw_recipe(ranges, Stream(0, (key,)), window=(99, 301), slice_size=(70, 90)))
        digest.update(sample.image.tobytes() + sample.label.tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("kind", sorted(GOLDEN))
def test_a_recipe_gives_the_same_bytes_as_ever(kind: str) -> None:
    assert rendered_digest(kind) == GOLDEN[kind]


# The same for any number of control points: the kernel adds up the last three by themselves.
GOLDEN_GRIDS = {
    2: "d617e58ed6129556d3069467988ac1eb9ed081ecaf5b4819c5cd9bf7c37563ea",
    4: "2752823d05b03dfc84ff335de77ddcf0f8eb50d0dbd0c237b5e1790ae3f39b22",
    5: "e467ae996533b4c0b64f33991bc401a3b742ee2c940f5560b90b043affb39ff1",
    8: "9daab062c7b7156a1eef80dec4de56009867e047fc4ef1b4886ce766b6a2dc89",
}


@pytest.mark.parametrize("n_points", GOLDEN_GRIDS)
def test_any_grid_gives_the_same_bytes_as_ever(n_points: int) -> None:
    y, x = np.indices((70, 90))
    pattern = (37 * y + 11 * x + 5 * (x * y % 23)) % 256
    source = prepare_slice(pattern.astype(np.uint8), (pattern > 90).astype(np.uint8))
    ranges, digest = AugmentRanges(grid_points=n_points, sigma_px=6.0, zoom=(0.7, 1.4)), hashlib.sha256()
    for window in ((40, 50), (99, 301), (33, 500), (20, 7)):
        recipe = draw_recipe(ranges, Stream(0, (n_points,)), window=window, slice_size=(70, 90))
        sample = render_prepared(source, recipe)
        digest.update(sample.image.tobytes() + sample.label.tobytes())
    assert digest.hexdigest() == GOLDEN_GRIDS[n_points]


@pytest.mark.slow
def test_a_recipe_gives_the_same_bytes_on_the_plainest_cpu(tmp_path: Path) -> None:
    """Compiled anew without any of this CPU's vector instructions or fused multiply-adds."""
    program = (
        f"import {Path(__file__).stem} as test\nprint(*(test.rendered_digest(kind) for kind in sorted(test.GOLDEN)))"
    )
    found = os.pathsep.join(map(str, (Path(augment.__file__).parents[1], Path(__file__).parent)))
    compiled = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | compiled | {"PYTHONPATH": found},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [GOLDEN[kind] for kind in sorted(GOLDEN)]
    assert list(tmp_path.glob("kernel.resample-*.o"))


@pytest.fixture
def bent(plain_recipe: Callable[..., Recipe]) -> Callable[[int], Recipe]:
    """Return a maker of windows of any width around the same centre, on the same deformed and rotated tissue."""
    drawn = draw_recipe(AugmentRanges(zoom=(0.7, 0.7)), Stream(0, ()), window=(6, 700), slice_size=(40, 40))

    def make(width: int) -> Recipe:
        return plain_recipe((6, width), extent_px=(6, 1600), grid_px=drawn.grid_px, matrix=drawn.matrix)

    return make


@pytest.mark.parametrize("width", LEFT_OF_A_BOUNDARY_AT_AND_RIGHT)
def test_a_window_is_the_middle_of_a_wider_one(
    bent: Callable[[int], Recipe], make_slice: Callable[..., Any], width: int
) -> None:
    """Bit for bit: the blocks must not show, neither where one begins nor where one overlaps the one before."""
    source = prepare_slice(*make_slice((40, 40)))
    margin = 60
    wider = render_prepared(source, bent(width + 2 * margin))
    sample = render_prepared(source, bent(width))
    assert np.array_equal(sample.image, wider.image[:, margin:-margin])
    assert np.array_equal(sample.label, wider.label[:, margin:-margin])


@pytest.mark.parametrize("width", LEFT_OF_A_BOUNDARY_AT_AND_RIGHT)
def test_every_block_is_what_scipy_makes_of_it(
    bent: Callable[[int], Recipe],
    make_slice: Callable[..., Any],
    expect: Callable[..., Any],
    assert_matches: Callable[..., None],
    width: int,
) -> None:
    image, label = make_slice((40, 40))
    assert_matches(render(image, label, bent(width)), expect(image, label, bent(width)))


@pytest.mark.parametrize("periods", [1, -1, 7, -90, 400])
def test_the_mirrored_slice_repeats_after_two_slices(
    plain_recipe: Callable[..., Recipe], make_slice: Callable[..., Any], periods: int
) -> None:
    """Far away as well as near, towards both sides."""
    image, label = make_slice((12, 12))
    near = render(image, label, plain_recipe((40, 30), shift_px=(0.25, -3.0)))
    far = render(image, label, plain_recipe((40, 30), shift_px=(0.25 + 24 * periods, -3.0 - 24 * periods)))
    assert abs(24 * periods) < MAX_PERIODS * 12
    assert np.array_equal(far.image, near.image)
    assert np.array_equal(far.label, near.label)


def test_a_window_over_the_slice_s_edge_shows_its_mirror_image(
    plain_recipe: Callable[..., Recipe], make_slice: Callable[..., Any]
) -> None:
    image, label = make_slice((6, 9))
    sample = render(image, label, plain_recipe((6 + 2 * 20, 9 + 2 * 20)))
    assert np.array_equal(sample.image, np.pad(image, 20, mode="symmetric"))
    assert np.array_equal(sample.label, np.pad(label, 20, mode="symmetric"))


# Spline coefficients


@pytest.mark.parametrize("shape", [(24, 24), (24, 97), (50, 33), (129, 64)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_coefficients_are_scipy_s(shape: tuple[int, int], dtype: str) -> None:
    pixels = (np.random.default_rng(0).random(shape) * 255).astype(dtype)
    expected = scipy.ndimage.spline_filter(pixels.astype(np.float64), order=3, mode="reflect")
    np.testing.assert_allclose(spline_coefficients(pixels), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("height", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("width", [1, 2, 7, 8, 17])
def test_a_tiny_slice_is_filtered_as_its_endless_mirror_image(height: int, width: int) -> None:
    """The filter's memory of 32 pixels spans several reflections there."""
    pixels = np.random.default_rng(height * 100 + width).integers(0, 256, (height, width), np.uint8)
    padded = np.pad(pixels.astype(np.float64), 64, mode="symmetric")
    expected = scipy.ndimage.spline_filter(padded, order=3, mode="reflect")[64:-64, 64:-64]
    np.testing.assert_allclose(spline_coefficients(pixels), expected, rtol=0, atol=1e-9)


def test_the_b_spline_of_the_coefficients_gives_the_pixels_back() -> None:
    """At a pixel's centre the cubic B-spline weighs its neighbours 1, 4, 1 (sixths) along each axis."""
    pixels = np.random.default_rng(1).integers(0, 65536, (9, 13)).astype(np.uint16)
    coefficients = np.pad(spline_coefficients(pixels), 1, mode="symmetric")
    sixths = np.array([1, 4, 1]) / 6
    again = scipy.ndimage.convolve(coefficients, np.outer(sixths, sixths))[1:-1, 1:-1]
    np.testing.assert_allclose(again, pixels, rtol=0, atol=1e-9 * 65536)


def test_the_pixels_are_left_alone() -> None:
    """The filter works in place, on a copy: a float64 slice would otherwise be destroyed by being looked at."""
    pixels = np.random.default_rng(2).random((6, 6))
    before = pixels.copy()
    spline_coefficients(pixels)
    assert np.array_equal(pixels, before)


def test_coefficients_are_rounded_once_to_the_dtype_asked_for() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (20, 30), np.uint8)
    rounded = spline_coefficients(pixels, np.float32)
    assert rounded.dtype == np.float32
    assert np.array_equal(rounded, spline_coefficients(pixels).astype(np.float32))


@pytest.mark.parametrize("height", [1, 31, 32, 33, 63, 64, 65, 128, 150])
def test_coefficients_do_not_depend_on_the_blocks_in_which_they_are_made(
    monkeypatch: pytest.MonkeyPatch, height: int
) -> None:
    """Bit for bit: all rows at once, or as few as the filter's horizon allows."""
    pixels = np.random.default_rng(height).integers(0, 256, (height, 50)).astype(np.uint8)
    found = set()
    for rows in (32, 48, 64, 1000):
        monkeypatch.setattr("augment.spline._MAX_WHOLE_PX", 0)
        monkeypatch.setattr("augment.spline.FILTERED_ROWS", rows)
        found.add(spline_coefficients(pixels).tobytes())
    assert len(found) == 1
