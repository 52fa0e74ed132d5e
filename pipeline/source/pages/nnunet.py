"""Raw datasets of nnU-Net: dataset.json, imagesTr and labelsTr, where a case's image has the number of its channel."""

import json
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import ConfigError, counted
from pipeline.source.pages.folder import page_files
from pipeline.source.pages.folder_stacks import FolderLayout, FolderStack
from pipeline.source.pages.formats import open_file
from pipeline.source.pages.partners import match_names

_IMAGES, _LABELS, _ABOUT = "imagesTr", "labelsTr", "dataset.json"


def case_folders(root: Path) -> tuple[Path, Path] | None:
    """Return the images and the labels of a raw dataset; None where the folder is none.

    Raises:
        ConfigError: one of the two is missing.
    """
    images, labels = root / _IMAGES, root / _LABELS
    if not (images.is_dir() or labels.is_dir()):
        return None
    for folder in (images, labels):
        if not folder.is_dir():
            raise ConfigError(f"{folder}: a raw dataset of nnU-Net has {_IMAGES} and {_LABELS}; add what is missing")
    return images, labels


def open_cases(images: Path, labels: Path) -> FolderLayout | None:
    """Return the cases of a raw dataset: a stack each where they are volumes, else plain pages; None if it is none.

    Raises:
        ConfigError: a case has no label, or a volume has several channels.
        SourceError: a file cannot be read.
    """
    if (images.name, labels.name) != (_IMAGES, _LABELS) or not (labels.parent / _ABOUT).is_file():
        return None
    files = page_files(images), page_files(labels)
    if len(open_file(files[1][0], labels=True)) == 1:
        note = f"{images}: {counted(len(files[1]), 'case')} of nnU-Net, a picture each"
        return FolderLayout((), (note, *_ignore_note(labels)), independent=True)
    if len(files[0]) > len(files[1]):
        raise ConfigError(
            f"{images}: {len(files[0])} files for {counted(len(files[1]), 'volume')}; of volumes, one channel is read: "
            "leave the files of one, such as _0000, in a copy"
        )
    stems = [[file.stem for file in each] for each in files]
    places = match_names(stems[0], stems[1], (str(images), str(labels)))
    stacks = tuple(
        FolderStack(
            images=open_file(image, labels=False),
            labels=open_file(files[1][place], labels=True),
            names=(image.stem,),
            label_names=(stems[1][place],),
        )
        for image, place in zip(files[0], places, strict=True)
    )
    note = f"{images}: {counted(len(stacks), 'case')} of nnU-Net, a stack each"
    return FolderLayout(stacks, (note, *_ignore_note(labels)), films=True)  # a case is a patient: held out whole


def _ignore_note(labels: Path) -> Iterator[str]:
    """Yield which label nnU-Net leaves out of its loss, if its record of the dataset names one."""
    path = labels.parent / _ABOUT
    try:
        value = json.loads(path.read_bytes())["labels"]["ignore"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return
    if isinstance(value, int):
        yield f"{path}: calls {value} ignore; that is left to you: --ignore {value}, or it is a class like others"
