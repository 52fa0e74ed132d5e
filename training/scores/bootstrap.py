"""How far a score would move with other slices: confidence intervals by resampling the slices that were scored."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

# What is added up over slices: numbers and arrays by name.
Sums: TypeAlias = Mapping[str, NDArray[Any]]

LEVEL, RESAMPLES = 0.95, 1000


def add_up(parts: Sequence[Sums]) -> dict[str, NDArray[Any]]:
    """Return the sums of all parts, added in order."""
    total = {name: value.copy() for name, value in parts[0].items()}
    for part in parts[1:]:
        for name, value in part.items():
            total[name] = total[name] + value
    return total


def confidence_intervals(
    parts: Sequence[Sums],
    slices: Sequence[Hashable],
    score: Callable[[Sums], Mapping[str, float]],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Return (low, high) of every score: percentiles of its values over slices drawn with replacement.

    Efron and Tibshirani 1993, "An introduction to the bootstrap": the percentile interval. A slice is drawn with all
    that shows it, as samples of one slice are not independent. It is too narrow where slices are few, or neighbours.
    Empty where there is one slice alone. The same seed gives the same numbers.

    Args:
        parts: what was counted in each picture.
        slices: which slice each picture shows.
        score: makes scores from sums.
        level: share of the values that lie between.
        resamples: how often slices are drawn.
        seed: of the draws.
    """
    groups: dict[Hashable, list[Sums]] = {}
    for part, key in zip(parts, slices, strict=True):
        groups.setdefault(key, []).append(part)
    totals = [add_up(group) for group in groups.values()]
    n = len(totals)
    if n < 2:
        return {}
    columns = {name: np.stack([total[name] for total in totals]) for name in totals[0]}
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        times = np.bincount(rng.integers(n, size=n), minlength=n)
        drawn.append(score({name: np.tensordot(times, column, axes=1) for name, column in columns.items()}))
    tail = 100 * (1 - level) / 2
    found = {}
    for name in drawn[0]:
        low, high = np.percentile([values[name] for values in drawn], (tail, 100 - tail))
        found[name] = float(low), float(high)
    return found
