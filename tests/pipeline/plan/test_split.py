"""Slices of two splits must never be near each other, and no split may lose a sample as n grows."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from small_worlds import inputs_of, small_config, small_source, small_stack

from pipeline.errors import ConfigError
from pipeline.plan.plan import PlannedSample, make_plan
from pipeline.plan.split import Assignment, SliceAddress, share_samples, split_fractions
from pipeline.plan.strategies import assign_slices
from pipeline.shards.config import BuildConfig
from pipeline.source.combining import make_source

hundredths = st.integers(0, 60).map(lambda k: k / 100)


@st.composite
def configs(draw: st.DrawFn, split: str | None = None) -> BuildConfig:
    test, val = draw(hundredths), draw(hundredths)
    split = split or draw(st.sampled_from(["block", "random", "kfold", "stack"]))
    folds = draw(st.integers(2, 8)) if split == "kfold" else 0
    assume((1 / folds if folds else test) + val < 0.99)
    return small_config(
        split=split,
        gap=draw(st.integers(0, 5)),
        seed=draw(st.integers(0, 1000)),
        test=test,
        val=val,
        folds=folds,
        fold=draw(st.integers(0, folds - 1)) if folds else 0,
        independent=draw(st.booleans()),
    )


def assign_depths(config: BuildConfig, depths: tuple[int, ...]) -> Assignment:
    """Return the split of every slice of stacks of which nothing is said but how many slices they have."""
    return assign_slices(config, [inputs_of(depth) for depth in depths])


def share(config: BuildConfig, depths: tuple[int, ...] = (1000,)) -> dict[str, Fraction]:
    return split_fractions(config, assign_depths(config, depths))


several = st.lists(st.integers(1, 40), min_size=1, max_size=5).map(tuple)


def assign(config: BuildConfig, depths: tuple[int, ...]) -> Assignment:
    """Return the assignment; examples for which there is none are left to the test of the advice."""
    try:
        return assign_depths(config, depths)
    except ConfigError:
        assume(False)
        raise


def test_the_end_of_the_stack_is_tested_on() -> None:
    """30 slices as in the README: 21 to train, a gap of 3, 6 to test."""
    owners = assign_depths(BuildConfig(), (30,)).stacks[0]
    assert owners == ("train",) * 21 + (None,) * 3 + ("test",) * 6


def test_validation_lies_between_train_and_test_with_a_gap_on_both_sides() -> None:
    owners = assign_depths(small_config(val=0.2, test=0.2, gap=1), (10,)).stacks[0]
    assert owners == (*["train"] * 4, None, "val", "val", None, "test", "test")


def test_random_slices_differ_from_seed_to_seed_and_not_from_call_to_call() -> None:
    drawn = [assign_depths(small_config(split="random", gap=0, seed=seed), (30,)).stacks for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


@given(configs(), several)
def test_slices_of_two_splits_are_never_near(config: BuildConfig, depths: tuple[int, ...]) -> None:
    for owners in assign(config, depths).stacks:
        for z, owner in enumerate(owners):
            near = set(owners[max(0, z - config.gap) : z + config.gap + 1])
            assert owner is None or near <= {None, owner}


@given(configs(), several)
def test_every_slice_is_listed_once(config: BuildConfig, depths: tuple[int, ...]) -> None:
    lists = assign(config, depths).by_split().values()
    listed = sorted((part.stack, z) for parts in lists for part in parts for z in part.z)
    assert listed == [(stack, z) for stack, depth in enumerate(depths) for z in range(depth)]


@given(configs(split="block"), st.integers(1, 60))
def test_a_block_is_the_end_of_the_stack_and_as_large_as_asked_for(config: BuildConfig, depth: int) -> None:
    tested = [address.z for address in assign(config, (depth,)).slices("test")]
    assert tested == list(range(depth - len(tested), depth))
    if config.test:
        assert abs(len(tested) - Fraction(repr(config.test)) * depth) <= Fraction(1, 2) or len(tested) == 1


@given(configs(), several)
def test_every_split_asked_for_has_a_slice_or_advice_is_given(config: BuildConfig, depths: tuple[int, ...]) -> None:
    wanted = {"train", *["val"] * (config.val > 0), *["test"] * (config.test > 0)}
    try:
        assignment = assign_depths(config, depths)
    except ConfigError as error:
        assert "use" in str(error)  # noqa: PT017
    else:
        assert set(assignment.splits) == wanted
        assert {split for split, part in split_fractions(config, assignment).items() if part} == wanted


@given(configs(), several, st.integers(3, 500), st.integers(0, 500))
def test_a_larger_n_moves_no_slice_and_takes_no_sample_away(
    config: BuildConfig, depths: tuple[int, ...], n: int, more: int
) -> None:
    assignment = assign(config, depths)
    assert assign(replace(config, n=n + more), depths) == assignment
    fractions = split_fractions(config, assignment)
    small, large = share_samples(n, fractions), share_samples(n + more, fractions)
    assert all(large[split] >= count for split, count in small.items())


@given(st.integers(2, 8), st.integers(8, 60), st.integers(0, 3))
def test_the_folds_test_on_every_slice_exactly_once(folds: int, depth: int, gap: int) -> None:
    tested: list[int] = []
    for fold in range(folds):
        slices = assign(small_config(split="kfold", folds=folds, fold=fold, gap=gap), (depth,)).slices("test")
        z = [address.z for address in slices]
        assert z == list(range(z[0], z[-1] + 1))
        tested += z
    assert tested == list(range(depth))


@given(configs(split="stack"), several)
def test_stacks_are_never_cut(config: BuildConfig, depths: tuple[int, ...]) -> None:
    for owners in assign(config, depths).stacks:
        assert len(set(owners)) == 1
        assert None not in owners


@given(configs(), several)
def test_what_was_assigned_can_be_said_again_as_a_picture(config: BuildConfig, depths: tuple[int, ...]) -> None:
    assignment = assign(config, depths)
    assume(len(assignment.splits) > 1)
    explicit = small_config(split="explicit", picture=assignment.pictures)
    assert assign_depths(explicit, depths) == assignment


@given(configs(), several)
def test_the_gap_is_counted_and_not_promised(config: BuildConfig, depths: tuple[int, ...]) -> None:
    assignment = assign(config, depths)
    near = [
        b - a - 1
        for owners in assignment.stacks
        for a in range(len(owners))
        for b in range(a + 1, len(owners))
        if None not in (owners[a], owners[b]) and owners[a] != owners[b]
    ]
    assert assignment.gap == min(near, default=None)


def test_slices_that_touch_a_training_slice_are_counted() -> None:
    config = small_config(split="explicit", picture=("TTTE.E...E", "EE", "TVT"))
    assignment = assign_depths(config, (10, 2, 3))
    assert assignment.touching("test", 1) == 1
    assert assignment.touching("test") == 2
    assert assignment.touching("val", 1) == 1
    assert assignment.gap == 0


def test_independent_slices_need_no_gap() -> None:
    owners = assign_depths(BuildConfig(independent=True), (10,)).stacks[0]
    assert owners == ("train",) * 8 + ("test",) * 2


def test_the_middle_fold_has_gaps_on_both_sides_and_validation_at_the_end() -> None:
    owners = assign_depths(BuildConfig(split="kfold", folds=3, fold=1, gap=1, val=0.2), (12,)).pictures
    assert owners == ("TTT.EEEE..VV",)


def test_whole_stacks_are_shared_out_by_their_slices() -> None:
    config = small_config(split="stack", test=0.3, val=0.2)
    assert assign_depths(config, (5, 1, 4)).pictures == ("TTTTT", "V", "EEEE")
    assert share(config, (5, 1, 4)) == {"train": Fraction(5, 10), "val": Fraction(1, 10), "test": Fraction(4, 10)}
    with pytest.raises(ConfigError, match="2 stacks cannot be shared out between train, 1 test and 1 val"):
        assign_depths(config, (5, 4))


@pytest.mark.parametrize(
    ("picture", "depths", "words"),
    [
        (("TTE",), (4,), "expected the split of"),
        (("TTE",), (3, 3), "expected the split of"),
        (("TTT",), (3,), "nothing is held out"),
        (("..E",), (3,), "no slice of 3 is left for train"),
    ],
)
def test_a_picture_of_something_else_is_refused(picture: tuple[str, ...], depths: tuple[int, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        assign_depths(small_config(split="explicit", picture=picture), depths)


def test_the_same_picture_in_two_splits_is_refused() -> None:
    """A section that was copied into the place of a lost one would be trained and tested on."""
    images, labels = (pixels.copy() for pixels in small_stack())
    images[11] = images[0]
    source = make_source(images, labels, name="x")
    with pytest.raises(ConfigError, match="slice 11 of stack 0 is the same picture as slice 0 of stack 0"):
        make_plan(source, small_config())
    images[11] = images[10]
    assert make_plan(make_source(images, labels, name="x"), small_config())
    images[[0, 11]] = 0
    assert make_plan(make_source(images, labels, name="x"), small_config())


@pytest.mark.parametrize("split", ["block", "random"])
def test_an_empty_split_is_an_error_that_names_it(split: str) -> None:
    with pytest.raises(ConfigError, match=r"no slice of 4 is left for train with test 0\.25, val 0 and gap 3"):
        assign_depths(small_config(split=split, gap=3), (4,))


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({}, "between train and test; use --test 0 to train on it, or name more slices"),
        ({"test": 0, "val": 0.1}, "between train and val; use --val 0 to train on it"),
        ({"val": 0.1, "split": "random"}, "between train and test and val; use --test 0 --val 0 to train on it"),
        ({"split": "kfold"}, "between train and test; use --split block --test 0 to train on it"),
        ({"split": "stack"}, "between train and test; use --split block --test 0 to train on it"),
        ({"independent": True}, "between train and test; use --test 0 to train on it"),
    ],
)
def test_one_slice_is_not_split_and_the_advice_helps(options: dict[str, Any], advice: str) -> None:
    """No gap and no fraction would help."""
    with pytest.raises(ConfigError, match=f"one slice cannot be split {advice}"):
        assign_depths(BuildConfig(**options), (1,))
    assert assign_depths(BuildConfig(test=0), (1,)).pictures == ("T",)
    assert assign_depths(BuildConfig(gap=0, test=0.5), (2,)).pictures == ("TE",)


def test_random_slices_are_told_to_try_a_block() -> None:
    with pytest.raises(ConfigError, match="--split block"):
        assign_depths(small_config(split="random", gap=30), (30,))


def test_300_samples_are_240_and_60() -> None:
    assert share_samples(300, share(BuildConfig())) == {"train": 240, "test": 60}


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_samples_than_splits_is_an_error(n: int) -> None:
    with pytest.raises(ConfigError, match=f"at least one sample for each of train, val, test, got {n}"):
        share_samples(n, share(small_config(val=0.1)))


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
        config = small_config(test=test / 1000, val=val / 1000)
        assert split_fractions(config, Assignment(()))["train"] > 0
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
    assignment = assign_depths(small_config(gap=0, test=0.5), (2, 2))
    assert assignment.slices("test") == (SliceAddress(0, 1), SliceAddress(1, 1))
