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
MAX_REPLICATES = 10**7  # samples of a slice that the ids have room for
_NOT_ALWAYS = ("weights_sha256", "mask_sha256", "context")  # they have no key where there is no such array


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
    weights_sha256: str | None = None
    mask_sha256: str | None = None
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
    def digests(self) -> dict[str, str]:
        """The digests of its image, its label, and of its weights and its mask where it has any, by name."""
        digests = {"weights": self.weights_sha256, "mask": self.mask_sha256}
        others = {name: digest for name, digest in digests.items() if digest is not None}
        return {"image": self.image_sha256, "label": self.label_sha256, **others}

    @property
    def array_digests(self) -> tuple[str, ...]:
        """The same without their names."""
        return tuple(self.digests.values())

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain JSON values."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        known = {name: value for name, value in values.items() if name not in _NOT_ALWAYS or value}
        if self.context:
            known["context"] = [{"z": each.z, "sha256": each.sha256} for each in self.context]
        return {**known, "recipe": self.recipe.to_json()}

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
