"""Training with Keras 3 on torch: its network with our weights, our batches, and the steps and schedules of Keras."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import ConfigError
from pipeline.shards.progress import Progress, SilentProgress
from training.config import FitConfig, UNetConfig
from training.dataset import ShardDataset
from training.loading import Batches, open_store
from training.run_folder import NETWORK_FILE, Row, Run, save, write_rows
from training.trainer import OnRound, Validation, require_finite
from training.unet import UNet, centre

_FIXED = {
    "loss": "ce",
    "class_weights": "none",
    "optimizer": "sgd",
    "schedule": "plateau",
    "precision": "fp32",
    "compile": False,
    "channels_last": False,
}


class KerasTrainer:
    """What `training.trainer.Trainer` is for torch, with Keras: the same first weights, samples, batches and files.

    Steps, plateaus and the early stop are Keras' own. Two differences: every round has the same number of steps, and
    the rate falls in the `plateau_patience`-th round without improvement, not in the one after it. There is no
    checkpoint: a run that was stopped has to start over in another folder, and network.pt is the best one so far.
    """

    def __init__(self, run: Run, data: ShardDataset, before: "KerasTrainer | None" = None) -> None:
        config, cpu = run.config, torch.device("cpu")
        a_round = max(1, config.steps // config.rounds)
        self.run = replace(run, config=replace(config, steps=a_round * config.rounds))
        self.validation: Validation = before.validation if before else Validation(run, torch.device(config.device))
        store = before.batches.store if before else open_store(data, config.loader, cpu)
        self.batches: Batches = Batches(store, data, config, run.normalisation, cpu)
        there = config.network.output_side(config.crop)
        side = min(config.target or there, there)
        with import_keras().device(config.device):
            self.model = _compile(config, side)
        self.sequence = shard_sequence(self.batches, steps=a_round, side=side)

    def take(self, number: int) -> None:
        """Take the step of a number, to see how long it takes."""
        with import_keras().device(self.run.config.device):
            self.model.train_on_batch(*self.sequence[number])

    def validate(self, on_sample: Callable[[], None]) -> None:
        """Validate once, to see how long it takes."""
        with import_keras().device(self.run.config.device):
            self.validation.score(TorchView(self.model), on_sample)

    def train(self, *, pictures: bool, progress: Progress | None = None, on_round: OnRound | None = None) -> None:
        """Train from the beginning to the end."""
        keras, config, progress = import_keras(), self.run.config, progress or SilentProgress()
        callbacks: list[Any] = [self._rounds(pictures, progress, on_round)]
        watched = {"monitor": "val_loss", "mode": "min", "min_delta": 0}
        if config.plateau_factor < 1:
            callbacks.append(
                keras.callbacks.ReduceLROnPlateau(
                    factor=config.plateau_factor, patience=config.plateau_patience, min_lr=config.lowest_rate, **watched
                )
            )
        if config.stop_patience:
            callbacks.append(keras.callbacks.EarlyStopping(patience=config.stop_patience, **watched))
        progress.start("training", config.steps, unit="steps")
        try:
            with keras.device(config.device):
                self.model.fit(self.sequence, epochs=config.rounds, shuffle=False, verbose=0, callbacks=callbacks)
        finally:
            progress.stop()

    def _rounds(self, pictures: bool, progress: Progress, on_round: OnRound | None) -> Any:
        """Return the callback of Keras that scores and saves every round, before others act upon val_loss."""
        run, sequence, batches, validation = self.run, self.sequence, self.batches, self.validation
        base: Any = import_keras().callbacks.Callback
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
                progress.advance()

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                rate = float(f"{float(self.model.optimizer.learning_rate):.7g}")  # Keras keeps it as float32
                view = TorchView(self.model)
                scores = validation.score(view)
                logs |= scores  # for the callbacks after this one
                row = Row(epoch + 1, (epoch + 1) * len(sequence), rate, logs["loss"], self.gradient, **scores)
                if row.val_loss < self.best:
                    self.best = row.val_loss
                    network = to_torch(self.model, run.config.network)
                    save(run.folder / NETWORK_FILE, {"network": network.state_dict()})
                rows.append(row)
                write_rows(run.folder, rows, time.perf_counter() - self.began)
                if pictures:
                    validation.draw(run.folder, rows, view)
                if on_round is not None:
                    on_round(row)

        return Rounds()


def require_keras(config: FitConfig) -> FitConfig:
    """Return the config as Keras takes it, which computes in float32; refuse one that it cannot.

    Raises:
        ConfigError: a setting asks for what Keras does not do here, or Keras is not there.
    """
    import_keras()
    if config.precision == "auto":
        config = replace(config, precision="fp32")
    found = {**config.as_dict(), "network.outputs": config.network.outputs}
    for name, value in {**_FIXED, "network.outputs": 1}.items():
        if found[name] != value:
            raise ConfigError(
                f"--framework keras: expected {name} {value}, got {found[name]}; start from --preset report-keras"
            )
    return config


def import_keras() -> Any:
    """Return Keras, with torch as its backend, which it takes when it is first imported in a process.

    Raises:
        ConfigError: it is not installed, or works with another backend or order of axes already.
    """
    setting = os.environ.setdefault("KERAS_BACKEND", "torch")
    if setting == "torch":
        try:
            import keras
        except ImportError as error:
            raise ConfigError(f"Keras cannot be imported ({error}); pip install '.[keras]' in the checkout") from error
        setting = f"{keras.config.backend()} {keras.config.image_data_format()}"
    if setting != "torch channels_last":
        raise ConfigError(
            f"Keras: expected torch channels_last, got {setting}; start again with KERAS_BACKEND=torch, and without "
            "image_data_format in ~/.keras/keras.json"
        )
    return keras


def build_keras_unet(config: UNetConfig) -> Any:
    """Return the network as a Keras model: image (B, Y, X, inputs) in, scores (B, Y', X', outputs) out, as of `UNet`.

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

    x = image = keras.Input((None, None, config.inputs), name="image")
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
    """A Keras model as a torch network: image (B, inputs, Y, X) in, scores (B, outputs, Y', X') out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """Return the scores."""
        scores: Tensor = self.model(image.movedim(1, -1), training=False)
        return scores.movedim(-1, 1)


def shard_sequence(batches: Batches, *, steps: int, side: int) -> Any:
    """Return batches as a `keras.utils.PyDataset` of `steps` batches an epoch, numpy float32.

    Batch `i` of epoch `e` is number `e * steps + i`: image (B, Y, X, C), label (B, side, side, 1), the centre, and
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
            if batch.weights is not None:
                found.append(centre(batch.weights, side))
            return tuple(part.cpu().numpy() for part in found)

    return ShardSequence()


def _compile(config: FitConfig, side: int) -> Any:
    """Return the network with its first weights, cropped to the `side` px that are scored, ready for `fit`."""
    keras = import_keras()
    torch.manual_seed(config.seed)
    network = build_keras_unet(config.network)
    lost = config.network.output_side(config.crop) - side
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


def _names(network: UNet) -> list[str]:
    """Return the names of the layers that have weights; a Keras layer may have no point in its name."""
    return [key.removesuffix(".weight") for key in network.state_dict() if key.endswith(".weight")]
