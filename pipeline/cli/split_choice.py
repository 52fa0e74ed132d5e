"""How the options of `augpipe build` want slices to be assigned: one strategy, and what goes with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.cli.build_options import DEFAULTS
from pipeline.cli.user_options import UserOptions
from pipeline.errors import ConfigError

# Which strategies an option goes with, and why not with another, where that needs to be said.
_STRATEGIES = {
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
_MIN = {"folds": 2, "fold": 0}


@dataclass(frozen=True, slots=True)
class SplitChoice:
    """How slices are to be assigned.

    Attributes:
        options: those of `BuildConfig`, as far as they were set.
        file: what assigns every slice; for the strategy `explicit` alone.
        fold: which one of the file's folds.
        chosen: whether a strategy was asked for; else the default may be another one, by what the source is.
    """

    options: Mapping[str, Any]
    file: Path | None = None
    fold: int = 0
    chosen: bool = False


def choose_split(user: UserOptions) -> SplitChoice:
    """Return the split that was asked for.

    A strategy on the command line overrules what a file says that does not go with it.

    Raises:
        ConfigError: an option does not go with the strategy, or one that the strategy needs is missing.
    """
    by_flag = bool(user.flags & {"split", "split_file"})
    user = _with_one_strategy(user)
    file = user.get("split_file")
    strategy = "explicit" if file else user.get("split", DEFAULTS.split)
    if strategy == "explicit" and not file:
        raise ConfigError(f"{user.where('split')}: explicit needs a --split-file that says where every slice goes")
    if by_flag:
        user = user.without_file(*(name for name, strategies in _STRATEGIES.items() if strategy not in strategies))
    if "independent" in user.flags and user.get("independent"):
        user = user.without_file("gap")
    _require_used(user, strategy)
    if file and not file.exists():  # it is read when the source is there to compare it with
        raise ConfigError(
            f"{user.where('split_file')}: expected a file that says where every slice goes, found no {file}"
        )
    names = ("gap", "val") if strategy == "explicit" else tuple(_STRATEGIES)
    chosen = bool(file) or "split" in user
    return SplitChoice({"split": strategy, **user.only(*names)}, file, user.get("fold", 0), chosen)


def _with_one_strategy(user: UserOptions) -> UserOptions:
    """Return the options without the file's strategy, where the command line has another."""
    if "split" in user.flags and user.get("split") != "explicit":
        user = user.without_file("split_file")
    elif "split_file" in user.flags:
        user = user.without_file("split")
    split = user.get("split", "explicit")
    if "split_file" in user and split != "explicit":
        raise ConfigError(
            f"{user.where('split_file')}: it says where every slice goes, which is split explicit, not {split}; "
            f"leave out {user.where('split')}"
        )
    return user


def _require_used(user: UserOptions, strategy: str) -> None:
    """Refuse an option that would be ignored."""
    for name, value in user.only(*_STRATEGIES).items():
        strategies = _STRATEGIES[name]
        changes_nothing = name in ("gap", "val") and value == 0
        if strategy not in strategies and not changes_nothing:
            why = _WHY_NOT.get((name, strategy), f"add --split {strategies[0]}")
            listed = " or ".join(filter(None, (", ".join(strategies[:-1]), strategies[-1])))
            raise ConfigError(f"{user.where(name)}: it goes with split {listed}, not with {strategy}: {why}")
        if name in _MIN and value < _MIN[name]:
            raise ConfigError(f"{user.where(name)}: expected {_MIN[name]} or more, got {value}")
    if user.get("independent") and user.get("gap"):
        raise ConfigError(
            f"{user.where('gap')}: slices that are independent have no neighbours to leave out; leave out this "
            f"option, or {user.where('independent')}"
        )
