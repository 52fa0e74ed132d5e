"""From an annotated stack to a leak-free, reproducible dataset on disk, and back: build, verify, read."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.build import BuildProgress, BuildResult, build_dataset
    from pipeline.config import BuildConfig
    from pipeline.reading import phantom_source, read_files, read_folder, read_pairs
    from pipeline.shards import Dataset, open_dataset
    from pipeline.source import Source, make_source
    from pipeline.verify import Verification, replay_dataset, verify_dataset

__all__ = [
    "BuildConfig",
    "BuildProgress",
    "BuildResult",
    "Dataset",
    "Source",
    "Verification",
    "build_dataset",
    "make_source",
    "open_dataset",
    "phantom_source",
    "read_files",
    "read_folder",
    "read_pairs",
    "replay_dataset",
    "verify_dataset",
]

_HOME = {
    "build": ("BuildProgress", "BuildResult", "build_dataset"),
    "config": ("BuildConfig",),
    "shards": ("Dataset", "open_dataset"),
    "reading": ("phantom_source", "read_files", "read_folder", "read_pairs"),
    "source": ("Source", "make_source"),
    "verify": ("Verification", "replay_dataset", "verify_dataset"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that reading a dataset needs numpy and h5py alone."""
    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(f"pipeline.{module}"), name)
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
