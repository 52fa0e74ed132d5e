"""Changes to a picture, from NumPy, SciPy and OpenCV alone: none of the code that is measured makes what it must find.

Pictures are (Y, X) float32, 0 black and 1 white. Everything random comes from the generator that is handed in.
"""

from typing import TypeAlias

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

Gray: TypeAlias = NDArray[np.float32]


def view(
    image: Gray,
    size: int,
    centre_yx: tuple[float, float],
    *,
    angle_deg: float = 0.0,
    zoom: float = 1.0,
    mirrored: bool = False,
    linear: NDArray[np.float64] | None = None,
    offsets: NDArray[np.float64] | None = None,
) -> Gray:
    """Return (size, size) of a picture as it looks turned, magnified and deformed; beyond its edges it is mirrored.

    Args:
        image: the picture.
        size: of what comes back, in pixels.
        centre_yx: what lies in the middle of it, in pixels of the picture.
        angle_deg: of the turn.
        zoom: magnification; below 1, the picture is smoothed before.
        mirrored: whether left and right are swapped.
        linear: (2, 2), one more linear map of (x, y), such as a shear.
        offsets: (2, size, size), how far each pixel is displaced in y and x, in pixels of what comes back.
    """
    y, x = np.mgrid[:size, :size] - (size - 1) / 2.0
    if offsets is not None:
        y, x = y + offsets[0], x + offsets[1]
    if mirrored:
        x = -x
    if linear is not None:
        x, y = linear[0, 0] * x + linear[0, 1] * y, linear[1, 0] * x + linear[1, 1] * y
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    map_x = (cos * x - sin * y) / zoom + centre_yx[1]
    map_y = (sin * x + cos * y) / zoom + centre_yx[0]
    if zoom < 1.0:
        image = blurred(image, 0.5 * float(np.sqrt(1.0 / zoom**2 - 1.0)))
    seen = cv2.remap(
        image, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.clip(seen, 0.0, 1.0)


def elastic(size: int, nodes: int, sigma_px: float, rng: Generator) -> NDArray[np.float64]:
    """Return (2, size, size): how far each pixel is displaced by a smooth field through nodes x nodes random points."""
    grid = rng.normal(0.0, sigma_px, (2, nodes, nodes))
    at = np.linspace(0.0, nodes - 1.0, size)
    where = np.stack(np.meshgrid(at, at, indexing="ij"))
    return np.stack([ndimage.map_coordinates(axis, where, order=3, mode="nearest") for axis in grid])


def blurred(image: Gray, sigma_px: float) -> Gray:
    """Return a picture, smoothed by a Gaussian."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), max(sigma_px, 0.01)), np.float32)


def sharpened(image: Gray) -> Gray:
    """Return a picture after a strong unsharp mask."""
    return np.clip(image + 2.0 * (image - blurred(image, 2.0)), 0.0, 1.0).astype(np.float32)


def shaken(image: Gray, length_px: int, angle_deg: float) -> Gray:
    """Return a picture, smeared along a line."""
    line = np.zeros((length_px, length_px), np.float32)
    line[length_px // 2] = 1.0
    middle = ((length_px - 1) / 2.0, (length_px - 1) / 2.0)
    line = cv2.warpAffine(line, cv2.getRotationMatrix2D(middle, angle_deg, 1.0), line.shape)
    return np.asarray(cv2.filter2D(image, -1, line / line.sum()), np.float32)


def resampled(image: Gray, factor: int) -> Gray:
    """Return a picture that was made smaller by a factor and then as large as before."""
    small = cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    return np.clip(cv2.resize(small, image.shape[::-1], interpolation=cv2.INTER_LINEAR), 0.0, 1.0)


def spread(image: Gray) -> Gray:
    """Return a picture whose darkest pixel is black and whose brightest is white."""
    return np.asarray((image - image.min()) / max(float(image.max() - image.min()), 1e-6), np.float32)


def to_bytes(image: Gray) -> NDArray[np.uint8]:
    """Return a picture in 8 bits, as it is."""
    return np.rint(255.0 * np.clip(image, 0.0, 1.0)).astype(np.uint8)


def equalised(image: Gray) -> Gray:
    """Return a picture all of whose gray levels are about equally frequent."""
    return np.asarray(cv2.equalizeHist(to_bytes(spread(image))), np.float32) / np.float32(255.0)


def compressed(image: Gray, quality: int) -> Gray:
    """Return a picture after JPEG, spread between black and white before."""
    done, stored = cv2.imencode(".jpg", to_bytes(spread(image)), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return np.asarray(cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE), np.float32) / np.float32(255.0)


def noisy(image: Gray, sigma: float, rng: Generator) -> Gray:
    """Return a picture with Gaussian noise of so much of its own range of gray levels."""
    low, high = np.percentile(image, (1, 99))
    return np.clip(image + rng.normal(0.0, sigma * (high - low), image.shape), 0.0, 1.0).astype(np.float32)


def counted(image: Gray, photons: float, rng: Generator) -> Gray:
    """Return a picture as a detector counts it that gets so many photons where it is brightest."""
    return np.clip(rng.poisson(spread(image) * photons) / photons, 0.0, 1.0).astype(np.float32)


def shaded(image: Gray, rng: Generator) -> Gray:
    """Return a picture in light that falls from 1.6 to 0.3 of what it was, in any direction."""
    y, x = np.mgrid[-1 : 1 : 1j * image.shape[0], -1 : 1 : 1j * image.shape[1]]
    turn = rng.uniform(0.0, 2.0 * np.pi)
    ramp = (np.cos(turn) * x + np.sin(turn) * y) / (abs(np.cos(turn)) + abs(np.sin(turn)))
    return np.clip(image * (0.95 + 0.65 * ramp), 0.0, 1.0).astype(np.float32)


def written_on(image: Gray, text: str) -> Gray:
    """Return a picture with a line of text, a scale bar and an arrow burnt in."""
    side = image.shape[0]
    ink, thick = np.zeros(image.shape, np.uint8), max(1, side // 130)
    _write(ink, text, (side // 20, side // 9), side / 480, thick)
    cv2.rectangle(ink, (side * 13 // 20, side * 18 // 20), (side * 19 // 20, side * 18 // 20 + 2 * thick), 255, -1)
    _write(ink, "200 nm", (side * 7 // 10, side * 17 // 20), side / 600, thick)
    cv2.arrowedLine(ink, (side // 3, side // 2), (side * 2 // 5, side * 3 // 5), 255, 2 * thick, cv2.LINE_AA)
    return np.maximum(image, ink.astype(np.float32) / np.float32(255.0))


def with_data_bar(image: Gray, number: int) -> Gray:
    """Return a picture whose lowest eighth is a microscope's data bar; only the picture's number differs."""
    side = image.shape[0]
    top = side - max(24, side // 8)
    ink = np.zeros(image.shape, np.uint8)
    for text, column in (("15.0 kV", 2), ("x 20,000", 26), ("WD 4.1 mm", 52), (f"#{number:03d}", 84)):
        _write(ink, text, (side * column // 100, side - (side - top) // 3), side / 900, 1)
    cv2.rectangle(ink, (side // 20, top + 3), (side * 3 // 10, top + 6), 255, -1)
    barred = image.copy()
    barred[top:] = ink[top:].astype(np.float32) / np.float32(255.0)
    return barred


def _write(ink: NDArray[np.uint8], text: str, at_xy: tuple[int, int], size: float, thick: int) -> None:
    cv2.putText(ink, text, at_xy, cv2.FONT_HERSHEY_SIMPLEX, size, 255, thick, cv2.LINE_AA)
