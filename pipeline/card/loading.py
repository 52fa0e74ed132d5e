"""How to load a dataset in five lines, for the card; run by the tests as they stand there."""

from collections.abc import Mapping

H5PY = """\
import glob, h5py, numpy as np

shards = [h5py.File(path) for path in sorted(glob.glob("train-*.h5"))]
images = np.concatenate([shard["images"][:] for shard in shards])  # (N, {height}, {width}) {image_dtype}
labels = np.concatenate([shard["labels"][:] for shard in shards])  # (N, {height}, {width}) {label_dtype}
"""
TORCH = """\
import glob, h5py, torch
from torch.utils.data import ConcatDataset, DataLoader, TensorDataset

shards = [h5py.File(path) for path in sorted(glob.glob("train-*.h5"))]
arrays = [[torch.from_numpy(shard[key][:]) for key in ("images", "labels")] for shard in shards]
batches = DataLoader(ConcatDataset([TensorDataset(*pair) for pair in arrays]), batch_size=4, shuffle=True)
"""
KERAS = """\
import glob, h5py, keras, numpy as np

shards = [h5py.File(path) for path in sorted(glob.glob("train-*.h5"))]
images, labels = (np.concatenate([shard[key][:] for shard in shards])[..., None] for key in ("images", "labels"))
model.fit(images, labels, batch_size=4)  # any Keras model that takes ({height}, {width}, 1)
"""


def loading(values: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return the name of each library with the lines that load the training split with it.

    Args:
        values: `height`, `width`, `image_dtype` and `label_dtype` of a sample.
    """
    snippets = (("h5py", H5PY), ("PyTorch", TORCH), ("Keras", KERAS))
    return [(name, snippet.format(**values)) for name, snippet in snippets]
