"""Millions of pairs of other tissue: what is found among them is a false alarm."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tifffile
from leaks.clean_sets import GUARD, augmented
from leaks.tissues import Tissue
from leaks.worlds import cuts
from numpy.random import Generator
from numpy.typing import NDArray

from pipeline.source.phantom import make_phantom

Pictures = NDArray[Any]  # (N, Y, X)


@dataclass(frozen=True, slots=True)
class Block:
    """So many training and test pictures that share no tissue; every test picture is looked up in all training ones.

    Attributes:
        name: for the table.
        tissue: the first word of the tissue's name.
        take: what test and training pictures are cut from.
        size_px: of the pictures.
        n_train: training pictures.
        n_test: test pictures.
        is_augmented: whether the pictures are turned, mirrored, deformed and changed in gray level.
    """

    name: str
    tissue: Literal["ISBI", "BBBC039", "phantom"]
    take: Callable[[Tissue], tuple[Pictures, Pictures]]
    size_px: int
    n_train: int = 2000
    n_test: int = 250
    is_augmented: bool = False

    def write(self, tissue: Tissue, folder: Path) -> tuple[int, int]:
        """Write train.tif and test.tif, a page a picture; return how many pictures they hold."""
        rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=tuple(self.name.encode())))
        stacks = self.take(tissue)
        for name, stack, n in zip(("train", "test"), stacks, (self.n_train, self.n_test), strict=True):
            pages = np.stack(list(self._pictures(tissue, stack, n, rng)))
            tifffile.imwrite(folder / f"{name}.tif", pages, photometric="minisblack", metadata={"axes": "ZYX"})
        return self.n_train, self.n_test

    def _pictures(self, tissue: Tissue, stack: Pictures, n: int, rng: Generator) -> Iterator[NDArray[Any]]:
        for number, pixels in enumerate(cuts(stack, self.size_px, n, rng)):
            yield tissue.stored(augmented(tissue.gray(pixels), number, rng)) if self.is_augmented else pixels


def _far_slices(tissue: Tissue) -> tuple[Pictures, Pictures]:
    return tissue.stack[:GUARD], tissue.stack[-GUARD:]


def _two_places(tissue: Tissue) -> tuple[Pictures, Pictures]:
    return tissue.stack, tissue.elsewhere


def _other_way(tissue: Tissue) -> tuple[Pictures, Pictures]:
    return tissue.elsewhere, tissue.stack


def _many_seeds(_: Tissue) -> tuple[Pictures, Pictures]:
    """Return 200 slices for training and 50 for test, every one of another phantom."""
    slices = np.concatenate([make_phantom((1, 384, 384), seed=1000 + seed)[0] for seed in range(250)])
    return slices[:200], slices[200:]


BLOCKS = (
    Block("ISBI 2012, another place, whole sections", "ISBI", _two_places, 512, 30, 30),
    Block("ISBI 2012, far slices, 128 px", "ISBI", _far_slices, 128),
    Block("ISBI 2012, another place, 192 px", "ISBI", _two_places, 192),
    Block("ISBI 2012, the other way round, augmented, 192 px", "ISBI", _other_way, 192, is_augmented=True),
    Block("ISBI 2012, another place, augmented, 256 px", "ISBI", _two_places, 256, is_augmented=True),
    Block("phantom, 250 seeds, 128 px", "phantom", _many_seeds, 128),
    Block("phantom, 250 seeds, augmented, 192 px", "phantom", _many_seeds, 192, is_augmented=True),
    Block("BBBC039, other fields, 128 px", "BBBC039", _two_places, 128),
    Block("BBBC039, other fields, 256 px", "BBBC039", _two_places, 256),
)
