"""The split that the options of a build ask for, each of them only with a strategy that heeds it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.cli.given import Given
from pipeline.errors import ConfigError

_HEEDED_BY = {
    "folds": ("kfold",),
    "fold": ("kfold", "explicit"),
    "test": ("block", "random", "stack"),
    "val": ("block", "random", "kfold", "stack"),
    "gap": ("block", "random", "kfold"),
}
_WHY_NOT = {
    ("test", "kfold"): "kfold tests on one fold, which is 1 / folds of the slices",
    ("test", "explicit"): "the split file says which slices to test on",
    ("val", "explicit"): "the split file says which slices to validate on",
    ("gap", "explicit"): "the split file says which slices are left out",
    ("gap", "stack"): "different stacks are no neighbours",
}
_SMALLEST = {"folds": 2, "fold": 0}


@dataclass(frozen=True, slots=True)
class SplitChoice:
    """How slices are to be assigned.

    Attributes:
        options: those of `BuildConfig`, as far as they were given.
        file: what assigns every slice; for the strategy `explicit` alone.
        fold: which one of the file's folds.
    """

    options: Mapping[str, Any]
    file: Path | None = None
    fold: int = 0


def choose_split(given: Given) -> SplitChoice:
    """Return the split that was asked for.

    What a file says is void where the command line has chosen a strategy that does not heed it.

    Raises:
        ConfigError: an option was given that the strategy does not heed, or one that it needs was not.
    """
    by_flag = bool(given.flags & {"split", "split_file"})
    given = _one_strategy(given)
    file = given.get("split_file")
    strategy = "explicit" if file else given.get("split", "block")
    if strategy == "explicit" and not file:
        raise ConfigError(f"{given.where('split')}: explicit needs a --split-file that says where every slice goes")
    if by_flag:
        given = given.without_file(*(name for name in _HEEDED_BY if strategy not in _HEEDED_BY[name]))
    if "independent" in given.flags and given.get("independent"):
        given = given.without_file("gap")
    _require_heeded(given, strategy)
    if file and not file.exists():  # its content is read when the source is there to hold it against
        raise ConfigError(
            f"{given.where('split_file')}: expected a file that says where every slice goes, found no {file}"
        )
    names = ("gap", "val") if strategy == "explicit" else ("folds", "fold", "test", "val", "gap")
    return SplitChoice({"split": strategy, **given.only(*names)}, file, given.get("fold", 0))


def _one_strategy(given: Given) -> Given:
    """Return what was given without a file's word on a strategy that the command line has chosen."""
    if "split" in given.flags and given.get("split") != "explicit":
        given = given.without_file("split_file")
    elif "split_file" in given.flags:
        given = given.without_file("split")
    split = given.get("split", "explicit")
    if "split_file" in given and split != "explicit":
        raise ConfigError(
            f"{given.where('split_file')}: it says where every slice goes, which is split explicit, not {split}; "
            f"leave out {given.where('split')}"
        )
    return given


def _require_heeded(given: Given, strategy: str) -> None:
    """Refuse what would be ignored."""
    for name, strategies in _HEEDED_BY.items():
        value = given.get(name)
        moot = name in ("gap", "val") and value == 0  # as it is anyway
        if name in given and strategy not in strategies and not moot:
            why = _WHY_NOT.get((name, strategy), f"add --split {strategies[0]}")
            raise ConfigError(
                f"{given.where(name)}: it goes with split {_listed(strategies)}, not with {strategy}: {why}"
            )
        if name in _SMALLEST and value is not None and value < _SMALLEST[name]:
            raise ConfigError(f"{given.where(name)}: expected {_SMALLEST[name]} or more, got {value}")
    if given.get("independent") and given.get("gap"):
        raise ConfigError(
            f"{given.where('gap')}: slices that are independent have no neighbours to leave out; leave out this "
            f"option, or {given.where('independent')}"
        )


def _listed(words: tuple[str, ...]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
