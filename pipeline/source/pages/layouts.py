"""Which folders in a source folder hold the images and which the labels, by what people call them."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.source.pages.partners import natural_key

_OF_IMAGES = ("images", "image", "imgs", "img", "raw")
_OF_LABELS = ("labels", "label", "lbls", "masks", "mask", "annotations", "annotation", "seg", "gt")


def inner_folders(folder: Path) -> tuple[Path, Path] | None:
    """Return the one folder of images and the one folder of labels in a folder; None where it has neither.

    Raises:
        ConfigError: it has one kind alone, or several folders of a kind.
    """
    images, labels = _inner(folder, _OF_IMAGES), _inner(folder, _OF_LABELS)
    if len(images) == len(labels) == 1:
        return images[0], labels[0]
    if not images and not labels:
        return None
    for found, kind, names in ((images, "images", _OF_IMAGES), (labels, "labels", _OF_LABELS)):
        if not found:
            raise ConfigError(f"{folder}: has no folder of {kind} ({', '.join(names)}); {_command(images, labels)}")
    found, kind = (images, "images") if len(images) > 1 else (labels, "labels")
    listed = ", ".join(path.name for path in found)
    raise ConfigError(f"{folder}: any of {listed} may hold the {kind}; {_command(images, labels)}")


def image_folder(folder: Path) -> Path | None:
    """Return the one folder of images in a folder; None where there are none or several."""
    images = _inner(folder, _OF_IMAGES)
    return images[0] if len(images) == 1 else None


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, in the natural order of their names.

    Raises:
        ConfigError: it cannot be looked into.
    """
    try:
        found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))]
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be looked into ({error.strerror}); name another folder") from error
    return sorted(found, key=lambda path: (natural_key(path.name), path.name))


def _inner(folder: Path, names: Sequence[str]) -> list[Path]:
    """Return the folders of some names in a folder."""
    return [path for path in subfolders(folder) if path.name.lower() in names]


def _command(images: list[Path], labels: list[Path]) -> str:
    """Return the advice that answers what is not known, with what is."""
    places = (shlex.quote(str(found[0])) if found else "FOLDER" for found in (images, labels))
    return "say which, as in augpipe build --images {} --labels {}".format(*places)
