"""Noise: the generator against its published answers, the table against scipy, and the pixels against both."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from augment.operations import Noise
from augment.operations.rendering import change_planes, normal_table

MULTIPLIERS, STEPS = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)


def philox(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """Return the four words of Philox4x32-10, by Python's whole numbers."""
    a, b, c, d = counter
    for r in range(10):
        (k_0, k_1) = ((word + r * step) % 2**32 for word, step in zip(key, STEPS, strict=True))
        (high_0, low_0), (high_1, low_1) = (divmod(m * x, 2**32) for m, x in zip(MULTIPLIERS, (a, c), strict=True))
        a, b, c, d = high_1 ^ b ^ k_0, low_1, high_0 ^ d ^ k_1, low_0
    return a, b, c, d


def expected_noise(n: int, channel: int, key: tuple[int, int]) -> NDArray[np.float64]:
    """Return noise of a standard deviation of 1 for the first n pixels, through scipy's normal distribution."""
    words = np.array([philox((group, channel, 0, 0), key) for group in range(-(-n // 8))], np.uint32)
    halves = np.stack([words & 0xFFFF, words >> 16], axis=-1).reshape(-1)[:n]
    return special.ndtri((halves + 0.5) / 65536)


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0,) * 4, (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_the_expectation_is_philox(counter: tuple[int, ...], key: tuple[int, ...], words: tuple[int, ...]) -> None:
    """The known answers of its authors, Random123 (kat_vectors)."""
    assert philox(counter, key) == words


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 8), (5, 13), (2, 300), (31, 33), (64, 64)])
@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_every_pixel_gets_the_noise_of_its_place(shape: tuple[int, int], real: type, plain_recipe) -> None:
    key, sigmas = (0xDEADBEEF, 77), (3.0, 0.25)
    planes = np.full((2, *shape), 100, real)
    change_planes(planes, plain_recipe((4, 4), noise=Noise(sigmas, key)))
    for channel, sigma in enumerate(sigmas):
        noise = expected_noise(planes[0].size, channel, key).reshape(shape)
        np.testing.assert_allclose(planes[channel], 100 + sigma * noise, rtol=0, atol=sigma / 8000 + 1e-5)


def test_noise_is_normal_and_of_no_pattern(plain_recipe) -> None:
    planes = np.zeros((2, 400, 500), np.float64)
    change_planes(planes, plain_recipe((4, 4), noise=Noise((2.0,), (1, 2))))
    for plane in planes:
        assert stats.kstest(plane.ravel() / 2, "norm").pvalue > 1e-3
        assert abs(plane.std() / 2 - 1) < 0.005
        for step in (1, 2, 8, 500, 512):
            assert abs(np.corrcoef(plane.ravel()[:-step], plane.ravel()[step:])[0, 1]) < 0.01
    assert abs(np.corrcoef(planes[0].ravel(), planes[1].ravel())[0, 1]) < 0.01


def test_no_library_can_change_the_table() -> None:
    """No entry is so near to the middle of two whole numbers that another rounding of the logarithm would move it."""
    exact = 4096 * special.ndtri((np.arange(65536) + 0.5) / 65536)
    assert np.abs(normal_table() - exact).max() <= 0.5
    assert np.abs(np.abs(exact - np.floor(exact)) - 0.5).min() > 1e-7
    assert np.array_equal(normal_table(), -normal_table()[::-1])
