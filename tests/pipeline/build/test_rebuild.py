"""From dataset.json and the manifest alone, and the stack, come the same bytes, or nothing."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_worlds import (
    build_small,
    digests,
    edit_record,
    flip_bit,
    names,
    read_rows,
    seal,
    small_stack,
    write_folder,
    write_rows,
)

from pipeline.build.builder import build_dataset
from pipeline.build.rebuild import default_out, rebuild_dataset
from pipeline.errors import ConfigError, DamagedError, DatasetError
from pipeline.shards.config import BuildConfig
from pipeline.source.combining import make_source
from pipeline.source.phantom import make_phantom
from pipeline.source.tiff import write_stack

Run = Callable[..., Any]
LOCK = ("dataset.json", "manifest.jsonl")


def lock_of(dataset: Path, folder: Path) -> Path:
    """Return a folder that holds a dataset's records and none of its pixels."""
    folder.mkdir(parents=True)
    for name in LOCK:
        shutil.copy(dataset / name, folder)
    return folder


@pytest.fixture
def lock(tmp_path: Path, built: Path) -> Path:
    return lock_of(built, tmp_path / "locks" / "small-set")


def test_the_same_bytes_come_back(tmp_path: Path, lock: Path, built: Path, folder: Path, augpipe: Run) -> None:
    out = tmp_path / "again"
    code, told, err = augpipe("rebuild", lock, "--source", folder, "--out", out, "--jobs", 2)
    assert (code, err) == (0, "")
    assert digests(out) == digests(built)
    assert told.splitlines()[-1] == "rebuilt: every byte is as recorded"
    assert names(lock) == sorted(LOCK)
    code, told, _ = augpipe("rebuild", lock, "--source", folder, "--out", out, "--json", "-")
    assert code == 0
    report = json.loads(told)
    assert (report["schema"], report["outcome"], report["lock"]) == ("augpipe/rebuild-report/1", "reused", str(lock))
    assert augpipe("rebuild", lock, "--source", folder, "--out", out, "--quiet") == (0, "", "")


def test_it_is_named_as_the_lock(
    tmp_path: Path, lock: Path, folder: Path, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = rebuild_dataset(Path("locks") / "small-set", source_folder=folder, jobs=1)
    assert result.out == Path("datasets") / "small-set"
    assert digests(tmp_path / result.out) == digests(built)
    monkeypatch.chdir(lock)
    assert default_out(Path()) == Path("datasets") / "small-set"
    with pytest.raises(ConfigError, match="has no name"):
        default_out(Path("/"))


def test_what_the_owner_knew_of_the_source_comes_back(tmp_path: Path) -> None:
    """Facts are no part of the pixels, and of the fingerprint."""
    images, labels = small_stack()
    facts = {"title": "a stack of mine", "licence": "CC-BY-4.0", "voxel_size_nm": [50.0, 4.0, 4.0]}
    source = make_source(images, labels, name="mine", facts=facts)
    config = BuildConfig(n=4, size=(40, 36), gap=1, test=0.25, weights="unet2015")
    out = build_dataset(source, config, out=tmp_path / "d", jobs=1).out
    lock = lock_of(out, tmp_path / "lock")
    folder = write_folder(tmp_path / "stack", images, labels)
    assert digests(rebuild_dataset(lock, tmp_path / "e", source_folder=folder, jobs=1).out) == digests(out)


def test_stacks_of_any_name_are_told_one_by_one(tmp_path: Path, augpipe: Run) -> None:
    """A lock does not remember files: those of several stacks, or of other names, are named again."""
    options: list[Any] = []
    for stack in (1, 2):
        pair = make_phantom((8, 64, 72), seed=stack)
        for kind, pixels in zip(("images", "labels"), pair, strict=True):
            path = tmp_path / f"{kind}-{stack}.tif"
            write_stack(path, pixels)
            options += [f"--{kind}", path]
    build = ("--n", 4, "--size", "40x36", "--split", "stack", "--test", "0.5", "--name", "pair", "--jobs", 1)
    assert augpipe("build", *options, *build, "--out", tmp_path / "d", "--quiet").code == 0
    lock = lock_of(tmp_path / "d", tmp_path / "lock")
    assert augpipe("rebuild", lock, *options, "--out", tmp_path / "e", "--quiet") == (0, "", "")
    assert digests(tmp_path / "e") == digests(tmp_path / "d")
    other_way_round = [*options[4:], *options[:4]]
    assert augpipe("rebuild", lock, *other_way_round, "--out", tmp_path / "f").code == 3
    for wrong in (options[:2], [*options, "--source", tmp_path]):
        code, _, err = augpipe("rebuild", lock, *wrong)
        assert code == 2
        assert "either --source, or one --labels for each --images" in err


def test_another_source_is_refused(tmp_path: Path, lock: Path, augpipe: Run) -> None:
    other = write_folder(tmp_path / "other", *make_phantom((12, 64, 72), seed=8))
    before = names(tmp_path)
    for arguments, words in (
        (("--source", other), "expected the pixels that"),
        ((), "--source"),
        (("--source", tmp_path / "none"), "found nothing"),
    ):
        code, out, err = augpipe("rebuild", lock, "--out", tmp_path / "d", *arguments)
        assert code in {2, 3}
        assert out == ""
        assert len(err.splitlines()) == 1
        assert words in err
        assert names(tmp_path) == before


def forge_sample(dataset: Path) -> None:
    """Record another image, with every digest that follows from it."""
    rows = read_rows(dataset)
    rows[5]["image_sha256"] = "0" * 64
    write_rows(dataset, rows)
    seal(dataset)


def forge_file(dataset: Path) -> None:
    """Record another file of the same samples, as other library versions would write it."""
    edit_record(dataset, lambda values: values["shards"][3].update(sha256="0" * 64))


def forge_layout(dataset: Path) -> None:
    """Record the same in other words: dataset.json is digested as it lies there."""
    path = dataset / "dataset.json"
    path.write_bytes(json.dumps(json.loads(path.read_bytes()), indent=1).encode())


@pytest.mark.parametrize(
    ("forge", "words"),
    [
        (forge_sample, "gives other samples than those recorded, in 1 of 4 shards, first in s000-z00005-r0000000"),
        (forge_file, "the same samples in other bytes, first in test-00000.h5"),
    ],
)
def test_what_does_not_come_out_as_recorded_is_not_kept(
    tmp_path: Path, dataset: Path, folder: Path, augpipe: Run, forge: Callable[[Path], None], words: str
) -> None:
    forge(dataset)
    lock = lock_of(dataset, tmp_path / "lock")
    before = names(tmp_path)
    code, out, err = augpipe("rebuild", lock, "--source", folder, "--out", tmp_path / "d", "--quiet")
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert words in err
    assert "nothing was kept" in err
    assert names(tmp_path) == before


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda lock: flip_bit(lock / "manifest.jsonl", 400), 1),
        (lambda lock: write_rows(lock, read_rows(lock)[:-1]), 1),
        (lambda lock: edit_record(lock, lambda values: values["config"].update(seed=1)), 1),
        (lambda lock: edit_record(lock, lambda values: values.update(fingerprint="0" * 64)), 1),
        (lambda lock: edit_record(lock, lambda values: values["source"].update(title="another")), 1),
        (lambda lock: edit_record(lock, lambda values: values.update(renderer=99)), 3),
        (lambda lock: (lock / "manifest.jsonl").unlink(), 3),
        (lambda lock: (lock / "dataset.json").unlink(), 3),
    ],
    ids=["a bit", "a line", "an option", "fingerprint", "facts", "renderer", "no manifest", "no record"],
)
def test_records_that_contradict_each_other_are_refused_before_anything_is_built(
    tmp_path: Path, lock: Path, folder: Path, augpipe: Run, damage: Callable[[Path], None], code: int
) -> None:
    damage(lock)
    before = names(tmp_path)
    found = augpipe("rebuild", lock, "--source", folder, "--out", tmp_path / "d")
    assert found.code == code
    assert found.out == ""
    assert len(found.err.splitlines()) == 1
    assert names(tmp_path) == before


def test_a_lock_file_in_other_words_is_refused_before_anything_is_built(
    tmp_path: Path, lock: Path, folder: Path, augpipe: Run
) -> None:
    forge_layout(lock)
    code, _, err = augpipe("rebuild", lock, "--source", folder, "--out", tmp_path / "out")
    assert code == 1
    assert "dataset.json: is not written as augpipe writes it" in err
    assert not (tmp_path / "out").exists()


def test_what_is_there_already_is_not_touched(tmp_path: Path, lock: Path, folder: Path, built: Path) -> None:
    other = build_small(tmp_path / "other", seed=5).out
    before = digests(other)
    with pytest.raises(ConfigError, match="holds another dataset"):
        rebuild_dataset(lock, other, source_folder=folder, jobs=1)
    assert digests(other) == before
    # The same dataset in other bytes is reused by a build, and is not what is recorded here.
    same = Path(shutil.copytree(built, tmp_path / "same"))
    forge_file(lock)
    with pytest.raises(DamagedError, match="in other bytes than"):
        rebuild_dataset(lock, same, source_folder=folder, jobs=1)
    assert digests(same) == digests(built)


def test_a_dataset_of_another_renderer_is_left_to_it(lock: Path, folder: Path) -> None:
    edit_record(lock, lambda values: values.update(renderer=99))
    with pytest.raises(DatasetError, match="rendered by version 99"):
        rebuild_dataset(lock, source_folder=folder, jobs=1)


def test_it_does_not_advise_what_it_cannot_do(
    tmp_path: Path, lock: Path, folder: Path, dataset: Path, augpipe: Run
) -> None:
    """A rebuild has no --overwrite."""
    other = build_small(tmp_path / "other", seed=5).out
    flip_bit(dataset / "train-00000.h5", 5000)
    before = digests(tmp_path)
    for out, code, words in (
        (other, 2, "holds another dataset"),
        (dataset, 1, "move it, or choose another --out"),
        (lock, 2, "is the folder of the lock file itself; name another --out"),
        (lock / ".." / "small-set", 2, "is the folder of the lock file itself"),
    ):
        found = augpipe("rebuild", lock, "--source", folder, "--out", out, "--jobs", 1)
        assert (found.code, found.out) == (code, "")
        assert len(found.err.splitlines()) == 1
        assert words in found.err
        assert "--overwrite" not in found.err
        assert digests(tmp_path) == before


def test_shards_beside_a_lock_are_not_looked_at(
    tmp_path: Path, lock: Path, folder: Path, built: Path, augpipe: Run
) -> None:
    (lock / "train-00007.h5").write_bytes(b"of another dataset")
    (lock / "notes.h5").write_bytes(b"")
    assert augpipe("rebuild", lock, "--source", folder, "--out", tmp_path / "d", "--quiet") == (0, "", "")
    assert digests(tmp_path / "d") == digests(built)


def forge_depth(values: dict[str, Any], depth: int = 10**13) -> None:
    for kind in ("images", "labels"):
        values["inputs"][0][kind]["shape"][0] = depth


@pytest.mark.parametrize(
    ("forge", "words"),
    [
        (forge_depth, "ids have room for 100000 slices a stack"),
        (lambda values: values.update(inputs=values["inputs"] * 50_000), "1 to 1000 stacks, got 50000"),
        (
            lambda values: (forge_depth(values, 10**5), values.update(inputs=values["inputs"] * 11)),
            "at most 1000000 slices",
        ),
        (lambda values: values["inputs"][0]["images"].update(shape=["12", 64, 72]), "$.inputs[0].images.shape[0]"),
        (lambda values: values["inputs"][0]["images"].update(shape=[12, 64]), "$.inputs[0].images.shape"),
        (lambda values: values["inputs"][0]["images"].update(sha256={}), "$.inputs[0].images.sha256"),
        (lambda values: values["inputs"][0]["labels"].update(values=["a\n|b"]), "$.inputs[0].labels.values[0]"),
        (lambda values: values["inputs"][0].update(labels=3), "$.inputs[0].labels"),
        (lambda values: values.update(inputs={}), "$.inputs"),
        (lambda values: values.update(inputs=[]), "1 to 1000 stacks, got 0"),
        (lambda values: values.update(name="\ud800"), "expected the name of a dataset, got '\\ud800'"),
        (lambda values: values.update(name="a\nb"), "expected the name of a dataset"),
        (lambda values: values.update(name="x" * 81), "expected the name of a dataset"),
    ],
    ids=[
        "depth",
        "stacks",
        "slices",
        "text",
        "flat",
        "digest",
        "values",
        "labels",
        "no list",
        "none",
        "half a character",
        "two lines",
        "long",
    ],
)
@pytest.mark.parametrize("command", ["rebuild", "verify", "card", "show"])
def test_records_of_monstrous_things_are_refused_at_once(
    dataset: Path, augpipe: Run, forge: Callable[[dict[str, Any]], Any], words: str, command: str
) -> None:
    path = dataset / "dataset.json"
    values = json.loads(path.read_bytes())
    forge(values)
    path.write_text(json.dumps(values))
    code, out, err = augpipe(command, dataset)
    assert code == 3
    assert out == ""
    assert len(err.splitlines()) == 1
    assert words in err
    assert len(err) < 600


def test_a_folder_without_the_stack_is_told_what_it_should_hold(augpipe: Run, built: Path, tmp_path: Path) -> None:
    """And not to name files with options that the command does not have."""
    empty = tmp_path / "empty"
    empty.mkdir()
    for command in (("verify", "--replay"), ("audit",), ("preview", "--out", tmp_path / "p.png")):
        code, _, err = augpipe(command[0], built, *command[1:], "--source", empty)
        assert code == 2
        assert "empty: expected the stack that" in err
        assert "train-volume.tif" in err
    lock = tmp_path / "lock"
    lock.mkdir()
    for name in ("dataset.json", "manifest.jsonl"):
        (lock / name).write_bytes((built / name).read_bytes())
    code, _, err = augpipe("rebuild", lock, "--out", tmp_path / "d")
    assert code == 3
    assert "does not say where its stack is" in err
