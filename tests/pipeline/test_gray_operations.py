"""Datasets whose gray levels were changed: built, verified, shown and described."""

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_worlds import digests, small_config, small_source, small_stack, write_folder

from augment.operations import OPERATIONS
from augment.presets import preset_ranges
from augment.ranges import AugmentRanges
from pipeline.build.builder import build_dataset
from pipeline.look.fact_sheet import show_dataset, show_sample
from pipeline.look.preview import _row_facts
from pipeline.plan.plan import make_plan
from pipeline.shards.config import BuildConfig
from pipeline.shards.dataset import Dataset, open_dataset
from pipeline.source.readers import IMAGES_FILE, LABELS_FILE
from pipeline.verify.verification import verify_dataset

STRENGTHS = {
    "defects": (2.0, 6.0),
    "shading": (0.1, 0.3),
    "blur": (0.5, 1.5),
    "noise": (2.0, 9.0),
    "low_resolution": (0.5, 0.9),
    "contrast": (0.75, 1.25),
    "gamma": (0.7, 1.5),
}
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


def test_a_share_of_the_samples_is_rotated_and_zoomed_as_all_were(tmp_path: Path) -> None:
    """What a sample is not spared is as it was: nothing is drawn anew."""
    ranges = AugmentRanges(zoom=(0.5, 2.0))
    shares = replace(ranges, probability={"rotate": 0.5, "zoom": 0.5})
    all_are, some_are = (
        list(build_dataset(small_source(), small_config(ranges=each), out=tmp_path / name, jobs=1).dataset.rows())
        for name, each in {"all": ranges, "some": shares}.items()
    )
    for name, off in {"angle_deg": 0.0, "zoom": 1.0}.items():
        ours, theirs = ([getattr(row.recipe, name) for row in rows] for rows in (some_are, all_are))
        assert all(one in (off, other) for one, other in zip(ours, theirs, strict=True))
        assert 0 < ours.count(off) < len(ours)
    assert [row.recipe.grid_px for row in some_are] == [row.recipe.grid_px for row in all_are]
    assert verify_dataset(tmp_path / "some", replay=True, source=small_source()).findings == ()
    assert "0 to 360 deg, 0.5 of the samples" in "\n".join(show_dataset(tmp_path / "some").lines())


@pytest.mark.parametrize("preset", ["nnunet2d", "fluorescence"])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_presets_with_operations_are_built_and_proven(
    preset: str, n_channels: int, tmp_path: Path, augpipe: Callable[..., Any]
) -> None:
    """Channels have numbers of their own, and strengths are measured in the stack's own gray levels."""
    images, labels = small_stack()
    folders = [
        write_folder(tmp_path / f"channel{k}", np.roll(images, 5 * k, axis=2), labels) for k in range(n_channels)
    ]
    files = [("--images", folder / IMAGES_FILE) for folder in folders]
    options = ("--preset", preset, "--n", 12, "--size", 40, "--gap", 1, "--out", tmp_path / "d")
    joined = ("--join", "channels") if n_channels > 1 else ()
    source = (*itertools.chain(*files), "--labels", folders[0] / LABELS_FILE, *joined)
    assert augpipe("build", *source, *options).code == 0
    assert augpipe("verify", tmp_path / "d", "--replay").code == 0
    span = float(np.ptp(np.percentile(images, (1, 99))))
    expected = preset_ranges(preset, gray_span=span, covered=False, n_channels=n_channels)
    assert open_dataset(tmp_path / "d").record.config.ranges == expected


def test_what_was_done_is_shown(dataset: Dataset) -> None:
    sheet = "\n".join(show_dataset(dataset).lines())
    assert set(STRENGTHS) == set(OPERATIONS) - {"color", "stain"}  # see test_colours_and_faults.py
    for name, (low, high) in STRENGTHS.items():
        text = rf"{name.rpartition('_')[2]} +{low:g} to {high:g}, 0.6 of the samples +\d+ of 12 \("
        assert re.search(text, sheet), sheet
    facts = " ".join(fact for row in dataset.rows() for fact in _row_facts(row, several_stacks=False))
    assert all(f"{name.replace('_', ' ')} " in facts for name in STRENGTHS)
    row = next(row for row in dataset.rows() if row.recipe.noise)
    assert re.search(r"noise +[\d.]+ s\.d\.", "\n".join(show_sample(dataset, row.id).lines()))
