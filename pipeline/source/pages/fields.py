"""Fields of view: pictures of several sizes in one folder, or one folder a picture. Each size is a stack."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from shlex import quote
from typing import NamedTuple, TypeAlias

from pipeline.errors import ConfigError, SourceError, counted
from pipeline.source.pages.folder import PageFolder, divided_files, has_pages, image_files, is_same_file, page_files
from pipeline.source.pages.folder_stacks import FolderLayout, FolderStack
from pipeline.source.pages.formats import FileSlices, open_file
from pipeline.source.pages.layouts import image_folder, inner_folders, subfolders
from pipeline.source.pages.object_masks import ObjectMasks
from pipeline.source.pages.partners import match_names

_MAX_LISTED = 3
_MAX_SIZES = 1000  # what the ids of samples have room for

Size: TypeAlias = tuple[int, ...]


class Field(NamedTuple):
    """One picture, what it is called, and the file of its label, or one file for each object in it."""

    name: str
    image: Path
    labels: tuple[Path, ...]


def several_sizes(images: Path, labels: Path, *, colour: bool = False) -> FolderLayout | None:
    """Return the stacks of pictures of several sizes in a folder; None where all have one size, or no partners.

    Args:
        images: the folder.
        labels: that of their labels, or the same one.
        colour: whether labels may be colours.

    Raises:
        ConfigError: more sizes than a dataset can have stacks.
        SourceError: a file cannot be read, or a label is not of its picture's size.
    """
    try:
        files = divided_files(images) if is_same_file(images, labels) else (page_files(images), page_files(labels))
        stems = [[file.stem for file in each] for each in files]
        partners = [files[1][place] for place in match_names(stems[0], stems[1], (str(images), str(labels)))]
    except ConfigError:
        return None
    sizes = [_size_of(image) for image in files[0]]
    if len(set(sizes)) == 1:
        return None
    for image, label, size in zip(files[0], partners, sizes, strict=True):
        if (found := _size_of(label, labels=True, colour=colour)) != size:
            raise SourceError(
                f"{label}: {found[0]} x {found[1]} px, but its image {image.name} is {size[0]} x {size[1]} px; export "
                "them again, alike"
            )
    fields = [Field(image.stem, image, (label,)) for image, label in zip(files[0], partners, strict=True)]
    open_labels = partial(PageFolder, labels, labels=True, colour=colour)
    stacks = _by_size(fields, sizes, images, lambda each: open_labels([file for (file,) in each]))
    note = f"{images}: {len(fields)} pictures of {_sizes(sizes)}, a stack a size"
    return FolderLayout(stacks, (note,), independent=True)


def folder_each(root: Path, *, colour: bool = False) -> FolderLayout | None:
    """Return the stacks of a folder in which every picture has a folder of its own; None where it is no such folder.

    The picture is in a folder named images there, its label in one named masks, in one file, or one file an object.

    Raises:
        ConfigError: a folder has no image, several, or no folder of masks.
        SourceError: a file cannot be read.
    """
    found = {folder: inner_folders(folder) for folder in folders_each(root)}
    if not found:
        return None
    _require_no_stacks(root, [pair for pair in found.values() if pair])
    fields = [
        Field(folder.name, _only_image(images), page_files(labels) if has_pages(labels) else ())
        for folder, (images, labels) in ((folder, pair) for folder, pair in found.items() if pair)
    ]
    one_each = all(len(field.labels) == 1 for field in fields)
    n_files = sum(len(field.labels) for field in fields)

    def open_labels(files: Sequence[tuple[Path, ...]]) -> FileSlices:
        if not one_each:
            return ObjectMasks(root, files)
        return PageFolder(root, [each[0] for each in files], labels=True, colour=colour)

    sizes = [_size_of(field.image) for field in fields]
    what = "one mask each" if one_each else f"one mask an object ({n_files} in all)"
    notes = [f"{root}: {len(fields)} folders of one picture, of {_sizes(sizes)}, with {what}"]
    if others := [folder.name for folder in subfolders(root) if folder not in found]:
        notes.append(
            f"{root}: {counted(len(others), 'folder')} without images and labels, such as {others[0]}, not read"
        )
    if not one_each and (called := _class_names(fields)):
        notes.append(
            f"{root}: the masks of every picture are called {', '.join(called)}, as if each were a class; if they are, "
            "make one label of them (0, 1, 2, ...) for each picture: here each mask is one object"
        )
    if empty := [field.name for field in fields if not field.labels]:
        notes.append(f"{root}: no mask for {counted(len(empty), 'picture')}, such as {empty[0]}: they show no object")
    stacks = _by_size(fields, sizes, root, open_labels)
    return FolderLayout(stacks, tuple(notes), independent=True)


def image_stacks(path: Path) -> list[PageFolder]:
    """Return the pictures in a folder, or in a source folder, without labels: a stack for each size.

    Raises:
        ConfigError: there is none.
        SourceError: a file cannot be read.
    """
    files: Sequence[Path] = ()
    if not has_pages(path):
        found = [inner_folders(folder) for folder in folders_each(path)]
        files = [_only_image(pair[0]) for pair in found if pair]
        path = path if files else image_folder(path) or path
    files = files or image_files(path)
    of_size: dict[Size, list[Path]] = {}
    for file in files:
        of_size.setdefault(_size_of(file), []).append(file)
    return [PageFolder(path, each) for each in of_size.values()]


def folders_each(root: Path) -> list[Path]:
    """Return the folders of a folder, if each is of one picture: with folders of images and of labels in it.

    Raises:
        ConfigError: some have images alone, or labels alone.
    """
    if has_pages(root):
        return []
    whole, parts = [], []
    for folder in subfolders(root):
        try:
            whole += [folder] if inner_folders(folder) else []
        except ConfigError:
            parts.append(folder)
    if whole and parts:
        raise ConfigError(
            f"{parts[0]}: expected a folder of images and one of labels, as {whole[0].name} has; add what is missing "
            "(an empty folder of masks, if the picture shows no object), or move it away"
        )
    return whole


def _require_no_stacks(root: Path, pairs: Sequence[tuple[Path, Path]]) -> None:
    """Refuse folders all of which hold several pictures, such as train and test; test is named last in what to say."""
    if any(len(page_files(images)) == 1 for images, _ in pairs):
        return
    ordered = sorted(
        pairs, key=lambda pair: ["test" in pair[0].parent.name.lower(), "val" in pair[0].parent.name.lower()]
    )
    named = " ".join(
        f"--images {quote(str(images))} --labels {quote(str(labels))}" for images, labels in ordered[:_MAX_LISTED]
    )
    more = f", and so on for all {len(pairs)}" if len(pairs) > _MAX_LISTED else ""
    raise ConfigError(
        f"{root}: expected one picture in each folder of images, found several; name each folder as a stack: "
        f"{named}{more}; --split stack holds out the last ones whole"
    )


def _size_of(file: Path, *, labels: bool = False, colour: bool = False) -> Size:
    """Return (height, width) of a page of a folder."""
    return open_file(file, labels=labels, colour=colour, one_slice=True).shape[1:3]


def _by_size(
    fields: Sequence[Field],
    sizes: Sequence[Size],
    folder: Path,
    open_labels: Callable[[Sequence[tuple[Path, ...]]], FileSlices],
) -> tuple[FolderStack, ...]:
    """Return a stack for each size, in the order of their first pictures; one size alone is a sequence by itself."""
    of_size: dict[Size, list[int]] = {}
    for place, size in enumerate(sizes):
        of_size.setdefault(size, []).append(place)
    if len(of_size) > _MAX_SIZES:
        raise ConfigError(
            f"{folder}: its pictures have {len(of_size)} sizes, and ids have room for {_MAX_SIZES} stacks; cut or pad "
            "the pictures to fewer sizes"
        )
    return tuple(
        FolderStack(
            images=PageFolder(folder, [fields[place].image for place in places]),
            labels=open_labels([fields[place].labels for place in places]),
            names=tuple(fields[place].name for place in places),
            label_names=tuple(_label_name(fields[place].labels) for place in places),
            sequence=tuple(places) if len(of_size) > 1 else (),
        )
        for places in of_size.values()
    )


def _class_names(fields: Sequence[Field]) -> list[str]:
    """Return what the masks of every picture are called, if all have the same names and none a number."""
    names = {frozenset(file.stem for file in field.labels) for field in fields if field.labels}
    same = sorted(next(iter(names))) if len(names) == 1 and len(fields) > 1 else []
    return [] if any(letter.isdigit() for name in same for letter in name) else same[:_MAX_LISTED]


def _label_name(files: Sequence[Path]) -> str:
    return files[0].stem if len(files) == 1 else counted(len(files), "mask")


def _sizes(sizes: Iterable[Size]) -> str:
    """Return the sizes there are, the most frequent first."""
    counts = Counter(sizes).most_common()
    listed = ", ".join(f"{height} x {width}" for (height, width), _ in counts[:_MAX_LISTED])
    if len(counts) == 1:
        return f"{listed} px"
    return f"{len(counts)} sizes ({listed}{', ...' if len(counts) > _MAX_LISTED else ''})"


def _only_image(folder: Path) -> Path:
    """Return the one picture in a folder."""
    found = page_files(folder)
    if len(found) > 1:
        raise ConfigError(
            f"{folder}: expected one picture in a folder beside its masks, found {len(found)}; move all but one away"
        )
    return found[0]
