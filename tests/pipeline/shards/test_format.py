"""What a build writes is what manifests/ describes, and the samples of a seed do not change unnoticed."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from schema_tools import MANIFESTS, broken_versions, change, objects, validator
from small_worlds import read_rows, small_config, small_source, small_stack

from augment.ranges import AugmentRanges
from augment.recipe import Recipe
from pipeline.build.builder import build_dataset
from pipeline.shards.config import RENDERER_VERSION, BuildConfig
from pipeline.shards.digest import canonical_json
from pipeline.shards.inputs import ImageInput, LabelInput, StackInput
from pipeline.shards.manifest import ManifestRow
from pipeline.shards.record import convert
from pipeline.source.combining import make_source
from pipeline.source.known_stacks import KNOWN_STACKS, recognise

ROOT = Path(__file__).parents[3]
README = (MANIFESTS / "README.md").read_text(encoding="utf-8")


DATASET, ROW = validator("dataset.schema.json"), validator("manifest.schema.json")


def record_of(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "dataset.json").read_bytes())
    return values


# Real output


def test_a_real_dataset_follows_the_schemas(built: Path) -> None:
    DATASET.validate(record_of(built))
    for row in read_rows(built):
        ROW.validate(row)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_other_options_and_pixels_follow_the_schemas(tmp_path: Path, dtype: str) -> None:
    images, labels = small_stack()
    classes = labels.astype(np.int32) + (np.arange(72) > 36)
    ranges = AugmentRanges(
        zoom=(0.5, 2.0), flip=True, shift_px=4.0, gain=(0.9, 1.1), bias=(-5.0, 5.0), grid_points=4, extent="padded"
    )
    config = small_config(val=0.1, split="random", gap=0, ranges=ranges)
    build_dataset(make_source(images.astype(dtype), classes, name="x"), config, out=tmp_path / "d", jobs=1)
    values = record_of(tmp_path / "d")
    DATASET.validate(values)
    assert values["label_kind"] == "classes"
    assert convert(values["config"], BuildConfig) == config
    for row in read_rows(tmp_path / "d"):
        ROW.validate(row)


def test_instances_and_split_strategies_follow_the_schema(tmp_path: Path) -> None:
    images, labels = small_stack()
    ids = labels.astype(np.uint16) + np.arange(72, dtype=np.uint16)
    for name, options in {
        "kfold": {"split": "kfold", "folds": 3, "fold": 1},
        "explicit": {"split": "explicit", "picture": ("TTTTTT...EEE",)},
        "independent": {"independent": True},
    }.items():
        build_dataset(make_source(images, ids, name="x"), small_config(**options), out=tmp_path / name, jobs=1)
        values = record_of(tmp_path / name)
        DATASET.validate(values)
        assert (values["label_kind"], values["arrays"]["labels"], values["classes"]) == ("instances", "uint16", [])


def test_what_is_known_of_the_known_stacks_follows_the_schema(built: Path) -> None:
    def stack(images_sha256: str, labels_sha256: str) -> StackInput:
        shape = (1, 1, 1)
        return StackInput(
            ImageInput(images_sha256, shape, "uint8"), LabelInput(labels_sha256, shape, "uint8", "instances", ())
        )

    for known in KNOWN_STACKS:
        name, facts = recognise([stack(known.images_sha256, known.labels_sha256)], "x")
        DATASET.validate({**record_of(built), "name": name, "source": json.loads(canonical_json(facts.to_json()))})
        _, facts = recognise([stack(known.images_sha256, known.labels_sha256), stack("0" * 64, "0" * 64)], "x")
        DATASET.validate(json.loads(canonical_json({**record_of(built), "source": {"title": "x", **facts.to_json()}})))


# Broken output


def test_nothing_may_be_missing_or_added(built: Path) -> None:
    accepted = [
        what
        for schema, whole, optional in ((DATASET, record_of(built), {"test", "val"}), (ROW, read_rows(built)[0], set()))
        for what, version in broken_versions(whole, optional)
        if schema.is_valid(version)
    ]
    assert accepted == []


@pytest.mark.parametrize(
    "edit",
    [
        change("schema", to="augpipe/dataset/3"),
        change("fingerprint", to="A" * 64),
        change("fingerprint", to="0" * 63),
        change("name", to=""),
        change("renderer", to=0),
        change("inputs", to=[]),
        change("inputs", 0, "images", "dtype", to="float64"),
        change("inputs", 0, "images", "shape", to=[4, 4]),
        change("inputs", 0, "labels", "dtype", to="float32"),
        change("classes", to=[{"index": 0, "value": 0}]),
        change("label_kind", to="instances"),
        change("label_kind", to="objects"),
        change("config", "size", to=[40]),
        change("config", "test", to=1.0),
        change("split", "slices", "train", 0, "z", to=[1, 1]),
        change("shards", 0, "file", to="../train-00000.h5"),
        change("shards", 0, "file", to="train-1.h5"),
        change("shards", 0, "file", to="train-00000.h5\n"),
        change("shards", 0, "sha256", to="0" * 64 + "\n"),
        change("shards", 0, "n", to=0),
        change("manifest", "file", to="other.jsonl"),
        change("arrays", "labels", to="int64"),
        change("source", "voxel_size_nm", to=[4.0, 4.0]),
    ],
)
def test_a_broken_record_is_refused(built: Path, edit: Callable[[Any], None]) -> None:
    values = record_of(built)
    edit(values)
    assert not DATASET.is_valid(values)


@pytest.mark.parametrize(
    "edit",
    [
        change("id", to="s0-z0-r0"),
        change("id", to="s000-z00000-r0000000\n"),
        change("split", to="holdout"),
        change("shard", to="/etc/passwd"),
        change("row", to=-1),
        change("z", to=-1),
        change("z", to=1.5),
        change("image_sha256", to="G" * 64),
        change("recipe", "grid_px", to=[[[0.0]], [[0.0]]]),
        change("recipe", "matrix", to=[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        change("recipe", "flip", to=0),
        change("recipe", "zoom", to=0.0),
        change("recipe", "window", to=[1, 40]),
    ],
)
def test_a_broken_row_is_refused(built: Path, edit: Callable[[Any], None]) -> None:
    row = read_rows(built)[0]
    edit(row)
    assert not ROW.is_valid(row)


# The description


def keys(value: Any) -> set[str]:
    return {key for part in objects(value) for key in part}


def test_every_field_is_described(built: Path) -> None:
    info = json.loads((built / "build-info.json").read_bytes())
    described = {*keys(record_of(built)), *keys(read_rows(built)[0]), *keys(info)} | {"voxel_size_nm", "licence"}
    assert {key for key in described if f"`{key}`" not in README} == set()


def test_the_fields_described_are_those_of_the_code() -> None:
    assert set(ROW.schema["properties"]) == set(ManifestRow.__dataclass_fields__)
    assert set(ROW.schema["properties"]["recipe"]["properties"]) == set(Recipe.__dataclass_fields__)
    config = DATASET.schema["$defs"]["config"]["properties"]
    assert set(config) == set(BuildConfig.__dataclass_fields__)
    assert set(config["ranges"]["properties"]) == set(AugmentRanges.__dataclass_fields__)


def test_the_formula_of_the_description_gives_the_samples(tmp_path: Path) -> None:
    """manifests/README.md, followed by hand with scipy, as someone would who has the dataset and not augpipe."""
    from scipy.ndimage import map_coordinates

    source = small_source()
    ranges = AugmentRanges(zoom=(0.8, 1.25), flip=True, gain=(0.9, 1.1), bias=(-5.0, 5.0))
    out = build_dataset(source, small_config(ranges=ranges), out=tmp_path / "d", jobs=1).out
    from pipeline.shards import open_dataset

    data = open_dataset(out)
    for row in read_rows(out):
        sample = data[row["split"]][data[row["split"]].ids.index(row["id"])]
        recipe, size = row["recipe"], np.array([64, 72])
        window, extent = np.array(recipe["window"]), np.array(recipe["extent_px"])
        p = np.stack(np.meshgrid(*map(np.arange, window), indexing="ij")).astype(float)
        u = p - ((window - 1) / 2)[:, None, None]
        k = len(recipe["grid_px"][0])
        at = (p + ((extent - window) / 2)[:, None, None]) * ((k - 1) / (extent - 1))[:, None, None]
        v = u + np.stack([map_coordinates(np.array(axis), at, order=3, mode="mirror") for axis in recipe["grid_px"]])
        q = np.einsum("ab,brc->arc", np.array(recipe["matrix"]), v)
        q += ((size - 1) / 2 + np.array(recipe["shift_px"]))[:, None, None]
        stack = source.stacks[row["stack"]]
        image = map_coordinates(stack.images[row["z"]].astype(float), q, order=3, mode="reflect")
        gray = np.clip(np.rint(image * recipe["gain"] + recipe["bias"]), 0, 255)
        label = map_coordinates(stack.labels[row["z"]], q, order=0, mode="reflect")
        assert np.abs(gray - sample.image).max() <= 1
        assert np.mean(gray != sample.image) < 0.002
        assert np.mean(label != sample.label) < 0.002


# Golden samples

GOLDEN = runpy.run_path(str(ROOT / "tests" / "golden.py"))
CHANGED = (
    "the samples that a seed yields have changed: if that is meant, raise RENDERER_VERSION in pipeline/config.py, name "
    "the change in CHANGELOG.md, and run python tests/golden.py"
)


def test_the_samples_of_a_seed_are_still_the_same() -> None:
    expected = json.loads(GOLDEN["GOLDEN_FILE"].read_text(encoding="utf-8"))
    found = GOLDEN["make_golden"]()
    for key in ("schema", "phantom", "config", "inputs"):
        assert found[key] == expected[key], f"{key}: {CHANGED}"
    assert found["renderer"] == expected["renderer"] == RENDERER_VERSION, CHANGED
    assert len(found["samples"]) == len(expected["samples"]) == 12
    for now, then in zip(found["samples"], expected["samples"], strict=True):
        assert now == then, f"{then['id']}: {CHANGED}"


def test_the_changelog_names_the_renderer_version() -> None:
    assert f"Renderer version {RENDERER_VERSION}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_record_is_canonical_json(built: Path) -> None:
    data = (built / "dataset.json").read_bytes()
    assert canonical_json(json.loads(data)) == data
