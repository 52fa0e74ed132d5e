"""Bare folders are read as they are, refused where they cannot be, and convicted by nothing but their pixels."""

import errno
import resource
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pytest
import tifffile
from folder_worlds import clean_split, picture, pictures, random_split, tissue, write_pictures_of
from PIL import Image

from pipeline.audit.auditing import audit_folders
from pipeline.audit.report import AuditReport, Coverage
from pipeline.audit.samples import array_files, image_folders
from pipeline.audit.samples.audited_samples import AuditedSamples
from pipeline.audit.samples.image_folders import read_folders
from pipeline.errors import AugpipeError, ConfigError, DatasetError, SourceError
from pipeline.shards.digest import canonical_json
from pipeline.source.tiff import write_stack

STACK = np.arange(5 * 12 * 10, dtype=np.uint16).reshape(5, 12, 10) % 251


def audited_folder(train: Path, **options: Any) -> AuditedSamples:
    """Return a folder as train, beside a test folder with one picture."""
    test = write_pictures_of(train.parent / "the-other-split", {"x.png": np.zeros((4, 4), np.uint8)})
    return read_folders({"test": test, "train": train}, **options)


def read(path: Path, **options: Any) -> list[np.ndarray]:
    return [sample.image() for sample in audited_folder(path, **options).samples if sample.split == "train"]


def names(path: Path, **options: Any) -> list[str]:
    return [sample.name for sample in audited_folder(path, **options).samples if sample.split == "train"]


def write_array(path: Path, pixels: Any = STACK, key: str = "images", **options: Any) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset(key, data=pixels, **options)
    return path


# What is read


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder with a picture of every kind, and what is none."""
    folder = write_pictures_of(
        tmp_path / "mixed", {"p10.png": STACK[0].astype(np.uint8), "p9.JPG": STACK[1].astype(np.uint8)}
    )
    write_stack(folder / "stack.tif", STACK[:3])
    write_stack(folder / "page.TIFF", STACK[:1])
    write_array(folder / "many.h5", STACK[:2])
    write_array(folder / "one.hdf5", STACK[4])
    write_pictures_of(folder / "masks", {"t.png": np.zeros((4, 4), np.uint8)})
    for name in (".hidden.png", "README.txt", "labels.csv"):
        (folder / name).write_text("no picture")
    return folder


def test_every_page_is_a_sample_in_natural_order(mixed: Path) -> None:
    assert names(mixed) == [
        "many.h5#0",
        "many.h5#1",
        "one.hdf5",
        "p9.JPG",
        "p10.png",
        "page.TIFF",
        "stack.tif#0",
        "stack.tif#1",
        "stack.tif#2",
    ]
    found = dict(zip(names(mixed), read(mixed), strict=True))
    for name, expected in {"many.h5#1": 1, "one.hdf5": 4, "page.TIFF": 0, "stack.tif#2": 2}.items():
        assert (found[name] == STACK[expected]).all()
        assert found[name].dtype == np.uint16
    assert (found["p10.png"] == STACK[0]).all()


def test_splits_come_in_their_order_and_nothing_is_claimed(mixed: Path) -> None:
    audited = read_folders({"test": mixed / "p10.png", "val": mixed / "stack.tif", "train": mixed / "many.h5"})
    assert audited.n_samples == {"train": 2, "val": 3, "test": 1}
    assert [sample.split for sample in audited.samples] == ["train"] * 2 + ["val"] * 3 + ["test"]
    assert {(sample.claimed, sample.label) for sample in audited.samples} == {(None, None)}
    assert audited.owners == {}
    assert audited.name == f"train {mixed / 'many.h5'}, val {mixed / 'stack.tif'}, test {mixed / 'p10.png'}"


def test_the_folder_images_is_used_where_there_is_nothing_else(tmp_path: Path) -> None:
    folder = write_pictures_of(tmp_path / "set" / "images", pictures((0,), 1)).parent
    write_pictures_of(folder / "labels", {"s0-r0.png": np.zeros((8, 8), np.uint8)})
    (folder / "README.txt").write_text("x")
    assert names(folder) == ["s0-r0.png"]
    write_pictures_of(folder, {"own.png": np.zeros((8, 8), np.uint8)})
    assert names(folder) == ["images/s0-r0.png", "own.png"]


@pytest.mark.parametrize("as_colour", [False, True])
def test_gray_stored_as_colour_is_the_same_gray(tmp_path: Path, as_colour: bool) -> None:
    gray = picture(0, 0)
    stored = np.repeat(gray[..., None], 3, axis=2) if as_colour else gray
    [found] = read(write_pictures_of(tmp_path / "p", {"a.png": stored}))
    assert found.dtype == np.uint8
    assert (found == gray).all()


def test_colours_become_their_luma(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    [found] = read(write_pictures_of(tmp_path / "p", {"a.png": colours}))
    assert np.abs(found - colours @ np.array([0.299, 0.587, 0.114])).max() < 0.51
    with_alpha = np.concatenate((colours, np.zeros((16, 16, 1), np.uint8)), axis=2)
    assert (read(write_pictures_of(tmp_path / "q", {"a.png": with_alpha}))[0] == found).all()


def test_sixteen_bits_and_single_bits_are_kept(tmp_path: Path) -> None:
    deep = STACK[0] * np.uint16(257)
    folder = write_pictures_of(tmp_path / "p", {"deep.png": deep})
    Image.fromarray(STACK[0] > 100).save(folder / "flat.png")
    tifffile.imwrite(folder / "flat.tif", STACK[0] > 100, photometric="minisblack")
    found = read(folder)
    assert found[0].dtype == np.uint16
    assert (found[0] == deep).all()
    for flat in found[1:]:
        assert (flat == np.where(STACK[0] > 100, 255, 0)).all()


def test_links_to_pictures_are_followed(tmp_path: Path) -> None:
    folder = write_pictures_of(tmp_path / "p", {"a.png": picture(0, 0)})
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "b.png").symlink_to(folder / "a.png")
    assert (read(tmp_path / "links")[0] == picture(0, 0)).all()


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("chunks", [(1, 12, 10), (3, 5, 7), (5, 12, 10), (2, 16, 4), True])
def test_arrays_are_read_whatever_their_chunks(
    tmp_path: Path, compression: str | None, chunks: tuple[int, ...] | bool
) -> None:
    options = {"chunks": chunks, "maxshape": (None, None, None), "compression": compression}
    path = write_array(tmp_path / "a.h5", STACK.astype(">i4"), **options)
    found = read(path)
    assert (np.stack(found) == STACK).all()
    assert found[0].dtype == np.dtype("int32").newbyteorder("=")
    flat = write_array(tmp_path / "b.h5", STACK[3], chunks=(5, 4), compression=compression)
    assert (read(flat)[0] == STACK[3]).all()


def test_arrays_in_groups_have_paths_for_names(tmp_path: Path) -> None:
    path = write_array(tmp_path / "a.h5", key="raw/em")
    assert (np.stack(read(path, images_key="raw/em")) == STACK).all()
    assert (np.stack(read(path, images_key="/raw/em")) == STACK).all()


@pytest.mark.parametrize("name", ["a.h5", "a.tif"])
def test_pages_are_read_from_any_thread(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_array(path, compression="gzip") if name == "a.h5" else write_stack(path, STACK)
    samples = audited_folder(path).samples[: len(STACK)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda k: samples[k % len(STACK)].image(), range(80)))
    assert all((pixels == STACK[k % len(STACK)]).all() for k, pixels in enumerate(found))


def test_more_files_can_be_read_than_may_be_open(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for folder in ("tiff", "hdf5"):
        (tmp_path / folder).mkdir()
    for k in range(40):
        write_stack(tmp_path / "tiff" / f"{k}.tif", STACK[:2])
        write_array(tmp_path / "hdf5" / f"{k}.h5", STACK[:2])
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(int(path.name) for path in Path("/dev/fd").iterdir()) + 20, hard))
    try:
        audited = read_folders({"train": tmp_path / "tiff", "test": tmp_path / "hdf5"})
        assert len([sample.image() for sample in audited.samples]) == 160
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


BLANK = np.zeros((8, 8), np.uint8)


def tree(root: Path, *files: str) -> Path:
    for file in files:
        write_pictures_of((root / file).parent, {Path(file).name: BLANK})
    return root


def test_folders_below_are_read_and_labels_are_not(tmp_path: Path) -> None:
    root = tree(tmp_path / "set", "cat/x.png", "dog/a/x.png", "y.png", "01_GT/y.png", "Masks/y.png", ".old/y.png")
    (root / "metadata.csv").write_text("file_name,text")
    assert names(root) == ["cat/x.png", "dog/a/x.png", "y.png"]


@pytest.mark.parametrize(
    ("files", "train", "test"),
    [
        (
            ("imagesTr/a_0000.png", "imagesTr/a_0001.png", "imagesTr/b_0001.png", "imagesTs/c_0000.tif"),
            ["a_0000.png", "b_0001.png"],
            ["c_0000.tif"],
        ),
        (("train/cat/x.png", "validation/cat/w.png", "test/cat/y.png"), ["cat/x.png"], ["cat/y.png"]),
    ],
)
def test_the_folder_of_the_split_counts(
    tmp_path: Path, files: tuple[str, ...], train: list[str], test: list[str]
) -> None:
    root = tree(tmp_path, *files, "labelsTr/a.png")
    audited = read_folders({"train": root, "test": root})
    for split, expected in (("train", train), ("test", test)):
        assert [sample.name for sample in audited.samples if sample.split == split] == expected


@pytest.mark.parametrize("files", [("imagesTs/a.png",), ("train/a.png", "more/a.png"), ("train/a.png", "a.png")])
def test_a_folder_of_several_splits_has_nothing_else(tmp_path: Path, files: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="expected one folder for train and nothing beside it"):
        names(tree(tmp_path / "set", *files))


def test_a_folder_that_links_back_is_refused(tmp_path: Path) -> None:
    root = tree(tmp_path / "set", "a.png")
    (root / "again").symlink_to(root)
    with pytest.raises(ConfigError, match="or links back"):
        names(root)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", ["npy", "savez", "savez_compressed"])
def test_numpy_files_are_read(tmp_path: Path, save: str, order: Literal["C", "F"]) -> None:
    for name, pixels in (("one", STACK[3]), ("many", STACK.astype(">i4"))):
        stored = np.asarray(pixels, order=order)
        path = tmp_path / f"{name}.{save[:3]}"
        np.save(path, stored) if save == "npy" else getattr(np, save)(path.with_suffix(".npz"), stored)
        path = path if save == "npy" else path.with_suffix(".npz")
        assert (np.stack(read(path)) == pixels).all()
        assert names(path) == ([path.name] if name == "one" else [f"{path.name}#{k}" for k in range(5)])


def test_an_array_of_several_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, em=STACK, label=STACK > 9)
    assert (np.stack(read(path, images_key="em")) == STACK).all()
    with pytest.raises(ConfigError, match="has no array 'images'; it has em, label: name one of them"):
        names(path)


def header_that_lies(path: Path) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"shape": (99, 9, 9), "fortran_order": False, "descr": "|u1"})


def pickled(path: Path) -> None:
    np.save(path, np.array([[{}]], object), allow_pickle=True)


def two_arrays(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, STACK)
        np.save(file, STACK)


@pytest.mark.parametrize(
    ("write", "told"), [(header_that_lies, "declares 8,019 bytes"), (pickled, "object"), (two_arrays, "declares 1,200")]
)
@pytest.mark.parametrize("in_zip", [False, True])
def test_a_numpy_file_that_lies_is_refused(
    tmp_path: Path, write: Callable[[Path], None], told: str, in_zip: bool
) -> None:
    path = tmp_path / "a.npy"
    write(path)
    if in_zip:
        with zipfile.ZipFile(path.with_suffix(".npz"), "w") as file:
            file.write(path, "images.npy")
        path = path.with_suffix(".npz")
    with pytest.raises((ConfigError, DatasetError), match=f"a.np[yz].*{told}"):
        names(path)


def test_a_compressed_array_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_files, "_MAX_CHUNK", 1000)
    np.savez_compressed(tmp_path / "a.npz", images=STACK)
    with pytest.raises(DatasetError, match=r"would be unpacked to 1,200 bytes, above 1,000; save it with numpy\.save"):
        names(tmp_path / "a.npz")


# Large pictures are looked at smaller


@pytest.mark.parametrize("stored", ["png", "tif", "h5", "gzip.h5", "npy", "npz"])
def test_large_pictures_are_reduced_alike_in_whatever_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: str
) -> None:
    monkeypatch.setattr(image_folders, "MAX_SIDE", 16)
    monkeypatch.setattr(array_files, "_BLOCK_PIXELS", 200)  # several blocks a picture
    monkeypatch.setattr(array_files, "_LARGE_BYTES", 0)
    large = np.random.default_rng(0).integers(0, 60000, (38, 47), dtype=np.uint16)
    path = tmp_path / "train" / f"a.{stored}"
    path.parent.mkdir()
    match stored:
        case "png":
            write_pictures_of(path.parent, {path.name: large})
        case "tif":
            write_stack(path, large[None])
        case "npy":
            np.save(path, large)
        case "npz":
            np.savez(path, large)
        case _:
            write_array(path, large, compression="gzip" if stored != "h5" else None)
    [found] = read(path.parent)
    assert found.dtype == np.uint16
    assert found.shape == (12, 15)
    mean = large[:36, :45].reshape(12, 3, 15, 3).mean(axis=(1, 3))
    assert np.abs(found - mean).max() <= 0.51


def test_all_pictures_of_an_audit_are_reduced_by_one_factor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_folders, "MAX_SIDE", 16)
    wide = {"a.png": np.full((2, 33), 7, np.uint8), "b.png": np.full((12, 9, 3), 7, np.uint8)}
    found = read(write_pictures_of(tmp_path / "p", wide))
    assert [pixels.shape for pixels in found] == [(1, 11), (4, 3)]
    assert all((pixels == 7).all() for pixels in found)


def test_a_source_is_reduced_as_its_pictures_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture at half the scale of its slice would be taken for an unknown one."""
    monkeypatch.setattr(image_folders, "MAX_SIDE", 300)
    images, _ = tissue()
    slices = np.kron(images[[0, 8]], np.ones((1, 2, 2), np.uint8))
    folders = {
        split: write_pictures_of(tmp_path / split, {"a.png": slices[z]}) for z, split in enumerate(("train", "test"))
    }
    report = audit_folders(folders, [slices], jobs=2, independent=True)
    assert (report.exit_code, report.findings) == (0, ())


@pytest.mark.parametrize("dtype", [np.bool_, np.int64, np.float16, ">f4"])
def test_any_gray_dtype_is_reduced(dtype: Any) -> None:
    pixels = np.ones((4, 6), dtype)
    reduced = array_files.reduce_rows(lambda first, end: pixels[first:end], (4, 6), 2)
    assert reduced.shape == (2, 3)
    assert (reduced == (255 if dtype is np.bool_ else 1)).all()


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.npy", "a.h5"])
def test_pictures_above_the_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(image_folders, "_MAX_BYTES", 1000)
    monkeypatch.setattr(image_folders, "_MAX_TIFF_BYTES", 1000)
    monkeypatch.setattr(array_files, "_MAX_BYTES", 1000)
    pixels, path = np.zeros((40, 40), np.uint8), tmp_path / name
    match path.suffix:
        case ".npy":
            np.save(path, pixels)
        case ".h5":
            write_array(path, pixels)
        case _:
            Image.fromarray(pixels).save(path)
    with pytest.raises((SourceError, DatasetError), match=f"{name}.*1,600 bytes"):
        read(path)


def test_a_progressive_picture_needs_its_coefficients_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_folders, "_MAX_BYTES", 4000)
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "a.jpg", progressive=True)
    with pytest.raises(SourceError, match="4,800 bytes"):
        read(tmp_path / "a.jpg")


# What is refused


def missing(folder: Path) -> Path:
    return folder / "nothing"


def empty(folder: Path) -> Path:
    (folder / "README.txt").write_text("x")
    return folder


def of_another_kind(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write_pictures_of(folder, {"a.png": np.zeros((4, 4), np.uint8)})
        (folder / name).write_bytes(b"x")
        return folder

    return make


def no_picture(folder: Path) -> Path:
    (folder / "split.csv").write_text("x")
    return folder / "split.csv"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (missing, "expected a folder of TIFF, PNG, JPEG, HDF5 or NumPy files"),
        (empty, "found none in it"),
        (of_another_kind("b_0000.nii.gz"), "b_0000.nii.gz: pictures of this kind are not read"),
        (of_another_kind("b.BMP"), "b.BMP: pictures of this kind are not read"),
        (no_picture, "split.csv: expected a folder"),
    ],
)
def test_what_holds_no_pictures_is_refused(tmp_path: Path, make: Callable[[Path], Path], told: str) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(ConfigError, match=told):
        audited_folder(make(tmp_path / "train"))


@pytest.mark.parametrize("splits", [(), ("train",), ("val", "test"), ("train", "holdout")])
def test_train_is_compared_with_something(tmp_path: Path, splits: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="a folder for train and one for test or val"):
        read_folders(dict.fromkeys(splits, tmp_path))


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("pictures", "no array 'pictures'; it has images, raw/colour, raw/em, raw/nothing, raw/words: name one"),
        ("raw", "'raw' is no array"),
        ("", "'' is no array"),
        ("raw/more", "no array 'raw/more'"),
        ("raw/colour", r"found \(2, 4, 4, 3\) uint8"),
        ("raw/nothing", r"found \(0, 4, 4\) uint8"),
        ("raw/words", "found .* object"),
    ],
)
def test_a_missing_array_is_told_with_those_that_are_there(tmp_path: Path, key: str, told: str) -> None:
    path = write_array(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        file["raw/em"] = STACK
        file["raw/colour"] = np.zeros((2, 4, 4, 3), np.uint8)
        file["raw/nothing"] = np.zeros((0, 4, 4), np.uint8)
        file["raw/words"] = ["a", "b"]
    with pytest.raises(ConfigError, match=told):
        names(path, images_key=key)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def no_format(path: Path) -> None:
    path.write_bytes(b"no picture at all")


def broken_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("gone"))


@pytest.mark.parametrize("damage", [cut_short, no_format, broken_link])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.h5"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    folder = tmp_path / "train"
    if name in ("a.png", "a.jpg"):
        write_pictures_of(folder, {name: picture(0, 0)})
    else:
        folder.mkdir()
        pixels = np.stack([picture(0, 0)])
        write_stack(folder / name, pixels) if name == "a.tif" else write_array(folder / name, pixels)
    damage(folder / name)
    with pytest.raises((SourceError, DatasetError), match=name) as caught:
        read(folder)
    assert "\n" not in str(caught.value)


def test_pixels_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    pixels = np.ones((2, 4, 4), np.float32)
    pixels[1, 2, 3] = np.nan
    audited = audited_folder(write_array(tmp_path / "a.h5", pixels))
    assert (audited.samples[0].image() == 1).all()
    with pytest.raises(SourceError, match=r"a\.h5#1: holds pixels that are not numbers"):
        audited.samples[1].image()


def test_several_frames_in_a_png_are_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(picture(0, k)) for k in range(2)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(SourceError, match="found several"):
        read(tmp_path / "a.png")


def test_an_array_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    path = write_array(tmp_path / "a.h5")
    audited = audited_folder(path)
    write_array(path, STACK[:2])
    with pytest.raises(DatasetError, match="changed while it was being read"):
        audited.samples[0].image()


# HDF5 files that are made to harm


def soft_link(file: h5py.File, _: Path) -> None:
    file["real"] = STACK
    file["images"] = h5py.SoftLink("/real")


def external_link(file: h5py.File, folder: Path) -> None:
    write_array(folder / "victim.h5")
    file["images"] = h5py.ExternalLink(str(folder / "victim.h5"), "/images")


def link_on_the_way(file: h5py.File, folder: Path) -> None:
    write_array(folder / "victim.h5", key="inner/images")
    file["group"] = h5py.ExternalLink(str(folder / "victim.h5"), "/inner")


def external_storage(file: h5py.File, folder: Path) -> None:
    (folder / "secret").write_bytes(bytes(600))
    file.create_dataset("images", (5, 12, 10), np.uint8, external=[(str(folder / "secret"), 0, 600)])


def virtual_array(file: h5py.File, folder: Path) -> None:
    write_array(folder / "victim.h5")
    layout = h5py.VirtualLayout(STACK.shape, STACK.dtype)
    layout[:] = h5py.VirtualSource(str(folder / "victim.h5"), "images", STACK.shape)
    file.create_virtual_dataset("images", layout)


def other_filter(file: h5py.File, _: Path) -> None:
    file.create_dataset("images", data=STACK, compression="lzf")


def terabytes(file: h5py.File, _: Path) -> None:
    file.create_dataset("images", (1 << 20, 4096, 4096), np.uint8, chunks=(1, 64, 64), compression="gzip")


def huge_picture(file: h5py.File, _: Path) -> None:
    file.create_dataset("images", (1, 1 << 16, 1 << 16), np.uint8, chunks=(1, 64, 64), compression="gzip")


def huge_chunk(file: h5py.File, _: Path) -> None:
    shape = {"maxshape": (None, None, None), "chunks": (1 << 11, 1 << 10, 1 << 10)}
    file.create_dataset("images", (1, 16, 16), np.uint8, compression="gzip", **shape)


@pytest.mark.parametrize(
    ("make", "key", "told"),
    [
        (soft_link, "images", "is a link"),
        (external_link, "images", "is a link"),
        (link_on_the_way, "group/images", "is a link"),
        (external_storage, "images", "in other files"),
        (virtual_array, "images", "in other files"),
        (other_filter, "images", "only deflate is allowed"),
        (terabytes, "images", "is larger than"),
        (huge_picture, "images", "pictures of .* bytes, above"),
        (huge_chunk, "images", "chunks above"),
    ],
)
def test_a_hostile_array_is_refused(
    tmp_path: Path, make: Callable[[h5py.File, Path], None], key: str, told: str
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        make(file, tmp_path)
    with pytest.raises(DatasetError, match=f"a.h5.*{told}"):
        names(tmp_path / "a.h5", images_key=key)


@pytest.mark.parametrize("n_bytes", [119, 1 << 24])
def test_a_chunk_that_holds_more_or_less_than_it_says_is_refused(tmp_path: Path, n_bytes: int) -> None:
    import zlib

    with h5py.File(tmp_path / "a.h5", "w") as file:
        array = file.create_dataset("images", (2, 12, 10), np.uint8, chunks=(1, 12, 10), compression="gzip")
        array.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(n_bytes)))
    audited = audited_folder(tmp_path / "a.h5")
    with pytest.raises(DatasetError, match="holds more or less than the 120 bytes"):
        audited.samples[0].image()
    with pytest.raises(DatasetError, match=r"a\.h5"):  # a chunk that was never written
        audited.samples[1].image()


# What the pixels tell


def checks_of(report: AuditReport) -> dict[str, str]:
    return {check.id: check.status for check in report.checks if check.status != "not applicable"}


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return random_split(tmp_path_factory.mktemp("leaky"))


def test_a_random_split_of_augmented_pictures_is_convicted(leaky: dict[str, Path], tmp_path: Path) -> None:
    """What the reproduction that this project starts from did: nearly every test picture has a sibling in train."""
    report = audit_folders(leaky, jobs=2, pictures=tmp_path)
    assert len(report.pictures) == 4
    assert sorted(report.pictures) == sorted(tmp_path.iterdir())
    assert report.exit_code == 1
    assert checks_of(report) == {"P001": "passed", "P007": "failed"}
    assert report.verdict == "LEAKAGE: 4 of 4 test samples show tissue that was trained on"
    assert report.to_json()["leak_rate"] == {"test": 1.0}
    for finding in report.findings:
        assert str(finding.sample)[:2] == str(finding.other)[:2], "siblings show the same slice"
        assert finding.splits == ("train", "test")


def test_slices_far_apart_are_clean(tmp_path: Path) -> None:
    report = audit_folders(clean_split(tmp_path), jobs=2)
    assert (report.exit_code, report.findings) == (0, ())
    assert checks_of(report) == {"P001": "passed", "P007": "passed"}
    assert (report.coverage, report.n_leaking) == (Coverage(12, compared=12), {"test": 0})
    assert report.verdict.endswith("; 12 of 12 samples compared with each other alone; no groups could be checked")


@pytest.mark.parametrize("stored", ["png", "tif", "h5"])
def test_a_copy_is_found_in_whatever_file_it_is(tmp_path: Path, stored: str) -> None:
    folders = clean_split(tmp_path)
    path, pixels = folders["test"] / f"copy.{stored}", np.stack([picture(1, 0)])
    if stored == "png":
        write_pictures_of(path.parent, {path.name: np.repeat(pixels[0, ..., None], 3, axis=2)})
    else:
        write_stack(path, pixels) if stored == "tif" else write_array(path, pixels, compression="gzip")
    report = audit_folders(folders, jobs=2)
    copy = "copy.h5#0" if stored == "h5" else path.name
    assert {(finding.check, finding.sample, finding.other) for finding in report.findings} == {
        ("P001", copy, "s1-r0.png"),
        ("P007", copy, "s1-r0.png"),
    }
    assert report.n_leaking == {"test": 1}


def test_validation_pictures_are_compared_too(leaky: dict[str, Path], tmp_path: Path) -> None:
    far = clean_split(tmp_path)["test"]
    report = audit_folders({"train": leaky["train"], "val": leaky["test"], "test": far}, jobs=2)
    assert report.n_leaking == {"val": 4, "test": 0}
    assert {finding.splits for finding in report.findings} == {("train", "val")}


def test_the_report_is_the_same_for_any_number_of_jobs(leaky: dict[str, Path]) -> None:
    one, three = (canonical_json(audit_folders(leaky, jobs=jobs).to_json()) for jobs in (1, 3))
    assert one == three


def test_every_refusal_is_one_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(AugpipeError, match="Permission denied"):
        read_folders({"train": tmp_path, "test": tmp_path})
