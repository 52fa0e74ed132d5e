"""A slice goes on as its own reflection, its edge pixels twice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.pad import fold, mirror_pad


def test_fold_of_three_pixels_by_hand() -> None:
    coordinates = np.arange(-4.0, 8.0)
    assert fold(coordinates, 3).tolist() == [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1]


def test_fold_between_pixels() -> None:
    """Half a pixel beyond the centre of the last one is the mirror itself."""
    assert fold(np.array([-0.75, -0.5, -0.25, 2.25, 2.5, 2.75]), 3) == pytest.approx(
        [-0.25, -0.5, -0.25, 2.25, 2.5, 2.25]
    )


@given(coordinate=st.floats(-1e5, 1e5), size=st.integers(1, 700))
def test_a_folded_coordinate_is_on_the_slice_and_folds_to_itself(coordinate: float, size: int) -> None:
    folded = fold(np.array([coordinate]), size)
    assert -0.5 - 1e-9 <= folded[0] <= size - 0.5 + 1e-9
    assert fold(folded, size) == pytest.approx(folded, abs=1e-9)


@given(coordinate=st.floats(-1e4, 1e4), size=st.integers(1, 700))
def test_fold_repeats_after_two_slices_and_is_mirrored_at_the_edge(coordinate: float, size: int) -> None:
    at, later, mirrored = fold(np.array([coordinate, coordinate + 2 * size, -1 - coordinate]), size)
    assert later == pytest.approx(at, abs=1e-8)
    assert mirrored == pytest.approx(at, abs=1e-8)


def test_mirror_pad_by_hand() -> None:
    assert mirror_pad(np.array([[1, 2], [3, 4]]), 1).tolist() == [
        [1, 1, 2, 2],
        [1, 1, 2, 2],
        [3, 3, 4, 4],
        [3, 3, 4, 4],
    ]


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 9)])
def test_padding_is_what_folding_the_coordinates_picks(shape: tuple[int, int]) -> None:
    """The kernel folds coordinates and pads pixels; the two must continue a slice alike, over several reflections."""
    pixels = np.arange(shape[0] * shape[1]).reshape(shape)
    rows, columns = (fold(np.arange(-11.0, side + 11), side).astype(int) for side in shape)
    assert np.array_equal(mirror_pad(pixels, 11), pixels[np.ix_(rows, columns)])
