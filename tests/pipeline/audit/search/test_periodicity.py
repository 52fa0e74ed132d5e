"""A pattern that repeats is told from tissue, whatever its period, its direction and its noise."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.audit.search.periodicity import is_periodic
from pipeline.audit.search.picture_search import learn_picture
from pipeline.source.phantom import make_phantom

Picture = NDArray[np.uint8]


def noisy(pattern: NDArray[np.float64], noise: float = 12.0) -> Picture:
    """Return a pattern of about -1 to 1 as gray levels with noise."""
    drawn = np.random.default_rng(1).normal(128 + 50 * pattern, noise)
    return np.clip(drawn, 0, 255).astype(np.uint8)


def turned(side: int, angle_deg: float, period_px: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coordinates (Y, X) along two directions, in periods."""
    y, x = np.mgrid[:side, :side].astype(np.float64)
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return (x * cos + y * sin) / period_px, (y * cos - x * sin) / period_px


def lattice(side: int, angle_deg: float, period_px: float) -> Picture:
    u, v = turned(side, angle_deg, period_px)
    half, height = u / 2, v * np.sqrt(0.75)
    waves = np.cos(2 * np.pi * u) + np.cos(2 * np.pi * (half + height)) + np.cos(2 * np.pi * (half - height))
    return noisy(waves / 2)


def checkerboard(side: int, angle_deg: float, period_px: float) -> Picture:
    u, v = turned(side, angle_deg, 2 * period_px)
    return noisy(np.sign(np.sin(2 * np.pi * u) * np.sin(2 * np.pi * v)))


@pytest.mark.parametrize("angle_deg", [0.0, 17.0, 45.0])
@pytest.mark.parametrize("period_px", [8.0, 24.0, 60.0])
@pytest.mark.parametrize("pattern", [lattice, checkerboard])
def test_patterns_repeat(pattern: object, period_px: float, angle_deg: float) -> None:
    assert callable(pattern)
    picture = pattern(320, angle_deg, period_px)
    assert is_periodic(picture)
    assert len(learn_picture(picture)) == 0


@pytest.mark.parametrize("side", [64, 96, 128, 256, 384])
def test_tissue_does_not_repeat(side: int) -> None:
    assert not any(is_periodic(picture) for picture in make_phantom((6, side, side), seed=4)[0])


def test_noise_and_flat_pictures_do_not_repeat() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200)).astype(np.uint8)
    assert not is_periodic(noise)
    assert not is_periodic(np.full((200, 200), 90, np.uint8))
    assert not is_periodic(np.zeros((3, 500), np.uint8))


def test_two_cells_that_look_alike_do_not_repeat() -> None:
    picture = np.zeros((200, 200), np.uint8)
    y, x = np.mgrid[:200, :200]
    for column in (60, 130):
        picture[(y - 90) ** 2 + (x - column) ** 2 < 15**2] = 200
    assert not is_periodic(picture)
