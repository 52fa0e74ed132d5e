"""The manifest: one canonical JSON line for every sample, enough to render it again and to trace it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from augment.recipe import Recipe
from pipeline.errors import AugpipeError, DatasetError
from pipeline.shards.digest import SHA256, canonical_json, parse_json
from pipeline.shards.record import SHARD_FILE, require_same

_MAX_LINE_BYTES = 1 << 20


def sample_id(stack: int, z: int, replicate: int) -> str:
    """Return a sample's id, of the same width however many samples there are."""
    return f"s{stack:03d}-z{z:05d}-r{replicate:07d}"


@dataclass(frozen=True, slots=True)
class ContextSlice:
    """A slice that a sample shows beside its own: its place in the stack, and the digest of its pixels."""

    z: int
    sha256: str


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
    weights_sha256: str | None = None  # a dataset without weights has no such field
    context: tuple[ContextSlice, ...] = ()  # in the order of the channels; left out where there is none

    def __post_init__(self) -> None:
        places, digests = zip(*self.shown, strict=True)
        numbers, all_digests = (self.row, self.stack, self.replicate, *places), (*digests, *self.array_digests)
        if min(numbers) < 0 or not all(map(SHA256.fullmatch, all_digests)):
            raise DatasetError(f"sample {self.id!r:.40}: a number or a digest is out of range")
        if self.id != sample_id(self.stack, self.z, self.replicate):
            raise DatasetError(f"sample {self.id!r:.40}: its id is not that of its stack, z and replicate")
        if not (match := SHARD_FILE.fullmatch(self.shard)) or match[1] != self.split:
            raise DatasetError(f"sample {self.id}: {self.shard!r:.40} is not a shard of split {self.split!r:.40}")

    @property
    def shown(self) -> tuple[tuple[int, str], ...]:
        """The slices that it shows, and the digests of their pixels: its own first; what is mirrored comes twice."""
        return ((self.z, self.source_sha256), *((each.z, each.sha256) for each in self.context))

    @property
    def array_digests(self) -> tuple[str, ...]:
        """The digests of its image, its label, and its weights where it has any."""
        weights = () if self.weights_sha256 is None else (self.weights_sha256,)
        return (self.image_sha256, self.label_sha256, *weights)

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain JSON values."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        if self.weights_sha256 is None:
            del values["weights_sha256"]
        if not self.context:
            del values["context"]
        else:
            values["context"] = [{"z": each.z, "sha256": each.sha256} for each in self.context]
        return {**values, "recipe": self.recipe.to_json()}

    def to_line(self) -> bytes:
        """Return the row as one line of canonical JSON."""
        return canonical_json(self.to_json())


def read_manifest(path: Path) -> Iterator[ManifestRow]:
    """Yield the rows of a manifest file.

    Raises:
        DatasetError: the file cannot be read, or a line is not a sample.
    """
    for number, line in enumerate(read_lines(path), 1):
        yield parse_line(line, where=f"{path}, line {number}")


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a manifest file, in pieces of a megabyte where they are longer.

    Raises:
        DatasetError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            while line := file.readline(_MAX_LINE_BYTES):
                yield line
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error


def parse_line(line: bytes, *, where: str) -> ManifestRow:
    """Return the row in one line of a manifest; `where` names the line in error messages.

    Raises:
        DatasetError: the line is not a sample.
    """
    try:
        row = msgspec.json.decode(line, type=ManifestRow)
        if row.to_line() != line:  # spaces and the order of keys may differ, but no key and no value
            require_same(parse_json(line), row.to_json())
    except (AugpipeError, msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise DatasetError(f"{where}: not a sample of a manifest ({error})") from error
    return row
