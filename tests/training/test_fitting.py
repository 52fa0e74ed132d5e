"""What a run does and what it leaves: the loss falls, schedules act, flags reach the run, failures leave nothing."""

import csv
import errno
import hashlib
import itertools
import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from small_datasets import read_rows, write_rows
from small_runs import COSINE, PLATEAU, CountedProgress, contents, fit_small, lasting, network_bytes, read_log
from torch import Tensor

import training.fitting
import training.trainer
from pipeline.errors import ConfigError, DatasetError, StorageError, exit_code
from pipeline.shards import open_dataset
from training.config import FitConfig, UNetConfig, preset
from training.dataset import ShardDataset
from training.fitting import fit, settle
from training.foreground import foreground_line
from training.loading import open_store
from training.run_folder import load, read_network, read_run
from training.trainer import DivergedError, Trainer
from training.unet import count_parameters

FILES = {"checkpoint.pt", "config.json", "metrics.csv", "metrics.jsonl", "network.pt", "times.jsonl"}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run_folder(phantom_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run; tests only read it."""
    return fit_small(phantom_dataset, tmp_path_factory.mktemp("fit") / "deep" / "run").folder


# Learning


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_loss_falls_on_two_samples(phantom_dataset: Path, tmp_path: Path, optimizer: Any) -> None:
    """Without crops and turns the network sees the same two pictures at every step."""
    config = replace(
        COSINE,
        network=UNetConfig(width=4, depth=1, padding="same", norm="batch"),
        crop=0,
        turns=False,
        optimizer=optimizer,
        learning_rate=0.02 if optimizer == "adamw" else 0.1,
        momentum=0.9,
        n_train=2,
        steps=40,
        rounds=4,
    )
    run = fit_small(phantom_dataset, tmp_path / "run", config)
    losses = [row["loss"] for row in read_log(run.folder)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.6 * losses[0]
    assert len(run.division.train) == 2


def test_n_train_takes_the_first_samples(phantom_dataset: Path, tmp_path: Path) -> None:
    every = fit_small(phantom_dataset, tmp_path / "every").division
    few = fit_small(phantom_dataset, tmp_path / "few", n_train=3).division
    assert few.train == every.train[:3]
    assert few.watched == every.watched


def test_a_seed_gives_one_run(phantom_dataset: Path, tmp_path: Path, run_folder: Path) -> None:
    torch.manual_seed(5)  # what torch did before does not matter
    assert lasting(fit_small(phantom_dataset, tmp_path / "same").folder) == lasting(run_folder)
    assert network_bytes(fit_small(phantom_dataset, tmp_path / "other", seed=1).folder) != network_bytes(run_folder)


def test_a_run_leaves_torch_as_it_was(phantom_dataset: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    fit_small(phantom_dataset, tmp_path / "run", threads=before[0] + 1)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


# Files


def test_a_run_leaves_these_files(run_folder: Path) -> None:
    assert set(contents(run_folder)) == FILES


def test_both_logs_say_the_same(run_folder: Path) -> None:
    rows = read_log(run_folder)
    with (run_folder / "metrics.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [row["round"] for row in rows] == [1, 2]
    assert [row["step"] for row in rows] == [2, 4]
    assert [{name: float(text) for name, text in row.items()} for row in table] == rows


def test_wall_times_have_a_line_for_each_round(run_folder: Path) -> None:
    times = [json.loads(line) for line in (run_folder / "times.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [time["round"] for time in times] == [1, 2]
    assert all(time["seconds"] >= 0 for time in times)


def test_config_json_says_what_was_done(phantom_dataset: Path, run_folder: Path) -> None:
    values = json.loads((run_folder / "config.json").read_bytes())
    record = (phantom_dataset / "dataset.json").read_bytes()
    division = values["dataset"]["division"]
    assert values["schema"] == "augtrain/run/1"
    assert division["digest"] == hashlib.sha256(record).hexdigest()
    assert values["dataset"]["folder"] == str(phantom_dataset)
    assert FitConfig.from_dict(values["config"]) == replace(COSINE, learn="foreground")
    assert set(values["versions"]) == {"augpipe", "torch", "numpy", "h5py", "python"}
    assert values["versions"]["torch"] == torch.__version__
    assert values["image_dtype"] == "uint8"
    assert values["parameters"] == count_parameters(read_network(read_run(run_folder), CPU))
    assert not {tuple(z) for z in division["train_slices"]} & {tuple(z) for z in division["watched_slices"]}
    images = open_dataset(phantom_dataset)["train"].images
    pixels = torch.from_numpy(images[:])[list(division["train"])].double()
    assert values["normalisation"]["mean"] == pytest.approx(pixels.mean().item())
    assert values["normalisation"]["std"] == pytest.approx(pixels.std(correction=0).item())


def test_nothing_is_left_to_choose(phantom_dataset: Path) -> None:
    """18 samples, 7 a step, 3 rounds: 3 steps make a pass."""
    config = settle(FitConfig(network=UNetConfig(width=1, depth=2), batch=7, rounds=3), phantom_dataset, 18)
    assert config.steps == 9
    assert config.crop == 108
    assert config.threads == len(os.sched_getaffinity(0))
    assert config.precision in ("fp32", "bf16")
    assert torch.device(config.device)
    assert settle(config, phantom_dataset, 18) == config


@pytest.mark.parametrize(("depth", "crop"), [(2, 108), (3, 104), (4, 96)])
def test_the_crops_of_a_preset_follow_smaller_samples(
    phantom_dataset: Path, caplog: pytest.LogCaptureFixture, depth: int, crop: int
) -> None:
    """Of samples of 108 px no crop of 256 px can be cut; larger ones get the crops that they always got."""
    caplog.set_level(logging.INFO, "augtrain")
    small = preset("small").changed({"network.depth": depth, "network.width": 1})
    assert settle(small, phantom_dataset, 18).crop == crop
    assert caplog.messages == [f"crops        {crop} px, not 256 px: the samples are of 108 px"]
    assert settle(replace(small, largest_crop=64), phantom_dataset, 18).crop == 64
    assert settle(small.changed({"crop": 0}), phantom_dataset, 18) == settle(
        replace(small, largest_crop=0), phantom_dataset, 18
    )


@pytest.mark.parametrize(
    ("rows", "weights", "words"),
    [
        (1, "none", "so little that a network may find none; --loss-weights unet2015 or a dataset that was built with"),
        (1, "unet2015", "so little that a network may find none; a dataset that was built with --focus foreground may"),
        (54, "none", "50.00% of the pixels of"),
    ],
)
def test_little_foreground_is_told_before_the_first_step(
    phantom_copy: Path, rows: int, weights: Any, words: str
) -> None:
    for path in sorted(phantom_copy.glob("train-*.h5")):
        with h5py.File(path, "r+") as file:
            labels = np.zeros(file["labels"].shape, np.uint8)
            labels[:, :rows] = 255
            file["labels"][...] = labels
    line = foreground_line(phantom_copy, range(6), weights)
    assert line.startswith(f"foreground   {rows / 108:.2%} of the pixels of 6 training samples")
    assert words in line
    assert ("--focus" in line) == (rows == 1)


def test_callbacks_are_called_for_every_step_and_round(phantom_dataset: Path, tmp_path: Path) -> None:
    progress, rounds = CountedProgress(), []
    callbacks = {"progress": progress, "on_round": lambda row: rounds.append((row.round, progress.calls[-1]))}
    fit(phantom_dataset, tmp_path / "run", COSINE, pictures=False, **callbacks)
    assert progress.calls == ["start training 4 steps 0", *["advance"] * 4, "stop"]
    assert rounds == [(1, "advance"), (2, "advance")]
    again = CountedProgress()
    training.fitting.resume(tmp_path / "run", pictures=False, progress=again)
    assert again.calls == ["start training 4 steps 4", "stop"]


def test_pictures_change_nothing_but_themselves(phantom_dataset: Path, tmp_path: Path, run_folder: Path) -> None:
    """Not the weights, and not the generators in the checkpoint."""
    fit(phantom_dataset, tmp_path / "run", COSINE)
    files = lasting(tmp_path / "run")
    for name in ("curves.png", "samples.png", "thresholds.png"):
        assert files.pop(name).startswith(b"\x89PNG"), name
    assert files == lasting(run_folder)


# Flags: each reaches the run, and the run stays one


def test_loaders_give_the_same_run(phantom_dataset: Path, tmp_path: Path, run_folder: Path) -> None:
    for loader in ("device", "host", "lazy"):
        folder = fit_small(phantom_dataset, tmp_path / loader, loader=loader).folder  # type: ignore[arg-type]
        assert network_bytes(folder) == network_bytes(run_folder), loader
        assert (folder / "metrics.csv").read_bytes() == (run_folder / "metrics.csv").read_bytes(), loader


def test_memory_order_gives_the_same_run_but_for_rounding(
    phantom_dataset: Path, tmp_path: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    forward = training.trainer.UNet.forward

    def look(self: Any, image: Tensor) -> Tensor:
        if self.training:
            seen.append(self.down[0][0].weight.is_contiguous(memory_format=torch.channels_last))
        return forward(self, image)

    monkeypatch.setattr(training.trainer.UNet, "forward", look)
    folder = fit_small(phantom_dataset, tmp_path / "run", channels_last=True).folder
    assert seen == [True] * 4
    for row, other in zip(read_log(folder), read_log(run_folder), strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("config", [COSINE, PLATEAU], ids=["cosine", "plateau"])
def test_half_precision_trains_nearly_the_same(
    phantom_dataset: Path, tmp_path: Path, config: FitConfig, precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dtypes = set()
    real = training.trainer.target_loss

    def look(scores: Tensor, *rest: Any) -> Tensor:
        dtypes.add(scores.dtype)
        return real(scores, *rest)

    config = replace(config, network=replace(config.network, dropout=0.0), rounds=1)
    whole = read_log(fit_small(phantom_dataset, tmp_path / "whole", config).folder)
    monkeypatch.setattr(training.trainer, "target_loss", look)
    half = read_log(fit_small(phantom_dataset, tmp_path / "half", config, precision=precision).folder)
    assert dtypes == {{"bf16": torch.bfloat16, "fp16": torch.float16}[precision]}
    assert half != whole
    assert half[0]["loss"] == pytest.approx(whole[0]["loss"], rel=0.1)
    assert all(math.isfinite(value) for value in half[0].values())


def test_skipped_fp16_steps_are_no_divergence_and_leave_a_log_that_is_json(
    phantom_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A factor that is too large overflows; the scaler lowers it until the gradients fit."""
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(
        torch.amp, "GradScaler", lambda device, enabled: scaler(device, init_scale=1e9, enabled=enabled)
    )
    folder = fit_small(phantom_dataset, tmp_path / "run", precision="fp16", steps=24).folder
    assert load(folder / "checkpoint.pt")["scaler"]["scale"] < 1e9
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    assert "Infinity" not in text
    assert "NaN" not in text


@pytest.mark.slow
def test_a_compiled_network_trains_the_same(phantom_dataset: Path, tmp_path: Path) -> None:
    """And its checkpoint is that of the network, not of the wrapper."""
    config = replace(COSINE, network=UNetConfig(width=1, depth=1, outputs=1, padding="same"), rounds=1, steps=2)
    plain = fit_small(phantom_dataset, tmp_path / "plain", config).folder
    compiled = fit_small(phantom_dataset, tmp_path / "compiled", config, compile=True).folder
    assert network_bytes(plain).keys() == network_bytes(compiled).keys()
    assert read_log(compiled)[0]["loss"] == pytest.approx(read_log(plain)[0]["loss"], rel=1e-4)
    assert read_run(compiled).config.compile
    read_network(read_run(compiled), CPU)


def test_compile_reaches_torch(phantom_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Wrapper(torch.nn.Module):
        def __init__(self, network: torch.nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: Tensor) -> Tensor:
            calls.append(self.network.training)
            result: Tensor = self.network(image)
            return result

    monkeypatch.setattr(torch, "compile", Wrapper)
    run = fit_small(phantom_dataset, tmp_path / "run", compile=True)
    assert calls.count(True) == 4
    assert calls.count(False) == 2 * len(run.division.watched)


def test_pixel_weights_are_stored_or_computed_to_the_same_run(
    phantom_dataset: Path, phantom_with_weights: Path, tmp_path: Path, run_folder: Path
) -> None:
    stored = fit_small(phantom_with_weights, tmp_path / "stored", loss_weights="unet2015").folder
    computed = fit_small(phantom_dataset, tmp_path / "computed", loss_weights="unet2015").folder
    assert network_bytes(stored) == network_bytes(computed)
    assert read_log(stored) == read_log(computed)
    assert network_bytes(stored) != network_bytes(run_folder)


def test_the_split_val_is_watched_where_there_is_one(phantom_with_val: Path, tmp_path: Path) -> None:
    division = fit_small(phantom_with_val, tmp_path / "run").division
    assert (division.watched_split, len(division.watched), len(division.train)) == ("val", 5, 13)


def test_16_bit_images_train(phantom_16_bit: Path, tmp_path: Path) -> None:
    run = fit_small(phantom_16_bit, tmp_path / "run")
    assert run.image_dtype == "uint16"
    assert read_run(run.folder).image_dtype == "uint16"


def test_the_target_is_the_part_that_counts(phantom_dataset: Path, tmp_path: Path) -> None:
    whole, centre = (read_log(fit_small(phantom_dataset, tmp_path / str(n), target=n).folder) for n in (0, 32))
    assert whole[0]["loss"] != centre[0]["loss"]


# --minutes


@pytest.mark.usefixtures("ticking")
def test_minutes_become_steps(phantom_dataset: Path, tmp_path: Path) -> None:
    """By hand: 0.95 of 39 s, less 21 s of trying and 2 validations of 4 s to come, leaves 8 steps of a second."""
    run = fit(phantom_dataset, tmp_path / "run", COSINE, minutes=0.65, pictures=False)
    assert run.config.steps == 8
    assert read_run(run.folder).config.steps == 8
    assert [row["step"] for row in read_log(run.folder)] == [4, 8]


@pytest.mark.usefixtures("ticking")
def test_timing_leaves_no_trace_in_the_network(phantom_dataset: Path, tmp_path: Path) -> None:
    config = replace(PLATEAU, rounds=1)
    timed = fit(phantom_dataset, tmp_path / "timed", config, minutes=0.5, pictures=False)
    told = fit_small(phantom_dataset, tmp_path / "told", config, steps=timed.config.steps)
    assert timed.config.steps == 3
    assert lasting(timed.folder) == lasting(told.folder)


@pytest.mark.usefixtures("ticking")
def test_a_time_that_is_too_short_is_refused_and_leaves_nothing(phantom_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a step takes 1 s and validation 4 s, so that 2 rounds do not fit"):
        fit(phantom_dataset, tmp_path / "run", COSINE, minutes=0.4, pictures=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("ticking")
@pytest.mark.parametrize(
    ("seconds", "n_steps", "n_validated", "words"),
    [
        (1, 1, 0, r"were over after 1 steps to try; give more"),
        (9, 5, 0, r"were over after 5 steps to try; give more"),
        (18, 8, 2, r"were over after 8 steps to try and a part of the validation; give more"),
    ],
)
def test_trying_ends_when_the_time_is_over(  # each step ends 2 s after the last, and samples come every second
    phantom_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int, n_steps: int,
    n_validated: int, words: str,
) -> None:  # fmt: skip
    """It must not cost more than was given: neither all the steps to try, nor a validation of many samples."""
    steps, validated = [], []
    take, run = Trainer.step, training.trainer.Validation._run
    monkeypatch.setattr(Trainer, "step", lambda *given: steps.append(1) or take(*given))
    monkeypatch.setattr(training.trainer.Validation, "_run", lambda *given: validated.append(1) or run(*given))
    with pytest.raises(ConfigError, match=words):
        fit(phantom_dataset, tmp_path / "run", COSINE, minutes=seconds / 60, pictures=False)
    assert (len(steps), len(validated)) == (n_steps, n_validated)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("minutes", [-1.0, math.nan, math.inf])
def test_no_such_time(phantom_dataset: Path, tmp_path: Path, minutes: float) -> None:
    with pytest.raises(ConfigError, match="--minutes: expected a time above 0"):
        fit(phantom_dataset, tmp_path / "run", COSINE, minutes=minutes)
    assert not (tmp_path / "run").exists()


# Schedules


@pytest.fixture
def falling_then_flat(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Validation that returns these losses, one a round."""
    losses = [0.5, 0.4, 0.6, 0.7, 0.3, 0.9, 0.9, 0.9, 0.9, 0.9]
    given: Iterator[float] = iter(losses)
    real = training.trainer.Validation.score

    def score(validation: Any, network: torch.nn.Module) -> dict[str, Any]:
        return {**real(validation, network), "val_loss": next(given)}

    monkeypatch.setattr(training.trainer.Validation, "score", score)
    return losses


def test_plateaus_lower_the_rate_stop_the_run_and_keep_the_best(
    phantom_dataset: Path, tmp_path: Path, falling_then_flat: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One round of patience: the rate falls after two bad rounds (3, 4; 6, 7), the run stops after 4 (6 to 9)."""
    kept = []

    def remember(row: Any) -> None:
        kept.append((row.round, network_bytes(tmp_path / "run")))

    config = replace(PLATEAU, steps=10, rounds=10, plateau_patience=1, stop_patience=4, learning_rate=0.01)
    fit(phantom_dataset, tmp_path / "run", config, pictures=False, on_round=remember)
    rows = read_log(tmp_path / "run")
    assert [row["val_loss"] for row in rows] == falling_then_flat[:9]
    assert [row["rate"] for row in rows] == pytest.approx([0.01] * 4 + [0.001] * 3 + [0.0001] * 2)
    best = dict(kept)[5]
    assert network_bytes(tmp_path / "run") == best
    assert dict(kept)[4] == dict(kept)[2] != best
    latest = load(tmp_path / "run" / "checkpoint.pt")["network"]
    assert {name: tensor.numpy().tobytes() for name, tensor in latest.items()} != best
    monkeypatch.undo()
    training.fitting.resume(tmp_path / "run", pictures=False)
    assert read_log(tmp_path / "run") == rows


@pytest.mark.usefixtures("falling_then_flat")
def test_a_cosine_keeps_the_last_network_and_never_stops(phantom_dataset: Path, tmp_path: Path) -> None:
    fit_small(phantom_dataset, tmp_path / "run", steps=10, rounds=10, stop_patience=2, warm_up=0.2)
    rows = read_log(tmp_path / "run")
    assert len(rows) == 10
    rates = [row["rate"] for row in rows]
    assert rates[:2] == pytest.approx([0.0015, 0.003])
    assert rates[1:] == sorted(rates[1:], reverse=True)
    latest = load(tmp_path / "run" / "checkpoint.pt")["network"]
    assert network_bytes(tmp_path / "run") == {name: tensor.numpy().tobytes() for name, tensor in latest.items()}


def test_gradients_are_clipped(phantom_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log has the norm as it was; the optimiser gets the clipped one."""
    norms = []
    real = torch.optim.SGD.step

    def look(self: Any, *rest: Any) -> Any:
        gradients = [p.grad.flatten() for group in self.param_groups for p in group["params"]]
        norms.append(torch.cat(gradients).norm().item())
        return real(self, *rest)

    monkeypatch.setattr(torch.optim.SGD, "step", look)
    free, bound = (
        read_log(fit_small(phantom_dataset, tmp_path / str(limit), PLATEAU, rounds=4, clip_norm=limit).folder)
        for limit in (0.0, 1e-3)
    )
    assert [row["gradient"] for row in free] == pytest.approx(norms[:4])
    assert norms[4:] == pytest.approx([1e-3] * 4, rel=1e-3)
    assert bound[0]["gradient"] == pytest.approx(free[0]["gradient"])
    assert bound[0]["gradient"] > 1e-3


# Losses that explode


@pytest.fixture
def armed(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make the loss of one step not finite."""

    def plant(number: int) -> None:
        counter = itertools.count()
        real = Trainer._loss

        def loss(trainer: Trainer, batch: Any) -> Tensor:
            return real(trainer, batch) * (math.nan if next(counter) == number else 1.0)

        monkeypatch.setattr(Trainer, "_loss", loss)

    return plant


def test_a_loss_that_is_not_finite_stops_with_the_samples_of_the_batch(
    phantom_dataset: Path, tmp_path: Path, run_folder: Path, armed: Callable[[int], None]
) -> None:
    """In the second round: the files are those that the first one left, and a resume does it right."""
    armed(3)
    with pytest.raises(DivergedError, match=r"^step 4: the loss is nan; the samples of the batch: ") as caught:
        fit_small(phantom_dataset, tmp_path / "run")
    data = ShardDataset(phantom_dataset, "train", read_run(run_folder).division.train)
    batches = Trainer(read_run(run_folder), data).batches
    assert f": {', '.join(batches[3].ids)};" in str(caught.value)
    assert exit_code(caught.value) == 3
    assert set(contents(tmp_path / "run")) == FILES
    assert read_log(tmp_path / "run") == read_log(run_folder)[:1]
    armed(99)
    training.fitting.resume(tmp_path / "run", pictures=False)
    assert lasting(tmp_path / "run") == lasting(run_folder)


def test_a_loss_that_is_not_finite_at_once_leaves_the_config_alone(
    phantom_dataset: Path, tmp_path: Path, armed: Callable[[int], None]
) -> None:
    armed(0)
    with pytest.raises(DivergedError, match="step 1: the loss is nan"):
        fit_small(phantom_dataset, tmp_path / "run")
    assert set(contents(tmp_path / "run")) == {"config.json"}


@pytest.mark.parametrize("rounds", [1, 2, 4])
def test_a_rate_that_explodes_stops_wherever_it_shows(
    phantom_dataset: Path, tmp_path: Path, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a step or in the validation between steps, but never are weights saved that are no use."""
    monkeypatch.setattr(training.trainer, "learning_rate", lambda *_: 1e30)
    config = replace(PLATEAU, network=UNetConfig(width=4, depth=1), clip_norm=0.0, momentum=0.0, rounds=rounds)
    with pytest.raises(DivergedError, match="lower the learning rate"):
        fit_small(phantom_dataset, tmp_path / "run", config)
    if (tmp_path / "run" / "checkpoint.pt").exists():
        values = load(tmp_path / "run" / "checkpoint.pt")
        assert all(torch.isfinite(tensor).all() for tensor in values["network"].values())
        assert all(math.isfinite(row["val_loss"]) for row in values["rows"])


def test_a_gradient_that_is_not_finite_stops_before_the_step(
    phantom_dataset: Path, tmp_path: Path, run_folder: Path
) -> None:
    """Clipping would turn it into weights that are no numbers, and the loss tells only one step later."""
    run = read_run(run_folder)
    trainer = Trainer(replace(run, folder=tmp_path), ShardDataset(phantom_dataset, "train", run.division.train))
    before = [parameter.detach().clone() for parameter in trainer.network.parameters()]
    trainer.network.head.bias.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(DivergedError, match=r"step 1: the norm of the gradient is (inf|nan)"):
        trainer.step(0, trainer.batches[0])
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.network.parameters(), strict=True))


# What fit refuses


def test_a_folder_with_a_run_is_refused(phantom_dataset: Path, run_folder: Path) -> None:
    before = contents(run_folder)
    with pytest.raises(ConfigError, match="holds a run already; go on with augtrain resume") as caught:
        fit(phantom_dataset, run_folder, COSINE)
    assert exit_code(caught.value) == 2
    assert contents(run_folder) == before


def leak(folder: Path) -> None:
    """Let a test sample show the pixels of a slice of train, under another number."""
    rows = read_rows(folder)
    shown = next(row for row in rows if row["split"] == "train")
    test = next(row for row in rows if row["split"] == "test")
    test["source_sha256"] = shown["source_sha256"]
    write_rows(folder, rows)


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "crop": ({"crop": 5}, ConfigError, "5 px do not pass"),
    "large crop": ({"crop": 128}, ConfigError, "crop: 128 px do not fit samples of 108 px; --set crop=108 does"),
    "depth": ({"crop": 0, "network": UNetConfig(width=1, depth=4)}, ConfigError, "samples of 108 px are too small"),
    "n_train": ({"n_train": 99}, ConfigError, "--n-train: 99 samples asked for"),
    "device": ({"device": "tpu9"}, ConfigError, "--device: expected auto, cpu"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_work_is_refused_and_leaves_nothing(phantom_dataset: Path, tmp_path: Path, name: str) -> None:
    changes, error, words = BAD[name]
    with pytest.raises(error, match=words):
        fit_small(phantom_dataset, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_a_dataset_that_leaks_is_refused_and_leaves_nothing(phantom_copy: Path, tmp_path: Path) -> None:
    fit_small(phantom_copy, tmp_path / "before")
    leak(phantom_copy)
    with pytest.raises(DatasetError, match=r"leakage: .* show the same slice"):
        fit_small(phantom_copy, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_dataset_that_is_not_there_or_damaged_is_refused(phantom_copy: Path, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, DatasetError)):
        fit_small(tmp_path / "none", tmp_path / "run")
    shutil.copy(next(phantom_copy.glob("test-*.h5")), next(phantom_copy.glob("train-*.h5")))
    with pytest.raises(DatasetError):
        fit_small(phantom_copy, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_full_disk_stops_with_one_line_and_the_run_goes_on_later(
    phantom_dataset: Path, tmp_path: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every writing of the second round in turn."""
    real = Path.replace
    for after in range(6, 11):
        left = iter(range(after))

        def fail(path: Path, target: Path, left: Iterator[int] = left) -> Path:
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", fail)
            with pytest.raises(StorageError, match="the disk is full"):
                fit_small(phantom_dataset, tmp_path / str(after))
        assert set(contents(tmp_path / str(after))) == FILES
        training.fitting.resume(tmp_path / str(after), pictures=False)
        assert lasting(tmp_path / str(after)) == lasting(run_folder)


def test_every_file_of_a_run_may_be_the_one_that_fails(
    phantom_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder lies in its place, made by somebody else once the run's own was found to be free."""
    for name in FILES - {"config.json"}:
        monkeypatch.setattr(training.fitting, "require_free", lambda out, name=name: (out / name).mkdir(parents=True))
        with pytest.raises(StorageError, match=rf"{name}: cannot be written"):
            fit_small(phantom_dataset, tmp_path / name)


def test_a_place_that_takes_no_folder_is_named(phantom_dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises((StorageError, ConfigError, NotADirectoryError), match=r"file"):
        fit_small(phantom_dataset, tmp_path / "file" / "run")


# On a GPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_gpu_trains_from_its_own_memory(phantom_dataset: Path, tmp_path: Path, precision: Any) -> None:
    changes = {"device": "cuda", "loader": "device", "precision": precision, "channels_last": True}
    first = fit_small(phantom_dataset, tmp_path / "a", **changes)
    data = ShardDataset(phantom_dataset, "train", first.division.train)
    assert open_store(data, "device", torch.device("cuda")).tier == "device"
    again = fit_small(phantom_dataset, tmp_path / "b", **changes)
    assert network_bytes(first.folder) == network_bytes(again.folder)
