"""What a build is asked to make: every option that can change a byte of the dataset."""

import operator
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from augment.errors import ConfigError
from augment.ranges import AugmentRanges
from pipeline.digest import bytes_digest, canonical_json

SplitStrategy: TypeAlias = Literal["block", "random"]
Engine: TypeAlias = Literal["fused", "staged"]

RENDERER_VERSION = 1  # raised whenever the samples that a seed yields change
LARGEST_WINDOW_PX = 16384


@dataclass(frozen=True, slots=True)
class BuildConfig:
    """The options of one build.

    Attributes:
        n: samples in all splits together.
        seed: of every random number; 0 or more.
        size: (height, width) of a sample, in pixels.
        split: how slices are assigned; `block` holds out the end of the stack, `random` single slices.
        gap: slices left out between two splits.
        test: fraction of the slices, and of the samples, that are held out for testing; 0 for none.
        val: fraction that is held out for validation; 0 for none.
        ranges: what the recipes may draw.
        engine: `fused` is the one to use; `staged` renders stage by stage, for comparison.
        shard_size: samples in one HDF5 file.

    Raises:
        ConfigError: a value is out of range.
    """

    n: int = 300
    seed: int = 0
    size: tuple[int, int] = (700, 700)
    split: SplitStrategy = "block"
    gap: int = 3
    test: float = 0.2
    val: float = 0.0
    ranges: AugmentRanges = field(default_factory=AugmentRanges)
    engine: Engine = "fused"
    shard_size: int = 64

    def __post_init__(self) -> None:
        if len(self.size) != 2:
            raise ConfigError(f"size: expected height and width, got {self.size!r}")
        object.__setattr__(self, "size", tuple(map(_whole, self.size)))
        for name in ("n", "seed", "gap", "shard_size"):
            object.__setattr__(self, name, _whole(getattr(self, name)))
        for name in ("test", "val"):
            object.__setattr__(self, name, float(getattr(self, name)))
        _require("n", self.n, 1, 10**9)
        _require("seed", self.seed, 0, 2**128 - 1)
        for side in self.size:
            _require("size", side, 2, LARGEST_WINDOW_PX)
        _require("gap", self.gap, 0, 10**6)
        _require("shard-size", self.shard_size, 1, 10**5)
        if self.split not in ("block", "random"):
            raise ConfigError(f"split: expected block or random, got {self.split!r}")
        if self.engine not in ("fused", "staged"):
            raise ConfigError(f"engine: expected fused or staged, got {self.engine!r}")
        for name, fraction in (("test", self.test), ("val", self.val)):
            if not 0 <= fraction < 1:
                raise ConfigError(f"{name}: expected a fraction from 0 to below 1, got {fraction:g}")
        if self.test + self.val >= 1:
            raise ConfigError(
                f"test and val: {self.test:g} + {self.val:g} leaves nothing to train on; together below 1"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the options as plain JSON values, the same for 0 and 0.0."""
        values = asdict(self)
        ranges = {name: _plain(value) for name, value in values["ranges"].items()}
        ranges["grid_points"] = self.ranges.grid_points
        return {
            **values,
            "size": list(self.size),
            "test": float(self.test),
            "val": float(self.val),
            "ranges": ranges,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "BuildConfig":
        """Return the options that `to_json` wrote.

        Raises:
            ConfigError: an option is missing, unknown, or out of range.
        """
        try:
            plain = dict(values)
            if set(plain) != set(cls.__dataclass_fields__):
                raise ConfigError(f"config: expected {sorted(cls.__dataclass_fields__)}, got {sorted(map(str, plain))}")
            if set(plain["ranges"]) != set(AugmentRanges.__dataclass_fields__):
                raise ConfigError(f"config: ranges are {sorted(map(str, plain['ranges']))}")
            drawn: dict[str, Any] = {
                key: tuple(v) if isinstance(v, list) else v for key, v in plain.pop("ranges").items()
            }
            height, width = plain.pop("size")
            return cls(ranges=AugmentRanges(**drawn), size=(height, width), **plain)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"config: not the options of a build ({error})") from error


def build_fingerprint(config: Mapping[str, Any], name: str, inputs: list[dict[str, Any]]) -> str:
    """Return the digest of all that decides a dataset's bytes; never of jobs, paths, times or versions."""
    return bytes_digest(
        canonical_json({"config": dict(config), "name": name, "inputs": inputs, "renderer": RENDERER_VERSION})
    )


def require_jobs(jobs: int) -> None:
    """Refuse a number of threads that means nothing.

    Raises:
        ConfigError: neither 1 or more, nor a negative number counting down from all cores.
    """
    if jobs == 0:
        raise ConfigError("jobs: expected 1 or more, or -1 for one a core, got 0")


def _whole(value: Any) -> Any:
    """Return NumPy's whole numbers as Python's, and anything else as it is, to be refused by name."""
    return value if isinstance(value, bool) or not hasattr(value, "__index__") else operator.index(value)


def _plain(value: Any) -> Any:
    """Return numbers as floats and pairs as lists, so that equal ranges are equal JSON."""
    if isinstance(value, tuple):
        return [float(part) for part in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _require(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{name}: expected a whole number from {low} to {high}, got {value!r}")
