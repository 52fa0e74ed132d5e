"""Stacks that are recognised by their pixels, whatever their files are called, and what is known about them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

PHANTOM = "phantom"

_PHANTOM_SHA256 = "89df219968d456227ce75ceb3c07dbc14132477628ca908126d7d564ad45bf81"
_ISBI2012_SHA256 = "7b9d5702a3bc9af215405dee39533b91622393d52bb2bdefa47f0e0a5c018294"

_PHANTOM_FACTS: Mapping[str, Any] = {
    "title": "augpipe phantom: a computer-generated stack that resembles electron microscopy; it shows no real tissue",
    "specimen": "none (synthetic)",
    "licence": "MIT",
    "citation": "none (synthetic)",
    "synthetic": True,
}
# Voxel size, specimen, terms and citations as the challenge's own description gives them.
_ISBI2012_FACTS: Mapping[str, Any] = {
    "title": "ISBI 2012 EM segmentation challenge, training stack",
    "specimen": "Drosophila first-instar larva, ventral nerve cord, serial-section transmission EM",
    "voxel_size_nm": [50.0, 4.0, 4.0],
    "licence": "free for research with citation",
    "citation": "Arganda-Carreras et al. 2015, doi:10.3389/fnana.2015.00142; "
    "Cardona et al. 2010, doi:10.1371/journal.pbio.1000502",
    "synthetic": False,
}
_KNOWN: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {_PHANTOM_SHA256: (PHANTOM, _PHANTOM_FACTS), _ISBI2012_SHA256: ("isbi2012", _ISBI2012_FACTS)}
)


def recognise(images_sha256: str, name: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the facts of a stack: its own where its pixels are known, else `name` and little more.

    Args:
        images_sha256: array digest of the (Z, Y, X) images.
        name: what the user or the file calls it.
    """
    known_name, facts = _KNOWN.get(images_sha256, (name, {"title": name, "synthetic": False}))
    return known_name, dict(facts)
