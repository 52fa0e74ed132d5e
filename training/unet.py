"""The U-Net of Ronneberger, Fischer and Brox (2015, arXiv:1505.04597), and the loss that training minimises."""

import math
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from training.config import FitConfig, UNetConfig

_DICE_SMOOTH = 1.0  # pixels, so that nothing of nothing is 1

Image = TypeVar("Image", Tensor, NDArray[Any])


class UNet(nn.Module):
    """A U-Net: image (B, inputs, Y, X) in, scores (B, outputs, Y', X') out, Y' = `config.output_side(Y)`."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width << level for level in range(config.depth + 1)]
        self.down = nn.ModuleList(_block(config, i, o) for i, o in zip([config.inputs, *widths], widths, strict=False))
        self.up, self.merge = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(config.depth)):
            grown = config.last_up or widths[level] if level == 0 else widths[level]
            self.up.append(_up(config, widths[level + 1], grown))
            self.merge.append(_block(config, widths[level] + grown, widths[level]))
        self.head = nn.Conv2d(config.width, config.outputs, 1)
        self._initialise()

    def forward(self, image: Tensor) -> Tensor:
        """Return the scores (B, outputs, Y', X') of an image (B, inputs, Y, X)."""
        x, skips = image, []
        for level, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if level else x)  # (B, width << level, y, x)
            if level >= self.config.depth - 1:  # the last two contracting blocks
                x = functional.dropout(x, self.config.dropout, self.training)
            skips.append(x)
        for skip, up, merge in zip(reversed(skips[:-1]), self.up, self.merge, strict=True):
            x = up(x)
            x = merge(torch.cat([centre(skip, *x.shape[-2:]), x], dim=1))
        scores: Tensor = self.head(x)
        return scores

    def _initialise(self) -> None:
        """Draw the weights, by each layer's real number of inputs and by what follows it.

        He's doubled variance makes up for the half that a ReLU takes away; up-convolutions and the last layer have none
        behind them. Doubled there too, as by a plain loop of `kaiming_normal_`, each 2x2 convolution after repeated
        pixels doubles the second moment of the activations, and that of the gradients on their way back, which the
        repeated pixels double or more by themselves. SGD with momentum 0.99 at 0.01 then ends in NaN within a dozen
        steps for most seeds; `clip_norm` alone holds it too. A transposed convolution escapes: torch takes 4 times its
        outputs for its inputs, which is twice too many, just as much as the doubling.
        """
        relu_ups = set(self.up.modules()) if self.config.up_relu else set()
        for name, layer in self.named_modules():
            if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                continue
            taps = 1 if isinstance(layer, nn.ConvTranspose2d) else math.prod(layer.kernel_size)  # per output pixel
            inputs, outputs = layer.in_channels * taps, layer.out_channels * taps
            followed = name.startswith(("down", "merge")) or layer in relu_ups
            variance = 2 / (inputs + outputs) if self.config.init == "xavier" else (2 if followed else 1) / inputs
            nn.init.normal_(layer.weight, std=math.sqrt(variance))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def count_parameters(network: nn.Module) -> int:
    """Return the number of weights and biases that are trained."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


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
    total = weight.sum().clamp(min=torch.finfo(torch.float32).tiny)  # where no pixel counts, the loss is 0
    return functional.binary_cross_entropy_with_logits(logits, label, weight, reduction="sum") / total


def probabilities(scores: Tensor, *, n_maps: int) -> Tensor:
    """Return probabilities (B, K, Y, X) float32 of scores: of cell, where `n_maps` is 1, else the softmax of all."""
    if n_maps == 1:
        return torch.sigmoid(cell_logits(scores).float())[:, None]
    return torch.softmax(scores.float(), dim=1)


def class_cross_entropy(scores: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy per pixel, or per unit of weight; a scalar float32, in nats.

    It works pixel by pixel, as `cell_logits` does, and for the same reason.

    Args:
        scores: (B, K, Y', X'), of any float dtype.
        label: (B, Y, X) float class indices; the centre of the size of the scores counts.
        weight: (B, Y, X) or None.
    """
    shares = torch.log_softmax(scores.float(), dim=1)
    losses = -(shares * _one_hot(centre(label, *shares.shape[-2:]), shares.shape[1])).sum(dim=1)
    if weight is None:
        return losses.mean()
    weight = centre(weight, *losses.shape[-2:])
    return (losses * weight).sum() / weight.sum().clamp(min=torch.finfo(torch.float32).tiny)


def dice_loss(shares: Tensor, label: Tensor, counted: Tensor | None = None) -> Tensor:
    """Return 1 minus the mean soft Dice coefficient of the classes but the first, of the whole batch; a scalar.

    Milletari, Navab and Ahmadi 2016, arXiv:1606.04797, with sums in the place of sums of squares, as nnU-Net has it.
    A class that is neither there nor predicted has lost nothing.

    Args:
        shares: (B, K, Y', X') probabilities; one map is that of class 1 of two.
        label: (B, Y, X) float class indices; the centre of the size of the shares counts.
        counted: (B, Y, X), 0 where a pixel does not count; None where all do.
    """
    n_classes = max(shares.shape[1], 2)
    truth = _one_hot(centre(label, *shares.shape[-2:]), n_classes)[:, 1:]
    found = shares if shares.shape[1] == 1 else shares[:, 1:]
    if counted is not None:
        inside = (centre(counted, *shares.shape[-2:]) > 0).float()[:, None]
        truth, found = truth * inside, found * inside
    axes = (0, 2, 3)
    hits, sizes = (truth * found).sum(axes), truth.sum(axes) + found.sum(axes)
    return 1 - ((2 * hits + _DICE_SMOOTH) / (sizes + _DICE_SMOOTH)).mean()


def _one_hot(label: Tensor, n_classes: int) -> Tensor:
    """Return (B, K, Y, X) float32, 1 for the class of each pixel of a label (B, Y, X)."""
    classes = torch.arange(n_classes, device=label.device, dtype=label.dtype)
    return (label[:, None] == classes[:, None, None]).float()


def target_loss(
    scores: Tensor, label: Tensor, weight: Tensor | None, config: FitConfig, class_weights: Tensor | None = None
) -> Tensor:
    """Return the loss that a run minimises, a scalar.

    Args:
        scores: (B, outputs, Y', X').
        label: (B, Y, X) float, 0, 1, ...: what the run learns.
        weight: (B, Y, X), 0 where a pixel does not count; None where all count the same.
        config: of the run.
        class_weights: (K,), or None.
    """
    counted = weight
    if class_weights is not None:
        of_class = (_one_hot(label, len(class_weights)) * class_weights[:, None, None]).sum(dim=1)
        weight = of_class if weight is None else weight * of_class
    loss = (weighted_cross_entropy if config.is_binary else class_cross_entropy)(scores, label, weight)
    if config.loss == "ce":
        return loss
    return loss + dice_loss(probabilities(scores, n_maps=config.n_maps), label, counted)


def centre(image: Image, height: int, width: int = 0) -> Image:
    """Return the middle (..., height, width) of an image, or of that height both ways; all of it where height is 0.

    An axis along which the image is not larger stays as it is.
    """
    if not height:
        return image
    size = height, width or height
    top, left = (max(0, n - kept) // 2 for n, kept in zip(image.shape[-2:], size, strict=True))
    return image[..., top : top + size[0], left : left + size[1]]


def _block(config: UNetConfig, inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        batch = config.norm == "batch"
        layers.append(nn.Conv2d(channels, outputs, 3, padding=int(config.padding == "same"), bias=not batch))
        if batch:
            layers.append(nn.BatchNorm2d(outputs))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def _up(config: UNetConfig, inputs: int, outputs: int) -> nn.Sequential:
    if config.up == "transpose":
        layers: list[nn.Module] = [nn.ConvTranspose2d(inputs, outputs, 2, stride=2)]
    else:
        layers = [nn.Upsample(scale_factor=2), nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(inputs, outputs, 2)]
    if config.up_relu:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
