"""What all operations on gray levels have in common: their streams, their JSON, their rendering on any CPU."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from operation_examples import EXAMPLES, REFUSED

import augment
from augment.draw import draw_recipe
from augment.errors import ConfigError, RecipeError
from augment.operations import OPERATIONS, Operation
from augment.operations.drawing import draw_operations
from augment.operations.noise import Noise
from augment.operations.rendering import change_planes, round_planes
from augment.operations.stain import STAINED_DTYPES
from augment.ranges import AugmentRanges
from augment.recipe import Recipe
from augment.renderer import Sample, load_kernels, render
from augment.seeding import Stream

SCHEMA = json.loads((Path(augment.__file__).parents[1] / "manifests" / "manifest.schema.json").read_bytes())
RECIPE = jsonschema.Draft202012Validator({**SCHEMA["properties"]["recipe"], "$defs": SCHEMA["$defs"]})
WINDOW = (37, 45)
ALL_ON = AugmentRanges(**{name: strength for name, (strength, _) in EXAMPLES.items()})
# Of `changed_digest`, in float32 and float64: another is of another renderer version, or a CPU that rounds otherwise.
GOLDEN = {
    "defects": (
        "404528228b28d32d4cacf67ba7202e53079fc5d9df60a4ce064d52de1117efa5",
        "f64f1192d40ef802906c3cd6fc6e1a2724c1dca48c7e04372ae7ec4d2be42f02",
    ),
    "color": (
        "f7b831779ae77354326662172479938751ca83780e15931fa4ef03a5f74b27bf",
        "391bc29958104b2bfa5da890db90283df4b74b355d9ed862a8a1b8f0bdd30a36",
    ),
    "stain": (
        "ad98be77312b5788b8fbbd872c68720c9cc72f52e6a1857dbff57c103e4d5cf6",
        "1057dee8f62f1b725bd7b78ebb7ba99501e5ee0397ec6225b347b2944f48c162",
    ),
    "shading": (
        "868765e471ed1252ae0d0a46a2ec5287d6096c3ab9e3668d2777f07c3610f300",
        "248dbd8062b5018e0bbd9d15fec9b348fbbbc5a6d7776a459feaa7074cc150a1",
    ),
    "blur": (
        "f730cfbbb76a7a52b43cc2b93f1a358ea0c610b0ffdeabcf92ecace990320fcf",
        "a8404e3df86ac96ae8a90567bb8f43dc3d6fb2279c330be953549fdf4ec27700",
    ),
    "noise": (
        "95d2c0cb248890a9bc83d0ab1e0af946100b1b667ff2e1aea10bd1befc3aaf0f",
        "987796555e6710cae699d2adf59421ca24979c2180791ef561fbbacf50c8f2dc",
    ),
    "low_resolution": (
        "122d35b857ce3cc1d2c4f783ed44725871fab6b7cf6fa849af8e529b3091b8f7",
        "db2affd25bfc1106294535a5338f9a5264f64e7c80f2c71f9e7a8e2dc5e9193d",
    ),
    "contrast": (
        "d91e1c0a0e309042fad13cdafdecea6971f9d92a08a055708b9fd17fe4b7aa1f",
        "4fdccf9c2c71ddf13e64dffbd9cfc53be468853ec91d377e174942950a9c5a4d",
    ),
    "gamma": (
        "b30d97a3d1d6ed861a39cfd80ca84f740a2781bc4821227f4f41026ed3800c6c",
        "14e141c4c9fe3e0d611bb31ebb0282f924d9f44fb1c87d3dc0a26399f8473b18",
    ),
    "all of them": (
        "0f16b80ced927d660578188da6140b8c8fb6b77dca8a4ad9ac602ed768332f9d",
        "09a73c040c11ce37dac957f4f44448a3232573b0d8c27f904430a42ea62879d5",
    ),
}


def draw(ranges: AugmentRanges, key: int = 0, n_channels: int = 1) -> dict[str, Operation]:
    return draw_operations(ranges, lambda first: Stream(3, (first, key)), window=WINDOW, n_channels=n_channels)


def pattern(dtype: str) -> Any:
    """Return a slice of three channels whose pixels are whole numbers from 0 to 255, of this dtype."""
    y, x, channel = np.indices((40, 50, 3))
    return ((37 * y + 11 * x + 5 * (x * y % 23) + 71 * channel) % 256).astype(dtype)


def rendered(dtype: str, **operations: Operation) -> Sample:
    image = pattern(dtype)
    ranges = AugmentRanges(zoom=(0.8, 1.2), gain=(0.9, 0.9), bias=(5.0, 5.0))
    recipe = draw_recipe(ranges, Stream(0, ()), window=WINDOW, slice_size=image.shape[:2])
    return render(image, (image[..., 0] > 90).astype(np.uint8), replace(recipe, **operations))


def changed_digest(name: str, real: str = "float32") -> str:
    """Return the digest of planes changed by each example of an operation, or by the last of every one."""
    if name in EXAMPLES:
        each = [{name: example} for example in EXAMPLES[name][1]]
    else:
        each = [{name: examples[-1] for name, (_, examples) in EXAMPLES.items()}]
    still, digest = ((0.0, 0.0), (0.0, 0.0)), hashlib.sha256()
    for operations in each:
        recipe = Recipe((2, 2), (still, still), (2, 2), ((1.0, 0.0), (0.0, 1.0)), (0.0, 0.0), gain=0.875, **operations)
        planes = np.ascontiguousarray(np.moveaxis(pattern(real), -1, 0)) * np.dtype(real).type(0.83)
        change_planes(planes, recipe)
        image = np.empty((*planes.shape[1:], 3), np.uint8 if real == "float32" else np.uint16)
        round_planes(planes, image)
        digest.update(planes.tobytes() + image.tobytes())
    return digest.hexdigest()


def test_every_operation_has_its_fields_its_stream_and_an_example() -> None:
    streams = [kind.stream for kind in OPERATIONS.values()]
    assert len({*streams}) == len(streams)
    assert min(streams) > 2  # recipes, splits and places come from those before
    assert set(EXAMPLES) == set(REFUSED) == set(OPERATIONS) == set(GOLDEN) - {"all of them"}
    for kind in (AugmentRanges, Recipe):
        optional = {each.name for each in dataclasses.fields(kind) if each.default is None}
        assert set(OPERATIONS) <= optional
    for name, (_, examples) in EXAMPLES.items():
        assert {type(example) for example in examples} == {OPERATIONS[name]}


def test_operations_alone_decide_what_is_drawn_for_each() -> None:
    """No option shifts what another draws."""
    together = draw(ALL_ON)
    for name, (strength, _) in EXAMPLES.items():
        assert draw(AugmentRanges(**{name: strength})) == {name: together[name]}
        assert draw(AugmentRanges(**{name: strength}), key=1)[name] != together[name]
        assert together[name].text()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_share_of_the_samples_gets_an_operation_as_strong_as_if_all_did(name: str) -> None:
    all_do = AugmentRanges(**{name: EXAMPLES[name][0]})
    some_do = replace(all_do, probability={name: 0.25})
    drawn = [draw(some_do, key) for key in range(400)]
    assert 70 < sum(map(len, drawn)) < 130
    assert all(each in ({}, draw(all_do, key)) for key, each in enumerate(drawn))


def test_strengths_are_told_without_powers_of_ten() -> None:
    assert Noise((1582.4, 0.1234, 65535.0), (0, 0)).text() == "1582, 0.123, 65535 s.d."


def test_operations_are_of_every_channel_or_of_all() -> None:
    assert draw(replace(ALL_ON, per_channel=True), n_channels=1) == draw(ALL_ON, n_channels=3)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_recipe_survives_json(name: str, plain_recipe: Callable[..., Recipe]) -> None:
    for example in (*EXAMPLES[name][1], draw(ALL_ON)[name]):
        recipe = plain_recipe((4, 6), **{name: example})
        values = json.loads(json.dumps(recipe.to_json()))
        RECIPE.validate(values)
        again = Recipe.from_json(values)
        assert again == recipe
        assert repr(again) == repr(recipe)
        assert again != plain_recipe((4, 6))


@pytest.mark.parametrize(("name", "change"), [(name, change) for name, each in REFUSED.items() for change in each])
def test_what_is_not_drawn_is_refused(name: str, change: dict[str, Any], plain_recipe: Callable[..., Recipe]) -> None:
    good = asdict(EXAMPLES[name][1][0])
    for bad in (good | change, good | {"more": 1.0}, {}, 3.0, [3.0]):
        with pytest.raises(RecipeError):
            Recipe.from_json({**plain_recipe((4, 6)).to_json(), name: bad})


@pytest.mark.parametrize("name", EXAMPLES)
def test_ranges_at_the_limits_are_drawn(name: str) -> None:
    for limit in OPERATIONS[name].limits:
        for key in range(8):  # faults are of four kinds
            draw(AugmentRanges(**{name: (limit, limit)}), key)


@pytest.mark.parametrize("name", EXAMPLES)
def test_ranges_beyond_the_limits_are_refused_and_nothing_is_off(name: str) -> None:
    kind, where = OPERATIONS[name], name.replace("_", "-")
    low, high = kind.limits
    for bad in ((low - 1, high), (low, high * 2), (high, low), (float("nan"), high)):
        with pytest.raises(ConfigError, match=f"^{where}: expected LOW <= HIGH, both from"):
            AugmentRanges(**{name: bad})
    assert AugmentRanges(**{name: (kind.off, kind.off)}) == AugmentRanges()
    for share in (0.0, 1.5, float("nan")):
        with pytest.raises(ConfigError, match=f"probability: {name}: expected a fraction"):
            AugmentRanges(**{name: EXAMPLES[name][0]}, probability={name: share})
    with pytest.raises(ConfigError, match=f"probability: expected what is on .* got '{name}'"):
        AugmentRanges(probability={name: 0.5})


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_an_operation_leaves_labels_and_changes_images_by_what_it_says(name: str, dtype: str) -> None:
    if name == "stain" and dtype not in STAINED_DTYPES:
        with pytest.raises(RecipeError, match=f"stain is for images of uint8 or uint16, got {dtype}"):
            rendered(dtype, stain=EXAMPLES[name][1][0])
        return
    plain = rendered(dtype)
    for example in EXAMPLES[name][1]:
        sample = rendered(dtype, **{name: example})
        assert np.array_equal(sample.label, plain.label) or name == "defects"
        assert not np.array_equal(sample.image, plain.image)
        assert sample.image.dtype == np.dtype(dtype)


@pytest.mark.parametrize("name", sorted(EXAMPLES.keys() - {"defects"}))
def test_numbers_for_other_channels_are_refused(name: str) -> None:
    image = pattern("uint8")[..., :2].copy()
    recipe = draw_recipe(AugmentRanges(), Stream(0, ()), window=WINDOW, slice_size=(40, 50))
    recipe = replace(recipe, **{name: EXAMPLES[name][1][-1]})
    with pytest.raises(RecipeError, match="for 3 channels, the image has 2"):
        render(image, image[..., 0], recipe)


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize(("place", "real"), list(enumerate(["float32", "float64"])))
def test_operations_give_the_same_bytes_as_ever(name: str, place: int, real: str) -> None:
    assert changed_digest(name, real) == GOLDEN[name][place]


@pytest.mark.slow
def test_operations_give_the_same_bytes_on_the_plainest_cpu(tmp_path: Path) -> None:
    """Compiled anew without any of this CPU's vector instructions or fused multiply-adds."""
    program = f"import {Path(__file__).stem} as test\nprint(*map(test.changed_digest, test.GOLDEN))"
    found = os.pathsep.join(map(str, (Path(augment.__file__).parents[1], Path(__file__).parent)))
    compiled = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    environment = os.environ | compiled | {"PYTHONPATH": found}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [of_float32 for of_float32, _ in GOLDEN.values()]
    assert list(tmp_path.glob("plane_kernels.round_planes-*.o"))


def test_loading_kernels_loads_those_of_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the first sample would wait for them."""
    done: list[Recipe] = []
    monkeypatch.setattr("augment.renderer.change_planes", lambda _, recipe: done.append(recipe))
    load_kernels(np.dtype(np.uint8), np.dtype(np.uint8), "shared", (3,), draw(ALL_ON, n_channels=3))
    assert done[0].operations == draw(ALL_ON, n_channels=3)
