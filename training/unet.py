"""The U-Net of Ronneberger, Fischer and Brox (2015, arXiv:1505.04597), in the variants that are in use."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import ConfigError
from training.kinds import require_types


@dataclass(frozen=True, slots=True)
class UNetConfig:
    """What a U-Net is made of.

    Attributes:
        width: channels of the first level; each level below has twice as many.
        depth: number of poolings.
        outputs: maps that come out: 1, the logit of cell, or 2, the scores of membrane and of cell.
        up: how a level doubles its size: a transposed 2x2 convolution, or repeated pixels and a 2x2 convolution.
        init: normal weights with the variance of Glorot and Bengio (2010), or of He et al. (2015, arXiv:1502.01852).
        padding: `valid` loses a pixel on each side at every 3x3 convolution, `same` pads with zeros.
        norm: batch normalisation after every 3x3 convolution, or none.
        dropout: share of activations dropped after each of the last two contracting blocks.
        up_relu: a ReLU after every up-convolution.
        last_up: channels of the last up-convolution; 0: those of its level.
    """

    width: int = 64
    depth: int = 4
    outputs: Literal[1, 2] = 2
    up: Literal["transpose", "upsample"] = "transpose"
    init: Literal["xavier", "kaiming"] = "kaiming"
    padding: Literal["valid", "same"] = "valid"
    norm: Literal["none", "batch"] = "none"
    dropout: float = 0.0
    up_relu: bool = False
    last_up: int = 0

    def __post_init__(self) -> None:
        require_types(self)
        if not (1 <= self.width <= 1024 and 1 <= self.depth <= 6):
            raise ConfigError(f"U-Net: expected a width of 1 to 1024 and a depth of 1 to 6, got {self}")
        if not (0 <= self.dropout < 1 and self.last_up >= 0):
            raise ConfigError(f"U-Net: expected dropout in [0, 1) and last_up of 0 or more, got {self}")

    @property
    def step(self) -> int:
        """Pixels by which the sides of inputs differ: 2 to the power of the poolings."""
        return 1 << self.depth

    @property
    def reach(self) -> int:
        """Pixels on each side of an input that valid convolutions lose: 92 for a depth of 4.

        An output pixel can depend on a pixel up to step - 1 further away, since poolings fall on whole steps.
        """
        return 6 * self.step - 4

    @property
    def halo(self) -> int:
        """Pixels on each side of an input whose outputs are lost, or would feel that it ends there.

        It holds for crops that begin a whole number of steps from each other. Where the network pads, poolings begin at
        the edge itself, and zeros are felt two pixels further than valid convolutions lose. The 2x2 convolution after
        repeated pixels is padded by one pixel, which by the last level has spoilt step - 1 at the far edges.
        """
        return self.reach + (2 if self.padding == "same" else 0) + (self.step - 1 if self.up == "upsample" else 0)

    def output_side(self, side: int) -> int:
        """Return the side of the output for an input of `side` pixels.

        Raises:
            ConfigError: the side does not survive the poolings.
        """
        kept = side - 2 * self.reach if self.padding == "valid" else side
        if kept < 1 or (kept - (4 if self.padding == "valid" else 0)) % self.step:
            raise ConfigError(f"U-Net: {side} px do not pass through {self.depth} poolings; {self.input_side(1)} px do")
        return kept

    def largest_input(self, side: int) -> int:
        """Return the largest side of an input that passes and is not above `side`.

        Raises:
            ConfigError: none does.
        """
        smallest = self.input_side(1)
        if side < smallest:
            raise ConfigError(f"U-Net: samples of {side} px are too small; it needs {smallest} px or more")
        return side - (side - smallest) % self.step

    def input_side(self, output: int) -> int:
        """Return the smallest side of an input whose output has at least `output` pixels, and 1."""
        wanted = max(1, output)
        if self.padding == "same":
            return -(-wanted // self.step) * self.step
        return wanted + (4 - wanted) % self.step + 2 * self.reach


class UNet(nn.Module):
    """A U-Net: image (B, 1, Y, X) in, scores (B, outputs, Y', X') out, Y' = `config.output_side(Y)`."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width << level for level in range(config.depth + 1)]
        self.down = nn.ModuleList(_block(config, i, o) for i, o in zip([1, *widths], widths, strict=False))
        self.up, self.merge = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(config.depth)):
            grown = config.last_up or widths[level] if level == 0 else widths[level]
            self.up.append(_up(config, widths[level + 1], grown))
            self.merge.append(_block(config, widths[level] + grown, widths[level]))
        self.head = nn.Conv2d(config.width, config.outputs, 1)
        self._initialise()

    def forward(self, image: Tensor) -> Tensor:
        """Return the scores (B, outputs, Y', X') of an image (B, 1, Y, X)."""
        x, skips = image, []
        for level, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if level else x)  # (B, width << level, y, x)
            if level >= self.config.depth - 1:  # the last two contracting blocks
                x = functional.dropout(x, self.config.dropout, self.training)
            skips.append(x)
        for skip, up, merge in zip(reversed(skips[:-1]), self.up, self.merge, strict=True):
            x = up(x)
            x = merge(torch.cat([_centre(skip, x), x], dim=1))
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
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if config.up_relu else []))


def _centre(skip: Tensor, like: Tensor) -> Tensor:
    """Return the middle of `skip`, of the size of `like`."""
    dy, dx = ((a - b) // 2 for a, b in zip(skip.shape[-2:], like.shape[-2:], strict=True))
    return skip[..., dy : dy + like.shape[-2], dx : dx + like.shape[-1]]
