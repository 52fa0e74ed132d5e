"""Datasets whose gray levels were changed: built, verified, shown and described."""

import re
from pathlib import Path

import pytest
from small_worlds import digests, small_config, small_source

from augment.operations import OPERATIONS
from augment.ranges import AugmentRanges
from pipeline.build.builder import build_dataset
from pipeline.look.fact_sheet import show_dataset, show_sample
from pipeline.plan.plan import make_plan
from pipeline.shards.config import BuildConfig
from pipeline.shards.dataset import Dataset
from pipeline.verify.verification import verify_dataset

STRENGTHS = {"noise": (2.0, 9.0)}
RANGES = AugmentRanges(**STRENGTHS, probability=dict.fromkeys(STRENGTHS, 0.6))


@pytest.fixture(scope="module")
def config() -> BuildConfig:
    return small_config(ranges=RANGES)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, config: BuildConfig) -> Dataset:
    built = build_dataset(small_source(), config, out=tmp_path_factory.mktemp("operations") / "d", jobs=1).dataset
    assert built is not None
    return built


def test_any_number_of_threads_makes_the_same_bytes(dataset: Dataset, config: BuildConfig, tmp_path: Path) -> None:
    build_dataset(small_source(), config, out=tmp_path / "d", jobs=3)
    assert digests(tmp_path / "d") == digests(dataset.folder)


def test_every_pixel_is_proven(dataset: Dataset) -> None:
    proof = verify_dataset(dataset, replay=True, source=small_source())
    assert (proof.findings, proof.n_replayed) == ((), dataset.record.n)


def test_recipes_change_by_nothing_but_the_operations(dataset: Dataset) -> None:
    """Labels, windows and ids are those of the build without."""
    plain = make_plan(small_source(), small_config())
    rows = list(dataset.rows())
    recipes = [plain.recipe(sample) for shard in plain.shards() for sample in plain.samples(shard)]
    for row, recipe in zip(rows, recipes, strict=True):
        assert {**row.recipe.to_json(), **recipe.to_json()} == row.recipe.to_json()
        assert set(row.recipe.to_json()) - set(recipe.to_json()) <= set(STRENGTHS)
    n_done = sum(len(row.recipe.operations) for row in rows)
    assert 0 < n_done < len(STRENGTHS) * len(rows)


def test_what_was_done_is_shown(dataset: Dataset) -> None:
    sheet = "\n".join(show_dataset(dataset).lines())
    assert set(STRENGTHS) == set(OPERATIONS)
    for name, (low, high) in STRENGTHS.items():
        text = rf"{name.replace('_', ' ')} +{low:g} to {high:g}, 0.6 of the samples +\d+ of 12 \("
        assert re.search(text, sheet), sheet
    row = next(row for row in dataset.rows() if row.recipe.noise)
    assert re.search(r"noise +[\d.]+ s\.d\.", "\n".join(show_sample(dataset, row.id).lines()))
