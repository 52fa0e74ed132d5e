"""Samples that show the neighbours of their slices: each as if it were alone, and none of them in two splits."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from small_worlds import (
    digest_rows,
    digests,
    inputs_of,
    read_rows,
    rewrite_shard,
    seal,
    small_config,
    small_source,
    small_stack,
    write_folder,
    write_plainly,
    write_rows,
)

import pipeline.plan.plan
from augment.ranges import AugmentRanges
from augment.renderer import render
from pipeline.audit.auditing import audit_dataset
from pipeline.audit.split_checks import split_check
from pipeline.build.builder import build_dataset
from pipeline.build.rebuild import rebuild_dataset
from pipeline.card.folder import write_card
from pipeline.errors import ConfigError
from pipeline.look.fact_sheet import show_dataset, show_sample
from pipeline.look.preview import preview_dataset
from pipeline.plan.plan import PlannedSample, make_plan, plan_from_inputs
from pipeline.shards.config import BuildConfig
from pipeline.shards.context import channel_names, neighbours, slice_channels
from pipeline.shards.dataset import Dataset, open_dataset
from pipeline.shards.provenance import SourceFacts
from pipeline.source.combining import make_source
from pipeline.source.phantom import make_phantom
from pipeline.source.readers import read_folder
from pipeline.source.stacks import Source
from pipeline.verify.verification import verify_dataset

Run = Callable[..., Any]


def colour_source() -> Source:
    images, labels = small_stack()
    return make_source(np.stack([images, 255 - images, images // 2], axis=-1), labels, name="small")


def build(source: Source, out: Path, **options: Any) -> Dataset:
    dataset = build_dataset(source, small_config(**options), out=out, jobs=2).dataset
    assert dataset is not None
    return dataset


# What is shown


@pytest.mark.parametrize("reach", [1, 2])
@pytest.mark.parametrize("make", [small_source, colour_source], ids=["gray", "colour"])
def test_every_slice_is_shown_as_if_it_were_alone(make: Callable[[], Source], reach: int, tmp_path: Path) -> None:
    source = make()
    noise = {"noise": (3.0, 9.0), "probability": {"noise": 0.7}}
    ranges = AugmentRanges(gain=(0.8, 1.2), per_channel=make is colour_source, **noise)
    dataset = build(source, tmp_path / "d", context=reach, gap=0, ranges=ranges)
    plain = make_plan(source, small_config(gap=0, ranges=ranges))
    images, labels = source.stacks[0].images, source.stacks[0].labels
    for split in dataset:
        stored = dataset[split]
        for row, image, label in zip(stored.manifest, stored.images, stored.labels, strict=True):
            before, after = row.context[:reach], row.context[reach:]
            shown = [*(each.z for each in before), row.z, *(each.z for each in after)]
            for offset, z in zip(range(-reach, reach + 1), shown, strict=True):
                alone = render(images[z], labels[z], row.recipe.beside(z - row.z))
                assert np.array_equal(slice_channels(image, reach, offset), alone.image)
                assert z == row.z + offset or not 0 <= row.z + offset < len(images)
            assert np.array_equal(label, render(images[row.z], labels[row.z], row.recipe).label)
            sample = PlannedSample(split, row.shard, row.row, row.stack, row.z, row.replicate)
            assert plain.recipe(sample) == row.recipe, "it does not depend on what is shown beside"
    assert verify_dataset(dataset, replay=True, source=source).findings == ()


def test_no_two_slices_have_the_same_noise() -> None:
    """A network would learn to subtract them from each other."""
    source = make_source(np.full((8, 64, 64), 128, np.uint8), small_stack()[1][:8, :64, :64], name="even")
    recipe = make_plan(source, small_config(gap=0, ranges=AugmentRanges(noise=(9.0, 9.0)))).recipe(
        PlannedSample("train", "train-00000.h5", 0, 0, 1, 0)
    )
    even = source.stacks[0].images[0], source.stacks[0].labels[0]
    planes = [render(*even, recipe.beside(distance)).image.astype(float) for distance in (-1, 0, 1)]
    likeness = np.corrcoef([plane.ravel() for plane in planes])
    assert np.abs(likeness[np.triu_indices(3, 1)]).max() < 0.1
    assert [round(plane.std()) for plane in planes] == [9, 9, 9]


def test_a_stack_is_mirrored_where_it_ends() -> None:
    assert neighbours(inputs_of(4), 0, 1) == (1, 1)
    assert neighbours(inputs_of(4), 3, 2) == (1, 2, 2, 1)
    assert neighbours(inputs_of(2), 1, 3) == (0, 1, 0, 0, 1, 0)
    assert neighbours(inputs_of(5, groups=("a", "a", "b", "b", "b")), 2, 1) == (3, 3), "another patient is no neighbour"
    assert neighbours(inputs_of(4, sequence=(0, 1, 7, 8)), 1, 2) == (1, 0, 0, 1)
    boxes = ((0, 0, 0), (1, 0, 0), (0, 0, 50), (1, 0, 50))
    assert neighbours(inputs_of(4, boxes=boxes), 2, 1) == (3, 3), "the box before it is another place"
    assert neighbours(inputs_of(3), 1, 0) == ()


def test_channels_are_called_after_their_slices() -> None:
    assert channel_names(None, 1) == ("z-1", "z", "z+1")
    assert channel_names(("red", "blue"), 1) == ("red z-1", "blue z-1", "red z", "blue z", "red z+1", "blue z+1")
    assert channel_names(("red", "blue"), 0) == ("red", "blue")
    assert channel_names(None, 0) is None


def test_the_same_bytes_with_any_number_of_threads_and_after_a_rebuild(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "small", *small_stack())
    source = read_folder(folder)
    for jobs in (1, 3):
        build_dataset(source, small_config(context=1), out=tmp_path / str(jobs), jobs=jobs)
    assert digests(tmp_path / "1") == digests(tmp_path / "3")
    again = rebuild_dataset(tmp_path / "1", tmp_path / "again", source_folder=folder, jobs=1)
    assert again.outcome == "built"
    assert digests(tmp_path / "1") == digests(tmp_path / "again")


def test_the_compared_engine_knows_neighbours(tmp_path: Path) -> None:
    upright = AugmentRanges(rotate_deg=(0.0, 0.0))
    fused, staged = (
        build(small_source(), tmp_path / engine, engine=engine, ranges=upright, context=1)
        for engine in ("fused", "staged")
    )
    assert np.abs(fused["test"].images[:].astype(int) - staged["test"].images[:]).max() <= 1


def test_labels_of_neighbours_decide_nothing(tmp_path: Path) -> None:
    """The id that stands for what is ignored, and every id that a margin could give, may be in use beside."""
    images, labels = small_stack()
    ids = (labels > 0).astype(np.uint16)
    ids[0, 0, 0] = 65535
    source = make_source(images, ids, name="x", label_kind="instances")
    config = small_config(context=1, test=0.0)
    plan = make_plan(source, config)
    assert plan.context(next(iter(plan.samples(next(plan.shards()))))) == (1, 1)
    assert build(source, tmp_path / "d", context=1).n == 12


# What is refused


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"independent": True}, "fields of view, which have no neighbours"),
        ({"context": 9}, "from 0 to 8"),
        ({"split": "explicit", "picture": ("TTTTTTTTT.EE",)}, "train and of test would both show slice"),
        ({"context": 5, "gap": 0, "test": 0.5}, "no slice of 12 is left for train"),
    ],
)
def test_a_context_without_meaning_is_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why) as refused:
        make_plan(small_source(), small_config(**{"context": 1, **options}))
    assert "\n" not in str(refused.value)


def test_slices_without_a_neighbour_and_too_many_channels_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"slice 0 of stack 0 has no neighbour to show"):
        make_plan(small_source(depth=1), small_config(context=1, test=0.0))
    with pytest.raises(ConfigError, match=r"17 slices of 3 channels are 51, an image may have 32"):
        make_plan(colour_source(), small_config(context=8, test=0.0))


def test_the_command_says_it_in_one_line(folder: Path, augpipe: Run, tmp_path: Path) -> None:
    code, _, err = augpipe("build", folder, "--context", 1, "--independent", "--out", tmp_path / "d")
    assert (code, len(err.splitlines())) == (2, 1)
    assert not (tmp_path / "d").exists()


def test_what_is_advised_can_be_done_with_a_context(augpipe: Run, folder: Path) -> None:
    [stack] = small_source().inputs
    with_groups = replace(stack, groups=tuple(f"p{z % 3}" for z in range(12)))
    with pytest.raises(ConfigError, match="use a smaller gap or context or other fractions") as refused:
        plan_from_inputs(small_config(context=1), "small", [with_groups], small_source().facts)
    assert "--independent" not in str(refused.value)
    code, out, _ = augpipe("build", folder, "--context", 2, "--gap", 3, "--n", 4, "--size", 16, "--dry-run")
    assert (code, "--split block" in out) == (0, False)
    assert "a smaller --gap or a smaller --context loses fewer" in out


def test_the_audit_advises_a_gap_between_slices_and_not_between_what_is_shown(tmp_path: Path) -> None:
    picture = small_config(split="explicit", picture=("TTTTTTTT..EE",), test=0.0, gap=0, context=1)
    dataset = build_dataset(small_source(), picture, out=tmp_path / "d", jobs=1).dataset
    assert dataset is not None
    report = audit_dataset(dataset.folder, gap=3, jobs=1, manifest_only=True)
    [near] = [each for each in report.findings if each.check == "M004"]
    assert "leave 5 slices between two splits in neither (augpipe build --gap 3" in near.advice


# No slice in two splits


@given(
    split=st.sampled_from(["block", "random", "kfold"]),
    reach=st.integers(1, 3),
    gap=st.integers(0, 3),
    seed=st.integers(0, 99),
    depths=st.lists(st.integers(2, 40), min_size=1, max_size=3),
    val=st.sampled_from([0.0, 0.2]),
)
def test_the_gap_counts_from_the_outermost_slices_that_are_shown(
    split: str, reach: int, gap: int, seed: int, depths: list[int], val: float
) -> None:
    config = small_config(split=split, gap=gap, seed=seed, context=reach, val=val, n=100)
    inputs = [inputs_of(depth) for depth in depths]
    try:
        plan = plan_from_inputs(config, "x", inputs, SourceFacts(title="x"))
    except ConfigError:
        assume(False)
        raise
    shown: dict[str, set[tuple[int, int]]] = {}
    for shard in plan.shards():
        for sample in plan.samples(shard):
            shown.setdefault(sample.split, set()).update((sample.stack, z) for z in (sample.z, *plan.context(sample)))
    distances = [
        abs(z - other_z)
        for one, places in shown.items()
        for other, other_places in shown.items()
        for stack, z in places
        for other_stack, other_z in other_places
        if one != other and stack == other_stack
    ]
    assert all(distance > gap for distance in distances)
    assert plan.shown.gap is None or plan.shown.gap >= gap


# The audit

DEPTH, SIDE = 14, 192
WORLD = BuildConfig(n=8, size=(SIDE, SIDE), gap=1, test=0.25, context=1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with slices that are large enough to be recognised."""
    return write_folder(tmp_path_factory.mktemp("context") / "world", *make_phantom((DEPTH, SIDE, SIDE), seed=3))


@pytest.fixture(scope="module")
def honest(world: Path) -> Path:
    return build_dataset(read_folder(world), WORLD, out=world.parent / "honest", jobs=2).out


def test_an_honest_dataset_is_clean_with_its_source_and_without(honest: Path, tmp_path: Path) -> None:
    report = audit_dataset(honest, gap=1, jobs=2)
    assert (report.outcome, report.findings) == ("CLEAN", ())
    assert (report.coverage.total, report.coverage.proven) == (8, 8)
    shutil.copytree(honest, tmp_path / "d")
    (tmp_path / "d" / "build-info.json").unlink()
    report = audit_dataset(tmp_path / "d", gap=1, jobs=2)
    assert (report.outcome, report.coverage.compared) == ("CLEAN", 8)
    assert audit_dataset(honest, gap=3, jobs=2, manifest_only=True).findings != (), "what is shown is but 1 apart"


def plant(folder: Path, world: Path) -> str:
    """Show a test slice beside that of a training sample, with all digests to match; return the sample's id."""
    stack, dataset = read_folder(world).stacks[0], open_dataset(folder)
    row = dataset["train"].manifest[2]
    z = dataset["test"].manifest[0].z
    planted = render(stack.images[z], stack.labels[z], row.recipe).image

    def change(file: Any, arrays: dict[str, NDArray[Any]]) -> None:
        arrays["images"][row.row, ..., 2] = planted
        write_plainly(file, arrays)

    rewrite_shard(folder / row.shard, change)
    write_rows(folder, digest_rows(folder))
    seal(folder)
    return row.id


def test_a_test_slice_beside_a_training_slice_is_found(honest: Path, world: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(honest, tmp_path / "d"))
    sample = plant(folder, world)
    report = audit_dataset(folder, gap=1, jobs=2, source_folder=world)
    checks = {(each.check, each.sample) for each in report.findings}
    assert ("R001", sample) in checks
    assert ("P003", f"{sample} z+1") in checks
    assert "P002" in {check for check, _ in checks}
    assert report.outcome == "LEAKAGE"
    assert 0 < report.n_leaking["test"] <= 2
    (folder / "build-info.json").unlink()
    report = audit_dataset(folder, gap=1, jobs=2)
    assert "P007" in {each.check for each in report.findings}, "by the pixels alone"
    assert report.n_leaking["test"] <= 2


def test_a_dataset_that_counts_the_gap_wrongly_is_found(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything in it agrees with everything else, and every sample can be rendered again."""
    monkeypatch.setattr(BuildConfig, "own_gap", property(lambda config: config.gap))
    monkeypatch.setattr(pipeline.plan.plan, "shown_slices", lambda assignment, *_: assignment)
    folder = build_dataset(read_folder(world), replace(WORLD, gap=0, n=16), out=tmp_path / "d", jobs=2).out
    report = audit_dataset(folder, gap=0, jobs=2, source_folder=world)
    assert {each.check for each in report.findings} == {"M003", "M005", "P002"}
    assert report.coverage.proven == 16
    shared = [row["z"] for row in read_rows(folder) if row["split"] == "test" and row["z"] <= 11]
    assert report.n_leaking == {"test": len(shared)}
    by_name = split_check([folder / "manifest.jsonl"], gap=0)
    assert {each.check for each in by_name.findings} == {"M003", "M005"}
    nearer = split_check([folder / "manifest.jsonl"], gap=1)
    assert {each.check for each in nearer.findings} == {"M003", "M004", "M005"}


def test_a_manifest_that_names_other_neighbours_is_found(tmp_path: Path) -> None:
    dataset = build(small_source(), tmp_path / "d", context=1)
    rows = read_rows(dataset.folder)
    rows[3]["context"][0]["z"] = 9
    write_rows(dataset.folder, rows)
    seal(dataset.folder)
    assert any("is not the sample that" in each for each in verify_dataset(dataset.folder).findings)
    rows[3]["context"][0] |= {"z": 2, "sha256": "0" * 64}
    write_rows(dataset.folder, rows)
    seal(dataset.folder)
    replayed = verify_dataset(dataset.folder, source=small_source())
    assert [each for each in replayed.findings if "the digest of its slice 2 is not" in each]


# What people see


def test_people_are_told_and_shown_the_slice_in_the_middle(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "small", *small_stack())
    dataset = build(read_folder(folder), tmp_path / "d", context=1)
    assert "gap 1 between what is shown" in "\n".join(show_dataset(dataset).lines())
    assert "z-1, z, z+1" in "\n".join(show_dataset(dataset).lines())
    first = dataset["train"].manifest[0]
    assert "beside it    z 1, 1" in show_sample(dataset, first.id).lines()
    sheet = np.array(Image.open(preview_dataset(dataset).path).convert("RGB")).astype(int)
    assert np.ptp(sheet[150:], axis=2).mean() < 20, "slices are gray, not the colours of three"
    write_card(dataset.folder, gap=1, allow_unknown=True, jobs=1)
    text = (dataset.folder / "card" / "README.md").read_text()
    assert "(N, height, width, 3): z-1, z, z+1" in text.replace("\\", "")
    assert "the neighbour on either side" in text
    assert "counted from the outermost slices that are shown" in text
