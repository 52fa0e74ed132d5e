"""What the commands print and write of their results: tables of scores, lines of a benchmark, reports in JSON."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError

_MEANINGS = {
    "pixel_error": "1 - best F-score of cell pixels over thresholds 0 to 1, pooled",
    "misclassified": "share of wrong pixels at 0.5, pooled",
    "iou_cell": "of cell pixels at 0.5, pooled",
    "iou_membrane": "of membrane pixels at 0.5, pooled",
    "v_rand": "after border thinning, mean of slices, best threshold",
    "v_info": "after border thinning, mean of slices, best threshold",
    "warping_error": "splits and mergers a pixel, best threshold, pooled",
    "adapted_rand_error": "of 4-connected cells at 0.5, mean of slices",
}
_COMPUTING_LIMITS = 0.9  # share of the speed without loading, from which on a faster loader would change little


def score_lines(report: Mapping[str, Any]) -> list[str]:
    """Return a line for each score, with its class, threshold and pooling."""
    lines = []
    for name, meaning in _MEANINGS.items():
        threshold = report.get(f"{name}_threshold")
        at = "" if threshold is None else f" ({threshold:.1f})"
        lines.append(f"{name:<20}{report[name]:.5f}   {meaning}{at}")
    return [*lines, f"{'scored':<20}{report['n']} {report.get('shown', 'slices')}"]


def bench_lines(report: Mapping[str, Any]) -> list[str]:
    """Return the lines of a benchmark, with units; the last one says what limits training."""
    lines = [("computes on", f"{report['device']}, {report['batch']} samples a step")]
    for name, speed in report["loaders"].items():
        what, why = ("copies arrays", ", for comparison") if name == "copy" else (f"loads, {name}", "")
        lines.append((what, f"{speed} samples/s{why}"))
    lines += [
        ("trains", f"{report['train_real']} samples/s"),
        ("trains, loading none", f"{report['train_synthetic']} samples/s, on one batch again and again"),
        ("memory", f"{report['peak_memory_mb']} MB at most"),
    ]
    if "peak_device_memory_mb" in report:
        lines.append(("memory of the device", f"{report['peak_device_memory_mb']} MB at most"))
    return [f"{name:<24}{value}" for name, value in [*lines, ("limited by", _limit(report["real_of_synthetic"]))]]


def require_report_place(path: Path) -> None:
    """Refuse to write a report over a file that is none; pipes, devices and earlier reports are fine.

    Raises:
        ConfigError: it is a folder, or holds anything else, or its folder is missing.
    """
    if not path.parent.is_dir():
        raise ConfigError(f"--json: {path.parent} is no folder; name another file for the report")
    if path.is_dir():
        raise ConfigError(f"--json: {path} is a folder; name a file for the report")
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            if file.read(1) != b"{":
                raise ConfigError(f"--json: {path} is there already and is no report; name another file")


def _limit(share: float) -> str:
    """Return what limits training that runs at this share of its speed without loading."""
    if share >= _COMPUTING_LIMITS:
        return f"computing: with samples to load it is {share:.1%} as fast as without"
    return f"loading: with samples to load it is only {share:.1%} as fast as without"
