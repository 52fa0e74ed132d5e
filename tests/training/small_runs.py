"""The small runs that the training tests share: networks of a few weights, trained for a few steps."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pipeline.shards.progress import SilentProgress
from training.config import FitConfig, UNetConfig
from training.fitting import fit
from training.inference import Predictor
from training.loading import Normalisation
from training.run_folder import Run, load
from training.scores.challenge import Scores, score_slices
from training.unet import UNet

# AdamW along a cosine, batch norm, crops that turn; two rounds of two steps.
COSINE = FitConfig(
    network=UNetConfig(width=2, depth=1, outputs=1, padding="same", norm="batch"),
    crop=64,
    turns=True,
    batch=2,
    optimizer="adamw",
    learning_rate=3e-3,
    schedule="cosine",
    stop_patience=0,
    steps=4,
    rounds=2,
    precision="fp32",
    device="cpu",
    threads=1,
)
# SGD on plateaus, valid convolutions of whole samples, dropout, which draws from torch's generator.
PLATEAU = FitConfig(
    network=UNetConfig(width=2, depth=1, dropout=0.3),
    batch=2,
    plateau_patience=0,
    steps=4,
    rounds=2,
    precision="fp32",
    device="cpu",
    threads=1,
)
LOG = ("metrics.csv", "metrics.jsonl")


class CountedProgress(SilentProgress):
    """Writes down how it is called."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def start(self, what: str, total: int, *, unit: str = "samples", done: int = 0) -> None:
        self.calls.append(f"start {what} {total} {unit} {done}")

    def advance(self) -> None:
        self.calls.append("advance")

    def stop(self) -> None:
        self.calls.append("stop")


def fit_small(dataset: Path, out: Path, config: FitConfig = COSINE, **changes: Any) -> Run:
    """Train as the config says, with changes, and draw nothing."""
    return fit(dataset, out, replace(config, **changes), pictures=False)


def network_bytes(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every tensor of the network that a run keeps."""
    return {name: tensor.numpy().tobytes() for name, tensor in load(folder / "network.pt")["network"].items()}


def read_log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_bytes().splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file in a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lasting(folder: Path) -> dict[str, Any]:
    """Return every file of a run but the one with wall times: bytes, and of what torch saved, the values.

    Pickles of equal values may differ: they say which strings are one object.
    """
    return {
        name: plain(load(folder / name)) if name.endswith(".pt") else data
        for name, data in contents(folder).items()
        if name != "times.jsonl"
    }


def plain(values: Any) -> Any:
    """Return nested values with tensors as bytes, so that == is equality of bits."""
    if isinstance(values, torch.Tensor):
        return str(values.dtype), tuple(values.shape), values.contiguous().numpy().tobytes()
    if isinstance(values, dict):
        return {key: plain(value) for key, value in values.items()}
    return [plain(value) for value in values] if isinstance(values, list | tuple) else values


def copy_run(run: Path, to: Path) -> Path:
    return Path(shutil.copytree(run, to))


def edit_config(folder: Path, **changes: Any) -> None:
    """Change settings in config.json of a run."""
    values = json.loads((folder / "config.json").read_bytes())
    values["config"] |= changes
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")


def random_network(config: UNetConfig, seed: int = 0) -> UNet:
    """Return a network in evaluation mode, with batch-norm statistics as if it had been trained."""
    torch.manual_seed(seed)
    network = UNet(config)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.3)  # type: ignore[union-attr, operator]
            layer.running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
    return network.eval()


def small_predictor(
    folder: Path, network: UNet, *, dtype: str = "uint8", tta: bool = False, tile: int = 512
) -> Predictor:
    """Return what predicts with a network that no run has trained."""
    config = replace(COSINE, network=network.config)
    scale = {"uint8": 1.0, "uint16": 257.0}[dtype]
    run = Run(folder, folder, config, None, Normalisation(128 * scale, 40 * scale), dtype)  # type: ignore[arg-type]
    return Predictor(run, network, torch.device("cpu"), tta=tta, tile=tile)


def score_stack(prediction: Iterable[ArrayLike], labels: Iterable[ArrayLike]) -> Scores:
    """Return all scores of (Z, Y, X) arrays, or of whatever yields slices one by one."""
    return score_slices(zip(prediction, labels, strict=True))


def noise(shape: tuple[int, ...], dtype: str = "uint8", seed: int = 0) -> NDArray[Any]:
    """Return random gray levels of the full range."""
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
