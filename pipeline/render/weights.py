"""The weights that a dataset stores beside its labels, in the form in which it stores them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.weight_map import round_weights, unet_weight_map
from pipeline.shards.inputs import LabelKind


def weigh_label(label: NDArray[Any], kind: LabelKind) -> NDArray[np.float16]:
    """Return the weight (h, w) of every pixel of a label (h, w): `unet_weight_map` with the paper's constants.

    A class of so few pixels that float16 cannot hold its weight gets the largest that it can, 65504.
    """
    return round_weights(unet_weight_map(label, instances=kind == "instances"))
