"""A run with Keras: the samples, validation and files of `training.fit`, the steps and schedules of Keras."""

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.errors import ConfigError
from training.checkpoint import save
from training.config import FitConfig
from training.dataset import ShardDataset, divide
from training.device import repeatable
from training.fit import require_minutes, settle
from training.keras_unet import TorchView, build_keras_unet, import_keras, shard_sequence, to_torch
from training.loading import Batches, measure_gray, open_store
from training.run import NETWORK_FILE, Run, find_versions, make_folder, require_free, write_rows, write_run
from training.trainer import PROBED_STEPS, Listener, count_steps, require_finite
from training.validation import Row, Watch

_FIXED = {"optimizer": "sgd", "schedule": "plateau", "precision": "fp32", "compile": False, "channels_last": False}


def fit_keras(
    dataset: Path, out: Path, config: FitConfig, *, minutes: float = 0.0, pictures: bool = True,
    listener: Listener | None = None,
) -> Run:  # fmt: skip
    """Train the network with Keras and return the run, which `augtrain evaluate` and `predict` read as any other.

    First weights, samples, batches, validation and files are those of `training.fit.fit`; steps, plateaus and the
    early stop are Keras' own. Two differences: every round has the same number of steps, and the rate falls in the
    `plateau_patience`-th round without improvement, not in the one after it. There is no checkpoint: a run that was
    stopped has to start over in another folder, and network.pt is the best one so far.

    Args:
        dataset: folder of the dataset.
        out: folder of the run, which must not hold one yet.
        config: what to do; SGD, plateau and float32 only.
        minutes: time a few steps first and take as many as fit in; 0: as many as the config says.
        pictures: draw curves and samples after every round.
        listener: is told about every step and round.

    Raises:
        ConfigError: the config does not fit Keras, the dataset or this machine, or there is a run in `out`.
        DatasetError: the dataset cannot be read, or leaks.
        DivergedError: the loss is no longer finite.
        StorageError: a file cannot be written.
    """
    keras = import_keras()
    config = replace(config, precision="fp32") if config.precision == "auto" else config
    _require_known(config)
    require_free(out)
    require_minutes(minutes)
    division = divide(dataset, n_train=config.n_train, held_out=config.held_out)
    config = settle(config, dataset, len(division.train))
    with repeatable(config.threads), keras.device(config.device):
        data = ShardDataset(dataset, "train", division.train, weights=config.loss_weights)
        gray, versions = measure_gray(data), find_versions("keras")
        run = Run(out, dataset, config, division, gray, str(data.image_dtype), "keras", versions)
        watch = Watch(dataset, division, config, run.normalisation, torch.device(config.device))
        batches = Batches(
            open_store(data, config.loader, torch.device("cpu")), data.ids, data.window, batch=config.batch,
            crop=config.crop, turns=config.turns, seed=config.seed, normalisation=run.normalisation,
            device=torch.device("cpu"),
        )  # fmt: skip
        model, steps = _compile(config), config.steps
        if minutes:
            tried = shard_sequence(batches, steps=PROBED_STEPS, side=_scored(config))
            steps = count_steps(
                60 * minutes,
                config.rounds,
                lambda number: model.train_on_batch(*tried[number]),
                lambda on_sample: watch.score(TorchView(model), on_sample),
            )
            model = _compile(config)
        a_round = max(1, steps // config.rounds)
        run = replace(run, config=replace(config, steps=a_round * config.rounds))
        make_folder(out)
        write_run(run)
        sequence = shard_sequence(batches, steps=a_round, side=_scored(config))
        callbacks = _callbacks(run, sequence, batches, watch, pictures=pictures, listener=listener or Listener())
        model.fit(sequence, epochs=config.rounds, shuffle=False, verbose=0, callbacks=callbacks)
    return run


def _require_known(config: FitConfig) -> None:
    found = {**config.as_dict(), "network.outputs": config.network.outputs}
    for name, value in {**_FIXED, "network.outputs": 1}.items():
        if found[name] != value:
            raise ConfigError(
                f"--framework keras: expected {name} {value}, got {found[name]}; start from --preset report-keras"
            )


def _scored(config: FitConfig) -> int:
    """Return the side of the centre that is scored."""
    there = config.network.output_side(config.crop)
    return min(config.target or there, there)


def _compile(config: FitConfig) -> Any:
    """Return the network with its first weights, cropped to what is scored, ready for `fit`."""
    keras = import_keras()
    torch.manual_seed(config.seed)
    network = build_keras_unet(config.network)
    lost = config.network.output_side(config.crop) - _scored(config)
    crop = keras.layers.Cropping2D(((lost // 2, lost - lost // 2),) * 2)
    model = keras.Model(network.input, crop(network.output))
    model.compile(
        optimizer=keras.optimizers.SGD(
            config.learning_rate, momentum=config.momentum, global_clipnorm=config.clip_norm or None
        ),
        loss=keras.losses.BinaryCrossentropy(from_logits=True, reduction="mean_with_sample_weight"),
        jit_compile=False,
    )
    return model


def _callbacks(
    run: Run, sequence: Any, batches: Batches, watch: Watch, *, pictures: bool, listener: Listener
) -> list[Any]:
    """Return what Keras calls: first the one that scores and saves the rounds, then those that act upon val_loss."""
    keras, config = import_keras(), run.config
    base: Any = keras.callbacks.Callback
    rows: list[Row] = []

    class Rounds(base):  # type: ignore[misc]
        best = math.inf

        def on_epoch_begin(self, epoch: int, _logs: Any = None) -> None:
            sequence.epoch, self.gradient, self.began = epoch, 0.0, time.perf_counter()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            number = sequence.epoch * len(sequence) + batch
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), math.inf).item()  # Keras clips a copy of these
            for name, value in (("loss", logs["loss"]), ("norm of the gradient", norm)):
                if not math.isfinite(value):
                    require_finite(name, value, number, batches[number])
            self.gradient = max(self.gradient, norm)
            listener.on_step(number + 1, config.steps)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            rate = float(f"{float(self.model.optimizer.learning_rate):.7g}")  # Keras keeps it as float32
            view = TorchView(self.model)
            scores = watch.score(view)
            logs |= scores  # for the callbacks after this one
            row = Row(epoch + 1, (epoch + 1) * len(sequence), rate, logs["loss"], self.gradient, **scores)
            if row.val_loss < self.best:
                self.best = row.val_loss
                save(run.folder / NETWORK_FILE, {"network": to_torch(self.model, config.network).state_dict()})
            rows.append(row)
            write_rows(run.folder, rows, time.perf_counter() - self.began)
            if pictures:
                from training.plots import draw_round

                draw_round(run.folder, rows, watch, view)
            listener.on_round(row)

    watched = {"monitor": "val_loss", "mode": "min", "min_delta": 0}
    callbacks: list[Any] = [Rounds()]
    if config.plateau_factor < 1:
        callbacks.append(
            keras.callbacks.ReduceLROnPlateau(
                factor=config.plateau_factor, patience=config.plateau_patience, min_lr=config.lowest_rate, **watched
            )
        )
    if config.stop_patience:
        callbacks.append(keras.callbacks.EarlyStopping(patience=config.stop_patience, **watched))
    return callbacks
