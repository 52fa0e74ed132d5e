"""What a run is asked to do, and the presets; all of it stands in config.json."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Literal

from pipeline.errors import ConfigError
from training.dataset import Weights
from training.kinds import require_types
from training.loading import Loader
from training.unet import UNetConfig

Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class FitConfig:
    """One run.

    Attributes:
        network: the U-Net.
        crop: side of the training crops, in px; 0: the whole sample.
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
    n_train: int = 0
    precision: Precision = "auto"
    channels_last: bool = False
    compile: bool = False
    loader: Loader = "auto"
    device: str = "auto"
    threads: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        require_types(self)
        limits = {
            "crop": (0, 1 << 14), "target": (0, 1 << 14), "batch": (1, 1 << 12), "learning_rate": (1e-12, 1e3),
            "momentum": (0, 0.99999), "weight_decay": (0, 1e3), "clip_norm": (0, 1e12), "warm_up": (0, 1),
            "plateau_factor": (1e-6, 1), "plateau_patience": (0, 10**6), "lowest_rate": (0, 1e3),
            "stop_patience": (0, 10**6), "steps": (0, 10**9), "rounds": (1, 10**6), "held_out": (1e-6, 0.5),
            "n_train": (0, 10**9), "threads": (0, 1024), "seed": (0, 2**63 - 1),
        }  # fmt: skip
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name}: expected {low} to {high}, got {getattr(self, name)}")
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
            crop=256,
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
        ConfigError: there is none of that name.
    """
    if name not in PRESETS:
        raise ConfigError(f"--preset: expected one of {', '.join(PRESETS)}, got {name!r}")
    return PRESETS[name]


def _read(given: Any, kind: type) -> Any:
    """Return a value from text; what is not of the kind is left as it is, and refused with the setting's name."""
    if not isinstance(given, str) or kind is str:
        return given
    try:
        value = json.loads(given)
    except ValueError:
        return given
    return float(value) if kind is float and type(value) is int else value
