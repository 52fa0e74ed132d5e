"""Datasets with colours changed, or with faults of sections: what is stored, refused, and what the audit says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_worlds import digests, small_config, small_source, small_stack, write_folder

from augment.operations.faults import is_hidden
from augment.presets import preset_ranges
from augment.ranges import AugmentRanges
from pipeline import read_folder
from pipeline.audit.auditing import audit_dataset
from pipeline.build.builder import build_dataset
from pipeline.errors import ConfigError
from pipeline.plan.plan import make_plan
from pipeline.shards.dataset import Dataset
from pipeline.source.combining import make_source
from pipeline.source.phantom import make_phantom
from pipeline.source.stacks import Source
from pipeline.verify.verification import verify_dataset

IGNORED = 255
FAULTY = AugmentRanges(defects=(2.0, 5.0))


def build(out: Path, source: Source, jobs: int = 1, **options: Any) -> Dataset:
    dataset = build_dataset(source, small_config(**options), out=out, jobs=jobs).dataset
    assert dataset is not None
    return dataset


def coloured(dtype: type = np.uint8, n_channels: int = 3) -> Source:
    images, labels = small_stack()
    scale = 1 if dtype == np.uint8 else 257
    channels = [np.roll(images, 5 * k, axis=2).astype(dtype) * scale for k in range(n_channels)]
    return make_source(np.stack(channels, axis=-1), labels, name="small")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colours_and_dyes_change_images_alone_and_are_proven(tmp_path: Path, dtype: type) -> None:
    source = coloured(dtype)
    ranges = AugmentRanges(color=(0.1, 0.2), stain=(0.05, 0.2))
    dataset, plain = build(tmp_path / "d", source, ranges=ranges), build(tmp_path / "plain", source)
    for one, other in zip(dataset["train"], plain["train"], strict=True):
        assert np.array_equal(one.label, other.label)
        assert not np.array_equal(one.image, other.image)
    proof = verify_dataset(dataset, replay=True, source=source)
    assert (proof.findings, proof.n_replayed) == ((), dataset.record.n)
    build(tmp_path / "threads", source, jobs=3, ranges=ranges)
    assert digests(tmp_path / "threads") == digests(tmp_path / "d")


@pytest.mark.parametrize(
    ("source", "ranges", "words"),
    [
        (small_source, AugmentRanges(color=(0, 0.1)), "color: expected images of red, green and blue, got one channel"),
        (small_source, preset_ranges("he-stain"), "stain: .* got one channel; leave it out, or use another preset"),
        (lambda: coloured(n_channels=2), AugmentRanges(stain=(0, 0.1)), "stain: .* got the channels 0, 1"),
        (lambda: coloured(np.float32), AugmentRanges(stain=(0, 0.1)), "stain: .* of uint8 or uint16, got float32"),
    ],
)
def test_colours_are_for_images_that_have_them(source: Any, ranges: AugmentRanges, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_plan(source(), small_config(ranges=ranges))


def test_labels_say_nothing_where_a_fault_hides_the_tissue_and_what_is_shown_elsewhere(tmp_path: Path) -> None:
    dataset = build(tmp_path / "d", small_source(), ranges=FAULTY, weights="unet2015")
    assert dataset.record.arrays.ignore == IGNORED
    kinds = set()
    for split in (dataset["train"], dataset["test"]):
        assert split.weights is not None
        for sample, recipe, weights in zip(split, split.recipes, split.weights[:], strict=True):
            assert recipe.defects is not None
            hidden = is_hidden(recipe.defects, recipe.window)
            hidden = np.zeros(recipe.window, bool) if hidden is None else hidden
            assert np.array_equal(sample.label == IGNORED, hidden)
            assert np.array_equal(weights == 0, hidden)
            kinds.add(recipe.defects.kind)
    assert kinds == {"missing", "spot", "fold", "jump"}
    proof = verify_dataset(dataset, replay=True, source=small_source())
    assert (proof.findings, proof.n_replayed) == ((), dataset.record.n)


def test_ids_that_stand_for_what_is_ignored_are_refused() -> None:
    images, labels = small_stack()
    full = (np.arange(labels.size).reshape(labels.shape) + 65536 - labels.size).astype(np.uint16)
    for margin, words in (
        ("shared", "defects: .* or switch it off with --defects 0 0"),
        ("own", "margin own: .* or use margin shared"),
    ):
        with pytest.raises(ConfigError, match=f"{words}$"):
            make_plan(make_source(images, full, name="full"), small_config(ranges=FAULTY, margin=margin))


def test_the_audit_knows_slices_by_what_a_fault_leaves(tmp_path: Path) -> None:
    """Every sample has one here."""
    write_folder(tmp_path / "source", *make_phantom((8, 256, 256), seed=3))
    source = read_folder(tmp_path / "source")
    ranges = replace(preset_ranges("em-defects", covered=False), probability={})
    dataset = build(tmp_path / "d", source, jobs=2, n=8, size=(224, 224), ranges=ranges)
    report = audit_dataset(dataset, source_folder=tmp_path / "source", gap=1, jobs=2)
    assert (report.outcome, report.findings) == ("CLEAN", ())


def test_the_neighbours_of_a_faulty_section_are_whole(tmp_path: Path) -> None:
    faulty, plain = (
        build(tmp_path / name, small_source(), ranges=ranges, context=1)["train"]
        for name, ranges in (("faulty", FAULTY), ("plain", AugmentRanges()))
    )
    for one, other in zip(faulty, plain, strict=True):
        assert np.array_equal(one.image[..., ::2], other.image[..., ::2])
        assert not np.array_equal(one.image[..., 1], other.image[..., 1])
