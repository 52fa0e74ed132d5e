"""Training and scoring a U-Net from the shards; knows nothing of how they were made."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.config import FitConfig, UNetConfig, preset
    from training.dataset import ShardDataset
    from training.fitting import bench, fit, resume
    from training.inference import evaluate, predict
    from training.metrics import score
    from training.unet import UNet

__all__ = [
    "FitConfig",
    "ShardDataset",
    "UNet",
    "UNetConfig",
    "bench",
    "evaluate",
    "fit",
    "predict",
    "preset",
    "resume",
    "score",
]

_HOME = {
    "config": ("FitConfig", "UNetConfig", "preset"),
    "dataset": ("ShardDataset",),
    "fitting": ("bench", "fit", "resume"),
    "inference": ("evaluate", "predict"),
    "metrics": ("score",),
    "unet": ("UNet",),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that reading samples loads no torch."""
    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(f"training.{module}"), name)
    raise AttributeError(f"module 'training' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names too that are not imported yet."""
    return sorted({*globals(), *__all__})
