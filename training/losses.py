"""What training minimises: the cross-entropy of every pixel, weighted, over the sum of the weights."""

from torch import Tensor
from torch.nn import functional


def cell_logits(scores: Tensor) -> Tensor:
    """Return the logit of cell (B, Y, X) for scores (B, 1, Y, X), a logit, or (B, 2, Y, X), membrane and cell.

    The softmax over two scores is the logistic function of their difference, so that one loss serves both; it works
    pixel by pixel, which keeps it deterministic on CUDA, where torch's 2D cross-entropy is not.
    """
    return scores[:, 0] if scores.shape[1] == 1 else scores[:, 1] - scores[:, 0]


def weighted_cross_entropy(scores: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy per pixel, or per unit of weight; a scalar float32, in nats.

    Args:
        scores: (B, 1 or 2, Y', X'), of any float dtype.
        label: (B, Y, X) float, 1 = cell; the centre of the size of the scores counts.
        weight: (B, Y, X) or None.
    """
    logits = cell_logits(scores).float()
    label = centre(label, logits.shape[-1])
    if weight is None:
        return functional.binary_cross_entropy_with_logits(logits, label)
    weight = centre(weight, logits.shape[-1])
    return functional.binary_cross_entropy_with_logits(logits, label, weight, reduction="sum") / weight.sum()


def centre(image: Tensor, side: int) -> Tensor:
    """Return the middle (..., side, side) of an image; all of it where it is not larger, or side is 0."""
    if not side:
        return image
    top, left = (max(0, n - side) // 2 for n in image.shape[-2:])
    return image[..., top : top + side, left : left + side]
