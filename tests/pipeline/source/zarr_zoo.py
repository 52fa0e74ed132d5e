"""Zarr hierarchies written by hand, file by file, as the two specifications say."""

import json
import zipfile
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray


def write_array(folder: Path, pixels: NDArray[Any], steps: tuple[int, ...], *, version: int, **changes: Any) -> Path:
    """Write an array with zstd; chunks of zeros alone are left out, as the zarr library does."""
    grid = product(*(range(-(-side // step)) for side, step in zip(pixels.shape, steps, strict=True)))
    for index in grid:
        begin = [number * step for number, step in zip(index, steps, strict=True)]
        part = pixels[tuple(slice(first, first + step) for first, step in zip(begin, steps, strict=True))]
        if part.any():
            chunk = np.pad(part, [(0, step - side) for side, step in zip(part.shape, steps, strict=True)])
            key = "/".join(map(str, index)) if version == 2 else "/".join(["c", *map(str, index)])
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(imagecodecs.zstd_encode(chunk.tobytes()))
    little = pixels.dtype.newbyteorder("<")
    if version == 2:
        metadata = {
            "zarr_format": 2,
            "shape": pixels.shape,
            "chunks": steps,
            "dtype": little.str,
            "fill_value": 0,
            "order": "C",
            "filters": None,
            "compressor": {"id": "zstd", "level": 1},
            "dimension_separator": "/",
        }
    else:
        metadata = {
            "zarr_format": 3,
            "node_type": "array",
            "shape": pixels.shape,
            "data_type": little.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": steps}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": 0,
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "zstd", "configuration": {}}],
        }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / (".zarray" if version == 2 else "zarr.json")).write_text(json.dumps({**metadata, **changes}))
    return folder


def write_group(folder: Path, attributes: Mapping[str, Any], *, version: int) -> None:
    """Write a group; what OME-Zarr says is below `ome` from 0.5 on, which is version 3."""
    folder.mkdir(parents=True, exist_ok=True)
    if version == 2:
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
        (folder / ".zattrs").write_text(json.dumps(attributes))
    else:
        values = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5", **attributes}}}
        (folder / "zarr.json").write_text(json.dumps(values))


def write_image(
    folder: Path,
    pixels: NDArray[Any],
    axes: str,
    chunks: tuple[int, ...],
    *,
    version: int,
    labels: Mapping[str, NDArray[Any]] | None = None,
    **attributes: Any,
) -> Path:
    """Write an image of OME-Zarr with a second, smaller resolution, and its label images."""
    kinds = {"t": "time", "c": "channel"}
    scales = {
        "axes": [{"name": axis, "type": kinds.get(axis, "space")} for axis in axes],
        "datasets": [
            {"path": path, "coordinateTransformations": [{"type": "scale", "scale": [1.0 + place] * len(axes)}]}
            for place, path in enumerate(("full", "half"))
        ],
    }
    write_group(folder, {"multiscales": [scales], **attributes}, version=version)
    write_array(folder / "full", pixels, chunks, version=version)
    write_array(folder / "half", pixels[..., ::2, ::2], chunks, version=version)
    if labels is not None:
        write_group(folder / "labels", {"labels": list(labels)}, version=version)
        for name, label in labels.items():
            place = folder / "labels" / name
            write_image(
                place, label, axes[-label.ndim :], chunks[-label.ndim :], version=version, **{"image-label": {}}
            )
    return folder


def zipped(folder: Path, path: Path, *, deflate: bool = False, top: bool = False) -> Path:
    """Zip what is in a folder, or with `top` the folder itself."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED) as file:
        for each in sorted(folder.rglob("*")):
            if each.is_file():
                file.write(each, each.relative_to(folder.parent if top else folder))
    return path
