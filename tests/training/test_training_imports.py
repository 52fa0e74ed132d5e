"""The public face: the same functions and classes whatever was imported before, and nothing loaded that is not used."""

import subprocess
import sys
from pathlib import Path

import pytest
from small_datasets import phantom_stack
from small_runs import COSINE

import training
from pipeline.source.tiff import write_stack

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


def test_a_run_from_python_with_paths_as_text(
    phantom_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the README does it: every command of augtrain is one function."""
    monkeypatch.chdir(tmp_path)
    Path("dataset").symlink_to(phantom_dataset)
    for name, pixels in zip(("stack.tif", "labels.tif"), phantom_stack(), strict=True):
        write_stack(Path(name), pixels)
    run = training.fit("dataset", "run", COSINE, pictures=False)
    assert training.resume("run", dataset="dataset", pictures=False) == run
    found = training.evaluate("run", "dataset", "test", images="stack.tif", labels="labels.tif", device="cpu")
    found.draw("run")
    assert Path("run/thresholds-test-slices.png").exists()
    assert training.predict("run", "stack.tif", "out.tif", device="cpu") == (12, 128, 120)
    assert training.score("out.tif", "labels.tif").n == 12
    assert training.bench("dataset", COSINE, steps=1)["device"] == "cpu"
