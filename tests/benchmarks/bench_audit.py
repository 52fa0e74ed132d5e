"""Does the audit know every crop, and no stranger? `python tests/benchmarks/bench_audit.py [FOLDER]`

Crops of a stack at any angle, deformed, mirrored, with gain 0.7 to 1.3 and noise of 10 gray levels, must be found in
their own slice; crops of tissue that is not in the stack, in none. Prints the histogram of agreeing features of both.
FOLDER may hold ISBI 2012's train-volume.tif and test-volume.tif; without it, two phantoms are compared.
"""

import argparse
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.draw import draw_recipe
from augment.ranges import AugmentRanges
from augment.renderer import render
from augment.seeding import Stream
from pipeline.audit.samples.audited_samples import start_workers
from pipeline.audit.search.slice_identification import Identification, SliceIdentifier
from pipeline.plan.split import SliceAddress
from pipeline.shards.progress import SilentProgress
from pipeline.source.pages.folder import PageFolder
from pipeline.source.phantom import make_phantom
from pipeline.source.stacks import Slices
from pipeline.source.tiff import read_stack

RANGES = AugmentRanges(flip=True, gain=(0.7, 1.3))
NOISE = 10.0 / 255.0  # of the stack's gray levels
BINS = (0, 2, 4, 6, 10, 15, 20, 30, 40, 60, 80, 100, 150, 10**6)


def crop(stack: Slices, number: int, window: tuple[int, int]) -> tuple[NDArray[Any], int]:
    """Return one crop, and the slice that it is of."""
    z = number % len(stack)
    image = stack[z]
    recipe = draw_recipe(RANGES, Stream(11, (number,)), window=window, slice_size=image.shape)
    sample = render(image, np.zeros(image.shape, np.uint8), recipe).image
    span = float(image.max()) - float(image.min())
    noise = np.random.default_rng(number).normal(0.0, NOISE * span, window)
    limits = np.iinfo(sample.dtype)
    return np.clip(np.rint(sample + noise), limits.min, limits.max).astype(sample.dtype), z


def identify(
    slices: SliceIdentifier, stack: Slices, window: tuple[int, int], number: int
) -> tuple[Identification, int]:
    """Return what one crop shows, and the slice that it is of."""
    image, z = crop(stack, number, window)
    return slices.identify(image), z


def histogram(seen: list[Identification]) -> str:
    """Return how many crops have so many agreeing features."""
    counts = Counter(int(np.searchsorted(BINS, each.inliers, side="right")) - 1 for each in seen)
    return ", ".join(f"{BINS[k]}+: {counts[k]}" for k in sorted(counts))


def report(
    name: str, own: Slices, strangers: Slices, window: tuple[int, int], *, independent: bool, n: int, m: int
) -> None:
    """Print how many crops were found right, and how many strangers were found at all."""
    with start_workers(-1, SilentProgress()) as workers:
        slices = SliceIdentifier([own], None, independent=independent, gap=3)
        workers.map("learning", slices.learn, slices.addresses)
        start = time.perf_counter()
        known = workers.map("crops", partial(identify, slices, own, window), range(n))
        seconds = time.perf_counter() - start
        strange = [each for each, _ in workers.map("strangers", partial(identify, slices, strangers, window), range(m))]
    right = sum(each.found == SliceAddress(0, z) for each, z in known)
    print(
        f"{name}: right slice {right} of {n}; strangers found {sum(each.found is not None for each in strange)} of {m}"
    )
    print(f"  crops      {histogram([each for each, _ in known])}")
    print(f"  strangers  {histogram(strange)}")
    ncc = [each.ncc for each, z in known if each.found]
    beside = [each.ncc_neighbour for each, _ in known if each.ncc_neighbour is not None]
    print(f"  lowest NCC of the right slice {min(ncc):.2f}, highest of a neighbour {max(beside, default=0.0):.2f}")
    print(f"  {1e3 * seconds / n:.0f} ms a crop with all threads, cropping included")


def main() -> None:
    """Print it for the phantom, and for the stacks that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="with train-volume.tif and test-volume.tif")
    parser.add_argument("--fields", type=Path, help="a folder of fields of view; every second one is a stranger")
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--strangers", type=int, default=300)
    arguments = parser.parse_args()
    n, m = arguments.n, arguments.strangers
    phantoms = [make_phantom((12, 512, 512), seed=seed)[0] for seed in (0, 1)]
    report("phantom", *phantoms, (700, 700), independent=False, n=n, m=m)
    if arguments.folder:
        own, strangers = (read_stack(arguments.folder / f"{name}-volume.tif") for name in ("train", "test"))
        report(str(arguments.folder), own, strangers, (700, 700), independent=False, n=n, m=m)
    if arguments.fields:
        fields = np.stack(list(PageFolder(arguments.fields)))
        report(str(arguments.fields), fields[::2], fields[1::2], (512, 512), independent=True, n=n, m=m)


if __name__ == "__main__":
    main()
