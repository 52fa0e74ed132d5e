"""Folders of training and test pictures, as somebody would hand them to an audit, and what is true of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from leaks.kinds import DEEPENED, Kind, Layout, Scene, slug
from leaks.rendering import Gray
from leaks.tissues import Tissue
from numpy.random import Generator
from numpy.typing import NDArray

Pictures = dict[str, NDArray[Any]]  # by the names of their files


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """What is audited, and what an audit should say.

    Attributes:
        train: training pictures.
        test: test pictures; those that leak have names that begin with `leak`.
        source: (Z, Y, X), what all training pictures were cut from; None where there is no such stack.
        independent: whether its slices are fields of view.
    """

    train: Pictures
    test: Pictures
    source: NDArray[Any] | None = None
    independent: bool = False

    def write(self, folder: Path) -> None:
        """Write the folders `train` and `test`, one PNG a picture, and the source as `source.tif`."""
        for name, pictures in (("train", self.train), ("test", self.test)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for file, pixels in pictures.items():
                assert cv2.imwrite(str(folder / name / file), pixels)
        if self.source is not None:
            tifffile.imwrite(folder / "source.tif", self.source, photometric="minisblack", metadata={"axes": "ZYX"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a picture was cut: slice, top and left."""

    z: int
    top: int
    left: int


def leaking_world(
    tissue: Tissue, kinds: Sequence[Kind], *, size: int, n_train: int, n_leaks: int, n_honest: int, seed: int
) -> World:
    """Return a world in which training pictures' tissue is in the test pictures, by some kinds of leak.

    Honest test pictures, and what leaks are mixed with, come from elsewhere. The training pictures and each kind's
    leaks are the same whatever other kinds are asked for.

    Args:
        tissue: what they are cut from.
        kinds: the kinds, all of one layout.
        size: of the training pictures; half of a slice's side where they lie in its left half.
        n_train: training pictures.
        n_leaks: test pictures that leak, of each kind.
        n_honest: test pictures that do not, in all.
        seed: another one gives other pictures.
    """
    (layout,) = {kind.layout for kind in kinds}
    if layout == "halves":
        size = min(tissue.stack.shape[1:]) // 2
    places = list(_places(tissue.stack, size, n_train, layout, _generator(seed, layout)))
    train = [_cut(tissue.stack, place, size) for place in places]
    honest = cuts(tissue.elsewhere, size, n_honest, _generator(seed, "honest"))
    test = {f"honest-{number:02d}.png": pixels for number, pixels in enumerate(honest)}
    for kind in kinds:
        rng = _generator(seed, kind.name)
        for number, foreign in enumerate(cuts(tissue.elsewhere, size, n_leaks, rng)):
            place = places[number * len(places) // n_leaks]
            crop = tissue.gray(_cut(tissue.stack, place, size))
            slice_ = tissue.gray(tissue.stack[place.z])
            scene = Scene(crop, slice_, (place.top, place.left), tissue.gray(foreign), rng)
            test[leak_file(kind, number)] = _stored(tissue, kind, kind.make(scene))
    return World(named(train), test, tissue.stack, tissue.independent)


def leak_file(kind: Kind, number: int) -> str:
    """Return the name of the file of one leak."""
    return f"leak-{slug(kind.name)}-{number:02d}.png"


def _generator(seed: int, word: str) -> Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=tuple(word.encode())))


def _places(stack: NDArray[Any], size: int, n: int, layout: Layout, rng: Generator) -> Iterator[Place]:
    _, height, width = stack.shape
    slices = range(0, len(stack), 1 if len(stack) < 10 else 2)
    for number in range(n):
        z = slices[number % len(slices)]
        top, left = int(rng.integers(0, height - size + 1)), int(rng.integers(0, width - size + 1))
        yield Place(z, top, 0 if layout == "halves" else left)


def _cut(stack: NDArray[Any], place: Place, size: int) -> NDArray[Any]:
    return stack[place.z, place.top : place.top + size, place.left : place.left + size].copy()


def _stored(tissue: Tissue, kind: Kind, picture: Gray) -> NDArray[Any]:
    if kind.name != DEEPENED:
        return tissue.stored(picture)
    return np.rint(1000.0 + 20_000.0 * picture).astype(np.uint16)


def cuts(stack: NDArray[Any], size: int, n: int, rng: Generator) -> list[NDArray[Any]]:
    """Return n square pictures from anywhere in a stack, slice after slice."""
    _, height, width = stack.shape
    tops, lefts = rng.integers(0, height - size + 1, n), rng.integers(0, width - size + 1, n)
    return [_cut(stack, Place(k % len(stack), tops[k], lefts[k]), size) for k in range(n)]


def named(pictures: Sequence[NDArray[Any]], word: str = "picture") -> Pictures:
    """Return pictures with names of files."""
    return {f"{word}-{number:04d}.png": pixels for number, pixels in enumerate(pictures)}
