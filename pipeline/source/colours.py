"""What the values of a pixel are: a gray level or channels, perhaps with alpha, or a place in a table of colours."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

RGB = ("red", "green", "blue")
ALPHA_NOTE = "the alpha channel hides nothing, and is left out"
EQUAL_NOTE = "red, green and blue are equal in every pixel, and taken as one number"
TINT_NOTE = "a table of colours tints the gray levels; they are read as they are, without it"

_ALPHA_ADVICE = (
    "if it is a channel like the others, save all as channels without transparency; else save the picture without it"
)
_COLOUR_LABEL = "if each colour is a class, say --label-colors found; turning colours into gray would mix them"
_NOT_A_TINT = (
    "which is not one hue from dark to bright, so they are no gray levels; save it as gray (in ImageJ: Image > Lookup "
    "Tables > Grays if the table only tints a gray picture, else Image > Type > 8-bit)"
)
_MAX_NAME = 40
_ROUNDING = 512  # of 65535: tables of 8 bits are rounded


class PixelError(Exception):
    """What is wrong with a picture or its pixels; who reads the file says with which."""


class Values(NamedTuple):
    """The values of a stored pixel: one for each of the channels, or a gray level, and alpha after them, if any."""

    channels: tuple[str, ...] = ()
    alpha: bool = False

    @property
    def n(self) -> int:
        """How many there are."""
        return max(1, len(self.channels)) + self.alpha

    def __str__(self) -> str:
        names = "RGB" if self.channels == RGB else f"{len(self.channels)} channels" if self.channels else "gray"
        return f"{names} and alpha" if self.alpha else names


ONE_VALUE = Values()


class Kept(NamedTuple):
    """Which values of a pixel are kept.

    Attributes:
        stored: the values in the file.
        as_gray: whether its colours must be equal, and one is kept.
    """

    stored: Values
    as_gray: bool = False

    @property
    def channels(self) -> tuple[str, ...]:
        """What the kept values are called; empty for one."""
        return () if self.as_gray else self.stored.channels

    @property
    def notes(self) -> tuple[str, ...]:
        """What to say of those that are left out; true when all slices have been read."""
        return (ALPHA_NOTE,) * self.stored.alpha + (EQUAL_NOTE,) * self.as_gray

    def of(self, pixels: NDArray[Any], bits: int) -> NDArray[Any]:
        """Return what is kept of pixels, (Y, X) or (Y, X, C).

        Args:
            pixels: (Y, X), or (Y, X, N) where there are several values.
            bits: of a value.

        Raises:
            PixelError: some are not opaque, or their colours differ where they must not.
        """
        if self.stored.alpha:
            opaque = 1 if pixels.dtype.kind in "fb" else (1 << bits) - 1
            if n_clear := np.count_nonzero(pixels[..., -1] != opaque):
                raise PixelError(
                    f"expected an alpha channel that is opaque everywhere, found {n_clear:,} other pixels; "
                    f"{_ALPHA_ADVICE}"
                )
            pixels = pixels[..., :-1]
        if self.as_gray and not (pixels == pixels[..., :1]).all():
            raise PixelError(f"expected one number a pixel, found colours; {_COLOUR_LABEL}")
        if self.channels or pixels.ndim == 2:
            return np.ascontiguousarray(pixels)
        return np.ascontiguousarray(pixels[..., 0])


def channel_names(found: Sequence[str], n: int) -> tuple[str, ...]:
    """Return what to call channels: what they were found to be called, if no two are alike, else their numbers."""
    names = tuple(" ".join(name.split())[:_MAX_NAME] for name in found)
    if len(names) != n or len(set(names)) < n or not all(name and name.isprintable() for name in names):
        return tuple(map(str, range(n)))
    return names


def kept_values(stored: Values, *, labels: bool, colour: bool) -> Kept:
    """Return which values of a pixel are kept: all but alpha, and of labels one, unless they are to be colours.

    Args:
        stored: the values in the file.
        labels: whether they are labels.
        colour: whether labels may be colours.

    Raises:
        PixelError: labels have channels.
    """
    if not labels or not stored.channels or (colour and stored.channels == RGB):
        return Kept(stored)
    if stored.channels != RGB:
        raise PixelError(f"expected one number a pixel, found {len(stored.channels)} channels; export one channel")
    return Kept(stored, as_gray=True)


def require_tint(table: NDArray[np.uint16]) -> None:
    """Refuse a table of colours that pictures are not tinted with: it must be one hue, from dark to bright.

    Args:
        table: (3, N) from 0 to 65535.

    Raises:
        PixelError: it is another one, so that the places in it are no gray levels.
    """
    colours = table.astype(np.int64)
    brightness = colours.max(axis=0)
    # colours of one hue are multiples of the brightest one
    if (
        brightness.size < 2
        or brightness[0] >= brightness[-1]
        or (np.diff(brightness) < 0).any()
        or np.abs(colours * brightness[-1] - brightness * colours[:, -1:]).max() > _ROUNDING * brightness[-1]
    ):
        raise PixelError(f"expected gray pixels, found places in a table of {table.shape[1]} colours, {_NOT_A_TINT}")
