"""build-info.json as it is read: where the stacks were, when a dataset was built and by what; all of it may be gone."""

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.shards.record import BUILD_INFO_FILE

_LARGEST_BYTES = 1 << 28
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+!-]{0,39}")
_FINISHED, _DATE = "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"


@dataclass(frozen=True, slots=True)
class BuildInfo:
    """What is remembered of a build.

    Attributes:
        pairs: where images and labels of each stack were; empty if that is not known.
        date: when it ended, as YYYY-MM-DD; None if that is not known.
        version: of the augpipe that made the samples; None if that is not known.
    """

    pairs: tuple[tuple[Path, Path], ...] = ()
    date: str | None = None
    version: str | None = None


def read_build_info(folder: Path) -> BuildInfo:
    """Return what a dataset's folder remembers of its build: anything may be written there, so nothing is trusted.

    It is not there in a dataset that was published. What is no plain file, such as a pipe, is not opened.
    """
    values = _read(folder / BUILD_INFO_FILE)
    return BuildInfo(_pairs(values.get("inputs")), _date(values.get("finished")), _version(values.get("versions")))


def _read(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST_BYTES:
            return {}
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _pairs(inputs: Any) -> tuple[tuple[Path, Path], ...]:
    try:
        pairs = tuple((Path(each["images"]["path"]), Path(each["labels"]["path"])) for each in inputs)
    except (LookupError, TypeError):
        return ()
    return pairs if all(path.is_absolute() for pair in pairs for path in pair) else ()


def _date(finished: Any) -> str | None:
    try:
        return time.strftime(_DATE, time.strptime(finished, _FINISHED))
    except (TypeError, ValueError):
        return None


def _version(versions: Any) -> str | None:
    version = versions.get("augpipe") if isinstance(versions, dict) else None
    return version if isinstance(version, str) and _VERSION.fullmatch(version) else None
