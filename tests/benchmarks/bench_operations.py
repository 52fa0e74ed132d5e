"""How long operations on gray levels take, beside the plain kernel and nnU-Net's own augmentation, on one core.

    python tests/benchmarks/bench_operations.py [--recipes 200]        (about a minute)

One 700 x 700 uint8 image and its label. A turn makes one sample of everything: by the plain kernel (preset unet2015),
with each operation in every sample, by the presets as they are drawn, and, where batchgeneratorsv2 is installed (`make
peers`), by what nnU-Net v2's default trainer does with it: its transforms are those of
`nnUNetTrainer.get_training_transforms`, commit 017de4a, without deep supervision. Drawing a recipe counts. What is
compared are means over many recipes, as most samples of a preset get few operations; times are processor times.
"""

import argparse
import os
import statistics
import time
import warnings
from collections.abc import Callable
from itertools import count
from typing import Any

os.environ.update(  # libraries read this while they are loaded
    OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", NUMBA_NUM_THREADS="1"
)

import numpy as np

from augment import AugmentRanges, Recipe, Sample, Stream, draw_sample, prepare_slice, preset_ranges, render_prepared
from pipeline.source.phantom import make_phantom

SIDE = 700
OPERATIONS = {
    "shading": (0.1, 0.3),
    "blur": (0.5, 1.0),
    "noise": (0.0, 10.0),
    "low_resolution": (0.5, 1.0),
    "contrast": (0.75, 1.25),
    "gamma": (0.7, 1.5),
}
PLAIN, NNUNET = "unet2015, the plain kernel", "nnU-Net v2 by batchgeneratorsv2"
Pixels = np.ndarray[Any, Any]
Action = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", type=int, default=200, help="samples of each (200)")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    warnings.filterwarnings("ignore")
    images, labels = make_phantom((1, SIDE, SIDE))
    span = float(np.ptp(np.percentile(images, (1, 99))))
    ranges = {PLAIN: preset_ranges("unet2015")}
    ranges |= {f"unet2015 with {name}": AugmentRanges(**{name: how}) for name, how in OPERATIONS.items()}
    ranges |= {f"preset {name}": preset_ranges(name, gray_span=span) for name in ("nnunet2d", "fluorescence")}
    actions = {name: by_augpipe(images[0], labels[0], each) for name, each in ranges.items()}
    try:
        actions[NNUNET] = by_nnunet(images[0], labels[0])
    except ImportError:
        print("batchgeneratorsv2 is not installed")
    print_means(measure(actions, arguments.recipes))


def by_augpipe(image: Pixels, label: Pixels, ranges: AugmentRanges) -> Action:
    prepared, replicates = prepare_slice(image, label), count()
    out = Sample(np.empty_like(image), np.empty_like(label))
    return lambda: render_prepared(prepared, _draw(ranges, next(replicates)), out)


def _draw(ranges: AugmentRanges, replicate: int) -> Recipe:
    def stream_of(first: int) -> Stream:
        return Stream(0, (first, 0, 0, replicate))

    return draw_sample(ranges, stream_of, window=(SIDE, SIDE), slice_size=(SIDE, SIDE))


def by_nnunet(image: Pixels, label: Pixels) -> Action:
    """Return what makes a sample as nnU-Net's default trainer does of a patch of 700 x 700 px; z-scores in, as there.

    nnU-Net's loader hands over a larger patch, so that rotations show no edge; here the slice is as large as that.
    """
    import torch
    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
    from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
    from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
    from batchgeneratorsv2.transforms.utils.random import RandomTransform

    torch.set_num_threads(1)
    each = {"synchronize_channels": False}
    gamma = {"gamma": BGContrast((0.7, 1.5)), **each, "p_per_channel": 1, "p_retain_stats": 1}
    blur = GaussianBlurTransform((0.5, 1.0), **each, synchronize_axes=False, p_per_channel=0.5, benchmark=True)
    contrast = ContrastTransform(BGContrast((0.75, 1.25)), preserve_range=True, **each, p_per_channel=1)
    resolution = {"scale": (0.5, 1), **each, "synchronize_axes": True, "ignore_axes": None, "p_per_channel": 0.5}
    transform = ComposeTransforms(
        [
            SpatialTransform(
                image.shape,
                patch_center_dist_from_border=0,
                random_crop=False,
                p_elastic_deform=0,
                p_rotation=0.2,
                rotation=(-np.pi, np.pi),
                p_scaling=0.2,
                scaling=(0.7, 1.4),
                p_synchronize_scaling_across_axes=1,
                bg_style_seg_sampling=False,
            ),
            RandomTransform(GaussianNoiseTransform((0, 0.1), p_per_channel=1, synchronize_channels=True), 0.1),
            RandomTransform(blur, 0.2),
            RandomTransform(MultiplicativeBrightnessTransform(BGContrast((0.75, 1.25)), **each, p_per_channel=1), 0.15),
            RandomTransform(contrast, 0.15),
            RandomTransform(SimulateLowResolutionTransform(**resolution, allowed_channels=None), 0.25),
            RandomTransform(GammaTransform(**gamma, p_invert_image=1), 0.1),
            RandomTransform(GammaTransform(**gamma, p_invert_image=0), 0.3),
            MirrorTransform(allowed_axes=(0, 1)),
        ]
    )
    levels = torch.from_numpy(((image - image.mean()) / image.std()).astype(np.float32))[None]
    classes = torch.from_numpy(label.astype(np.int16))[None]
    return lambda: transform(image=levels.clone(), segmentation=classes.clone())  # what transforms change in place


def measure(actions: dict[str, Action], n_turns: int) -> dict[str, list[float]]:
    """Return the milliseconds of every sample; everything makes some before, as kernels are loaded then."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(-3, n_turns):
        for name, action in actions.items():
            start = time.process_time()
            action()
            if turn >= 0:
                times[name].append((time.process_time() - start) * 1e3)
    return times


def print_means(times: dict[str, list[float]]) -> None:
    plain = statistics.mean(times[PLAIN])
    print(f"{SIDE} x {SIDE} px, one core, means of {len(times[PLAIN])} samples")
    for name, each in times.items():
        mean = statistics.mean(each)
        print(f"  {name:36s} {mean:7.2f} ms   {mean / plain:6.2f} times the plain kernel")


if __name__ == "__main__":
    main()
