"""A recipe survives the manifest unchanged, and a manifest cannot smuggle in one that means something else."""

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.errors import ConfigError, RecipeError
from augment.operations import OPERATIONS
from augment.recipe import Recipe, to_float32
from pipeline.errors import exit_code

REALS = st.floats(width=32, allow_nan=False, allow_infinity=False)
PAIRS = st.tuples(REALS, REALS)
OPTIONAL = {"gray", "place", "attempt", "scored", *OPERATIONS}


def grids(n_points: int) -> st.SearchStrategy[Any]:
    row = st.tuples(*[REALS] * n_points)
    return st.tuples(*[st.tuples(*[row] * n_points)] * 2)


@st.composite
def recipes(draw: Callable[..., Any]) -> Recipe:
    window = draw(st.tuples(st.integers(2, 2000), st.integers(2, 2000)))
    return Recipe(
        window=window,
        grid_px=draw(st.integers(2, 4).flatmap(grids)),
        extent_px=(window[0] + draw(st.integers(0, 900)), window[1] + draw(st.integers(0, 900))),
        matrix=draw(st.tuples(PAIRS, PAIRS)),
        shift_px=draw(PAIRS),
        angle_deg=draw(REALS),
        flip=draw(st.booleans()),
        zoom=draw(REALS),
        gain=draw(REALS),
        bias=draw(REALS),
        place=draw(st.none() | st.tuples(st.integers(0, 4000), st.integers(0, 4000))),
        attempt=draw(st.integers(0, 63)),
    )


def values_of(kind: type, tree: Any) -> list[Any]:
    """Return every leaf of nested dicts, lists and tuples that is of `kind`."""
    if isinstance(tree, dict | list | tuple):
        leaves = tree.values() if isinstance(tree, dict) else tree
        return [value for leaf in leaves for value in values_of(kind, leaf)]
    return [tree] if type(tree) is kind else []


@pytest.fixture
def values(plain_recipe: Callable[..., Recipe]) -> dict[str, Any]:
    """The JSON of a good recipe, to be spoilt."""
    return json.loads(json.dumps(plain_recipe((4, 6)).to_json()))


@settings(deadline=None, max_examples=60)
@given(recipe=recipes())
def test_json_brings_back_an_equal_recipe(recipe: Recipe) -> None:
    """Equal down to the type and the sign of zero, so that a replay renders the same bytes."""
    text = json.dumps(recipe.to_json(), allow_nan=False)
    again = Recipe.from_json(json.loads(text))
    assert again == recipe
    assert hash(again) == hash(recipe)
    assert repr(again) == repr(recipe)


@settings(deadline=None, max_examples=30)
@given(recipe=recipes())
def test_every_real_in_the_manifest_is_a_float32_value(recipe: Recipe) -> None:
    reals = values_of(float, recipe.to_json())
    assert len(reals) == 2 * recipe.n_points**2 + 4 + 2 + 4
    assert all(float(np.float32(value)) == value for value in reals)


def test_json_has_the_keys_that_the_format_promises(values: dict[str, Any]) -> None:
    assert sorted(values) == [
        "angle_deg", "bias", "extent_px", "flip", "gain", "grid_px", "matrix", "shift_px", "window", "zoom",
    ]  # fmt: skip


def test_whole_numbers_in_json_are_read_as_reals(values: dict[str, Any]) -> None:
    """Other JSON writers drop the point of 1.0."""
    values["gain"] = 1
    assert type(Recipe.from_json(values).gain) is float


def test_a_recipe_cannot_be_changed(plain_recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        plain_recipe((4, 6)).gain = 2.0


def test_to_float32_rounds_to_the_nearest_float32() -> None:
    assert to_float32(0.1) == 0.100000001490116119384765625
    assert to_float32(0.5) == 0.5
    assert type(to_float32(0.1)) is float


def test_a_recipe_error_is_a_config_error() -> None:
    """Exit code 2: the recipe was asked for wrongly; nothing is damaged."""
    assert issubclass(RecipeError, ConfigError)
    assert exit_code(RecipeError()) == 2


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(Recipe) if field.name not in OPTIONAL])
def test_a_missing_key_is_refused(values: dict[str, Any], key: str) -> None:
    """Even one that has a default: a manifest that lost a number must not render as if it had none."""
    del values[key]
    with pytest.raises(RecipeError, match=f"expected the keys.*'{key}'.*got"):
        Recipe.from_json(values)


@pytest.mark.parametrize(
    "odd", [{"attempt": 64}, {"attempt": -1}, {"attempt": True}, {"place": [0, -1]}, {"place": [1.5, 2]}]
)
def test_a_place_or_an_attempt_that_none_is_drawn_at_is_refused(values: dict[str, Any], odd: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=next(iter(odd))):
        Recipe.from_json({**values, **odd})


def test_an_unknown_key_is_refused(values: dict[str, Any]) -> None:
    """A later format's number would otherwise be ignored in silence."""
    with pytest.raises(RecipeError, match="shear"):
        Recipe.from_json(values | {"shear": 0.0})


@pytest.mark.parametrize("key", ["angle_deg", "zoom", "gain", "bias"])
@pytest.mark.parametrize(("bad", "named"), [(math.nan, "nan"), (-math.inf, "-inf"), (0.1, "0.1")])
def test_a_scalar_that_is_no_finite_float32_is_refused(
    values: dict[str, Any], key: str, bad: float, named: str
) -> None:
    with pytest.raises(RecipeError, match=f"finite float32 value, got {named}"):
        Recipe.from_json(values | {key: bad})


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.1])
def test_a_bad_number_anywhere_in_an_array_is_refused(plain_recipe: Callable[..., Recipe], bad: float) -> None:
    still, bent = ((0.0, 0.0), (0.0, 0.0)), ((0.0, 0.0), (0.0, bad))
    spoilt = [
        {"grid_px": (bent, still)},
        {"grid_px": (still, bent)},
        {"matrix": ((1.0, bad), (0.0, 1.0))},
        {"matrix": ((1.0, 0.0), (0.0, bad))},
        {"shift_px": (bad, 0.0)},
        {"shift_px": (0.0, bad)},
    ]
    for changes in spoilt:
        with pytest.raises(RecipeError, match=f"got {bad}"):
            plain_recipe((4, 6), **changes)


@pytest.mark.parametrize("key", ["angle_deg", "zoom", "gain", "bias"])
@pytest.mark.parametrize("bad", [True, "1.0", None, [1.0]])
def test_what_is_no_number_is_refused(values: dict[str, Any], key: str, bad: object) -> None:
    """In Python a bool is a number; in a manifest it is a mistake."""
    with pytest.raises(RecipeError, match="a value has the wrong type"):
        Recipe.from_json(values | {key: bad})


@pytest.mark.parametrize("bad", [0, 1, "false", None])
def test_a_flip_that_is_no_bool_is_refused(values: dict[str, Any], bad: object) -> None:
    """The string "false" is true."""
    with pytest.raises(RecipeError, match="neither true nor false"):
        Recipe.from_json(values | {"flip": bad})


@pytest.mark.parametrize(
    "grid",
    [
        [[[0.0]], [[0.0]]],  # K = 1: no spline
        [[], []],
        [[[0.0, 0.0], [0.0]], [[0.0, 0.0], [0.0, 0.0]]],  # ragged
        [[[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]] * 2,  # 2 x 3
        [[[0.0] * 2] * 2, [[0.0] * 3] * 3],  # K differs between y and x
        [[[0.0] * 2] * 3, [[0.0] * 2]],  # 2 K rows in all, but not K each
    ],
)
def test_a_grid_that_is_not_2_k_k_is_refused(values: dict[str, Any], grid: object) -> None:
    with pytest.raises(RecipeError, match="grid_px must be 2 x K x K"):
        Recipe.from_json(values | {"grid_px": grid})


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("grid_px", [[[0.0, 0.0], [0.0, 0.0]]]),
        ("grid_px", [[[0.0, 0.0], [0.0, 0.0]]] * 3),
        ("grid_px", [[[0.0, True], [0.0, 0.0]]] * 2),
        ("grid_px", None),
        ("grid_px", 1.0),
        ("grid_px", [[[[0.0], [0.0]], [[0.0], [0.0]]]] * 2),
        ("matrix", [[1.0, 0.0]]),
        ("matrix", [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        ("matrix", [[True, 0.0], [0.0, 1.0]]),
        ("shift_px", [0.0]),
        ("shift_px", [0.0, 0.0, 0.0]),
        ("shift_px", [0.0, False]),
        ("shift_px", 0.0),
        ("window", [4]),
        ("window", [4, 6, 1]),
        ("extent_px", 6),
    ],
)
def test_an_array_of_the_wrong_shape_or_type_is_refused(values: dict[str, Any], key: str, bad: object) -> None:
    with pytest.raises(RecipeError, match=r"^recipe: "):
        Recipe.from_json(values | {key: bad})


@pytest.mark.parametrize("key", ["window", "extent_px"])
@pytest.mark.parametrize("bad", [[4.0, 6], [4, 6.5], [4, "6"], [True, 6], [None, 6]])
def test_a_size_that_is_not_whole_is_refused(values: dict[str, Any], key: str, bad: object) -> None:
    with pytest.raises(RecipeError, match=f"{key} must be two whole numbers"):
        Recipe.from_json(values | {key: bad})


@pytest.mark.parametrize("bad", [[1, 6], [4, 1], [0, 0], [-4, 6]])
def test_a_window_below_2_x_2_is_refused(values: dict[str, Any], bad: object) -> None:
    with pytest.raises(RecipeError, match=r"window must be at least \(2, 2\)"):
        Recipe.from_json(values | {"window": bad})


@pytest.mark.parametrize("bad", [[3, 6], [4, 5]])
def test_an_extent_smaller_than_its_window_is_refused(values: dict[str, Any], bad: object) -> None:
    """Pixels beyond the last control point have no displacement."""
    with pytest.raises(RecipeError, match=r"extent_px must be at least \(4, 6\)"):
        Recipe.from_json(values | {"extent_px": bad})


@pytest.mark.parametrize(
    ("key", "bad"),
    [("gain", 10**400), ("shift_px", [0.0, 10**400]), ("extent_px", [10**400, 10**400])],
    ids=["gain", "shift_px", "extent_px"],
)
def test_a_number_beyond_all_floats_is_refused(values: dict[str, Any], key: str, bad: object) -> None:
    """JSON knows no limits; Python reads such a number as an int."""
    with pytest.raises(RecipeError):
        Recipe.from_json(values | {key: bad})


def test_the_centre_of_a_slice_lies_between_its_outermost_pixels(plain_recipe: Callable[..., Recipe]) -> None:
    assert plain_recipe((2, 2)).slice_centre((5, 8)) == (2.0, 3.5)
    assert plain_recipe((2, 2), shift_px=(1.0, -2.5)).slice_centre((5, 8)) == (3.0, 1.0)
