"""A stack in a folder: one TIFF file a slice, in the natural order of their names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, SourceError
from pipeline.source.tiff.names import natural_key
from pipeline.source.tiff.stack import TiffStack

_SUFFIXES = {".tif", ".tiff"}


class PageFolder:
    """The slices of a folder of single pages: `stack[z]` reads slice z as (Y, X), native byte order.

    Every file is opened when it is read and closed again: a folder may hold more files than a process may open.

    Args:
        path: the folder.
        labels: whether it holds labels.

    Raises:
        ConfigError: it holds no TIFF file.
        SourceError: a file is damaged, is not a single gray picture, or differs in kind from the others.
    """

    def __init__(self, path: Path, *, labels: bool = False) -> None:
        self.path = path
        self._labels = labels
        self.files = _tiff_files(path)
        self.shape, self.dtype = self._common_kind()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, z: int) -> NDArray[Any]:
        """Return slice z.

        Raises:
            SourceError: its pixels are damaged.
        """
        if not 0 <= z < len(self):
            raise IndexError(f"slice {z} of {len(self)}")
        page = TiffStack(self.files[z], labels=self._labels)
        try:
            return page[0]
        finally:
            page.close()

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the slices."""
        return (self[z] for z in range(len(self)))

    def close(self) -> None:
        """Do nothing: no file is open."""

    def _common_kind(self) -> tuple[tuple[int, int, int], np.dtype[Any]]:
        kinds = []
        for file in self.files:
            page = TiffStack(file, labels=self._labels)
            page.close()
            kinds.append((page.shape, page.dtype))
            if len(page) != 1:
                raise SourceError(
                    f"{file}: expected a single page in a folder of pages, found {len(page)}; name multi-page files "
                    "one by one with --images and --labels"
                )
            if kinds[-1] != kinds[0]:
                (_, height, width), dtype = kinds[-1]
                raise SourceError(
                    f"{file}: {height} x {width} px, {dtype.name}, but {self.files[0].name} is {kinds[0][0][1]} x "
                    f"{kinds[0][0][2]} px, {kinds[0][1].name}; slices of one stack are alike: export them again, or "
                    "name each size as a stack of its own"
                )
        (_, height, width), dtype = kinds[0]
        return (len(kinds), height, width), dtype


def open_folder(path: Path, *, labels: bool = False) -> PageFolder:
    """Return the stack in a folder of single pages, to be read slice by slice.

    Raises:
        ConfigError: it holds no TIFF file.
        SourceError: a file is damaged, is not a single gray picture, or differs in kind from the others.
    """
    return PageFolder(path, labels=labels)


def _tiff_files(path: Path) -> list[Path]:
    try:
        files = [file for file in path.iterdir() if not file.name.startswith(".") and not file.is_dir()]
    except OSError as error:
        raise ConfigError(f"{path}: expected a folder of TIFF files ({error.strerror}); name another one") from error
    found = [file for file in files if file.suffix.lower() in _SUFFIXES]
    if not found:
        raise ConfigError(f"{path}: expected a folder of TIFF files, found none in it; name a file, or another folder")
    return sorted(found, key=lambda file: (natural_key(file.stem), file.name))
