"""Random numbers that have an address instead of a history.

A stream is named by a seed and a key, never by call order, worker or sample count. It draws on nothing but what
NumPy promises to keep for ever (`SeedSequence` and the raw output of a bit generator); the step from raw bits to
uniform and normal numbers is made here, because NumPy may change its own (NEP 19).
"""

from statistics import NormalDist

import numpy as np

from augment.errors import ConfigError

_STANDARD_NORMAL = NormalDist()
_STEP = 2.0**-53
_BELOW_ONE = 1.0 - _STEP


class Stream:
    """The numbers that belong to one (seed, key) address.

    Args:
        seed: 0 to 2**128 - 1.
        key: whole numbers from 0 to 2**32 - 1.

    Raises:
        ConfigError: beyond these, two addresses could be the same stream.
    """

    def __init__(self, seed: int, key: tuple[int, ...]) -> None:
        if not 0 <= seed < 2**128 or any(not 0 <= part < 2**32 for part in key):
            raise ConfigError(f"seed: expected 0 to 2**128 - 1 and keys from 0 to 2**32 - 1, got {seed} and {key}")
        self._bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key))

    def fraction(self) -> float:
        """Return the next number, uniform on the open interval (0, 1)."""
        return min((int(self._bits.random_raw() >> 11) + 0.5) * _STEP, _BELOW_ONE)

    def uniform(self, low: float, high: float) -> float:
        """Return the next number, uniform between `low` and `high`; `low` where the two are equal."""
        return low + (high - low) * self.fraction()

    def normal(self) -> float:
        """Return the next number, normal with mean 0 and standard deviation 1.

        The inverse of the cumulative distribution (Wichura 1988, AS 241, as in the standard library).
        """
        return _STANDARD_NORMAL.inv_cdf(self.fraction())

    def shuffled(self, n: int) -> list[int]:
        """Return 0..n-1 in random order."""
        return sorted(range(n), key=[self.fraction() for _ in range(n)].__getitem__)
