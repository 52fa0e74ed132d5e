"""build-info.json: all that may differ between two equal builds, written by a build and read where it is still there.

Where the stacks were, when the dataset was built and by what; it is never published.
"""

import os
import platform
import re
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from augment.native import numba_version
from pipeline.shards.config import JOINS
from pipeline.shards.digest import parse_json
from pipeline.shards.record import BUILD_INFO_FILE
from pipeline.source.stacks import Source, SourceFile
from pipeline.version import VERSION

_SCHEMA = "augpipe/build-info/1"
_LIBRARIES = ("elasticdeform", "h5py", "imagecodecs", "joblib", "llvmlite", "numpy", "scipy", "tifffile")
_MAX_BYTES = 1 << 28
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+!-]{0,39}")
# What the options of `read_pairs` may be that are remembered.
_OPTIONS: dict[str, Callable[[Any], bool]] = {
    "channels_are_slices": lambda value: isinstance(value, bool),
    "channel": lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
    "join": lambda value: value in JOINS,
}
_DECODER = re.compile(r"[0-9A-Za-z._/+ -]{1,80}")
_FINISHED, _DATE = "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"


@dataclass(frozen=True, slots=True)
class BuildInfo:
    """What is remembered of a build.

    Attributes:
        pairs: where images and labels of each stack were; empty if that is not known.
        date: when it ended, as YYYY-MM-DD; None if that is not known.
        version: of the augpipe that made the samples; None if that is not known.
        digests: SHA-256 of images and labels of each stack, as `SourceFile` has them; empty if not all are known.
        decoders: what decoded them, where that matters to their pixels.
        options: how `read_pairs` is to read them, where they do not say it themselves.
    """

    pairs: tuple[tuple[Path, Path], ...] = ()
    date: str | None = None
    version: str | None = None
    digests: tuple[tuple[str, str], ...] = ()
    decoders: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


def describe_build(source: Source, *, jobs: int, seconds: float) -> dict[str, Any]:
    """Return build-info.json of a build that ends now."""
    return {
        "schema": _SCHEMA,
        "finished": time.strftime(_FINISHED, time.gmtime()),
        "seconds": round(seconds, 3),
        "jobs": jobs,
        "cores": os.cpu_count(),
        "host": {"machine": platform.machine(), "system": platform.platform(), "python": platform.python_version()},
        "versions": _versions(),
        "inputs": [{"images": _location(images), "labels": _location(labels)} for images, labels in source.files],
        **({"options": dict(source.options)} if source.options else {}),
    }


def read_build_info(folder: Path) -> BuildInfo:
    """Return what a dataset's folder remembers of its build; nothing in it is trusted, as anyone may have written it.

    A published dataset has no such file. Anything but a plain file, such as a pipe, is not opened.
    """
    path = folder / BUILD_INFO_FILE
    try:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            return BuildInfo()
        values: Any = parse_json(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return BuildInfo()
    pairs: tuple[tuple[Path, Path], ...] = ()
    date, made_by = None, None
    options: dict[str, Any] = {}
    with suppress(LookupError, TypeError, AttributeError):
        found = tuple(
            (Path(file["path"]), Path(each["labels"]["path"]))
            for each in values["inputs"]
            for file in (each["images"], *each["images"].get("further", ()))
        )
        found = tuple(dict.fromkeys(found))  # one pair of folders may hold several stacks
        pairs = found if all(path.is_absolute() for pair in found for path in pair) else ()
    with suppress(LookupError, TypeError, AttributeError):
        options = {key: value for key, value in values["options"].items() if _OPTIONS[key](value)}
    digests: tuple[tuple[str, str], ...] = ()
    decoders: tuple[str, ...] = ()
    with suppress(LookupError, TypeError, AttributeError):
        digests = tuple((each["images"]["sha256"], each["labels"]["sha256"]) for each in values["inputs"])
        told = [file.get("decoder") for each in values["inputs"] for file in (each["images"], each["labels"])]
        decoders = tuple(dict.fromkeys(name for name in told if isinstance(name, str) and _DECODER.fullmatch(name)))
    with suppress(LookupError, TypeError, ValueError):
        date = time.strftime(_DATE, time.strptime(values["finished"], _FINISHED))
    with suppress(LookupError, TypeError):
        made_by = values["versions"]["augpipe"] if _VERSION.fullmatch(values["versions"]["augpipe"]) else None
    return BuildInfo(pairs, date, made_by, digests, decoders, options)


def _versions() -> dict[str, str | None]:
    """Return the version of augpipe and of the libraries that this process has loaded, and of numba.

    Nearly each tells its own: to look them up among what is installed would take longer than to render ten samples.
    """
    loaded = {name: _version(name) for name in _LIBRARIES if name in sys.modules}
    return {"augpipe": VERSION, "numba": numba_version(), **loaded}


def _version(library: str) -> str | None:
    if own := getattr(sys.modules[library], "__version__", None):
        return str(own)
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _location(file: SourceFile) -> dict[str, Any]:
    decoder = {"decoder": file.decoder} if file.decoder else {}
    further = {"further": [_location(each) for each in file.further]} if file.further else {}
    return {"path": str(file.path), "sha256": file.sha256, **decoder, **further}
