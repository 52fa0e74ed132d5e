"""What a build prints at its end: lines for people, and JSON for programs."""

import shlex
from pathlib import Path
from typing import Any

from msgspec import to_builtins

from pipeline.build.builder import BuildResult
from pipeline.plan.plan import Plan
from pipeline.shards.config import DEFAULT_GAP, SPLIT_LETTERS
from pipeline.source.known_stacks import class_names
from pipeline.source.stacks import Source

_MAX_STACKS_SHOWN, _MAX_PAIRS_SHOWN = 12, 3
_MAX_CHANNELS_SHOWN = _MAX_CLASSES_SHOWN = 8


def source_line(source: Source) -> str:
    """Return what the source is, in one line."""
    sizes = {f"{height} x {width}" for height, width in (stack.slice_size for stack in source.stacks)}
    n_stacks, n_slices = len(source.stacks), sum(len(stack.images) for stack in source.stacks)
    synthetic = " (synthetic, no real tissue)" if source.is_phantom else ""
    stacks = f"{n_stacks} stacks, " if n_stacks > 1 else ""
    size = sizes.pop() if len(sizes) == 1 else "several sizes"
    coding, names = source.coding, class_names(source.inputs)
    found = coding.colors or coding.values
    values = ", ".join(
        f"{value} -> {index}{f' ({names[index]})' if names else ''}"
        for index, value in enumerate(found[:_MAX_CLASSES_SHOWN])
    )
    if len(found) > _MAX_CLASSES_SHOWN:
        values += f", ... ({len(found)} in all)"
    labels = f"{coding.kind} labels{': ' if values else ''}{values}"
    if coding.ignored:
        labels += f", ignored: {', '.join(map(coding.shown, coding.ignored))} -> {coding.ignore}"
    channel_names = source.stacks[0].channels
    more = ", ..." if len(channel_names) > _MAX_CHANNELS_SHOWN else ""
    channels = (
        f" x {len(channel_names)} channels ({', '.join(channel_names[:_MAX_CHANNELS_SHOWN])}{more})"
        if channel_names
        else ""
    )
    dtype = source.image_dtype.name
    return f"{source.name}{synthetic}: {stacks}{n_slices} slices of {size}{channels} {dtype}, {labels}"


def size_line(source: Source, window: tuple[int, int]) -> str:
    """Return what to say of a size of samples that the source decided."""
    shortest = min(min(stack.slice_size) for stack in source.stacks)
    fits = f"the largest multiple of 16 px that fits slices with sides of {shortest} px and more"
    if max(window) > shortest:
        fits = f"the smallest there is: slices have sides of {shortest} px"
    elif shortest - max(window) >= 16:
        fits = "which all slices hold"
    return f"size: {window[0]} x {window[1]} px, {fits}; --size for another"


def pair_lines(source: Source) -> list[str]:
    """Return which labels belong to which images, in a line, where there are several: the first few, and how many."""
    pairs = [
        f"{image} with {label}"
        for stack in source.stacks
        for image, label in zip(stack.names, stack.label_names, strict=False)
        if label
    ]
    more = ", ..." if len(pairs) > _MAX_PAIRS_SHOWN else ""
    return [f"pairs: {', '.join(pairs[:_MAX_PAIRS_SHOWN])}{more} ({len(pairs)} in all)"] if len(pairs) > 1 else []


def split_warnings(plan: Plan, n_skipped: int = 0) -> list[str]:
    """Return what to know of held-out slices that lie next to training slices, or were left without a split.

    Args:
        plan: which slice is in which split.
        n_skipped: slices that no split may have.
    """
    assignment, shown, lines = plan.assignment, plan.shown, list[str]()
    for split in () if plan.config.independent else ("val", "test"):
        near, next_to = shown.touching(split), shown.touching(split, 1)
        if near:
            lines.append(
                f"warning      {near} of {len(shown.slices(split))} {split} slices lie within {DEFAULT_GAP} of a "
                f"train slice, {next_to} of them next to one: they look alike, so scores will flatter"
            )
    n_unused, n_slices = sum(owner is None for _, owner in assignment) - n_skipped, len(list(assignment)) - n_skipped
    config = plan.config
    ways = {
        "--split block": config.split != "block",
        "a smaller --gap": config.gap,
        "a smaller --context": config.context,
    }
    if 2 * n_unused > n_slices and config.split != "explicit" and any(ways.values()):
        fewer = " or ".join(way for way, helps in ways.items() if helps)
        lines.append(f"note         more than half of the slices are in no split; {fewer} loses fewer")
    return lines


def mirror_notes(plan: Plan, source: Source) -> list[str]:
    """Return what to know of the ids of single objects where samples reach over the edge of the slice."""
    if source.coding.kind != "instances" or plan.config.margin != "shared":
        return []
    note = "where a sample reaches over the edge of its slice, an object and its mirror images have one id"
    advice = (
        "give the object 65535 another id for --margin own" if source.coding.full else "--margin own gives each its own"
    )
    return [f"note         {note}; {advice}"]


def build_lines(result: BuildResult, source: Source) -> list[str]:
    """Return the closing lines of a build."""
    plan, dataset = result.plan, result.dataset
    n_shards = len(dataset.record.shards) if dataset else sum(1 for _ in plan.shards())
    size = f"{'' if dataset else 'about '}{result.n_bytes / 1e6:.1f} MB"
    samples = ", ".join(
        f"{n} {split}{' (not augmented)' if split in plan.config.plain else ''}" for split, n in plan.counts.items()
    )
    weights = f", weights {plan.config.weights}" if plan.config.weighted else ""
    lines = [
        f"source       {source_line(source)}",
        *(f"split        {line}" for line in _split_lines(plan, source)),
        f"samples      {samples}, {plan.config.size[0]} x {plan.config.size[1]} px{weights}",
        f"dataset      {result.out}: {n_shards} shards, {size}",
    ]
    if result.n_rendered:
        speed = result.n_rendered / result.seconds
        lines.append(f"speed        {result.n_rendered} samples in {result.seconds:.2f} s, {speed:.0f} samples/s")
    n_skipped = sum(len(stack.skipped) for stack in source.stacks)
    lines += [*split_warnings(plan, n_skipped), *mirror_notes(plan, source), f"fingerprint  {plan.fingerprint}"]
    if dataset:
        neighbours = plan.config.split in ("block", "random", "kfold") and not plan.config.independent
        gap = f" --gap {plan.config.gap}" if neighbours and plan.config.gap < DEFAULT_GAP else ""
        lines += [
            f"digest       {dataset.digest}  (of dataset.json; the one to cite)",
            f"next         augpipe audit {shlex.quote(str(result.out))}{gap}",
        ]
    return [*lines, f"{result.outcome}{': ' if result.reason else ''}{result.reason}"]


def build_json(result: BuildResult) -> dict[str, Any]:
    """Return a build's outcome as plain JSON values."""
    plan, dataset = result.plan, result.dataset
    return {
        "schema": "augpipe/build-report/1",
        "outcome": result.outcome,
        "reason": result.reason,
        "out": str(result.out),
        "name": plan.name,
        "fingerprint": plan.fingerprint,
        "dataset_sha256": dataset.digest if dataset else None,
        "samples": plan.counts,
        "plain": list(plan.config.plain),
        "rendered": result.n_rendered,
        "bytes": result.n_bytes,
        "seconds": round(result.seconds, 3),
        "slices": to_builtins(plan.assignment.by_split()),
    }


def rebuild_lines(result: BuildResult, lock: Path) -> list[str]:
    """Return the closing lines of a dataset that was built again from its lock file."""
    n_shards = len(result.dataset.record.shards) if result.dataset else 0
    sha256 = result.dataset.digest if result.dataset else ""
    return [
        f"dataset      {result.out}: {n_shards} shards, {result.n_bytes / 1e6:.1f} MB",
        f"digest       {sha256}  (of dataset.json; the one that {lock} records)",
        f"{'rebuilt' if result.outcome == 'built' else 'reused'}: every byte is as recorded",
    ]


def _split_lines(plan: Plan, source: Source) -> list[str]:
    """Return the split of every slice, a line for each of the first stacks, with a legend in the last.

    Stacks that make one sequence have one line together.
    """
    letters = {split: letter for letter, split in SPLIT_LETTERS.items()}
    legend = [f"{letters[split]} {split} {len(plan.assignment.slices(split))}" for split in plan.assignment.splits]
    if unused := sum(owner is None for _, owner in plan.assignment):
        legend.append(f". unused {unused}")
    shown = list(plan.assignment.pictures)
    if any(stack.sequence for stack in source.stacks):
        places = [place for stack in source.stacks for place in stack.sequence]
        shown = ["".join(letter for _, letter in sorted(zip(places, "".join(shown), strict=True)))]
    if len(shown) > _MAX_STACKS_SHOWN:
        shown[_MAX_STACKS_SHOWN - 1 :] = [f"... and {len(shown) - _MAX_STACKS_SHOWN + 1} more stacks"]
    shown[-1] += f"  ({', '.join(legend)})"
    return shown
