"""The images, labels, weights or masks of a split as one lazy array, which reads what is asked for and no more."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.shards.shard_file import Shard


class StoredArrays:
    """A lazy array, indexed as NumPy arrays are along its first axis and read at that moment.

    It is (n, h, w), or (n, h, w, C) where images have several channels.

    Args:
        shards: where the rows are, in order.
        read: what reads one row of a shard.
        name: what the arrays are, for `repr`.
        row_shape: (h, w) or (h, w, C).
        dtype: of the arrays.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        read: Callable[[Shard, int], NDArray[Any]],
        name: str,
        row_shape: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> None:
        self._shards = shards
        self._read = read
        self._name = name
        self._starts = np.cumsum([0, *(len(shard) for shard in shards)])
        self.dtype = dtype
        self.shape = (int(self._starts[-1]), *row_shape)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<{self._name}: {self.shape} {self.dtype}, read when indexed>"

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Return the array at an index, or those of a slice, a mask or an array of indices, in its order.

        Raises:
            IndexError: there is no such row, or the key is of another kind.
            DatasetError: a row cannot be read.
        """
        rows, *rest = key if isinstance(key, tuple) and key else (key,)
        if rows is Ellipsis or isinstance(rows, tuple):
            whole: NDArray[Any] = self[:][key]
            return whole
        if isinstance(rows, (int, np.integer)) and not isinstance(rows, bool):
            array = self._row(int(rows))
            return array[tuple(rest)] if rest else array
        picked = self._positions(rows)
        out = np.empty((picked.size, *self.shape[1:]), self.dtype)
        for place, row in zip(out, picked.flat, strict=True):
            place[...] = self._row(int(row))
        out = out.reshape(*picked.shape, *self.shape[1:])
        return out[(*(slice(None),) * picked.ndim, *rest)] if rest else out

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the arrays one by one."""
        return (self._row(row) for row in range(len(self)))

    def __array__(self, dtype: Any = None, *, copy: bool | None = None) -> NDArray[Any]:
        """Return all of it, in memory.

        Raises:
            ValueError: without a copy, which cannot be had.
        """
        if copy is False:
            raise ValueError(f"{self!r}: is on disk, so an array of it is always a copy")
        return self[:].astype(dtype or self.dtype, copy=False)

    def _positions(self, rows: Any) -> NDArray[np.intp]:
        """Return the rows that a slice, a mask or an array of indices picks."""
        if isinstance(rows, slice):
            return np.arange(*rows.indices(len(self)), dtype=np.intp)
        index = np.asarray(rows)
        if index.dtype == np.bool_ and index.shape == (len(self),):
            return np.flatnonzero(index)
        if index.dtype.kind in "iu" or not index.size:
            return index.astype(np.intp)
        raise IndexError(
            f"{self!r}: expected an index, a slice, a mask of {len(self)} or whole numbers, got {rows!r:.80}"
        )

    def _row(self, row: int) -> NDArray[Any]:
        index = row + len(self) if row < 0 else row
        if not 0 <= index < len(self):
            raise IndexError(f"sample {row} of {len(self)}")
        position = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._read(self._shards[position], int(index - self._starts[position]))
