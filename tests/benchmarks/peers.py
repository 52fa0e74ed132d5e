"""The same augmentation by augpipe and by other libraries, each in its best setting.

The job: a uint8 image and its label, as large as the sample; one rotation by any angle and one elastic deformation of
10 px standard deviation from 3 x 3 control points, or what the library has nearest to that; the image cubic, the label
nearest, the edge mirrored. Everyone but cv2.remap draws angle and field anew for every sample. What does not depend
on them is done once, before: the slice's spline coefficients (augpipe, scipy, elasticdeform), tensors of float32
(PyTorch). What a library returns is left as it is, float32 included.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import cv2
import numpy as np
import scipy.ndimage

from augment import AugmentRanges, Recipe, Stream, draw_recipe, prepare_slice, render_prepared
from augment.coordinates import displacement, slice_coordinates, window_offsets

SIGMA_PX = 10.0
CUBIC = {"interpolation": cv2.INTER_CUBIC, "mask_interpolation": cv2.INTER_NEAREST, "border_mode": cv2.BORDER_REFLECT}
Pixels = np.ndarray[Any, Any]
Action = Callable[[], Any]  # makes one sample: its image and its label


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to do the job.

    Attributes:
        name: as the table shows it.
        package: whose version counts, as pip knows it.
        make: image and label in, what makes one sample of them out.
        differs: what it does otherwise than the job says.
    """

    name: str
    package: str
    make: Callable[[Pixels, Pixels], Action]
    differs: str


def by_augpipe(image: Pixels, label: Pixels) -> Action:
    prepared, recipes = prepare_slice(image, label), count()
    return lambda: render_prepared(prepared, _draw(image, next(recipes)))


def by_augpipe_once(image: Pixels, label: Pixels) -> Action:
    recipes = count()
    return lambda: render_prepared(prepare_slice(image, label), _draw(image, next(recipes)))


def _draw(image: Pixels, replicate: int) -> Recipe:
    ranges = AugmentRanges(sigma_px=SIGMA_PX)
    return draw_recipe(ranges, Stream(0, (0, 0, 0, replicate)), window=image.shape, slice_size=image.shape)


def by_remap(image: Pixels, label: Pixels) -> Action:
    recipe = _draw(image, 0)
    offsets = window_offsets(image.shape) + displacement(recipe)
    map_y, map_x = slice_coordinates(offsets, recipe, image.shape).astype(np.float32)
    return lambda: [
        cv2.remap(pixels, map_x, map_y, interpolation, borderMode=cv2.BORDER_REFLECT)
        for pixels, interpolation in ((image, cv2.INTER_CUBIC), (label, cv2.INTER_NEAREST))
    ]


def by_scipy(image: Pixels, label: Pixels) -> Action:
    rng, side = np.random.default_rng(0), len(image)
    coefficients = scipy.ndimage.spline_filter(image, 3, np.float32, "reflect")
    centred = np.arange(side) - (side - 1) / 2

    def sample() -> Any:
        grids = rng.normal(0, SIGMA_PX, (2, 3, 3))
        down, right = (scipy.ndimage.zoom(grid, side / 3, np.float32, mode="mirror") for grid in grids)
        y, x, angle = centred[:, None] + down, centred + right, rng.uniform(0, 2 * math.pi)
        cosine, sine = math.cos(angle), math.sin(angle)
        at = np.stack((cosine * y + sine * x, cosine * x - sine * y)) + (side - 1) / 2
        return (
            scipy.ndimage.map_coordinates(coefficients, at, np.float32, mode="reflect", prefilter=False),
            scipy.ndimage.map_coordinates(label, at, order=0, mode="reflect"),
        )

    return sample


def by_elasticdeform(image: Pixels, label: Pixels) -> Action:
    import elasticdeform

    rng = np.random.default_rng(0)
    slices, how = [scipy.ndimage.spline_filter(image, 3, np.float32), label], {"order": [3, 0], "mode": "mirror"}
    return lambda: elasticdeform.deform_grid(
        slices, rng.normal(0, SIGMA_PX, (2, 3, 3)), **how, prefilter=False, rotate=rng.uniform(0, 360)
    )


def by_thin_plate(image: Pixels, label: Pixels) -> Action:
    import albumentations

    scale = 10 * SIGMA_PX / len(image)  # it draws with a tenth of that, in sides of the image
    plate = albumentations.ThinPlateSpline(num_control_points=3, scale_range=(scale, scale), p=1, **CUBIC)
    return _albumentations(plate, image, label)


def by_elastic_transform(image: Pixels, label: Pixels) -> Action:
    import albumentations

    blur_px = len(image) / 14  # 50 px, its own default, at 700
    alpha = SIGMA_PX * 5 * 2 * math.sqrt(math.pi) * blur_px  # noise of at most 1, about 5 s.d., blurred
    return _albumentations(albumentations.ElasticTransform(alpha=alpha, sigma=blur_px, p=1, **CUBIC), image, label)


def _albumentations(elastic: Any, image: Pixels, label: Pixels) -> Action:
    import albumentations

    both = albumentations.Compose([albumentations.Affine(rotate=(0, 360), p=1, **CUBIC), elastic], seed=0)

    def sample() -> Any:
        made = both(image=image, mask=label)
        return made["image"], made["mask"]

    return sample


def by_batchgenerators(image: Pixels, label: Pixels) -> Action:
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform

    tensors = dict(zip(("image", "segmentation"), _tensors(image, label, "int16"), strict=True))
    transform = SpatialTransform(
        image.shape,
        patch_center_dist_from_border=0,
        random_crop=False,
        p_elastic_deform=1,
        elastic_deform_scale=0.25,
        elastic_deform_magnitude=2 * SIGMA_PX,  # the largest displacement
        p_rotation=1,
        mode_image="bicubic",
        mode_seg="nearest",
        padding_mode_image="reflection",
        border_mode_seg="reflection",
    )

    def sample() -> Any:
        made = transform(**tensors)
        return made["image"], made["segmentation"]

    return sample


def by_monai(image: Pixels, label: Pixels) -> Action:
    import monai

    monai.data.set_track_meta(False)
    tensors = dict(zip(("image", "label"), _tensors(image, label), strict=True))
    transform = monai.transforms.Rand2DElasticd(
        ("image", "label"),
        spacing=(len(image) / 4,) * 2,
        magnitude_range=(SIGMA_PX, SIGMA_PX),
        prob=1,
        rotate_range=math.pi,
        mode=("bicubic", "nearest"),
        padding_mode="reflection",
    )
    transform.rand_2d_elastic.resampler.dtype = np.float32  # by default float64

    def sample() -> Any:
        made = transform(tensors)
        return made["image"], made["label"]

    return sample


def by_torchio(image: Pixels, label: Pixels) -> Action:
    import SimpleITK
    import torchio

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    image_tensor, label_tensor = (tensor[..., None] for tensor in _tensors(image, label))
    transform = torchio.RandomAffineElasticDeformation(
        affine_kwargs={"scales": 0, "degrees": (0, 0, 0, 0, 0, 360), "image_interpolation": "bspline"},
        elastic_kwargs={  # 5 spline coefficients are 3 control points; 35 px uniform are 10 px s.d. when interpolated
            "num_control_points": (5, 5, 4),
            "max_displacement": (3.5 * SIGMA_PX, 3.5 * SIGMA_PX, 0),
            "locked_borders": 0,
            "image_interpolation": "bspline",
        },
    )

    def sample() -> Any:
        images = torchio.ScalarImage(tensor=image_tensor), torchio.LabelMap(tensor=label_tensor)
        made = transform(torchio.Subject(image=images[0], label=images[1]))
        return made["image"].data, made["label"].data

    return sample


def by_kornia(image: Pixels, label: Pixels) -> Action:
    from kornia import augmentation

    how = {"resample": "bicubic", "padding_mode": "reflection", "p": 1.0}
    blur_px = len(image) / 14
    size = 2 * round(3 * blur_px) + 1
    elastic = augmentation.RandomElasticTransform((size, size), (blur_px, blur_px), alpha=(8.8, 8.8), **how)
    both = augmentation.AugmentationSequential(
        augmentation.RandomAffine(degrees=(0.0, 360.0), **how), elastic, data_keys=["input", "mask"]
    )
    tensors = [tensor[None] for tensor in _tensors(image, label)]
    return lambda: both(*tensors)


def by_kornia_remap(image: Pixels, label: Pixels) -> Action:
    import torch
    from kornia.geometry.transform import remap

    side, tensors = len(image), [tensor[None] for tensor in _tensors(image, label)]
    centred = torch.arange(side) - (side - 1) / 2

    def sample() -> Any:
        grid = torch.randn(1, 2, 3, 3) * SIGMA_PX
        down, right = torch.nn.functional.interpolate(grid, (side, side), mode="bicubic", align_corners=True)[0]
        y, x, angle = centred[:, None] + down, centred + right, torch.rand(()) * 2 * math.pi
        map_y = (torch.cos(angle) * y + torch.sin(angle) * x + (side - 1) / 2)[None]
        map_x = (torch.cos(angle) * x - torch.sin(angle) * y + (side - 1) / 2)[None]
        how = {"padding_mode": "reflection", "align_corners": True}
        return [remap(t, map_x, map_y, mode, **how) for t, mode in zip(tensors, ("bicubic", "nearest"), strict=True)]

    return sample


def _tensors(image: Pixels, label: Pixels, label_dtype: str = "float32") -> Any:
    import torch

    torch.set_num_threads(1)
    return torch.from_numpy(image.astype(np.float32))[None], torch.from_numpy(label.astype(label_dtype))[None]


OURS = Peer(
    "augpipe", "augpipe", by_augpipe, "uint8 in and out, computed in float32; resampled once; an exact B-spline"
)
PEERS = (
    Peer("augpipe, nothing prepared", "augpipe", by_augpipe_once, "the slice's coefficients anew for every sample"),
    Peer(
        "cv2.remap on ready-made maps",
        "opencv-python-headless",
        by_remap,
        "the yardstick: nothing drawn, no field, no coordinates; a fixed cubic kernel in steps of 1/32 px",
    ),
    Peer(
        "kornia remap",
        "kornia",
        by_kornia_remap,
        "field and coordinates by hand, in PyTorch; resampled once; bicubic, float32",
    ),
    Peer(
        "kornia RandomAffine, RandomElasticTransform",
        "kornia",
        by_kornia,
        "resampled twice; blurred noise of full size, on a grain of 50 px at 700; bicubic, float32",
    ),
    Peer(
        "batchgeneratorsv2 SpatialTransform",
        "batchgeneratorsv2",
        by_batchgenerators,
        "resampled once; noise of full size, blurred by FFT, scaled to 20 px at most; bicubic, float32",
    ),
    Peer(
        "albumentations Affine, ThinPlateSpline",
        "albumentations",
        by_thin_plate,
        "resampled twice, by OpenCV; a thin plate through 3 x 3 points",
    ),
    Peer(
        "albumentations Affine, ElasticTransform",
        "albumentations",
        by_elastic_transform,
        "resampled twice, by OpenCV; blurred noise of full size, on a grain of 50 px at 700, stronger at the edge",
    ),
    Peer(
        "MONAI Rand2DElasticd",
        "monai",
        by_monai,
        "resampled once; points a quarter of the side apart; at 700 it bends a picture by 8 px even at magnitude 0 "
        "(with points half the side apart by 17 px, and slower); bicubic, float32",
    ),
    Peer(
        "elasticdeform deform_grid",
        "elasticdeform",
        by_elasticdeform,
        "the same field; resampled once; an exact B-spline, in float64; returns float32",
    ),
    Peer(
        "scipy map_coordinates",
        "scipy",
        by_scipy,
        "field by zoom; resampled once; an exact B-spline, in float64; returns float32",
    ),
    Peer(
        "torchio RandomAffineElasticDeformation",
        "torchio",
        by_torchio,
        "a volume of depth 1, resampled once by SimpleITK: B-splines in three dimensions; the edge is constant, not "
        "mirrored; returns float32",
    ),
)
