"""Start a run, go on with one, or measure how fast one would be."""

import logging
import math
import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import ConfigError
from pipeline.shards import open_dataset
from pipeline.shards.progress import Progress, SilentProgress
from training.config import BENCH_STEPS, FitConfig, Framework, Loader, UNetConfig
from training.dataset import ShardDataset, count_classes
from training.device import find_device, find_precision, repeatable
from training.division import Division, divide
from training.foreground import foreground_line
from training.loading import measure_gray, open_store
from training.run_folder import Run, RunError, find_versions, read_run, require_free, write_run
from training.targets import choose_target
from training.trainer import OnRound, Trainer

log = logging.getLogger("augtrain")

_PROBED_STEPS, _UNTIMED_STEPS, _MARGIN = 8, 3, 0.95
_BENCH_ROUNDS = 5
_COMPUTING_LIMITS = 0.9  # share of the speed without loading, from which on a faster loader would change little


def fit(
    dataset: Path | str, out: Path | str, config: FitConfig, *, framework: Framework = "torch",
    division: Division | None = None, minutes: float = 0.0, pictures: bool = True, progress: Progress | None = None,
    on_round: OnRound | None = None,
) -> Run:  # fmt: skip
    """Train a network on a dataset and return the run.

    Args:
        dataset: folder of the dataset.
        out: folder of the run, which must not hold one yet.
        config: what to do.
        framework: what takes the steps; `keras` takes SGD, plateaus and float32 only.
        division: what to train on and what to validate with, where that was decided elsewhere; None: as `divide` does.
        minutes: time a few steps first and take as many as fit in; 0: as many as the config says.
        pictures: draw curves and samples after every round.
        progress: its progress callback.
        on_round: is called with the log's row after every round.

    Raises:
        ConfigError: the config does not fit the framework, the dataset or this machine, or there is a run in `out`.
        DatasetError: the dataset cannot be read, or leaks.
        DivergedError: the loss is no longer finite.
        StorageError: a file cannot be written.
    """
    dataset, out = Path(dataset), Path(out)
    require_free(out)
    if minutes < 0 or not math.isfinite(minutes):
        raise ConfigError(f"--minutes: expected a time above 0, got {minutes}")
    from pipeline.source.known_stacks import class_names

    trainer_of: Any = Trainer
    if framework == "keras":
        from training.keras_fitting import KerasTrainer, require_keras

        trainer_of, config = KerasTrainer, require_keras(config)
    division = division or _divide(dataset, config)
    config = settle(config, dataset, len(division.train))
    if framework == "keras" and not config.is_binary:
        raise ConfigError(f"--framework keras: learns two sides alone, not {config.learn}; take --target foreground")
    with repeatable(config.threads):
        data = ShardDataset(dataset, "train", division.train, weights=config.loss_weights, learn=config.learn)
        config = with_class_weights(config, data)
        log.info(foreground_line(dataset, division.train, config.loss_weights))
        versions = find_versions(framework)
        record = open_dataset(dataset).record
        run = Run(
            out,
            dataset,
            config,
            division,
            measure_gray(data),
            str(data.image_dtype),
            framework,
            versions,
            record.inputs[0].images.channels or (),
            record.reading,
            record.config.context,
            record.inputs[0].labels.values,
            class_names(record.inputs),
        )
        trainer = trainer_of(run, data)
        if minutes:
            steps = count_steps(60 * minutes, config.rounds, trainer.take, trainer.validate)
            trainer = trainer_of(replace(run, config=replace(config, steps=steps)), data, trainer)
        write_run(trainer.run)
        trainer.train(pictures=pictures, progress=progress, on_round=on_round)
    return trainer.run  # type: ignore[no-any-return]


def resume(
    folder: Path | str, *, dataset: Path | str | None = None, pictures: bool = True, progress: Progress | None = None,
    on_round: OnRound | None = None,
) -> Run:  # fmt: skip
    """Go on with a run where its last checkpoint left it; of one that is finished, say so in the log.

    Raises:
        RunError: there is no run, or its checkpoint is missing or cannot be trusted.
        ConfigError: the dataset is another one, or the device of the run is not there.
        DivergedError: the loss is no longer finite.
    """
    run = read_run(Path(folder), dataset=Path(dataset) if dataset else None)
    if run.framework != "torch":
        raise RunError(f"{folder}: was trained with {run.framework}, which keeps no checkpoint here; train again")
    found = open_dataset(run.dataset).digest
    if found != run.division.digest:
        raise ConfigError(
            f"{run.dataset}: expected the dataset with digest {run.division.digest[:12]}, found {found[:12]}; "
            "name the right one with --dataset"
        )
    find_device(run.config.device)
    for name, now in find_versions():
        before = dict(run.versions).get(name)
        if before != now:
            log.warning("%s was %s when the run began and is %s now; the bits may differ", name, before, now)
    with repeatable(run.config.threads):
        config = run.config
        data = ShardDataset(run.dataset, "train", run.division.train, weights=config.loss_weights, learn=config.learn)
        trainer = Trainer(run, data)
        trainer.restore()
        if trainer.is_finished:
            log.info(
                "finished     %s: all its rounds are done, %d of them; nothing was trained; for more, start a run "
                "with more --steps",
                folder,
                len(trainer.rows),
            )
        trainer.train(pictures=pictures, progress=progress, on_round=on_round)
    return run


def _divide(dataset: Path, config: FitConfig) -> Division:
    return divide(dataset, n_train=config.n_train, held_out=config.held_out, fold=config.fold, folds=config.folds)


def settle(config: FitConfig, dataset: Path, n_train: int) -> FitConfig:
    """Return the config with everything decided that was left to choose.

    Raises:
        ConfigError: it does not fit the dataset or this machine.
    """
    device = find_device(config.device)
    record = open_dataset(dataset).record
    learn = choose_target(config.learn, record.label_kind)
    outputs = config.network.outputs if learn in ("foreground", "cells") else count_classes(learn, record)
    if learn in ("foreground", "cells") and outputs > 2:
        raise ConfigError(f"network.outputs: expected 1 or 2 for two sides, got {outputs}; leave it out")
    network = replace(config.network, inputs=len(record.arrays.channels or ("gray",)), outputs=outputs)
    if len(config.class_weight_values()) not in (0, count_classes(learn, record)):
        raise ConfigError(
            f"class_weights: expected {count_classes(learn, record)} numbers for --target {learn}, got "
            f"{config.class_weights}"
        )
    crop = _settle_crop(config, network, min(record.window))
    return replace(
        config,
        network=network,
        learn=learn,
        device=str(device),
        precision=find_precision(config.precision, device),
        threads=config.threads or len(os.sched_getaffinity(0)),
        crop=crop,
        steps=config.steps or config.rounds * -(-n_train // config.batch),
    )


def with_class_weights(config: FitConfig, data: ShardDataset) -> FitConfig:
    """Return the config with the weights of the classes as numbers, where they are to be balanced.

    w_c = pixels / (classes x pixels of the class) of the training samples, counting the classes that these show; one
    that they do not show has the weight 1.
    """
    if config.class_weights != "balanced":
        return config
    counts = np.zeros(data.n_classes, np.int64)
    for index in range(len(data)):
        label = data[index]["label"]
        known = label if data.ignore is None else label[label != data.ignore]
        counts += np.bincount(known.ravel(), minlength=data.n_classes)
    shown = np.count_nonzero(counts)
    weights = [counts.sum() / (shown * count) if count else 1.0 for count in counts]
    return replace(config, class_weights=",".join(f"{weight:.6g}" for weight in weights))


def _settle_crop(config: FitConfig, network: UNetConfig, shortest: int) -> int:
    """Return the side of the crops: the one that is asked for, else the largest that samples and preset allow.

    Raises:
        ConfigError: it does not pass through the network, or is larger than the samples; one that would do is named.
    """
    if not config.crop:
        crop = network.largest_input(min(shortest, config.largest_crop or shortest))
        if crop < config.largest_crop:
            log.info("crops        %d px, not %d px: the samples are of %d px", crop, config.largest_crop, shortest)
        return crop
    if config.crop > shortest:
        largest = network.largest_input(shortest)
        raise ConfigError(f"crop: {config.crop} px do not fit samples of {shortest} px; --set crop={largest} does")
    network.output_side(config.crop)  # or says which do that are next to it
    return config.crop


def count_steps(
    seconds: float, rounds: int, take: Callable[[int], Any], validate: Callable[[Callable[[], None]], Any]
) -> int:
    """Return how many steps fit into a time, with a validation a round, after trying a few of them.

    Trying ends with the first step or validated sample after which the time is over.

    Args:
        seconds: the time.
        rounds: how many validations have to fit in.
        take: takes the step of a number.
        validate: validates once, and calls what it is given after every sample.

    Raises:
        ConfigError: not one a round.
    """
    began = time.perf_counter()
    times: list[float] = []

    def require_time(now: float, then: str = "") -> None:
        if now - began > seconds:
            raise ConfigError(
                f"--minutes: {seconds / 60:g} minutes were over after {len(times)} steps to try{then}; give more "
                "minutes, or take a smaller --batch or network"
            )

    for number in range(_PROBED_STEPS):
        before = time.perf_counter()
        take(number)
        now = time.perf_counter()
        times.append(now - before)
        require_time(now)
    before = time.perf_counter()
    validate(lambda: require_time(time.perf_counter(), " and a part of the validation"))
    now = time.perf_counter()
    a_step = median(times[_UNTIMED_STEPS:])
    steps = int((_MARGIN * seconds - (now - began) - rounds * (now - before)) / a_step)
    if steps < rounds:
        raise ConfigError(
            f"--minutes: a step takes {a_step:.2g} s and validation {now - before:.2g} s, so that {rounds} rounds do "
            f"not fit into {seconds / 60:g} minutes; give more minutes, or fewer --rounds"
        )
    return steps


def bench(
    dataset: Path | str, config: FitConfig, *, steps: int = BENCH_STEPS, progress: Progress | None = None
) -> dict[str, Any]:
    """Return samples a second: of every loader against a plain copy of arrays, and of training; peak memory in MB.

    `loaders` gives, for each tier, the whole samples (image and label) that it hands over in a second; `copy` does the
    same with two numpy arrays. `train_real` and `train_synthetic` train on the batches of the dataset, and on one batch
    again and again; rounds of both alternate, and the medians are given.

    Args:
        dataset: folder of the dataset.
        config: the network and how it is trained.
        steps: to time in each of the rounds.
        progress: its progress callback.

    Raises:
        ConfigError: the config does not fit the dataset or this machine.
        DatasetError: the dataset cannot be read, or leaks.
    """
    dataset = Path(dataset)
    division = _divide(dataset, config)
    config = settle(config, dataset, len(division.train))
    with repeatable(config.threads):
        data = ShardDataset(dataset, "train", division.train, weights=config.loss_weights, learn=config.learn)
        config = with_class_weights(config, data)
        loaders = _time_loaders(dataset, data.rows[:64], config)
        run = Run(dataset, dataset, config, division, measure_gray(data), str(data.image_dtype))
        trainer = Trainer(run, data)
        training = _time_training(trainer, steps, progress or SilentProgress())
    report = {"device": config.device, "batch": config.batch, "loaders": loaders, **training}
    report["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    if trainer.device.type == "cuda":
        report["peak_device_memory_mb"] = round(torch.cuda.max_memory_allocated() / 1e6, 1)
    return report


def bench_lines(report: dict[str, Any]) -> list[str]:
    """Return the lines of a benchmark, with units; the last one says what limits training."""
    lines = [("computes on", f"{report['device']}, {report['batch']} samples a step")]
    for name, speed in report["loaders"].items():
        what, why = ("copies arrays", ", for comparison") if name == "copy" else (f"loads, {name}", "")
        lines.append((what, f"{speed} samples/s{why}"))
    lines += [
        ("trains", f"{report['train_real']} samples/s"),
        ("trains, loading none", f"{report['train_synthetic']} samples/s, on one batch again and again"),
        ("memory", f"{report['peak_memory_mb']} MB at most"),
    ]
    if "peak_device_memory_mb" in report:
        lines.append(("memory of the device", f"{report['peak_device_memory_mb']} MB at most"))
    share = report["real_of_synthetic"]
    limit, only = ("computing", "") if share >= _COMPUTING_LIMITS else ("loading", "only ")
    lines.append(("limited by", f"{limit}: with samples to load it is {only}{share:.1%} as fast as without"))
    return [f"{name:<24}{value}" for name, value in lines]


def _time_loaders(dataset: Path, rows: Sequence[int], config: FitConfig) -> dict[str, float]:
    """Return whole samples a second of each tier, and of copying arrays."""
    some = ShardDataset(dataset, "train", rows, learn=config.learn)
    arrays = [list(some[index].values()) for index in range(len(some))]
    device = torch.device(config.device)
    order = [int(i) for i in np.random.default_rng(0).permutation(len(some))]
    tiers: list[Loader] = ["host", "lazy"] if device.type == "cpu" else ["device", "host", "lazy"]
    sources: dict[str, Callable[[int], Any]] = {"copy": lambda index: [part.copy() for part in arrays[index]]}

    def copier(read: Callable[[int], dict[str, Tensor]]) -> Callable[[int], Any]:
        return lambda index: [part.to(device, copy=True) for part in read(index).values()]

    sources = {tier: copier(open_store(some, tier, device).read) for tier in tiers} | sources
    times: dict[str, list[float]] = {name: [] for name in sources}
    for _ in range(_BENCH_ROUNDS):
        for name, source in sources.items():
            began = time.perf_counter()
            for index in order:
                source(index)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times[name].append(time.perf_counter() - began)
    return {name: round(len(order) / median(taken), 1) for name, taken in times.items()}


def _time_training(trainer: Trainer, steps: int, progress: Progress) -> dict[str, Any]:
    """Return samples a second of training with real data and with one batch that is always there."""
    fixed = trainer.batches[0]
    trainer.step(0, fixed)
    times: dict[str, list[float]] = {"real": [], "synthetic": []}
    progress.start("timing", 2 * _BENCH_ROUNDS * steps, unit="steps")
    try:
        for number in range(_BENCH_ROUNDS):
            for name, taken in times.items():
                real = trainer.batches.stream(number * steps, (number + 1) * steps)
                began = time.perf_counter()
                for batch in real if name == "real" else [fixed] * steps:
                    trainer.step(0, batch)
                    progress.advance()
                taken.append(time.perf_counter() - began)
    finally:
        progress.stop()
    n = steps * trainer.config.batch
    speeds = {f"train_{name}": round(n / median(taken), 2) for name, taken in times.items()}
    return {**speeds, "real_of_synthetic": round(median(times["synthetic"]) / median(times["real"]), 3)}
