"""How fast samples arrive and training goes, with real data and with none to wait for."""

import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from training.config import FitConfig
from training.dataset import ShardDataset, divide
from training.device import repeatable
from training.fit import settle
from training.loading import Loader, Normalisation, open_store
from training.progress import Told, untold
from training.run import Run
from training.trainer import Trainer

_ROUNDS = 5


def bench(dataset: Path, config: FitConfig, *, steps: int = 10, told: Told = untold) -> dict[str, Any]:
    """Return samples a second: of every loader against a plain copy of arrays, and of training; peak memory in MB.

    `loaders` gives, for each tier, the whole samples (image and label) that it hands over in a second; `copy` does the
    same with two numpy arrays. `train_real` and `train_synthetic` train on the batches of the dataset, and on one batch
    again and again; rounds of both alternate, and the medians are given.

    Args:
        dataset: folder of the dataset.
        config: the network and how it is trained.
        steps: to time in each of the rounds.
        told: is told about every step.

    Raises:
        ConfigError: the config does not fit the dataset or this machine.
        DatasetError: the dataset cannot be read, or leaks.
    """
    division = divide(dataset, n_train=config.n_train, held_out=config.held_out)
    config = settle(config, dataset, len(division.train))
    with repeatable(config.threads):
        data = ShardDataset(dataset, "train", division.train, weights=config.loss_weights)
        loaders = _loaders(dataset, data.rows[:64], config)
        report: dict[str, Any] = {"device": config.device, "batch": config.batch, "loaders": loaders}
        run = Run(dataset, dataset, config, division, Normalisation(128.0, 40.0), str(data.image_dtype))
        trainer = Trainer(run, data)
        report |= _training(trainer, steps, told)
    report["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    if trainer.device.type == "cuda":
        report["peak_device_memory_mb"] = round(torch.cuda.max_memory_allocated() / 1e6, 1)
    return report


def _loaders(dataset: Path, rows: Sequence[int], config: FitConfig) -> dict[str, float]:
    """Return whole samples a second of each tier, and of copying arrays."""
    some = ShardDataset(dataset, "train", rows)
    samples = [some[index] for index in range(len(some))]
    images, labels = np.stack([sample.image for sample in samples]), np.stack([sample.label for sample in samples])
    device = torch.device(config.device)
    order = [int(i) for i in np.random.default_rng(0).permutation(len(some))]
    tiers: list[Loader] = ["host", "lazy"] if device.type == "cpu" else ["device", "host", "lazy"]
    sources: dict[str, Callable[[int], Any]] = {
        tier: _copier(open_store(some, tier, device).__getitem__, device) for tier in tiers
    }
    sources["copy"] = lambda index: (images[index].copy(), labels[index].copy())
    times: dict[str, list[float]] = {name: [] for name in sources}
    for _ in range(_ROUNDS):
        for name, source in sources.items():
            began = time.perf_counter()
            for index in order:
                source(index)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times[name].append(time.perf_counter() - began)
    return {name: round(len(order) / median(taken), 1) for name, taken in times.items()}


def _copier(read: Callable[[int], Any], device: torch.device) -> Callable[[int], Any]:
    def copied(index: int) -> Any:
        image, label, _ = read(index)
        return image.to(device, copy=True), label.to(device, copy=True)

    return copied


def _training(trainer: Trainer, steps: int, told: Told) -> dict[str, Any]:
    """Return samples a second of training with real data and with one batch that is always there."""
    fixed = trainer.batches[0]
    trainer.step(0, fixed)
    times: dict[str, list[float]] = {"real": [], "synthetic": []}
    done, total = 0, 2 * _ROUNDS * steps
    for number in range(_ROUNDS):
        for name, taken in times.items():
            real = trainer.batches.stream(number * steps, (number + 1) * steps)
            began = time.perf_counter()
            for batch in real if name == "real" else [fixed] * steps:
                trainer.step(0, batch)
                done += 1
                told(done, total)
            taken.append(time.perf_counter() - began)
    n = steps * trainer.config.batch
    speeds = {f"train_{name}": round(n / median(taken), 2) for name, taken in times.items()}
    return {**speeds, "real_of_synthetic": round(median(times["synthetic"]) / median(times["real"]), 3)}
