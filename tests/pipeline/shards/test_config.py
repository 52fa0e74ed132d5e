"""Options are checked where they are born, and equal options are one dataset."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_worlds import small_config

from augment.ranges import AugmentRanges
from pipeline.errors import ConfigError
from pipeline.shards.config import DEFAULT_FOLDS, RENDERER_VERSION, STRATEGIES, WEIGHTS, BuildConfig, fitting_window
from pipeline.shards.digest import canonical_json
from pipeline.shards.inputs import ImageInput, LabelInput, StackInput
from pipeline.shards.provenance import SourceFacts
from pipeline.shards.record import build_fingerprint, convert

ranges = st.builds(
    AugmentRanges,
    rotate_deg=st.sampled_from([(0.0, 360.0), (0.0, 0.0), (-5.0, 5.0)]),
    flip=st.booleans(),
    shift_px=st.none() | st.floats(0, 100),
    sigma_px=st.floats(0, 50),
    grid_points=st.integers(2, 9),
    extent=st.sampled_from(["window", "padded"]),
)
folds = st.integers(2, 9).flatmap(
    lambda n: st.fixed_dictionaries({"split": st.just("kfold"), "folds": st.just(n), "fold": st.integers(0, n - 1)})
)
pictures = st.lists(st.text("TVE.", min_size=1, max_size=8), min_size=1, max_size=3).map(tuple)
splits = st.one_of(
    st.fixed_dictionaries({"split": st.sampled_from(["block", "random", "stack"])}),
    folds,
    st.fixed_dictionaries({"split": st.just("explicit"), "picture": pictures}),
)


@st.composite
def configs(draw: st.DrawFn) -> BuildConfig:
    return BuildConfig(
        n=draw(st.integers(1, 10**6)),
        seed=draw(st.integers(0, 2**128 - 1)),
        size=draw(st.tuples(st.integers(2, 2000), st.integers(2, 2000))),
        gap=draw(st.integers(0, 50)),
        test=draw(st.floats(0, 0.49)),
        val=draw(st.floats(0, 0.49)),
        independent=draw(st.booleans()),
        weights=draw(st.sampled_from(WEIGHTS)),
        ranges=draw(ranges),
        **draw(splits),
    )


@given(configs())
def test_options_survive_json(config: BuildConfig) -> None:
    values = json.loads(canonical_json(config.to_json()))
    again = convert(values, BuildConfig)
    assert again == config
    assert canonical_json(again.to_json()) == canonical_json(config.to_json())


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("n", 0, "n: expected a whole number from 1"),
        ("n", 1.5, "n: expected a whole number"),
        ("n", True, "n: expected a whole number"),
        ("seed", -1, "seed: expected a whole number from 0"),
        ("size", (40, 1), "size: expected a whole number from 2"),
        ("size", (40, 99999), "size: expected a whole number from 2 to 16384"),
        ("gap", -1, "gap: expected"),
        ("shard_size", 0, "shard-size: expected"),
        ("split", "slices", "split: expected one of block, random, kfold, stack, explicit, got 'slices'"),
        ("engine", "fast", "engine: expected one of fused, staged, got 'fast'"),
        ("weights", "border", "weights: expected one of none, unet2015, got 'border'"),
        ("weights", None, "weights: expected one of none, unet2015, got None"),
        ("test", -0.1, "test: expected a fraction"),
        ("test", 1.0, "test: expected a fraction"),
        ("test", float("nan"), "test: expected a fraction"),
        ("val", 1.5, "val: expected a fraction"),
        ("val", 0.8, "leaves nothing to train on"),
        ("folds", True, "folds"),
        ("folds", 5, "folds and fold: they go with split kfold, not with block"),
        ("fold", 1, "folds and fold: they go with split kfold, not with block"),
        ("independent", 1, "independent: expected true or false, got 1"),
        ("picture", ("TTE",), "picture: it goes with split explicit, not with block"),
    ],
)
def test_a_value_out_of_range_is_named(option: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small_config(**{option: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "kfold", "folds": 1}, "folds: expected a whole number from 2"),
        ({"split": "kfold", "folds": -5}, "folds: expected a whole number from"),
        ({"split": "kfold", "folds": 2.5}, "folds: expected a whole number from"),
        ({"split": "kfold", "folds": 4, "fold": 4}, "fold: expected a whole number from 0 to 3, got 4"),
        ({"split": "kfold", "fold": 5}, "fold: expected a whole number from 0 to 4, got 5"),
        ({"split": "kfold", "fold": -1}, "fold: expected a whole number from"),
        ({"split": "kfold", "folds": 2, "val": 0.5}, "leaves nothing to train on"),
        ({"split": "explicit"}, "picture: split explicit needs the split of every slice"),
        ({"split": "explicit", "picture": ("TTE", "")}, "picture: split explicit needs the split of every slice"),
        ({"split": "explicit", "picture": (3,)}, "picture: split explicit needs the split of every slice"),
        ({"split": "explicit", "picture": ("TTtE",)}, "picture: expected the letters T V E ., got 't'"),
        ({"split": "explicit", "picture": ("TTE",), "fold": 1}, "fold: they go with split kfold, not with explicit"),
        ({"split": "stack", "folds": 3}, "they go with split kfold, not with stack"),
    ],
)
def test_an_option_that_the_strategy_cannot_have_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        small_config(**options)


@pytest.mark.parametrize(
    ("options", "settled"),
    [
        ({"split": "kfold"}, {"folds": DEFAULT_FOLDS, "fold": 0, "test": 0.2, "gap": 1}),
        ({"split": "kfold", "folds": 4, "test": 0.7}, {"folds": 4, "test": 0.25}),
        ({"split": "explicit", "picture": ("TE",), "val": 0.3}, {"test": 0.0, "val": 0.0, "gap": 0}),
        ({"split": "stack"}, {"test": 0.25, "gap": 0}),
        ({"independent": True}, {"test": 0.25, "gap": 0}),
        ({"split": "random"}, {"test": 0.25, "gap": 1}),
    ],
)
def test_what_the_strategy_decides_is_recorded_as_decided(options: dict[str, Any], settled: dict[str, Any]) -> None:
    """Two builds that make the same dataset must not differ in a number that nobody heeds."""
    config = small_config(**options)
    assert {name: getattr(config, name) for name in settled} == settled


def test_every_strategy_is_tried_above() -> None:
    assert set(STRATEGIES) == {"block", "random", "kfold", "stack", "explicit"}


@pytest.mark.parametrize(("test", "val"), [(0.7, 0.3), (0.9, 0.1), (0.1, 0.9), (0.8, 0.2)])
def test_fractions_that_leave_nothing_to_train_on_are_refused(test: float, val: float) -> None:
    with pytest.raises(ConfigError, match="leaves nothing to train on"):
        small_config(test=test, val=val)


@pytest.mark.parametrize("broken", [{}, {"n": 3}, {"ranges": []}, {"ranges": {}, "size": 3}, {"unknown": 1}])
def test_what_is_no_options_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        convert(broken, BuildConfig)


@pytest.mark.parametrize("key", sorted(small_config().to_json()))
def test_unknown_and_wrongly_typed_options_are_refused(key: str) -> None:
    values = small_config().to_json()
    for broken in ({**values, key: {"x": 1}}, {**values, "more": 1}, {**values, key: None}):
        with pytest.raises(ConfigError):
            convert(broken, BuildConfig)


def test_a_missing_option_is_refused_and_not_guessed() -> None:
    """A record with a hole in it must not pass for one of the defaults."""
    guessed = []
    for key in small_config().to_json():
        values = small_config().to_json()
        del values[key]
        try:
            convert(values, BuildConfig)
            guessed.append(key)
        except ConfigError:
            pass
    assert guessed == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"test": 0}, {"test": 0.0}),
        ({"val": 0}, {"val": 0.0}),
        ({"ranges": AugmentRanges(rotate_deg=(0, 360))}, {"ranges": AugmentRanges(rotate_deg=(0.0, 360.0))}),
        ({"ranges": AugmentRanges(sigma_px=10)}, {"ranges": AugmentRanges(sigma_px=10.0)}),
    ],
)
def test_equal_options_have_one_fingerprint(one: dict[str, Any], other: dict[str, Any]) -> None:
    """0 from a script and 0.0 from the command line ask for the same dataset."""
    first, second = small_config(**one), small_config(**other)
    assert first == second
    assert build_fingerprint(first, "x", [], SourceFacts()) == build_fingerprint(second, "x", [], SourceFacts())


def test_options_without_weights_are_those_of_before_there_were_any() -> None:
    """So that a dataset without them keeps its fingerprint."""
    assert "weights" not in small_config().to_json()
    assert small_config(weights="unet2015").to_json() == {**small_config().to_json(), "weights": "unet2015"}


def test_the_fingerprint_is_the_digest_that_the_format_describes() -> None:
    import hashlib

    images = {"sha256": "0" * 64, "shape": [3, 4, 5], "dtype": "uint8"}
    inputs = [{"images": images, "labels": {**images, "kind": "binary", "values": [0, 255]}}]
    facts = {"title": "x", "licence": "CC0"}
    text = json.dumps(
        {
            "config": small_config().to_json(),
            "inputs": inputs,
            "name": "x",
            "renderer": RENDERER_VERSION,
            "source": facts,
        },
        sort_keys=True,
        separators=(",", ":"),
    )
    stack = StackInput(
        ImageInput("0" * 64, (3, 4, 5), "uint8"), LabelInput("0" * 64, (3, 4, 5), "uint8", "binary", (0, 255))
    )
    found = build_fingerprint(small_config(), "x", [stack], SourceFacts(**facts))
    assert found == hashlib.sha256((text + "\n").encode()).hexdigest()


@pytest.mark.parametrize(
    ("sizes", "side"),
    [
        ([(512, 512)], 512),
        ([(520, 696)], 512),
        ([(4000, 3000)], 704),
        ([(300, 1000), (260, 256)], 256),
        ([(1000, 15)], 16),
        ([(719, 720)], 704),
    ],
)
def test_samples_fit_all_slices(sizes: list[tuple[int, int]], side: int) -> None:
    assert fitting_window(sizes) == (side, side)
