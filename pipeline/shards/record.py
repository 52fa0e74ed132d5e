"""dataset.json: what a dataset says about itself, and the only sign that it is complete."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import DatasetError
from pipeline.shards.digest import bytes_digest
from pipeline.shards.manifest import SHARD_FILE

DATASET_SCHEMA = "augpipe/dataset/1"
SHARD_SCHEMA = "augpipe/shard/1"
DATASET_FILE, MANIFEST_FILE, BUILD_INFO_FILE = "dataset.json", "manifest.jsonl", "build-info.json"
# What `augpipe card` adds to a dataset, and can make again at any time.
CARD_FOLDER, CARD_FILE, METADATA_FILE, AUDIT_FILE = "card", "README.md", "dataset-metadata.json", "audit.json"
COVER_FILE = "dataset-cover-image.png"
CARD_FILES = (CARD_FILE, "croissant.json", METADATA_FILE, "index.csv", AUDIT_FILE, "preview.png", COVER_FILE)

WEIGHT_DTYPE = np.dtype("float16")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")  # of a dataset
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LARGEST_RECORD_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """What dataset.json says about one shard file."""

    file: str
    split: str
    n: int
    bytes: int
    sha256: str
    content_sha256: str

    def __post_init__(self) -> None:
        if any(type(value) is not int for value in (self.n, self.bytes)):
            raise TypeError("n and bytes of a shard must be whole numbers")
        match = SHARD_FILE.fullmatch(self.file)
        if not match or match[1] != self.split:
            raise DatasetError(f"shard {self.file!r}: not the name of a shard of split {self.split!r}")
        if self.n < 1 or self.bytes < 1 or not all(map(_SHA256.fullmatch, (self.sha256, self.content_sha256))):
            raise DatasetError(f"shard {self.file}: n, bytes or a digest is out of range")


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """The parts of dataset.json that reading and checking a dataset need; `values` holds all of it.

    Attributes:
        folder: where the dataset lies.
        values: the whole of dataset.json.
        sha256: digest of dataset.json, which is the dataset's own.
        window: (height, width) of every sample, in pixels.
        image_dtype: of every image.
        label_dtype: of every label.
        weights: whether the weight of every pixel is stored, as WEIGHT_DTYPE.
        manifest_bytes: size of the manifest.
        manifest_sha256: digest of the manifest.
        shards: the shard files, split by split.
    """

    folder: Path
    values: Mapping[str, Any]
    sha256: str
    name: str
    fingerprint: str
    window: tuple[int, int]
    image_dtype: np.dtype[Any]
    label_dtype: np.dtype[Any]
    weights: bool
    manifest_bytes: int
    manifest_sha256: str
    shards: tuple[ShardRecord, ...]

    @property
    def n(self) -> int:
        """Samples in all splits."""
        return sum(shard.n for shard in self.shards)

    def split_shards(self, split: str) -> tuple[ShardRecord, ...]:
        """Return the shards of one split."""
        return tuple(shard for shard in self.shards if shard.split == split)


def read_record(folder: Path) -> DatasetRecord:
    """Return what the dataset in `folder` says about itself.

    Raises:
        DatasetError: there is no complete dataset, or dataset.json is not one that augpipe wrote.
    """
    path = folder / DATASET_FILE
    try:
        is_folder = folder.is_dir()
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be read ({error.strerror or error})") from error
    if not is_folder:
        raise DatasetError(
            f"{folder}: expected the folder of a dataset, found {'a file' if folder.exists() else 'nothing'}"
        )
    require_plain_file(path)
    try:
        if path.stat().st_size > _LARGEST_RECORD_BYTES:
            raise DatasetError(f"{path}: larger than {_LARGEST_RECORD_BYTES:,} bytes; not a dataset record")
        data = path.read_bytes()
        values = json.loads(data)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not JSON ({error})") from error
    try:
        return _parse(folder, values, bytes_digest(data))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(f"{path}: not a dataset record of this version ({type(error).__name__}: {error})") from error


def require_plain_file(path: Path) -> None:
    """Refuse what is not a file of its own.

    Raises:
        DatasetError: the path is missing, a link, or a folder.
    """
    if path.is_symlink() or not path.is_file():
        kind = "a symbolic link" if path.is_symlink() else "nothing" if not path.exists() else "no plain file"
        raise DatasetError(f"{path}: expected a file, found {kind}; is the dataset complete?")


def _parse(folder: Path, values: dict[str, Any], sha256: str) -> DatasetRecord:
    if values["schema"] != DATASET_SCHEMA:
        raise DatasetError(f"{folder}: expected schema {DATASET_SCHEMA}, got {values['schema']!r:.80}")
    if values["manifest"]["file"] != MANIFEST_FILE:
        raise DatasetError(f"{folder}: expected the manifest to be {MANIFEST_FILE}")
    name = _text(values["name"])
    if not NAME.fullmatch(name):
        raise DatasetError(f"{folder}: expected the name of a dataset, got {name!a:.80}")
    arrays = values["arrays"]
    height, width = (_whole(side) for side in arrays["window"])
    image_dtype, label_dtype = arrays["images"], arrays["labels"]
    if image_dtype not in ("uint8", "uint16", "int16", "float32") or label_dtype not in ("uint8", "uint16"):
        raise DatasetError(f"{folder}: images of {image_dtype!r} and labels of {label_dtype!r} are not known")
    if "weights" in arrays and arrays["weights"] != WEIGHT_DTYPE.name:
        raise DatasetError(f"{folder}: expected weights of {WEIGHT_DTYPE.name}, or none, got {arrays['weights']!r:.80}")
    if not (1 < height <= 1 << 16 and 1 < width <= 1 << 16):
        raise DatasetError(f"{folder}: window {height} x {width} is out of range")
    if type(values["shards"]) is not list or not values["shards"]:
        raise DatasetError(f"{folder}: expected the dataset's shards as a list")
    shards = tuple(ShardRecord(**shard) for shard in values["shards"])
    if len({shard.file for shard in shards}) != len(shards):
        raise DatasetError(f"{folder}: a shard is named twice")
    return DatasetRecord(
        folder=folder,
        values=values,
        sha256=sha256,
        name=name,
        fingerprint=_text(values["fingerprint"]),
        window=(height, width),
        image_dtype=np.dtype(image_dtype),
        label_dtype=np.dtype(label_dtype),
        weights="weights" in arrays,
        manifest_bytes=_whole(values["manifest"]["bytes"]),
        manifest_sha256=_text(values["manifest"]["sha256"]),
        shards=shards,
    )


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r:.40} is not a whole number")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"{value!r:.40} is not text")
    return value
