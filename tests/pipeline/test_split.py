"""Slices of two splits must never be near each other, and no split may lose a sample as n grows."""

from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from small_worlds import small_config, small_source

from augment.errors import ConfigError
from pipeline.config import BuildConfig
from pipeline.plan import PlannedSample, make_plan
from pipeline.split import Assignment, SliceAddress, assign_slices, share_samples, split_fractions

hundredths = st.integers(0, 60).map(lambda k: k / 100)


@st.composite
def configs(draw: st.DrawFn, split: str | None = None) -> BuildConfig:
    test, val = draw(hundredths), draw(hundredths)
    assume(test + val < 0.99)
    return small_config(
        split=split or draw(st.sampled_from(["block", "random"])),
        gap=draw(st.integers(0, 5)),
        seed=draw(st.integers(0, 1000)),
        test=test,
        val=val,
    )


def assign(config: BuildConfig, depths: tuple[int, ...]) -> Assignment:
    """Return the assignment; examples for which there is none are left to the test of the advice."""
    try:
        return assign_slices(config, depths)
    except ConfigError:
        assume(False)
        raise


def test_the_end_of_the_stack_is_tested_on() -> None:
    """30 slices as in the README: 21 to train, a gap of 3, 6 to test."""
    owners = assign_slices(BuildConfig(), (30,)).stacks[0]
    assert owners == ("train",) * 21 + (None,) * 3 + ("test",) * 6


def test_validation_lies_between_train_and_test_with_a_gap_on_both_sides() -> None:
    owners = assign_slices(small_config(val=0.2, test=0.2, gap=1), (10,)).stacks[0]
    assert owners == (*["train"] * 4, None, "val", "val", None, "test", "test")


def test_random_slices_differ_from_seed_to_seed_and_not_from_call_to_call() -> None:
    drawn = [assign_slices(small_config(split="random", gap=0, seed=seed), (30,)).stacks for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


@given(configs(), st.lists(st.integers(1, 40), min_size=1, max_size=3).map(tuple))
def test_slices_of_two_splits_are_never_near(config: BuildConfig, depths: tuple[int, ...]) -> None:
    for owners in assign(config, depths).stacks:
        for z, owner in enumerate(owners):
            near = set(owners[max(0, z - config.gap) : z + config.gap + 1])
            assert owner is None or near <= {None, owner}


@given(configs(), st.lists(st.integers(1, 40), min_size=1, max_size=3).map(tuple))
def test_every_slice_is_listed_once(config: BuildConfig, depths: tuple[int, ...]) -> None:
    lists = assign(config, depths).to_json().values()
    listed = sorted((part["stack"], z) for parts in lists for part in parts for z in part["z"])
    assert listed == [(stack, z) for stack, depth in enumerate(depths) for z in range(depth)]


@given(configs(split="block"), st.integers(1, 60))
def test_a_block_is_the_end_of_the_stack_and_as_large_as_asked_for(config: BuildConfig, depth: int) -> None:
    tested = [address.z for address in assign(config, (depth,)).slices("test")]
    assert tested == list(range(depth - len(tested), depth))
    if config.test:
        assert abs(len(tested) - config.test * depth) <= 0.5 or len(tested) == 1


@given(configs(), st.integers(1, 40))
def test_every_split_asked_for_has_a_slice_or_advice_is_given(config: BuildConfig, depth: int) -> None:
    wanted = {split for split, fraction in split_fractions(config).items() if fraction}
    try:
        splits = assign_slices(config, (depth,)).splits
    except ConfigError as error:
        assert "use a smaller gap or other fractions" in str(error)  # noqa: PT017
        assert "no slice of" in str(error)  # noqa: PT017
    else:
        assert set(splits) == wanted


@pytest.mark.parametrize("split", ["block", "random"])
def test_an_empty_split_is_an_error_that_names_it(split: str) -> None:
    with pytest.raises(ConfigError, match=r"no slice of 4 is left for train with test 0\.25, val 0 and gap 3"):
        assign_slices(small_config(split=split, gap=3), (4,))


def test_random_slices_are_told_to_try_a_block() -> None:
    with pytest.raises(ConfigError, match="--split block"):
        assign_slices(small_config(split="random", gap=30), (30,))


def test_300_samples_are_240_and_60() -> None:
    assert share_samples(300, split_fractions(BuildConfig())) == {"train": 240, "test": 60}


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_samples_than_splits_is_an_error(n: int) -> None:
    with pytest.raises(ConfigError, match=f"at least one sample for each of train, val, test, got {n}"):
        share_samples(n, split_fractions(small_config(val=0.1)))


thousandths = st.tuples(st.integers(0, 998), st.integers(0, 998)).filter(lambda pair: sum(pair) < 1000)


def fractions_of(pair: tuple[int, int]) -> dict[str, Fraction]:
    test, val = (Fraction(part, 1000) for part in pair)
    return {"train": 1 - test - val, "val": val, "test": test}


def hand_out(n: int, fractions: dict[str, Fraction]) -> dict[str, int]:
    """Webster's method, one sample after the other, from one each."""
    counts = {split: 1 for split, fraction in fractions.items() if fraction}
    for _ in range(n - len(counts)):
        counts[max(counts, key=lambda split: fractions[split] / (2 * counts[split] + 1))] += 1
    return counts


@given(thousandths)
@settings(max_examples=30)
def test_no_split_shrinks_as_n_grows(pair: tuple[int, int]) -> None:
    fractions = fractions_of(pair)
    least = sum(fraction > 0 for fraction in fractions.values())
    before = dict.fromkeys(fractions, 1)
    for n in range(least, 201):
        counts = share_samples(n, fractions)
        assert sum(counts.values()) == n
        assert all(count >= before[split] for split, count in counts.items())
        before = counts


@given(thousandths, st.integers(3, 200))
def test_shares_are_those_of_handing_out_one_by_one(pair: tuple[int, int], n: int) -> None:
    assert share_samples(n, fractions_of(pair)) == hand_out(n, fractions_of(pair))


@given(thousandths, st.integers(3, 10**9))
def test_shares_are_within_two_samples_of_the_fractions(pair: tuple[int, int], n: int) -> None:
    """One for rounding, one for the sample that every split is sure of."""
    fractions = fractions_of(pair)
    for split, count in share_samples(n, fractions).items():
        assert count == 1 or abs(count - n * fractions[split]) <= 2


@given(st.integers(0, 999), st.integers(0, 999))
def test_no_two_decimals_leave_train_without_a_share(test: int, val: int) -> None:
    """0.7 + 0.3 in floating point must not pass for less than 1."""
    if test + val < 1000:
        assert split_fractions(small_config(test=test / 1000, val=val / 1000))["train"] > 0
    else:
        with pytest.raises(ConfigError, match="nothing to train on"):
            small_config(test=test / 1000, val=val / 1000)


def test_another_split_changes_no_recipe() -> None:
    """A sample is addressed by its slice and replicate; who may see it is another question."""
    plans = [make_plan(small_source(), small_config(split=split, gap=0, n=24)) for split in ("block", "random")]
    assert plans[0].assignment != plans[1].assignment
    for z in range(12):
        sample = PlannedSample("train", "train-00000.h5", 0, 0, z, 1)
        assert plans[0].recipe(sample) == plans[1].recipe(sample)


def test_slices_are_addressed_by_stack_and_z() -> None:
    assignment = assign_slices(small_config(gap=0, test=0.5), (2, 2))
    assert assignment.slices("test") == (SliceAddress(0, 1), SliceAddress(1, 1))
