"""Stacks of several channels: built, stored, verified, audited and shown, each channel as if it were alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from small_worlds import digests, small_config, small_stack

from augment.draw import draw_recipe
from augment.ranges import AugmentRanges
from augment.recipe import Recipe
from augment.renderer import render
from augment.seeding import Stream
from pipeline.audit.auditing import audit_folders
from pipeline.audit.pixel_checks import check_pixels
from pipeline.audit.report import Skip
from pipeline.audit.samples.audited_samples import DatasetSamples
from pipeline.audit.search.slice_identification import SliceIdentifier
from pipeline.build.builder import build_dataset
from pipeline.errors import ConfigError, RecipeError
from pipeline.look.fact_sheet import show_sample
from pipeline.look.preview import preview_dataset
from pipeline.plan.plan import make_plan
from pipeline.shards.config import BuildConfig
from pipeline.shards.dataset import Dataset
from pipeline.source.combining import make_source
from pipeline.source.phantom import make_phantom
from pipeline.source.stacks import Source
from pipeline.verify.verification import verify_dataset

KINDS = {"rgb": (np.uint8, 3), "four of 16 bits": (np.uint16, 4), "two of floats": (np.float32, 2)}


def channels_of(kind: str) -> NDArray[Any]:
    """Return images (Z, Y, X, C) whose channels differ."""
    images, _ = small_stack()
    dtype, n_channels = KINDS[kind]
    scale = 1 if dtype == np.uint8 else 257
    return np.stack([np.roll(images, 5 * c, axis=2).astype(dtype) * scale for c in range(n_channels)], axis=-1)


def source_of(kind: str) -> Source:
    return make_source(channels_of(kind), small_stack()[1], name="small")


def build(source: Source, out: Path, **options: Any) -> Dataset:
    dataset = build_dataset(source, small_config(**options), out=out, jobs=2).dataset
    assert dataset is not None
    return dataset


@pytest.mark.parametrize("kind", KINDS)
def test_each_channel_is_stored_as_if_it_were_alone(kind: str, tmp_path: Path) -> None:
    source, images = source_of(kind), channels_of(kind)
    together = build(source, tmp_path / "together")
    assert together.record.arrays.channels == source.stacks[0].channels
    assert together["train"].images.shape == (9, *small_config().size, images.shape[3])
    assert verify_dataset(together, replay=True, source=source).findings == ()
    for c in range(images.shape[3]):
        alone = build(make_source(images[..., c], small_stack()[1], name="small"), tmp_path / str(c))
        for split in together:
            assert np.array_equal(together[split].images[:][..., c], alone[split].images[:])
            assert np.array_equal(together[split].labels[:], alone[split].labels[:])


def test_the_same_build_gives_the_same_bytes_with_any_number_of_threads(tmp_path: Path) -> None:
    one = build_dataset(source_of("rgb"), small_config(), out=tmp_path / "one", jobs=1).out
    three = build_dataset(source_of("rgb"), small_config(), out=tmp_path / "three", jobs=3).out
    assert digests(one) == digests(three)


def test_the_compared_engine_knows_channels(tmp_path: Path) -> None:
    upright = AugmentRanges(rotate_deg=(0.0, 0.0))  # turned, the staged one interpolates twice
    fused, staged = (
        build(source_of("rgb"), tmp_path / engine, engine=engine, ranges=upright) for engine in ("fused", "staged")
    )
    assert fused["test"].images.shape == staged["test"].images.shape
    difference = np.abs(fused["test"].images[:].astype(int) - staged["test"].images[:])
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.01


def test_channels_have_names() -> None:
    images, labels = channels_of("four of 16 bits"), small_stack()[1]
    assert make_source(images, labels, name="x").stacks[0].channels == ("0", "1", "2", "3")
    assert make_source(images[..., :3], labels, name="x").stacks[0].channels == ("red", "green", "blue")
    named = make_source(images[..., :2], labels, name="x", channels=("dapi", "gfp"))
    assert named.inputs[0].images.channels == ("dapi", "gfp")
    for wrong, why in {("dapi",): "names of the 2 channels", ("a", "a"): "2 to 32 different names"}.items():
        with pytest.raises(ConfigError, match=why):
            make_source(images[..., :2], labels, name="x", channels=wrong)
    with pytest.raises(ConfigError, match="2 to 32"):
        make_source(images[..., :1], labels, name="x")


def test_stacks_of_other_channels_do_not_go_together() -> None:
    from pipeline.source.combining import combine
    from pipeline.source.stacks import RawStack

    images, labels = channels_of("rgb"), small_stack()[1]
    colour = RawStack(images, labels, channels=("red", "green", "blue"))
    gray = RawStack(images[..., 0], labels)
    with pytest.raises(ConfigError, match="gray, without channels, but images has red, green, blue"):
        combine([colour, gray], name="x")


def test_a_preview_is_in_colour(tmp_path: Path) -> None:
    dataset = build(source_of("rgb"), tmp_path / "d")
    sheet = np.array(Image.open(preview_dataset(dataset).path).convert("RGB")).astype(int)
    colourful = np.ptp(sheet[150:], axis=2) > 60
    assert colourful.mean() > 0.1


@pytest.fixture(scope="module")
def colour_set(tmp_path_factory: pytest.TempPathFactory) -> tuple[Source, Dataset]:
    """Return a set of slices large enough for features; one channel is another's negative, so that a mean is flat."""
    images, labels = make_phantom((8, 256, 256), seed=3)
    colour = np.stack([images, 255 - images, images // 2], axis=-1)
    source = make_source(colour, labels, name="colour")
    config = BuildConfig(n=8, size=(256, 256), gap=1, test=0.25)
    dataset = build_dataset(source, config, out=tmp_path_factory.mktemp("colour") / "d").dataset
    assert dataset is not None
    return source, dataset


def test_an_audit_sees_in_colours_which_slice_a_sample_shows(colour_set: tuple[Source, Dataset]) -> None:
    source, dataset = colour_set
    slices = SliceIdentifier([source.stacks[0].images], None, independent=False, gap=1)
    samples = DatasetSamples(dataset)
    for row in dataset.rows():
        samples.add(row)
    audited = samples.gathered()
    checked = check_pixels(audited, slices, Skip("not run", ""), proven=(), allow_unknown=False, jobs=2, progress=None)
    assert checked.findings == []
    assert checked.coverage.identified == 8
    moved = replace(audited, samples=tuple(replace(each, split="test", claimed=None) for each in audited.samples[:2]))
    leaking = check_pixels(
        replace(moved, owners=audited.owners),
        slices,
        Skip("not run", ""),
        proven=(),
        allow_unknown=False,
        jobs=2,
        progress=None,
    )
    assert {finding.check for finding in leaking.findings} >= {"P002"}


def test_the_same_tissue_in_colour_pictures_of_a_folder_is_found(
    colour_set: tuple[Source, Dataset], tmp_path: Path
) -> None:
    source, dataset = colour_set
    for split, index in (("train", 0), ("test", 0)):
        (tmp_path / split).mkdir()
        Image.fromarray(dataset[split].images[index]).save(tmp_path / split / "x.png")
    assert audit_folders({split: tmp_path / split for split in ("train", "test")}).findings == ()
    Image.fromarray(dataset["train"].images[0][::-1, ::-1]).save(tmp_path / "test" / "y.png")
    found = audit_folders(
        {split: tmp_path / split for split in ("train", "test")}, [source.stacks[0].images], independent=True
    ).findings
    assert {"P002"} <= {finding.check for finding in found}


GRAY = AugmentRanges(gain=(0.5, 1.5), bias=(-20.0, 20.0))


def test_every_channel_may_have_a_gain_and_a_bias_of_its_own(tmp_path: Path) -> None:
    source = source_of("rgb")
    common = build(source, tmp_path / "common", ranges=GRAY)
    own = build(source, tmp_path / "own", ranges=replace(GRAY, per_channel=True))
    assert (common["train"].labels[:] == own["train"].labels[:]).all()
    assert (common["train"].images[:][..., 0] == own["train"].images[:][..., 0]).all(), "the first keeps its own"
    for recipe, plain in zip(own["train"].recipes, common["train"].recipes, strict=True):
        assert len({*recipe.gray}) == 3
        assert replace(recipe, gray=()) == plain
    recipe, sample = own["test"].recipes[0], own["test"].images[0]
    row = own["test"].manifest[0]
    for c, (gain, bias) in enumerate(recipe.gray):
        alone = replace(recipe, gray=(), gain=gain, bias=bias)
        image, label = (stack[row.z] for stack in (source.stacks[0].images[..., c], source.stacks[0].labels))
        assert np.array_equal(render(image, label, alone).image, sample[..., c])
    assert verify_dataset(own, replay=True, source=source).findings == ()
    assert own.record.schema == "augpipe/dataset/2"
    assert "gain" in str(show_sample(own, own["test"].ids[0]).lines())


def test_gray_levels_of_another_number_of_channels_are_refused() -> None:
    with pytest.raises(ConfigError, match="per-channel: the images have one channel"):
        make_plan(make_source(*small_stack(), name="x"), small_config(ranges=replace(GRAY, per_channel=True)))
    recipe = draw_recipe(replace(GRAY, per_channel=True), Stream(0, ()), window=(8, 8), slice_size=(8, 8), n_channels=2)
    assert Recipe.from_json(recipe.to_json()) == recipe
    with pytest.raises(RecipeError, match="2 channels, the image has 3"):
        render(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8), recipe)
    with pytest.raises(RecipeError, match="pairs of gain and bias"):
        replace(recipe, gray=((9.0, 9.0), *recipe.gray[1:]))
