"""Plain splits: the slices' own pixels in tiles, each counted once, beside splits that stay as they are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from small_worlds import (
    OPTIONS,
    build_small,
    digest_rows,
    digests,
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

from augment.renderer import render
from pipeline.audit.auditing import audit_dataset
from pipeline.build.builder import build_dataset
from pipeline.build.rebuild import rebuild_dataset
from pipeline.build.workspace import Workspace
from pipeline.cli import build_choices
from pipeline.errors import ConfigError
from pipeline.plan.split import Assignment
from pipeline.plan.tiles import count_plain_samples
from pipeline.shards.config import BuildConfig
from pipeline.shards.dataset import Dataset
from pipeline.shards.manifest import ManifestRow
from pipeline.shards.record import ShardRecord
from pipeline.source.combining import combine, make_source
from pipeline.source.phantom import make_phantom
from pipeline.source.readers import read_folder
from pipeline.source.stacks import RawStack, Source
from pipeline.verify.verification import verify_dataset

Run = Callable[..., Any]


def counted_pixels(dataset: Dataset, split: str, source: Source) -> dict[tuple[int, int], NDArray[np.int64]]:
    """Return how often each pixel of each slice of a split counts, having held those that do against the source's."""
    images, labels, masks = dataset[split].images, dataset[split].labels, dataset[split].masks
    assert masks is not None
    counts: dict[tuple[int, int], NDArray[np.int64]] = {}
    for k, row in enumerate(dataset[split].manifest):
        stack = source.stacks[row.stack]
        mask = masks[k] == 1
        rows, columns = (np.argwhere(mask) + np.array(row.recipe.slice_corner(stack.slice_size))).T
        assert images[k][mask].tobytes() == stack.images[row.z][rows, columns].tobytes()
        assert np.array_equal(labels[k][mask], stack.labels[row.z][rows, columns])
        count = counts.setdefault((row.stack, row.z), np.zeros(stack.slice_size, np.int64))
        count[rows, columns] += 1
    return counts


def rows_of(dataset: Dataset, split: str) -> list[ManifestRow]:
    return list(dataset[split].manifest)


@pytest.mark.parametrize("window", [(40, 36), (30, 100), (80, 90)])
def test_a_plain_test_is_the_source_and_train_stays_as_it_is(tmp_path: Path, window: tuple[int, int]) -> None:
    usual = build_small(tmp_path / "usual", size=window, val=0.1).dataset
    plain = build_small(tmp_path / "plain", size=window, val=0.1, plain=("test",)).dataset
    assert usual is not None
    assert plain is not None
    for split in ("train", "val"):
        assert rows_of(plain, split) == rows_of(usual, split)
    counts = counted_pixels(plain, "test", small_source())
    assert {z for _, z in counts} == {z for part in plain.record.split.slices["test"] for z in part.z}
    assert all((count == 1).all() for count in counts.values())
    assert plain.record.arrays.masks == ("test",)
    assert plain.record.split.samples["test"] == len(plain["test"]) == plain.n - len(plain["train"]) - len(plain["val"])
    assert (plain["train"].masks, plain.record.schema) == (None, "augpipe/dataset/2")
    assert verify_dataset(plain, source=small_source()).findings == ()


def test_stacks_of_several_sizes_are_copied_whole(tmp_path: Path) -> None:
    """Stacks of several sizes, instances, weights: bytes of the source, and weights where pixels count alone."""
    rng = np.random.default_rng(0)
    stacks = []
    for size in ((40, 40), (52, 60), (90, 30)):
        ids = np.kron(rng.integers(1, 300, (6, 9, 6)), np.ones((1, 10, 10), int))[:, : size[0], : size[1]]
        stacks.append((rng.integers(0, 60000, (6, *size)).astype(np.uint16), ids.astype(np.uint16)))
    source = combine([RawStack(*stack) for stack in stacks], name="several", label_kind="instances")
    config = small_config(size=(70, 40), plain=("val", "test"), val=0.2, margin="own", weights="unet2015", gap=0)
    dataset = build_dataset(source, config, out=tmp_path / "d", jobs=2).dataset
    assert dataset is not None
    for split in ("val", "test"):
        weights, masks = dataset[split].weights, dataset[split].masks
        counts = counted_pixels(dataset, split, source)
        assert all((count == 1).all() for count in counts.values())
        assert {stack for stack, _ in counts} == {0, 1, 2}
        assert weights is not None
        assert masks is not None
        assert not weights[:][masks[:] == 0].any()
    assert verify_dataset(dataset, source=source).findings == ()


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_channels_and_reals_are_copied(tmp_path: Path, dtype: str) -> None:
    rng = np.random.default_rng(1)
    images = (rng.random((8, 30, 45, 3)) * 200).astype(dtype)
    labels = (rng.random((8, 30, 45)) > 0.5).astype(np.uint8)
    source = make_source(images, labels, name="colours", channels=("red", "green", "blue"))
    dataset = build_dataset(source, small_config(size=(16, 50), plain=("test",)), out=tmp_path / "d", jobs=1).dataset
    assert dataset is not None
    assert all((count == 1).all() for count in counted_pixels(dataset, "test", source).values())


def test_another_n_changes_no_plain_sample_and_other_jobs_no_byte(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"plain": ("test",), "margin": "mask"}
    few = build_small(tmp_path / "few", n=7, **changes).dataset
    many = build_small(tmp_path / "many", n=12, **changes).dataset
    assert few is not None
    assert many is not None
    assert rows_of(few, "test") == rows_of(many, "test")
    assert rows_of(few, "train") == rows_of(many, "train")[: len(few["train"])]
    build_dataset(small_source(), small_config(**changes), out=tmp_path / "jobs", jobs=3)
    assert digests(tmp_path / "many") == digests(tmp_path / "jobs")


def test_masks_tell_where_samples_show_mirror_images(tmp_path: Path) -> None:
    shared = build_small(tmp_path / "shared", size=(80, 90)).dataset
    masked = build_small(tmp_path / "mask", size=(80, 90), margin="mask").dataset
    ignored = build_small(tmp_path / "ignore", size=(80, 90), margin="ignore").dataset
    assert shared is not None
    assert masked is not None
    assert ignored is not None
    for split in ("train", "test"):
        masks = masked[split].masks
        assert masks is not None
        assert np.array_equal(masks[:] == 0, ignored[split].labels[:] == 255)
        assert np.array_equal(masked[split].labels[:], shared[split].labels[:])
        assert np.array_equal(masked[split].images[:], shared[split].images[:])


def test_a_killed_build_is_continued_and_an_unmasked_shard_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build_small(tmp_path / "whole", plain=("test",))
    real, made = Workspace.finish_shard, []

    def stop(workspace: Workspace, record: ShardRecord, *rest: Any) -> None:
        if record.split == "test":
            raise KeyboardInterrupt
        real(workspace, record, *rest)
        made.append(record.file)

    with monkeypatch.context() as patched:
        patched.setattr(Workspace, "finish_shard", stop)
        with pytest.raises(KeyboardInterrupt):
            build_small(tmp_path / "cut", plain=("test",))
    again = build_small(tmp_path / "cut", plain=("test",))
    assert made
    assert again.n_rendered == again.plan.counts["test"]
    assert digests(tmp_path / "cut") == digests(whole.out)


def tampered(folder: Path, change: Callable[[dict[str, NDArray[Any]]], None]) -> None:
    """Change arrays of the plain shard, and make every digest agree with them."""

    def write(file: h5py.File, arrays: dict[str, NDArray[Any]]) -> None:
        change(arrays)
        write_plainly(file, arrays)

    rewrite_shard(folder / "test-00000.h5", write)
    write_rows(folder, digest_rows(folder))
    seal(folder)


@pytest.mark.parametrize(
    ("name", "found"),
    [("images", "gives other pixels"), ("labels", "gives other pixels"), ("masks", "gives another mask")],
)
def test_a_replay_proves_that_the_bytes_are_the_source_s(tmp_path: Path, name: str, found: str) -> None:
    out = build_small(tmp_path / "d", plain=("test",)).out

    def change(arrays: dict[str, NDArray[Any]]) -> None:
        arrays[name][1, 3, 4] ^= 1

    tampered(out, change)
    assert verify_dataset(out).findings == ()
    (finding,) = verify_dataset(out, source=small_source()).findings
    assert found in finding


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (lambda row: row["recipe"].update(scored=[0, 0, 5, 36]), "is not the sample that the seed and the split"),
        (lambda row: row["recipe"].pop("scored"), "is not the sample that the seed and the split"),
        (lambda row: row["recipe"].update(shift_px=[0.5, 0.0]), "is not the sample that the seed and the split"),
        (lambda row: row.pop("mask_sha256"), "lacks the digest of its mask"),
    ],
)
def test_records_of_plain_samples_are_worked_out_again(
    tmp_path: Path, edit: Callable[[dict[str, Any]], Any], found: str
) -> None:
    out = build_small(tmp_path / "d", plain=("test",)).out
    rows = read_rows(out)
    edit(rows[-1])
    write_rows(out, rows)
    assert any(found in finding for finding in verify_dataset(out).findings)


def test_a_lock_of_a_plain_dataset_is_rebuilt_and_its_audit_is_clean(tmp_path: Path) -> None:
    images, labels = small_stack()
    folder = write_folder(tmp_path / "small", images, labels)
    out = build_small(tmp_path / "d", plain=("test",), margin="mask", n=24).out
    again = rebuild_dataset(out, tmp_path / "again", source_folder=folder, jobs=1)
    assert digests(again.out) == digests(out)
    report = audit_dataset(out, source_folder=folder, gap=1, jobs=1)
    assert (report.exit_code, report.findings) == (0, ())


def test_what_cannot_be_plain_is_refused(augpipe: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="plain: expected the splits val and test, got 'train'"):
        BuildConfig(plain=("train",))
    folder = write_folder(tmp_path / "small", *small_stack())
    code, _, err = augpipe("build", folder, *OPTIONS, "--plain-val", "--out", tmp_path / "d")
    line = "plain-val: no slice is in val; hold some out with --val, or leave out --plain-val"
    assert (code, err.count("\n")) == (2, 1)
    assert line in err
    with pytest.raises(ConfigError, match="size: ids have room for 10000000 samples a slice"):
        count_plain_samples(
            BuildConfig(size=(2, 2), plain=("test",)), Assignment((("test",),)), [(9000, 9000)], {"test": 1}
        )


def test_a_preset_may_be_plain_unless_it_is_switched_off(
    augpipe: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is held out, a preset's wish for plain tests is void; the user's own is an error."""
    folder = write_folder(tmp_path / "small", *small_stack())
    monkeypatch.setattr(build_choices, "PRESET_OPTIONS", {"strong": {"plain_test": True}})

    def plain(*arguments: str) -> list[str]:
        code, out, err = augpipe("build", folder, *OPTIONS, *arguments, "--dry-run", "--json", "-")
        assert code == 0, err
        return list(json.loads(out)["plain"])

    assert plain() == plain("--preset", "strong", "--no-plain-test") == plain("--preset", "strong", "--test", "0") == []
    assert plain("--preset", "strong") == plain("--plain-test") == ["test"]


def test_show_card_and_preview_say_what_is_not_augmented(augpipe: Run, tmp_path: Path) -> None:
    out = build_small(tmp_path / "d", plain=("test",), size=(50, 50)).out
    shown = augpipe("show", out).out
    assert "12 samples, plain: the slices' own pixels in tiles" in " ".join(shown.split())
    assert "of test: which pixels count" in shown
    sample = augpipe("show", out, "s000-z00009-r0000003").out
    assert "the slice's own pixels, not augmented" in sample
    assert "rows 36 to 49, columns 28 to 49 of the window" in sample
    code, _, err = augpipe("card", out, "--quiet")
    assert code in (0, 1), err
    readme = (out / "card" / "README.md").read_text(encoding="utf-8")
    assert "Those of test are not augmented: they are the slices' own pixels." in readme
    assert "`/images`, `/labels`, `/masks` (N, height, width)" in readme
    lines = (out / "card" / "index.csv").read_text(encoding="utf-8").splitlines()
    assert {line.count(",") for line in lines} == {lines[0].count(",")}
    assert lines[1].endswith(",")
    assert "augmented as training samples are" not in readme


def test_neighbours_are_copied_at_the_same_place(tmp_path: Path) -> None:
    dataset = build_small(tmp_path / "d", plain=("test",), context=1, gap=0, test=0.3).dataset
    assert dataset is not None
    (stack,) = small_source().stacks
    for image, row in zip(dataset["test"].images, dataset["test"].manifest, strict=True):
        assert row.recipe.scored is not None
        top, left = row.recipe.slice_corner(stack.slice_size)
        for z, channel in zip((row.context[0].z, row.z, row.context[1].z), range(3), strict=True):
            assert np.array_equal(image[..., channel], stack.images[z][top : top + 40, left : left + 36])
    assert verify_dataset(dataset, source=small_source()).findings == ()


def test_a_test_slice_among_training_samples_is_found(tmp_path: Path) -> None:
    """Tiles are held against what was trained on, as any samples are: by the source, and from the pixels alone."""
    world = write_folder(tmp_path / "world", *make_phantom((14, 192, 192), seed=3))
    source, config = read_folder(world), BuildConfig(n=8, size=(160, 160), gap=1, test=0.25, plain=("test",))
    dataset = build_dataset(source, config, out=tmp_path / "d", jobs=2).dataset
    assert dataset is not None
    report = audit_dataset(dataset.folder, gap=1, jobs=2)
    assert (report.outcome, report.coverage.proven) == ("CLEAN", dataset.n)
    row, z = dataset["train"].manifest[1], dataset["test"].manifest[0].z
    planted = render(source.stacks[0].images[z], source.stacks[0].labels[z], row.recipe).image

    def change(file: Any, arrays: dict[str, NDArray[Any]]) -> None:
        arrays["images"][row.row] = planted
        write_plainly(file, arrays)

    rewrite_shard(dataset.folder / row.shard, change)
    write_rows(dataset.folder, digest_rows(dataset.folder))
    seal(dataset.folder)
    assert audit_dataset(dataset.folder, gap=1, jobs=2).outcome == "LEAKAGE"
    (dataset.folder / "build-info.json").unlink()
    report = audit_dataset(dataset.folder, gap=1, jobs=2)
    assert report.outcome == "LEAKAGE"
    assert {each.sample for each in report.findings} & {row.id, *(tile.id for tile in dataset["test"].manifest)}
