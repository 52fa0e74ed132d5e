"""The report's network in Keras 3 on torch, trained as `training.fit` trains: its shards, batches and run folder."""

import json
import math
import os
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.shards import ConfigError
from training.checkpoint import as_json, save, write_file
from training.config import FitConfig
from training.dataset import ShardDataset, divide
from training.device import repeatable
from training.fit import (
    CONFIG_FILE,
    NETWORK_FILE,
    ROWS_FILE,
    TABLE_FILE,
    TIMES_FILE,
    Listener,
    Run,
    _describe,
    _make_folder,
    settle,
)
from training.loading import Batches, measure_gray, open_store
from training.losses import centre
from training.unet import UNet, UNetConfig
from training.validation import DivergedError, Row, Watch

FRAMEWORK = "keras"
_FIXED = {"optimizer": "sgd", "schedule": "plateau", "precision": "fp32", "compile": False, "channels_last": False}
_PROBED_STEPS, _UNTIMED_STEPS, _MARGIN = 8, 3, 0.95


def import_keras() -> Any:
    """Return Keras; it takes its backend when it is first imported in a process, so torch is asked for before that.

    Raises:
        ConfigError: it is not installed, or works with another backend or order of axes already.
    """
    setting = os.environ.setdefault("KERAS_BACKEND", "torch")
    if setting == "torch":
        try:
            import keras
        except ImportError as error:
            raise ConfigError(f"Keras cannot be imported ({error}); pip install 'augpipe[keras]'") from error
        setting = f"{keras.config.backend()} {keras.config.image_data_format()}"
    if setting != "torch channels_last":
        raise ConfigError(
            f"Keras: expected torch channels_last, got {setting}; start again with KERAS_BACKEND=torch, and without "
            "image_data_format in ~/.keras/keras.json"
        )
    return keras


def build_keras_unet(config: UNetConfig) -> Any:
    """Return the network as a Keras model: image (B, Y, X, 1) in, scores (B, Y', X', outputs) out, as of `UNet`.

    Its layers have the names of UNet's, `down_0_2` for `down.0.2`, and its weights are UNet's: drawn with the variance
    of Glorot and Bengio (2010) where `config.init` is xavier, from torch's random numbers.

    Raises:
        ConfigError: the config asks for batch normalisation or dropout.
    """
    if config.norm != "none" or config.dropout:
        raise ConfigError(f"Keras: expected a U-Net without norm and dropout, got {config.norm}, {config.dropout}")
    keras, network = import_keras(), UNet(config)
    layers = keras.layers

    def block(x: Any, name: str, width: int) -> Any:
        for place in (0, 2):  # ReLUs are 1 and 3 in UNet
            x = layers.Conv2D(width, 3, padding=config.padding, activation="relu", name=f"{name}_{place}")(x)
        return x

    def up(x: Any, name: str, width: int) -> Any:
        relu = "relu" if config.up_relu else None
        if config.up == "transpose":
            return layers.Conv2DTranspose(width, 2, strides=2, activation=relu, name=f"{name}_0")(x)
        return layers.Conv2D(width, 2, padding="same", activation=relu, name=f"{name}_2")(layers.UpSampling2D(2)(x))

    x = image = keras.Input((None, None, 1), name="image")
    skips = []
    for level in range(config.depth + 1):
        x = block(layers.MaxPooling2D(2)(x) if level else x, f"down_{level}", config.width << level)
        skips.append(x)
    for number, level in enumerate(reversed(range(config.depth))):
        width = config.width << level
        below = config.depth - level
        lost = 6 * (1 << below) - 8 if config.padding == "valid" else 0  # px a side: 4, 16, 40, 88
        x = up(x, f"up_{number}", config.last_up or width if level == 0 else width)
        x = block(layers.Concatenate()([layers.Cropping2D(lost)(skips[level]), x]), f"merge_{number}", width)
    model = keras.Model(image, layers.Conv2D(config.outputs, 1, name="head")(x))
    copy_weights(network, model)
    return model


def copy_weights(network: UNet, model: Any) -> None:
    """Give a model of `build_keras_unet` the weights of a network of the same config."""
    state = network.state_dict()
    for name in _names(network):
        kernel = state[f"{name}.weight"].permute(2, 3, 1, 0)  # (out, in, y, x) to (y, x, in, out); transposed ones too
        values = [kernel.cpu().numpy(), state[f"{name}.bias"].cpu().numpy()]
        model.get_layer(name.replace(".", "_")).set_weights(values)


def to_torch(model: Any, config: UNetConfig) -> UNet:
    """Return the network that a model of `build_keras_unet` is, on the CPU."""
    network = UNet(config)
    state = network.state_dict()
    for name in _names(network):
        kernel, bias = (torch.from_numpy(values) for values in model.get_layer(name.replace(".", "_")).get_weights())
        state[f"{name}.weight"], state[f"{name}.bias"] = kernel.permute(3, 2, 0, 1), bias
    network.load_state_dict(state)
    return network


class TorchView(nn.Module):
    """A Keras model as a torch network: image (B, 1, Y, X) in, scores (B, outputs, Y', X') out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """Return the scores."""
        scores: Tensor = self.model(image.movedim(1, -1), training=False)
        return scores.movedim(-1, 1)


def shard_sequence(batches: Batches, *, steps: int, side: int) -> Any:
    """Return batches as a `keras.utils.PyDataset` of `steps` batches an epoch, numpy float32.

    Batch `i` of epoch `e` is number `e * steps + i`: image (B, Y, X, 1), label (B, side, side, 1), the centre, and
    where there are weights, weight (B, side, side). Keras tells a PyDataset of epochs that it only tries, so `epoch`
    is an attribute, to be set when an epoch begins.
    """
    base: Any = import_keras().utils.PyDataset

    class ShardSequence(base):  # type: ignore[misc]
        epoch = 0

        def __len__(self) -> int:
            return steps

        def __getitem__(self, index: int) -> tuple[Any, ...]:
            batch = batches[self.epoch * steps + index]
            found = [batch.image.movedim(1, -1), centre(batch.label, side)[..., None]]
            found += [] if batch.weight is None else [centre(batch.weight, side)]
            return tuple(part.cpu().numpy() for part in found)

    return ShardSequence()


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
    _refuse(out, config, minutes)
    division = divide(dataset, n_train=config.n_train, held_out=config.held_out)
    config = settle(config, dataset, len(division.train))
    with repeatable(config.threads), keras.device(config.device):
        data = ShardDataset(dataset, "train", division.train, weights=config.loss_weights)
        run = Run(out, dataset, config, division, measure_gray(data), str(data.image_dtype))
        watch = Watch(dataset, division, config, run.normalisation, torch.device(config.device))
        batches = Batches(
            open_store(data, config.loader, torch.device("cpu")), data.ids, data.window, batch=config.batch,
            crop=config.crop, turns=config.turns, seed=config.seed, normalisation=run.normalisation,
            device=torch.device("cpu"),
        )  # fmt: skip
        model, steps = _compile(config), config.steps
        if minutes:
            steps, model = _steps_in(60 * minutes, config, model, batches, watch), _compile(config)
        a_round = max(1, steps // config.rounds)
        run = replace(run, config=replace(config, steps=a_round * config.rounds))
        described = _describe(run)
        described["versions"][FRAMEWORK] = keras.__version__
        _make_folder(out)
        write_file(out / CONFIG_FILE, as_json({**described, "framework": FRAMEWORK}))
        sequence = shard_sequence(batches, steps=a_round, side=_scored(config))
        callbacks = _callbacks(run, sequence, batches, watch, pictures=pictures, listener=listener or Listener())
        model.fit(sequence, epochs=config.rounds, shuffle=False, verbose=0, callbacks=callbacks)
    return run


def _refuse(out: Path, config: FitConfig, minutes: float) -> None:
    if (out / CONFIG_FILE).exists():
        raise ConfigError(f"{out}: holds a run already; choose another --out")
    if minutes < 0 or not math.isfinite(minutes):
        raise ConfigError(f"--minutes: expected a time above 0, got {minutes}")
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
                    raise DivergedError(
                        f"step {number + 1}: the {name} is {value}; the samples of the batch: "
                        f"{', '.join(batches[number].ids)}; the best network so far is kept; lower the learning rate "
                        "or --set clip_norm"
                    )
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
            _write_rows(run.folder, rows, time.perf_counter() - self.began)
            if pictures:
                from training.plots import draw_run

                draw_run(run.folder, rows, watch.examples(view))
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


def _steps_in(seconds: float, config: FitConfig, model: Any, batches: Batches, watch: Watch) -> int:
    """Return how many steps fit into a time, with the validation of every round; the model is spent by it."""
    sequence, times = shard_sequence(batches, steps=_PROBED_STEPS, side=_scored(config)), []
    for number in range(_PROBED_STEPS):
        began = time.perf_counter()
        model.train_on_batch(*sequence[number])
        times.append(time.perf_counter() - began)
    began = time.perf_counter()
    watch.score(TorchView(model))
    watching = time.perf_counter() - began
    a_step = sorted(times[_UNTIMED_STEPS:])[len(times[_UNTIMED_STEPS:]) // 2]
    left = _MARGIN * seconds - config.rounds * watching - sum(times) - watching
    return max(config.rounds, int(left / a_step))


def _write_rows(folder: Path, rows: list[Row], seconds: float) -> None:
    values = [asdict(row) for row in rows]
    table = [",".join(values[0]), *(",".join(map(str, row.values())) for row in values)]
    write_file(folder / TABLE_FILE, "".join(f"{line}\n" for line in table).encode())
    write_file(folder / ROWS_FILE, b"".join(as_json(row) for row in values))
    with (folder / TIMES_FILE).open("a", encoding="utf-8") as times:
        times.write(json.dumps({"round": rows[-1].round, "seconds": round(seconds, 3)}) + "\n")


def _names(network: UNet) -> list[str]:
    """Return the names of the layers that have weights; a Keras layer may have no point in its name."""
    return [key.removesuffix(".weight") for key in network.state_dict() if key.endswith(".weight")]
