"""Groups are never cut, what is skipped is in no split, and one sequence may run through several stacks."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from small_worlds import inputs_of, small_config

from pipeline.errors import ConfigError
from pipeline.plan.split import Assignment
from pipeline.plan.strategies import assign_slices
from pipeline.shards.config import BuildConfig
from pipeline.shards.inputs import StackInput


def assign(config: BuildConfig, inputs: Sequence[StackInput]) -> Assignment:
    """Return the assignment; worlds that have none are refused, which other tests look at."""
    try:
        return assign_slices(config, inputs)
    except ConfigError:
        assume(False)
        raise


configs = st.builds(
    small_config,
    split=st.sampled_from(["block", "random"]),
    gap=st.integers(0, 2),
    seed=st.integers(0, 99),
    test=st.integers(0, 50).map(lambda k: k / 100),
    val=st.integers(0, 40).map(lambda k: k / 100),
) | st.builds(
    lambda folds, fold, gap: small_config(split="kfold", folds=folds, fold=fold % folds, gap=gap),
    st.integers(2, 5),
    st.integers(0, 4),
    st.integers(0, 2),
)
grouped = st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=12), min_size=1, max_size=4)


def in_groups(groups: Sequence[Sequence[str]]) -> list[StackInput]:
    return [inputs_of(len(names), groups=tuple(names)) for names in groups]


@given(configs, grouped)
def test_no_group_is_in_two_splits_and_the_gap_holds(config: BuildConfig, groups: list[list[str]]) -> None:
    assignment = assign(config, in_groups(groups))
    splits = defaultdict(set)
    for address, split in assignment:
        splits[groups[address.stack][address.z]] |= {split} - {None}
    assert all(len(found) <= 1 for found in splits.values())
    assert assignment.gap is None or assignment.gap >= config.gap


@given(configs, st.integers(2, 40))
def test_groups_of_one_slice_change_nothing(config: BuildConfig, depth: int) -> None:
    alone = tuple(f"slice {z}" for z in range(depth))
    assert assign(config, [inputs_of(depth, groups=alone)]) == assign(config, [inputs_of(depth)])


@given(grouped, st.integers(2, 5))
def test_the_folds_test_on_every_group_exactly_once(groups: list[list[str]], folds: int) -> None:
    names = {name for stack in groups for name in stack}
    assume(len(names) >= folds)
    tested: list[str] = []
    for fold in range(folds):
        config = small_config(split="kfold", folds=folds, fold=fold, gap=0)
        slices = assign_slices(config, in_groups(groups)).slices("test")
        own = {groups[address.stack][address.z] for address in slices}
        assert own
        tested += own
    assert sorted(tested) == sorted(names)


@pytest.mark.parametrize(
    ("options", "pictures"),
    [
        ({"test": 0.3}, ("TTTTTTT", "EEETT")),  # 3 of 12 are as near to 3.6 as groups allow
        ({"test": 0.5}, ("TTTTEEE", "EEETT")),
        ({"test": 0.2, "val": 0.3}, ("TTTTVVV", "EEETT")),
        ({"split": "kfold", "folds": 3, "fold": 0}, ("EEEETTT", "TTTEE")),
        ({"split": "kfold", "folds": 3, "fold": 2}, ("TTTTTTT", "EEETT")),
    ],
)
def test_groups_go_by_their_first_slice_and_across_stacks(options: dict[str, Any], pictures: tuple[str, ...]) -> None:
    inputs = in_groups(["aaaabbb", "cccaa"])
    assert assign_slices(small_config(gap=0, **options), inputs).pictures == pictures


def test_random_draws_groups() -> None:
    inputs = in_groups(["aabbccddee"])
    drawn = {
        assign_slices(small_config(split="random", gap=0, test=0.2, seed=seed), inputs).pictures for seed in range(9)
    }
    assert len(drawn) > 1
    assert all(picture.count("E") == 2 and "EE" in picture for (picture,) in drawn)


def test_sections_beside_another_group_are_left_out_unless_slices_are_independent() -> None:
    inputs = in_groups(["aaaaabbb"])
    assert assign_slices(small_config(gap=2), inputs).pictures == ("TTT..EEE",)
    assert assign_slices(small_config(gap=2, independent=True), inputs).pictures == ("TTTTTEEE",)


@pytest.mark.parametrize(
    ("groups", "options", "words"),
    [
        (
            ["aab", "bcc"],
            {"split": "stack"},
            "group b is in train .slice 2 of stack 0. and in test",
        ),
        (["aabb"], {"split": "explicit", "picture": ("TTTE",)}, "group b is in train .* change the split file"),
        (["aaaa", "aa"], {}, "1 group cannot be shared out between train, test"),
        (["aabb"], {"split": "kfold", "folds": 3}, "2 groups are too few for 3 folds; use --folds 2 at most"),
    ],
)
def test_what_would_cut_a_group_is_refused(groups: list[str], options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        assign_slices(small_config(**options), in_groups(groups))


@given(configs, st.sets(st.integers(0, 19), max_size=15))
def test_fractions_are_of_the_slices_that_are_not_skipped(config: BuildConfig, skipped: set[int]) -> None:
    """Without a gap it is as if the others alone were there."""
    config = small_config(**{**vars_of(config), "gap": 0})
    assume(skipped)
    (picture,) = assign(config, [inputs_of(20, skipped=tuple(sorted(skipped)))]).pictures
    (others,) = assign(config, [inputs_of(20 - len(skipped))]).pictures
    assert all(picture[z] == "." for z in skipped)
    assert "".join(letter for z, letter in enumerate(picture) if z not in skipped) == others


def vars_of(config: BuildConfig) -> dict[str, Any]:
    """Return how a configuration was asked for."""
    names = ("split", "seed", "val", "folds", "fold") if config.split == "kfold" else ("split", "seed", "val", "test")
    return {name: getattr(config, name) for name in names}


def test_a_skipped_slice_counts_for_the_gap_and_not_for_a_split() -> None:
    assert assign_slices(small_config(gap=1), [inputs_of(8, skipped=(1, 4))]).pictures == ("T.TT..EE",)
    both = [inputs_of(3, skipped=(0,)), inputs_of(2, skipped=(1,))]
    assert assign_slices(small_config(split="stack"), both).pictures == (".TT", "E.")
    explicit = small_config(split="explicit", picture=("TTT", "EE"))
    assert assign_slices(explicit, both).pictures == (".TT", "E.")


def test_one_sequence_runs_through_several_stacks() -> None:
    """Fields of two sizes: the last of them all are tested on, not the last of each size."""
    inputs = [inputs_of(4, sequence=(0, 3, 5, 6)), inputs_of(3, sequence=(1, 2, 4))]
    assert assign_slices(small_config(independent=True), inputs).pictures == ("TTEE", "TTT")
    folds = small_config(independent=True, split="kfold", folds=3, fold=1)
    assert assign_slices(folds, inputs).pictures == ("TETT", "TET")


def test_groups_of_a_sequence_go_by_the_sequence() -> None:
    inputs = [inputs_of(2, sequence=(0, 3), groups=("a", "c")), inputs_of(2, sequence=(1, 2), groups=("b", "a"))]
    assert assign_slices(small_config(independent=True), inputs).pictures == ("TE", "TT")
