"""Labels in one file an object, as the Data Science Bowl 2018 has them: the masks of an image become one label."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, SourceError, counted
from pipeline.source.pages.formats import open_file
from pipeline.source.pages.partners import natural_key


class ObjectMasks:
    """The labels of some images, each in many files, one an object: `stack[z]` reads label z as (Y, X) ids.

    The masks of an image are numbered from 1 in the natural order of their names; a pixel of several masks gets the
    smallest of their ids. An image without masks has the label 0.

    Args:
        path: the folder in which all of them are.
        files: for each image, its masks: 0, and one other value where the object is.

    Attributes:
        files: all masks, image by image, in the order of their ids.
        axis: empty, as no file says anything of slices.
        shape: (Z, Y, X).
        dtype: uint16, or uint32 where an image has more objects than that holds.
        channels: empty, as labels have one value.
        white_is_zero: False: 0 is the background.
        palette: None: values are ids.
        channels: empty, as labels have none.
        notes: empty, as nothing is said of how masks are read.

    Raises:
        ConfigError: there are no masks.
        SourceError: the first mask cannot be read.
    """

    axis, white_is_zero = "", False
    palette: NDArray[np.uint16] | None = None
    channels: tuple[str, ...] = ()
    values_are_objects = True

    def __init__(self, path: Path, files: Sequence[Sequence[Path]]) -> None:
        self.path = path
        self._masks = [sorted(each, key=lambda file: (natural_key(file.stem), file.name)) for each in files]
        self.files = tuple(file for each in self._masks for file in each)
        if not self.files:
            raise ConfigError(f"{path}: expected masks, one file an object, found none; name another folder")
        self.shape = (len(self._masks), *open_file(self.files[0], labels=True).shape[1:])
        self.dtype = np.min_scalar_type(max(256, *map(len, self._masks)))
        self._overlaps: dict[int, int] = {}  # pixels, of the slices that were read

    def __len__(self) -> int:
        return len(self._masks)

    def __getitem__(self, z: int) -> NDArray[Any]:
        """Return label z.

        Raises:
            SourceError: a mask cannot be read, is of another size than the first of all, or shows no single object.
        """
        if not 0 <= z < len(self):
            raise IndexError(f"slice {z} of {len(self)}")
        label = np.zeros(self.shape[1:], self.dtype)
        overlapping = np.zeros(label.shape, np.bool_)
        for number, file in enumerate(self._masks[z], start=1):
            mask = self._read(file)
            overlapping |= mask & (label > 0)
            label[mask & (label == 0)] = number
        self._overlaps[z] = int(np.count_nonzero(overlapping))
        return label

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the labels."""
        return (self[z] for z in range(len(self)))

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of the labels that were read so far."""
        n_pixels, n_labels = sum(self._overlaps.values()), sum(map(bool, self._overlaps.values()))
        if not n_pixels:
            return ()
        where = f"{counted(n_pixels, 'pixel')} of {counted(n_labels, 'image')}"
        return (f"masks overlap in {where}; they belong to the object whose file comes first",)

    def _read(self, file: Path) -> NDArray[np.bool_]:
        stack = open_file(file, labels=True)
        if stack.shape != (1, *self.shape[1:]):
            raise SourceError(
                f"{file}: expected one mask of {self.shape[1]} x {self.shape[2]} px, as {self.files[0].name} is, found "
                f"shape {stack.shape}; masks are as large as their image: export them again"
            )
        pixels = stack[0]
        if (n := np.unique(pixels[pixels != 0]).size) > 1:
            raise SourceError(
                f"{file}: expected the mask of one object, 0 and one other value, found {n} values beside 0; a file "
                "with the ids of several objects is a label by itself: name the folder with --labels"
            )
        mask: NDArray[np.bool_] = pixels != 0
        return mask
