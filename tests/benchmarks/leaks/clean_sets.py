"""Sets of pictures that do not leak: honest splits, and pictures that share what is not tissue."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import cv2
import numpy as np
from leaks.rendering import Gray, elastic, noisy, view, with_data_bar, written_on
from leaks.tissues import Tissue
from leaks.worlds import World, cuts, named
from numpy.random import Generator
from numpy.typing import NDArray

GUARD = 12  # slices at either end of a stack from which training and test pictures come: six lie between them
N_TRAIN, N_TEST = 40, 20

Group = Literal["tissue", "furniture", "pattern"]
Change = Callable[[Gray, int, Generator], Gray]  # of a picture and its number


@dataclass(frozen=True, slots=True)
class CleanSet:
    """Pictures of two splits that share no tissue.

    Attributes:
        name: what they are, for the table.
        group: honest tissue; tissue in furniture that all pictures share; or patterns without any tissue.
        make: the set, from a generator.
        size_px: of the pictures.
        tissue: the tissue's name; empty for patterns.
        with_source: whether it is audited with the source, too.
    """

    name: str
    group: Group
    make: Callable[[Generator], World]
    size_px: int
    tissue: str = ""
    with_source: bool = False

    def world(self) -> World:
        """Return the pictures, the same each time."""
        return self.make(np.random.default_rng(np.random.SeedSequence(0, spawn_key=tuple(self.name.encode()))))


def _far_apart(tissue: Tissue, size: int, rng: Generator, change: Change | None = None) -> World:
    """Return pictures of the first and of the last slices of one stack."""
    first, last = cuts(tissue.stack[:GUARD], size, N_TRAIN, rng), cuts(tissue.stack[-GUARD:], size, N_TEST, rng)
    return World(*_changed(tissue, first, last, change, rng), tissue.stack, tissue.independent)


def _elsewhere(tissue: Tissue, size: int, rng: Generator, change: Change | None = None) -> World:
    """Return pictures of two stacks, or of two halves of all fields of view."""
    own, other = cuts(tissue.stack, size, N_TRAIN, rng), cuts(tissue.elsewhere, size, N_TEST, rng)
    return World(*_changed(tissue, own, other, change, rng), tissue.stack, tissue.independent)


def _changed(
    tissue: Tissue, train: Sequence[NDArray[Any]], test: Sequence[NDArray[Any]], change: Change | None, rng: Generator
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    if change is None:
        return named(train), named(test)
    both = [tissue.stored(change(tissue.gray(each), k, rng)) for k, each in enumerate([*train, *test])]
    return named(both[: len(train)]), named(both[len(train) :])


def augmented(picture: Gray, _: int, rng: Generator) -> Gray:
    """Return a picture turned, mirrored at random, deformed, with another gamma and some noise."""
    size, centre = len(picture), ((len(picture) - 1) / 2.0,) * 2
    flip, angle = bool(rng.integers(2)), rng.uniform(0.0, 360.0)
    seen = view(picture, size, centre, angle_deg=angle, mirrored=flip, offsets=elastic(size, 4, 9.0, rng))
    return noisy(seen ** np.float32(rng.uniform(0.7, 1.4)), 0.04, rng)


def barred(picture: Gray, number: int, _: Generator) -> Gray:
    """Return a picture with a data bar."""
    return with_data_bar(picture, number)


def labelled(picture: Gray, number: int, _: Generator) -> Gray:
    """Return a picture with text, a scale bar and an arrow."""
    return written_on(picture, f"Fig. {number % 9 + 1}a  control")


def dusty(picture: Gray, *_: Any) -> Gray:
    """Return a picture as a lens with dust and a vignette shows it: the same in all pictures."""
    dust = np.random.default_rng(5)  # the same lens, whatever is drawn for the pictures
    size = len(picture)
    y, x = np.mgrid[-1 : 1 : 1j * size, -1 : 1 : 1j * size]
    lens = (1.0 - 0.35 * (x * x + y * y)).astype(np.float32)
    for top, left, radius in zip(*dust.integers(0, size, (2, 12)), dust.integers(2, 9, 12), strict=True):
        cv2.circle(lens, (int(left), int(top)), int(radius), 0.45, 1 + int(radius) // 4, cv2.LINE_AA)
    return np.clip(picture * lens, 0.0, 1.0)


def lattice(size: int, pitch_px: float, rng: Generator, *, turn_deg: float | None = None) -> NDArray[np.uint8]:
    """Return a crystal's lattice with noise: the same crystal at another place, and turned at random if not told."""
    angle = np.radians(rng.uniform(0.0, 360.0) if turn_deg is None else turn_deg)
    y, x = np.mgrid[:size, :size].astype(np.float64)
    total = np.zeros((size, size))
    for arm in range(3):
        at = angle + arm * np.pi / 3.0
        total += np.cos(2.0 * np.pi * (np.cos(at) * x + np.sin(at) * y) / pitch_px + rng.uniform(0.0, 2.0 * np.pi))
    picture = 0.5 + 0.13 * total + rng.normal(0.0, 0.05, total.shape)
    return np.rint(255.0 * np.clip(picture, 0.0, 1.0)).astype(np.uint8)


def checkerboard(size: int, pitch_px: int, rng: Generator) -> NDArray[np.uint8]:
    """Return a checkerboard that begins anywhere, with noise."""
    y, x = np.mgrid[:size, :size] + rng.integers(0, 2 * pitch_px, 2)[:, None, None]
    board = 70.0 + 110.0 * ((y // pitch_px + x // pitch_px) % 2) + rng.normal(0.0, 6.0, (size, size))
    return np.rint(np.clip(board, 0.0, 255.0)).astype(np.uint8)


def grating(size: int, rng: Generator) -> NDArray[np.uint8]:
    """Return pores in straight rows, each a little off its place, as in a filter or a diatom."""
    picture = np.full((size, size), 190, np.uint8)
    phase = rng.integers(0, 24, 2)
    for top in range(int(phase[0]) - 24, size + 24, 24):
        for left in range(int(phase[1]) - 24, size + 24, 24):
            off = rng.normal(0.0, 0.7, 2)
            cv2.circle(picture, (round(left + off[0]), round(top + off[1])), 7, 60, -1, cv2.LINE_AA)
    return np.rint(np.clip(picture + rng.normal(0.0, 6.0, picture.shape), 0.0, 255.0)).astype(np.uint8)


def cells_on_blank(size: int, rng: Generator) -> NDArray[np.uint8]:
    """Return a few cells on a background that is the same in all pictures, its fixed pattern included."""
    fixed = np.random.default_rng(7).normal(0.0, 3.0, (size, size)).astype(np.float32)
    picture = 120.0 + cv2.GaussianBlur(fixed, (0, 0), 1.5) * 3.0
    y, x = np.mgrid[:size, :size]
    for _ in range(int(rng.integers(2, 6))):
        (top, left), (a, b), turn = rng.uniform(0, size, 2), rng.uniform(9, 22, 2), rng.uniform(0.0, np.pi)
        along = (np.cos(turn) * (x - left) + np.sin(turn) * (y - top)) / a
        across = (np.cos(turn) * (y - top) - np.sin(turn) * (x - left)) / b
        picture += rng.uniform(20.0, 80.0) * np.exp(-((along**2 + across**2) ** 2))
    return np.rint(np.clip(picture + rng.normal(0.0, 2.0, picture.shape), 0.0, 255.0)).astype(np.uint8)


def _pattern(draw: Callable[[Generator], NDArray[np.uint8]], rng: Generator) -> World:
    pictures = [draw(rng) for _ in range(N_TRAIN + N_TEST)]
    return World(named(pictures[:N_TRAIN]), named(pictures[N_TRAIN:]))


def _patterns() -> Iterator[CleanSet]:
    draws: list[tuple[str, int, Callable[[Generator], NDArray[np.uint8]]]] = [
        ("lattice of 12 px, at any turn", 256, partial(lattice, 256, 12.0)),
        ("lattice of 12 px, all upright", 256, partial(lattice, 256, 12.0, turn_deg=0.0)),
        ("lattice of 23 px, at any turn", 384, partial(lattice, 384, 23.0)),
        ("checkerboard of 16 px", 256, partial(checkerboard, 256, 16)),
        ("rows of pores", 256, partial(grating, 256)),
        ("few cells on one background", 256, partial(cells_on_blank, 256)),
    ]
    for name, size, draw in draws:
        yield CleanSet(f"{name}, {size} px", "pattern", partial(_pattern, draw), size)


PATTERNS = tuple(_patterns())
SOURCED_PX = (256,)  # sizes that are audited with the source, too


def clean_sets(tissue: Tissue) -> Iterator[CleanSet]:
    """Yield the clean sets of one tissue: honest splits of several sizes, augmented ones, and furniture."""
    largest = min(tissue.stack.shape[1:])
    splits: list[tuple[str, Callable[..., World]]] = [("another place", _elsewhere)]
    if not tissue.independent:
        splits.append(("far slices", _far_apart))
    sizes = sorted({size for size in (64, 96, 128, 256, 384, largest) if size <= largest})
    for word, make in splits:
        for size in sizes:
            sourced = size in SOURCED_PX and make is splits[-1][1]
            name = f"{tissue.name}, {word}, {size} px"
            yield CleanSet(name, "tissue", partial(make, tissue, size), size, tissue.name, with_source=sourced)
    changes: list[tuple[str, Group, Change]] = [
        ("augmented", "tissue", augmented),
        ("data bar on all", "furniture", barred),
        ("text and scale bar on all", "furniture", labelled),
        ("dust and vignette on all", "furniture", dusty),
    ]
    size = min(384, largest)
    for word, group, change in changes:
        name = f"{tissue.name}, {word}, {size} px"
        yield CleanSet(name, group, partial(_elsewhere, tissue, size, change=change), size, tissue.name)
