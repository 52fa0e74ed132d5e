"""Reading sources from files, from folders of pages, or from nothing but the built-in phantom."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError
from pipeline.files import storage_errors
from pipeline.shards.config import CHANNELS, JOINS, STACKS
from pipeline.source.combining import combine, make_source
from pipeline.source.gray_levels import ScaleGray
from pipeline.source.known_stacks import PHANTOM
from pipeline.source.labels import AUTO, DEFAULT_OPTIONS, LabelOptions
from pipeline.source.pages.address import holds_many, split_address
from pipeline.source.stacks import RawStack, Slices, Source

if TYPE_CHECKING:
    from pipeline.source.regions import Boxes, Regions
    from pipeline.source.resampling import PixelSize

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
    independent: bool | None = None,
    channels_are_slices: bool | None = None,
    channel: Sequence[str] = (),
    scale_gray: ScaleGray | None = None,
    pixel_size: "PixelSize | None" = None,
    regions: "Regions | Sequence[Boxes | None] | None" = None,
    silver: bool = False,
    ctc: bool = False,
    facts: Mapping[str, Any] | None = None,
) -> Source:
    """Return the source in a folder; see `source_pairs` for what it holds, and `read_pairs` for the options.

    Raises:
        ConfigError: the folder or one of the files is missing, or the two do not belong together.
        SourceError: a file cannot be read.
    """
    return read_pairs(
        source_pairs(folder, silver=silver, ctc=ctc),
        name=name or as_name(folder.resolve().name),
        label_kind=label_kind,
        label_options=label_options,
        independent=independent,
        channels_are_slices=channels_are_slices,
        channel=channel,
        scale_gray=scale_gray,
        pixel_size=pixel_size,
        regions=regions,
        facts=facts,
    )


def source_pairs(folder: Path, *, silver: bool = False, ctc: bool = False) -> list[tuple[Path, Path]]:
    """Return the images and the labels in a source folder, one pair a stack or a layout.

    They are train-volume.tif and train-labels.tif; where neither is there, what the folder is laid out like:

    - imagesTr and labelsTr, as nnU-Net has them;
    - sequences of the Cell Tracking Challenge: 01 and 01_GT/SEG, 02 and 02_GT/SEG;
    - the one folder of images and the one of labels in it, by their names: images, image, imgs, img or raw; labels,
      label, masks, mask, annotations, seg, ...;
    - such folders in a folder for each picture: then the folder itself has both.

    Args:
        folder: the folder.
        silver: of the Cell Tracking Challenge, take the computed annotations, 01_ST/SEG.
        ctc: it must be a set of that challenge.

    Raises:
        ConfigError: the folder or one of the two is missing, or there are several.
    """
    from pipeline.source.pages.fields import folders_each
    from pipeline.source.pages.layouts import inner_folders
    from pipeline.source.pages.nnunet import case_folders
    from pipeline.source.pages.tracking import sequence_pairs

    if not folder.is_dir():
        raise ConfigError(
            f"{folder}: expected a folder with {IMAGES_FILE} and {LABELS_FILE}, found "
            f"{'a file; name single files with --images and --labels' if folder.exists() else 'nothing'}"
        )
    if ctc or silver:
        if pairs := sequence_pairs(folder, silver=silver):
            return pairs
        raise ConfigError(
            f"{folder}: expected a training set of the Cell Tracking Challenge, with 01 and 01_GT/SEG, found none"
        )
    usual = folder / IMAGES_FILE, folder / LABELS_FILE
    missing = [path for path in usual if not path.is_file()]
    if len(missing) == len(usual):
        if found := case_folders(folder):
            return [found]
        if pairs := sequence_pairs(folder):
            return pairs
        if found := inner_folders(folder):
            return [found]
        if folders_each(folder):
            return [(folder, folder)]
    if missing:
        raise ConfigError(
            f"{folder}: {missing[0].name} is missing; a source folder holds {IMAGES_FILE} and {LABELS_FILE}, or the "
            "folders images and labels, or a folder with these for each picture. Name other files, or folders of "
            "single pages, with --images and --labels"
        )
    return [usual]


def read_files(images: Path, labels: Path, *, name: str | None = None) -> Source:
    """Return the source in one pair of files or folders of pages; see `read_pairs`."""
    return read_pairs([(images, labels)], name=name)


def read_pairs(
    pairs: Sequence[tuple[Path, Path]],
    *,
    name: str | None = None,
    label_kind: str = AUTO,
    label_options: LabelOptions = DEFAULT_OPTIONS,
    independent: bool | None = None,
    channels_are_slices: bool | None = None,
    channel: Sequence[str] = (),
    join: str = STACKS,
    scale_gray: ScaleGray | None = None,
    pixel_size: "PixelSize | None" = None,
    regions: "Regions | Sequence[Boxes | None] | None" = None,
    facts: Mapping[str, Any] | None = None,
) -> Source:
    """Return the source in pairs of images and labels, one stack a pair.

    Args:
        pairs: (images, labels), each a multi-page TIFF file, an array of an HDF5 file (`a.h5:/volumes/raw`), a Zarr
            folder or zip file, or a folder of single TIFF, PNG, BMP or JPEG pages.
        name: what to call it; the base names of the images unless given.
        label_kind: binary, classes, instances, or `auto`.
        label_options: what else is to be made of the labels.
        independent: the slices are fields of view without neighbours: numbers may be missing between their names. By
            default as the layout of the files shows, see `find_layout`.
        channels_are_slices: whether the planes of an image file that it calls channels, and nothing else, are slices,
            as some programs call them, or, if False, the channels of one slice.
        channel: which channels to keep, in that order, by their names or numbers; all where none is named.
        join: what pairs of the same labels are that follow each other: `channels` of one stack, or `stacks`.
        scale_gray: how to scale the gray levels of all stacks, if at all.
        pixel_size: how large the pixels of all stacks are to be, if they are to be resampled.
        regions: how large slices are cut into boxes, each a slice of its own; or the boxes of each stack, None where it
            is not cut.
        facts: title, specimen, licence, citation, voxel_size_nm and url, where known.

    Raises:
        ConfigError: something is missing, or images and labels do not belong together.
        SourceError: a file cannot be read.
    """
    from pipeline.source.opening import Opening, open_layout, open_stack, part_names
    from pipeline.source.pages.formats import stem_of

    if not pairs:
        raise ConfigError("images: expected at least one stack, got none")
    if channel and channels_are_slices:
        raise ConfigError("channel: channels that are slices cannot be chosen; leave out --channels-are-slices")
    from pipeline.source.pages.folder_stacks import are_fields, find_layout, in_one_sequence, numbered_anew

    _require_own_files(pairs, join)
    groups = [list(group) for _, group in groupby(pairs, key=_key_of(join))]
    colour = label_options.are_colors
    skip = label_options.skip_unlabelled
    find = partial(find_layout, independent=independent, colour=colour, skip_unlabelled=skip)
    layouts = [find(*group[0]) if len(group) == 1 else None for group in groups]
    asked = independent is not None
    if independent is None:
        independent = are_fields([group[0] for group in groups], layouts)
    how = Opening(independent, channels_are_slices, tuple(channel), colour)
    names = part_names(groups)
    raw: list[RawStack] = []
    for group, layout in zip(groups, layouts, strict=True):
        if layout and layout.stacks:
            raw += open_layout(group[0], layout, how)
        else:
            raw.append(open_stack(group, names, how))
    raw, reading = in_one_sequence(raw), None
    if pixel_size is not None:
        from pipeline.source.pixel_size import stored_pixel_nm
        from pipeline.source.resampling import at_pixel_size

        stored = [None if pixel_size.stacks_nm else stored_pixel_nm(stack.images) for stack in raw]
        raw, reading = at_pixel_size(raw, pixel_size, stored)
    cut_notes: list[str] = []
    if regions is not None:
        raw, cut_notes = _cut(raw, regions)
        raw = numbered_anew(raw)
    bases = [stem_of(images) for images, _ in pairs]
    source = combine(
        raw,
        name=name or as_name("-".join(bases)),
        label_kind=label_kind,
        label_options=label_options,
        scale_gray=scale_gray,
        reading=reading,
        facts=facts,
    )
    options = {"channels_are_slices": channels_are_slices, "channel": list(channel), "join": join}
    return replace(
        source,
        notes=(
            *(f"source: {note}" for layout in layouts if layout for note in layout.notes(asked=asked)),
            *cut_notes,
            *source.notes,
        ),
        independent=independent,
        films=all(layout and layout.films for layout in layouts),
        options={key: value for key, value in options.items() if value not in (None, [], STACKS)},
    )


def _cut(raw: list[RawStack], regions: "Regions | Sequence[Boxes | None]") -> tuple[list[RawStack], list[str]]:
    """Return stacks cut into boxes, and what to say of it."""
    from pipeline.source.regions import Regions, cut_stack, cut_stacks

    if isinstance(regions, Regions):
        return cut_stacks(raw, regions)
    if len(regions) != len(raw):
        return raw, []  # its digests tell that it is another source
    return [stack if boxes is None else cut_stack(stack, boxes) for stack, boxes in zip(raw, regions, strict=True)], []


def read_images(path: Path) -> list[Slices]:
    """Return the stacks of images in a file, a folder of pages, or a source folder, without any labels.

    Of a folder that has pages and their labels, as `img_0` and `img_0_masks`, the labels are left out. Pages of several
    sizes are a stack a size.

    Raises:
        ConfigError: there is none.
        SourceError: it cannot be read.
    """
    from pipeline.source.opening import open_slices
    from pipeline.source.pages.fields import image_stacks
    from pipeline.source.pages.formats import is_page_folder

    if (path / IMAGES_FILE).is_file():
        path /= IMAGES_FILE
    if is_page_folder(path):
        return list(image_stacks(path))
    return [open_slices(path, labels=False)]


def phantom_source(*, name: str | None = None) -> Source:
    """Return the built-in phantom; it is recognised by its pixels, so `name` cannot hide what it is."""
    from pipeline.source.phantom import make_phantom

    images, labels = make_phantom()
    return make_source(images, labels, name=name or PHANTOM)


def write_phantom(folder: Path, *, n_classes: int = 2) -> tuple[Path, Path]:
    """Write the phantom as a source folder and return its two files; see `make_phantom` for its classes.

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
    for path, stack in zip(paths, make_phantom(n_classes=n_classes), strict=True):
        write_stack(path, stack)
    return paths


def as_name(text: str) -> str:
    """Return a file's or folder's name with all that a dataset's name may not hold replaced by dashes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:_MAX_NAME] or "stack"


def _require_own_files(pairs: Sequence[tuple[Path, Path]], join: str) -> None:
    """Refuse labels that are images, also through links; one folder or file of arrays may hold both of a stack.

    Labels of two stacks are refused, too: images of the same labels are channels, and no stacks of their own.
    """
    stack_of = {_identity(images): stack for stack, (images, _) in enumerate(pairs)}
    for stack, (_, labels) in enumerate(pairs):
        same = stack_of.get(_identity(labels))
        if same is not None and (same != stack or not holds_many(labels)):
            images = pairs[same][0]
            raise ConfigError(f"{labels}: named for labels, but is the images {images}; name what holds the labels")
    of_labels: dict[object, Path] = {}
    for images, labels in pairs if join == STACKS else ():
        if (first := of_labels.setdefault(_identity(labels), images)) != images:
            raise ConfigError(
                f"{labels}: named for the labels of {first} and of {images}; name every stack once, or say --join "
                "channels if these are channels of one"
            )


def _identity(path: Path) -> tuple[int, int, str] | Path:
    """Return what is the same for all names of a file or folder, or of something in it."""
    file, inside = split_address(path)
    try:
        status = file.stat()
    except OSError:
        return path
    return status.st_dev, status.st_ino, inside


def _key_of(join: str) -> Callable[[tuple[Path, Path]], object]:
    """Return what pairs of one stack have in common: their labels where pairs are channels, else nothing.

    Raises:
        ConfigError: pairs are neither channels nor stacks.
    """
    if join not in JOINS:
        raise ConfigError(f"join: expected {' or '.join(JOINS)}, got {join!r}")
    number = count()
    return (lambda pair: _identity(pair[1])) if join == CHANNELS else (lambda _: next(number))
