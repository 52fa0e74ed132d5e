"""Options are checked where they are born, and equal options are one dataset."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_worlds import small_config

from augment.errors import ConfigError
from augment.ranges import AugmentRanges
from pipeline.config import RENDERER_VERSION, BuildConfig, build_fingerprint
from pipeline.digest import canonical_json

ranges = st.builds(
    AugmentRanges,
    rotate_deg=st.sampled_from([(0.0, 360.0), (0.0, 0.0), (-5.0, 5.0)]),
    flip=st.booleans(),
    shift_px=st.none() | st.floats(0, 100),
    sigma_px=st.floats(0, 50),
    grid_points=st.integers(2, 9),
    extent=st.sampled_from(["window", "padded"]),
)
configs = st.builds(
    BuildConfig,
    n=st.integers(1, 10**6),
    seed=st.integers(0, 2**128 - 1),
    size=st.tuples(st.integers(2, 2000), st.integers(2, 2000)),
    split=st.sampled_from(["block", "random"]),
    test=st.floats(0, 0.49),
    val=st.floats(0, 0.49),
    ranges=ranges,
)


@given(configs)
def test_options_survive_json(config: BuildConfig) -> None:
    values = json.loads(canonical_json(config.to_json()))
    again = BuildConfig.from_json(values)
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
        ("split", "slices", "split: expected block or random, got 'slices'"),
        ("engine", "fast", "engine: expected fused or staged"),
        ("test", -0.1, "test: expected a fraction"),
        ("test", 1.0, "test: expected a fraction"),
        ("test", float("nan"), "test: expected a fraction"),
        ("val", 1.5, "val: expected a fraction"),
        ("val", 0.8, "leaves nothing to train on"),
    ],
)
def test_a_value_out_of_range_is_named(option: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small_config(**{option: value})


@pytest.mark.parametrize("broken", [{}, {"n": 3}, {"ranges": []}, {"ranges": {}, "size": 3}, {"unknown": 1}])
def test_what_is_no_options_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="config"):
        BuildConfig.from_json(broken)


@pytest.mark.parametrize("key", sorted(small_config().to_json()))
def test_unknown_and_wrongly_typed_options_are_refused(key: str) -> None:
    values = small_config().to_json()
    for broken in ({**values, key: {"x": 1}}, {**values, "more": 1}, {**values, key: None}):
        with pytest.raises(ConfigError):
            BuildConfig.from_json(broken)


def test_a_missing_option_is_refused_and_not_guessed() -> None:
    """A record with a hole in it must not pass for one of the defaults."""
    guessed = []
    for key in small_config().to_json():
        values = small_config().to_json()
        del values[key]
        try:
            BuildConfig.from_json(values)
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
    assert build_fingerprint(first.to_json(), "x", []) == build_fingerprint(second.to_json(), "x", [])


def test_the_fingerprint_is_the_digest_that_the_format_describes() -> None:
    import hashlib

    config, inputs = small_config().to_json(), [{"images": {"sha256": "0" * 64}}]
    text = json.dumps(
        {"config": config, "inputs": inputs, "name": "x", "renderer": RENDERER_VERSION},
        sort_keys=True,
        separators=(",", ":"),
    )
    assert build_fingerprint(config, "x", inputs) == hashlib.sha256((text + "\n").encode()).hexdigest()
