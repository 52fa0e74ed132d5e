"""Sentences about a dataset that more than one face of its card says."""

from collections.abc import Mapping, Sequence

from pipeline.card.record import CardRecord
from pipeline.config import DEFAULT_GAP
from pipeline.kaggle_terms import LICENCES, OTHER_LICENCE, UNKNOWN_LICENCE, find_licence

_OTHER_PAGES: Mapping[str, str] = {"MIT": "https://spdx.org/licenses/MIT.html"}
NO_LICENCE = "not recorded; ask those who made the stack before sharing anything made from it"


def one_line(card: CardRecord) -> str:
    """Return what the dataset is, in one line."""
    height, width = card.record.window
    samples = ", ".join(f"{n} {split}" for split, n in card.facts["split"]["samples"].items())
    synthetic = " Synthetic: a computer made it." * card.synthetic
    return (
        f"{card.record.n} images of {height} x {width} px with their labels ({samples}), augmented from "
        f"{counted(card.n_slices, 'annotated slice')} of: {card.source['title']}.{synthetic}"
    )


def origin(card: CardRecord) -> str:
    """Return what the samples were made from."""
    source, inputs = card.source, card.facts["inputs"]
    specimen = f"; {source['specimen']}" if "specimen" in source and not card.synthetic else ""
    shapes = ", ".join(" x ".join(map(str, stack["images"]["shape"])) for stack in inputs[:3])
    more = f" and {len(inputs) - 3} more" * (len(inputs) > 3)
    return f"{source['title']}{specimen}; {counted(len(inputs), 'stack')} (z, y, x): {shapes}{more}"


def rendering(card: CardRecord) -> str:
    """Return how samples are made from slices."""
    config = card.facts["config"]
    ranges = config["ranges"]
    points = ranges["grid_points"]
    done = {
        f"rotated by {_span(ranges['rotate_deg'])} degrees": ranges["rotate_deg"][0] != ranges["rotate_deg"][1],
        "mirrored left to right by chance": ranges["flip"],
        f"magnified {_span(ranges['zoom'])} times": ranges["zoom"] != [1.0, 1.0],
        f"deformed by a spline through {points} x {points} control points ({ranges['sigma_px']:g} px s.d.)": (
            ranges["sigma_px"] > 0
        ),
        f"changed in gray level (gain {_span(ranges['gain'])}, bias {_span(ranges['bias'])})": (
            ranges["gain"] != [1.0, 1.0] or ranges["bias"] != [0.0, 0.0]
        ),
    }
    steps = ["mirrored beyond its edges", *(step for step, was_done in done.items() if was_done)]
    return (
        f"Each slice was {', '.join(steps)} and "
        "cropped, in one resampling: images by cubic B-spline, labels by nearest neighbour at the same places. "
        f"Seed {config['seed']}; manifest.jsonl has every sample's recipe."
    )


def guarantee(card: CardRecord) -> str:
    """Return what the splits ensure."""
    text = "Whole slices were assigned to the splits before anything was augmented, and no slice is in two splits"
    if card.gap is None:
        return f"{text}."
    if card.gap == 0:
        return f"{text}; slices of two splits are neighbours."
    return f"{text}; {counted(card.gap, 'slice')} or more between two splits of a stack (the gap) belong to none."


def limits(card: CardRecord) -> list[str]:
    """Return what scores on this dataset do not tell, one sentence each."""
    split = card.facts["split"]
    lines = []
    if split["independent"]:
        lines.append(
            "Test fields of view come from the same collection as training fields: scores tell nothing of others."
        )
    elif split["gap"] is None:
        lines.append("Test slices come from other stacks than training slices, and from no other source.")
    else:
        lines.append(
            "Test slices come from the same stack as training slices: scores tell how a network generalises within "
            "it, not to another specimen, laboratory or microscope."
        )
    if card.is_near:
        lines.append(
            f"The gap is {card.gap}, below {DEFAULT_GAP}: some test slices look like training slices; scores flatter."
        )
    if card.report.gap < DEFAULT_GAP:
        lines.append(f"The audit was asked for a gap of {card.report.gap} alone, not for the usual {DEFAULT_GAP}.")
    if card.synthetic:
        lines.append("A computer made the stack: it shows no real tissue, and scores on it tell nothing of real data.")
    lines.append(
        f"{counted(card.record.n, 'sample')} of {counted(card.n_slices, 'slice')}: samples of one slice are not "
        "independent, and errors in the source's labels are in all of them."
    )
    return lines


def licence(card: CardRecord) -> tuple[str, str]:
    """Return the name of the source's licence, and its page where it is known; samples are derived from the source."""
    name = str(card.source.get("licence", NO_LICENCE))
    return name, LICENCES.get(find_licence(name) or "") or _OTHER_PAGES.get(name.upper(), "")


def kaggle_licence(card: CardRecord) -> str:
    """Return Kaggle's name for the source's licence: `other` where it has none, `unknown` where none is recorded."""
    if "licence" not in card.source:
        return UNKNOWN_LICENCE
    return find_licence(str(card.source["licence"])) or OTHER_LICENCE


def counted(n: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{n} {noun}{'s' * (n != 1)}"


def _span(ends: Sequence[float]) -> str:
    low, high = (f"{end:g}" for end in ends)
    return low if low == high else f"{low} to {high}"
