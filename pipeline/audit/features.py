"""What a picture is recognised by: local features that survive rotation, mirroring, deformation and gain.

SIFT (Lowe 2004) in its square-root form (Arandjelovic and Zisserman 2012, "Three things everyone should know to
improve object retrieval"), rounded to whole numbers, so that products of descriptors are exact and the same whatever
adds them up in whatever order.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SAMPLE_KEYPOINTS, SLICE_KEYPOINTS = 400, 1000
_DESCRIPTOR_LENGTH = 255.0
_DARKEST, _BRIGHTEST = 0.5, 99.5  # percentiles that become black and white


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """The keypoints of a picture, the strongest first.

    Attributes:
        points: (n, 2) float32, x and y in pixels of the picture at full resolution.
        descriptors: (n, 128) uint8, each row about 255 long.
    """

    points: NDArray[np.float32]
    descriptors: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.points)

    def strongest(self, most: int) -> "Features":
        """Return the first of them."""
        return Features(self.points[:most], self.descriptors[:most])


def find_features(image: NDArray[Any], *, most: int = SAMPLE_KEYPOINTS, half: bool = True) -> Features:
    """Return the strongest keypoints of a picture.

    Args:
        image: (Y, X) of any gray dtype.
        most: keypoints to keep.
        half: look at half the resolution, which is faster and less easily misled by noise.
    """
    gray = to_gray8(image)
    scale = 2 if half and min(gray.shape) >= 64 else 1
    if scale > 1:
        gray = cv2.resize(gray, (gray.shape[1] // scale, gray.shape[0] // scale), interpolation=cv2.INTER_AREA)
    sift = cv2.SIFT_create(nfeatures=most)  # type: ignore[attr-defined]  # missing in OpenCV's types
    keypoints, raw = sift.detectAndCompute(gray, None)
    if raw is None:
        return Features(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8))
    order = sorted(range(len(keypoints)), key=lambda k: -keypoints[k].response)[:most]
    points = np.array([keypoints[k].pt for k in order], np.float32)
    raw = raw[order]
    share = raw / np.maximum(raw.sum(axis=1, keepdims=True), 1.0)
    descriptors = np.rint(np.sqrt(share) * _DESCRIPTOR_LENGTH).astype(np.uint8)
    return Features((points + np.float32(0.5)) * np.float32(scale) - np.float32(0.5), descriptors)


def to_gray8(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a picture (Y, X) in 8 bits, as it is or spread between its own dark and bright ends."""
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    low, high = np.percentile(image, (_DARKEST, _BRIGHTEST))
    spread = (image.astype(np.float32) - np.float32(low)) * np.float32(255.0 / max(high - low, 1e-12))
    return np.ascontiguousarray(np.clip(spread, 0.0, 255.0).astype(np.uint8))
