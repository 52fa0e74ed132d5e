"""A plan is known before anything is rendered; more samples only append to it."""

import re
import tracemalloc
from collections.abc import Iterable
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_worlds import small_config, small_source, small_stack

from augment.draw import draw_recipe
from augment.ranges import AugmentRanges
from augment.seeding import Stream
from pipeline.errors import ConfigError
from pipeline.plan.foreground import foreground_notes
from pipeline.plan.plan import Plan, PlannedSample, make_plan
from pipeline.shards.config import BuildConfig
from pipeline.source.combining import make_source
from pipeline.source.stacks import Source

SOURCE = small_source()


def plan_of(config: BuildConfig, source: Source = SOURCE) -> Plan:
    return make_plan(source, config)


def samples_of(plan: Plan, split: str) -> list[PlannedSample]:
    return list(chain.from_iterable(plan.samples(shard) for shard in plan.shards() if shard.split == split))


@given(
    st.integers(3, 80),
    st.integers(1, 80),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from(["block", "random"]),
    st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_a_larger_n_only_appends(n: int, more: int, val: float, split: str, seed: int) -> None:
    few, many = (plan_of(small_config(n=k, val=val, split=split, seed=seed)) for k in (n, n + more))
    for name in few.counts:
        first, all_of_them = samples_of(few, name), samples_of(many, name)
        assert first == all_of_them[: len(first)]
        assert [few.recipe(sample) for sample in first] == [many.recipe(sample) for sample in first]


def test_300_samples_are_the_first_of_600() -> None:
    few, many = plan_of(small_config(n=300, test=0.2)), plan_of(small_config(n=600, test=0.2))
    assert few.counts == {"train": 240, "test": 60}
    assert many.counts == {"train": 480, "test": 120}
    for split, count in few.counts.items():
        assert samples_of(few, split) == samples_of(many, split)[:count]


def test_samples_go_round_the_slices_of_their_split() -> None:
    samples = samples_of(plan_of(small_config()), "train")
    assert [(sample.z, sample.replicate) for sample in samples] == [*((z, 0) for z in range(8)), (0, 1)]
    assert [(sample.shard, sample.row) for sample in samples[3:6]] == [
        ("train-00000.h5", 3),
        ("train-00001.h5", 0),
        ("train-00001.h5", 1),
    ]


def test_shards_hold_every_sample_once() -> None:
    shards = list(plan_of(small_config()).shards())
    assert [(shard.file, shard.first, shard.n) for shard in shards] == [
        ("train-00000.h5", 0, 4),
        ("train-00001.h5", 4, 4),
        ("train-00002.h5", 8, 1),
        ("test-00000.h5", 0, 3),
    ]


@given(st.integers(0, 10**3 - 1), st.integers(0, 10**5 - 1), st.integers(0, 10**7 - 1))
def test_ids_are_of_one_width_and_say_where_a_sample_is_from(stack: int, z: int, replicate: int) -> None:
    name = PlannedSample("train", "train-00000.h5", 0, stack, z, replicate).id
    match = re.fullmatch(r"s(\d{3})-z(\d{5})-r(\d{7})", name)
    assert match
    assert tuple(map(int, match.groups())) == (stack, z, replicate)


def test_more_samples_than_ids_have_room_for_is_an_error() -> None:
    with pytest.raises(ConfigError, match="ids have room for"):
        plan_of(small_config(n=10**9))


@pytest.mark.parametrize(
    ("unlabelled", "told"),
    [
        ((), []),
        ((0, 1, 8), []),
        (range(8), ["train (8 slices)"]),
        ((9, 10, 11), ["test (3 slices)"]),
        (
            {*range(12)} - {8},
            ["train (8 slices)", "test (3 slices)"],
        ),
    ],
)
def test_a_split_without_foreground_is_told(unlabelled: Iterable[int], told: list[str]) -> None:
    """Slices 0 to 7 are for training, 9 to 11 for the test, and 8 is in none."""
    images, labels = (pixels.copy() for pixels in small_stack())
    labels[list(unlabelled)] = 0
    source = make_source(images, labels, name="x")
    notes = foreground_notes(source, small_config())
    assert [note.removeprefix("split: nothing but 0 in the labels of ").partition(",")[0] for note in notes] == told
    assert make_plan(source, small_config()).assignment.pictures == ("TTTTTTTT.EEE",)


def test_a_split_of_one_slice_without_foreground_is_told() -> None:
    images, labels = (pixels.copy() for pixels in small_stack())
    labels[11] = 0
    (note,) = foreground_notes(make_source(images, labels, name="x"), small_config(test=0.05))
    assert note.startswith(
        "split: nothing but 0 in the labels of test (1 slice), so that its samples show no foreground;"
    )


def test_a_million_samples_take_no_memory() -> None:
    tracemalloc.start()
    try:
        plan = plan_of(small_config(n=10**6, shard_size=64))
        assert sum(1 for _ in plan.shards()) == 11719 + 3907
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_recipe_is_addressed_by_seed_stack_slice_and_replicate() -> None:
    """Nothing else: neither n, nor the row, nor the shard, nor what was drawn before."""
    plan = plan_of(small_config(seed=5))
    sample = PlannedSample("test", "test-00000.h5", 2, 0, 11, 3)
    stream = Stream(5, (0, 0, 11, 3))
    assert plan.recipe(sample) == draw_recipe(AugmentRanges(), stream, window=(40, 36), slice_size=(64, 72))


def test_no_two_samples_share_a_recipe() -> None:
    plan = plan_of(small_config(n=200))
    recipes = [plan.recipe(sample) for split in plan.counts for sample in samples_of(plan, split)]
    assert len(set(recipes)) == 200


def test_the_plan_is_of_the_options_and_the_pixels() -> None:
    fingerprints = {
        plan_of(small_config()).fingerprint,
        plan_of(small_config(seed=1)).fingerprint,
        plan_of(small_config(shard_size=5)).fingerprint,
        plan_of(small_config(), small_source(depth=11)).fingerprint,
        plan_of(small_config(), small_source(name="other")).fingerprint,
    }
    assert len(fingerprints) == 5
    assert plan_of(small_config()).fingerprint == plan_of(small_config(), small_source()).fingerprint
