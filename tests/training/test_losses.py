"""One loss for both kinds of output, held against torch's own and against sums done by hand."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from training.unet import cell_logits, centre, weighted_cross_entropy


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def labels(*shape: int) -> torch.Tensor:
    return (noise(*shape, seed=1) > 0).float()


def test_two_scores_give_the_cross_entropy_of_torch() -> None:
    scores, label = noise(2, 2, 5, 7) * 3, labels(2, 5, 7)
    expected = functional.cross_entropy(scores, label.long())
    ours = functional.binary_cross_entropy_with_logits(cell_logits(scores), label)
    torch.testing.assert_close(ours, expected)
    square, label = scores[..., :5], label[..., :5]
    torch.testing.assert_close(weighted_cross_entropy(square, label), functional.cross_entropy(square, label.long()))


def test_gradients_of_two_scores_are_those_of_torch() -> None:
    scores, label = noise(1, 2, 4, 4).requires_grad_(), labels(1, 4, 4)
    (ours,) = torch.autograd.grad(weighted_cross_entropy(scores, label), scores)
    (expected,) = torch.autograd.grad(functional.cross_entropy(scores, label.long()), scores)
    torch.testing.assert_close(ours, expected)


def test_one_score_is_the_logit_of_cell() -> None:
    scores = torch.tensor([[[[0.0, math.log(3)], [-math.log(3), 0.0]]]])  # probabilities 1/2, 3/4, 1/4, 1/2
    label = torch.tensor([[[1.0, 1.0], [1.0, 0.0]]])
    by_hand = -(math.log(1 / 2) + math.log(3 / 4) + math.log(1 / 4) + math.log(1 / 2)) / 4
    assert weighted_cross_entropy(scores, label).item() == pytest.approx(by_hand)


def test_weights_multiply_and_their_sum_divides() -> None:
    scores = torch.tensor([[[[0.0, math.log(3)], [-math.log(3), 0.0]]]])
    label, weight = torch.ones(1, 2, 2), torch.tensor([[[0.0, 4.0], [1.0, 0.0]]])
    by_hand = -(4 * math.log(3 / 4) + math.log(1 / 4)) / 5
    assert weighted_cross_entropy(scores, label, weight).item() == pytest.approx(by_hand)


def test_the_scale_of_the_weights_does_not_matter() -> None:
    scores, label, weight = noise(2, 1, 6, 6), labels(2, 6, 6), noise(2, 6, 6, seed=2).abs()
    loss = weighted_cross_entropy(scores, label, weight)
    torch.testing.assert_close(weighted_cross_entropy(scores, label, 7 * weight), loss)
    equal = weighted_cross_entropy(scores, label, torch.full_like(label, 0.25))
    torch.testing.assert_close(equal, weighted_cross_entropy(scores, label))


def test_weights_of_the_margin_that_is_cut_away_do_not_count() -> None:
    scores, label = noise(1, 1, 2, 2), labels(1, 6, 6)
    weight = torch.full((1, 6, 6), 1000.0)
    weight[:, 2:4, 2:4] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    middle = weighted_cross_entropy(scores, label[:, 2:4, 2:4], weight[:, 2:4, 2:4])
    assert torch.equal(weighted_cross_entropy(scores, label, weight), middle)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_loss_of_any_dtype_is_a_float32_of_that_precision(dtype: torch.dtype) -> None:
    scores, label, weight = noise(1, 1, 64, 64).to(dtype), labels(1, 64, 64), noise(1, 64, 64, seed=2).abs()
    loss = weighted_cross_entropy(scores, label, weight)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, weighted_cross_entropy(scores.float(), label, weight))


def test_certainty_that_is_wrong_costs_its_logit_and_stays_finite() -> None:
    """A sigmoid and a logarithm, one after the other, would give infinity."""
    scores = torch.tensor([[[[500.0]]]])
    assert weighted_cross_entropy(scores, torch.zeros(1, 1, 1)).item() == 500.0
    assert weighted_cross_entropy(scores, torch.ones(1, 1, 1)).item() == 0.0


@pytest.mark.parametrize(
    ("shape", "side", "expected"),
    [
        ((4, 4), 2, [[5, 6], [9, 10]]),
        ((4, 4), 1, [[5]]),  # of an even rest, the pixel more is on the far side
        ((3, 5), 1, [[7]]),
        ((2, 4), 2, [[1, 2], [5, 6]]),
        ((2, 2), 2, [[0, 1], [2, 3]]),
        ((2, 2), 0, [[0, 1], [2, 3]]),
        ((2, 2), 5, [[0, 1], [2, 3]]),
    ],
)
def test_centre(shape: tuple[int, int], side: int, expected: list[list[int]]) -> None:
    image = torch.arange(int(np.prod(shape))).reshape(shape)
    assert centre(image, side).tolist() == expected
    assert centre(image[None, None], side).tolist() == [[expected]]
