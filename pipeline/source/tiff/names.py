"""Names of files in a folder: their natural order, what tells them apart, and which numbers are missing."""

import re
from collections.abc import Sequence
from string import digits

_DIGITS = re.compile(r"([0-9]+)")


def natural_key(name: str) -> list[tuple[int, str]]:
    """Return what to sort names by, so that slice 10 comes after slice 9."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in _DIGITS.split(name)]


def core_names(stems: Sequence[str]) -> list[str]:
    """Return what tells the names of a folder apart: without what all begin and end with, and leading zeros.

    A number is never cut in two: of `s_1`, `s_12` and `s_13` the cores are 1, 12 and 13. Nothing tells a single name
    apart, so that its core is empty.
    """
    if len(stems) == 1:
        return [""]
    rest = [stem[len(_shared_start(stems).rstrip(digits)) :] for stem in stems]
    n_end = len(_shared_start([stem[::-1] for stem in rest]).rstrip(digits))
    return [_DIGITS.sub(lambda number: str(int(number[0])), stem[: len(stem) - n_end]) for stem in rest]


def missing_numbers(cores: Sequence[str]) -> list[int]:
    """Return the numbers that are missing between the first and the last, where names differ in one number alone."""
    if len(cores) < 2 or not all(core.isdecimal() for core in cores):
        return []
    numbers = {int(core) for core in cores}
    return sorted(set(range(min(numbers), min(max(numbers), min(numbers) + 10**6) + 1)) - numbers)


def _shared_start(texts: Sequence[str]) -> str:
    """Return what all texts begin with."""
    first, last = min(texts), max(texts)
    n = next((k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:n]
