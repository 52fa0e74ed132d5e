"""JSON schemas of manifests/, and values that break them."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema

MANIFESTS = Path(__file__).parents[2] / "manifests"


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((MANIFESTS / name).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def objects(value: Any) -> list[dict[str, Any]]:
    """Return every object in a JSON value."""
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    inner = [found for child in children for found in objects(child)]
    return [value, *inner] if isinstance(value, dict) else inner


def broken_versions(whole: dict[str, Any], optional: set[str]) -> list[tuple[str, dict[str, Any]]]:
    """Return the value with each key missing in turn, and with one more in each object in turn."""
    broken = []
    for k, part in enumerate(objects(whole)):
        for key in [*part, None]:
            version = copy.deepcopy(whole)
            target = objects(version)[k]
            if key is None:
                target["more"] = 1
            elif key in optional:
                continue
            else:
                del target[key]
            broken.append((f"{key} of object {k}", version))
    return broken


def change(*path: str | int, to: Any) -> Callable[[Any], None]:
    def edit(values: Any) -> None:
        for key in path[:-1]:
            values = values[key]
        values[path[-1]] = to

    return edit
