"""Rates step by step, against numbers written out and against torch's own plateau schedule."""

import json
import math
from dataclasses import asdict, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.config import FitConfig
from training.trainer import Plateau, learning_rate

FALLING = FitConfig(plateau_patience=2, plateau_factor=0.5, lowest_rate=0.002, stop_patience=5)
COSINE = FitConfig(schedule="cosine", warm_up=0.2, learning_rate=1.0)


def rates(losses: list[float], config: FitConfig = FALLING) -> list[float]:
    plateau, seen = Plateau(rate=config.learning_rate), []
    for loss in losses:
        plateau = plateau.after(loss, config)
        seen.append(plateau.rate)
    return seen


def test_the_rate_falls_when_patience_is_over_and_no_lower_than_it_may() -> None:
    assert rates([1.0] * 11) == [0.01, 0.01, 0.01, 0.005, 0.005, 0.005, 0.0025, 0.0025, 0.0025, 0.002, 0.002]


def test_a_lowest_rate_above_the_rate_does_not_raise_it() -> None:
    assert rates([1.0] * 6, replace(FALLING, lowest_rate=1.0)) == [0.01] * 6


def test_a_better_loss_starts_the_wait_again() -> None:
    assert rates([1.0, 1.0, 1.0, 0.9, 0.9, 0.9, 0.9]) == [0.01] * 6 + [0.005]


def test_an_equal_loss_is_no_better_and_nan_is_none() -> None:
    assert rates([1.0, 1.0, math.nan, math.nan])[-1] == 0.005
    assert Plateau(rate=1.0).after(math.nan, FALLING).best == math.inf


@given(losses=st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), max_size=40), patience=st.integers(0, 4))
@settings(max_examples=25)
def test_the_rates_are_those_of_torch(losses: list[float], patience: int) -> None:
    config = replace(FALLING, plateau_patience=patience)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience, min_lr=0.002, threshold=0.0, eps=0.0
    )
    expected = []
    for loss in losses:
        schedule.step(loss)
        expected.append(optimizer.param_groups[0]["lr"])
    assert rates(losses, config) == expected


def test_a_run_is_over_after_so_many_rounds_without_improvement() -> None:
    plateau, over = Plateau(rate=0.01), []
    for loss in [1.0, 2.0, 2.0, 2.0, 0.5, 2.0, 2.0, 2.0, 2.0, 2.0]:
        plateau = plateau.after(loss, FALLING)
        over.append(plateau.is_over(FALLING))
    assert over == [False] * 9 + [True]  # lowering the rate does not start this wait again
    assert not plateau.is_over(replace(FALLING, stop_patience=0))
    assert plateau.is_over(replace(FALLING, stop_patience=3))


def test_the_record_survives_json() -> None:
    """Bit for bit: what a checkpoint holds is what goes on."""
    plateau = Plateau(rate=0.1 + 0.2, best=1 / 3, waited=1, stale=4)
    assert Plateau(**json.loads(json.dumps(asdict(plateau)))) == plateau
    assert Plateau(**json.loads(json.dumps(asdict(Plateau(rate=1.0))))).best == math.inf


def test_plateau_takes_the_rate_that_is_remembered() -> None:
    assert learning_rate(FALLING, 7, 10, Plateau(rate=0.123)) == 0.123


def test_cosine_rises_in_a_line_and_falls_in_half_a_wave() -> None:
    found = [learning_rate(COSINE, step, 10, Plateau(rate=9.0)) for step in range(10)]
    expected = [0.5, 1.0] + [(1 + math.cos(math.pi * k / 8)) / 2 for k in range(8)]
    assert found == pytest.approx(expected)
    assert found[6] == pytest.approx(0.5)  # half way down


@given(steps=st.integers(1, 200), warm_up=st.floats(0, 1))
@settings(max_examples=40)
def test_cosine_stays_between_0_and_the_highest_rate(steps: int, warm_up: float) -> None:
    config = replace(COSINE, warm_up=warm_up)
    found = [learning_rate(config, step, steps, Plateau(rate=9.0)) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in found)
    top = found.index(max(found))
    assert found[top] == 1.0
    assert found[: top + 1] == sorted(found[: top + 1])
    assert found[top:] == sorted(found[top:], reverse=True)
