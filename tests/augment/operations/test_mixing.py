"""Colour and stain jitter, against NumPy's logarithms and scikit-image's matrices."""

import math

import numpy as np
import pytest
import skimage.color
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from augment.operations import Color, Stain
from augment.operations.mixing import mix_colors, mix_stains

REALS = {np.float32: 255.0, np.float64: 65535.0}
shares = st.floats(0.0, 2.0, width=32)
steps = st.floats(-1.0, 1.0, width=32)


def make_planes(real: type, white: float, seed: int = 0, n: int = 700) -> NDArray:
    """Return three planes of all levels, the ends of their range, and what the spline may make beyond them."""
    planes = np.random.default_rng(seed).uniform(0, white, (3, 2, n)).astype(real)
    planes[:, 0, :4] = 0, white, -0.03 * white, 1.02 * white
    planes[:, 1, :256] = np.arange(256)
    return planes


@pytest.mark.parametrize("real", REALS)
@given(factor=st.tuples(shares, shares, shares), more=st.tuples(steps, steps, steps), seed=st.integers(0, 99))
def test_dyes_are_mixed_as_optical_densities(
    real: type, factor: tuple[float, ...], more: tuple[float, ...], seed: int
) -> None:
    """Beer and Lambert's law: densities are amounts x the dyes' own. What is brighter than white comes out so, too."""
    white = REALS[real]
    planes = make_planes(real, white, seed)
    light = (np.clip(planes.astype(np.float64), 0, white) + 1) / (white + 1)
    amounts = np.einsum("cyx,cd->dyx", -np.log2(light), np.linalg.inv(skimage.color.rgb_from_hed))
    changed = amounts * np.reshape(factor, (3, 1, 1)) + np.reshape(more, (3, 1, 1))
    expected = (white + 1) * 2.0 ** -np.einsum("dyx,dc->cyx", changed, skimage.color.rgb_from_hed)
    mix_stains(planes, Stain(factor, more))  # type: ignore[arg-type]
    np.testing.assert_allclose(planes + 1.0, expected, rtol=2e-5 if real is np.float32 else 1e-9, atol=2e-6 * white)


@pytest.mark.parametrize("real", REALS)
def test_dyes_as_they_were_change_nothing(real: type) -> None:
    white = REALS[real]
    planes = make_planes(real, white)
    before = planes.copy()
    mix_stains(planes, Stain((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
    np.testing.assert_allclose(planes, np.clip(before, 0, white), rtol=0, atol=white * (1e-6 if white < 256 else 1e-9))


@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize(("saturation", "hue_deg"), [(1.0, 0.0), (0.0, 40.0), (1.25, -18.0), (0.5, 180.0)])
def test_hue_and_saturation_are_those_of_yiq(real: type, saturation: float, hue_deg: float) -> None:
    """The colour's distance from gray is multiplied, its angle turned, and its luma stays."""
    planes = make_planes(real, 255.0)
    yiq = skimage.color.rgb2yiq(np.moveaxis(planes.astype(np.float64) / 255, 0, -1))
    angle = math.radians(hue_deg)
    chroma = (yiq[..., 1] + 1j * yiq[..., 2]) * saturation * np.exp(-1j * angle)
    expected = skimage.color.yiq2rgb(np.stack((yiq[..., 0], chroma.real, chroma.imag), axis=-1)) * 255
    turn = tuple(float(np.float32(saturation * part)) for part in (math.cos(angle), math.sin(angle)))
    mix_colors(planes, Color(saturation, hue_deg, turn))  # type: ignore[arg-type]
    np.testing.assert_allclose(np.moveaxis(planes, 0, -1), expected, rtol=0, atol=1e-3)


def test_gray_stays_gray_and_hues_turn_from_red_towards_yellow() -> None:
    gray = np.broadcast_to(np.arange(4.0).reshape(1, 2, 2), (3, 2, 2)).copy()
    mix_colors(gray, Color(1.5, 30.0, (1.25, 0.75)))
    np.testing.assert_allclose(gray, gray[:1].repeat(3, axis=0), atol=1e-5)
    np.testing.assert_allclose(gray[0].ravel(), [0, 1, 2, 3], atol=1e-5)
    red = np.array([100.0, 0.0, 0.0]).reshape(3, 1, 1)
    mix_colors(red, Color(1.0, 30.0, (math.cos(math.radians(30)), 0.5)))
    assert red[1, 0, 0] > red[2, 0, 0]
