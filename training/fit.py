"""Start a run, or go on with one."""

import logging
import math
import os
from dataclasses import replace
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.shards import open_dataset
from training.checkpoint import RunError
from training.config import FitConfig
from training.dataset import Division, ShardDataset, divide
from training.device import find_device, find_precision, repeatable
from training.loading import measure_gray
from training.run import CHECKPOINT_FILE, Run, count_rows, find_versions, make_folder, read_run, require_free, write_run
from training.trainer import Listener, Trainer

log = logging.getLogger("augtrain")


def fit(
    dataset: Path, out: Path, config: FitConfig, *, minutes: float = 0.0, pictures: bool = True,
    listener: Listener | None = None,
) -> Run:  # fmt: skip
    """Train a network on a dataset and return the run.

    Args:
        dataset: folder of the dataset.
        out: folder of the run, which must not hold one yet.
        config: what to do.
        minutes: time a few steps first and take as many as fit in; 0: as many as the config says.
        pictures: draw curves and samples after every round.
        listener: is told about every step and round.

    Raises:
        ConfigError: the config does not fit the dataset or this machine, or there is a run in `out`.
        DatasetError: the dataset cannot be read, or leaks.
        DivergedError: the loss is no longer finite.
        StorageError: a file cannot be written.
    """
    division = divide(dataset, n_train=config.n_train, held_out=config.held_out)
    return fit_division(dataset, division, out, config, minutes=minutes, pictures=pictures, listener=listener)


def fit_division(
    dataset: Path, division: Division, out: Path, config: FitConfig, *, minutes: float = 0.0, pictures: bool = True,
    listener: Listener | None = None,
) -> Run:  # fmt: skip
    """Do what `fit` does, with samples that were divided elsewhere."""
    require_free(out)
    require_minutes(minutes)
    config = settle(config, dataset, len(division.train))
    with repeatable(config.threads):
        data = ShardDataset(dataset, "train", division.train, weights=config.loss_weights)
        gray, versions = measure_gray(data), find_versions()
        run = Run(out, dataset, config, division, gray, str(data.image_dtype), versions=versions)
        trainer = Trainer(run, data)
        if minutes:
            run = replace(run, config=replace(config, steps=trainer.steps_in(60 * minutes)))
            trainer = Trainer(run, data, trainer)
        make_folder(out)
        write_run(run)
        trainer.train(pictures=pictures, listener=listener or Listener())
    return run


def resume(
    folder: Path, *, dataset: Path | None = None, pictures: bool = True, listener: Listener | None = None
) -> Run:
    """Go on with a run where its last checkpoint left it; of one that is finished, say so in the log.

    Raises:
        RunError: there is no run, or its checkpoint is missing or cannot be trusted.
        ConfigError: the dataset is another one, or the device of the run is not there.
        DivergedError: the loss is no longer finite.
    """
    run = read_run(folder, dataset=dataset)
    if run.framework != "torch":
        raise RunError(f"{folder}: was trained with {run.framework}, which keeps no checkpoint here; train again")
    if not (folder / CHECKPOINT_FILE).exists() and count_rows(folder) > 1:
        raise RunError(f"{folder}: {CHECKPOINT_FILE} is missing, so the run cannot go on; train again elsewhere")
    found = open_dataset(run.dataset).record.sha256
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
        trainer = Trainer(run, ShardDataset(run.dataset, "train", run.division.train, weights=run.config.loss_weights))
        trainer.restore()
        if trainer.is_finished:
            log.info(
                "finished     %s: all its rounds are done, %d of them; nothing was trained", folder, len(trainer.rows)
            )
        trainer.train(pictures=pictures, listener=listener or Listener())
    return run


def settle(config: FitConfig, dataset: Path, n_train: int) -> FitConfig:
    """Return the config with everything decided that was left to choose.

    Raises:
        ConfigError: it does not fit the dataset or this machine.
    """
    device = find_device(config.device)
    window = min(open_dataset(dataset).record.window)
    crop = config.crop or config.network.largest_input(window)
    config.network.output_side(crop)  # or says that it does not pass
    steps = config.steps or config.rounds * -(-n_train // config.batch)
    return replace(
        config,
        device=str(device),
        precision=find_precision(config.precision, device),
        threads=config.threads or len(os.sched_getaffinity(0)),
        crop=crop,
        steps=steps,
    )


def require_minutes(minutes: float) -> None:
    """Refuse what is no time.

    Raises:
        ConfigError: it is negative, or not finite.
    """
    if minutes < 0 or not math.isfinite(minutes):
        raise ConfigError(f"--minutes: expected a time above 0, got {minutes}")
