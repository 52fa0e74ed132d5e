"""Samples come out as the shards hold them, and no slice is on both sides of a run."""

import json
import multiprocessing
import pickle
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from small_datasets import WINDOW, build_phantom, phantom_stack, read_rows, write_rows

from augment.weight_map import unet_weight_map
from pipeline.errors import ConfigError, DatasetError, exit_code
from pipeline.shards import open_dataset
from training.config import Weights
from training.dataset import ShardDataset
from training.division import Division, Slice, divide, hold_out, hold_out_fold


def slices(*zs: Iterable[int]) -> list[Slice]:
    """Return slices stack by stack."""
    return [Slice(stack, z) for stack, there in enumerate(zs) for z in there]


# Samples


def test_samples_are_those_of_the_shards(phantom_dataset: Path) -> None:
    data, split = ShardDataset(phantom_dataset, "train"), open_dataset(phantom_dataset)["train"]
    assert len(data) == 18
    assert (data.window, data.image_dtype, data.ids) == (WINDOW, np.uint8, split.ids)
    for sample, stored in zip(data, split, strict=True):
        assert set(sample) == {"image", "label"}
        assert np.array_equal(sample["image"], stored.image)
        assert np.array_equal(sample["label"], stored.label > 0)
        assert sample["label"].dtype == np.uint8
    assert {value for sample in data for value in np.unique(sample["label"])} == {0, 1}


def test_rows_choose_samples_in_their_order(phantom_dataset: Path) -> None:
    data, whole = ShardDataset(phantom_dataset, "train", [17, 3]), ShardDataset(phantom_dataset, "train")
    assert data.ids == (whole.ids[17], whole.ids[3])
    assert np.array_equal(data[0]["image"], whole[17]["image"])
    assert np.array_equal(data[1]["label"], whole[3]["label"])


def test_stored_weights_are_read_and_missing_ones_computed(phantom_dataset: Path, phantom_with_weights: Path) -> None:
    stored = ShardDataset(phantom_with_weights, "train", [0, 9], weights="unet2015")
    computed = ShardDataset(phantom_dataset, "train", [0, 9], weights="unet2015")
    for index, row in enumerate((0, 9)):
        held = open_dataset(phantom_with_weights)["train"].weights[row]
        weight = stored[index]["weights"]
        assert weight.dtype == np.float16
        assert np.array_equal(weight, held)
        label = open_dataset(phantom_dataset)["train"].labels[row]
        assert np.array_equal(computed[index]["weights"], unet_weight_map(label).astype(np.float16))
        assert np.array_equal(weight, computed[index]["weights"])
    assert "weights" not in ShardDataset(phantom_with_weights, "train")[0]


def test_labels_that_number_the_cells_show_cells(tmp_path: Path) -> None:
    """Cells that touch stay two for the weights, which are those that a build would store."""
    numbered = ndimage.label(phantom_stack()[1])[0].astype(np.uint16)
    folders = [build_phantom(tmp_path / w, labels=numbered, weights=w, n=8) for w in ("none", "unet2015")]
    computed, stored = (ShardDataset(each, "train", weights="unet2015", learn="foreground") for each in folders)
    labels = open_dataset(folders[0])["train"].labels
    assert max(label.max() for label in labels) > 1
    for ours, theirs, label in zip(computed, stored, labels, strict=True):
        assert np.array_equal(ours["label"], label > 0)
        assert ours["label"].dtype == np.uint8
        assert np.array_equal(ours["weights"], theirs["weights"])


def test_firsts_are_where_each_slice_is_first_shown(phantom_dataset: Path) -> None:
    """18 samples of slices 0 to 7 in turn."""
    assert ShardDataset(phantom_dataset, "train").firsts == tuple(range(8))
    assert ShardDataset(phantom_dataset, "train", [2, 10, 9, 1, 17, 3]).firsts == (0, 2, 5)


def test_no_samples_or_no_such_split_are_refused(phantom_dataset: Path) -> None:
    with pytest.raises(ConfigError, match="no sample of train is left"):
        ShardDataset(phantom_dataset, "train", [])
    with pytest.raises(ConfigError, match="expected one of the splits train, test, got 'val'"):
        ShardDataset(phantom_dataset, "val")
    with pytest.raises(IndexError):
        ShardDataset(phantom_dataset, "train")[18]
    for rows in ([0, 18], [-1]):
        with pytest.raises(ConfigError, match="expected samples 0 to 17 of train, got others"):
            ShardDataset(phantom_dataset, "train", rows)


# Processes


def read_digest(data: ShardDataset) -> list[bytes]:
    return [sample["image"].tobytes() + sample["label"].tobytes() for sample in data]


def test_a_pickled_dataset_opens_the_shards_again(phantom_dataset: Path) -> None:
    data = ShardDataset(phantom_dataset, "test", [5, 0])
    here = read_digest(data)  # so that the shards are open when it is pickled
    again = pickle.loads(pickle.dumps(data))
    assert again._split.shards[0]._file is None
    assert again.ids == data.ids
    assert read_digest(again) == here


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_worker_process_reads_the_same(phantom_dataset: Path, method: str) -> None:
    data = ShardDataset(phantom_dataset, "test", [5, 0])
    here = read_digest(data)
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply(read_digest, (data,)) == here
    assert read_digest(data) == here


@pytest.mark.parametrize("weights", ["none", "unet2015"])
@pytest.mark.parametrize("folder", ["phantom_with_weights", "phantom_16_bit"])
def test_the_default_loader_of_torch_takes_it_as_it_is(
    request: pytest.FixtureRequest, folder: str, weights: Weights
) -> None:
    """In this process, in workers that are forked with the shards open, and in fresh ones: the same batches."""
    from torch.utils.data import DataLoader

    data = ShardDataset(request.getfixturevalue(folder), "train", [3, 0, 17, 9, 5], weights=weights)
    samples = [data[index] for index in range(len(data))]  # the shards are open from now on
    keys = {"image", "label"} if weights == "none" else {"image", "label", "weights"}
    for workers, context in ((0, None), (2, None), (2, "fork"), (2, "spawn")):
        batches = list(DataLoader(data, batch_size=2, num_workers=workers, multiprocessing_context=context))
        assert [len(batch["image"]) for batch in batches] == [2, 2, 1]
        for batch, expected in zip(batches, (samples[:2], samples[2:4], samples[4:]), strict=True):
            assert set(batch) == keys
            for key in keys:
                found = batch[key].numpy()
                assert found.dtype == expected[0][key].dtype
                assert np.array_equal(found, np.stack([sample[key] for sample in expected])), (workers, context, key)


# Datasets that cannot be trusted


def cut_short(folder: Path) -> None:
    path = folder / "train-00001.h5"
    path.write_bytes(path.read_bytes()[:2000])


def remove_shard(folder: Path) -> None:
    (folder / "train-00002.h5").unlink()


def swap_shards(folder: Path) -> None:
    (folder / "train-00000.h5").write_bytes((folder / "test-00000.h5").read_bytes())


def add_an_array(folder: Path) -> None:
    with h5py.File(folder / "train-00000.h5", "r+") as file:
        file["more"] = np.zeros(3)


def remove_the_record(folder: Path) -> None:
    (folder / "dataset.json").unlink()


@pytest.mark.parametrize("damage", [cut_short, remove_shard, swap_shards, add_an_array, remove_the_record])
def test_a_damaged_dataset_is_refused(phantom_copy: Path, damage: Callable[[Path], None]) -> None:
    ShardDataset(phantom_copy, "test")
    damage(phantom_copy)
    for opened in (lambda: ShardDataset(phantom_copy, "train"), lambda: divide(phantom_copy)):
        with pytest.raises(DatasetError) as caught:
            opened()
        assert exit_code(caught.value) == 3
        assert str(phantom_copy) in str(caught.value)


def test_a_manifest_that_the_record_does_not_name_is_refused(phantom_copy: Path) -> None:
    path = phantom_copy / "manifest.jsonl"
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(DatasetError):
        divide(phantom_copy)


def test_a_changed_manifest_is_refused(phantom_copy: Path) -> None:
    """Every line still reads well, but source slices could have been renamed to hide a leak."""
    path, rows = phantom_copy / "manifest.jsonl", read_rows(phantom_copy)
    shown = rows[0]["source_sha256"]
    path.write_bytes(path.read_bytes().replace(shown.encode(), shown[::-1].encode()))
    with pytest.raises(DatasetError, match=r"not the manifest that dataset\.json records; run augpipe verify"):
        divide(phantom_copy)


def test_a_foreign_manifest_is_refused(phantom_copy: Path, phantom_with_val: Path) -> None:
    write_rows(phantom_copy, read_rows(phantom_with_val))
    with pytest.raises(DatasetError, match="not those of the shards"):
        divide(phantom_copy)


# Leaks


def rename(rows: list[dict[str, Any]], folder: Path, changed: dict[str, str]) -> None:
    """Give samples other ids, in the shards as in the manifest."""
    for shard in {row["shard"] for row in rows}:
        with h5py.File(folder / shard, "r+") as file:
            names = [name.decode() for name in file["ids"][:]]
            file["ids"][:] = np.array([changed.get(name, name) for name in names], file["ids"].dtype)


def test_a_slice_in_two_splits_is_refused(phantom_copy: Path) -> None:
    """Test sample 0 is said to show slice 3 of the source, as training samples do."""
    rows = read_rows(phantom_copy)
    planted = next(row for row in rows if row["split"] == "test")
    old, new = planted["id"], "s000-z00003-r0000099"
    planted.update(id=new, z=3, replicate=99)
    rename(rows, phantom_copy, {old: new})
    write_rows(phantom_copy, rows)
    with pytest.raises(DatasetError, match=r"leakage: train sample s000-z00003-r\d+ and test sample .* z 3") as caught:
        divide(phantom_copy)
    assert exit_code(caught.value) == 3
    assert new in str(caught.value)


def test_the_same_pixels_under_another_number_are_refused(phantom_copy: Path) -> None:
    """Somebody scanned or copied a slice twice: its place differs, its pixels do not."""
    rows = read_rows(phantom_copy)
    source = next(row["source_sha256"] for row in rows if row["split"] == "train")
    next(row for row in rows if row["split"] == "test")["source_sha256"] = source
    write_rows(phantom_copy, rows)
    with pytest.raises(DatasetError, match=r"leakage: train sample .* and test sample .* show the same slice"):
        divide(phantom_copy)


def test_a_slice_in_train_and_val_is_refused(tmp_path: Path) -> None:
    folder = build_phantom(tmp_path / "dataset", val=0.2)
    rows = read_rows(folder)
    source = next(row["source_sha256"] for row in rows if row["split"] == "train")
    next(row for row in rows if row["split"] == "val")["source_sha256"] = source
    write_rows(folder, rows)
    with pytest.raises(DatasetError, match=r"leakage: train sample .* and val sample"):
        divide(folder)


def test_honest_datasets_are_not_refused(
    phantom_dataset: Path, phantom_with_val: Path, phantom_with_weights: Path
) -> None:
    for folder in (phantom_dataset, phantom_with_val, phantom_with_weights):
        assert divide(folder).train


# Division


def test_a_split_val_is_what_validation_reads(phantom_with_val: Path) -> None:
    division = divide(phantom_with_val, held_out=0.5)
    assert (division.watched_split, division.watched) == ("val", tuple(range(5)))
    assert division.train == tuple(range(13))
    assert division.train_slices == tuple(slices(range(5)))
    assert division.watched_slices == tuple(slices([6, 7]))
    assert division.digest == open_dataset(phantom_with_val).digest


def test_without_val_whole_slices_are_held_out(phantom_dataset: Path) -> None:
    """Training slices are 0 to 7 and the gap is 1: slice 0 is watched, 1 unused."""
    division = divide(phantom_dataset)
    rows = open_dataset(phantom_dataset)["train"].manifest
    assert division.watched_split == "train"
    assert division.watched_slices == (Slice(0, 0),)
    assert division.train_slices == tuple(slices(range(2, 8)))
    assert [row for row, sample in enumerate(rows) if sample.z == 0] == list(division.watched)
    assert [row for row, sample in enumerate(rows) if sample.z > 1] == list(division.train)


def test_a_larger_share_holds_out_more(phantom_dataset: Path) -> None:
    division = divide(phantom_dataset, held_out=0.4)  # 3 of 8
    assert division.watched_slices == tuple(slices([0, 1, 2]))
    assert division.train_slices == tuple(slices([4, 5, 6, 7]))


def test_independent_fields_of_view_need_no_gap(tmp_path: Path) -> None:
    folder = build_phantom(tmp_path / "dataset", independent=True)
    division = divide(folder)
    assert len(division.watched_slices) == 1
    used = {*division.train_slices, *division.watched_slices}
    assert used == {Slice(row.stack, row.z) for row in open_dataset(folder)["train"].manifest}


def test_a_split_without_a_gap_of_its_own_keeps_three_slices_apart(tmp_path: Path) -> None:
    """Whoever draws the split says nothing about the slices that validation is taken from."""
    folder = build_phantom(tmp_path / "dataset", split="explicit", picture=("TTTTTTTT.EEE",), test=0.0)
    division = divide(folder)
    assert division.watched_slices == (Slice(0, 0),)
    assert division.train_slices == tuple(slices([4, 5, 6, 7]))


def test_copies_of_held_out_slices_are_not_trained_on(phantom_copy: Path) -> None:
    """Slice 0 is held out, and slice 5 has the very same pixels."""
    rows = read_rows(phantom_copy)
    source = next(row["source_sha256"] for row in rows if row["z"] == 0)
    for row in rows:
        if row["z"] == 5:
            row["source_sha256"] = source
    write_rows(phantom_copy, rows)
    division = divide(phantom_copy)
    assert division.watched_slices == (Slice(0, 0),)
    assert division.train_slices == tuple(slices([2, 3, 4, 6, 7]))
    assert source not in division.trained_on


def test_a_division_knows_the_pixels_that_are_trained_on(phantom_dataset: Path) -> None:
    rows = open_dataset(phantom_dataset)["train"].manifest
    assert set(divide(phantom_dataset).trained_on) == {row.source_sha256 for row in rows if row.z > 1}


def test_n_train_takes_the_first_samples(phantom_dataset: Path, phantom_with_val: Path) -> None:
    for folder in (phantom_dataset, phantom_with_val):
        whole = divide(folder)
        some = divide(folder, n_train=3)
        assert some.train == whole.train[:3]
        assert some.watched == whole.watched
        rows = open_dataset(folder)["train"].manifest
        assert some.train_slices == tuple(sorted({Slice(rows[row].stack, rows[row].z) for row in some.train}))
        assert divide(folder, n_train=len(whole.train)) == whole
        with pytest.raises(ConfigError, match=rf"--n-train: 99 samples asked for, {len(whole.train)} are there"):
            divide(folder, n_train=99)


def test_a_division_survives_json(phantom_dataset: Path) -> None:
    division = divide(phantom_dataset)
    again = msgspec.convert(json.loads(json.dumps(asdict(division))), Division)
    assert again == division
    assert isinstance(again.train_slices[0], Slice)


def test_a_dataset_without_train_is_refused(phantom_copy: Path) -> None:
    values = json.loads((phantom_copy / "dataset.json").read_bytes())
    values["shards"] = [shard for shard in values["shards"] if shard["split"] == "test"]
    (phantom_copy / "dataset.json").write_text(json.dumps(values))
    write_rows(phantom_copy, [row for row in read_rows(phantom_copy) if row["split"] == "test"])
    with pytest.raises(ConfigError, match="expected a split train, found test"):
        divide(phantom_copy)


# Holding out


@pytest.mark.parametrize(
    ("there", "share", "gap", "block", "near"),
    [
        (slices(range(8)), 0.1, 1, slices([0]), slices([1])),
        (slices(range(8)), 0.25, 0, slices([0, 1]), []),
        (slices(range(10)), 0.2, 3, slices([0, 1]), slices([2, 3, 4])),
        # The cheapest place is the end, behind a hole: slice 9 has one neighbour less.
        (slices([0, 1, 2, 3, 4, 9]), 0.1, 3, slices([9]), []),
        (slices([0, 1, 2, 6, 7, 12, 13, 14]), 0.25, 2, slices([6, 7]), []),
        # A second stack has no neighbours in the first; a stack that is held out whole costs nothing.
        (slices(range(4), range(1)), 0.2, 1, [Slice(1, 0)], []),
        (slices(range(2), range(2)), 0.25, 1, [Slice(0, 0)], [Slice(0, 1)]),
        (slices(range(1), range(1), range(1)), 0.1, 3, [Slice(0, 0)], []),
        # Where a block is more than a stack, it goes on in the next; each part has its own gap.
        (slices(range(1), range(1), range(6)), 0.4, 1, [Slice(0, 0), Slice(1, 0), Slice(2, 0)], [Slice(2, 1)]),
        (slices(range(5), range(2), range(2)), 0.45, 1, slices([], [0, 1], [0, 1]), []),
        # Samples repeat their slices and come in any order.
        ([*slices([3, 1, 2, 0]), *slices([0, 1, 2, 3])], 0.25, 1, slices([0]), slices([1])),
    ],
)
def test_hold_out(there: list[Slice], share: float, gap: int, block: list[Slice], near: list[Slice]) -> None:
    assert hold_out(there, share=share, gap=gap) == (set(block), set(near))


@pytest.mark.parametrize(
    ("there", "share", "gap"),
    [
        (slices([0]), 0.1, 0),
        (slices([0, 1]), 0.1, 1),
        (slices([0, 1, 2, 3]), 0.1, 3),
    ],
)
def test_too_few_slices_are_refused(there: list[Slice], share: float, gap: int) -> None:
    with pytest.raises(ConfigError, match=rf"validation needs \d of {len(there)} training slices and a gap of {gap}"):
        hold_out(there, share=share, gap=gap)


GROUPS = {"a": [0, 1, 2], "b": [3, 4], "c": [5, 9], "d": [6, 7, 8]}


@pytest.mark.parametrize(
    ("groups", "share", "gap", "block", "near"),
    [
        (GROUPS, 0.1, 0, [3, 4], []),
        (GROUPS, 0.2, 1, [0, 1, 2], [3]),  # one more than asked for, but one less is lost beside it
        (GROUPS, 0.4, 0, [3, 4, 5, 9], []),
        ({"a": [0, 4], "b": [1, 2, 3, 5, 6, 7, 8, 9]}, 0.2, 1, [0, 4], [1, 3, 5]),
    ],
)
def test_what_is_held_out_are_whole_groups(
    groups: dict[str, list[int]], share: float, gap: int, block: list[int], near: list[int]
) -> None:
    group_of = {Slice(0, z): group for group, zs in groups.items() for z in zs}
    held = hold_out(slices(range(10)), share=share, gap=gap, groups=group_of)
    assert held == (set(slices(block)), set(slices(near)))


PLACES = st.lists(st.builds(Slice, st.integers(0, 2), st.integers(0, 12)), min_size=1, max_size=25)


@given(there=PLACES, share=st.floats(0.01, 0.5), gap=st.integers(0, 4))
@settings(max_examples=200)
def test_what_is_held_out_lies_apart(there: list[Slice], share: float, gap: int) -> None:
    try:
        block, near = hold_out(there, share=share, gap=gap)
    except ConfigError:
        return
    kept = set(there) - block - near
    assert kept
    assert block <= set(there)
    assert len(block) == max(1, round(share * len(set(there))))
    places = sorted(set(there))
    first = places.index(min(block))
    assert set(places[first : first + len(block)]) == block  # nothing that lies between is trained on
    for place in places:
        distances = [abs(place.z - held.z) for held in block if held.stack == place.stack]
        assert (place in kept) == (place not in block and min(distances, default=99) > gap)


@given(there=PLACES, folds=st.integers(2, 5), gap=st.integers(0, 3))
@settings(max_examples=100)
def test_folds_hold_out_every_slice_once_and_apart(there: list[Slice], folds: int, gap: int) -> None:
    blocks = []
    for fold in range(folds):
        try:
            block, near = hold_out_fold(there, fold, folds, gap=gap)
        except ConfigError:
            return
        kept = set(there) - block - near
        assert kept
        assert all(one.stack != other.stack or abs(one.z - other.z) > gap for one in block for other in kept)
        assert sorted(block) == [each for each in sorted(set(there)) if min(block) <= each <= max(block)]
        blocks.append(block)
    assert sum(map(len, blocks)) == len(set(there))
    assert set().union(*blocks) == set(there)


def test_a_group_is_in_one_fold() -> None:
    group_of = {Slice(0, z): group for group, zs in GROUPS.items() for z in zs}
    blocks = [hold_out_fold(slices(range(10)), fold, 3, gap=0, groups=group_of)[0] for fold in range(3)]
    assert [sorted(each.z for each in block) for block in blocks] == [[0, 1, 2, 3, 4], [5, 9], [6, 7, 8]]
    with pytest.raises(ConfigError, match="too few, or in too few groups"):
        hold_out_fold(slices(range(10)), 2, 5, gap=0, groups={Slice(0, z): "one" for z in range(10)})


def test_one_dataset_serves_all_folds(phantom_dataset: Path, phantom_with_val: Path) -> None:
    divisions = [divide(phantom_dataset, fold=fold, folds=4) for fold in range(4)]
    watched = [row for each in divisions for row in each.watched]
    assert sorted(watched) == list(range(18)), "every sample of train is watched in one fold"
    for each in divisions:
        assert not set(each.train_slices) & set(each.watched_slices)
        assert all(abs(one.z - other.z) > 1 for one in each.train_slices for other in each.watched_slices)
    with pytest.raises(ConfigError, match="has a split val"):
        divide(phantom_with_val, fold=0, folds=4)
