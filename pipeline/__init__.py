"""From an annotated stack to a leak-free, reproducible dataset on disk, and back: build, prove, publish, read."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.build.builder import BuildResult, build_dataset
    from pipeline.shards import Dataset, open_dataset
    from pipeline.shards.config import BuildConfig
    from pipeline.source.readers import phantom_source, read_files, read_folder, read_pairs
    from pipeline.source.stacks import Source, make_source
    from pipeline.verify.verification import Verification, replay_dataset, verify_dataset

__all__ = [
    "BuildConfig",
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
    "build.builder": ("BuildResult", "build_dataset"),
    "shards.config": ("BuildConfig",),
    "shards": ("Dataset", "open_dataset"),
    "source.readers": ("phantom_source", "read_files", "read_folder", "read_pairs"),
    "source.stacks": ("Source", "make_source"),
    "verify.verification": ("Verification", "replay_dataset", "verify_dataset"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that reading a dataset needs numpy and h5py alone."""
    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(f"pipeline.{module}"), name)
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
