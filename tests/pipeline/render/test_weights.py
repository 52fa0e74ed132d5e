"""Stored weights are those of the stored labels, and are recorded, checked and read as labels are."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray
from small_worlds import (
    OPTIONS,
    SHARDS,
    SIZE,
    build_small,
    digests,
    edit_record,
    flip_bit,
    read_only,
    read_rows,
    rewrite_shard,
    run_python,
    seal,
    small_config,
    small_source,
    small_stack,
    write_plainly,
    write_rows,
)

from augment.weight_map import unet_weight_map
from pipeline.build.builder import build_dataset, estimate_bytes
from pipeline.errors import DatasetError
from pipeline.plan.plan import make_plan
from pipeline.render.rendering import weigh_label
from pipeline.shards import open_dataset
from pipeline.shards.digest import array_digest
from pipeline.source.combining import make_source
from pipeline.verify.verification import replay_dataset, verify_dataset

Run = Callable[..., Any]
SHARD = SHARDS[1]
FIFTH = "s000-z00005-r0000000"
MANIFESTS = Path(__file__).parents[3] / "manifests"


@pytest.fixture(scope="module")
def built_weighted(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """The small dataset with weights; tests only read it."""
    from pipeline.cli import main

    out = tmp_path_factory.mktemp("weighted") / "dataset"
    assert main(["build", str(folder), "--out", str(out), "--quiet", *OPTIONS, "--weights", "unet2015"]) == 0
    return out


@pytest.fixture
def weighted(tmp_path: Path, built_weighted: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(built_weighted, tmp_path / "dataset"))


def record_of(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "dataset.json").read_bytes())
    return values


# What is stored


def test_weights_are_those_of_the_label_beside_them(built_weighted: Path) -> None:
    data = open_dataset(built_weighted)
    assert data.record.has_weights
    for split in data.values():
        assert split.weights is not None
        assert (split.weights.shape, split.weights.dtype) == ((len(split), *SIZE), np.float16)
        for k, row in enumerate(split.manifest):
            weights = split.weights[k]
            assert weights.dtype == np.float16
            assert np.array_equal(weights, unet_weight_map(split.labels[k]).astype(np.float16))
            assert array_digest(weights) == row.weights_sha256
        assert np.array_equal(split.weights[1:3], np.stack([split.weights[1], split.weights[2]]))


def test_images_and_labels_are_those_of_a_dataset_without(built_weighted: Path, built: Path) -> None:
    for row, plain in zip(read_rows(built_weighted), read_rows(built), strict=True):
        assert {**row, "weights_sha256": None} == {**plain, "weights_sha256": None}
    without, weighted = record_of(built), record_of(built_weighted)
    assert weighted["config"] == {**without["config"], "weights": "unet2015"}
    assert weighted["arrays"] == {**without["arrays"], "weights": "float16"}
    assert weighted["fingerprint"] != without["fingerprint"]
    assert open_dataset(built)["train"].weights is None


def test_any_hdf5_reader_can_read_them(built_weighted: Path) -> None:
    with read_only(built_weighted / SHARD) as file:
        assert file["weights"].shape == (4, *SIZE)
        assert file["weights"].dtype == np.dtype("<f2")
        assert (file["weights"].chunks, file["weights"].compression) == ((1, *SIZE), "gzip")
        assert np.array_equal(file["weights"][2], weigh_label(file["labels"][2], "binary"))


def test_ids_are_instances_and_classes_are_not(tmp_path: Path) -> None:
    images, labels = small_stack()
    ids = np.where(labels, 1 + np.arange(72) // 10, 0).astype(np.uint16)
    found = {}
    for kind in ("instances", "classes"):
        source = make_source(images, ids, name="x", label_kind=kind)
        build_dataset(source, small_config(weights="unet2015"), out=tmp_path / kind, jobs=1)
        train = open_dataset(tmp_path / kind)["train"]
        assert train.weights is not None
        expected = unet_weight_map(train.labels[0], instances=kind == "instances").astype(np.float16)
        assert np.array_equal(train.weights[0], expected)
        assert verify_dataset(tmp_path / kind).findings == ()
        assert replay_dataset(tmp_path / kind, source=source).findings == ()
        found[kind] = train.weights[0]
    assert not np.array_equal(found["instances"], found["classes"])


def test_a_weight_that_float16_cannot_hold_is_the_largest_that_it_can() -> None:
    label = np.zeros((400, 400), np.uint8)
    label[200, 200] = 1
    weights = weigh_label(label, "binary")
    assert weights[200, 200] == 65504
    assert np.isfinite(weights).all()


def test_the_schemas_describe_them(built_weighted: Path, built: Path) -> None:
    dataset, row = (
        jsonschema.Draft202012Validator(json.loads((MANIFESTS / f"{name}.schema.json").read_text(encoding="utf-8")))
        for name in ("dataset", "manifest")
    )
    values = record_of(built_weighted)
    dataset.validate(values)
    for line in read_rows(built_weighted):
        row.validate(line)
        assert not row.is_valid({**line, "weights_sha256": None})
    without = record_of(built)
    for broken in (
        {**values, "arrays": without["arrays"]},
        {**values, "config": without["config"]},
        {**without, "arrays": {**without["arrays"], "weights": "float16"}},
        {**values, "arrays": {**values["arrays"], "weights": "float32"}},
        {**values, "config": {**values["config"], "weights": "none"}},
    ):
        assert not dataset.is_valid(broken)


# The same bytes


@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_any_number_of_threads(tmp_path: Path, built_weighted: Path, jobs: int) -> None:
    build_dataset(small_source(), small_config(weights="unet2015"), out=tmp_path / "d", jobs=jobs)
    assert digests(tmp_path / "d") == digests(built_weighted)


@pytest.mark.slow
def test_any_cpu(tmp_path: Path, folder: Path, built_weighted: Path) -> None:
    cpu = {"NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    arguments = ("build", os.path.relpath(folder, tmp_path), "--out", "d", *OPTIONS, "--weights", "unet2015")
    result = run_python("from pipeline.cli import run\nrun()", *arguments, cwd=tmp_path, **cpu)
    assert result.returncode == 0, result.stderr
    assert digests(tmp_path / "d") == digests(built_weighted)


def test_an_interrupted_build_goes_on(tmp_path: Path, built_weighted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.shards.progress import SilentProgress

    left = iter(range(9, 0, -1))

    def interrupted(self: SilentProgress) -> None:
        del self
        if next(left, None) == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SilentProgress, "advance", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_small(tmp_path / "d", weights="unet2015")
    assert build_small(tmp_path / "d", weights="unet2015").n_rendered == 4
    assert digests(tmp_path / "d") == digests(built_weighted)


def test_the_start_of_a_build_without_weights_is_not_gone_on_with(
    tmp_path: Path, built_weighted: Path, built: Path
) -> None:
    """Even if someone wrote the right fingerprint beside its shards."""
    shutil.copytree(built, tmp_path / "d.partial")
    (tmp_path / "d.partial" / "dataset.json").unlink()
    progress = tmp_path / "d.partial" / ".progress"
    progress.mkdir()
    (progress / "build.json").write_text(json.dumps({"fingerprint": record_of(built_weighted)["fingerprint"]}))
    rows = read_rows(built)
    for shard in record_of(built)["shards"]:
        lines = [shard, *(row for row in rows if row["shard"] == shard["file"])]
        (progress / f"{shard['file']}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert build_small(tmp_path / "d", weights="unet2015").n_rendered == 12
    assert digests(tmp_path / "d") == digests(built_weighted)


def test_room_for_them_is_foreseen() -> None:
    source = small_source()
    plain, weighted = (make_plan(source, small_config(weights=kind)) for kind in ("none", "unet2015"))
    assert estimate_bytes(weighted, 12, 1) > 1.3 * estimate_bytes(plain, 12, 1)


# Planted faults


def chunk_of(path: Path, row: int) -> tuple[int, int]:
    with read_only(path) as file:
        place = file["weights"].id.get_chunk_info(row)
    return place.byte_offset, place.size


def rewrite_weights(folder: Path, change: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    """Write one shard's weights anew, and make every digest of a file agree."""

    def write(file: h5py.File, arrays: dict[str, Any]) -> None:
        write_plainly(file, {**arrays, "weights": change(arrays["weights"])})

    rewrite_shard(folder / SHARD, write)
    seal(folder)


def leave_weights_out(folder: Path) -> None:
    rewrite_shard(folder / SHARD, lambda file, arrays: write_plainly(file, arrays, leave_out="weights"))


def test_nothing_is_found_where_nothing_is_wrong(built_weighted: Path, augpipe: Run) -> None:
    code, out, err = augpipe("verify", built_weighted, "--replay")
    assert (code, err) == (0, "")
    assert "12 samples in 4 shards, 12 rendered again: every digest holds" in out


def test_a_flipped_bit_is_found(weighted: Path, augpipe: Run) -> None:
    offset, size = chunk_of(weighted / SHARD, 1)
    flip_bit(weighted / SHARD, offset + size // 2)
    code, out, _ = augpipe("verify", weighted)
    assert code == 1
    assert SHARD in out


def another_weight(weights: NDArray[Any]) -> NDArray[Any]:
    changed = weights.copy()
    changed[1, 20, 20] = np.nextafter(changed[1, 20, 20], np.float16(0))
    return changed


def test_another_weight_is_found_though_every_file_agrees(weighted: Path) -> None:
    rewrite_weights(weighted, another_weight)
    faults = verify_dataset(weighted).faults
    assert [(fault.kind, fault.sample) for fault in faults] == [("digest", FIFTH), ("digest", None)]
    assert f"the weights of {FIFTH} (row 1)" in faults[0].text


def test_weights_of_another_label_are_found_by_replaying_though_every_digest_agrees(weighted: Path) -> None:
    rewrite_weights(weighted, another_weight)
    rows = read_rows(weighted)
    with read_only(weighted / SHARD) as file:
        rows[5]["weights_sha256"] = array_digest(file["weights"][1])
    write_rows(weighted, rows)
    seal(weighted)
    assert verify_dataset(weighted).findings == ()
    faults = replay_dataset(weighted, source=small_source()).faults
    assert [(fault.kind, fault.sample) for fault in faults] == [("replay", FIFTH)]
    assert "its label gives other weights than those recorded" in faults[0].text


def test_a_shard_that_lacks_them_is_refused(weighted: Path, augpipe: Run) -> None:
    leave_weights_out(weighted)
    with pytest.raises(DatasetError, match=r"train-00001.h5: expected the arrays .*'weights'"):
        open_dataset(weighted)["train"]
    assert augpipe("verify", weighted).code == 1


def test_a_shard_that_has_them_unasked_is_refused(dataset: Path) -> None:
    def write(file: h5py.File, arrays: dict[str, Any]) -> None:
        write_plainly(file, {**arrays, "weights": arrays["labels"].astype(np.float16)})

    rewrite_shard(dataset / SHARD, write)
    with pytest.raises(DatasetError, match=r"train-00001.h5: expected the arrays .*found .*'weights'"):
        open_dataset(dataset)["train"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: weights.astype(np.float32), r"weights is \(4, 40, 36\) float32"),
        (lambda weights: weights.astype(">f2"), r"weights is \(4, 40, 36\) >f2"),
        (lambda weights: weights[:3], r"weights is \(3, 40, 36\)"),
    ],
)
def test_weights_of_another_form_are_refused(
    weighted: Path, change: Callable[[NDArray[Any]], NDArray[Any]], words: str
) -> None:
    rewrite_weights(weighted, change)
    with pytest.raises(DatasetError, match=words):
        open_dataset(weighted)["train"]


def test_a_chunk_that_is_no_deflate_is_refused_when_it_is_read(weighted: Path) -> None:
    offset, size = chunk_of(weighted / SHARD, 1)
    with (weighted / SHARD).open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * size)
    weights = open_dataset(weighted)["train"].weights
    assert weights is not None
    with pytest.raises(DatasetError, match=r"train-00001.h5: a chunk"):
        _ = weights[5]


def test_a_dataset_without_them_says_so_when_asked_for_one(built: Path) -> None:
    with pytest.raises(DatasetError, match="holds no weights"):
        open_dataset(built)["train"].shards[0].weight(0)


@pytest.mark.parametrize("weights", ["float32", None, 16, ["float16"]])
def test_a_record_of_other_weights_is_refused(weighted: Path, weights: Any) -> None:
    edit_record(weighted, lambda values: values["arrays"].update(weights=weights))
    with pytest.raises(DatasetError, match="weights"):
        open_dataset(weighted)


def drop_from(*path: str) -> Callable[[Path], Any]:
    def plant(folder: Path) -> None:
        def edit(values: Any) -> None:
            for key in path[:-1]:
                values = values[key]
            del values[path[-1]]

        edit_record(folder, edit)

    return plant


def drop_from_row(folder: Path) -> None:
    rows = read_rows(folder)
    del rows[5]["weights_sha256"]
    write_rows(folder, rows)


def drop_everywhere(folder: Path) -> None:
    """All that says that there are weights, but not the weights."""
    drop_from("arrays", "weights")(folder)
    drop_from("config", "weights")(folder)
    rows = read_rows(folder)
    for row in rows:
        del row["weights_sha256"]
    write_rows(folder, rows)
    seal(folder)


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (drop_from("arrays", "weights"), "arrays is not what follows from its config"),
        (drop_from("config", "weights"), "config"),
        (drop_from_row, f"sample {FIFTH} lacks the digest of its weights"),
        (drop_everywhere, "expected the arrays"),
    ],
)
def test_records_that_disagree_about_them_are_found(
    weighted: Path, augpipe: Run, plant: Callable[[Path], Any], words: str
) -> None:
    plant(weighted)
    code, out, err = augpipe("verify", weighted, "--replay")
    assert code == 1, err
    assert words in out


def test_a_row_that_has_them_unasked_is_found(dataset: Path, augpipe: Run) -> None:
    rows = read_rows(dataset)
    rows[5]["weights_sha256"] = "0" * 64
    write_rows(dataset, rows)
    code, out, _ = augpipe("verify", dataset)
    assert code == 1
    assert f"sample {FIFTH} has weights, which are not recorded" in out


# Told


def test_they_are_shown(built_weighted: Path, built: Path, augpipe: Run) -> None:
    assert "weights      unet2015, float16" in augpipe("show", built_weighted).out
    assert "weights" not in augpipe("show", built).out
    digest = next(row["weights_sha256"] for row in read_rows(built_weighted) if row["id"] == FIFTH)
    assert f"weights      sha256 {digest}" in augpipe("show", built_weighted, FIFTH).out
    assert json.loads(augpipe("show", built_weighted, FIFTH, "--json", "-").out)["weights_sha256"] == digest
    assert "weights" not in augpipe("show", built, FIFTH).out


def test_a_build_tells_of_them(tmp_path: Path, folder: Path, augpipe: Run) -> None:
    (tmp_path / "set.toml").write_text('weights = "unet2015"\n')
    command = ("build", folder, "--out", tmp_path / "d", *OPTIONS, "--config", tmp_path / "set.toml", "--dry-run")
    assert "40 x 36 px, weights unet2015" in augpipe(*command).out
    assert "weights" not in augpipe(*command, "--weights", "none").out


def test_the_audit_reads_such_a_dataset(built_weighted: Path, built: Path, augpipe: Run) -> None:
    """And finds in it what it finds in the same samples without weights."""
    reports = [json.loads(augpipe("audit", path, "--json", "-").out) for path in (built_weighted, built)]
    checks = [[(check["id"], check["status"], check["n"]) for check in report["checks"]] for report in reports]
    assert checks[0] == checks[1]
    assert ("R001", "passed", 12) in checks[0]
