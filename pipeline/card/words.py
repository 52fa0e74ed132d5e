"""Sentences about a dataset that more than one face of its card says."""

from collections.abc import Iterator, Mapping, Sequence

from pipeline.card.record import CardRecord
from pipeline.look.fact_sheet import SPLIT_SIGNS
from pipeline.shards.config import DEFAULT_GAP

_MOST_FINDINGS = 10
_STRATEGIES: Mapping[str, str] = {
    "block": "the end of every stack is held out",
    "random": "single slices are held out, drawn at random",
    "kfold": "one of several blocks of every stack is held out",
    "stack": "whole stacks are held out",
    "explicit": "slices are held out as they were chosen one by one",
}
_NOUNS: Mapping[str, str] = {"test": "Test", "val": "Validation"}


def one_line(card: CardRecord) -> str:
    """Return what the dataset is, in one line."""
    height, width = card.record.window
    samples = ", ".join(f"{n} {split}" for split, n in card.facts["split"]["samples"].items())
    assigned = counted(card.n_assigned, "annotated slice")
    slices = assigned if card.n_slices == card.n_assigned else f"{card.n_slices} of {assigned}"
    synthetic = " Synthetic: a computer made it." * card.synthetic
    return (
        f"{counted(card.record.n, 'image')} of {height} x {width} px with their labels ({samples}), augmented from "
        f"{slices} of: {card.source['title']}.{synthetic}"
    )


def origin(card: CardRecord) -> str:
    """Return what the samples were made from."""
    source, inputs = card.source, card.facts["inputs"]
    specimen = f"; {source['specimen']}" if "specimen" in source and not card.synthetic else ""
    shapes = ", ".join(" x ".join(map(str, stack["images"]["shape"])) for stack in inputs[:3])
    more = f" and {len(inputs) - 3} more" * (len(inputs) > 3)
    return f"{source['title']}{specimen}; {counted(len(inputs), 'stack')} (z, y, x): {shapes}{more}"


def makers(card: CardRecord) -> str:
    """Return what made the samples."""
    return f"augpipe {card.built_by or '(version not recorded)'}"


def rendering(card: CardRecord) -> str:
    """Return how samples are made from slices."""
    config = card.facts["config"]
    ranges = config["ranges"]
    points, shift_px = ranges["grid_points"], ranges["shift_px"]
    over = "window" if ranges["extent"] == "window" else "padded slice"
    done = {
        f"rotated by {_span(ranges['rotate_deg'])} degrees": ranges["rotate_deg"] != [0.0, 0.0],
        "mirrored left to right by chance": ranges["flip"],
        f"magnified {_span(ranges['zoom'])} times": ranges["zoom"] != [1.0, 1.0],
        "shifted as far as lets the window reach every corner": shift_px is None and _has_corners(card),
        f"shifted by up to {shift_px or 0:g} px": bool(shift_px),
        f"deformed by a spline through {points} x {points} control points over the {over} "
        f"({ranges['sigma_px']:g} px s.d.)": ranges["sigma_px"] > 0,
        f"changed in gray level (gain {_span(ranges['gain'])}, bias {_span(ranges['bias'])})": (
            ranges["gain"] != [1.0, 1.0] or ranges["bias"] != [0.0, 0.0]
        ),
    }
    steps = ["mirrored beyond its edges where the window reaches there", *(step for step, was in done.items() if was)]
    how = "in one resampling" if config["engine"] == "fused" else "stage by stage, each a resampling of its own"
    return (
        f"Each slice was {', '.join(steps)} and cropped, {how}: images by cubic B-spline, labels by nearest neighbour "
        f"at the same places. Seed {config['seed']}; manifest.jsonl has every sample's recipe."
    )


def strategy(card: CardRecord) -> str:
    """Return how slices were chosen for the splits."""
    name = card.facts["split"]["strategy"]
    held_out = _STRATEGIES.get(name, "") if card.held_out else "nothing is held out"
    fold = f"; fold {card.fold[0]} of {card.fold[1]}, counted from 0" if card.fold else ""
    neighbours = "; fields of view without neighbours" * card.facts["split"]["independent"]
    return f"{name}: {held_out}{fold}{neighbours}"


def guarantee(card: CardRecord) -> str:
    """Return what the splits ensure; where the audit found something, what the records say of them."""
    if not card.held_out:
        return "All samples are for training, and none is held out."
    text = "whole slices were assigned to the splits before anything was augmented, and no slice is in two splits"
    text = f"W{text[1:]}" if card.is_clean else f"By the dataset's own records, {text}"
    if card.gap is None:
        return f"{text}."
    if card.gap == 0:
        return f"{text}; without a gap: neighbouring slices are in different splits."
    left_out = f"{counted(card.gap, 'slice')} {'is' if card.gap == 1 else 'are'} left out"
    return f"{text}; between two splits of a stack at least {left_out} (the gap)."


def findings(card: CardRecord) -> list[str]:
    """Return what the audit found or warns of, the worst first, one sentence each; of many, how many more there are."""
    found = [f"{each.severity.capitalize()}: {each.text}." for each in card.report.findings]
    more = len(found) - _MOST_FINDINGS
    return found[:_MOST_FINDINGS] + [f"And {counted(more, 'finding')} more, in audit.json."] * (more > 0)


def limits(card: CardRecord) -> list[str]:
    """Return what scores on this dataset do not tell, one sentence each."""
    lines = [_reach(card), *_nearness(card)]
    if card.synthetic:
        lines.append("A computer made the stack: it shows no real tissue, and scores on it tell nothing of real data.")
    lines.append(
        f"{counted(card.record.n, 'sample')} of {counted(card.n_slices, 'slice')}: samples of one slice are not "
        "independent, and errors in the source's labels are carried over."
    )
    return lines


def counted(n: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{n} {noun}{'s' * (n != 1)}"


def _reach(card: CardRecord) -> str:
    """Return how far from the training slices those lie that are held out."""
    if not card.held_out:
        return "Nothing is held out: a score on these samples tells nothing of other slices."
    noun, sign = _NOUNS[card.held_out[0]], SPLIT_SIGNS[card.held_out[0]]
    if card.facts["split"]["independent"]:
        return f"{noun} fields of view come from the same collection as training fields: scores tell nothing of others."
    shared = {SPLIT_SIGNS["train"] in picture for picture in card.facts["split"]["pictures"] if sign in picture}
    if shared == {False}:
        return (
            f"{noun} slices come from other stacks than training slices, but from the same source: scores say nothing "
            "of other specimens or microscopes."
        )
    slices = f"{noun} slices" if len(shared) == 1 else f"Some {noun.lower()} slices"
    stack, within = ("stack", "it") if len(card.facts["inputs"]) == 1 else ("stacks", "them")
    return (
        f"{slices} come from the same {stack} as training slices: scores tell how a network generalises within "
        f"{within}, not to another specimen, laboratory or microscope."
    )


def _nearness(card: CardRecord) -> Iterator[str]:
    """Yield that splits are near each other in a stack, where any is in two of them."""
    parts = []
    if card.is_near:
        parts.append(
            f"The gap is {card.gap}, below {DEFAULT_GAP}: some slices of different splits look alike; scores are too "
            "good."
        )
    if card.gap is not None and card.report.gap < DEFAULT_GAP:
        parts.append(f"The audit was asked for a gap of {card.report.gap} alone, not for the usual {DEFAULT_GAP}.")
    if parts:
        yield " ".join(parts)


def _has_corners(card: CardRecord) -> bool:
    """Return whether some slice is larger than the window, so that there is room for a shift."""
    window = card.record.window
    shapes = [stack["images"]["shape"][1:] for stack in card.facts["inputs"]]
    return any(side > shown for shape in shapes for side, shown in zip(shape, window, strict=True))


def _span(ends: Sequence[float]) -> str:
    low, high = (f"{end:g}" for end in ends)
    return low if low == high else f"{low} to {high}"
