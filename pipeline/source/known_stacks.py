"""Stacks that are recognised by their pixels, whatever their files are called, and what is known about them."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from pipeline.shards.facts import SourceFacts, StackFacts, StackPart
from pipeline.shards.inputs import StackInput

PHANTOM = "phantom"

# Array digests of the images and of the labels, as they are in the files.
_PHANTOM_SHA256 = (
    "89df219968d456227ce75ceb3c07dbc14132477628ca908126d7d564ad45bf81",
    "4a33ddf22a48b6bdd2318428a092abccbef89fec9986caf16d6b7111e63260a9",
)
_ISBI2012_SHA256 = (
    "7b9d5702a3bc9af215405dee39533b91622393d52bb2bdefa47f0e0a5c018294",
    "183932f5803bec1ee82617a889497133ec10768bb4daf8c62bec9225cf507d91",
)

NOTHING_TO_CITE = "none (synthetic)"
_PHANTOM_FACTS = StackFacts(
    title="augpipe phantom: a computer-generated stack that resembles electron microscopy; it shows no real tissue",
    specimen="none (synthetic)",
    licence="MIT",
    citation=NOTHING_TO_CITE,
    synthetic=True,
)
# Voxel size, specimen, terms and citations as the challenge's own description gives them.
_ISBI2012_FACTS = StackFacts(
    title="ISBI 2012 EM segmentation challenge, training stack",
    specimen="Drosophila first-instar larva, ventral nerve cord, serial-section transmission EM",
    voxel_size_nm=(50.0, 4.0, 4.0),
    licence="free for research with citation",
    citation="Arganda-Carreras et al. 2015, doi:10.3389/fnana.2015.00142; "
    "Cardona et al. 2010, doi:10.1371/journal.pbio.1000502",
    synthetic=False,
)
_CLASS_OF_VALUE: Mapping[int, str] = MappingProxyType({0: "membrane", 255: "cell"})  # in the labels of both


class _Known(NamedTuple):
    """A known stack: the digest of its own labels, its name, and what is known about it."""

    labels_sha256: str
    name: str
    facts: StackFacts


_KNOWN: Mapping[str, _Known] = MappingProxyType(
    {
        _PHANTOM_SHA256[0]: _Known(_PHANTOM_SHA256[1], PHANTOM, _PHANTOM_FACTS),
        _ISBI2012_SHA256[0]: _Known(_ISBI2012_SHA256[1], "isbi2012", _ISBI2012_FACTS),
    }
)


def recognise(inputs: Sequence[StackInput], name: str) -> tuple[str, SourceFacts]:
    """Return the name and what is known of a source: its own name where its pixels are known, else `name` and nothing.

    Known images with labels of another's making keep their facts, and get a name that begins with their own. Of
    several stacks, those that are known are named as parts.

    Args:
        inputs: what identifies the pixels of each stack.
        name: what the user or the file calls it.
    """
    known = {stack: found for stack, each in enumerate(inputs) if (found := _KNOWN.get(each.images.sha256))}
    if len(inputs) > 1:
        parts = tuple(StackPart(stack=stack, **found.facts.to_json()) for stack, found in known.items())
        return name, SourceFacts(
            parts=parts, synthetic=any(part.synthetic for part in parts)
        ) if parts else SourceFacts()
    if not known:
        return name, SourceFacts()
    facts = SourceFacts(**known[0].facts.to_json())
    if inputs[0].labels.sha256 == known[0].labels_sha256:
        return known[0].name, facts
    return (name if name.startswith(f"{known[0].name}-") else f"{known[0].name}-{name}"[:80]), facts


def known_name(inputs: Sequence[StackInput]) -> str | None:
    """Return the own name of a source whose images and labels are both known; None for any other."""
    known = _KNOWN.get(inputs[0].images.sha256) if len(inputs) == 1 else None
    return known.name if known and inputs[0].labels.sha256 == known.labels_sha256 else None


def known_classes(inputs: Sequence[StackInput]) -> Mapping[int, str]:
    """Return what each value of a source's labels shows, where that is known; it is no part of any dataset.json."""
    return _CLASS_OF_VALUE if known_name(inputs) else {}
