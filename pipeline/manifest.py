"""The manifest: one canonical JSON line for every sample, enough to render it again and to trace it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from augment.errors import DatasetError, RecipeError
from augment.recipe import Recipe
from pipeline.digest import canonical_json

_LONGEST_LINE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One sample of a dataset; manifests/README.md describes every field."""

    id: str
    split: str
    shard: str
    row: int
    stack: int
    z: int
    replicate: int
    source_sha256: str
    image_sha256: str
    label_sha256: str
    recipe: Recipe

    def to_line(self) -> bytes:
        """Return the row as one line of canonical JSON."""
        return canonical_json(asdict(self))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ManifestRow":
        """Return the row that `values` describe.

        Raises:
            DatasetError: a field is missing, unknown, or of the wrong type.
        """
        types = {"row": int, "stack": int, "z": int, "replicate": int, "recipe": dict}
        if set(values) != set(cls.__dataclass_fields__):
            raise DatasetError(f"expected the fields {sorted(cls.__dataclass_fields__)}, got {sorted(values)}")
        for name, value in values.items():
            if type(value) is not types.get(name, str):
                raise DatasetError(f"field {name} has the wrong type: {value!r:.60}")
        try:
            return cls(**{**values, "recipe": Recipe.from_json(values["recipe"])})
        except RecipeError as error:
            raise DatasetError(str(error)) from error


def read_manifest(path: Path) -> Iterator[ManifestRow]:
    """Yield the rows of a manifest file.

    Raises:
        DatasetError: the file cannot be read, or a line is not a sample.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(_LONGEST_LINE_BYTES):
                number += 1
                yield parse_line(line, where=f"{path}, line {number}")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error


def parse_line(line: bytes, *, where: str) -> ManifestRow:
    """Return the row in one line of a manifest; `where` names the line in error messages.

    Raises:
        DatasetError: the line is not a sample.
    """
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where}: not JSON ({error})") from error
    if not isinstance(values, dict):
        raise DatasetError(f"{where}: expected a JSON object")
    try:
        return ManifestRow.from_json(values)
    except DatasetError as error:
        raise DatasetError(f"{where}: {error}") from error
