"""The kinds of leak: what may have happened to a training picture before it lay among the test pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from leaks.rendering import (
    Gray,
    blurred,
    compressed,
    counted,
    elastic,
    equalised,
    noisy,
    resampled,
    shaded,
    shaken,
    sharpened,
    view,
    written_on,
)
from numpy.random import Generator

Layout = Literal["anywhere", "halves"]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What one leak is made from.

    Attributes:
        crop: a training picture, square.
        slice: the slice that it was cut from.
        corner_yx: where.
        foreign: a picture of other tissue, of the same size.
        rng: for what is drawn.
    """

    crop: Gray
    slice: Gray
    corner_yx: tuple[int, int]
    foreign: Gray
    rng: Generator

    @property
    def size(self) -> int:
        """Of the training picture's side, in pixels."""
        return self.crop.shape[0]

    def around(self, reach_px: float) -> tuple[float, float]:
        """Return a point, y and x, at most so far from the middle of the training picture in each direction."""
        y, x = (corner + (self.size - 1) / 2.0 for corner in self.corner_yx)
        return y + self.rng.uniform(-reach_px, reach_px), x + self.rng.uniform(-reach_px, reach_px)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of leak.

    Attributes:
        name: what was done, for the table.
        make: the leak.
        layout: how the training pictures lie: anywhere, or in the left half of each slice, so that overlaps are known.
        core: whether it is made of every tissue, not of the first alone.
    """

    name: str
    make: Callable[[Scene], Gray]
    layout: Layout = "anywhere"
    core: bool = False


def _turned(scene: Scene, *, sigma_px: float = 0.0, nodes: int = 4, zoom: float = 1.0, flip: bool = False) -> Gray:
    offsets = elastic(scene.size, nodes, sigma_px, scene.rng) if sigma_px else None
    angle = scene.rng.uniform(0.0, 360.0)
    centre = scene.around(30.0)
    return view(scene.slice, scene.size, centre, angle_deg=angle, zoom=zoom, mirrored=flip, offsets=offsets)


def _deformed(scene: Scene, sigma_px: float, nodes: int) -> Gray:
    return view(scene.slice, scene.size, scene.around(0.0), offsets=elastic(scene.size, nodes, sigma_px, scene.rng))


def _zoomed(scene: Scene, zoom: float) -> Gray:
    """Return the same place magnified; a reduced one is a smaller picture where the slice has no more to show."""
    size = min(scene.size, int(min(scene.slice.shape) * zoom))
    room = max(0.0, min(side - size / zoom for side in scene.slice.shape) / 2.0)
    if zoom > 1:
        return view(scene.slice, size, scene.around((scene.size - size / zoom) / 2.0), zoom=zoom)
    middle = [(side - 1) / 2.0 + scene.rng.uniform(-room, room) for side in scene.slice.shape]
    return view(scene.slice, size, (middle[0], middle[1]), zoom=zoom)


def _bent(scene: Scene, linear: tuple[tuple[float, float], tuple[float, float]]) -> Gray:
    return view(scene.slice, scene.size, scene.around(20.0), linear=np.array(linear))


def _beside(scene: Scene, share: float) -> Gray:
    """Return the picture further right on the slice, so that it shares so much with the training picture."""
    left = scene.corner_yx[1] + round(scene.size * (1.0 - share))
    top = scene.corner_yx[0]
    return scene.slice[top : top + scene.size, left : left + scene.size].copy()


def _half(scene: Scene) -> Gray:
    erased = np.rot90(scene.crop, int(scene.rng.integers(4))).copy()
    erased[:, : scene.size // 2] = erased.mean()
    return erased


def _holes(scene: Scene) -> Gray:
    """Return the picture with random rectangles erased, half of it in all at most."""
    erased = scene.crop.copy()
    for _ in range(6):
        height, width = scene.rng.integers(scene.size // 6, scene.size // 3, 2)
        top, left = scene.rng.integers(0, scene.size - height), scene.rng.integers(0, scene.size - width)
        erased[top : top + height, left : left + width] = scene.rng.uniform(0.0, 1.0)
    return erased


def _framed(scene: Scene) -> Gray:
    """Return the picture's middle in a black frame as wide as a fifth of its side."""
    frame = scene.size // 5
    framed = np.zeros_like(scene.crop)
    framed[frame:-frame, frame:-frame] = scene.crop[frame:-frame, frame:-frame]
    return framed


def _mosaic(scene: Scene) -> Gray:
    """Return four quarters, one of which is the training picture's."""
    half = scene.size // 2
    others = [np.rot90(scene.foreign, turn)[:half, :half] for turn in range(4)]
    top, left = scene.rng.integers(0, scene.size - half, 2)
    others[int(scene.rng.integers(4))] = scene.crop[top : top + half, left : left + half]
    return np.block([others[:2], others[2:]]).astype(np.float32)


def _patched(scene: Scene, share: float, sigma_px: float = 0.0) -> Gray:
    """Return a picture of other tissue with a square of the training picture in it, of so much of its area."""
    own = _turned(scene, sigma_px=sigma_px) if sigma_px else scene.crop
    side = round(scene.size * share**0.5)
    (top, left), (y, x) = scene.rng.integers(0, scene.size - side, (2, 2))
    patched = scene.foreign.copy()
    patched[y : y + side, x : x + side] = own[top : top + side, left : left + side]
    return patched


def _cut(scene: Scene, side: int) -> Gray:
    top, left = scene.rng.integers(0, scene.size - side, 2)
    return scene.crop[top : top + side, left : left + side].copy()


def _strong(scene: Scene) -> Gray:
    """Return all that a strong augmentation does: mirror, turn, zoom 0.8, elastic, gamma, noise, JPEG."""
    seen = _turned(scene, sigma_px=9.0, zoom=0.8, flip=True) ** np.float32(1.6)
    return compressed(noisy(seen, 0.06, scene.rng), 40)


KINDS = (
    Kind("the same pixels", lambda scene: scene.crop, core=True),
    Kind("turned by any angle, shifted", _turned, core=True),
    Kind("mirrored", lambda scene: scene.crop[:, ::-1].copy(), core=True),
    Kind("turned, shifted, elastic 9 px on 4 x 4", partial(_turned, sigma_px=9.0), core=True),
    Kind("reduced to 0.25", partial(_zoomed, zoom=0.25)),
    Kind("reduced to 0.5", partial(_zoomed, zoom=0.5), core=True),
    Kind("reduced to 0.7", partial(_zoomed, zoom=0.7)),
    Kind("magnified 1.5 times", partial(_zoomed, zoom=1.5)),
    Kind("magnified 2 times", partial(_zoomed, zoom=2.0), core=True),
    Kind("magnified 3 times", partial(_zoomed, zoom=3.0)),
    Kind("magnified 4 times", partial(_zoomed, zoom=4.0)),
    Kind("stretched 1.3 along one axis", partial(_bent, linear=((1 / 1.3, 0.0), (0.0, 1.0)))),
    Kind("sheared by 0.25", partial(_bent, linear=((1.0, 0.25), (0.0, 1.0)))),
    Kind("elastic 20 px on 3 x 3", partial(_deformed, sigma_px=20.0, nodes=3), core=True),
    Kind("elastic 15 px on 5 x 5", partial(_deformed, sigma_px=15.0, nodes=5)),
    Kind("elastic 8 px on 8 x 8", partial(_deformed, sigma_px=8.0, nodes=8)),
    Kind("elastic 10 px on 8 x 8", partial(_deformed, sigma_px=10.0, nodes=8)),
    Kind("resampled by 2, down and up", lambda scene: resampled(scene.crop, 2)),
    Kind("gray levels inverted", lambda scene: 1.0 - scene.crop, core=True),
    Kind("gamma 0.4", lambda scene: scene.crop ** np.float32(0.4), core=True),
    Kind("contrast 0.3", lambda scene: scene.crop.mean() + np.float32(0.3) * (scene.crop - scene.crop.mean())),
    Kind("histogram equalised", lambda scene: equalised(scene.crop), core=True),
    Kind("noise, 15 % of the range", lambda scene: noisy(scene.crop, 0.15, scene.rng), core=True),
    Kind("photon noise, 20 at most", lambda scene: counted(scene.crop, 20.0, scene.rng)),
    Kind("JPEG, quality 15", lambda scene: compressed(scene.crop, 15), core=True),
    Kind("blurred, 2 px", lambda scene: blurred(scene.crop, 2.0), core=True),
    Kind("motion blur, 11 px", lambda scene: shaken(scene.crop, 11, scene.rng.uniform(0.0, 180.0))),
    Kind("sharpened", lambda scene: sharpened(scene.crop)),
    Kind("shaded, 0.3 to 1.6", lambda scene: shaded(scene.crop, scene.rng)),
    Kind("16 bits, darker", lambda scene: scene.crop, core=True),
    Kind("overlap of 50 %", partial(_beside, share=0.5), layout="halves"),
    Kind("overlap of 25 %", partial(_beside, share=0.25), layout="halves", core=True),
    Kind("overlap of 12 %", partial(_beside, share=0.12), layout="halves"),
    Kind("half erased, turned by quarters", _half),
    Kind("six rectangles erased", _holes),
    Kind("in a black frame", _framed),
    Kind("text, scale bar and arrow on it", lambda scene: written_on(scene.crop, "Fig. 2b")),
    Kind("mosaic of four, one leaked", _mosaic, core=True),
    Kind("patch of 25 % (cutmix)", partial(_patched, share=0.25)),
    Kind("patch of 10 % (cutmix)", partial(_patched, share=0.10), core=True),
    Kind("patch of 10 %, turned, elastic 9 px", partial(_patched, share=0.10, sigma_px=9.0)),
    Kind("mixup with other tissue, half and half", lambda scene: (scene.crop + scene.foreign) / np.float32(2.0)),
    Kind("crop of 96 px", partial(_cut, side=96)),
    Kind("crop of 64 px", partial(_cut, side=64)),
    Kind("turned; gamma 0.5; noise 8 %", lambda scene: noisy(_turned(scene) ** np.float32(0.5), 0.08, scene.rng)),
    Kind("turned; JPEG, quality 25", lambda scene: compressed(_turned(scene), 25)),
    Kind("turned, mirrored, inverted", lambda scene: 1.0 - _turned(scene, flip=True)),
    Kind("strong: all of these at once", _strong, core=True),
)
DEEPENED = "16 bits, darker"  # the one that is stored in another number of bits


def slug(name: str) -> str:
    """Return a name as part of a file's name."""
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())
