"""A check that cannot fail checks nothing: every fault is planted alone, and must be found and named."""

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from small_worlds import (
    OPTIONS,
    SHARDS,
    build_small,
    digest_rows,
    edit_record,
    flip_bit,
    read_only,
    read_rows,
    rewrite_shard,
    seal,
    small_stack,
    write_folder,
    write_plainly,
    write_rows,
)

from pipeline.errors import DatasetError
from pipeline.shards.digest import canonical_json
from pipeline.verify.verification import replay_dataset, verify_dataset

Run = Callable[..., Any]
SHARD = SHARDS[1]
FIFTH = "s000-z00005-r0000000"


def offset_in(path: Path, name: str, row: int) -> int:
    """Return where in the file an array's row is stored."""
    with read_only(path) as file:
        array = file[name].id
        return int(array.get_offset() if name == "ids" else array.get_chunk_info(row).byte_offset)


def flip_in(name: str, row: int, at: int = 0) -> Callable[[Path], Any]:
    return lambda folder: flip_bit(folder / SHARD, offset_in(folder / SHARD, name, row) + at)


def change_rows(change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[Path], Any]:
    """Return the planting of a fault in the manifest; `change` returns the new rows, or nothing if it changed them."""

    def plant(folder: Path) -> None:
        rows = read_rows(folder)
        write_rows(folder, change(rows) or rows)

    return plant


def swap_shards(folder: Path) -> None:
    first, second = folder / SHARDS[0], folder / SHARD
    first.rename(folder / "x")
    second.rename(first)
    (folder / "x").rename(second)


def another_shard(folder: Path) -> None:
    build_small(folder.with_name("other"), seed=1)
    shutil.copyfile(folder.with_name("other") / SHARD, folder / SHARD)


# Fault -> how to plant it, and what must be said.
FAULTS: dict[str, tuple[Callable[[Path], Any], tuple[str, ...]]] = {
    "a bit of an image": (flip_in("images", 1, 700), (SHARD, f"image of {FIFTH}", "its digest differs")),
    "a bit of a label": (flip_in("labels", 1, 30), (SHARD,)),
    "a bit of an id": (flip_in("ids", 0, 7), (SHARD, "its samples are not those that the manifest lists")),
    "a bit of the manifest": (lambda folder: flip_bit(folder / "manifest.jsonl", 400), ("manifest.jsonl",)),
    "a missing shard": (lambda folder: (folder / SHARD).unlink(), (SHARD, "found nothing")),
    "a shard cut short": (lambda folder: (folder / SHARD).write_bytes(b"\x89HDF\r\n\x1a\n"), (SHARD, "8 bytes")),
    "a longer shard": (lambda folder: (folder / SHARD).open("ab").write(b"x"), (SHARD, "dataset.json records")),
    "shards that changed places": (swap_shards, (SHARD, SHARDS[0])),
    "a shard of another dataset": (another_shard, (SHARD, "fingerprint")),
    "a row less": (change_rows(lambda rows: rows.pop(5) and None), ("manifest.jsonl", SHARD)),
    "the last row less": (change_rows(lambda rows: rows.pop() and None), ("manifest.jsonl", "test-00000.h5")),
    "a row twice": (change_rows(lambda rows: rows.append(rows[5])), ("manifest.jsonl", f"{FIFTH} is there twice")),
    "rows in another order": (change_rows(lambda rows: rows.reverse()), ("manifest.jsonl", SHARD)),
    "a row with a field more": (change_rows(lambda rows: rows[5].update(more=1)), ("manifest.jsonl, line 6",)),
    "a row with a field less": (change_rows(lambda rows: rows[5].pop("z") * 0), ("manifest.jsonl, line 6",)),
    "a row of an unknown shard": (
        change_rows(lambda rows: rows[5].update(shard="train-00009.h5")),
        ("manifest.jsonl", "train-00009.h5, which dataset.json does not name"),
    ),
    "no manifest": (lambda folder: (folder / "manifest.jsonl").unlink(), ("manifest.jsonl", "found nothing")),
    "an empty manifest": (lambda folder: (folder / "manifest.jsonl").write_bytes(b""), ("manifest.jsonl",)),
}


def test_nothing_is_found_where_nothing_is_wrong(built: Path, augpipe: Run) -> None:
    code, out, err = augpipe("verify", built)
    assert (code, err) == (0, "")
    assert "12 samples in 4 shards: every digest holds" in out


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_and_named(dataset: Path, augpipe: Run, fault: str) -> None:
    plant, expected = FAULTS[fault]
    plant(dataset)
    code, out, err = augpipe("verify", dataset)
    assert code == 1
    assert "Traceback" not in err
    for words in expected:
        assert words in out, out


def test_a_limit_on_open_files_says_nothing_of_a_dataset(
    dataset: Path, augpipe: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise DatasetError("not a readable shard") from OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("pipeline.verify.samples._check_rows", fail)
    code, out, err = augpipe("verify", dataset)
    assert (code, out) == (3, "")
    assert "h5: was not checked (Too many open files)" in err


def test_findings_are_in_the_report_too(dataset: Path, augpipe: Run) -> None:
    (dataset / SHARD).unlink()
    code, out, _ = augpipe("verify", dataset, "--json", "-")
    report = json.loads(out)
    assert code == 1
    assert len(report["findings"]) == 1
    assert SHARD in report["findings"][0]


@pytest.mark.parametrize("name", ["images", "labels", "ids"])
def test_a_fault_that_all_file_digests_were_made_to_agree_with_is_found(dataset: Path, name: str) -> None:
    """The array digests in the manifest are the identity; the digest of the file only finds corruption."""

    def write(file: h5py.File, arrays: dict[str, Any]) -> None:
        changed = arrays[name].copy()
        if name == "ids":
            changed[1] = b"s000-z00005-r0000001"
        else:
            changed[1, 20, 20] ^= 1
        write_plainly(file, {**arrays, name: changed})

    rewrite_shard(dataset / SHARD, write)
    seal(dataset)
    findings = verify_dataset(dataset).findings
    assert findings
    assert all(SHARD in finding for finding in findings)
    if name != "ids":
        assert FIFTH in findings[0]


# dataset.json


RECORD_LEAVES = [
    ("classes", 1, "value"),
    ("config", "gap"),
    ("config", "ranges", "sigma_px"),
    ("config", "seed"),
    ("config", "test"),
    ("fingerprint",),
    ("inputs", 0, "images", "sha256"),
    ("inputs", 0, "labels", "dtype"),
    ("label_kind",),
    ("manifest", "bytes"),
    ("manifest", "sha256"),
    ("name",),
    ("renderer",),
    ("schema",),
    ("shards", 0, "bytes"),
    ("shards", 0, "content_sha256"),
    ("shards", 0, "n"),
    ("shards", 0, "sha256"),
    ("source", "title"),
    ("split", "gap"),
    ("split", "samples", "train"),
    ("split", "slices", "test", 0, "z", 0),
    ("split", "strategy"),
    ("arrays", "images"),
    ("arrays", "window", 0),
]


def altered(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return ("1" if value[0] == "0" else "0") + value[1:]
    return value + 1


@pytest.mark.parametrize("path", RECORD_LEAVES, ids=lambda path: ".".join(map(str, path)))
def test_every_part_of_the_record_is_held_against_another(dataset: Path, augpipe: Run, path: tuple[Any, ...]) -> None:
    """Nothing in dataset.json may say otherwise than the rest; the classes' values are the source's to say."""

    def edit(values: Any) -> None:
        for key in path[:-1]:
            values = values[key]
        values[path[-1]] = altered(values[path[-1]])

    edit_record(dataset, edit)
    code, out, err = augpipe("verify", dataset, "--replay")
    assert code in {1, 3}, out
    assert len(err.splitlines()) <= 1
    assert "dataset" in out + err


def test_any_flipped_bit_of_the_record_is_found_or_is_not_json_any_more(dataset: Path, augpipe: Run) -> None:
    """One bit in every thirteenth byte; never a traceback, and where the record is still read, a finding."""
    path = dataset / "dataset.json"
    whole = path.read_bytes()
    missed = []
    for place in range(0, len(whole) - 1, 13):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        code, _, err = augpipe("verify", dataset)
        assert len(err.splitlines()) == (code == 3)
        # What a class was called in the source, only the source can tell.
        if code == 0 and augpipe("verify", dataset, "--replay").code == 0:
            missed.append(whole[max(0, place - 20) : place + 5])
    assert missed == []


@pytest.mark.parametrize("key", ["config", "inputs", "renderer", "split", "source", "classes", "shards", "manifest"])
def test_a_record_with_a_hole_is_a_finding_and_no_traceback(dataset: Path, augpipe: Run, key: str) -> None:
    whole = (dataset / "dataset.json").read_bytes()
    wrong = []
    for value in ("missing", None, 7, "x", [], {}, [7]):
        (dataset / "dataset.json").write_bytes(whole)
        edit_record(dataset, lambda values, v=value: values.pop(key) if v == "missing" else values.update({key: v}))
        for options in ((), ("--replay",)):
            try:
                code, _, err = augpipe("verify", dataset, *options)
            except Exception as error:  # noqa: BLE001  # any exception is what must not happen
                wrong.append((value, options, repr(error)))
            else:
                if code not in {1, 3} or len(err.splitlines()) != (code == 3):
                    wrong.append((value, options, f"exit {code}: {err}"))
    assert wrong == []


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda data: json.dumps(json.loads(data), indent=2).encode(),
        lambda data: data[:-1] + b"\r\n",
        lambda data: data[:-1],
        lambda data: b" " + data,
        lambda data: b'{"renderer":7,' + data[1:],
        lambda data: data.replace(b'"renderer"', rb'"\u0072enderer"'),
        lambda data: json.dumps(dict(reversed(json.loads(data).items())), separators=(",", ":")).encode() + b"\n",
    ],
    ids=["pretty", "CRLF", "no newline", "a space", "a key twice", "escaped", "another order"],
)
def test_a_record_in_other_bytes_is_a_finding(dataset: Path, augpipe: Run, rewrite: Callable[[bytes], bytes]) -> None:
    """It says the same, so that it can be read; but its digest, by which people cite the dataset, is another one."""
    path = dataset / "dataset.json"
    path.write_bytes(rewrite(path.read_bytes()))
    verification = verify_dataset(dataset)
    assert [fault.kind for fault in verification.faults] == ["record"]
    assert "dataset.json: is not written as augpipe writes it" in verification.findings[0]
    audited = augpipe("audit", dataset)
    assert audited.code == 1
    assert "M001" in audited.out
    assert augpipe("rebuild", dataset, "--out", dataset.with_name("again")).code == 1
    assert augpipe("show", dataset).code == 0


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\n"])
def test_a_record_that_is_no_record_could_not_be_checked(dataset: Path, augpipe: Run, content: bytes) -> None:
    (dataset / "dataset.json").write_bytes(content)
    code, out, err = augpipe("verify", dataset)
    assert (code, out) == (3, "")
    assert "dataset.json" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
@pytest.mark.parametrize("file", ["dataset.json", "manifest.jsonl"])
def test_a_number_that_is_not_finite_is_one_line(dataset: Path, augpipe: Run, file: str, number: str) -> None:
    """A manifest that cannot be read to its end is a finding; without dataset.json, nothing could be checked."""
    text = (dataset / file).read_text()
    field = {"dataset.json": '"sigma_px":', "manifest.jsonl": '"angle_deg":'}[file]
    head, _, tail = text.partition(field)
    (dataset / file).write_text(head + field + re.sub(r"^(\[?)[-0-9.e]+", rf"\g<1>{number}", tail))
    for command in ("verify", "audit", "rebuild", "show"):
        code, out, err = augpipe(command, dataset)
        if file == "dataset.json" or code == 3:
            assert (code, len(err.splitlines())) == (3, 1), (command, out, err)
            assert file in err
        else:
            assert (command, code) in {("verify", 1), ("audit", 1), ("rebuild", 1), ("show", 0)}


def test_where_there_is_no_dataset_nothing_was_checked(tmp_path: Path, augpipe: Run) -> None:
    (tmp_path / "file").write_text("x")
    for path, words in (
        (tmp_path / "none", "found nothing"),
        (tmp_path, "found nothing"),
        (tmp_path / "file", "a file"),
    ):
        code, out, err = augpipe("verify", path)
        assert (code, out) == (3, "")
        assert words in err
        assert len(err.splitlines()) == 1


# Replay


def test_replay_renders_every_sample_again(built: Path, augpipe: Run) -> None:
    code, out, err = augpipe("verify", built, "--replay")
    assert (code, err) == (0, "")
    assert "12 samples in 4 shards, 12 rendered again: every digest holds" in out


def test_replay_of_one_sample(built: Path, augpipe: Run) -> None:
    code, out, _ = augpipe("verify", built, "--replay", "--sample", FIFTH)
    assert code == 0
    assert "1 rendered again" in out


def test_replay_of_an_unknown_sample(built: Path, augpipe: Run) -> None:
    code, _, err = augpipe("verify", built, "--replay", "--sample", "s000-z00008-r0000000")
    assert code == 2
    assert "holds no sample 's000-z00008-r0000000'" in err


@pytest.mark.parametrize("options", [("--sample", FIFTH), ("--source", ".")])
def test_what_belongs_to_replay_needs_it(built: Path, augpipe: Run, options: tuple[str, str]) -> None:
    assert augpipe("verify", built, *options).code == 2


def falsify_recipe(row: dict[str, Any]) -> None:
    row["recipe"]["shift_px"][0] += 1


@pytest.mark.parametrize(
    ("field", "falsify"),
    [
        ("recipe", falsify_recipe),
        ("recipe.matrix", lambda row: row["recipe"]["matrix"].reverse()),
        ("z", lambda row: row.update(z=6)),
        ("image_sha256", lambda row: row.update(image_sha256="0" * 64)),
        ("source_sha256", lambda row: row.update(source_sha256="0" * 64)),
        ("replicate", lambda row: row.update(replicate=9)),
        ("recipe.angle_deg", lambda row: row["recipe"].update(angle_deg=1.0)),
    ],
)
def test_a_falsified_row_is_found_though_every_digest_agrees(
    dataset: Path, augpipe: Run, field: str, falsify: Callable[[dict[str, Any]], Any]
) -> None:
    """Whoever changes a row and then every digest above it is found out by the source's pixels and the seed."""
    del field
    rows = read_rows(dataset)
    falsify(rows[5])
    write_rows(dataset, rows)
    seal(dataset)
    code, out, err = augpipe("verify", dataset, "--replay")
    assert code in {1, 3}  # 3 where the row contradicts itself, so that there is nothing to render
    assert FIFTH in out + err or "line 6" in out + err


def put_in(folder: Path, shard: str, row: int, image: Any, label: Any) -> None:
    """Write other pixels into a shard."""

    def write(file: h5py.File, arrays: dict[str, Any]) -> None:
        arrays["images"][row], arrays["labels"][row] = image, label
        write_plainly(file, arrays)

    rewrite_shard(folder / shard, write)


@pytest.mark.parametrize("claimed", ["its own id", "the id of the slice it is from"])
def test_a_train_slice_smuggled_into_the_test_split_is_found(dataset: Path, augpipe: Run, claimed: str) -> None:
    """The leak this project is about: recipe, pixels and digests all agree, only the slice is one to train on."""
    from augment.recipe import Recipe
    from augment.renderer import render

    images, labels = small_stack()
    rows = read_rows(dataset)
    row = next(row for row in rows if row["shard"] == "test-00000.h5" and row["row"] == 0)
    image, label = render(images[3], labels[3] // 255, Recipe.from_json(row["recipe"]))
    put_in(dataset, "test-00000.h5", 0, image, label)
    row["z"] = 3
    row["source_sha256"] = next(other["source_sha256"] for other in rows if other["z"] == 3)
    if claimed != "its own id":
        row["id"] = "s000-z00003-r0000099"
        row["replicate"] = 99

        def write(file: h5py.File, arrays: dict[str, Any]) -> None:
            arrays["ids"][0] = row["id"].encode()
            write_plainly(file, arrays)

        rewrite_shard(dataset / "test-00000.h5", write)
    write_rows(dataset, rows)
    write_rows(dataset, digest_rows(dataset))
    seal(dataset)
    code, out, err = augpipe("verify", dataset, "--replay")
    assert code in {1, 3}, out
    assert row["id"] in out + err or "line 10" in out + err


@pytest.mark.parametrize(
    "falsify",
    [
        lambda row: row.update(z=99),
        lambda row: row.update(z=-1),
        lambda row: row.update(stack=3),
        lambda row: row["recipe"].update(window=[10**6, 10**6], extent_px=[10**6, 10**6]),
        lambda row: row["recipe"].update(extent_px=[10**12, 10**12]),
        lambda row: row["recipe"].update(window=[41, 36], extent_px=[41, 36]),
        lambda row: row["recipe"].update(zoom=10**400),
        lambda row: row["recipe"].update(shift_px=[1e30, 0.0]),
    ],
)
def test_a_hostile_row_is_no_traceback(dataset: Path, augpipe: Run, falsify: Callable[[dict[str, Any]], Any]) -> None:
    """A manifest is untrusted: a slice that does not exist, a window of terabytes, a number that no float holds."""
    rows = read_rows(dataset)
    falsify(rows[5])
    write_rows(dataset, rows)
    seal(dataset)
    code, out, err = augpipe("verify", dataset, "--replay")
    assert code in {1, 3}
    assert len(err.splitlines()) == (code == 3)
    assert FIFTH in out + err or "line 6" in out + err


def test_another_source_is_refused(dataset: Path, tmp_path: Path, augpipe: Run) -> None:
    images, labels = small_stack()
    other = write_folder(tmp_path / "other", images[:, ::-1], labels)
    code, _, err = augpipe("verify", dataset, "--replay", "--source", other)
    assert code == 3
    assert "expected the pixels that" in err
    assert "found others" in err
    assert len(err.splitlines()) == 1


def test_the_same_pixels_with_other_labels_are_another_source(dataset: Path, tmp_path: Path, augpipe: Run) -> None:
    images, labels = small_stack()
    other = write_folder(tmp_path / "other", images, labels // 255)
    assert augpipe("verify", dataset, "--replay", "--source", other).code == 3


def test_a_source_that_moved_is_found_where_it_is_said_to_be(tmp_path: Path, augpipe: Run) -> None:
    folder = write_folder(tmp_path / "here", *small_stack())
    assert augpipe("build", folder, "--out", tmp_path / "d", *OPTIONS).code == 0
    folder.rename(tmp_path / "there")
    code, _, err = augpipe("verify", tmp_path / "d", "--replay")
    assert code == 3
    assert "name the source's folder with --source" in err
    assert augpipe("verify", tmp_path / "d", "--replay", "--source", tmp_path / "there").code == 0


@pytest.mark.parametrize("content", [b"", b"[]", b'{"inputs": []}', b'{"inputs": [{"images": 7}]}', b"\xff", b"null"])
def test_without_a_memory_of_the_source_it_must_be_named(dataset: Path, augpipe: Run, content: bytes) -> None:
    (dataset / "build-info.json").write_bytes(content)
    assert augpipe("verify", dataset).code == 0
    code, _, err = augpipe("verify", dataset, "--replay")
    assert code == 3
    assert "--source" in err


def test_a_source_named_in_vain(dataset: Path, tmp_path: Path, augpipe: Run) -> None:
    assert augpipe("verify", dataset, "--replay", "--source", tmp_path / "none").code == 2


def test_the_phantom_is_found_without_being_told(tmp_path: Path, augpipe: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert augpipe("build", "--n", 4, "--size", 40, "--out", "d").code == 0
    (tmp_path / "d" / "build-info.json").unlink()
    code, out, _ = augpipe("verify", "d", "--replay")
    assert code == 0
    assert "4 rendered again" in out


def test_the_phantom_with_other_labels_is_found_where_it_was(
    tmp_path: Path, augpipe: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone may paint the phantom's labels anew; the files that build-info.json remembers hold them."""
    from pipeline.source.phantom import make_phantom

    monkeypatch.chdir(tmp_path)
    images, labels = make_phantom()
    folder = write_folder(tmp_path / "painted", images, np.flip(labels, axis=1))
    assert augpipe("build", folder, "--n", 4, "--size", 40, "--out", "d").code == 0
    assert augpipe("verify", "d", "--replay").code == 0


def test_another_renderers_dataset_could_not_be_replayed(dataset: Path) -> None:
    from pipeline.errors import DatasetError

    edit_record(dataset, lambda values: values.update(renderer=99))
    with pytest.raises(DatasetError, match="rendered by version 99"):
        replay_dataset(dataset)


def test_the_reports_are_canonical(built: Path, augpipe: Run) -> None:
    out = augpipe("verify", built, "--replay", "--json", "-").out
    report = json.loads(out)
    assert canonical_json(report).decode() == out
    assert (report["checked"], report["replayed"], report["findings"]) == (12, 12, [])


def test_a_shard_that_is_not_recorded_is_a_finding(dataset: Path, augpipe: Run) -> None:
    """Whoever trains on train-*.h5 would train on it too."""
    shutil.copy(dataset / "test-00000.h5", dataset / "train-00099.h5")
    code, out, _ = augpipe("verify", dataset)
    assert code == 1
    assert "train-00099.h5" in out


def test_findings_are_told_even_when_quiet(dataset: Path, augpipe: Run) -> None:
    (dataset / "test-00000.h5").unlink()
    code, out, _ = augpipe("verify", dataset, "--quiet")
    assert code == 1
    assert "test-00000.h5" in out


def test_files_of_other_names_are_found_in_the_folder_that_is_named(tmp_path: Path, augpipe: Run) -> None:
    """--source names a folder; in it lie the files that were named with --images and --labels."""
    folder = write_folder(tmp_path / "here", *small_stack())
    (folder / "train-volume.tif").rename(folder / "raw.tif")
    (folder / "train-labels.tif").rename(folder / "seg.tif")
    named = ("--images", folder / "raw.tif", "--labels", folder / "seg.tif")
    assert augpipe("build", *named, "--out", tmp_path / "d", *OPTIONS).code == 0
    folder.rename(tmp_path / "there")
    assert augpipe("verify", tmp_path / "d", "--replay", "--source", tmp_path / "there").code == 0


def test_many_threads_verify_many_shards(tmp_path: Path) -> None:
    """More threads than shards may be open at once: one closes what another has just read."""
    build_small(tmp_path / "d", n=60, shard_size=1)
    assert verify_dataset(tmp_path / "d", jobs=32).findings == ()
