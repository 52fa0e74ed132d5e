"""What operations make of pixels, held against formulas of numpy and scipy that share nothing with the kernels."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_noise import expected_noise

from augment.operations import Blur, Contrast, Gamma, LowResolution, Noise, Operation, Shading
from augment.operations.drawing import draw_operations
from augment.operations.rendering import change_planes
from augment.ranges import AugmentRanges
from augment.recipe import Recipe
from augment.renderer import render
from augment.seeding import Stream

Plane = NDArray[np.float64]
RANGES = {
    "shading": (0.0, 1.0),
    "blur": (0.0, 6.0),
    "noise": (0.0, 20.0),
    "low_resolution": (0.05, 1.0),
    "contrast": (0.0, 3.0),
    "gamma": (0.4, 4.0),  # with a flatter root, the darkest levels hang on the spline's last digit
}


def shaded(plane: Plane, operation: Shading, channel: int) -> Plane:
    at = [np.linspace(0, 2, side) if side > 1 else np.zeros(1) for side in plane.shape]
    field = np.array(operation.field[channel])
    spline = scipy.ndimage.map_coordinates(field, np.meshgrid(*at, indexing="ij"), order=3, mode="mirror")
    return plane * np.maximum(1 + spline, 0)


def blurred(plane: Plane, operation: Blur, channel: int) -> Plane:
    sigma_px = operation.sigma_px[channel]
    return scipy.ndimage.gaussian_filter(plane, sigma_px, mode="reflect") if sigma_px else plane


def noised(plane: Plane, operation: Noise, channel: int) -> Plane:
    noise = expected_noise(plane.size, channel, operation.key).reshape(plane.shape)
    return plane + operation.sigma[channel] * np.rint(4096 * noise) / 4096


def lowered(plane: Plane, operation: LowResolution, channel: int) -> Plane:
    sizes = [max(1, int(np.floor(side * operation.zoom[channel] + 0.5))) for side in plane.shape]
    picked = [
        np.floor((np.arange(n) + 0.5) * side / n + 1e-9).astype(int) for n, side in zip(sizes, plane.shape, strict=True)
    ]
    at = [(np.arange(side) + 0.5) * n / side - 0.5 for n, side in zip(sizes, plane.shape, strict=True)]
    small = plane[np.ix_(*picked)]
    return scipy.ndimage.map_coordinates(small, np.meshgrid(*at, indexing="ij"), order=1, mode="nearest")


def contrasted(plane: Plane, operation: Contrast, channel: int) -> Plane:
    mean = plane.mean()
    return np.clip(mean + operation.factor[channel] * (plane - mean), plane.min(), plane.max())


def raised(plane: Plane, operation: Gamma, channel: int) -> Plane:
    span = np.ptp(plane)
    if span == 0:
        return plane
    part = (plane - plane.min()) / span
    part = (
        1 - (1 - part) ** (operation.steps[channel] / 64)
        if operation.inverted
        else part ** (operation.steps[channel] / 64)
    )
    return (part - part.mean()) / part.std(ddof=1) * plane.std(ddof=1) + plane.mean()


FORMULAS: dict[str, Callable[[Plane, Any, int], Plane]] = {
    "shading": shaded,
    "blur": blurred,
    "noise": noised,
    "low_resolution": lowered,
    "contrast": contrasted,
    "gamma": raised,
}


def drawn(name: str, key: int, n_channels: int, window: tuple[int, int]) -> Operation:
    ranges = AugmentRanges(**{name: RANGES[name]}, per_channel=True)
    return draw_operations(ranges, lambda first: Stream(key, (first,)), window=window, n_channels=n_channels)[name]


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("real", [np.float32, np.float64])
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_planes_become_what_the_formula_says(
    name: str, real: type, plain_recipe: Callable[..., Recipe], data: st.DataObject
) -> None:
    """In float64 to its last digits but for the recipe's float32 weights, in float32 far below half a gray level."""
    shape = data.draw(st.tuples(st.integers(1, 3), st.integers(2, 40), st.integers(2, 40)), label="shape")
    operation = drawn(name, data.draw(st.integers(0, 2**32), label="key"), shape[0], shape[1:])
    rng = np.random.default_rng(data.draw(st.integers(0, 99), label="pixels"))
    planes = rng.uniform(-40, 300, shape).astype(real)
    expected = [FORMULAS[name](plane.astype(float), operation, channel) for channel, plane in enumerate(planes)]
    change_planes(planes, plain_recipe((2, 2), **{name: operation}))
    np.testing.assert_allclose(planes, expected, rtol=0, atol=2e-2 if real == np.float32 else 5e-5)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_images_are_rounded_from_what_the_formula_says(
    name: str, dtype: str, channels: tuple[int, ...], plain_recipe: Callable[..., Recipe]
) -> None:
    """Where nothing is moved, the spline's values are the pixels; gain and bias come before contrast and gamma."""
    size, rng = (33, 46), np.random.default_rng(len(name))
    low, high = (0, 1) if dtype == "float32" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    image = (low + rng.uniform(0.2, 0.7, (*size, *channels)) * (high - low)).astype(dtype)
    operation = drawn(name, 5, sum(channels) or 1, size)
    gain, bias = 0.5, 0.25 * high
    made = render(image, np.zeros(size, np.uint8), plain_recipe(size, gain=gain, bias=bias, **{name: operation})).image
    for channel in range(sum(channels) or 1):
        plane = (image[..., channel] if channels else image).astype(float)
        comes_last = name in {"contrast", "gamma"}
        before = plane * gain + bias if comes_last else plane
        after = FORMULAS[name](before, operation, channel)
        expected = after if comes_last else after * gain + bias
        got = made[..., channel] if channels else made
        if dtype == "float32":
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
        else:
            expected = np.clip(np.floor(expected + 0.5), low, high)
            off = np.abs(got.astype(float) - expected)
            assert off.max() <= 1
            assert np.count_nonzero(off) <= 0.002 * off.size


def test_operations_are_done_in_their_order(plain_recipe: Callable[..., Recipe]) -> None:
    rng, size = np.random.default_rng(0), (30, 40)
    each = {name: drawn(name, 7, 1, size) for name in FORMULAS}
    planes = rng.uniform(0, 255, (1, *size))
    expected = planes[0].copy()
    for name, change in FORMULAS.items():
        if name == "contrast":
            expected = expected * 1.25 + 3.0
        expected = change(expected, each[name], 0)
    change_planes(planes, plain_recipe((2, 2), gain=1.25, bias=3.0, **each))
    np.testing.assert_allclose(planes[0], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["blur", "low_resolution", "contrast", "gamma"])
@pytest.mark.parametrize("level", [0.0, 77.3, 65535.0])
def test_one_gray_level_stays_as_it_is(name: str, level: float, plain_recipe: Callable[..., Recipe]) -> None:
    planes = np.full((1, 9, 11), level)
    change_planes(planes, plain_recipe((2, 2), **{name: drawn(name, 3, 1, (9, 11))}))
    np.testing.assert_allclose(planes, level, rtol=1e-13)


def test_every_second_exponent_is_below_one_and_every_fourth_of_the_negative() -> None:
    ranges = AugmentRanges(gamma=(0.5, 3.0))
    each = [
        draw_operations(ranges, lambda first, key=key: Stream(key, (first,)), window=(4, 4))["gamma"]
        for key in range(600)
    ]
    assert 250 < sum(gamma.steps[0] < 64 for gamma in each) < 350
    assert 110 < sum(gamma.inverted for gamma in each) < 190
    assert min(gamma.steps[0] for gamma in each) >= 32
    assert max(gamma.steps[0] for gamma in each) <= 192
    above = replace(ranges, gamma=(1.5, 2.0))
    assert draw_operations(above, lambda first: Stream(0, (first,)), window=(4, 4))["gamma"].steps[0] >= 96
