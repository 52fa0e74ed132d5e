"""What a pair of folders holds that is more than one plain stack."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import ConfigError, SourceError
from pipeline.source.pages.formats import FileSlices
from pipeline.source.stacks import RawStack

_AS_FIELDS = "taken for fields of view without neighbours; --no-independent if they are sections of one specimen"


class FolderStack(NamedTuple):
    """One of the stacks that a pair of folders holds.

    Attributes:
        images: its slices.
        labels: their labels.
        names: what each slice is called.
        label_names: what its label is called.
        sequence: the place of each slice among those of all stacks; empty where each stack is a sequence by itself.
        skipped: slices without a label.
    """

    images: FileSlices
    labels: FileSlices
    names: tuple[str, ...]
    label_names: tuple[str, ...] = ()
    sequence: tuple[int, ...] = ()
    skipped: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class FolderLayout:
    """What a pair of folders holds where it is more than one plain stack.

    Attributes:
        stacks: in order; none where the pair is one plain stack after all.
        what: what was found, in a line each.
        independent: slices are fields of view without neighbours, as the layout shows.
        films: every stack is a sequence by itself, so that whole ones can be held out.
    """

    stacks: tuple[FolderStack, ...]
    what: tuple[str, ...]
    independent: bool = False
    films: bool = False

    def notes(self, *, asked: bool) -> list[str]:
        """Return what to say of it; that slices are fields of view is said where nobody asked for it."""
        first, *others = self.what
        return [f"{first}; {_AS_FIELDS}" if self.independent and not asked else first, *others]


def find_layout(
    images: Path,
    labels: Path,
    *,
    independent: bool | None = None,
    colour: bool = False,
    skip_unlabelled: bool = False,
) -> FolderLayout | None:
    """Return what two folders hold; None where it is one plain stack, or they are no folders.

    Args:
        images: the folder of images, or the one of both.
        labels: the folder of labels.
        independent: whether slices are fields of view; by default as the layout shows.
        colour: whether labels may be colours.
        skip_unlabelled: pictures without a label are skipped.

    Raises:
        ConfigError: something is missing in a layout.
        SourceError: a file cannot be read.
    """
    if not (images.is_dir() and labels.is_dir()):
        return None
    from pipeline.source.pages.fields import folder_each, several_sizes
    from pipeline.source.pages.folder import has_pages, is_same_file
    from pipeline.source.pages.nnunet import open_cases
    from pipeline.source.pages.some_labels import some_labels
    from pipeline.source.pages.tracking import open_sequence

    is_same = is_same_file(images, labels)
    if not (has_pages(images) and has_pages(labels)):
        layout = folder_each(images, colour=colour) if is_same else None
        if layout and independent is False and len(layout.stacks) > 1:
            raise SourceError(
                f"{layout.what[0]}; sections of one specimen have one size: export them again, alike, or leave out "
                "--no-independent"
            )
        return layout
    layout = None if is_same else open_sequence(images, labels) or open_cases(images, labels)
    if layout and layout.stacks:
        return layout
    if skip_unlabelled and (some := some_labels(images, labels, independent=independent is True, colour=colour)):
        return some
    return (None if independent is False else several_sizes(images, labels, colour=colour)) or layout


def are_fields(pairs: Sequence[tuple[Path, Path]], layouts: Sequence[FolderLayout | None]) -> bool:
    """Return whether slices are fields of view, as the layouts show.

    Raises:
        ConfigError: some are, and others may be sections.
    """
    fields = [bool(layout and layout.independent) for layout in layouts]
    if any(fields) and not all(fields):
        raise ConfigError(
            f"{pairs[fields.index(True)][0]}: seems to hold fields of view, and {pairs[fields.index(False)][0]} "
            "sections; say --independent or --no-independent for all of them, or build two datasets"
        )
    return all(fields)


def in_one_sequence(raw: Sequence[RawStack]) -> list[RawStack]:
    """Return stacks whose slices have places in one sequence if any have: those of the pairs follow each other."""
    if not any(stack.sequence for stack in raw):
        return list(raw)
    placed: list[RawStack] = []
    first = n_before = 0  # of the pair, or of the single stack, that comes next
    for stack in raw:
        if not stack.sequence or 0 in stack.sequence:
            first = n_before
        places = stack.sequence or tuple(range(len(stack.images)))
        placed.append(replace(stack, sequence=tuple(first + place for place in places)))
        n_before += len(stack.images)
    return placed


def numbered_anew(raw: Sequence[RawStack]) -> list[RawStack]:
    """Return stacks whose slices have one place each in their sequence: boxes of a slice, which share its, in order."""
    order = sorted((place, index, z) for index, stack in enumerate(raw) for z, place in enumerate(stack.sequence))
    number = {(index, z): place for place, (_, index, z) in enumerate(order)}
    return [
        replace(stack, sequence=tuple(number[index, z] for z in range(len(stack.sequence))))
        for index, stack in enumerate(raw)
    ]
