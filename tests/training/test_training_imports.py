"""The public face: the same functions and classes whatever was imported before, and nothing loaded that is not used."""

import subprocess
import sys
from pathlib import Path

import pytest

import training

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.stem for path in (ROOT / "training").glob("*.py") if path.stem != "__init__")
HEAVY = {"torch", "numba", "scipy", "cv2", "tifffile", "joblib", "rich", "keras", "matplotlib"}


def run_python(code: str) -> str:
    """Return what a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


NAMES = "from training import ShardDataset, UNet, bench, evaluate, fit, predict, resume, score\n"
PRINT = "print([type(name).__name__ for name in (bench, evaluate, fit, predict, resume, score, ShardDataset, UNet)])"


@pytest.mark.parametrize("before", ["", f"import {', '.join(f'training.{name}' for name in MODULES)}\n"])
def test_public_names_are_functions_and_classes_whatever_was_imported_before(before: str) -> None:
    assert run_python(before + NAMES + PRINT) == f"{['function'] * 6 + ['type'] * 2}\n"


def test_no_public_name_is_that_of_a_module() -> None:
    assert not set(MODULES) & set(training.__all__)
    assert training.__all__ == sorted(training.__all__)
    for name in training.__all__:
        assert getattr(training, name).__name__ == name
    assert set(training.__all__) <= set(dir(training))
    with pytest.raises(AttributeError, match="has no attribute 'more'"):
        _ = training.more


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import training; dir(training)", HEAVY | {"h5py", "numpy", "click"}),
        ("from training import FitConfig, UNetConfig, preset", HEAVY | {"h5py", "numpy", "click"}),
        ("import training.cli", HEAVY | {"h5py", "numpy"}),
        ("from training import ShardDataset", HEAVY | {"click"}),
        ("from training import UNet", (HEAVY - {"torch"}) | {"h5py"}),
        ("from training import score", HEAVY | {"click"}),
        ("from training import fit, evaluate, predict", HEAVY - {"torch"}),
    ],
)
def test_nothing_is_loaded_that_is_not_used(code: str, absent: set[str]) -> None:
    assert run_python(f"{code}\nimport sys\nprint(sorted({absent!r} & set(sys.modules)))") == "[]\n"
