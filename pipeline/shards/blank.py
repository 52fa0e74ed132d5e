"""Slices of one gray level: lost sections, which show no tissue, so that the same one in two splits leaks nothing."""

import math
from collections.abc import Sequence

import numpy as np

from pipeline.shards.digest import array_digest
from pipeline.shards.record import DatasetRecord

_MAX_PX = 1 << 24


def blank_digests(record: DatasetRecord) -> frozenset[str]:
    """Return the digests of slices of one gray level.

    Of more than 8 bits, the darkest and the brightest gray level and 0 are known, not all.
    """
    dtype = record.image_dtype
    levels: Sequence[float] = (0.0, 1.0)
    if dtype.kind != "f":
        limits = np.iinfo(dtype)
        levels = range(256) if dtype == np.uint8 else (0, limits.min, limits.max)
    channels = () if (names := record.inputs[0].images.channels) is None else (len(names),)
    shapes = {(*stack.slice_size, *channels) for stack in record.inputs if math.prod(stack.slice_size) <= _MAX_PX}
    return frozenset(array_digest(np.full(shape, level, dtype)) for shape in shapes for level in levels)
