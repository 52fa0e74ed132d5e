"""What a command says at its end, as text for people and as JSON for programs."""

from typing import Any

from pipeline.build import BuildResult
from pipeline.source import Source
from pipeline.split import Assignment
from pipeline.verify import Verification

_SIGNS = {"train": "T", "val": "V", "test": "E", None: "."}


def split_picture(assignment: Assignment) -> list[str]:
    """Return one line for each stack, one character a slice: T train, V val, E test, a dot for none."""
    return ["".join(_SIGNS[owner] for owner in owners) for owners in assignment.stacks]


def source_line(source: Source) -> str:
    """Return what the source is, in one line."""
    stack = source.stacks[0]
    depth, (height, width) = len(stack.images), stack.slice_size
    classes = ", ".join(f"{value} -> {index}" for index, value in enumerate(source.class_values))
    kind = " (synthetic, no real tissue)" if source.is_phantom else ""
    return f"{source.name}{kind}: {depth} slices of {height} x {width} {stack.images.dtype.name}, labels {classes}"


def build_lines(result: BuildResult, source: Source) -> list[str]:
    """Return the closing lines of a build."""
    plan, record = result.plan, result.record
    counts = {split: len(plan.assignment.slices(split)) for split in plan.counts}
    unused = sum(owner is None for _, owner in plan.assignment)
    legend = [f"{_SIGNS[split]} {split} {n}" for split, n in counts.items()] + [f". unused {unused}"] * bool(unused)
    n_shards = len(record.shards) if record else sum(1 for _ in plan.shards())
    size = f"{'' if record else 'about '}{result.n_bytes / 1e6:.1f} MB"
    samples = ", ".join(f"{n} {split}" for split, n in plan.counts.items())
    lines = [
        f"source       {source_line(source)}",
        *(f"split        {picture}  ({', '.join(legend)})" for picture in split_picture(plan.assignment)),
        f"samples      {samples}, {plan.config.size[0]} x {plan.config.size[1]} px",
        f"dataset      {result.out}: {n_shards} shards, {size}",
    ]
    if result.n_rendered:
        lines.append(
            f"speed        {result.n_rendered} samples in {result.seconds:.2f} s, "
            f"{result.n_rendered / result.seconds:.0f} samples/s"
        )
    if 2 * unused > len(list(plan.assignment)):
        lines.append(
            "note         more than half of the slices are in no split; --split block or a smaller --gap loses fewer"
        )
    lines.append(f"fingerprint  {plan.fingerprint}")
    if record:
        lines.append(f"digest       {record.sha256}  (of dataset.json; the one to cite)")
        lines.append(f"next         augpipe verify {result.out} --replay")
    return [*lines, f"{result.outcome}{': ' if result.reason else ''}{result.reason}"]


def build_json(result: BuildResult) -> dict[str, Any]:
    """Return a build's outcome as plain JSON values."""
    plan, record = result.plan, result.record
    return {
        "schema": "augpipe/build-report/1",
        "outcome": result.outcome,
        "reason": result.reason,
        "out": str(result.out),
        "name": plan.name,
        "fingerprint": plan.fingerprint,
        "dataset_sha256": record.sha256 if record else None,
        "samples": plan.counts,
        "rendered": result.n_rendered,
        "bytes": result.n_bytes,
        "seconds": round(result.seconds, 3),
        "slices": plan.assignment.to_json(),
    }


def verification_lines(verification: Verification) -> list[str]:
    """Return the closing lines of a verification; its findings are told before."""
    record = verification.record
    replayed = f", {verification.n_replayed} rendered again" if verification.n_replayed else ""
    checked = f"{record.folder}: {verification.n_checked} samples in {len(record.shards)} shards{replayed}"
    n_found = len(verification.findings)
    verdict = f"{n_found} finding{'s' * (n_found > 1)}" if n_found else "every digest holds"
    return [f"{checked}: {verdict}", f"digest {record.sha256}"]


def verification_json(verification: Verification) -> dict[str, Any]:
    """Return a verification as plain JSON values."""
    record = verification.record
    return {
        "schema": "augpipe/verify-report/1",
        "dataset": str(record.folder),
        "dataset_sha256": record.sha256,
        "checked": verification.n_checked,
        "replayed": verification.n_replayed,
        "findings": list(verification.findings),
    }
