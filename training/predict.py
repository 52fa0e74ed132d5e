"""Whole slices and stacks through a network: overlapping tiles, mirrored where the slice ends.

The overlap-tile strategy of Ronneberger et al. 2015: every pixel is computed with all the context that the network can
use, so that tiles meet without a seam. Tiles begin at multiples of the network's step, so that its poolings
fall on the same pixels wherever a tile begins.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import ConfigError
from training.device import find_device, full_precision
from training.loading import as_tensor, normalise, turned, turned_back
from training.losses import cell_logits
from training.progress import Told, counted, untold
from training.run import Run, read_network
from training.unet import UNet

TILE_PX = 512
TIFF_SUFFIXES = (".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class Predictor:
    """A network and what it needs to turn a slice (Y, X) into the probability of cell (Y, X) float32 in 0..1.

    Attributes:
        run: the run that trained it.
        network: in evaluation mode, on its device.
        device: where it computes, in float32.
        tta: average over the eight ways that the slice can lie.
        tile: side of a tile of the result, in px; more needs more memory and computes less twice.

    Raises:
        ConfigError: the tile is narrower than what the network looks at on each side of it.
    """

    run: Run
    network: UNet
    device: torch.device
    tta: bool = False
    tile: int = TILE_PX

    def __post_init__(self) -> None:
        halo = self.network.config.halo
        if self.tile < halo:
            raise ConfigError(
                f"--tile: expected {halo} px or more, as this network looks {halo} px around each tile, and would "
                f"compute every pixel more than nine times; got {self.tile}"
            )

    @torch.inference_mode()
    def __call__(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Return the probability of cell (Y, X) of a slice (Y, X) in the gray levels that the network was trained on.

        Raises:
            ConfigError: the slice has another dtype.
        """
        image = as_levels(image)
        if str(image.dtype) != self.run.image_dtype:
            raise ConfigError(
                f"the network was trained on {self.run.image_dtype} images, and gets {image.dtype}; convert "
                "the stack to the gray levels of the training stack"
            )
        levels = normalise(as_tensor(image), self.run.normalisation)
        total = torch.zeros(levels.shape)
        ways = range(8 if self.tta else 1)
        with full_precision():
            for way in ways:
                total += turned_back(self._tiles(turned(levels, way).contiguous()), way)
        return (total / len(ways)).clamp_(0, 1).numpy()

    def _tiles(self, image: Tensor) -> Tensor:
        config = self.network.config
        front = config.reach if config.padding == "valid" else -(-config.halo // config.step) * config.step
        out = torch.empty(image.shape)
        sides = [-(-min(self.tile, side) // config.step) * config.step for side in image.shape]
        for y in range(0, image.shape[0], sides[0]):
            for x in range(0, image.shape[1], sides[1]):
                rows, columns = (
                    mirrored(start - front, _input_side(self.network, side, front), n)
                    for start, side, n in zip((y, x), sides, image.shape, strict=True)
                )
                scores = self.network(image[rows][:, columns][None, None].to(self.device))
                tile = torch.sigmoid(cell_logits(scores)[0].float()).cpu()
                if config.padding == "same":
                    tile = tile[front:, front:]
                place = out[y : y + sides[0], x : x + sides[1]]
                place.copy_(tile[: place.shape[0], : place.shape[1]])
        return out


def open_predictor(run: Run, *, device: str = "auto", tta: bool = False, tile: int = TILE_PX) -> Predictor:
    """Return what predicts with the network of a run.

    Raises:
        ConfigError: the device is not there, or the tile is too small for the network.
        RunError: the run keeps no network.
    """
    where = find_device(device)
    return Predictor(run, read_network(run, where), where, tta=tta, tile=tile)


def predict_stack(
    predictor: Predictor, stack: Path, out: Path, *, overwrite: bool = False, told: Told = untold
) -> tuple[int, int, int]:
    """Write the probability of cell of a TIFF stack as a float32 TIFF stack; return its shape (Z, Y, X).

    One slice is held in memory at a time.

    Args:
        predictor: the network.
        stack: a TIFF file (Z, Y, X).
        out: the TIFF file to make.
        overwrite: replace `out`, if it is there, as soon as the new one is whole.
        told: is told about every slice.

    Raises:
        ConfigError: there is no such stack, or `out` is there already, is the stack itself, or not named as a TIFF.
        SourceError: it cannot be read.
        StorageError: the result cannot be written.
    """
    from pipeline.source.tiff import open_stack, write_slices

    require_place(out, stack, overwrite=overwrite)
    slices = open_stack(stack)
    write_slices(out, predict_slices(predictor, counted(slices, slices.shape[0], told)), slices.shape, np.float32)
    return slices.shape


def require_place(out: Path, stack: Path, *, overwrite: bool) -> None:
    """Refuse a place where the prediction of a stack would destroy something, or be taken for something else.

    Raises:
        ConfigError: it is such a place.
    """
    if out.exists() and stack.exists() and out.samefile(stack):
        raise ConfigError(f"{out}: is the stack itself; name another file for the prediction")
    if out.is_dir() or not out.name:
        raise ConfigError(f"{out}: is a folder; name a file for the prediction")
    if out.suffix.lower() not in TIFF_SUFFIXES:
        raise ConfigError(f"{out}: expected a name that ends in .tif or .tiff, as the prediction is a TIFF stack")
    if out.exists() and not out.is_file():
        raise ConfigError(f"{out}: is no plain file; name another one for the prediction")
    if (out.exists() or out.is_symlink()) and not overwrite:
        raise ConfigError(f"{out}: is there already; name another file for the prediction, or --overwrite it")


def predict_slices(predictor: Predictor, slices: Any) -> Iterator[NDArray[np.float32]]:
    """Yield the probability of cell of each slice."""
    return (predictor(image) for image in slices)


def as_levels(image: NDArray[Any]) -> NDArray[Any]:
    """Return a slice in the gray levels that a build makes of it: one bit becomes 0 and 255, float16 float32."""
    if image.dtype == np.bool_:
        return np.where(image, np.uint8(255), np.uint8(0))
    return image.astype(np.float32) if image.dtype == np.float16 else image


def mirrored(start: int, n: int, side: int) -> Tensor:
    """Return which pixels of a row of `side` lie at start, start + 1, ..., n of them, if it goes on as in mirrors."""
    place = torch.arange(start, start + n) % (2 * side)
    return torch.where(place < side, place, 2 * side - 1 - place)


def _input_side(network: UNet, tile: int, front: int) -> int:
    """Return the side of the input for a tile of the result of that side."""
    config = network.config
    if config.padding == "same":
        return tile + 2 * front
    return config.input_side(tile + config.halo - config.reach)
