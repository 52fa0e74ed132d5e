"""A run's config survives JSON, and refuses what cannot be, naming setting and value."""

import json
import math
import re
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from training.config import PRESETS, FitConfig, UNetConfig, preset


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    config = preset(name)
    again = FitConfig.from_dict(json.loads(json.dumps(config.as_dict())))
    assert again == config
    assert hash(again) == hash(config)


@given(rate=st.floats(1e-12, 1e3), seed=st.integers(0, 2**63 - 1), width=st.integers(1, 1024), turns=st.booleans())
@settings(max_examples=30)
def test_any_config_survives_json(rate: float, seed: int, width: int, turns: bool) -> None:
    config = FitConfig(learning_rate=rate, seed=seed, turns=turns, network=UNetConfig(width=width))
    assert FitConfig.from_dict(json.loads(json.dumps(config.as_dict()))) == config


def test_the_presets_of_the_report_train_as_the_report_did() -> None:
    """SGD with momentum 0.99 at 0.01, batches of 5, ReduceLROnPlateau by 0.1 after 10 rounds down to 1e-5."""
    for name in ("paper", "release", "report-keras", "report-pytorch"):
        config = preset(name)
        assert (config.optimizer, config.momentum, config.learning_rate, config.batch) == ("sgd", 0.99, 0.01, 5)
        assert (config.schedule, config.plateau_factor, config.plateau_patience) == ("plateau", 0.1, 10)
        assert (config.lowest_rate, config.rounds, config.target) == (1e-5, 100, 512)
        assert config.stop_patience > config.plateau_patience
        assert config.clip_norm > 0
        assert config.network.padding == "valid"
        assert config.network.norm == "none"


def test_the_networks_of_the_presets() -> None:
    paper, release = preset("paper").network, preset("release").network
    assert (paper.width, paper.depth, paper.up, paper.outputs, paper.dropout) == (64, 4, "transpose", 2, 0.0)
    assert (release.last_up, release.up_relu, release.dropout) == (128, True, 0.5)
    for name, outputs in (("report-keras", 1), ("report-pytorch", 2)):
        network = preset(name).network
        assert (network.up, network.init, network.outputs) == ("upsample", "xavier", outputs)
    small = preset("small")
    assert (small.optimizer, small.schedule, small.network.norm) == ("adamw", "cosine", "batch")
    assert small.warm_up > 0


def test_an_unknown_preset_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=f"--preset: expected one of {', '.join(PRESETS)}, got 'papers'"):
        preset("papers")


def test_changed_sets_values_of_every_kind_from_text() -> None:
    changes = {
        "learning_rate": "0.1", "momentum": "0", "turns": "true", "crop": "64", "optimizer": "adamw",
        "network.width": "32", "network.up": "upsample", "network.dropout": "0.25", "device": "cpu",
    }  # fmt: skip
    network = UNetConfig(width=32, up="upsample", dropout=0.25)
    expected = FitConfig(
        learning_rate=0.1, momentum=0.0, turns=True, crop=64, optimizer="adamw", device="cpu", network=network
    )
    changed = FitConfig().changed(changes)
    assert changed == expected
    assert type(changed.momentum) is float  # 0 and 0.0 are written differently in config.json


def test_changed_takes_plain_values_and_any_order() -> None:
    """50 steps are too few for the 100 rounds that are the default, not for the 10 that come with them."""
    for changes in ({"steps": 50, "rounds": "10"}, {"rounds": 10, "steps": "50"}):
        assert FitConfig().changed(changes) == FitConfig(steps=50, rounds=10)
    assert FitConfig().changed({"turns": True, "network.width": 8}) == FitConfig(
        turns=True, network=UNetConfig(width=8)
    )


def test_changed_leaves_the_config_itself_alone() -> None:
    config = FitConfig()
    assert config.changed({"network.width": "8"}) != config
    assert config == FitConfig()
    assert config.changed({}) == config
    with pytest.raises(FrozenInstanceError):
        config.seed = 1


@pytest.mark.parametrize(
    "name", ["nothing", "", "network", "network.", ".width", "network.depths", "network.network", "unet.width", "width"]
)
def test_a_setting_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"there is no setting {name!r}")):
        FitConfig().changed({name: "1"})


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("turns", "yes", "turns: expected a value like False, got 'yes'"),
        ("turns", "1", "turns: expected a value like False, got 1"),
        ("batch", "two", "batch: expected a value like 5, got 'two'"),
        ("batch", "2.5", "batch: expected a value like 5, got 2.5"),
        ("batch", "true", "batch: expected a value like 5, got True"),
        ("batch", "null", "batch: expected a value like 5, got None"),
        ("learning_rate", "true", "learning_rate: expected a value like 0.01, got True"),
        ("learning_rate", "[1]", "learning_rate: expected a value like 0.01, got [1]"),
        ("optimizer", "lion", "optimizer: expected one of sgd, adamw, got 'lion'"),
        ("schedule", "", "schedule: expected one of plateau, cosine, got ''"),
        ("precision", "fp8", "precision: expected one of auto, fp32, bf16, fp16, got 'fp8'"),
        ("loader", "disk", "loader: expected one of auto, device, host, lazy, got 'disk'"),
        ("loss_weights", "all", "loss_weights: expected one of none, unet2015, got 'all'"),
        ("network.padding", "full", "padding: expected one of valid, same, got 'full'"),
    ],
)
def test_a_value_of_another_kind_is_refused(name: str, text: str, shown: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(shown)):
        FitConfig().changed({name: text})


LIMITS = [
    ("crop", -1, 1 << 15), ("largest_crop", -1, 1 << 15),
    ("target", -1, 1 << 15), ("batch", 0, 1 << 13), ("learning_rate", 0.0, 1e4),
    ("momentum", -0.1, 1.0), ("weight_decay", -1.0, 1e4), ("clip_norm", -1.0, 1e13), ("warm_up", -0.1, 1.1),
    ("plateau_factor", 0.0, 1.5), ("plateau_patience", -1, 10**7), ("lowest_rate", -1.0, 1e4),
    ("stop_patience", -1, 10**7), ("steps", -1, 10**10), ("rounds", 0, 10**7), ("held_out", 0.0, 0.6),
    ("n_train", -1, 10**10), ("fold", -1, 10**6), ("folds", -1, 10**6), ("threads", -1, 1025), ("seed", -1, 2**63),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, *values in LIMITS for value in values])
def test_a_value_out_of_range_is_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{name}: expected ") + ".*" + re.escape(f", got {value}")):
        replace(FitConfig(), **{name: value})


def test_every_number_has_limits() -> None:
    numbers = {f.name for f in fields(FitConfig) if type(f.default) in (int, float)}
    assert numbers == {name for name, *_ in LIMITS}


@pytest.mark.parametrize("name", sorted(f.name for f in fields(FitConfig) if type(f.default) is float))
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_finite_number_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        replace(FitConfig(), **{name: value})


def test_fewer_steps_than_rounds_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"steps: expected at least one a round \(100\), got 99; set rounds lower"):
        FitConfig(steps=99)
    assert FitConfig(steps=100).steps == 100


@pytest.mark.parametrize(
    "edit",
    [
        lambda values: values.pop("network"),
        lambda values: values.update(network=None),
        lambda values: values.update(network=[1, 2]),
        lambda values: values.update(more=1),
        lambda values: values["network"].update(more=1),
        lambda values: values.update(seed="0"),
        lambda values: values["network"].update(width=0),
    ],
)
def test_a_config_that_was_tampered_with_is_refused(edit: Any) -> None:
    values = FitConfig().as_dict()
    edit(values)
    with pytest.raises(ConfigError):
        FitConfig.from_dict(values)


@pytest.mark.parametrize(("fold", "folds"), [(1, 0), (0, 1), (3, 3), (5, 2)])
def test_a_fold_is_one_of_several(fold: int, folds: int) -> None:
    with pytest.raises(ConfigError, match="fold: expected a number from 0 to below folds"):
        FitConfig(fold=fold, folds=folds)
