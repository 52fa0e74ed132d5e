"""Reading recipes loads no compiler: a GPU machine that only trains has neither numba nor scipy."""

import subprocess
import sys
from pathlib import Path

import pytest

import augment

HEAVY = {"click", "elasticdeform", "h5py", "joblib", "llvmlite", "numba", "rich", "scipy", "tifffile"}
ROOT = Path(augment.__file__).parents[1]


def modules_after(statement: str) -> set[str]:
    """Return the names of all modules that a fresh interpreter holds after `statement`."""
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def loaded_after(statement: str) -> set[str]:
    """Return the heavy libraries among them."""
    return HEAVY & modules_after(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "import augment",
        "import augment.recipe, augment.ranges, augment.errors, augment.seeding, augment.draw",
        "from augment import Recipe, AugmentRanges, RecipeError, Stream, draw_recipe; Recipe.from_json",
    ],
)
def test_recipes_load_no_heavy_library(statement: str) -> None:
    assert loaded_after(statement) == set()


def test_the_renderer_is_what_loads_the_compiler() -> None:
    """A planted fault for the test above. That scipy is there too is numba's doing: it looks at its version."""
    assert {"numba", "llvmlite"} <= loaded_after("from augment import render")


def test_the_renderer_leaves_scipy_s_filters_to_the_reference_engine() -> None:
    """They take a quarter of a second to load."""
    assert "scipy.ndimage" not in modules_after("from augment import render")
    assert "scipy.ndimage" in modules_after("import augment.staged")


@pytest.mark.parametrize("name", augment.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(augment, name).__name__ == name


def test_public_names_are_sorted_and_complete() -> None:
    assert sorted(name for names in augment._HOME.values() for name in names) == augment.__all__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'augment' has no attribute 'rotate_everything'"):
        augment.rotate_everything  # noqa: B018  # looking it up is the test
    assert not hasattr(augment, "numba")
