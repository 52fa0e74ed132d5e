"""The pictures that worlds are made of: real electron microscopy, real fluorescence, and the phantom."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from leaks.rendering import Gray
from numpy.typing import NDArray

from pipeline.source.phantom import make_phantom
from pipeline.source.tiff import open_stack, read_stack


@dataclass(frozen=True, slots=True, eq=False)
class Tissue:
    """Pictures of one origin.

    Attributes:
        name: for the table.
        stack: (Z, Y, X), gray levels as they are stored, 0 to white.
        elsewhere: (Z, Y, X), the same kind of tissue from another place.
        white: the gray level that counts as white.
        independent: whether slices are fields of view without neighbours.
    """

    name: str
    stack: NDArray[Any]
    elsewhere: NDArray[Any]
    white: int
    independent: bool = False

    def gray(self, pixels: NDArray[Any]) -> Gray:
        """Return pixels as 0 to 1."""
        return np.asarray(pixels, np.float32) / np.float32(self.white)

    def stored(self, picture: Gray) -> NDArray[Any]:
        """Return a picture of 0 to 1 in the gray levels of the stack."""
        return np.rint(np.clip(picture, 0.0, 1.0) * self.white).astype(self.stack.dtype)


def isbi(folder: Path) -> Tissue:
    """Return ISBI 2012: every second section of the training stack, and the test stack as tissue from elsewhere."""
    own, other = (read_stack(folder / f"{name}-volume.tif") for name in ("train", "test"))
    return Tissue("ISBI 2012 (electron microscopy)", np.asarray(own), np.asarray(other), 255)


def bbbc039(folder: Path) -> Tissue:
    """Return BBBC039: half of the fields of view, and the other half as tissue from elsewhere."""
    fields = np.stack([open_stack(path)[0] for path in sorted(folder.glob("*.tif"))])
    return Tissue("BBBC039 (fluorescence, 16 bits)", fields[::2], fields[1::2], 4095, independent=True)


def phantom(depth: int = 30, side: int = 512) -> Tissue:
    """Return the phantom, and another seed of it as tissue from elsewhere."""
    own, other = (make_phantom((depth, side, side), seed=seed)[0] for seed in (0, 1))
    return Tissue("phantom (synthetic)", own, other, 255)
