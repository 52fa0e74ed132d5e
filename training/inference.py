"""Prediction with a trained network, of samples, whole slices and stacks.

The overlap-tile strategy of Ronneberger et al. 2015: a slice is predicted in overlapping tiles, mirrored where it ends.
Every pixel is computed with all the context that the network can use, so that tiles meet without a seam. Tiles begin at
multiples of the network's step, so that its poolings fall on the same pixels wherever a tile begins.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import ConfigError, counted
from pipeline.shards.progress import Progress, SilentProgress, track
from training.config import TILE_PX
from training.device import find_device, full_precision
from training.loading import as_tensor, normalise, turned, turned_back
from training.run_folder import Run, read_network, read_run
from training.stacks import in_context, open_images
from training.targets import LabelDecoder, foreground
from training.unet import UNet, probabilities

_TIFF_SUFFIXES = (".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class Predictor:
    """A network and what it needs to turn a slice (Y, X) into probabilities, float32 in 0..1.

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

    def __call__(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Return the probability of foreground (Y, X) of a slice (Y, X), or (Y, X, C) of several channels or slices.

        Raises:
            ConfigError: as for `maps`.
        """
        return foreground(self.maps(image))

    @torch.inference_mode()
    def maps(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Return the probabilities (K, Y, X) of a slice: of cell alone, or of each class that the network tells apart.

        Raises:
            ConfigError: the slice has another dtype, or another number of channels, than the network was trained on.
        """
        image = as_levels(image)
        if str(image.dtype) != self.run.image_dtype:
            raise ConfigError(
                f"the network was trained on {self.run.image_dtype} images, and gets {image.dtype}; convert "
                "the stack to the gray levels of the training stack"
            )
        n_channels, known = image.shape[2] if image.ndim == 3 else 1, self.run.normalisation.n_channels
        if n_channels != known:
            context = f", built with --context {self.run.context}" if self.run.context else ""
            raise ConfigError(
                f"the network was trained on images of {counted(known, 'channel')}, and gets {n_channels}; choose them "
                f"as for the dataset of its run{context}"
            )
        planes = image if image.ndim == 2 else np.ascontiguousarray(np.moveaxis(image, -1, 0))
        levels = normalise(as_tensor(planes), self.run.normalisation)
        total = torch.zeros((self.run.config.n_maps, *levels.shape[-2:]))
        ways = range(8 if self.tta else 1)
        with full_precision():
            for way in ways:
                total += turned_back(self._tiles(turned(levels, way).contiguous()), way)
        return (total / len(ways)).clamp_(0, 1).numpy()

    def _tiles(self, image: Tensor) -> Tensor:
        """Return the probabilities (K, Y, X) of an image (C, Y, X)."""
        config = self.network.config
        front = config.reach if config.padding == "valid" else -(-config.halo // config.step) * config.step
        size = image.shape[-2:]
        out = torch.empty((self.run.config.n_maps, *size))
        sides = [-(-min(self.tile, side) // config.step) * config.step for side in size]
        for y in range(0, size[0], sides[0]):
            for x in range(0, size[1], sides[1]):
                rows, columns = (
                    mirrored(start - front, _input_side(self.network, side, front), n)
                    for start, side, n in zip((y, x), sides, size, strict=True)
                )
                scores = self.network(image[:, rows][:, :, columns][None].to(self.device))
                tile = probabilities(scores, n_maps=self.run.config.n_maps)[0].cpu()
                if config.padding == "same":
                    tile = tile[:, front:, front:]
                place = out[:, y : y + sides[0], x : x + sides[1]]
                place.copy_(tile[:, : place.shape[1], : place.shape[2]])
        return out


def open_predictor(run: Run, *, device: str = "auto", tta: bool = False, tile: int = TILE_PX) -> Predictor:
    """Return what predicts with the network of a run.

    Raises:
        ConfigError: the device is not there, or the tile is too small for the network.
        RunError: the run keeps no network.
    """
    where = find_device(device)
    return Predictor(run, read_network(run, where), where, tta=tta, tile=tile)


def predict(
    run: Path | str, stack: Path | str, out: Path | str, *, labels: bool = False, overwrite: bool = False,
    tta: bool = False, tile: int = TILE_PX, device: str = "auto", progress: Progress | None = None,
) -> tuple[int, int, int]:  # fmt: skip
    """Write what a network says of a stack as a TIFF stack; return its shape (Z, Y, X).

    That is the probability of cell, as float32; of several classes, or of cells and their borders, a channel for each,
    with its name. With `labels` it is the class of every pixel, by the value that it has in the labels of the source,
    or, where a network learnt objects, their ids from 1 in every slice.

    One slice is held in memory at a time, with its neighbours where the network was trained with such; beyond the first
    and the last slice the stack is mirrored.

    Args:
        run: folder of the run whose network predicts.
        stack: a TIFF file, or whatever else `augpipe build` reads as a stack; gray levels are scaled, and channels
            chosen, as for the dataset that the network was trained on.
        out: the TIFF file to make.
        labels: write classes or ids, not probabilities.
        overwrite: replace `out`, if it is there, as soon as the new one is whole.
        tta: average over the eight ways that a slice can lie.
        tile: side of a tile of the result, in px.
        device: where to compute: `auto`, `cpu`, `cuda` or `cuda:N`.
        progress: its progress callback.

    Raises:
        ConfigError: there is no such stack, the network does not take it, `out` is there already, is the stack itself,
            or not named as a TIFF, the device is not there, or the tile is too small.
        RunError: there is no run, or it keeps no network.
        SourceError: the stack cannot be read.
        StorageError: the result cannot be written.
    """
    from pipeline.source.tiff import write_channels, write_slices

    predictor = open_predictor(read_run(Path(run)), device=device, tta=tta, tile=tile)
    stack, out = Path(stack), Path(out)
    require_place(out, stack, overwrite=overwrite)
    slices, context = open_images(stack, predictor.run.channels, predictor.run.reading), predictor.run.context
    if context:
        slices = in_context(slices, stack, context)
    watched = track(slices, progress or SilentProgress(), "predicting", slices.shape[0], unit="slices")
    depth, height, width = shape = slices.shape[:3]
    names = predictor.run.map_names
    if labels:
        decode = LabelDecoder(predictor.run)
        write_slices(out, (decode(predictor.maps(image)) for image in watched), shape, decode.dtype)
    elif len(names) == 1:
        write_slices(out, (predictor(image) for image in watched), shape, np.float32)
    else:
        write_channels(out, (predictor.maps(image) for image in watched), (depth, height, width), names)
    return depth, height, width


def require_place(out: Path, stack: Path, *, overwrite: bool) -> None:
    """Refuse a place where the prediction of a stack would destroy something, or be taken for something else.

    Raises:
        ConfigError: it is such a place.
    """
    if out.exists() and stack.exists() and out.samefile(stack):
        raise ConfigError(f"{out}: is the stack itself; name another file for the prediction")
    if out.is_dir() or not out.name:
        raise ConfigError(f"{out}: is a folder; name a file for the prediction")
    if out.suffix.lower() not in _TIFF_SUFFIXES:
        raise ConfigError(f"{out}: expected a name that ends in .tif or .tiff, as the prediction is a TIFF stack")
    if out.exists() and not out.is_file():
        raise ConfigError(f"{out}: is no plain file; name another one for the prediction")
    if (out.exists() or out.is_symlink()) and not overwrite:
        raise ConfigError(f"{out}: is there already; name another file for the prediction, or --overwrite it")


def as_levels(image: NDArray[Any]) -> NDArray[Any]:
    """Return a slice in the gray levels that a build makes of it: bits are 0 and 255, int8 int16, float16 float32."""
    if image.dtype == np.bool_:
        return np.where(image, np.uint8(255), np.uint8(0))
    wider = {"float16": np.float32, "int8": np.int16}.get(image.dtype.name)
    return image if wider is None else image.astype(wider)


def mirrored(start: int, n: int, side: int) -> Tensor:
    """Return which pixels of a row of `side` lie at start, start + 1, ..., n of them, mirrored at both ends."""
    place = torch.arange(start, start + n) % (2 * side)
    return torch.where(place < side, place, 2 * side - 1 - place)


def _input_side(network: UNet, tile: int, front: int) -> int:
    """Return the side of the input for a tile of the result of that side."""
    config = network.config
    if config.padding == "same":
        return tile + 2 * front
    return config.input_side(tile + config.halo - config.reach)
