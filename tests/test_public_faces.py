"""What `from augment import`, `from pipeline import` and `from training import` give, before and after all else."""

import importlib
import pkgutil
import sys
from pathlib import Path

import pytest
from import_graph import PACKAGES
from small_worlds import run_python

import augment
import pipeline
import training

STEPS = {"build", "open", "verify", "replay", "audit", "preview", "publish", "rebuild"}


def test_the_pipeline_gives_a_function_for_every_step() -> None:
    steps = {f"{step}_dataset" for step in STEPS} | {"split_check", "write_card"}
    assert {name for name in dir(pipeline) if name.endswith("_dataset")} | {"split_check", "write_card"} == steps
    assert all(callable(getattr(pipeline, name)) for name in steps)


def test_the_pipeline_gives_every_error() -> None:
    import pipeline.errors

    assert {name for name in pipeline.errors.__all__ if name.endswith("Error")} <= set(dir(pipeline))


@pytest.mark.parametrize("package", [augment, pipeline, training])
def test_names_are_listed_and_others_are_attribute_errors(package: object) -> None:
    name = package.__name__
    assert dir(package) == package.__all__ == sorted(package.__all__)
    for public in package.__all__:
        assert getattr(package, public).__name__ == public
    with pytest.raises(AttributeError, match=f"{name}.*more"):
        _ = package.more


def test_no_public_function_shares_its_name_with_a_module() -> None:
    """Else `from training import fit` would give a function or a module, by what was imported before."""
    for name in PACKAGES:
        package = importlib.import_module(name)
        modules = {module.name.rpartition(".")[2] for module in pkgutil.walk_packages(package.__path__, f"{name}.")}
        assert not modules & set(package.__all__)


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import pipeline.cli", {"numpy", "numba", "scipy", "h5py", "joblib", "tifffile"}),
        ("import augment, pipeline, training", {"numpy", "llvmlite", "numba", "scipy", "h5py", "torch"}),
        ("from pipeline.shards import open_dataset", {"numba", "scipy", "click", "joblib", "tifffile", "rich"}),
        ("from augment import Recipe, draw_recipe", {"llvmlite", "numba", "scipy", "h5py"}),
        ("from augment import render", {"numba", "scipy", "h5py"}),
        ("from pipeline import make_source, read_folder", {"numba", "scipy", "h5py", "tifffile"}),
        ("import training.unet", {"h5py"}),
        ("import pipeline.audit", {"numba", "augment.renderer"}),
    ],
)
def test_what_is_heavy_is_loaded_when_it_is_used(tmp_path: Path, code: str, heavy: set[str]) -> None:
    result = run_python(f"{code}\nimport sys\nprint(sorted({heavy!r} & set(sys.modules)))", cwd=tmp_path)
    assert result.stdout == "[]\n", result.stderr


def test_the_renderer_is_what_loads_the_compiler(tmp_path: Path) -> None:
    """A planted fault for the test above."""
    result = run_python("from augment import render\nimport sys\nprint('llvmlite' in sys.modules)", cwd=tmp_path)
    assert result.stdout == "True\n", result.stderr
    assert sys.version_info >= (3, 11)
