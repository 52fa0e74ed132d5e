"""The annotated stack that a build starts from: pixels, class indices, digests, and what is known about it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.errors import ConfigError, SourceError
from augment.gray import IMAGE_DTYPES
from pipeline.digest import array_digest, file_digest
from pipeline.known import PHANTOM, recognise

MOST_CLASSES = 32
DEFAULT_FOLDER = Path("data/isbi2012")
IMAGES_FILE, LABELS_FILE = "train-volume.tif", "train-labels.tif"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that pixels were read from: where it was, and the digest of its bytes at that time."""

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """One stack of slices with its labels.

    Attributes:
        images: (Z, Y, X) uint8, uint16 or float32.
        labels: (Z, Y, X) uint8 class indices.
        images_sha256: array digest of the images.
        labels_sha256: array digest of the labels as they were in the file, before they became indices.
        label_dtype: the labels' dtype in the file.
        label_values: the label value that each class index stands for.
        slice_sha256: array digest of every image slice.
    """

    images: NDArray[Any]
    labels: NDArray[np.uint8]
    images_sha256: str
    labels_sha256: str
    label_dtype: str
    label_values: tuple[int, ...]
    slice_sha256: tuple[str, ...]

    @property
    def slice_size(self) -> tuple[int, int]:
        """(height, width) of a slice, in pixels."""
        return self.images.shape[1], self.images.shape[2]

    def to_json(self) -> dict[str, Any]:
        """Return what identifies the stack's pixels."""
        shape = list(self.images.shape)
        return {
            "images": {"sha256": self.images_sha256, "shape": shape, "dtype": self.images.dtype.name},
            "labels": {
                "sha256": self.labels_sha256,
                "shape": shape,
                "dtype": self.label_dtype,
                "values": list(self.label_values),
            },
        }


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """All that a build starts from.

    Attributes:
        name: the dataset's name.
        stacks: the annotated stacks; stack i is the one that ids call `s00i`.
        facts: what is known about the specimen and its terms.
        files: where the pixels were read from, (images, labels) for each stack; empty for the phantom.
    """

    name: str
    stacks: tuple[Stack, ...]
    facts: Mapping[str, Any]
    files: tuple[tuple[SourceFile, SourceFile], ...] = ()

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """What identifies the pixels, for the fingerprint."""
        return [stack.to_json() for stack in self.stacks]

    @property
    def class_values(self) -> tuple[int, ...]:
        """The label value that each class index stands for."""
        return self.stacks[0].label_values

    @property
    def is_phantom(self) -> bool:
        """Whether the pixels were made by augpipe itself."""
        return bool(self.facts.get("synthetic"))


def find_source(folder: Path | None = None) -> Path | None:
    """Return the folder to read: the one named, else the default one if it is there, else None for the phantom."""
    if folder is not None:
        return folder
    return DEFAULT_FOLDER if (DEFAULT_FOLDER / IMAGES_FILE).is_file() else None


def read_folder(folder: Path, *, name: str | None = None) -> Source:
    """Return the source in a folder that holds train-volume.tif and train-labels.tif.

    Raises:
        ConfigError: the folder or one of the files is missing, or the two do not belong together.
        SourceError: a file cannot be read.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"{folder}: expected a folder with {IMAGES_FILE} and {LABELS_FILE}, found "
            f"{'a file; name single files with --images and --labels' if folder.exists() else 'nothing'}"
        )
    for file in (IMAGES_FILE, LABELS_FILE):
        if not (folder / file).is_file():
            raise ConfigError(f"{folder}: {file} is missing; a source folder holds {IMAGES_FILE} and {LABELS_FILE}")
    return read_files(folder / IMAGES_FILE, folder / LABELS_FILE, name=name or _as_name(folder.resolve().name))


def read_files(images: Path, labels: Path, *, name: str | None = None) -> Source:
    """Return the source in a pair of TIFF stacks.

    Raises:
        ConfigError: a file is missing, or the two do not belong together.
        SourceError: a file cannot be read.
    """
    from pipeline.tiff import read_stack

    image_stack, label_stack = read_stack(images), read_stack(labels, labels=True)
    files = tuple(SourceFile(path.resolve(), file_digest(path)) for path in (images, labels))
    return make_source(
        image_stack,
        label_stack,
        name=name or _as_name(images.stem),
        files=((files[0], files[1]),),
        where=(str(images), str(labels)),
    )


def phantom_source(*, name: str | None = None) -> Source:
    """Return the built-in phantom; it is recognised by its pixels, so `name` cannot hide what it is."""
    from pipeline.phantom import make_phantom

    images, labels = make_phantom()
    return make_source(images, labels, name=name or PHANTOM)


def write_phantom(folder: Path) -> tuple[Path, Path]:
    """Write the phantom as a source folder and return its two files.

    Raises:
        ConfigError: one of the files is there already.
        StorageError: the folder cannot be written.
    """
    from pipeline.files import storage_errors
    from pipeline.phantom import make_phantom
    from pipeline.tiff import write_stack

    paths = folder / IMAGES_FILE, folder / LABELS_FILE
    for path in paths:
        if path.exists():
            raise ConfigError(f"{path}: is there already and will not be replaced; choose another folder")
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for path, stack in zip(paths, make_phantom(), strict=True):
        write_stack(path, stack)
    return paths


def make_source(
    images: NDArray[Any],
    labels: NDArray[Any],
    *,
    name: str,
    files: tuple[tuple[SourceFile, SourceFile], ...] = (),
    where: tuple[str, str] = ("images", "labels"),
) -> Source:
    """Return the source that two (Z, Y, X) arrays make.

    Args:
        images: uint8, uint16 or float32 gray levels.
        labels: whole numbers from 0 to 65535, at most 32 different ones.
        name: what to call it, unless its pixels are known under another name.
        files: where the arrays were read from.
        where: what to call the two in error messages.

    Raises:
        ConfigError: the two do not belong together, or the name is none.
        SourceError: pixels or labels of a kind that cannot be used.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"name: expected letters, digits, dots, dashes and underscores, at most 80, got {name!r:.100}"
        )
    _require_pair(images, labels, where)
    _require_images(images, where[0])
    images, labels = (np.ascontiguousarray(a, a.dtype.newbyteorder("=")) for a in (images, labels))
    indices, class_values = _class_indices(labels, where[1])
    digest, labels_digest = array_digest(images), array_digest(labels)
    known_name, facts = recognise(digest, labels_digest, name)
    stack = Stack(
        images=images,
        labels=indices,
        images_sha256=digest,
        labels_sha256=labels_digest,
        label_dtype=labels.dtype.name,
        label_values=class_values,
        slice_sha256=tuple(array_digest(image) for image in images),
    )
    return Source(name=known_name, stacks=(stack,), facts=facts, files=files)


def _as_name(text: str) -> str:
    """Return a file's or folder's name with all that a dataset's name may not hold replaced by dashes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:80].strip("-._") or "stack"


def _require_pair(images: NDArray[Any], labels: NDArray[Any], where: tuple[str, str]) -> None:
    if images.ndim != 3 or images.size == 0:
        raise ConfigError(f"{where[0]}: expected a stack of slices (Z, Y, X), got shape {images.shape}")
    if images.shape != labels.shape:
        raise ConfigError(
            f"{where[1]}: expected a label for every image slice, {images.shape} (Z, Y, X), got {labels.shape}; "
            f"does it belong to {where[0]}?"
        )


def _require_images(images: NDArray[Any], where: str) -> None:
    if images.dtype.name not in IMAGE_DTYPES:
        raise SourceError(
            f"{where}: expected {', '.join(IMAGE_DTYPES)} pixels, got {images.dtype.name}; convert the stack"
        )
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        z = int(np.flatnonzero(~np.isfinite(images).all(axis=(1, 2)))[0])
        raise SourceError(f"{where}: slice {z} holds pixels that are not numbers (NaN or infinity); replace them")


def _class_indices(labels: NDArray[Any], where: str) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
    """Return the labels as class indices, and the label value of each class, in rising order."""
    if labels.dtype.kind not in "bui" or int(labels.min()) < 0 or int(labels.max()) > 65535:
        raise SourceError(
            f"{where}: expected labels as whole numbers from 0 to 65535, got {labels.dtype.name} "
            f"from {labels.min()} to {labels.max()}; save the class of each pixel, such as 0 and 255"
        )
    present = np.zeros(65536, bool)
    present[labels.astype(np.uint16, copy=False)] = True
    values = np.flatnonzero(present)
    if not 2 <= len(values) <= MOST_CLASSES:
        raise SourceError(
            f"{where}: expected 2 to {MOST_CLASSES} different label values (classes), found {len(values)}; "
            + ("nothing is annotated" if len(values) < 2 else "object ids are not classes: save one value a class")
        )
    index_of_value = np.zeros(65536, np.uint8)
    index_of_value[values] = np.arange(len(values))
    return index_of_value[labels.astype(np.uint16, copy=False)], tuple(int(value) for value in values)
