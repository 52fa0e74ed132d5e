"""The source that the options of a build name: a folder, pairs of files, or none, which is the built-in phantom."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.config_file import ConfigFile
from pipeline.cli.given import Given
from pipeline.cli.voice import Voice
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.source.stacks import Source

_NAMING = frozenset({"source", "images", "labels"})


@dataclass(frozen=True, slots=True)
class SourceChoice:
    """What to read.

    Attributes:
        folder: one with train-volume.tif and train-labels.tif.
        pairs: images and labels, stack by stack, instead of a folder.
        how: what `read_folder` and `read_pairs` are told about either.
        notes: what the user should know of the choice.
    """

    folder: Path | None
    pairs: tuple[tuple[Path, Path], ...]
    how: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def choose_source(given: Given, file: ConfigFile | None) -> SourceChoice:
    """Return the source that was asked for; what the command line names makes void what a file names.

    Raises:
        ConfigError: a folder and files, or images without labels.
    """
    if "source" in given.flags:
        given = given.without_file("images", "labels")
    elif given.flags & {"images", "labels"}:
        given = given.without_file("source")
    folder, images, labels = given.get("source"), given.get("images", ()), given.get("labels", ())
    place = "build" if file is None or given.flags & _NAMING else str(file.path)
    if bool(images) != bool(labels) or (images and folder):
        raise ConfigError(f"{place}: name either a SOURCE folder, or both --images and --labels")
    if len(images) != len(labels):
        raise ConfigError(
            f"{place}: expected one --labels for every --images, in the same order, got {len(images)} --images and "
            f"{len(labels)} --labels"
        )
    how = {**given.only("name", "label_kind", "independent"), "facts": dict(file.facts) if file else None}
    return SourceChoice(folder, tuple(zip(images, labels, strict=True)), how, _notes(given, file))


def read_source(choice: SourceChoice, say: Voice) -> "Source":
    """Return the source, saying first which one it is, and then what there is to know about it.

    Raises:
        ConfigError: a file is missing, or what was said about the source does not fit it.
        SourceError: a file cannot be read.
    """
    from pipeline.source.readers import find_source, read_folder, read_pairs

    say.lines(choice.notes)
    if choice.pairs:
        for images, labels in choice.pairs:
            say.line(f"source: {images} with {labels}")
        source = read_pairs(choice.pairs, **choice.how)
    elif (folder := find_source(choice.folder)) is not None:
        say.line(f"source: {folder}")
        source = read_folder(folder, **choice.how)
    else:
        source = _read_phantom(choice, say)
    name = choice.how.get("name")
    if name is not None and source.name != name:
        say.line(f"name: {source.name}, because these are its pixels; the name {name} is not used")
    say.lines(source.notes)
    return source


def _notes(given: Given, file: ConfigFile | None) -> tuple[str, ...]:
    """Return which file is used, and a warning where its facts may not belong to the pixels."""
    if file is None:
        return ()
    told = f"config: {file.path}"
    if file.facts and _NAMING & file.options.keys() and _NAMING & given.flags:
        told += "; its facts about the source are recorded, though the command line names another source than it does"
    return (told,)


def _read_phantom(choice: SourceChoice, say: Voice) -> "Source":
    from pipeline.source.readers import DEFAULT_FOLDER, phantom_source

    say.line(
        f"source: the built-in phantom, a synthetic stack, because there is no {DEFAULT_FOLDER}. For a real one, "
        "name a folder with train-volume.tif and train-labels.tif, or --images and --labels (README: Data)"
    )
    if choice.how.get("independent"):
        raise ConfigError("independent: the slices of the built-in phantom are neighbours; leave it out")
    if (kind := choice.how.get("label_kind", "auto")) not in ("auto", "binary"):
        raise ConfigError(f"label-kind: the labels of the built-in phantom are binary, not {kind}; leave it out")
    if choice.how["facts"]:
        say.line("facts: the built-in phantom has its own; those in [source] of the config file are not used")
    return phantom_source(name=choice.how.get("name"))
