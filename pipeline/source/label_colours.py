"""Labels that are colours: pixels of red, green and blue, or places in a table of colours, become one number each.

That number is 0xRRGGBB. Colours are never averaged to gray, in which different ones would be the same.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SourceError
from pipeline.source.stacks import ReadSlices, Slices

MAX_COLOURS = 256
_TIMES_257 = 257  # what makes 16 bits of 8


class ColourLabels:
    """Labels as numbers 0xRRGGBB: `labels[z]` is (Y, X) uint32. A gray level is the colour of its shade.

    Args:
        source: (Z, Y, X, 3) red, green and blue, or (Z, Y, X) places in `palette` or gray levels; of 8 bits, or of 16
            that are 8.
        where: what to call them in error messages.
        palette: (3, N) from 0 to 65535.
    """

    dtype: np.dtype[Any] = np.dtype(np.uint32)

    def __init__(self, source: Slices, where: str, palette: NDArray[np.uint16] | None = None) -> None:
        self._source, self._where, self._palette = source, where, palette
        self.shape = source.shape[:3]
        if source.shape[3:] not in ((), (3,)) or source.dtype.name not in ("bool", "uint8", "uint16"):
            raise SourceError(
                f"{where}: expected colours of 8 or 16 bits, red, green and blue, got {source.dtype.name} of shape "
                f"{source.shape}; export the label as RGB picture, or leave --label-colors out"
            )

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, z: int) -> NDArray[np.uint32]:
        """Return slice z.

        Raises:
            SourceError: it cannot be read, is of more than 8 bits, or has a place that the table lacks.
        """
        pixels = self._source[z]
        if self._palette is not None:
            if pixels.max() >= self._palette.shape[1]:
                raise SourceError(f"{self._where}: slice {z}: {pixels.max()} is no place in its table of colours")
            pixels = self._table()[pixels]
        elif pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        if pixels.dtype == np.uint16:
            if (pixels % _TIMES_257).any():
                raise SourceError(f"{self._where}: slice {z}: expected colours of 8 bits, found finer ones")
            pixels = pixels // _TIMES_257
        elif pixels.dtype == np.bool_:
            pixels = pixels * np.uint8(255)
        red, green, blue = np.moveaxis(pixels.astype(np.uint32), -1, 0)
        numbers: NDArray[np.uint32] = (red << 16) | (green << 8) | blue
        return numbers

    def _table(self) -> NDArray[Any]:
        """Return the table of colours (N, 3) in 8 bits: tables of TIFF have 16, by a factor of 256 or 257."""
        table = np.empty((0, 3), np.uint16) if self._palette is None else self._palette.T
        coarse = table >> 8
        if len(np.unique(coarse, axis=0)) < len(np.unique(table, axis=0)):
            raise SourceError(f"{self._where}: expected a table of colours of 8 bits, found finer ones")
        return coarse * np.uint16(_TIMES_257)

    def __iter__(self) -> Iterator[NDArray[np.uint32]]:
        """Yield the slices."""
        return (self[z] for z in range(len(self)))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the file says of how it was read."""
        return self._source.notes if isinstance(self._source, ReadSlices) else ()


def colours_fault(where: str, n: int, z: int) -> SourceError:
    """Return what to say of labels of too many colours: `n` in the slices up to `z`."""
    return SourceError(
        f"{where}: expected at most {MAX_COLOURS} colours, found {n} up to slice {z}, as in a picture that was "
        "smoothed at the edges or saved as JPEG; export the label again without either, one colour a class"
    )
