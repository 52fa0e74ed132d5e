"""The report's network in Keras 3 on torch: its layers, its weights to and from torch, its batches."""

import os
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import ConfigError
from training.loading import Batches
from training.losses import centre
from training.unet import UNet, UNetConfig


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


def _names(network: UNet) -> list[str]:
    """Return the names of the layers that have weights; a Keras layer may have no point in its name."""
    return [key.removesuffix(".weight") for key in network.state_dict() if key.endswith(".weight")]
