"""Fixtures of the training tests: datasets of the phantom, built once; tests only read them, and damage copies."""

import itertools
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_datasets import build_phantom, phantom_stack


@pytest.fixture(scope="session")
def phantom_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 samples of 108 px: 18 of slices 0..7 to train on, 6 of slices 9..11 to test on; no split val; gap 1."""
    return build_phantom(tmp_path_factory.mktemp("phantom") / "dataset")


@pytest.fixture(scope="session")
def phantom_with_val(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a split val: 13 samples of slices 0..4 to train on, 5 of slices 6..7 to validate with."""
    return build_phantom(tmp_path_factory.mktemp("val") / "dataset", val=0.2)


@pytest.fixture(scope="session")
def phantom_with_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset without val, with stored weight maps."""
    return build_phantom(tmp_path_factory.mktemp("weights") / "dataset", weights="unet2015")


@pytest.fixture(scope="session")
def phantom_16_bit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset without val, of 16-bit images whose low bits count: the phantom's gray levels times 251."""
    images = phantom_stack()[0].astype(np.uint16) * 251
    return build_phantom(tmp_path_factory.mktemp("deep") / "dataset", images=images)


@pytest.fixture
def phantom_copy(tmp_path: Path, phantom_dataset: Path) -> Path:
    """A copy of the dataset without val, to be damaged."""
    return Path(shutil.copytree(phantom_dataset, tmp_path / "dataset"))


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which everything that is timed takes a second."""
    ticks = itertools.count()
    monkeypatch.setattr("training.fitting.time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
