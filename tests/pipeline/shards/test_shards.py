"""A shard is untrusted input: whatever it holds, reading it gives the recorded arrays or a DatasetError."""

import multiprocessing
import os
import pickle
import shutil
import signal
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_worlds import (
    SHARDS,
    SIZE,
    build_small,
    edit_record,
    read_only,
    read_rows,
    rewrite_shard,
    run_python,
    write_plainly,
)

from augment.recipe import Recipe
from pipeline.errors import ConfigError, DatasetError
from pipeline.shards import Dataset, StoredSample, open_dataset
from pipeline.shards.digest import array_digest, file_digest

Arrays = dict[str, NDArray[Any]]
SHARD = "train-00000.h5"


def read_all(folder: Path) -> None:
    """Read everything that a training would."""
    data = open_dataset(folder)
    for name in data.splits:
        split = data[name]
        assert [sample.image.shape for sample in split] == [SIZE] * len(split)
        assert split.labels[:].shape == split.images[:].shape
        assert len(split.recipes) == len(split.ids)


# What can be read


def test_a_split_is_a_sequence(built: Path) -> None:
    train = open_dataset(built)["train"]
    assert len(train) == 9
    assert [sample.id for sample in train] == list(train.ids)
    assert train[-1].id == train[8].id == "s000-z00000-r0000001"
    assert [sample.id for sample in train[6:]] == list(train.ids[6:])
    assert [sample.id for sample in train[::-4]] == [train.ids[8], train.ids[4], train.ids[0]]
    assert isinstance(train[0], StoredSample)
    for index in (9, -10):
        with pytest.raises(IndexError):
            train[index]


def test_arrays_are_those_of_the_manifest(built: Path) -> None:
    data = open_dataset(built)
    for row in read_rows(built):
        split = data[row["split"]]
        k = split.ids.index(row["id"])
        assert array_digest(split[k].image) == array_digest(split.images[k]) == row["image_sha256"]
        assert array_digest(split[k].label) == array_digest(split.labels[k]) == row["label_sha256"]
        assert split.recipes[k] == Recipe.from_json(row["recipe"])


@given(st.slices(9))
def test_ranges_reach_over_the_borders_of_shards(built: Path, rows: slice) -> None:
    """Shards of 4, 4 and 1: a range must not care."""
    train = open_dataset(built)["train"]
    for arrays in (train.images, train.labels):
        one_by_one = np.stack(list(arrays))
        assert one_by_one.shape == arrays.shape == (9, *SIZE)
        assert np.array_equal(arrays[rows], one_by_one[rows])
        assert arrays[rows].dtype == arrays.dtype == np.uint8


@pytest.mark.parametrize("index", [np.int64(5), np.int64(-4)])
def test_numpy_indices_count_as_indices(built: Path, index: Any) -> None:
    """Samplers hand out NumPy's integers."""
    train = open_dataset(built)["train"]
    assert np.array_equal(train[index].image, train[5].image)


def test_splits_are_named_and_others_refused(built: Path) -> None:
    data = open_dataset(built)
    assert data.splits == ("train", "test")
    assert data.name == "small"
    assert data.digest == file_digest(built / "dataset.json")
    assert data["test"] is data["test"]
    with pytest.raises(ConfigError, match="expected one of the splits train, test, got 'val'"):
        data["val"]


def test_a_dataset_crosses_into_other_processes_pickled(built: Path) -> None:
    data = open_dataset(built)
    before = data["train"][5]
    copy: Dataset = pickle.loads(pickle.dumps(data))
    assert np.array_equal(copy["train"][5].image, before.image)
    assert pickle.loads(pickle.dumps(data["train"])).ids == data["train"].ids


def _digests_in_child(split: Any, rows: list[int], queue: Any) -> None:
    found = [(array_digest(split[k].image), array_digest(split[k].label)) for k in rows]
    own = {shard._owner for shard in split.shards} == {os.getpid()}  # HDF5 promises nothing for another's handle
    queue.put(found if own else "read through the parent's handle")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_dataset_opened_before_a_fork_can_be_read_after_it(built: Path) -> None:
    """As a DataLoader does: the parent has read, then several workers read at the same time, and so does it."""
    train = open_dataset(built)["train"]
    expected = [(array_digest(sample.image), array_digest(sample.label)) for sample in train]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=_digests_in_child, args=(train, list(range(9)), queue)) for _ in range(3)]
    for worker in workers:
        worker.start()
    found = [queue.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert found == [expected] * 3
    assert [array_digest(sample.image) for sample in train] == [image for image, _ in expected]


def test_reading_needs_numpy_and_h5py_alone(built: Path, tmp_path: Path) -> None:
    code = """
import sys
from pipeline.shards import open_dataset
data = open_dataset(sys.argv[1])
for name in data.splits:
    data[name][0], data[name].recipes
print(sorted({"numba", "scipy", "cv2", "click", "tifffile", "joblib", "imagecodecs", "rich"} & set(sys.modules)))
import pipeline
assert pipeline.open_dataset is open_dataset
"""
    result = run_python(code, str(built), cwd=tmp_path)
    assert result.stdout == "[]\n", result.stderr


def test_more_shards_than_a_process_may_open_files_can_be_read(tmp_path: Path) -> None:
    """100,000 samples are 1,250 shards of a split; a process may open 1,024 files."""
    build_small(tmp_path / "d", n=60, shard_size=1)
    code = """
import resource, sys
from pipeline.shards import open_dataset
resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))
split = open_dataset(sys.argv[1])["train"]
print(len([sample.id for sample in split]), len(split.images[:]))
"""
    result = run_python(code, str(tmp_path / "d"), cwd=tmp_path)
    assert result.stdout == "45 45\n", result.stderr


# What must be refused


def test_a_shard_written_again_by_hand_is_accepted(dataset: Path) -> None:
    """So that what is refused below is refused for its fault, and for nothing else."""
    for shard in SHARDS:
        rewrite_shard(dataset / shard, write_plainly)
    read_all(dataset)


def soft_link(file: h5py.File, arrays: Arrays) -> None:
    write_plainly(file, arrays, leave_out="images")
    file["images"] = h5py.SoftLink("/labels")


def external_link(file: h5py.File, arrays: Arrays) -> None:
    other = Path(file.filename).with_name("other.h5")
    with h5py.File(other, "w") as target:
        write_plainly(target, arrays)
    write_plainly(file, arrays, leave_out="images")
    file["images"] = h5py.ExternalLink(other.name, "images")


def external_storage(file: h5py.File, arrays: Arrays) -> None:
    images = arrays["images"]
    raw = Path(file.filename).with_name("raw.bin")
    raw.write_bytes(images.tobytes())
    write_plainly(file, arrays, leave_out="images")
    file.create_dataset("images", images.shape, images.dtype, external=[(str(raw), 0, h5py.h5f.UNLIMITED)])


def virtual_dataset(file: h5py.File, arrays: Arrays) -> None:
    images = arrays["images"]
    write_plainly(file, arrays, leave_out="images")
    layout = h5py.VirtualLayout(images.shape, images.dtype)
    layout[:] = h5py.VirtualSource("/etc/passwd", "images", images.shape)
    file.create_virtual_dataset("images", layout)


def replaced(name: str, **keywords: Any) -> Callable[[h5py.File, Arrays], None]:
    """Return the writer of a shard with one array made in another way."""

    def write(file: h5py.File, arrays: Arrays) -> None:
        write_plainly(file, arrays, leave_out=name)
        options = {"data": arrays[name], "chunks": (1, *arrays[name].shape[1:]) if name != "ids" else None, **keywords}
        file.create_dataset(name, **options)

    return write


def changed(name: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[h5py.File, Arrays], None]:
    """Return the writer of a shard with other values in one array."""

    def write(file: h5py.File, arrays: Arrays) -> None:
        write_plainly(file, {**arrays, name: change(arrays[name])})

    return write


def missing(name: str) -> Callable[[h5py.File, Arrays], None]:
    return lambda file, arrays: write_plainly(file, arrays, leave_out=name)


def group(name: str) -> Callable[[h5py.File, Arrays], None]:
    def write(file: h5py.File, arrays: Arrays) -> None:
        write_plainly(file, arrays, leave_out=name)
        file.create_group(name)

    return write


def named_type(file: h5py.File, arrays: Arrays) -> None:
    write_plainly(file, arrays, leave_out="labels")
    file["labels"] = np.dtype(np.uint8)


def extra_array(file: h5py.File, arrays: Arrays) -> None:
    write_plainly(file, arrays)
    file["more"] = [1]


def huge(file: h5py.File, arrays: Arrays) -> None:
    write_plainly(file, arrays, leave_out="images")
    file.create_dataset("images", (10**9, *SIZE), np.uint8, chunks=(1, *SIZE))


def text_ids(file: h5py.File, arrays: Arrays) -> None:
    write_plainly(file, arrays, leave_out="ids")
    file.create_dataset("ids", data=["x"] * 4, dtype=h5py.string_dtype())


def scalar_images(file: h5py.File, arrays: Arrays) -> None:
    write_plainly(file, arrays, leave_out="images")
    file.create_dataset("images", data=np.uint8(1))


def empty_images(file: h5py.File, arrays: Arrays) -> None:
    write_plainly(file, arrays, leave_out="images")
    file.create_dataset("images", data=h5py.Empty(np.uint8))


def object_references(file: h5py.File, arrays: Arrays) -> None:
    write_plainly(file, arrays, leave_out="ids")
    file.create_dataset("ids", (4,), h5py.ref_dtype)


HOSTILE: dict[str, tuple[Callable[[h5py.File, Arrays], None], str]] = {
    "soft link": (soft_link, "images is a link"),
    "external link": (external_link, "images is a link"),
    "external storage": (external_storage, "keeps its values in other files"),
    "virtual dataset": (virtual_dataset, "keeps its values in other files"),
    "lzf": (replaced("images", compression="lzf"), "only deflate is allowed"),
    "shuffle": (replaced("labels", shuffle=True, compression="gzip"), "only deflate is allowed"),
    "fletcher32": (replaced("labels", fletcher32=True), "only deflate is allowed"),
    "scale-offset": (replaced("images", scaleoffset=0), "only deflate is allowed"),
    "ids through lzf": (replaced("ids", chunks=(4,), compression="lzf"), "only deflate is allowed"),
    "other chunks": (replaced("images", chunks=(2, *SIZE)), r"in chunks \(2, "),
    "no chunks": (replaced("labels", chunks=None), "in chunks None"),
    "other dtype": (changed("images", lambda a: a.astype(np.uint16)), "is .* uint16 in chunks"),
    "signed": (changed("labels", lambda a: a.astype(np.int8)), "is .* int8 in chunks"),
    "one row too many": (changed("images", lambda a: np.concatenate((a, a[:1]))), r"is \(5, 40, 36\)"),
    "one row too few": (changed("labels", lambda a: a[:3]), r"is \(3, 40, 36\)"),
    "turned": (changed("images", lambda a: np.ascontiguousarray(a.transpose(0, 2, 1))), r"is \(4, 36, 40\)"),
    "fewer ids": (changed("ids", lambda a: a[:3]), r"ids is \(3,\)"),
    "numbers for ids": (changed("ids", lambda _: np.arange(4)), "ids is .* int64"),
    "long ids": (changed("ids", lambda a: a.astype("S65")), r"ids is .* \|S65"),
    "ids of any length": (text_ids, "ids is"),
    "references for ids": (object_references, "ids is"),
    "huge shape": (huge, r"is \(1000000000, 40, 36\)"),
    "no images": (missing("images"), "expected the arrays"),
    "no labels": (missing("labels"), "expected the arrays"),
    "no ids": (missing("ids"), "expected the arrays"),
    "one array more": (extra_array, "expected the arrays"),
    "a group": (group("images"), "images is not an array"),
    "a type": (named_type, "labels is not an array"),
    "a single number": (scalar_images, r"is \(\) uint8"),
    "nothing": (empty_images, "is None uint8"),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_hostile_array_is_refused_and_named(dataset: Path, fault: str) -> None:
    write, message = HOSTILE[fault]
    rewrite_shard(dataset / SHARD, write)
    with pytest.raises(DatasetError, match=message) as caught:
        read_all(dataset)
    assert SHARD in str(caught.value)


@pytest.mark.skipif(not h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP), reason="this HDF5 has no szip")
def test_szip_is_refused(dataset: Path) -> None:
    rewrite_shard(dataset / SHARD, replaced("images", compression="szip"))
    with pytest.raises(DatasetError, match="only deflate is allowed"):
        read_all(dataset)


@pytest.mark.parametrize(
    "attributes",
    [
        {"schema": None},
        {"split": None},
        {"fingerprint": None},
        {"schema": np.bytes_(b"augpipe/shard/2")},
        {"split": np.bytes_(b"test")},
        {"fingerprint": np.bytes_(b"0" * 64)},
        {"schema": "augpipe/shard/1"},
        {"split": 1},
        {"split": [b"train"]},
        {"fingerprint": h5py.Empty("S4")},
        {"fingerprint": np.bytes_(b"\xff\xfe")},
    ],
)
def test_a_missing_or_other_attribute_is_refused(dataset: Path, attributes: dict[str, Any]) -> None:
    rewrite_shard(dataset / SHARD, write_plainly, **attributes)
    with pytest.raises(DatasetError, match=f"attribute {next(iter(attributes))} is"):
        read_all(dataset)


def test_a_shard_of_another_dataset_is_refused(dataset: Path, tmp_path: Path) -> None:
    build_small(tmp_path / "other", seed=1)
    shutil.copyfile(tmp_path / "other" / SHARD, dataset / SHARD)
    with pytest.raises(DatasetError, match=r"attribute fingerprint is .* a shard of another dataset"):
        read_all(dataset)


def test_a_shard_of_terabytes_is_refused_even_where_the_record_agrees(dataset: Path) -> None:
    def write(file: h5py.File, _: Arrays) -> None:
        for name in ("images", "labels"):
            file.create_dataset(name, (10**9, *SIZE), np.uint8, chunks=(1, *SIZE))
        file.create_dataset("ids", (10**9,), "S20", chunks=(1000,))

    rewrite_shard(dataset / SHARD, write)
    edit_record(dataset, lambda values: values["shards"][0].update(n=10**9))
    with pytest.raises(DatasetError, match="larger than"):
        open_dataset(dataset)["train"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells how much memory was ever used")
def test_a_chunk_that_inflates_to_gigabytes_is_not_inflated(dataset: Path, tmp_path: Path) -> None:
    """256 KB of deflate can hold 256 MB of zeros; the recorded shape says 1,440 bytes."""
    bomb = zlib.compress(bytes(1 << 28), 1)

    def write(file: h5py.File, arrays: Arrays) -> None:
        write_plainly(file, arrays, leave_out="labels")
        labels = file.create_dataset("labels", arrays["labels"].shape, np.uint8, chunks=(1, *SIZE), compression="gzip")
        for row in range(4):
            labels.id.write_direct_chunk((row, 0, 0), bomb)

    rewrite_shard(dataset / SHARD, write)
    code = """
import re, sys
from pathlib import Path
from pipeline.errors import DatasetError
from pipeline.shards import open_dataset
def most_memory_kib():
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
before = most_memory_kib()
try:
    open_dataset(sys.argv[1])["train"].labels[0]
except DatasetError:
    pass
print(most_memory_kib() - before < 100_000)
"""
    result = run_python(code, str(dataset), cwd=tmp_path)
    assert result.stdout == "True\n", result.stderr


def broken_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.h5")


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


FILES: dict[str, Callable[[Path], Any]] = {
    "missing": Path.unlink,
    "a broken link": broken_link,
    "a folder": folder_instead,
    "a pipe": pipe,
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(np.random.default_rng(0).bytes(10_000)),
    "text": lambda path: path.write_text("hello"),
    "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut by a byte": lambda path: os.truncate(path, path.stat().st_size - 1),
    "only a signature": lambda path: os.truncate(path, 8),
}


@pytest.mark.parametrize("fault", FILES)
def test_a_damaged_file_is_refused_and_named(dataset: Path, fault: str) -> None:
    FILES[fault](dataset / SHARD)
    with pytest.raises(DatasetError, match=SHARD):
        read_all(dataset)


def test_a_corrupt_chunk_is_refused_when_it_is_read(dataset: Path) -> None:
    with read_only(dataset / SHARD) as file:
        place = file["labels"].id.get_chunk_info(2)
    with (dataset / SHARD).open("r+b") as file:
        file.seek(place.byte_offset)
        file.write(b"\xff" * place.size)
    with pytest.raises(DatasetError, match=SHARD):
        read_all(dataset)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_structure_raises_nothing_else(
    built: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Bytes of the file's structure, not its pixels: HDF5 must either read on or give up with our error."""
    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    shutil.rmtree(folder, ignore_errors=True)  # a new file: HDF5 knows an old one again by its inode
    shutil.copytree(built, folder)
    path = folder / SHARD
    content = bytearray(path.read_bytes())
    with h5py.File(built / SHARD, "r") as file:
        places = [file[name].id.get_chunk_info(k) for name in ("images", "labels") for k in range(4)]
    pixels = {k for place in places for k in range(place.byte_offset, place.byte_offset + place.size)}
    structure = [k for k in range(len(content)) if k not in pixels]
    for _ in range(data.draw(st.integers(1, 2))):
        content[data.draw(st.sampled_from(structure))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        read_all(folder)
    except DatasetError as error:
        assert str(error)  # noqa: PT017


# The record


@pytest.mark.parametrize(
    "name",
    [
        "../train-00000.h5",
        "/etc/passwd",
        "train-00000.h5\n",
        "sub/train-00000.h5",
        "train-0.h5",
        "TRAIN-00000.h5",
        "train-00000.hdf5",
        "test-00000.h5",
        "",
        7,
        None,
        ["train-00000.h5"],
    ],
)
def test_a_shards_name_cannot_leave_the_folder(dataset: Path, name: Any) -> None:
    edit_record(dataset, lambda values: values["shards"][0].update(file=name))
    with pytest.raises(DatasetError, match=r"shard|not a dataset record"):
        open_dataset(dataset)


def assign(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def edit(values: Any) -> None:
        for key in path[:-1]:
            values = values[key]
        values[path[-1]] = value

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        assign("schema", value="augpipe/dataset/2"),
        assign("schema", value=None),
        assign("manifest", "file", value="../manifest.jsonl"),
        assign("manifest", value=[]),
        assign("manifest", "bytes", value=float("1e400")),
        assign("arrays", "window", value=[float("1e400"), 36]),
        assign("arrays", "window", value=[10**400, 36]),
        assign("arrays", "window", value=[0, 36]),
        assign("arrays", "window", value=[40]),
        assign("arrays", "window", value="40"),
        assign("arrays", "images", value="object"),
        assign("arrays", "labels", value="float32"),
        assign("shards", value={}),
        assign("shards", value=[1]),
        assign("shards", 0, "n", value=0),
        assign("shards", 0, "n", value="4"),
        assign("shards", 0, "n", value=4.0),
        assign("shards", 0, "bytes", value=-1),
        assign("shards", 0, "sha256", value="A" * 64),
        assign("shards", 0, "content_sha256", value=7),
        assign("shards", 0, "more", value=7),
        assign("shards", 1, "file", value="train-00000.h5"),
        assign("name", value=["x"]),
        assign("fingerprint", value=1),
        lambda values: values.pop("fingerprint"),
        lambda values: values.pop("arrays"),
    ],
)
def test_a_record_that_augpipe_did_not_write_is_refused(dataset: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    import json

    path = dataset / "dataset.json"
    values = json.loads(path.read_bytes())
    edit(values)
    path.write_text(json.dumps(values))
    with pytest.raises(DatasetError, match=r"dataset|shard"):
        open_dataset(dataset)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 200_000, b'{"schema":1}', b"1" * 5000])
def test_what_is_no_record_is_refused(dataset: Path, content: bytes) -> None:
    (dataset / "dataset.json").write_bytes(content)
    with pytest.raises(DatasetError, match="dataset"):
        open_dataset(dataset)


def test_an_unfinished_dataset_is_refused(dataset: Path) -> None:
    (dataset / "dataset.json").unlink()
    with pytest.raises(DatasetError, match="is the dataset complete"):
        open_dataset(dataset)
    with pytest.raises(DatasetError, match="found nothing"):
        open_dataset(dataset / "none")


def test_a_manifest_of_other_samples_is_noticed(dataset: Path) -> None:
    lines = (dataset / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (dataset / "manifest.jsonl").write_bytes(b"".join(lines[1:]))
    train = open_dataset(dataset)["train"]
    with pytest.raises(DatasetError, match=r"manifest.jsonl: expected 12 samples.*found 11"):
        _ = train.recipes
    (dataset / "manifest.jsonl").write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))
    with pytest.raises(DatasetError, match="are not those of the shards"):
        _ = open_dataset(dataset)["train"].recipes


def test_a_dataset_is_a_mapping_of_its_splits(built: Path) -> None:
    data = open_dataset(built)
    assert list(data) == ["train", "test"]
    assert ("train" in data, "val" in data, 0 in data) == (True, False, False)
    assert {name: len(split) for name, split in data.items()} == {"train": 9, "test": 3}


def test_a_child_forked_while_a_thread_reads_can_read(built: Path) -> None:
    """As data loaders do: without care the child would wait for a lock that its parent's thread held."""
    train = open_dataset(built)["train"]
    stop = threading.Event()

    def read_on() -> None:
        while not stop.is_set():
            train.labels[0]

    thread = threading.Thread(target=read_on)
    thread.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                signal.alarm(30)
                os._exit(0 if train.labels[1].shape == train.labels.shape[1:] else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        thread.join()
