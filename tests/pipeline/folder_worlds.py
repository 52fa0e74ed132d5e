"""Worlds for audits: augmented pictures of a few phantom slices, in folders that say nothing of where they are from."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from augment.draw import draw_recipe
from augment.ranges import AugmentRanges
from augment.renderer import PreparedSlice, prepare_slice, render_prepared
from augment.seeding import Stream
from pipeline.source.phantom import make_phantom

SIDE_PX = 256
N_SLICES, N_REPLICATES = 4, 4  # of what a random split is made of
FAR = (8, 9)  # slices that none of those touch


@cache
def tissue() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return ten slices of 300 x 300 and their labels; read-only, because they are shared."""
    stack = make_phantom((10, 300, 300), seed=3)
    for pixels in stack:
        pixels.flags.writeable = False
    return stack


@cache
def prepared(z: int) -> PreparedSlice:
    images, labels = tissue()
    return prepare_slice(images[z], labels[z])


@cache
def picture(z: int, replicate: int) -> NDArray[np.uint8]:
    """Return slice z rotated by any angle, deformed, shifted and perhaps mirrored."""
    ranges = AugmentRanges(flip=True)
    recipe = draw_recipe(ranges, Stream(0, (z, replicate)), window=(SIDE_PX, SIDE_PX), slice_size=(300, 300))
    return render_prepared(prepared(z), recipe).image


def pictures(slices: tuple[int, ...], n_replicates: int) -> dict[str, NDArray[Any]]:
    """Return pictures of these slices by names that say what they are."""
    return {f"s{z}-r{k}.png": picture(z, k) for z in slices for k in range(n_replicates)}


def write_pictures_of(folder: Path, named: Mapping[str, NDArray[Any]]) -> Path:
    """Write pictures into a folder, in the format that their names say, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, pixels in named.items():
        Image.fromarray(pixels).save(folder / name)
    return folder


def random_split(folder: Path, *, n_test: int = 4) -> dict[str, Path]:
    """Write augmented pictures of the same few slices into train and test, as the original code drew them."""
    named = pictures(tuple(range(N_SLICES)), N_REPLICATES)
    drawn = [list(named)[k] for k in np.random.default_rng(0).permutation(len(named))]
    return {
        "train": write_pictures_of(folder / "train", {name: named[name] for name in drawn[n_test:]}),
        "test": write_pictures_of(folder / "test", {name: named[name] for name in drawn[:n_test]}),
    }


def clean_split(folder: Path) -> dict[str, Path]:
    """Write pictures of slices 0 to 3 into train, and of slices far from them into test."""
    return {
        "train": write_pictures_of(folder / "train", pictures(tuple(range(N_SLICES)), 2)),
        "test": write_pictures_of(folder / "test", pictures(FAR, 2)),
    }
