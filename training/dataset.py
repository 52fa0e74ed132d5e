"""The samples of a dataset as a network wants them; numpy and h5py are all it loads."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, DatasetError
from pipeline.shards import Dataset, DatasetRecord, open_dataset
from pipeline.shards.manifest import ManifestRow
from training.config import Learn, Weights
from training.division import Slice, slice_of
from training.targets import BORDER, choose_target, make_target, make_weights

IGNORE = 255  # where nothing is known, as torch's ignore_index is mostly set to


class ShardDataset:
    """Some samples of one split, read from the shards when they are asked for: a map-style dataset for torch and Keras.

    A sample is a dict of `image` (h, w), or (C, h, w) of several channels, in the dtype of the shards, `label` (h, w)
    uint8, and, where weights were asked for, `weights` (h, w) float16. A label is what `learn` makes of it: 1 where
    there is a cell and 0 where there is none, or the index of a class; it is `ignore` where nothing is known, and
    weights are 0 there. They are numpy arrays: the default collate of `torch.utils.data.DataLoader` turns them into
    tensors, and reading samples needs no torch.

    It can be pickled, and a process that was forked off can go on with it: every process opens the shards for itself,
    when it first reads from them, since no HDF5 handle may cross from one process into another.

    Args:
        folder: the dataset, or where it lies.
        split: `train`, `val` or `test`.
        rows: positions within the split; None: all of them.
        weights: the weight map that goes with each sample: stored ones where the shards hold them, else computed. Of
            cells that are kept apart, they are always computed: stored ones take the pixels where two touch for cell.
        learn: what labels become, see `training.config.FitConfig`.

    Attributes:
        ignore: the value of label pixels that must not count, 255 as by custom: those that mean nothing, and those that
            the split's masks leave out; None where all count.
        learn: what labels become, with `auto` decided.
        n_classes: how many values they have, the background included, without `ignore`.
        is_plain: the samples are not augmented: they are the tiles of the slices.
        own_channels: which channels are of the slice that the label is of, and not of its neighbours.

    Raises:
        ConfigError: that cannot be learnt from these labels; there is no such split, no sample is left, or a row does
            not exist.
        DatasetError: a shard or the manifest cannot be read, or is not what dataset.json says.
    """

    def __init__(
        self, folder: Dataset | Path | str, split: str, rows: Sequence[int] | None = None, *, weights: Weights = "none",
        learn: Learn = "auto",
    ) -> None:  # fmt: skip
        dataset = open_dataset(folder)
        self._split = dataset[split]
        self._instances = dataset.record.label_kind == "instances"
        self._dataset = dataset
        self.is_plain = split in dataset.record.config.plain
        self._ignored = dataset.record.arrays.ignore
        self.ignore = None if self._ignored is None and self._split.masks is None else IGNORE
        self.learn = choose_target(learn, dataset.record.label_kind)
        self.n_classes = count_classes(self.learn, dataset.record)
        self.rows = tuple(range(len(self._split)) if rows is None else rows)
        self.weights = weights
        if not set(self.rows) <= set(range(len(self._split))):
            raise ConfigError(f"{dataset.folder}: expected samples 0 to {len(self._split) - 1} of {split}, got others")
        if not self.rows:
            raise ConfigError(f"{dataset.folder}: no sample of {split} is left; build more samples or ask for more")
        self.image_dtype, self.window = self._split.images.dtype, dataset.record.window
        self.n_channels = len(dataset.record.arrays.channels or ("gray",))
        n_own, context = len(dataset.record.inputs[0].images.channels or ("gray",)), dataset.record.config.context
        self.own_channels = slice(context * n_own, (context + 1) * n_own)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, NDArray[Any]]:
        """Return one sample."""
        label = self._split.labels[self.rows[index]]
        target = make_target(label, self.learn, self._ignored)
        if self._ignored is not None:
            target[label == self._ignored] = IGNORE
        mask = None if self._split.masks is None else self._split.masks[self.rows[index]]
        if mask is not None:
            target[mask == 0] = IGNORE
        sample = {"image": self.image(index), "label": target}
        if self.weights != "none":
            sample["weights"] = self._weigh(index, label, mask)
        return sample

    def image(self, index: int) -> NDArray[Any]:
        """Return the image of one sample alone, (h, w), or (C, h, w) of several channels."""
        image = self._split.images[self.rows[index]]
        return image if image.ndim == 2 else np.ascontiguousarray(np.moveaxis(image, -1, 0))

    def slices(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the slices that the samples of a plain split are tiles of, put together again, as samples are.

        Raises:
            DatasetError: of some pixel, no sample counts, so that these are not all tiles of the slices.
        """
        rows = [self._row(index) for index in range(len(self))]
        return (whole for _, whole in join_tiles(self._dataset, rows, self.__getitem__))

    def _row(self, index: int) -> ManifestRow:
        return self._split.manifest[self.rows[index]]

    @property
    def ids(self) -> tuple[str, ...]:
        """The samples' ids, in order."""
        names = self._split.ids
        return tuple(names[row] for row in self.rows)

    @property
    def firsts(self) -> tuple[int, ...]:
        """Where the first sample of each slice is, in order."""
        found: dict[Slice, int] = {}
        for index, row in enumerate(self.rows):
            found.setdefault(slice_of(self._split.manifest[row]), index)
        return tuple(found.values())

    def _weigh(self, index: int, label: NDArray[Any], mask: NDArray[np.uint8] | None) -> NDArray[np.float16]:
        if self._split.weights is not None and self.learn not in ("cells", "border"):
            return self._split.weights[self.rows[index]]
        return make_weights(label, self.learn, instances=self._instances, ignored=self._ignored, mask=mask)


def count_classes(learn: Learn, record: DatasetRecord) -> int:
    """Return how many values there are in what is learnt of a dataset's labels, the background included."""
    return {"classes": len(record.classes), "border": BORDER + 1}.get(learn, 2)


def join_tiles(
    dataset: Dataset, rows: Sequence[ManifestRow], read: Callable[[int], Mapping[str, NDArray[Any]]]
) -> Iterator[tuple[Slice, dict[str, NDArray[Any]]]]:
    """Yield the slices that the samples of a plain split are tiles of, each put together again.

    Args:
        dataset: that the samples are of.
        rows: of the samples in the manifest, slice by slice.
        read: returns the arrays (..., h, w) of sample k, by name.

    Raises:
        DatasetError: of some pixel, no sample counts, so that these are not all tiles of the slices.
    """
    for each, tiles in groupby(range(len(rows)), lambda k: slice_of(rows[k])):
        size = dataset.record.inputs[each.stack].slice_size
        where = f"{dataset.folder}: slice {each.z} of stack {each.stack}"
        whole: dict[str, NDArray[Any]] = {}
        is_there = np.zeros(size, bool)
        for k in tiles:
            recipe = rows[k].recipe
            if recipe.scored is None:
                raise DatasetError(f"{where} has a sample that is no tile of it; run augpipe verify")
            (row, column), (top, left, bottom, right) = recipe.slice_corner(size), recipe.scored
            there = np.s_[row + top : row + bottom, column + left : column + right]
            for name, part in read(k).items():
                if name not in whole:
                    whole[name] = np.empty((*part.shape[:-2], *size), part.dtype)
                whole[name][..., *there] = part[..., top:bottom, left:right]
            is_there[there] = True
        if not is_there.all():
            raise DatasetError(f"{where} has pixels that no sample counts; run augpipe verify")
        yield each, whole
