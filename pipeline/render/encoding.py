"""Encoding a shard: arrays in, the bytes of an HDF5 file out, the same bytes every time.

h5py writes into memory of ours and never into a file: on a full disk it would kill the interpreter.
"""

import io
from typing import Any

import h5py
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from pipeline.shards.record import SHARD_SCHEMA, WEIGHT_DTYPE

# libdeflate's output depends on its version alone, not on the CPU. Higher levels take longer to save a few per cent.
_DEFLATE_LEVEL = 1


def deflate_array(array: NDArray[Any]) -> bytes:
    """Return a label or weights (h, w) as one chunk of HDF5's gzip filter."""
    data: Any = np.ascontiguousarray(array).view(np.uint8)  # it takes any buffer, and says that it takes bytes
    return bytes(imagecodecs.deflate_encode(data, level=_DEFLATE_LEVEL))


def encode_shard(
    memory: io.BytesIO,
    images: NDArray[Any],
    deflated_labels: list[bytes],
    label_dtype: np.dtype[Any],
    ids: list[str],
    attributes: dict[str, str],
    deflated_weights: list[bytes] | None = None,
) -> memoryview:
    """Return the bytes of a shard file, which lie in `memory`.

    Args:
        memory: emptied, then filled; used again for shard after shard, because fresh memory costs more.
        images: (n, h, w), stored as they are; deflate would save 7% of EM images and cost five times the rendering.
        deflated_labels: for every row, what `deflate_array` returned.
        label_dtype: of the labels before they were deflated.
        ids: for every row, its ASCII id.
        attributes: ASCII attributes of the file, beside its schema.
        deflated_weights: for every row, likewise; None where none are stored.
    """
    memory.seek(0)
    memory.truncate()
    shape, chunks = images.shape, (1, *images.shape[1:])
    with h5py.File(memory, "w", libver=("earliest", "v108")) as file:
        stored_images = file.create_dataset("images", shape, images.dtype, chunks=chunks)
        deflated = {"labels": (label_dtype, deflated_labels)}
        if deflated_weights is not None:
            deflated["weights"] = (WEIGHT_DTYPE, deflated_weights)
        for name, (dtype, _) in deflated.items():
            file.create_dataset(name, shape, dtype, chunks=chunks, compression="gzip", compression_opts=_DEFLATE_LEVEL)
        for row, (image, *others) in enumerate(zip(images, *(rows for _, rows in deflated.values()), strict=True)):
            stored_images.id.write_direct_chunk((row, 0, 0), image)
            for name, data in zip(deflated, others, strict=True):
                file[name].id.write_direct_chunk((row, 0, 0), data)
        file.create_dataset("ids", data=np.array([name.encode("ascii") for name in ids]))
        for name, value in {"schema": SHARD_SCHEMA, **attributes}.items():
            file.attrs[name] = np.bytes_(value.encode("ascii"))
    return memory.getbuffer()
