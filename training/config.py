"""What a run is asked to do, and the presets; all of it stands in config.json. It loads neither torch nor h5py."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Literal, get_args, get_type_hints

from pipeline.errors import ConfigError

Weights = Literal["none", "unet2015"]
Loader = Literal["auto", "device", "host", "lazy"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Framework = Literal["torch", "keras"]

TILE_PX = 512  # side of the tiles that a network predicts
_MAX_INPUTS = 32  # channels that a dataset may have
BENCH_STEPS = 10  # that a benchmark times at a stretch


def _require_types(config: Any) -> None:
    """Refuse values that are not of the annotated type: a config may come from a file or a command line.

    Raises:
        ConfigError: naming the field, what is expected, and what came.
    """
    for name, hint in get_type_hints(type(config)).items():
        value, choices = getattr(config, name), get_args(hint)
        kinds = (int, float) if hint is float else (hint,)
        if choices and (value not in choices or type(value) is not type(choices[0])):
            raise ConfigError(f"{name}: expected one of {', '.join(map(str, choices))}, got {value!r}")
        if not choices and (not isinstance(value, kinds) or (isinstance(value, bool) and hint is not bool)):
            raise ConfigError(
                f"{name}: expected a value like {config.__dataclass_fields__[name].default!r}, got {value!r}"
            )


@dataclass(frozen=True, slots=True)
class UNetConfig:
    """What a U-Net is made of.

    Attributes:
        width: channels of the first level; each level below has twice as many.
        depth: number of poolings.
        inputs: channels of the images; a run takes those of its dataset.
        outputs: maps that come out: 1, the logit of cell, or 2, the scores of membrane and of cell.
        up: how a level doubles its size: a transposed 2x2 convolution, or repeated pixels and a 2x2 convolution.
        init: normal weights with the variance of Glorot and Bengio (2010), or of He et al. (2015, arXiv:1502.01852).
        padding: `valid` loses a pixel on each side at every 3x3 convolution, `same` pads with zeros.
        norm: batch normalisation after every 3x3 convolution, or none.
        dropout: share of activations dropped after each of the last two contracting blocks.
        up_relu: a ReLU after every up-convolution.
        last_up: channels of the last up-convolution; 0: those of its level.
    """

    width: int = 64
    depth: int = 4
    inputs: int = 1
    outputs: Literal[1, 2] = 2
    up: Literal["transpose", "upsample"] = "transpose"
    init: Literal["xavier", "kaiming"] = "kaiming"
    padding: Literal["valid", "same"] = "valid"
    norm: Literal["none", "batch"] = "none"
    dropout: float = 0.0
    up_relu: bool = False
    last_up: int = 0

    def __post_init__(self) -> None:
        _require_types(self)
        if not (1 <= self.width <= 1024 and 1 <= self.depth <= 6):
            raise ConfigError(f"U-Net: expected a width of 1 to 1024 and a depth of 1 to 6, got {self}")
        if not 1 <= self.inputs <= _MAX_INPUTS:
            raise ConfigError(f"U-Net: expected 1 to {_MAX_INPUTS} inputs, got {self.inputs}")
        if not (0 <= self.dropout < 1 and self.last_up >= 0):
            raise ConfigError(f"U-Net: expected dropout in [0, 1) and last_up of 0 or more, got {self}")

    @property
    def step(self) -> int:
        """Pixels by which the sides of inputs differ: 2 to the power of the poolings."""
        return 1 << self.depth

    @property
    def reach(self) -> int:
        """Pixels on each side of an input that valid convolutions lose: 92 for a depth of 4.

        An output pixel can depend on a pixel up to step - 1 further away, since poolings fall on whole steps.
        """
        return 6 * self.step - 4

    @property
    def halo(self) -> int:
        """Pixels on each side of an input whose outputs are lost, or would feel that it ends there.

        It holds for crops that begin a whole number of steps from each other. Where the network pads, poolings begin at
        the edge itself, and zeros are felt two pixels further than valid convolutions lose. The 2x2 convolution after
        repeated pixels is padded by one pixel, which by the last level has spoilt step - 1 at the far edges.
        """
        return self.reach + (2 if self.padding == "same" else 0) + (self.step - 1 if self.up == "upsample" else 0)

    def output_side(self, side: int) -> int:
        """Return the side of the output for an input of `side` pixels.

        Raises:
            ConfigError: the side does not survive the poolings.
        """
        kept = side - 2 * self.reach if self.padding == "valid" else side
        if kept < 1 or (kept - (4 if self.padding == "valid" else 0)) % self.step:
            raise ConfigError(f"U-Net: {side} px do not pass through {self.depth} poolings; {self._nearest(side)}")
        return kept

    def _nearest(self, side: int) -> str:
        """Return in words which sides pass that are next to one that does not."""
        smallest = self.input_side(1)
        if side < smallest:
            return f"{smallest} px do (--set crop=N)"
        passing = self.largest_input(side)
        return f"{passing} px do, and {passing + self.step} px (--set crop=N)"

    def largest_input(self, side: int) -> int:
        """Return the largest side of an input that passes and is not above `side`.

        Raises:
            ConfigError: none does.
        """
        smallest = self.input_side(1)
        if side < smallest:
            raise ConfigError(f"U-Net: samples of {side} px are too small; it needs {smallest} px or more")
        return side - (side - smallest) % self.step

    def input_side(self, output: int) -> int:
        """Return the smallest side of an input whose output has at least `output` pixels, and 1."""
        wanted = max(1, output)
        if self.padding == "same":
            return -(-wanted // self.step) * self.step
        return wanted + (4 - wanted) % self.step + 2 * self.reach


@dataclass(frozen=True, slots=True)
class FitConfig:
    """One run.

    Attributes:
        network: the U-Net.
        crop: side of the training crops, in px; 0: as much of a sample as passes, up to `largest_crop`.
        largest_crop: what a preset cuts of samples that are large enough, in px; 0: no limit.
        target: side of the centre of the output that is scored, in px; 0: all that comes out.
        turns: show each crop in one of the eight ways that a square can lie.
        batch: samples a step.
        optimizer: `sgd` or `adamw`.
        learning_rate: at its highest.
        momentum: of `sgd`.
        weight_decay: of `adamw`.
        clip_norm: largest norm of the gradient, of all parameters together; 0: no limit.
        schedule: `plateau` lowers the rate when validation no longer improves; `cosine` warms up, then falls to 0.
        warm_up: share of the steps over which `cosine` rises.
        plateau_factor: by which `plateau` multiplies the rate.
        plateau_patience: rounds without improvement before it does.
        lowest_rate: where `plateau` ends.
        stop_patience: rounds without improvement after which the run stops; 0: never.
        steps: in all; 0: one pass over the samples a round.
        rounds: how often the run validates, logs and saves.
        loss_weights: the pixels' weights: `none`, or `unet2015`.
        held_out: share of the training slices held out for validation where the dataset has no split `val`.
        fold: which block of the training slices is held out instead, from 0, where `folds` is not 0.
        folds: how many contiguous blocks the training slices are cut into for that; 0: none.
        n_train: only the first so many training samples; 0: all.
        precision: `auto` takes bf16 where the processor computes with it, else fp32.
        channels_last: memory order of the network.
        compile: run the network through torch.compile.
        loader: where the samples are kept.
        device: `auto` takes a CUDA device where there is one.
        threads: of torch on the CPU; 0: as many as there are cores, fixed in config.json.
        seed: of the weights, the order of the samples and the crops.
    """

    network: UNetConfig = field(default_factory=UNetConfig)
    crop: int = 0
    largest_crop: int = 0
    target: int = 0
    turns: bool = False
    batch: int = 5
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.99
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    schedule: Literal["plateau", "cosine"] = "plateau"
    warm_up: float = 0.05
    plateau_factor: float = 0.1
    plateau_patience: int = 10
    lowest_rate: float = 1e-5
    stop_patience: int = 20
    steps: int = 0
    rounds: int = 100
    loss_weights: Weights = "none"
    held_out: float = 0.1
    fold: int = 0
    folds: int = 0
    n_train: int = 0
    precision: Precision = "auto"
    channels_last: bool = False
    compile: bool = False
    loader: Loader = "auto"
    device: str = "auto"
    threads: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        _require_types(self)
        limits = {
            "crop": (0, 1 << 14), "largest_crop": (0, 1 << 14), "target": (0, 1 << 14), "batch": (1, 1 << 12),
            "learning_rate": (1e-12, 1e3),
            "momentum": (0, 0.99999), "weight_decay": (0, 1e3), "clip_norm": (0, 1e12), "warm_up": (0, 1),
            "plateau_factor": (1e-6, 1), "plateau_patience": (0, 10**6), "lowest_rate": (0, 1e3),
            "stop_patience": (0, 10**6), "steps": (0, 10**9), "rounds": (1, 10**6), "held_out": (1e-6, 0.5),
            "fold": (0, 10**5), "folds": (0, 10**5),
            "n_train": (0, 10**9), "threads": (0, 1024), "seed": (0, 2**63 - 1),
        }  # fmt: skip
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name}: expected {low} to {high}, got {getattr(self, name)}")
        if self.fold >= max(self.folds, 1) or self.folds == 1:
            raise ConfigError(
                f"fold: expected a number from 0 to below folds, which is 2 or more, got {self.fold} of {self.folds}"
            )
        if self.steps and self.steps < self.rounds:
            raise ConfigError(
                f"steps: expected at least one a round ({self.rounds}), got {self.steps}; set rounds lower"
            )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "FitConfig":
        """Return the config that `as_dict` was called on.

        Raises:
            ConfigError: a value is missing, unknown, or of the wrong kind.
        """
        try:
            return cls(**{**values, "network": UNetConfig(**values["network"])})
        except (KeyError, TypeError) as error:
            raise ConfigError(f"not the config of a run ({error})") from error

    def changed(self, assignments: Mapping[str, Any]) -> "FitConfig":
        """Return this config with values set, plain or as text: `{"rounds": 5, "network.width": "32"}`.

        Raises:
            ConfigError: there is no such setting, or the value is not of its kind.
        """
        own: dict[str, Any] = {}
        network: dict[str, Any] = {}
        for name, given in assignments.items():
            part, _, inner = name.rpartition(".")
            owner, changes = (self.network, network) if part == "network" else (self, own)
            if part not in ("", "network") or inner not in {f.name for f in fields(owner)} - {"network"}:
                raise ConfigError(f"there is no setting {name!r}; config.json of a run lists them")
            changes[inner] = _read(given, type(getattr(owner, inner)))
        if "crop" in own:
            own.setdefault("largest_crop", 0)  # who says how large crops are means just that
        return replace(self, **own, network=replace(self.network, **network))


_REPORT = FitConfig(target=512, precision="fp32")  # samples of 700 px, of which 516 px come out
_VALID = UNetConfig()

PRESETS: Mapping[str, FitConfig] = MappingProxyType(
    {
        "paper": _REPORT,
        "release": replace(_REPORT, network=replace(_VALID, last_up=128, up_relu=True, dropout=0.5)),
        "report-keras": replace(_REPORT, network=replace(_VALID, outputs=1, up="upsample", init="xavier")),
        "report-pytorch": replace(_REPORT, network=replace(_VALID, up="upsample", init="xavier")),
        "small": FitConfig(
            network=UNetConfig(width=16, outputs=1, padding="same", norm="batch"),
            largest_crop=256,
            turns=True,
            batch=8,
            optimizer="adamw",
            learning_rate=3e-3,
            schedule="cosine",
            stop_patience=0,
            steps=2000,
            rounds=10,
            channels_last=True,
        ),
    }
)


def preset(name: str) -> FitConfig:
    """Return a preset.

    Raises:
        ConfigError: there is no preset of that name.
    """
    if name not in PRESETS:
        raise ConfigError(f"--preset: expected one of {', '.join(PRESETS)}, got {name!r}")
    return PRESETS[name]


def _read(given: Any, kind: type) -> Any:
    """Return a value from text; text that is no such value is left as it is, and then refused with its name."""
    if not isinstance(given, str) or kind is str:
        return given
    try:
        value = json.loads(given)
    except ValueError:
        return given
    return float(value) if kind is float and type(value) is int else value
