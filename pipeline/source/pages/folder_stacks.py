"""What a pair of folders holds that is more than one plain stack."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.source.pages.formats import FileSlices

AS_FIELDS = "taken for fields of view without neighbours; --no-independent if they are sections of one specimen"


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
        notes: what it was taken for.
        independent: slices are fields of view without neighbours, as the layout shows.
        films: every stack is a sequence by itself, so that whole ones can be held out.
    """

    stacks: tuple[FolderStack, ...]
    notes: tuple[str, ...]
    independent: bool = False
    films: bool = False


def find_layout(images: Path, labels: Path, *, independent: bool | None = None) -> FolderLayout | None:
    """Return what two folders hold; None where it is one plain stack, or they are no folders.

    Args:
        images: the folder of images, or the one of both.
        labels: the folder of labels.
        independent: whether slices are fields of view; by default as the layout shows.

    Raises:
        ConfigError: something is missing in a layout.
        SourceError: a file cannot be read.
    """
    from pipeline.source.pages.fields import folder_each, several_sizes
    from pipeline.source.pages.folder import has_pages, is_same_file
    from pipeline.source.pages.nnunet import open_cases
    from pipeline.source.pages.tracking import open_sequence

    if not (images.is_dir() and labels.is_dir()):
        return None
    if is_same_file(images, labels):
        return folder_each(images)
    if not (has_pages(images) and has_pages(labels)):
        return None
    layout = open_sequence(images, labels) or open_cases(images, labels)
    if layout and layout.stacks:
        return layout
    return (None if independent is False else several_sizes(images, labels)) or layout
