"""The phantom stands in for ISBI 2012, so it must look like it where the pipeline would notice."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.source.phantom import make_phantom

Stack = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@pytest.fixture(scope="module")
def stack() -> Stack:
    return make_phantom((12, 160, 192), seed=3)


def membrane_f1(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(2 * np.sum((a == 0) & (b == 0)) / (np.sum(a == 0) + np.sum(b == 0)))


@pytest.mark.parametrize("shape_zyx", [(1, 16, 16), (2, 16, 300), (3, 97, 64)])
def test_any_shape_gives_bytes_of_that_shape(shape_zyx: tuple[int, int, int]) -> None:
    images, labels = make_phantom(shape_zyx)
    assert images.shape == labels.shape == shape_zyx
    assert images.dtype == labels.dtype == np.uint8
    assert set(np.unique(labels)) <= {0, 255}


def test_same_seed_gives_the_same_bytes(stack: Stack) -> None:
    again = make_phantom((12, 160, 192), seed=3)
    assert all(np.array_equal(a, b) for a, b in zip(stack, again, strict=True))


def test_another_seed_is_another_tissue(stack: Stack) -> None:
    """Labels agree no better than chance, so a second seed is a fair test set."""
    _, labels = stack
    _, others = make_phantom((12, 160, 192), seed=4)
    chance = np.mean(labels == 0)
    assert membrane_f1(labels, others) == pytest.approx(chance, abs=0.06)


def test_a_taller_stack_begins_with_the_same_labels(stack: Stack) -> None:
    """A section is addressed by its z, not by how many were made before or after it."""
    images, labels = make_phantom((4, 160, 192), seed=3)
    assert np.array_equal(images, stack[0][:4])
    assert np.array_equal(labels, stack[1][:4])


def test_a_corner_is_the_same_tissue_as_the_whole(stack: Stack) -> None:
    """The texture's scale does not follow the shape; only cells seeded outside the corner may differ."""
    _, corner = make_phantom((1, 96, 96), seed=3)
    assert np.mean(corner[0] == stack[1][0, :96, :96]) > 0.99


def test_membrane_share_is_that_of_isbi() -> None:
    """ISBI 2012 has 22 % over the stack and 17 to 27 % in single sections."""
    _, labels = make_phantom((2, 512, 512))
    shares = np.mean(labels == 0, axis=(1, 2))
    assert np.all((shares > 0.17) & (shares < 0.27))


def test_neighbouring_sections_share_membranes_and_distant_ones_do_not(stack: Stack) -> None:
    """ISBI 2012: copying the neighbour's label scores 0.36, a label ten sections away chance."""
    _, labels = stack
    near = np.mean([membrane_f1(labels[z], labels[z + 1]) for z in range(11)])
    far = np.mean([membrane_f1(labels[z], labels[z + 10]) for z in range(2)])
    chance = np.mean(labels == 0)
    assert near > chance + 0.1
    assert far < chance + 0.1


def test_membranes_are_darker_than_cytoplasm_in_every_section(stack: Stack) -> None:
    for image, label in zip(*stack, strict=True):
        assert image[label == 0].mean() < image[label == 255].mean() - 25.0


def test_gray_values_do_not_give_the_membranes_away(stack: Stack) -> None:
    """Mitochondria and vesicles are dark too: the best global threshold must stay a poor segmentation."""
    images, labels = stack
    truth = labels == 0
    scores = [2 * np.sum(dark & truth) / (np.sum(dark) + np.sum(truth)) for dark in (images < t for t in range(256))]
    assert 0.4 < max(scores) < 0.8


@pytest.mark.parametrize("shape_zyx", [(0, 64, 64), (2, 15, 64), (2, 64, 8), (64, 64), (-1, 64, 64)])
def test_bad_shape_is_named(shape_zyx: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match=r"phantom: shape_zyx .*\(1, 16, 16\), got \("):
        make_phantom(shape_zyx)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_bad_seed_is_named(seed: int) -> None:
    with pytest.raises(ConfigError, match="phantom: seed must be"):
        make_phantom((1, 16, 16), seed=seed)


def test_three_classes_are_the_two_with_mitochondria_in_the_cells() -> None:
    images, labels = make_phantom((2, 160, 192), seed=3)
    others, classes = make_phantom((2, 160, 192), seed=3, n_classes=3)
    assert np.array_equal(others, images)
    assert np.array_equal(classes > 0, labels > 0)
    assert 0.01 < (classes == 2).mean() < 0.3
    assert images[classes == 2].mean() < images[classes == 1].mean() - 20
    with pytest.raises(ConfigError, match="expected 2 or 3 classes, got 4"):
        make_phantom((2, 160, 192), n_classes=4)
