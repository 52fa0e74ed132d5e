"""One or two of every operation on gray levels, for the tests of what all operations have in common."""

from collections.abc import Mapping
from typing import Any

from augment.operations import Noise, Operation

# Of each, a range that may be asked for, and samples of it: for all channels, and, where it can be, for each of three.
EXAMPLES: Mapping[str, tuple[tuple[float, float], tuple[Operation, ...]]] = {
    "noise": ((2.0, 9.0), (Noise((4.5,), (1, 2**32 - 1)), Noise((0.5, 0.0, 30.0), (7, 0)))),
}
# What none of them may say: changes of the JSON of its first example.
REFUSED: Mapping[str, tuple[dict[str, Any], ...]] = {
    "noise": ({"sigma": [-1.0]}, {"sigma": []}, {"sigma": 4.0}, {"sigma": [0.1]}, {"key": [1, 2**32]}, {"key": [1]}),
}
