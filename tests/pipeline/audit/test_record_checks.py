"""What a dataset's records prove: every check M001 to M005 is shown its fault, planted alone, and a clean dataset."""

import functools
import gc
import random
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_worlds import (
    SHARDS,
    build_small,
    digest_rows,
    edit_record,
    flip_bit,
    read_only,
    read_rows,
    rewrite_shard,
    seal,
    small_config,
    small_stack,
    write_plainly,
    write_rows,
)

from pipeline.audit.auditing import audit_dataset
from pipeline.audit.record_checks import check_records, find_faults
from pipeline.audit.report import Check, Finding
from pipeline.audit.split_checks import split_check
from pipeline.audit.splits.split_overlap import SplitCounts, SplitRow, Unit, count_leaking, find_near
from pipeline.build.builder import build_dataset
from pipeline.errors import ConfigError, DatasetError
from pipeline.shards import open_dataset
from pipeline.shards.manifest import ManifestRow, parse_line, sample_id
from pipeline.source.combining import combine
from pipeline.source.readers import read_folder
from pipeline.source.stacks import RawStack
from pipeline.verify.verification import replay_dataset, verify_dataset

ISBI = Path(__file__).parents[4] / "shared" / "data" / "isbi2012"
Checked = tuple[list[Finding], dict[str, Check]]


def check(folder: Path, gap: int = 1) -> Checked:
    """Return what the records of a dataset prove; its own gap is 1."""
    audit = check_records(open_dataset(folder), gap=gap, jobs=1)
    findings, checks = audit.findings, audit.checks
    assert [each.id for each in checks] == ["M001", "M002", "M003", "M004", "M005"]
    failed = {finding.check for finding in findings}
    assert {each.id for each in checks if each.status == "failed"} == failed
    return findings, {each.id: each for each in checks}


def only(findings: list[Finding], name: str) -> Finding:
    """Return the one finding of a check."""
    (finding,) = [each for each in findings if each.check == name]
    assert finding.advice
    assert "\n" not in finding.text
    return finding


def claim(row: dict[str, Any], z: int, *, replicate: int = 99) -> None:
    """Make a row say that it is of another slice."""
    row |= {"z": z, "replicate": replicate, "id": sample_id(row["stack"], z, replicate)}


def held_out(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["split"] == "test"]


def falsify(folder: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Change the manifest's rows, and then every digest above them."""
    rows = read_rows(folder)
    change(rows)
    write_rows(folder, rows)
    seal(folder)


def shuffle_samples(folder: Path, seed: int = 0) -> None:
    """Share the samples of a dataset out to its splits at random, as if its author had split after augmenting."""
    rows = read_rows(folder)
    places = [{key: row[key] for key in ("split", "shard", "row")} for row in rows]
    pixels = {}
    for row in rows:
        with read_only(folder / row["shard"]) as file:
            pixels[row["id"]] = {name: file[name][row["row"]] for name in ("images", "labels", "ids")}
    random.Random(seed).shuffle(rows)
    rows = [row | place for row, place in zip(rows, places, strict=True)]
    for shard in {place["shard"] for place in places}:
        own = [pixels[row["id"]] for row in rows if row["shard"] == shard]

        def write(file: h5py.File, arrays: dict[str, Any], own: Any = own) -> None:
            write_plainly(file, {name: np.stack([each[name] for each in own]) for name in arrays})

        rewrite_shard(folder / shard, write)
    write_rows(folder, rows)
    write_rows(folder, digest_rows(folder))
    seal(folder)


# Clean


def test_a_clean_dataset_passes_every_check(built: Path) -> None:
    findings, checks = check(built)
    assert findings == []
    assert {each.status for each in checks.values()} == {"passed"}
    assert {name: each.n for name, each in checks.items()} == {
        "M001": 12, "M002": 12, "M003": 11, "M004": 11, "M005": 11,
    }  # fmt: skip


def test_findings_do_not_depend_on_the_number_of_threads(dataset: Path) -> None:
    for shard in SHARDS:
        flip_bit(dataset / shard, 3000)
    one, four = (check_records(open_dataset(dataset), gap=3, jobs=jobs) for jobs in (1, 4))
    assert (one.findings, one.checks) == (four.findings, four.checks)
    assert one.findings


# M001 and M002


def flip_pixel(name: str) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        with read_only(folder / SHARDS[1]) as file:
            offset = file[name].id.get_chunk_info(1).byte_offset
        flip_bit(folder / SHARDS[1], offset + 12)

    return plant


@pytest.mark.parametrize(
    "plant",
    [
        flip_pixel("images"),
        flip_pixel("labels"),
        lambda folder: flip_bit(folder / "manifest.jsonl", 3),  # a line that is no JSON any more
        lambda folder: flip_bit(folder / "manifest.jsonl", (folder / "manifest.jsonl").stat().st_size - 3),
    ],
    ids=["image", "label", "manifest's first line", "manifest's last line"],
)
def test_one_flipped_bit_is_a_digest_that_differs(dataset: Path, plant: Callable[[Path], None]) -> None:
    plant(dataset)
    findings, _ = check(dataset)
    digests = [each for each in findings if each.check == "M002"]
    assert digests
    assert {each.severity for each in findings} == {"error"}


def test_a_flipped_pixel_is_told_with_its_sample(dataset: Path) -> None:
    flip_pixel("images")(dataset)
    findings, checks = check(dataset)
    assert {each.check for each in findings} == {"M002"}
    assert {each.sample for each in findings} == {None, "s000-z00005-r0000000"}  # of the file, and of the image
    assert checks["M001"].status == "passed"


def test_pixels_that_all_file_digests_agree_with_are_still_found(dataset: Path) -> None:
    def write(file: h5py.File, arrays: dict[str, Any]) -> None:
        arrays["labels"][1, 20, 20] ^= 1
        write_plainly(file, arrays)

    rewrite_shard(dataset / SHARDS[1], write)
    seal(dataset)
    findings, _ = check(dataset)
    assert [(each.check, each.sample) for each in findings] == [("M002", "s000-z00005-r0000000"), ("M002", None)]


def test_a_stray_shard_is_no_fault_of_a_digest(dataset: Path) -> None:
    shutil.copy(dataset / SHARDS[0], dataset / "train-00099.h5")
    findings, checks = check(dataset)
    assert "train-00099.h5" in only(findings, "M001").text
    assert len(findings) == 1
    assert checks["M002"].status == "passed"


def test_digests_that_could_not_be_compared_did_not_pass(dataset: Path) -> None:
    """Not run never reads as passed: of a shard that is missing, nothing was compared."""
    (dataset / SHARDS[0]).unlink()
    findings, checks = check(dataset)
    assert SHARDS[0] in only(findings, "M001").text
    assert len(findings) == 1
    assert checks["M002"] == Check("M002", "not run", 8, "the digests of 4 of 12 samples could not be compared")


def test_a_truncated_shard_is_both(dataset: Path) -> None:
    data = (dataset / SHARDS[0]).read_bytes()
    (dataset / SHARDS[0]).write_bytes(data[: len(data) // 2])
    assert {each.check for each in check(dataset)[0]} == {"M001", "M002"}


def test_of_a_manifest_that_ends_in_rubbish_the_rest_is_checked(dataset: Path) -> None:
    """What was read has no leak; that is no proof for what was not."""
    path = dataset / "manifest.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:5]) + b"{\n" + b"".join(lines[6:]))
    findings, checks = check(dataset)
    assert {each.check for each in findings} == {"M001", "M002"}
    for name in ("M003", "M004", "M005"):
        assert checks[name].status == "not run"
        assert "line 6" in checks[name].reason


def test_a_leak_before_the_rubbish_is_told(dataset: Path) -> None:
    falsify(dataset, lambda rows: claim(held_out(rows)[0], 3))
    with (dataset / "manifest.jsonl").open("ab") as file:
        file.write(b"{\n")
    findings, checks = check(dataset)
    assert only(findings, "M005").severity == "critical"
    assert checks["M003"].status == "not run"


def test_a_manifest_that_is_a_link_to_nothing_is_not_read(dataset: Path) -> None:
    (dataset / "manifest.jsonl").unlink()
    (dataset / "manifest.jsonl").symlink_to("m")
    _, checks = check(dataset)
    assert "a symbolic link to nothing" in checks["M003"].reason
    assert checks["M003"].status == "not run"


def test_what_is_no_dataset_could_not_be_checked(dataset: Path) -> None:
    (dataset / "dataset.json").write_bytes(b"{")
    with pytest.raises(DatasetError, match="not JSON"):
        check(dataset)


@pytest.mark.parametrize("gap", [-1, 1.5, True, None])
def test_a_gap_that_is_no_number_of_slices(built: Path, gap: Any) -> None:
    with pytest.raises(ConfigError, match="gap: expected 0 or more"):
        check_records(open_dataset(built), gap=gap)


def test_what_replay_finds_is_told_apart(dataset: Path) -> None:
    """A recipe that gives other pixels is R001; a slice's digest that is not the source's is M002."""

    def change(rows: list[dict[str, Any]]) -> None:
        rows[0]["recipe"]["shift_px"][0] += 1
        rows[1]["source_sha256"] = "0" * 64

    falsify(dataset, change)
    findings = find_faults(replay_dataset(dataset, jobs=1).faults)
    assert [(each.check, each.sample) for each in findings] == [
        ("R001", "s000-z00000-r0000000"),
        ("M002", "s000-z00001-r0000000"),
    ]


def test_the_texts_of_faults_are_the_findings_of_verify(dataset: Path) -> None:
    flip_pixel("images")(dataset)
    verification = verify_dataset(dataset)
    assert verification.findings == tuple(fault.text for fault in verification.faults)
    assert [each.text for each in find_faults(verification.faults)] == list(verification.findings)


# M003


def test_one_slice_under_two_names_is_found_by_its_digest(dataset: Path) -> None:
    digest = read_rows(dataset)[3]["source_sha256"]

    def change(rows: list[dict[str, Any]]) -> None:
        for row in held_out(rows)[:2]:
            row["source_sha256"] = digest

    falsify(dataset, change)
    findings, checks = check(dataset)
    finding = only(findings, "M003")
    assert (finding.severity, finding.splits, finding.other) == ("critical", ("train", "test"), "stack 0, z 3")
    assert "stack 0, z 3 in train (1 samples)" in finding.text
    assert "stack 0, z 9 and 1 more in test (2 samples)" in finding.text
    assert digest[:12] in finding.text
    assert finding.measures == {"samples": 3}
    assert checks["M003"].n == 9
    assert {each.check for each in findings} == {"M003"}


def test_there_is_one_finding_for_every_digest_and_pair_of_splits(tmp_path: Path) -> None:
    build_small(tmp_path / "d", val=0.2)
    rows = read_rows(tmp_path / "d")
    first = {split: next(row for row in rows if row["split"] == split) for split in ("train", "val", "test")}
    first["val"]["source_sha256"] = first["test"]["source_sha256"] = first["train"]["source_sha256"]
    write_rows(tmp_path / "d", rows)
    seal(tmp_path / "d")
    pairs = [each.splits for each in check(tmp_path / "d")[0] if each.check == "M003"]
    assert pairs == [("train", "val"), ("train", "test"), ("val", "test")]


@pytest.mark.parametrize(("dtype", "level"), [("uint8", 0), ("uint8", 131), ("uint16", 65535), ("float32", 0)])
def test_lost_sections_of_one_gray_level_are_no_leak(tmp_path: Path, dtype: str, level: int) -> None:
    """A build lets blank slices be in two splits, because they show no tissue; so does the audit."""
    images, labels = small_stack()
    blank = images.astype(dtype)
    blank[[2, 10]] = level
    source = combine([RawStack(blank, labels)], name="blank")
    build_dataset(source, small_config(), out=tmp_path / "d", jobs=1)
    digests = {row["source_sha256"] for row in read_rows(tmp_path / "d") if row["z"] in {2, 10}}
    assert len(digests) == 1
    assert check(tmp_path / "d")[0] == []


# M004


def test_neighbours_are_told_once_with_the_closest(built: Path) -> None:
    """A gap of one slice leaves 6 and 7 within three of 9, and 10 within three of 7."""
    finding = only(check(built, gap=3)[0], "M004")
    assert (finding.severity, finding.splits, finding.other) == ("error", ("train", "test"), "stack 0, z 7")
    assert finding.measures == {"distance": 2, "slices": 4}
    assert "2 train and 2 test slices lie within 3" in finding.text
    assert "z 7 (train) and z 9 (test)" in finding.text
    assert "--gap 3" in finding.advice


def test_next_neighbours_are_critical(dataset: Path) -> None:
    falsify(dataset, lambda rows: claim(held_out(rows)[0], 8))
    finding = only(check(dataset)[0], "M004")
    assert (finding.severity, finding.measures["distance"]) == ("critical", 1)
    assert "z 7 (train) and z 8 (test)" in finding.text


def test_a_slice_without_samples_counts_too(tmp_path: Path) -> None:
    """With two samples, slices 0 and 9 alone are used; dataset.json says that 7 is to train on all the same."""
    build_small(tmp_path / "d", n=2)
    assert {row["z"] for row in read_rows(tmp_path / "d")} == {0, 9}
    assert only(check(tmp_path / "d", gap=2)[0], "M004").measures == {"distance": 2, "slices": 2}


def test_stacks_are_no_neighbours_of_each_other(tmp_path: Path) -> None:
    images, labels = small_stack()
    raw = [RawStack(images[part], labels[part]) for part in (slice(0, 4), slice(4, 8), slice(8, 12))]
    config = small_config(split="stack", test=0.3)
    build_dataset(combine(raw, name="stacks"), config, out=tmp_path / "d", jobs=1)
    assert check(tmp_path / "d", gap=100)[0] == []


def test_fields_of_view_have_no_neighbours(tmp_path: Path) -> None:
    build_small(tmp_path / "d", independent=True)
    findings, checks = check(tmp_path / "d", gap=100)
    assert findings == []
    assert checks["M004"].status == "not applicable"
    assert "without neighbours" in checks["M004"].reason


@pytest.mark.parametrize(
    "split", [None, 7, [], {"slices": 7}, {"slices": {"train": [7], "test": [{"stack": 0, "z": [1]}]}}]
)
def test_a_split_that_makes_no_sense_is_refused_and_no_traceback(dataset: Path, split: Any) -> None:
    edit_record(dataset, lambda values: values.update(split=split))
    with pytest.raises(DatasetError, match=r"not a dataset record.*split"):
        check(dataset)


def test_a_split_that_the_options_do_not_give_is_a_finding(dataset: Path) -> None:
    """A slice that dataset.json gives to test counts for the gap, too: it may be dataset.json that is right."""
    edit_record(dataset, lambda values: values["split"]["slices"]["test"][0].update(z=[8, 9, 10, 11]))
    findings, checks = check(dataset)
    assert "split is not what follows" in only(findings, "M001").text
    assert only(findings, "M004").measures == {"distance": 1, "slices": 2}
    assert checks["M005"].status == "passed"


PLACES = st.sets(st.integers(0, 40), min_size=1, max_size=12)


@given(train=PLACES, test=PLACES, gap=st.integers(0, 8), order=st.randoms(use_true_random=False))
def test_neighbours_are_those_that_comparing_every_pair_finds(
    train: set[int], test: set[int], gap: int, order: random.Random
) -> None:
    pairs = [(abs(a - b), a, b) for a in train for b in test if 0 < abs(a - b) <= gap]
    members = [(Unit("s", z), "train") for z in train] + [(Unit("s", z), "test") for z in test]
    order.shuffle(members)
    findings = find_near(members, gap)
    assert len(findings) == bool(pairs)
    for finding in findings:
        distance = min(pairs)[0]
        near = len({a for _, a, _ in pairs}) + len({b for _, _, b in pairs})
        assert finding.measures == {"distance": distance, "slices": near}
        assert finding.severity == ("critical" if distance == 1 else "error")


# M005


def test_a_slice_whose_samples_are_in_two_splits(dataset: Path) -> None:
    falsify(dataset, lambda rows: claim(held_out(rows)[0], 3))
    findings, checks = check(dataset)
    finding = only(findings, "M005")
    assert (finding.severity, finding.splits, finding.other) == ("critical", ("train", "test"), "stack 0, z 3")
    assert "1 of 10 slices is in more than one split, such as stack 0, z 3 (1 train, 1 test)" in finding.text
    assert checks["M005"].n == 10
    assert {each.check for each in findings} == {"M001", "M004", "M005"}  # 3 is next to 2 and 4 as well


def test_samples_split_at_random_after_augmenting(tmp_path: Path) -> None:
    """What the reproduction did that augpipe grew out of; with care, so that every digest agrees."""
    build_small(tmp_path / "d", n=60)
    assert check(tmp_path / "d")[0] == []
    shuffle_samples(tmp_path / "d")
    findings, checks = check(tmp_path / "d")
    assert checks["M002"].status == "passed"
    assert {each.check for each in findings} == {"M001", "M003", "M004", "M005"}
    finding = only(findings, "M005")
    spread = {row["z"] for row in held_out(read_rows(tmp_path / "d"))} & {
        row["z"] for row in read_rows(tmp_path / "d") if row["split"] == "train"
    }
    assert finding.measures == {"shared": len(spread), "total": 11}
    assert finding.text.count("stack 0, z") == 3
    assert sum(each.check == "M003" for each in findings) == len(spread)


@pytest.mark.isbi
@pytest.mark.skipif(not ISBI.is_dir(), reason="../shared/data/isbi2012 is not there")
def test_the_real_stack_split_by_sample(tmp_path: Path) -> None:
    build_dataset(read_folder(ISBI), small_config(n=300, gap=3, test=0.2, size=(48, 48)), out=tmp_path / "d")
    assert check(tmp_path / "d", gap=3)[0] == []
    shuffle_samples(tmp_path / "d")
    finding = only(check(tmp_path / "d", gap=3)[0], "M005")
    assert finding.severity == "critical"
    assert finding.measures["shared"] >= 20
    assert finding.measures["total"] == 27


# Counts


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Datasets of 400 and of 1,200 samples; both have more full shards than are in memory at a time."""
    folder = tmp_path_factory.mktemp("sizes")
    return [build_small(folder / str(n), n=n, size=(4, 4), shard_size=100).out for n in (400, 1200)]


def test_memory_does_not_grow_with_the_rows_of_a_manifest(
    sizes: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row kept would take more than 2,000 bytes, a name alone more than 60; records of shards grow, by little."""
    for path in sizes:
        shutil.copy(path / "manifest.jsonl", tmp_path / path.name)
    held = functools.partial(held_at_most, monkeypatch)
    kept: list[str] = []
    runs: dict[str, Callable[[Path], Any]] = {
        "audit": lambda path: audit_dataset(path, manifest_only=True, jobs=1),
        "names kept": lambda path: audit_dataset(path, manifest_only=True, jobs=1, on_row=lambda r: kept.append(r.id)),
        "split check": lambda path: split_check([tmp_path / path.name]),
    }
    growth = {}
    for name, run in runs.items():
        run(sizes[0])  # what is loaded once
        few, many = (held(run, path) for path in sizes)
        growth[name] = (many - few) / 800
    assert growth["audit"] < 40
    assert growth["names kept"] > growth["audit"] + 50  # so that a fault would be seen
    assert growth["split check"] < 10


def held_at_most(monkeypatch: pytest.MonkeyPatch, run: Callable[[Path], Any], path: Path) -> int:
    """Return the most bytes that are in use when the last row of a full shard is read.

    Not the peak: that counts what Python frees later, or keeps to use it again, which depends on what was run before.
    """
    held = []

    def parse(line: bytes, *, where: str) -> ManifestRow:
        row = parse_line(line, where=where)
        if row.row == 99:
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
        return row

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.shards.manifest.parse_line", parse)
        gc.collect()
        tracemalloc.start()
        run(path)
        tracemalloc.stop()
    return max(held)


def test_samples_that_leak_are_counted_by_slice_and_by_digest() -> None:
    rows = [
        SplitRow("a", "train", Unit("s", 0), "x"),
        SplitRow("b", "val", Unit("s", 0), "x"),
        SplitRow("c", "val", Unit("s", 9), "y"),
        SplitRow("d", "test", Unit("s", 5), "x"),
        SplitRow("e", "test", Unit("s", 6), "z"),
    ]
    counts = SplitCounts(rows)
    assert count_leaking(counts) == {"val": 1, "test": 1}
    assert count_leaking(counts, harmless={"x"}) == {"val": 1, "test": 0}
    assert count_leaking(SplitCounts(rows[1:])) == {}
