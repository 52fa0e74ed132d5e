"""What a network learns of labels: two sides, several classes, or cells kept apart; and labels made of what it says."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from training.config import Learn
from training.objects import find_contact, find_objects, separated

if TYPE_CHECKING:
    from training.run_folder import Run

# What is learnt by default from labels of each kind.
LEARNT = {"binary": "foreground", "classes": "classes", "instances": "cells"}
_OF_KIND = {"foreground": ("binary", "classes", "instances"), "classes": ("binary", "classes")}
_BYTE = 255
_MOST = 65535  # objects in a slice
BORDER = 2  # the class of pixels where cells touch, where that is one


def choose_target(learn: Learn, kind: str) -> Learn:
    """Return what is learnt from labels of a kind, where it is left open as `auto`.

    Raises:
        ConfigError: it cannot be learnt from them.
    """
    if learn == "auto":
        return LEARNT[kind]  # type: ignore[return-value]
    if kind not in _OF_KIND.get(learn, ("instances",)):
        needed = " or ".join(_OF_KIND.get(learn, ("instances",)))
        raise ConfigError(
            f"--target {learn}: needs labels of kind {needed}, the dataset's are {kind}; leave it out, or build with "
            f"--label-kind {needed.split()[-1]}"
        )
    return learn


def make_target(label: NDArray[Any], learn: Learn, ignored: int | None) -> NDArray[np.uint8]:
    """Return what a network learns of a label (Y, X), uint8; ignored pixels are background here.

    - `foreground`: 1 where it is not 0.
    - `classes`: its class indices.
    - `cells`: 1 for cell, 0 for background, and for the pixels of two cells that touch, so that they stay apart.
    - `border`: 0 for background, 1 for cell, 2 for the pixels of two cells that touch.
    """
    known = label if ignored is None else np.where(label == ignored, label.dtype.type(0), label)
    if learn == "classes":
        return np.asarray(known, np.uint8)
    cells: NDArray[np.uint8] = np.asarray(known != 0, np.uint8)
    if learn in ("cells", "border"):
        cells[find_contact(known)] = BORDER if learn == "border" else 0
    return cells


def make_weights(
    label: NDArray[Any], learn: Learn, *, instances: bool, ignored: int | None, mask: NDArray[np.uint8] | None = None
) -> NDArray[np.float16]:
    """Return the weight (Y, X) of every pixel: the U-Net paper's map of what is learnt.

    Where cells are kept apart, the pixels of two that touch are background in it, with the emphasis of a gap between
    two cells, as the paper's are; else they are cell. Where the mask (Y, X) is 0, pixels have no weight.
    """
    from augment.weight_map import round_weights, unet_weight_map

    if learn in ("cells", "border"):
        known = label if ignored is None else np.where(label == ignored, label.dtype.type(0), label)
        apart = separated(known)
        label = apart if ignored is None else np.where(label == ignored, label, apart)
    return round_weights(unet_weight_map(label, instances=instances, ignore=ignored, mask=mask))


class LabelDecoder:
    """Makes labels (Y, X) of the maps (K, Y, X) that a run's network predicts.

    Of a network that learnt objects, they are ids from 1; else the value of each class in the source's labels, or its
    index where that does not fit 16 bits.

    Attributes:
        dtype: of the labels.
    """

    def __init__(self, run: "Run") -> None:
        self._learn = run.config.learn
        values = run.class_values or tuple(range(max(run.config.n_maps, 2)))
        if max(values) > _MOST:
            values = tuple(range(len(values)))
        self.dtype: np.dtype[Any] = np.dtype("uint16" if self.finds_objects or max(values) > _BYTE else "uint8")
        self._values = np.array(values, self.dtype)

    @property
    def finds_objects(self) -> bool:
        """Whether the labels are ids."""
        return self._learn in ("cells", "border")

    def __call__(self, maps: NDArray[np.float32]) -> NDArray[Any]:
        """Return the labels of one slice.

        Raises:
            ConfigError: there are more objects than 16 bits can number.
        """
        if not self.finds_objects:
            return self._values[predicted_classes(maps)]
        ids = predicted_objects(maps)
        if ids.max() > _MOST:
            raise ConfigError(f"--labels: found {ids.max()} objects in a slice, at most {_MOST} have room; cut it")
        return ids.astype(self.dtype)


def foreground(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probability of foreground (Y, X) of maps (K, Y, X): all but the first, or the only one."""
    return np.asarray(maps[0] if len(maps) == 1 else np.clip(1 - maps[0], 0, 1))


def predicted_classes(maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the likeliest class (Y, X) of probabilities (K, Y, X); of one map, 1 where it is above 0.5."""
    return np.asarray(maps[0] > 0.5 if len(maps) == 1 else maps.argmax(axis=0), np.uint8)


def predicted_objects(maps: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return the ids (Y, X) of objects in a map of cells, or in the three of background, cell and border."""
    return find_objects(maps[0], maps[0]) if len(maps) == 1 else find_objects(maps[1], 1 - maps[0])
