"""Timing two things in turn, so that a drift of the machine's speed hits both."""

import statistics
import time
from collections.abc import Callable, Mapping


def median_ms(actions: Mapping[str, Callable[[], object]], *, rounds: int = 31) -> dict[str, float]:
    """Return each action's median time in milliseconds; the actions take turns, after one untimed round."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for action in actions.values():
        action()
    for _ in range(rounds):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def print_table(title: str, times_ms: Mapping[str, float], *, yardstick: str) -> None:
    """Print every time beside its ratio to the yardstick's."""
    print(f"\n{title}")
    for name, value in times_ms.items():
        print(f"  {name:44s} {value:9.2f} ms   {value / times_ms[yardstick]:7.3f} of {yardstick}")
