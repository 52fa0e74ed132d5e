"""Reading sources from files, from folders of pages, or from nothing but the built-in phantom."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError, SourceError
from pipeline.shards.digest import bytes_digest, file_digest
from pipeline.source.known_stacks import PHANTOM
from pipeline.source.labels import AUTO
from pipeline.source.stacks import RawStack, Source, SourceFile, combine, make_source

if TYPE_CHECKING:
    from pipeline.source.tiff import PageFolder, TiffStack

DEFAULT_FOLDER = Path("data/isbi2012")
IMAGES_FILE, LABELS_FILE = "train-volume.tif", "train-labels.tif"
_LONGEST_NAME = 80
_MOST_TOLD = 3


def find_source(folder: Path | None = None) -> Path | None:
    """Return the folder to read: the one named, else the default one if it is there, else None for the phantom."""
    if folder is not None:
        return folder
    return DEFAULT_FOLDER if (DEFAULT_FOLDER / IMAGES_FILE).is_file() else None


def read_folder(
    folder: Path,
    *,
    name: str | None = None,
    label_kind: str = AUTO,
    independent: bool = False,
    facts: Mapping[str, Any] | None = None,
) -> Source:
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
            raise ConfigError(
                f"{folder}: {file} is missing; a source folder holds {IMAGES_FILE} and {LABELS_FILE}. Name other "
                "files, or folders of single pages, with --images and --labels"
            )
    return read_pairs(
        [(folder / IMAGES_FILE, folder / LABELS_FILE)],
        name=name or as_name(folder.resolve().name),
        label_kind=label_kind,
        independent=independent,
        facts=facts,
    )


def read_files(images: Path, labels: Path, *, name: str | None = None) -> Source:
    """Return the source in one pair of TIFF files or folders of pages; see `read_pairs`."""
    return read_pairs([(images, labels)], name=name)


def read_pairs(
    pairs: Sequence[tuple[Path, Path]],
    *,
    name: str | None = None,
    label_kind: str = AUTO,
    independent: bool = False,
    facts: Mapping[str, Any] | None = None,
) -> Source:
    """Return the source in pairs of images and labels, one stack a pair.

    Args:
        pairs: (images, labels), each a multi-page TIFF file or a folder of single-page ones.
        name: what to call it; the base names of the images unless given.
        label_kind: binary, classes, instances, or `auto`.
        independent: the slices are fields of view without neighbours: numbers may be missing between their names.
        facts: title, specimen, licence, citation, voxel_size_nm and url, where known.

    Raises:
        ConfigError: something is missing, or images and labels do not belong together.
        SourceError: a file cannot be read.
    """
    if not pairs:
        raise ConfigError("images: expected at least one stack, got none")
    raw = [_open_pair(images, labels, independent=independent) for images, labels in pairs]
    try:
        bases = [images.resolve().name if images.is_dir() else images.stem for images, _ in pairs]
        chosen = name or as_name("-".join(bases))
        return combine(raw, name=chosen, label_kind=label_kind, facts=facts)
    finally:
        for stack in raw:
            for opened in (stack.images, stack.labels):
                close = getattr(opened, "close", None)
                if close:
                    close()


def read_images(path: Path) -> "list[TiffStack | PageFolder]":
    """Return the stack of images in a TIFF file, a folder of pages, or a source folder, without any labels.

    Raises:
        ConfigError: there is none.
        SourceError: it cannot be read.
    """
    return [_open(path / IMAGES_FILE if (path / IMAGES_FILE).is_file() else path, labels=False)]


def phantom_source(*, name: str | None = None) -> Source:
    """Return the built-in phantom; it is recognised by its pixels, so `name` cannot hide what it is."""
    from pipeline.source.phantom import make_phantom

    images, labels = make_phantom()
    return make_source(images, labels, name=name or PHANTOM)


def write_phantom(folder: Path) -> tuple[Path, Path]:
    """Write the phantom as a source folder and return its two files.

    Raises:
        ConfigError: one of the files is there already.
        StorageError: the folder cannot be written.
    """
    from pipeline.files import storage_errors
    from pipeline.source.phantom import make_phantom
    from pipeline.source.tiff import write_stack

    paths = folder / IMAGES_FILE, folder / LABELS_FILE
    for path in paths:
        if path.exists():
            raise ConfigError(f"{path}: is there already and will not be replaced; choose another folder")
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for path, stack in zip(paths, make_phantom(), strict=True):
        write_stack(path, stack)
    return paths


def as_name(text: str) -> str:
    """Return a file's or folder's name with all that a dataset's name may not hold replaced by dashes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:_LONGEST_NAME] or "stack"


def _open_pair(images: Path, labels: Path, *, independent: bool) -> RawStack:
    opened = _open(images, labels=False), _open(labels, labels=True)
    names = _slice_names(opened[0])
    if images.is_dir() and labels.is_dir():
        _require_partners(opened[0], opened[1], independent=independent)
    return RawStack(
        images=opened[0],
        labels=opened[1],
        where=(str(images), str(labels)),
        names=names,
        files=(_source_file(opened[0]), _source_file(opened[1])),
    )


def _open(path: Path, *, labels: bool) -> "TiffStack | PageFolder":
    from pipeline.source.tiff import open_folder, open_stack

    return open_folder(path, labels=labels) if path.is_dir() else open_stack(path, labels=labels)


def _slice_names(stack: "TiffStack | PageFolder") -> tuple[str, ...]:
    return tuple(file.stem for file in _files(stack))


def _files(stack: "TiffStack | PageFolder") -> list[Path]:
    """Return the files of a stack: one a slice in a folder, else the one file."""
    return list(getattr(stack, "files", [stack.path]))


def _source_file(stack: "TiffStack | PageFolder") -> SourceFile:
    """Return where a stack was read from; the digest of a folder is that of its files' digests, in order."""
    try:
        digests = [file_digest(file) for file in _files(stack)]
    except OSError as error:
        raise SourceError(f"{error.filename or stack.path}: cannot be read ({error.strerror or error})") from error
    single = digests[0] if not stack.path.is_dir() else bytes_digest("".join(digests).encode("ascii"))
    return SourceFile(stack.path.resolve(), single)


def _require_partners(images: "TiffStack | PageFolder", labels: "TiffStack | PageFolder", *, independent: bool) -> None:
    """Refuse folders whose pages do not belong together one by one, or in which numbers are missing.

    Pages are partners when their names are the same but for what all names of a folder begin and end with.
    """
    from pipeline.source.tiff.names import core_names, missing_numbers

    names = [[file.stem for file in _files(stack)] for stack in (images, labels)]
    cores = [names[k] if set(names[0]) & set(names[1]) else core_names(names[k]) for k in (0, 1)]
    for own, other, stack, partner in ((0, 1, images, labels), (1, 0, labels, images)):
        alone = [name for name, core in zip(names[own], cores[own], strict=True) if core not in cores[other]]
        if alone:
            told = ", ".join(alone[:_MOST_TOLD]) + (f" and {len(alone) - _MOST_TOLD} more" * (len(alone) > _MOST_TOLD))
            raise ConfigError(
                f"{stack.path}: no page in {partner.path} belongs to {told}; every slice needs its label: add or "
                "remove pages, or name them alike"
            )
        if len(set(cores[own])) < len(cores[own]):
            raise ConfigError(f"{stack.path}: two pages have the same number; remove or rename one of them")
    if cores[0] != cores[1]:
        raise ConfigError(f"{labels.path}: its pages are in another order than those of {images.path}; name them alike")
    if not independent and (missing := missing_numbers(core_names(names[0]))):
        told = ", ".join(map(str, missing[:_MOST_TOLD])) + ", ..." * (len(missing) > _MOST_TOLD)
        raise ConfigError(
            f"{images.path}: pages are numbered {names[0][0]} to {names[0][-1]}, but {told} is missing; slices on "
            "both sides of a hole are no neighbours: add it, name each part as a stack of its own, or say "
            "--independent if the pages are fields of view"
        )
