"""Stacks of several resolutions become one: images by area or linearly, labels by the nearest pixel; it is recorded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from small_worlds import OPTIONS, small_stack
from zarr_zoo import write_image

from pipeline.errors import ConfigError, SourceError
from pipeline.source.pages.formats import open_file
from pipeline.source.pixel_size import stored_pixel_nm
from pipeline.source.resampling import PixelSize, at_pixel_size
from pipeline.source.stacks import RawStack

IMAGES, LABELS = small_stack()


def resampled(images: NDArray[Any], labels: NDArray[Any], factor: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a stack of pixels of 4 nm with pixels `factor` times as wide."""
    (stack,), _ = at_pixel_size([RawStack(images, labels)], PixelSize(4 * factor, (4,)), ())
    found = np.stack(list(stack.images)), np.stack(list(stack.labels))
    assert (found[0].shape, found[1].shape) == (stack.images.shape, stack.labels.shape)
    assert (found[0].dtype, found[1].dtype) == (stack.images.dtype, stack.labels.dtype)
    return found


def test_twice_as_wide_is_the_mean_of_four() -> None:
    images, labels = resampled(IMAGES, LABELS, 2)
    blocks = IMAGES.reshape(12, 32, 2, 36, 2).astype(float)
    assert np.array_equal(images, np.floor(blocks.mean(axis=(2, 4)) + 0.5))
    assert np.array_equal(labels, LABELS[:, 1::2, 1::2])


def test_half_as_wide_lies_linearly_between() -> None:
    image = np.array([[[0, 40], [80, 120]]], np.float32)
    images, labels = resampled(image, np.array([[[1, 2], [3, 4]]], np.uint8), 0.5)
    assert np.array_equal(images[0, 0], [0, 10, 30, 40])
    assert np.array_equal(images[0, :, 0], [0, 20, 60, 80])
    assert np.array_equal(labels[0], [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]])


@pytest.mark.parametrize("factor", [0.3, 0.7, 1.5, 2.6, 7])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4", "f8", "?"])
def test_what_holds_for_any_factor(dtype: str, factor: float) -> None:
    """A flat picture stays flat, means stay the mean, nothing leaves the range, and labels lie on their objects."""
    flat = np.full((1, 37, 29), 1 if dtype == "?" else 100, dtype)
    images, labels = resampled(flat, np.ones((1, 37, 29), np.uint8), factor)
    assert np.allclose(images, 255 if dtype == "?" else 100, rtol=1e-14, atol=0)
    assert images.shape[1:] == (round(37 / factor), round(29 / factor))
    y, x = np.mgrid[:37, :29]
    ramp = np.asarray((y * 3 + x * 2) % 2 if dtype == "?" else y * 3 + x * 2, dtype)[None]
    images, labels = resampled(ramp, (y[None] > 18).astype(np.uint8), factor)
    if dtype != "?":
        assert ramp.min() <= images.min() <= images.max() <= ramp.max()
        assert abs(images.mean() - ramp.mean()) < 5
        assert abs(labels.mean() - (y > 18).mean()) < 0.1


def test_channels_are_resampled_one_by_one() -> None:
    pixels = np.stack([IMAGES, 255 - IMAGES], axis=-1)
    images, _ = resampled(pixels, LABELS, 1.7)
    for channel in range(2):
        assert np.array_equal(images[..., channel], resampled(pixels[..., channel], LABELS, 1.7)[0])


def test_what_has_the_size_stays_as_it_is() -> None:
    raw = RawStack(IMAGES, LABELS)
    (same,), reading = at_pixel_size([raw], PixelSize(4), [4.0])
    assert same is raw
    assert (reading.pixel_size_nm, reading.stack_pixel_sizes_nm) == (4, (4,))


@pytest.mark.parametrize(
    ("sizes", "stored", "words"),
    [
        ((), (None,), "does not say how large its pixels are; say it for all, with --pixel-size-of NM"),
        ((4, 4), (None,), "expected one for each of 1 stacks, in their order, got 2"),
        ((4000,), (None,), "pixels of 4000 nm, more than 32 times as large or small as 8 nm"),
    ],
)
def test_a_size_that_is_not_known_is_asked_for(sizes: tuple[float, ...], stored: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        at_pixel_size([RawStack(IMAGES, LABELS)], PixelSize(8, sizes), stored)


@pytest.mark.parametrize("side", [0, -1, float("nan"), float("inf")])
def test_a_size_is_a_positive_number(side: float) -> None:
    with pytest.raises(ConfigError, match="expected a positive number of nanometres"):
        PixelSize(side)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"imagej": True, "resolution": (250, 250), "metadata": {"unit": "um"}}, 4),
        ({"imagej": True, "resolution": (0.125, 0.125), "metadata": {"unit": "nm"}}, 8),
        ({"resolution": (1e6, 1e6), "resolutionunit": "CENTIMETER"}, 10),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        ({"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 0.05, "PhysicalSizeY": 0.05}}, 50),
        ({}, None),
    ],
)
def test_tiff_says_how_large_its_pixels_are(tmp_path: Path, options: dict[str, Any], expected: float | None) -> None:
    """What has so many dots an inch is for a screen or for paper, and says nothing."""
    tifffile.imwrite(tmp_path / "i.tif", IMAGES, photometric="minisblack", **options)
    assert stored_pixel_nm(open_file(tmp_path / "i.tif", labels=False)) == (expected and pytest.approx(expected))


def test_pixels_that_are_not_square_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "i.tif", IMAGES, imagej=True, resolution=(250, 100), metadata={"unit": "um"})
    with pytest.raises(SourceError, match="pixels of 4 and 10 nm; expected square ones of one size"):
        stored_pixel_nm(open_file(tmp_path / "i.tif", labels=False))


def test_hdf5_and_ome_zarr_say_how_large_their_pixels_are(tmp_path: Path) -> None:
    for name, value in (("resolution", (40, 4, 4)), ("element_size_um", (0.04, 0.004, 0.004))):
        with h5py.File(tmp_path / "i.h5", "w") as file:
            file["raw"] = IMAGES
            file["raw"].attrs[name] = value
        assert stored_pixel_nm(open_file(tmp_path / "i.h5", labels=False)) == 4
    place = write_image(tmp_path / "i.zarr", IMAGES, "zyx", (4, 32, 32), version=2)
    assert stored_pixel_nm(open_file(place, labels=False)) is None
    values = json.loads((place / ".zattrs").read_text())
    for axis in values["multiscales"][0]["axes"]:
        axis["unit"] = "nanometer"
    (place / ".zattrs").write_text(json.dumps(values))
    assert stored_pixel_nm(open_file(place, labels=False)) == 1


def test_a_resampled_dataset_goes_all_the_way(tmp_path: Path, augpipe: Callable[..., Any]) -> None:
    """Two stacks of 4 and 6 nm become 8 nm; the record says so, and is enough to verify and to rebuild."""
    files: list[object] = []
    for name, unit, images in (("a", 250, IMAGES), ("b", 1000 / 6, 255 - IMAGES)):
        options: dict[str, Any] = {
            "imagej": True,
            "resolution": (unit, unit),
            "metadata": {"unit": "um", "axes": "ZYX"},
        }
        tifffile.imwrite(tmp_path / f"{name}.tif", images, **options)
        tifffile.imwrite(tmp_path / f"{name}-l.tif", LABELS, photometric="minisblack")
        files += ["--images", tmp_path / f"{name}.tif", "--labels", tmp_path / f"{name}-l.tif"]
    out = tmp_path / "d"
    assert augpipe("build", *files, "--pixel-size-of", "4", "--out", out, *OPTIONS).code == 2
    assert augpipe("build", *files, "--pixel-size", "8", "--out", out, *OPTIONS).code == 0
    record = json.loads((out / "dataset.json").read_bytes())
    assert record["reading"]["pixel_size_nm"] == 8
    assert record["reading"]["stack_pixel_sizes_nm"] == pytest.approx([4, 6])
    assert [stack["images"]["shape"] for stack in record["inputs"]] == [[12, 32, 36], [12, 48, 54]]
    assert augpipe("verify", "--replay", out).code == 0
    assert augpipe("rebuild", out, "--out", tmp_path / "again").code == 0
    (tmp_path / "set.toml").write_text("pixel-size = 8\npixel-size-of = [4, 4]\n")
    same = augpipe("build", *files, "--config", tmp_path / "set.toml", "--out", tmp_path / "e", *OPTIONS)
    assert same.code == 0
    assert json.loads((tmp_path / "e" / "dataset.json").read_bytes())["inputs"][1]["images"]["shape"] == [12, 32, 36]
