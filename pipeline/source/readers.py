"""Reading sources from files, from folders of pages, or from nothing but the built-in phantom."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError, SourceError
from pipeline.files import storage_errors
from pipeline.shards.digest import bytes_digest, file_digest
from pipeline.source.combining import combine, make_source
from pipeline.source.known_stacks import PHANTOM
from pipeline.source.labels import AUTO, DEFAULT_OPTIONS, LabelOptions
from pipeline.source.pages.address import holds_many, split_address
from pipeline.source.stacks import RawStack, Slices, Source, SourceFile

if TYPE_CHECKING:
    from pipeline.source.pages.formats import FileSlices

DEFAULT_FOLDER = Path("data/isbi2012")
IMAGES_FILE, LABELS_FILE = "train-volume.tif", "train-labels.tif"
_MAX_NAME = 80


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
    label_options: LabelOptions = DEFAULT_OPTIONS,
    independent: bool = False,
    channels_are_slices: bool = False,
    facts: Mapping[str, Any] | None = None,
) -> Source:
    """Return the source in a folder; see `source_pair` for what it holds.

    Raises:
        ConfigError: the folder or one of the files is missing, or the two do not belong together.
        SourceError: a file cannot be read.
    """
    return read_pairs(
        [source_pair(folder)],
        name=name or as_name(folder.resolve().name),
        label_kind=label_kind,
        label_options=label_options,
        independent=independent,
        channels_are_slices=channels_are_slices,
        facts=facts,
    )


def source_pair(folder: Path) -> tuple[Path, Path]:
    """Return the images and the labels in a source folder.

    They are train-volume.tif and train-labels.tif; where neither is there, the one folder of images and the one of
    labels in it, by their names: images, image, imgs, img or raw; labels, label, masks, mask, annotations, seg, ...

    Raises:
        ConfigError: the folder or one of the two is missing, or there are several.
    """
    from pipeline.source.pages.layouts import inner_folders

    if not folder.is_dir():
        raise ConfigError(
            f"{folder}: expected a folder with {IMAGES_FILE} and {LABELS_FILE}, found "
            f"{'a file; name single files with --images and --labels' if folder.exists() else 'nothing'}"
        )
    usual = folder / IMAGES_FILE, folder / LABELS_FILE
    missing = [path for path in usual if not path.is_file()]
    if len(missing) == len(usual) and (found := inner_folders(folder)):
        return found
    if missing:
        raise ConfigError(
            f"{folder}: {missing[0].name} is missing; a source folder holds {IMAGES_FILE} and {LABELS_FILE}, or the "
            "folders images and labels. Name other files, or folders of single pages, with --images and --labels"
        )
    return usual


def read_files(images: Path, labels: Path, *, name: str | None = None) -> Source:
    """Return the source in one pair of files or folders of pages; see `read_pairs`."""
    return read_pairs([(images, labels)], name=name)


def read_pairs(
    pairs: Sequence[tuple[Path, Path]],
    *,
    name: str | None = None,
    label_kind: str = AUTO,
    label_options: LabelOptions = DEFAULT_OPTIONS,
    independent: bool = False,
    channels_are_slices: bool = False,
    facts: Mapping[str, Any] | None = None,
) -> Source:
    """Return the source in pairs of images and labels, one stack a pair.

    Args:
        pairs: (images, labels), each a multi-page TIFF file, an array of an HDF5 file (`a.h5:/volumes/raw`), a Zarr
            folder or zip file, or a folder of single TIFF, PNG, BMP or JPEG pages.
        name: what to call it; the base names of the images unless given.
        label_kind: binary, classes, instances, or `auto`.
        label_options: what else is to be made of the labels.
        independent: the slices are fields of view without neighbours: numbers may be missing between their names.
        channels_are_slices: the planes that an image file calls channels are its slices, as some programs call them.
        facts: title, specimen, licence, citation, voxel_size_nm and url, where known.

    Raises:
        ConfigError: something is missing, or images and labels do not belong together.
        SourceError: a file cannot be read.
    """
    from pipeline.source.pages.formats import stem_of

    if not pairs:
        raise ConfigError("images: expected at least one stack, got none")
    _require_own_files(pairs)
    open_pair = partial(
        _open_pair, independent=independent, ask=not channels_are_slices, colour=label_options.are_colors
    )
    raw = [open_pair(images, labels) for images, labels in pairs]
    bases = [stem_of(images) for images, _ in pairs]
    name = name or as_name("-".join(bases))
    return combine(raw, name=name, label_kind=label_kind, label_options=label_options, facts=facts)


def read_images(path: Path) -> list[Slices]:
    """Return the stack of images in a file, a folder of pages, or a source folder, without any labels.

    Of a folder that has pages and their labels, as `img_0` and `img_0_masks`, the labels are left out.

    Raises:
        ConfigError: there is none.
        SourceError: it cannot be read.
    """
    if (path / IMAGES_FILE).is_file():
        path /= IMAGES_FILE
    from pipeline.source.pages.formats import is_page_folder

    if is_page_folder(path):
        from pipeline.source.pages.folder import PageFolder, has_pages, image_files
        from pipeline.source.pages.layouts import image_folder

        if not has_pages(path):
            path = image_folder(path) or path
        return [PageFolder(path, image_files(path))]
    return [_open(path, labels=False)]


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
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:_MAX_NAME] or "stack"


def _require_own_files(pairs: Sequence[tuple[Path, Path]]) -> None:
    """Refuse labels that are images, also through links; one folder or file of arrays may hold both of a stack."""
    stack_of = {_identity(images): stack for stack, (images, _) in enumerate(pairs)}
    for stack, (_, labels) in enumerate(pairs):
        same = stack_of.get(_identity(labels))
        if same is not None and (same != stack or not holds_many(labels)):
            images = pairs[same][0]
            raise ConfigError(f"{labels}: named for labels, but is the images {images}; name what holds the labels")


def _identity(path: Path) -> tuple[int, int, str] | Path:
    """Return what is the same for all names of a file or folder, or of something in it."""
    file, inside = split_address(path)
    try:
        status = file.stat()
    except OSError:
        return path
    return status.st_dev, status.st_ino, inside


def _open_pair(images_path: Path, labels_path: Path, *, independent: bool, ask: bool, colour: bool) -> RawStack:
    from pipeline.source.pages.folder import open_folders
    from pipeline.source.pages.formats import is_page_folder, stem_of

    images: FileSlices
    labels: FileSlices
    if is_page_folder(images_path) and is_page_folder(labels_path):
        images, labels = open_folders(images_path, labels_path, independent=independent, colour=colour)
    else:
        images, labels = _open(images_path, labels=False), _open(labels_path, labels=True, colour=colour)
    if (images.path, images.files) == (labels.path, labels.files):
        raise ConfigError(f"{labels.path}: named for labels, but is the images themselves; name what holds the labels")
    if ask and images.axis == "channels":
        raise ConfigError(
            f"{images_path}: calls its {len(images)} planes channels; if they are the slices of a stack, say "
            "--channels-are-slices; if they are channels of one picture, export the one to train on: several are not "
            "supported yet"
        )
    return RawStack(
        images,
        labels,
        where=(str(images_path), str(labels_path)),
        palette=labels.palette,
        channels=images.channels,
        names=tuple(f.stem for f in images.files) if is_page_folder(images_path) else (stem_of(images_path),),
        files=(_source_file(images), _source_file(labels)),
    )


def _open(path: Path, *, labels: bool, colour: bool = False) -> "FileSlices":
    from pipeline.source.pages.folder import PageFolder
    from pipeline.source.pages.formats import is_page_folder, open_file

    open_path = PageFolder if is_page_folder(path) else open_file
    return open_path(path, labels=labels, colour=colour)


def _source_file(stack: "FileSlices") -> SourceFile:
    """Return where a stack was read from; the digest of a folder is that of its files' digests, in order."""
    from pipeline.source.pages.formats import decoder_of

    try:
        digests = [file_digest(file) for file in stack.files]
    except OSError as error:
        raise SourceError(f"{error.filename or stack.path}: cannot be read ({error.strerror or error})") from error
    digest = bytes_digest("".join(digests).encode("ascii")) if stack.path.is_dir() else digests[0]
    return SourceFile(stack.path.resolve(), digest, decoder_of(stack.files))
