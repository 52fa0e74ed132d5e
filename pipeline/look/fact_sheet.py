"""The fact sheet: what is known of a dataset or of a sample, as aligned lines of text."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.shards.config import SPLIT_LETTERS

WIDTH = 110
SPLIT_SIGNS: Mapping[str, str] = {split or "unused": letter for letter, split in SPLIT_LETTERS.items()}

_INDENT = 13
_SOURCE_LABELS: Mapping[str, str] = {
    "title": "source",
    "specimen": "specimen",
    "voxel_size_nm": "voxel size",
    "licence": "licence",
    "citation": "citation",
    "url": "url",
}
_MOST_LISTED = 12  # stacks or classes; the rest are counted here and listed in the JSON
_MOST_POINTS = 5  # control points a side in a table; more do not fit in a line


def dataset_sheet(facts: Mapping[str, Any]) -> list[str]:
    """Return what `pipeline.look.show.dataset_json` tells, as lines."""
    arrays, config, sizes = facts["arrays"], facts["config"], facts["bytes"]
    height, width = arrays["window"]
    return [
        *_line(
            "dataset", f"{facts['name']}: {facts['drawn']['n']} samples of {height} x {width} px {arrays['images']}"
        ),
        *_source_lines(facts["source"]),
        *_input_lines(facts["inputs"]),
        *_line("labels", _label_text(facts)),
        *(_line("weights", f"{config['weights']}, {arrays['weights']}") if "weights" in arrays else []),
        *_split_lines(facts["split"], config),
        *_line("seed", config["seed"]),
        *_range_lines(config["ranges"], facts["drawn"]),
        *_line(
            "files",
            f"{facts['shards']} shards, {size_text(sizes['shards'])}; manifest {size_text(sizes['manifest'])}",
        ),
        *_line("renderer", f"version {facts['renderer']}, engine {config['engine']}"),
        *_line("fingerprint", facts["fingerprint"]),
        *_line("digest", f"{facts['dataset_sha256']}  (the one to cite)"),
    ]


def sample_sheet(facts: Mapping[str, Any]) -> list[str]:
    """Return what `pipeline.look.show.sample_json` tells, as lines."""
    recipe = facts["recipe"]
    (shift_y, shift_x), (height, width) = recipe["shift_px"], recipe["window"]
    return [
        *_line("sample", f"{facts['id']} of {facts['name']}"),
        *_line("split", facts["split"]),
        *_line("stored in", f"{facts['shard']}, row {facts['row']}"),
        *_line("slice", f"stack {facts['stack']}, z {facts['z']}; replicate {facts['replicate']} of it"),
        *_line("slice sha256", facts["source_sha256"]),
        *_line("image sha256", facts["image_sha256"]),
        *_line("label sha256", facts["label_sha256"]),
        *(_line("weights", f"sha256 {facts['weights_sha256']}") if "weights_sha256" in facts else []),
        *_line("window", f"{height} x {width} px"),
        *_line("angle", f"{recipe['angle_deg']:.4g} deg counter-clockwise"),
        *_line("flip", "left to right" if recipe["flip"] else "none"),
        *_line("zoom", f"{recipe['zoom']:.4g}"),
        *_line("shift", f"{shift_y:+g}, {shift_x:+g} px (y, x) from the slice's centre"),
        *_line("gray levels", f"gain {recipe['gain']:.4g}, bias {recipe['bias']:+.4g}"),
        *_grid_lines(recipe),
    ]


def _source_lines(source: Mapping[str, Any]) -> list[str]:
    lines = []
    for key, label in _SOURCE_LABELS.items():
        value = source.get(key)
        if key == "voxel_size_nm" and value is not None:
            value = f"{' x '.join(f'{side:g}' for side in value)} nm (z, y, x)"
        lines += _line(label, value) if value is not None else []
    if source.get("synthetic"):
        lines += _line("synthetic", "yes, no real tissue")
    for part in source.get("parts", []):
        lines += _line(f"stack {part['stack']} is", part["title"])
    return lines


def _input_lines(inputs: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for index, stack in enumerate(inputs[:_MOST_LISTED]):
        depth, height, width = stack["images"]["shape"]
        label = "stack" if len(inputs) == 1 else f"stack {index}"
        lines += _line(label, f"{depth} slices of {height} x {width} px, {stack['images']['dtype']}")
    return lines + _rest(len(inputs))


def _label_text(facts: Mapping[str, Any]) -> str:
    kind, dtype = facts["label_kind"], facts["arrays"]["labels"]
    classes = [f"{entry['value']} -> {entry['index']}" for entry in facts["classes"]]
    if len(classes) > _MOST_LISTED:
        classes[_MOST_LISTED:] = [f"... and {len(classes) - _MOST_LISTED} more"]
    return f"{kind}, {dtype}: {', '.join(classes)}" if classes else f"{kind}, {dtype} ids"


def _split_lines(split: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    pictures = split["pictures"]
    if max(map(len, pictures)) == 1:  # single fields of view, which are easier to see side by side
        pictures = ["".join(pictures)]
    lines = _line("split", _strategy(split, config))
    for picture in pictures[:_MOST_LISTED]:
        lines += _line("", picture)
    lines += _rest(len(pictures))
    for name, n in split["slices"].items():
        if n or name in split["samples"]:
            samples = f"{split['samples'][name]:>8} samples" if name in split["samples"] else ""
            lines += _line("", f"{SPLIT_SIGNS[name]} {name:<7}{n:>6} slices{samples}")
    return lines


def _strategy(split: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Return how slices were assigned, and how far apart two splits are in one stack, where any are."""
    parts = [str(split["strategy"])]
    if config.get("folds"):
        parts.append(f"fold {config['fold']} of {config['folds']}, counted from 0")
    if split["independent"]:
        parts.append("slices without neighbours")
    elif split["gap"] is not None:
        parts.append(f"gap {split['gap']}")
    return ", ".join(parts)


def _range_lines(ranges: Mapping[str, Any], drawn: Mapping[str, Any]) -> list[str]:
    """Return what could be drawn beside what was, in two columns."""
    points, shift_px = ranges["grid_points"], ranges["shift_px"]
    over = "window" if ranges["extent"] == "window" else f"{ranges['extent']} slice"
    reach = "to every corner" if shift_px is None else f"up to {shift_px:g} px"
    shifts = f"y {_range(drawn['shift_y_px'])}, x {_range(drawn['shift_x_px'])} px"
    grid = f"s.d. {drawn['grid_sd_px']:.4g} px, largest {drawn['grid_largest_px']:.4g} px along an axis"
    table = {
        "ranges": ("as configured", "as drawn"),
        "angle": (f"{_range(ranges['rotate_deg'])} deg", f"{_range(drawn['angle_deg'])} deg"),
        "flip": (
            "every second, by chance" if ranges["flip"] else "none",
            f"{drawn['n_flipped']} of {drawn['n']} ({drawn['n_flipped'] / drawn['n']:.0%})",
        ),
        "zoom": (_range(ranges["zoom"]), _range(drawn["zoom"])),
        "shift": (reach, shifts),
        "gain": (_range(ranges["gain"]), _range(drawn["gain"])),
        "bias": (_range(ranges["bias"]), _range(drawn["bias"])),
        "grid": (f"{points} x {points} over the {over}, s.d. {ranges['sigma_px']:g} px", grid),
    }
    column = 3 + max(len(configured) for configured, _ in table.values())
    return [f"{label:<{_INDENT}}{configured:<{column}}{was_drawn}" for label, (configured, was_drawn) in table.items()]


def _grid_lines(recipe: Mapping[str, Any]) -> list[str]:
    """Return the control points' displacements as a table, a row of points a line."""
    along_y, along_x = recipe["grid_px"]
    points, (height, width) = len(along_y), recipe["extent_px"]
    title = f"{points} x {points} control points over {height} x {width} px, moved by (y, x) px"
    if points > _MOST_POINTS:
        largest = max(abs(push) for axis in recipe["grid_px"] for row in axis for push in row)
        return _line("grid", f"{title}: by {largest:.4g} along an axis at most; the JSON lists them")
    cells = [
        [f"({y:+.2f}, {x:+.2f})" for y, x in zip(*rows, strict=True)] for rows in zip(along_y, along_x, strict=True)
    ]
    column = 2 + max(len(cell) for row in cells for cell in row)
    table = ["".join(f"{cell:<{column}}" for cell in row).rstrip() for row in cells]
    return [*_line("grid", title), *(" " * _INDENT + line for line in table)]


def _range(ends: Sequence[float]) -> str:
    low, high = (f"{end:.4g}" for end in ends)
    return low if low == high else f"{low} to {high}"


def size_text(n_bytes: int) -> str:
    """Return a number of bytes as people read it."""
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes >= 1e5 else f"{n_bytes / 1e3:.1f} kB"


def _rest(n: int) -> list[str]:
    return _line("", f"... and {n - _MOST_LISTED} more stacks") if n > _MOST_LISTED else []


def _line(label: str, value: object) -> list[str]:
    """Return `value` beside its label, wrapped; what no terminal should be sent is replaced."""
    shown = "".join(c if c.isprintable() else " " for c in str(value))
    lines = textwrap.wrap(shown, WIDTH - _INDENT, break_on_hyphens=False) or [""]
    return [f"{label:<{_INDENT}}{lines[0]}".rstrip(), *(" " * _INDENT + line for line in lines[1:])]
