"""How to load a dataset in five lines, for the card; run by the tests as they stand there."""

from collections.abc import Mapping

H5PY = """\
import glob, h5py, numpy as np

shards = [h5py.File(path) for path in sorted(glob.glob("train-*.h5"))]
images = np.concatenate([shard["images"][:] for shard in shards])  # (N, {height}, {width}) {image_dtype}
labels = np.concatenate([shard["labels"][:] for shard in shards])  # (N, {height}, {width}) {label_dtype}{ids}
"""
TORCH = """\
import glob, h5py, torch, torch.utils.data as data

files = [h5py.File(path) for path in sorted(glob.glob("train-*.h5"))]
arrays = [(file["images"][:]{image_cast}, file["labels"][:]{label_cast}) for file in files]{ids}
tensors = data.ConcatDataset([data.TensorDataset(*map(torch.from_numpy, pair)) for pair in arrays])
batches = data.DataLoader(tensors, batch_size=4, shuffle=True)
"""
KERAS = """\
import glob, h5py, keras, numpy as np

shards = [h5py.File(path) for path in sorted(glob.glob("train-*.h5"))]
images = np.concatenate([shard["images"][:] for shard in shards])[..., None]{image_cast}
labels = np.concatenate([shard["labels"][:] for shard in shards])[..., None]{label_cast}{ids}
model.fit(images, labels, batch_size=4)  # any Keras model that takes ({height}, {width}, 1)
"""


def loading(
    window: tuple[int, int], image_dtype: str, label_dtype: str, *, instances: bool = False
) -> list[tuple[str, str]]:
    """Return the name of each library with the lines that load the training split with it.

    Args:
        window: (height, width) of a sample, in pixels.
        image_dtype: of the images.
        label_dtype: of the labels.
        instances: labels are ids of single objects.
    """
    values: Mapping[str, object] = {
        "height": window[0],
        "width": window[1],
        "image_dtype": image_dtype,
        "label_dtype": label_dtype,
        "image_cast": _cast(image_dtype),
        "label_cast": _cast(label_dtype),
        "ids": "  # ids of objects: for a network of two classes, labels > 0" * instances,
    }
    return [(name, lines.format_map(values)) for name, lines in (("h5py", H5PY), ("PyTorch", TORCH), ("Keras", KERAS))]


def _cast(dtype: str) -> str:
    """Return what makes an array one that can be computed with: PyTorch has next to no operation on uint16."""
    return '.astype("int32")' * (dtype == "uint16")
