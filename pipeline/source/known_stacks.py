"""Stacks that are recognised by their pixels, whatever their files are called, and what is known about them."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.shards.config import DEFAULT_WINDOW, fitting_window
from pipeline.shards.inputs import StackInput
from pipeline.shards.provenance import SourceFacts, StackFacts, StackPart

PHANTOM = "phantom"
NOTHING_TO_CITE = "none (synthetic)"
_MAX_NAME = 80
_CLASS_OF_VALUE = {0: "membrane", 255: "cell"}  # in the labels of all known stacks


@dataclass(frozen=True, slots=True)
class KnownStack:
    """One stack: its own name, the array digests of its images and labels as they are in the files, and its facts."""

    name: str
    images_sha256: str
    labels_sha256: str
    facts: StackFacts


KNOWN_STACKS = (
    KnownStack(
        PHANTOM,
        images_sha256="89df219968d456227ce75ceb3c07dbc14132477628ca908126d7d564ad45bf81",
        labels_sha256="4a33ddf22a48b6bdd2318428a092abccbef89fec9986caf16d6b7111e63260a9",
        facts=StackFacts(
            title="augpipe phantom: a computer-generated stack that resembles electron microscopy; it shows no real "
            "tissue",
            specimen="none (synthetic)",
            licence="MIT",
            citation=NOTHING_TO_CITE,
            synthetic=True,
        ),
    ),
    KnownStack(  # voxel size, specimen, terms and citations as the challenge's own description gives them
        "isbi2012",
        images_sha256="7b9d5702a3bc9af215405dee39533b91622393d52bb2bdefa47f0e0a5c018294",
        labels_sha256="183932f5803bec1ee82617a889497133ec10768bb4daf8c62bec9225cf507d91",
        facts=StackFacts(
            title="ISBI 2012 EM segmentation challenge, training stack",
            specimen="Drosophila first-instar larva, ventral nerve cord, serial-section transmission EM",
            voxel_size_nm=(50.0, 4.0, 4.0),
            licence="free for research with citation",
            citation="Arganda-Carreras et al. 2015, doi:10.3389/fnana.2015.00142; "
            "Cardona et al. 2010, doi:10.1371/journal.pbio.1000502",
            synthetic=False,
        ),
    ),
)
_BY_IMAGES = {stack.images_sha256: stack for stack in KNOWN_STACKS}


def recognise(inputs: Sequence[StackInput], name: str) -> tuple[str, SourceFacts]:
    """Return the name and what is known of a source: its own name where its pixels are known, else `name` and nothing.

    Known images with labels from elsewhere keep their facts, and get a name that begins with their own. Of several
    stacks, those that are known are named as parts.

    Args:
        inputs: what identifies the pixels of each stack.
        name: what the user or the file calls it.
    """
    found = {index: known for index, stack in enumerate(inputs) if (known := _BY_IMAGES.get(stack.images.sha256))}
    if not found:
        return name, SourceFacts()
    if len(inputs) > 1:
        parts = tuple(StackPart(stack=index, **known.facts.to_json()) for index, known in found.items())
        return name, SourceFacts(parts=parts, synthetic=any(part.synthetic for part in parts))
    known = found[0]
    beginning = f"{known.name}-"
    other_name = name if name.startswith(beginning) else f"{beginning}{name}"[:_MAX_NAME]
    return known_name(inputs) or other_name, SourceFacts(**known.facts.to_json())


def known_name(inputs: Sequence[StackInput]) -> str | None:
    """Return the own name of a source whose images and labels are both known; None for any other."""
    known = _BY_IMAGES.get(inputs[0].images.sha256) if len(inputs) == 1 else None
    return known.name if known and inputs[0].labels.sha256 == known.labels_sha256 else None


def default_window(inputs: Sequence[StackInput]) -> tuple[int, int]:
    """Return the (height, width) in pixels of samples where nothing is said of it.

    For known stacks it is 700 x 700, that of the report that augpipe grew out of; for all others, what fits the slices.
    """
    known = all(stack.images.sha256 in _BY_IMAGES for stack in inputs)
    return DEFAULT_WINDOW if known else fitting_window(stack.slice_size for stack in inputs)


def class_names(inputs: Sequence[StackInput]) -> tuple[str, ...]:
    """Return what the classes of a source are called, in the order of their indices; empty where that is not known.

    Instances have two: the background and the objects. Names that are known by digest are in no dataset.json.
    """
    labels = inputs[0].labels
    if labels.names:
        return labels.names
    return tuple(_CLASS_OF_VALUE[value] for value in labels.values) if known_name(inputs) else ()
