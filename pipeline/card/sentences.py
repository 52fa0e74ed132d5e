"""Sentences about a dataset, its terms and its citation: what several files of a card have in common."""

from collections.abc import Iterator, Mapping

from augment.ranges import AugmentRanges
from pipeline.card.contents import Card
from pipeline.card.kaggle_terms import LICENCES, OTHER_LICENCE, UNKNOWN_LICENCE, find_licence
from pipeline.errors import counted
from pipeline.look.fact_sheet import SPLIT_SIGNS, range_text, sample_counts, slice_counts, slice_letters
from pipeline.shards.config import DEFAULT_GAP, BuildConfig
from pipeline.source.known_stacks import NOTHING_TO_CITE

_MAX_FINDINGS, _MAX_SHAPES = 10, 3
_STRATEGIES: Mapping[str, str] = {
    "block": "the end of every stack is held out",
    "random": "single slices are held out, drawn at random",
    "kfold": "one of several blocks of every stack is held out",
    "stack": "whole stacks are held out",
    "explicit": "slices are held out as chosen one by one",
}
_OF_GROUPS: Mapping[str, str] = {  # where these are shared out, and not the slices of every stack
    "block": "the last groups are held out",
    "random": "groups are held out, drawn at random",
    "kfold": "one of several blocks of groups is held out",
}
_NOUNS: Mapping[str, str] = {"test": "Test", "val": "Validation"}
_OTHER_PAGES: Mapping[str, str] = {"MIT": "https://spdx.org/licenses/MIT.html"}
_NO_LICENCE = "not recorded; ask the owners of the stack before you share anything made from it"


def summary(card: Card) -> str:
    """Return what the dataset is, in one line."""
    height, width = card.record.window
    samples = ", ".join(f"{n} {split}" for split, n in sample_counts(card.record).items())
    n_assigned = sum(n for split, n in slice_counts(card.record).items() if split != "unused")
    slices = counted(n_assigned, "annotated slice")
    if card.n_slices != n_assigned:
        slices = f"{card.n_slices} of {slices}"
    text = (
        f"{counted(card.record.n, 'image')} of {height} x {width} px with their labels ({samples}), augmented from "
        f"{slices} of: {card.source.title}."
    )
    if card.plain:
        text += f" Those of {' and '.join(card.plain)} are not augmented: they are the slices' own pixels."
    return f"{text} Synthetic: made by a computer." if card.source.synthetic else text


def origin(card: Card) -> str:
    """Return what the samples were made from."""
    source, inputs = card.source, card.record.inputs
    specimen = f"; {source.specimen}" if source.specimen and not source.synthetic else ""
    shapes = ", ".join(" x ".join(map(str, stack.images.shape)) for stack in inputs[:_MAX_SHAPES])
    more = f" and {len(inputs) - _MAX_SHAPES} more" if len(inputs) > _MAX_SHAPES else ""
    boxes = "; slices are boxes that were cut from larger ones" if any(stack.boxes for stack in inputs) else ""
    return f"{source.title}{specimen}; {counted(len(inputs), 'stack')} (z, y, x): {shapes}{more}{boxes}"


def makers(card: Card) -> str:
    """Return what made the samples."""
    return f"augpipe {card.built_by or '(version not recorded)'}"


def rendering(card: Card) -> str:
    """Return how samples are made from slices."""
    config, ranges = card.record.config, card.record.config.ranges
    mirrored = {
        "shared": "",
        "own": " (every mirrored object has an id of its own)",
        "ignore": " (without labels there)",
        "mask": " (masked there)",
    }
    steps = [f"mirrored at its edges where the window reaches beyond them{mirrored[config.margin]}"]
    if ranges.rotate_deg != (0, 0):
        steps.append(f"rotated by {range_text(ranges.rotate_deg, 'g')} degrees{_share(ranges, 'rotate')}")
    if ranges.flip:
        turned = (
            ", and where it was not rotated, turned upside down at random" if "rotate" in ranges.probability else ""
        )
        steps.append(f"flipped left to right at random{turned}")
    if ranges.zoom != (1, 1):
        steps.append(f"magnified {range_text(ranges.zoom, 'g')} times{_share(ranges, 'zoom')}")
    if ranges.shift_px:
        steps.append(f"shifted by up to {ranges.shift_px:g} px")
    elif ranges.shift_px is None and _has_corners(card):
        steps.append("shifted as far as it takes for the window to reach every corner")
    if ranges.sigma_px:
        over = "window" if ranges.extent == "window" else "padded slice"
        points = f"{ranges.grid_points} x {ranges.grid_points}"
        steps.append(
            f"deformed by a spline through {points} control points over the {over} ({ranges.sigma_px:g} px s.d.)"
        )
    if ranges.gain != (1, 1) or ranges.bias != (0, 0):
        steps.append(
            f"changed in gray level (gain {range_text(ranges.gain, 'g')}{_share(ranges, 'gain')}, bias "
            f"{range_text(ranges.bias, 'g')}{_share(ranges, 'bias')}"
            + (", each channel by its own)" if ranges.per_channel else ")")
        )
    steps += [
        f"changed by {name.replace('_', ' ')} ({range_text(strengths, 'g')}{_share(ranges, name)})"
        for name, strengths in ranges.operations.items()
    ]
    how = "in one resampling" if config.engine == "fused" else "stage by stage, each a resampling of its own"
    return (
        f"Each slice{_augmented(card)} was {', '.join(steps)} and cropped, {how}: images by cubic B-spline, labels by "
        f"nearest neighbour at the same positions.{_faults(ranges)}{_context(config)}{_choice(config)} Seed "
        f"{config.seed}; manifest.jsonl has the recipe of every sample.{_plainness(card)}"
    )


def _faults(ranges: AugmentRanges) -> str:
    """Return what defects are, if there are any."""
    if ranges.defects is None:
        return ""
    return (
        " Defects are faults of the section, of so many pixels: a missing part, a dark spot, a fold, or a jump. "
        "Labels move with the tissue, and say nothing where a fault hides it."
    )


def _augmented(card: Card) -> str:
    """Return which slices are augmented, where not all are."""
    splits = [split for split in card.record.splits if split not in card.plain]
    return f" of {' and '.join(splits)}" if card.plain else ""


def _plainness(card: Card) -> str:
    """Return what the samples that are not augmented are, if any."""
    height, width = card.record.window
    if not card.plain:
        return ""
    return (
        f" Samples of {' and '.join(card.plain)} are not augmented: they are the slices' own pixels, in tiles of "
        f"{height} x {width} px without any resampling. Their masks mark the pixels that count, so that every pixel of "
        "a slice counts once."
    )


def _context(config: BuildConfig) -> str:
    """Return which neighbours of a slice its samples show, if they show any."""
    if not config.context:
        return ""
    beside = "neighbour" if config.context == 1 else f"{config.context} neighbours"
    noise, faults = config.ranges.noise is not None, config.ranges.defects is not None
    own = (", with noise of its own" if noise else "") + (", without its faults" if faults else "")
    return (
        f" Beside its slice a sample shows the {beside} on either side as more channels, made by the same recipe{own}; "
        "where a stack ends, it is mirrored, and manifest.jsonl says which slices are shown. Labels are of the slice "
        "in the middle."
    )


def _share(ranges: AugmentRanges, name: str) -> str:
    """Return how many samples get something, where not all do."""
    return f" in {100 * ranges.probability[name]:.3g}% of the samples" if name in ranges.probability else ""


def _choice(config: BuildConfig) -> str:
    """Return what labels decided on where training samples lie, if they decided anything."""
    what = {"foreground": "the foreground", "class": "a class of the slice", "object": "an object of the slice"}
    focused = f"{100 * config.focus_share:.3g}% of the training samples"
    focus = f" {focused} have a pixel of {what.get(config.focus)} in their centre."
    least = f" Training samples with less than {config.min_foreground:g} of foreground were drawn again."
    return (focus if config.focus != "uniform" else "") + (least if config.min_foreground else "")


def strategy(card: Card) -> str:
    """Return how slices were chosen for the splits."""
    name = card.record.split.strategy
    how = _OF_GROUPS.get(name, _STRATEGIES[name]) if card.record.n_groups else _STRATEGIES[name]
    if any(stack.sequence for stack in card.record.inputs):
        how = how.replace("of every stack", "of the sequence of all slices")
    parts = [f"{name}: {how if card.held_out else 'nothing is held out'}"]
    if card.fold:
        parts.append(f"fold {card.fold[0]} of {card.fold[1]}, counted from 0")
    if card.record.split.independent:
        parts.append("fields of view without neighbours")
    if card.record.n_groups:
        parts.append(f"{counted(card.record.n_groups, 'group')}, each of them in one split")
    if card.record.n_skipped:
        parts.append(f"{counted(card.record.n_skipped, 'slice')} without annotation in none")
    return "; ".join(parts)


def guarantee(card: Card) -> str:
    """Return what the splits ensure; where the audit found something, what the records say of them."""
    if not card.held_out:
        return "All samples are for training; none is held out."
    text = "hole slices were assigned to the splits before anything was augmented, and no slice is in two splits"
    text = f"W{text}" if card.is_clean else f"By the dataset's own records, w{text}"
    if card.gap is None:
        return f"{text}."
    if card.gap == 0:
        return f"{text}; there is no gap: neighbouring slices are in different splits."
    left_out = f"{counted(card.gap, 'slice')} {'is' if card.gap == 1 else 'are'} left out"
    shown = ", counted from the outermost slices that are shown" if card.record.config.context else ""
    return f"{text}; between two splits of a stack at least {left_out} (the gap{shown})."


def findings(card: Card) -> list[str]:
    """Return what the audit found or warns of, the worst first, one sentence each; of many, how many more there are."""
    found = [f"{each.severity.capitalize()}: {each.text}." for each in card.report.findings]
    if (more := len(found) - _MAX_FINDINGS) > 0:
        found[_MAX_FINDINGS:] = [f"And {more} more {'finding' if more == 1 else 'findings'}, in audit.json."]
    return found


def limits(card: Card) -> list[str]:
    """Return what scores on this dataset do not show, one sentence each."""
    lines = [_reach(card), *_nearness(card)]
    if augmented := [_NOUNS[split] for split in card.held_out if split not in card.plain]:
        lines.append(
            f"{' and '.join(augmented)} samples are augmented as training samples are: scores on them are not those on "
            "slices as the microscope took them."
        )
    if card.source.synthetic:
        lines.append("The stack is synthetic: it shows no real tissue, and scores on it say nothing about real data.")
    lines.append(
        f"{counted(card.record.n, 'sample')} of {counted(card.n_slices, 'slice')}: samples of one slice are not "
        "independent, and errors in the source's labels are carried over."
    )
    return lines


def licence_text(card: Card) -> str:
    """Return the licence of a dataset; where its publisher chose another one than the source's, both."""
    source = _with_page(*_source_licence(card))
    if card.licence == OTHER_LICENCE:
        return f"the source's terms: {source}"
    if card.licence is None or card.licence == kaggle_licence(card):
        return source
    chosen = _with_page(card.licence, LICENCES.get(card.licence, ""))
    return f"{chosen}, as its publisher chose; the source's: {source}"


def licence_values(card: Card) -> str | list[str]:
    """Return the same for programs: the page of the licence, or its name; where there are two, both in words too."""
    name, page = _source_licence(card)
    if card.licence is None or card.licence in (OTHER_LICENCE, kaggle_licence(card)):
        return page or name
    return [LICENCES.get(card.licence) or card.licence, licence_text(card)]


def kaggle_licence(card: Card) -> str:
    """Return Kaggle's name for the source's licence: `other` where it has none, `unknown` where none is recorded."""
    if card.source.licence is None:
        return UNKNOWN_LICENCE
    return find_licence(card.source.licence) or OTHER_LICENCE


def citation(card: Card) -> str:
    """Return what the authors of the source want to have cited."""
    parts = {part.stack: part.citation for part in card.source.parts or ()}
    text = card.source.citation or _by_stack(card, parts) or "not recorded"
    return text.replace(NOTHING_TO_CITE, "nothing (synthetic)")


def _source_licence(card: Card) -> tuple[str, str]:
    """Return the name of the source's licence, and its page where it is known."""
    name = card.source.licence
    if name is None:
        return _by_stack(card, {part.stack: part.licence for part in card.source.parts or ()}) or _NO_LICENCE, ""
    return name, LICENCES.get(find_licence(name) or "") or _OTHER_PAGES.get(name.upper(), "")


def _by_stack(card: Card, facts: Mapping[int, str | None]) -> str:
    """Return a fact of each stack where it is known, and whether there are other stacks; empty if none is known."""
    known = [f"stack {stack}: {fact}" for stack, fact in facts.items() if fact is not None]
    if known and len(known) < len(card.record.inputs):
        known.append("all others: not recorded")
    return "; ".join(known)


def _with_page(name: str, page: str) -> str:
    return f"{name} ({page})" if page else name


def _reach(card: Card) -> str:
    """Return how far the slices that are held out are from the training slices."""
    if not card.held_out:
        return "Nothing is held out: a score on these samples says nothing about other slices."
    noun, sign = _NOUNS[card.held_out[0]], SPLIT_SIGNS[card.held_out[0]]
    if card.record.split.independent:
        return (
            f"{noun} fields of view come from the same collection as training fields: scores say nothing about other "
            "collections."
        )
    shared = {SPLIT_SIGNS["train"] in letters for letters in slice_letters(card.dataset) if sign in letters}
    if shared == {False}:
        return (
            f"{noun} slices come from other stacks than training slices, but from the same source: scores say nothing "
            "about other specimens or microscopes."
        )
    slices = f"{noun} slices" if len(shared) == 1 else f"Some {noun.lower()} slices"
    stack, within = ("stack", "it") if len(card.record.inputs) == 1 else ("stacks", "them")
    return (
        f"{slices} come from the same {stack} as training slices: scores show how a network generalises within "
        f"{within}, not to another specimen, laboratory or microscope."
    )


def _nearness(card: Card) -> Iterator[str]:
    """Yield a warning where slices of two splits are near each other in a stack."""
    parts = []
    if card.gap is not None and card.gap < DEFAULT_GAP:
        parts.append(
            f"The gap is {card.gap}, below {DEFAULT_GAP}: some slices of different splits look alike, which makes "
            "scores too high."
        )
    if card.gap is not None and card.report.gap < DEFAULT_GAP:
        parts.append(f"The audit checked a gap of only {card.report.gap}, not the usual {DEFAULT_GAP}.")
    if parts:
        yield " ".join(parts)


def _has_corners(card: Card) -> bool:
    """Return whether some slice is larger than the window, so that there is room for a shift."""
    sizes = [zip(stack.slice_size, card.record.window, strict=True) for stack in card.record.inputs]
    return any(side > shown for size in sizes for side, shown in size)
