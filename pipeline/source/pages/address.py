"""Paths into files: `stack.h5:/volumes/raw` is the array /volumes/raw in stack.h5."""

import re
from pathlib import Path

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5")
ZIP_SUFFIXES = (".zip", ".ozx")

_ADDRESS = re.compile(rf"(.+(?:{'|'.join(map(re.escape, HDF5_SUFFIXES + ZIP_SUFFIXES))})):(.+)", re.IGNORECASE)


def split_address(path: Path) -> tuple[Path, str]:
    """Return the file or folder that a path names, and what in it; nothing where it names all of it.

    A colon counts only after the suffix of a file that has something in it.
    """
    found = _ADDRESS.fullmatch(str(path))
    return (Path(found[1]), found[2].strip("/")) if found else (path, "")


def file_of(path: Path) -> Path:
    """Return the file or folder that a path names, or names something in."""
    return split_address(path)[0]


def holds_many(path: Path) -> bool:
    """Return whether a path is one of something that may hold several arrays or pages."""
    return path.is_dir() or path.suffix.lower() in HDF5_SUFFIXES + ZIP_SUFFIXES
