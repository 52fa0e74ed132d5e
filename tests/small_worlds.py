"""The small worlds that the pipeline's tests share: twelve tiny slices, and datasets made of them in milliseconds."""

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.build.builder import BuildResult, build_dataset
from pipeline.shards.config import BuildConfig
from pipeline.shards.digest import array_digest, canonical_json, content_digest
from pipeline.shards.inputs import ImageInput, LabelInput, StackInput
from pipeline.source.combining import make_source
from pipeline.source.phantom import make_phantom
from pipeline.source.readers import IMAGES_FILE, LABELS_FILE
from pipeline.source.stacks import Source
from pipeline.source.tiff import write_stack

DEPTH = 12
SIZE = (40, 36)
# 12 samples of 12 slices: train 0..7 (9 samples in shards of 4, 4 and 1), 8 unused, test 9..11 (3 samples).
OPTIONS = ("--n", "12", "--size", "40x36", "--gap", "1", "--test", "0.25", "--shard-size", "4", "--jobs", "1")
SHARDS = ("train-00000.h5", "train-00001.h5", "train-00002.h5", "test-00000.h5")
FILES = ("build-info.json", "dataset.json", "manifest.jsonl", *SHARDS)


@cache
def small_stack() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return twelve slices of 64 x 72 and their labels, 0 and 255; read-only, because it is shared."""
    stack = make_phantom((DEPTH, 64, 72), seed=7)
    for pixels in stack:
        pixels.flags.writeable = False
    return stack


def small_source(*, name: str = "small", depth: int = DEPTH) -> Source:
    images, labels = small_stack()
    return make_source(images[:depth], labels[:depth], name=name)


def small_config(**changes: Any) -> BuildConfig:
    options = {"n": 12, "size": SIZE, "gap": 1, "test": 0.25, "shard_size": 4, **changes}
    return BuildConfig(**options)


def inputs_of(depth: int, **what: Any) -> StackInput:
    """Return what a record says of a stack of so many slices: of groups, a sequence or skipped slices, if of any."""
    shape = (depth, 8, 9)
    labels = LabelInput("0" * 64, shape, "uint8", "binary", (0, 255))
    return StackInput(ImageInput("0" * 64, shape, "uint8"), labels, **what)


def build_small(out: Path, **changes: Any) -> BuildResult:
    return build_dataset(small_source(), small_config(**changes), out=out, jobs=1)


def write_folder(folder: Path, images: NDArray[Any], labels: NDArray[Any]) -> Path:
    """Write a source folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_stack(folder / IMAGES_FILE, images)
    write_stack(folder / LABELS_FILE, labels)
    return folder


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that must be the same in every build."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "build-info.json"
    }


def names(folder: Path) -> list[str]:
    """Return everything in a folder, hidden files and files in folders too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return everything in a folder: the bytes of its files, and None for folders."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def flip_bit(path: Path, offset: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)


def edit_record(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Change dataset.json as `edit` does."""
    path = folder / "dataset.json"
    values = json.loads(path.read_bytes())
    edit(values)
    path.write_bytes(canonical_json(values))


def read_rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_bytes().splitlines()]


def write_rows(folder: Path, rows: Iterable[dict[str, Any]]) -> None:
    (folder / "manifest.jsonl").write_bytes(b"".join(map(canonical_json, rows)))


def seal(folder: Path) -> None:
    """Make every digest agree with the files again, as someone would who falsifies a dataset with care."""
    rows = read_rows(folder)
    data = (folder / "manifest.jsonl").read_bytes()

    def edit(values: dict[str, Any]) -> None:
        values["manifest"] |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for shard in values["shards"]:
            shard_data = (folder / shard["file"]).read_bytes()
            shard |= {"bytes": len(shard_data), "sha256": hashlib.sha256(shard_data).hexdigest()}
            names = [f"{name}_sha256" for name in ("image", "label", "weights", "mask")]
            own = [tuple(row[name] for name in names if name in row) for row in rows if row["shard"] == shard["file"]]
            shard["content_sha256"] = content_digest(own)

    edit_record(folder, edit)


def count_calls(monkeypatch: pytest.MonkeyPatch, function: str) -> list[Any]:
    """Return a list that grows by the first argument of every call of a function."""
    module, name = function.rsplit(".", 1)
    called, plain = [], getattr(sys.modules[module], name)

    def count(first: Any, *arguments: Any, **keywords: Any) -> Any:
        called.append(first)
        return plain(first, *arguments, **keywords)

    monkeypatch.setattr(function, count)
    return called


def read_only(path: Path) -> h5py.File:
    """Open a copy in memory, so that HDF5 does not find the same file open twice in different ways."""
    return h5py.File(io.BytesIO(path.read_bytes()), "r")


def rewrite_shard(path: Path, write: Callable[[h5py.File, dict[str, NDArray[Any]]], Any], **attributes: Any) -> None:
    """Replace a shard: `write` makes the arrays anew; attributes given as None are left out."""
    with read_only(path) as file:
        arrays = {name: array[()] for name, array in file.items()}
        old = dict(file.attrs)
    path.unlink()
    with h5py.File(path, "w") as file:
        write(file, arrays)
        for name, value in {**old, **attributes}.items():
            if value is not None:
                file.attrs[name] = value


def write_plainly(file: h5py.File, arrays: dict[str, NDArray[Any]], *, leave_out: str = "") -> None:
    """Write the arrays as a shard has them, but for one."""
    for name in set(arrays) - {leave_out}:
        keywords = {} if name == "ids" else {"chunks": (1, *arrays[name].shape[1:])}
        deflated = name in {"labels", "weights", "masks"}
        file.create_dataset(name, data=arrays[name], compression="gzip" if deflated else None, **keywords)


def digest_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the manifest's rows with the digests of the arrays that the shards hold."""
    rows = read_rows(folder)
    for row in rows:
        with read_only(folder / row["shard"]) as file:
            row["image_sha256"] = array_digest(file["images"][row["row"]])
            row["label_sha256"] = array_digest(file["labels"][row["row"]])
            if "masks" in file:
                row["mask_sha256"] = array_digest(file["masks"][row["row"]])
    return rows


def run_python(code: str, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a few lines of Python in a fresh interpreter."""
    import os

    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
