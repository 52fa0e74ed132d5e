"""A stream is an address: what it yields depends on its seed and key, and on nothing that happened before."""

import itertools
import statistics

import numpy as np
import pytest

from augment.errors import ConfigError
from augment.seeding import Stream

GOLDEN_FRACTIONS = ["0x1.f07741bfb6cc8p-1", "0x1.f805d3dec4954p-1", "0x1.bb1abfa1e0a74p-1"]
GOLDEN_NORMALS = ["-0x1.1b6325f4839dfp-2", "0x1.fa8bea43cba53p-1"]
GOLDEN_UNIFORM = "0x1.fd83244d2c53cp-1"
GOLDEN_ORDER = [3, 4, 5, 6, 1, 2, 0, 7]
GOLDEN_WITHOUT_KEY = "0x1.461fd79fb3850p-1"


def first_numbers(seed: int, key: tuple[int, ...], n: int = 4) -> list[float]:
    stream = Stream(seed, key)
    return [stream.fraction() for _ in range(n)]


class FixedBits:
    """A bit generator that always returns the same 64 bits."""

    def __init__(self, bits: int) -> None:
        self.bits = bits

    def random_raw(self) -> int:
        return self.bits


def test_the_same_address_gives_the_same_numbers_whatever_was_drawn_before() -> None:
    expected = first_numbers(0, (1, 2, 3))
    other = Stream(0, (1, 2, 4))
    np.random.default_rng().random(100)
    interleaved = []
    stream = Stream(0, (1, 2, 3))
    for _ in range(4):
        other.normal()
        interleaved.append(stream.fraction())
    assert interleaved == expected


def test_every_address_gives_other_numbers() -> None:
    """`default_rng([seed, key])` would take (1,), (1, 0) and (1, 0, 0) for one; `seed + index` (0, 1) and (1, 0)."""
    keys = [(), (0,), (0, 0), (0, 0, 0), (1,), (1, 0), (1, 0, 0), (0, 1), (1, 1), (1, 2), (2, 1), (1, 2, 0)]
    addresses = list(itertools.product((0, 1, 2), keys))
    assert len({tuple(first_numbers(seed, key)) for seed, key in addresses}) == len(addresses)


def test_neighbouring_addresses_are_not_correlated() -> None:
    a, b = (first_numbers(0, (0, z, 0), n=2000) for z in (7, 8))
    assert abs(statistics.correlation(a, b)) < 0.08


def test_the_numbers_of_an_address_are_these_for_ever() -> None:
    """A published seed must yield its dataset under any later NumPy, and after any change here."""
    stream = Stream(2012, (0, 29, 4))
    assert [stream.fraction().hex() for _ in range(3)] == GOLDEN_FRACTIONS
    assert [stream.normal().hex() for _ in range(2)] == GOLDEN_NORMALS
    assert stream.uniform(-3.0, 5.0).hex() == GOLDEN_UNIFORM
    assert stream.shuffled(8) == GOLDEN_ORDER
    assert Stream(0, ()).fraction().hex() == GOLDEN_WITHOUT_KEY


@pytest.mark.parametrize("bits", [0, 2**64 - 1])
def test_the_interval_is_open(bits: int) -> None:
    """At 0 or 1 the inverse normal distribution has no value, and the build would die after hours."""
    stream = Stream(0, ())
    stream._bits = FixedBits(bits)
    assert 0.0 < stream.fraction() < 1.0
    assert abs(stream.normal()) < 9
    assert 2.0 <= stream.uniform(2.0, 3.0) <= 3.0


def test_fractions_fill_the_interval_evenly() -> None:
    counts, _ = np.histogram(first_numbers(5, (1,), n=4000), bins=10, range=(0, 1))
    assert counts.min() > 330
    assert counts.max() < 470


def test_normal_numbers_have_mean_0_and_deviation_1() -> None:
    stream = Stream(5, (2,))
    values = [stream.normal() for _ in range(4000)]
    assert statistics.fmean(values) == pytest.approx(0, abs=0.06)
    assert statistics.stdev(values) == pytest.approx(1, abs=0.04)


def test_a_closed_range_yields_its_only_value_and_still_takes_a_number() -> None:
    """Opening a range must not move the numbers that follow it."""
    closed, opened = Stream(3, (1,)), Stream(3, (1,))
    assert closed.uniform(0.1, 0.1) == 0.1
    assert 0.1 < opened.uniform(0.1, 9.0) < 9.0
    assert closed.fraction() == opened.fraction()


@pytest.mark.parametrize("n", [0, 1, 2, 30])
def test_shuffled_is_a_permutation(n: int) -> None:
    assert sorted(Stream(0, (n,)).shuffled(n)) == list(range(n))


def test_shuffled_brings_every_order() -> None:
    orders = {tuple(Stream(0, (k,)).shuffled(3)) for k in range(60)}
    assert orders == set(itertools.permutations(range(3)))


@pytest.mark.parametrize(("seed", "key"), [(-1, ()), (2**128, ()), (0, (-1,)), (0, (2**32,))])
def test_addresses_that_would_fall_together_are_refused(seed: int, key: tuple[int, ...]) -> None:
    """NumPy takes seeds and keys apart into 32-bit words, so (2**32,) would be the same stream as (0, 1)."""
    with pytest.raises(ConfigError, match="seed: expected 0 to"):
        Stream(seed, key)
