"""A source is refused where image and label cannot belong together, and known by its pixels, not by its name."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from small_worlds import build_small, small_config, small_stack, write_folder

import pipeline.source.scanning
from pipeline.build.builder import build_dataset
from pipeline.errors import ConfigError, SourceError
from pipeline.shards import open_dataset
from pipeline.shards.digest import array_digest, file_digest
from pipeline.shards.provenance import SourceFacts
from pipeline.source import stacks
from pipeline.source.combining import combine, make_source
from pipeline.source.readers import (
    IMAGES_FILE,
    LABELS_FILE,
    find_source,
    phantom_source,
    read_files,
    read_folder,
    read_images,
    source_pairs,
    write_phantom,
)
from pipeline.source.stacks import RawStack
from pipeline.source.tiff import write_stack
from pipeline.verify.verification import verify_dataset

IMAGES = np.arange(2 * 4 * 5, dtype=np.uint8).reshape(2, 4, 5)
LABELS = np.array([[[0, 255, 0, 255, 0]] * 4] * 2, np.uint8)


@pytest.mark.parametrize(
    ("values", "expected"),
    [((0, 1), (0, 1)), ((0, 255), (0, 1)), ((0, 3, 7), (0, 1, 2)), ((40, 5, 65535), (1, 0, 2))],
)
def test_label_values_become_class_indices_in_rising_order(values: tuple[int, ...], expected: tuple[int, ...]) -> None:
    labels = np.resize(np.array(values, np.uint16), IMAGES.shape)
    source = make_source(IMAGES, labels, name="x")
    assert source.coding.values == tuple(sorted(values))
    assert source.stacks[0].labels.dtype == np.uint8
    assert np.array_equal(source.stacks[0].labels, np.resize(np.array(expected), IMAGES.shape))


def labels_of(n: int) -> NDArray[np.uint16]:
    """Return labels with n different values, 3 apart."""
    return np.resize(np.arange(n, dtype=np.uint16) * 3, IMAGES.shape)


@pytest.mark.parametrize(
    ("n", "kind", "stored"), [(2, "binary", "uint8"), (3, "classes", "uint8"), (32, "classes", "uint8")]
)
def test_the_kind_of_labels_is_told_by_the_number_of_values(n: int, kind: str, stored: str) -> None:
    source = make_source(IMAGES, labels_of(n), name="x")
    assert (source.coding.kind, len(source.coding.values)) == (kind, n)
    assert source.stacks[0].labels.dtype == source.coding.dtype == stored


def test_more_values_than_classes_are_ids_and_are_kept() -> None:
    source = make_source(IMAGES, labels_of(33), name="x")
    assert (source.coding.kind, source.coding.values) == ("instances", ())
    assert np.array_equal(source.stacks[0].labels, labels_of(33))
    assert source.stacks[0].labels.dtype == np.uint16


@pytest.mark.parametrize(("n", "kind"), [(2, "binary"), (2, "classes"), (2, "instances"), (33, "classes")])
def test_a_kind_can_be_forced(n: int, kind: str) -> None:
    source = make_source(IMAGES, labels_of(n), name="x", label_kind=kind)
    assert source.coding.kind == kind
    index = np.arange(n) if kind != "instances" else np.arange(n) * 3
    assert np.array_equal(source.stacks[0].labels, np.resize(index, IMAGES.shape))


@pytest.mark.parametrize(
    ("n", "kind", "words"),
    [
        (3, "binary", "binary labels have 2 values"),
        (2, "foo", "label-kind: expected auto, binary"),
        (300, "classes", "at most 256"),
    ],
)
def test_a_kind_that_the_values_are_not_is_refused(n: int, kind: str, words: str) -> None:
    images = np.zeros((2, 20, 20), np.uint8)
    labels = np.resize(np.arange(n, dtype=np.uint16), images.shape)
    with pytest.raises(ConfigError, match=words):
        make_source(images, labels, name="x", label_kind=kind)


def test_all_stacks_share_their_classes() -> None:
    """A class that one stack lacks must have the same index in the others."""
    one, two = (np.resize(np.array(values, np.uint8), IMAGES.shape) for values in ([1, 5], [1, 3, 5]))
    source = combine([RawStack(IMAGES, one), RawStack(IMAGES + 1, two)], name="x")
    assert source.coding.values == (1, 3, 5)
    assert set(np.unique(source.stacks[0].labels[:])) == {0, 2}


def test_stacks_of_several_dtypes_or_the_same_pixels_are_refused() -> None:
    with pytest.raises(ConfigError, match="uint16 pixels, but images has uint8"):
        combine([RawStack(IMAGES, LABELS), RawStack(IMAGES.astype(np.uint16), LABELS)], name="x")
    with pytest.raises(ConfigError, match="holds the same images as one"):
        combine([RawStack(IMAGES, LABELS, where=("one", "l")), RawStack(IMAGES, LABELS, where=("two", "l"))], name="x")


def test_labels_of_one_value_are_refused() -> None:
    with pytest.raises(SourceError, match=r"labels: expected 2 or more .*found 0; nothing is annotated"):
        make_source(IMAGES, np.zeros_like(LABELS), name="x")


def changed(dtype: str, *changes: tuple[int, float]) -> NDArray[np.generic]:
    """Return the labels in another dtype, with other values at these places."""
    labels = LABELS.astype(dtype)
    for place, value in changes:
        labels.flat[place] = value
    return labels


NEGATIVE_ADVICE = "if that marks what nobody annotated, say --ignore"
RESIZED = "threshold them if they are probabilities, and resize labels without interpolation"


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (changed("int32", (21, -1), (22, -1)), f"found -1 in 2 pixels of 1 of 2 slices; {NEGATIVE_ADVICE} -1, and"),
        (
            changed("int16", (1, -1), (22, -2)),
            f"found -2, -1 in 2 pixels of 2 of 2 slices; {NEGATIVE_ADVICE} -2 --ignore -1,",
        ),
        (changed("float32", (21, -1.0)), f"found -1 in 1 pixels of 1 of 2 slices; {NEGATIVE_ADVICE}"),
        (changed("int32", (1, -1), (3, 70000)), f"found -1 in 1 pixels of 1 of 2 slices; {NEGATIVE_ADVICE}"),
        (
            changed("int16", *((z, -100 - z) for z in range(8))),
            "found -107 to -100 in 8 pixels of 1 of 2 slices; if they are unsigned numbers that were read as signed",
        ),
        (changed("float32", (23, 0.25), (24, 0.5)), f"found 0.25 in slice 1 (float32); {RESIZED}"),
        (changed("float64", (3, np.nan)), "found nan in slice 0 (float64); give these pixels a number"),
        (changed("float16", (3, np.inf)), f"found inf in slice 0 (float16); {RESIZED}"),
        (changed("float64", (3, 1e300)), f"found 1e+300 in slice 0 (float64); {RESIZED}"),
        (LABELS.astype(np.complex64), "got complex64; save them as uint8 or uint16"),
    ],
)
def test_labels_that_are_no_classes_are_refused_with_what_would_not_destroy_them(
    labels: NDArray[np.generic], found: str
) -> None:
    with pytest.raises(SourceError) as caught:
        make_source(IMAGES, labels, name="x")
    line = str(caught.value)
    assert line.startswith(f"labels: expected labels as whole numbers from 0, {found}")
    assert "\n" not in line
    assert "255" not in line  # no advice to save them as 0 and 255


@pytest.mark.parametrize("dtype", ["uint32", "int64", "uint64", "int16"])
def test_wide_labels_of_small_values_are_taken_as_they_are(dtype: str) -> None:
    stack = make_source(IMAGES, LABELS.astype(dtype), name="x").stacks[0]
    assert (stack.label_dtype, stack.labels_sha256) == (dtype, array_digest(LABELS.astype(dtype)))
    assert np.array_equal(stack.labels, LABELS > 0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
@pytest.mark.parametrize("kind", ["auto", "instances"])
def test_whole_numbers_that_were_saved_as_floats_are_labels(
    monkeypatch: pytest.MonkeyPatch, dtype: str, kind: str
) -> None:
    """The record has no floats for labels: they are those numbers in uint16, in its digest, too."""
    whole = LABELS.astype(np.uint16) * 8
    expected = make_source(IMAGES, whole, name="x", label_kind=kind)
    for max_held_bytes in (1 << 27, 10):
        monkeypatch.setattr(pipeline.source.scanning, "_MAX_HELD_BYTES", max_held_bytes)
        source = make_source(IMAGES, whole.astype(dtype), name="x", label_kind=kind)
        assert source.inputs == expected.inputs
        assert source.stacks[0].label_dtype == "uint16"
        for z in range(2):
            assert source.stacks[0].labels[z].dtype == expected.stacks[0].labels.dtype
            assert np.array_equal(source.stacks[0].labels[z], expected.stacks[0].labels[z])


def test_a_dataset_of_float_labels_is_the_one_of_their_numbers(tmp_path: Path) -> None:
    images, labels = small_stack()
    folder = write_folder(tmp_path / "small", images, labels.astype(np.float32))
    result = build_dataset(read_folder(folder), small_config(), out=tmp_path / "d", jobs=1)
    as_numbers = make_source(images, labels.astype(np.uint16), name="small")
    same = build_dataset(as_numbers, small_config(), out=tmp_path / "e", jobs=1)
    assert result.dataset.digest == same.dataset.digest
    assert verify_dataset(tmp_path / "d", replay=True).findings == ()
    lock = json.loads((tmp_path / "d" / "dataset.json").read_bytes())
    assert lock["inputs"][0]["labels"]["dtype"] == "uint16"


def test_bool_labels_are_classes() -> None:
    assert make_source(IMAGES, LABELS > 0, name="x").coding.values == (0, 1)


@pytest.mark.parametrize("labels", [LABELS[:1], LABELS[:, :3], LABELS[:, :, :4], LABELS[0]])
def test_image_and_label_must_be_alike(labels: NDArray[np.uint8]) -> None:
    with pytest.raises(ConfigError, match=r"a\.tif.*\(2, 4, 5\).*does it belong to i\.tif"):
        combine([RawStack(IMAGES, labels, where=("i.tif", "a.tif"))], name="x")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_are_refused_with_their_slice(bad: float) -> None:
    images = IMAGES.astype(np.float32)
    images[1, 2, 3] = bad
    with pytest.raises(SourceError, match="slice 1 holds NaN or infinite pixels"):
        make_source(images, LABELS, name="x")


def test_other_dtypes_are_refused() -> None:
    """What becomes of the many bits of other real numbers is in test_gray_levels.py."""
    with pytest.raises(SourceError, match="expected gray levels, whole or real numbers, got complex64"):
        make_source(IMAGES.astype(np.complex64), LABELS, name="x")


def test_signed_bytes_become_signed_words_of_the_same_values() -> None:
    images = (IMAGES.astype(np.int16) - 128).astype(np.int8)
    stack = make_source(images, LABELS, name="x").stacks[0]
    assert np.array_equal(stack.images[:], images)
    assert stack.images.dtype == np.int16
    assert stack.images_sha256 == array_digest(images.astype(np.int16))


@pytest.mark.parametrize(("dtype", "as_used"), [("float16", "float32"), ("bool", "uint8")])
def test_dtypes_that_cannot_be_rendered_become_ones_that_hold_all_their_values(dtype: str, as_used: str) -> None:
    images = (IMAGES % 2).astype(dtype)
    source = make_source(images, LABELS, name="x")
    assert source.image_dtype == as_used
    assert np.array_equal(source.stacks[0].images[0] > 0, images[0] > 0)
    assert source.stacks[0].images[0].max() == (255 if dtype == "bool" else 1)


@pytest.mark.parametrize("shape", [(4, 5), (0, 4, 5), (2, 0, 5), (1, 2, 4, 5, 6)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="expected a stack of slices"):
        make_source(np.zeros(shape, np.uint8), np.zeros(shape, np.uint8), name="x")


def test_the_source_knows_its_digests() -> None:
    stack = make_source(IMAGES, LABELS, name="x").stacks[0]
    assert stack.images_sha256 == array_digest(IMAGES)
    assert stack.labels_sha256 == array_digest(LABELS)
    assert stack.slice_sha256 == (array_digest(IMAGES[0]), array_digest(IMAGES[1]))


@pytest.mark.parametrize("layout", ["big-endian", "Fortran order", "every second row"])
def test_arrays_in_any_layout_give_the_same_dataset(tmp_path: Path, layout: str) -> None:
    """Arrays from FITS, MATLAB or h5py files are not always in this machine's order."""
    images, labels = small_stack()
    wide = images.astype(np.uint16)
    other = {
        "big-endian": wide.astype(">u2"),
        "Fortran order": np.asfortranarray(wide),
        "every second row": np.repeat(wide, 2, axis=1)[:, ::2],
    }[layout]
    datasets = [
        build_dataset(make_source(array, labels, name="x"), small_config(n=2), out=tmp_path / f"{k}", jobs=1).dataset
        for k, array in enumerate((wide, other))
    ]
    assert datasets[0].digest == datasets[1].digest


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_every_dtype_goes_through_to_the_shards(tmp_path: Path, dtype: str) -> None:
    images, labels = small_stack()
    source = make_source(images.astype(dtype), labels, name="x")
    build_dataset(source, small_config(n=2), out=tmp_path / "d", jobs=1)
    split = open_dataset(tmp_path / "d")["train"]
    assert split.images.dtype == split.images[0].dtype == np.dtype(dtype)
    assert set(np.unique(split.labels[:])) <= {0, 1}


def test_a_folder_is_named_after_itself(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "larva", IMAGES, LABELS)
    assert read_folder(folder).name == "larva"
    assert read_folder(folder, name="x").name == "x"
    assert read_files(folder / IMAGES_FILE, folder / LABELS_FILE).name == "train-volume"
    ((images, labels),) = read_folder(folder).files
    assert (images.path, labels.path) == (folder / IMAGES_FILE, folder / LABELS_FILE)
    assert (images.sha256, labels.sha256) == (file_digest(images.path), file_digest(labels.path))


def test_a_folder_without_the_files_is_an_error_that_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found nothing"):
        read_folder(tmp_path / "none")
    with pytest.raises(ConfigError, match=f"{IMAGES_FILE} is missing"):
        read_folder(tmp_path)
    write_stack(tmp_path / IMAGES_FILE, IMAGES)
    with pytest.raises(ConfigError, match=f"{LABELS_FILE} is missing"):
        read_folder(tmp_path)
    with pytest.raises(ConfigError, match="found a file; name single files with --images and --labels"):
        read_folder(tmp_path / IMAGES_FILE)


@pytest.mark.parametrize(("images", "labels"), [("images", "masks"), ("Img", "SEG"), ("raw", "annotations")])
def test_a_folder_of_two_folders_is_understood_by_their_names(tmp_path: Path, images: str, labels: str) -> None:
    folder = tmp_path / "larva"
    for name, pixels in ((images, IMAGES), (labels, LABELS)):
        (folder / name).mkdir(parents=True)
        for z, page in enumerate(pixels):
            write_stack(folder / name / f"{z}.tif", page[None])
    (folder / "notes").mkdir()
    assert source_pairs(folder) == [(folder / images, folder / labels)]
    source = read_folder(folder)
    assert (source.name, source.inputs) == ("larva", make_source(IMAGES, LABELS, name="x").inputs)
    assert np.array_equal(np.stack(list(read_images(folder)[0])), IMAGES)
    (folder / labels).rename(tmp_path / "elsewhere")  # an audit needs no labels
    assert np.array_equal(np.stack(list(read_images(folder)[0])), IMAGES)
    write_stack(folder / IMAGES_FILE, IMAGES)  # the usual files come first, and half of them is a mistake
    with pytest.raises(ConfigError, match=f"{LABELS_FILE} is missing"):
        read_folder(folder)
    write_stack(folder / LABELS_FILE, LABELS)
    assert source_pairs(folder) == [(folder / IMAGES_FILE, folder / LABELS_FILE)]


@pytest.mark.parametrize(
    ("inner", "words"),
    [
        (
            ["images", "raw", "masks"],
            r"any of images, raw may hold the images; say which, as in augpipe build ",
        ),
        (["images", "labels", "masks"], r"any of labels, masks may hold the labels; .* --labels '.*/my set/labels'$"),
        (["images"], r"has no folder of labels \(labels, .*\); .* --images '.*/my set/images' --labels FOLDER$"),
        (["masks"], r"has no folder of images \(images, .*\); .* --images FOLDER --labels '.*/my set/masks'$"),
        (["first", "second"], f"{IMAGES_FILE} is missing; a source folder holds"),
    ],
)
def test_a_folder_of_folders_that_do_not_tell_is_refused_with_the_answer(
    tmp_path: Path, inner: list[str], words: str
) -> None:
    for name in inner:
        (tmp_path / "my set" / name).mkdir(parents=True)
    with pytest.raises(ConfigError, match=words):
        read_folder(tmp_path / "my set")


def test_without_a_default_folder_it_is_the_phantom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_source() is None
    write_folder(tmp_path / "data" / "isbi2012", IMAGES, LABELS)
    assert find_source() == Path("data/isbi2012")
    assert find_source(tmp_path) == tmp_path


def test_the_phantom_is_known_by_its_pixels(tmp_path: Path) -> None:
    """Neither a name nor other file names can pass synthetic tissue off as real."""
    assert phantom_source(name="foo").name == "phantom"
    images, labels = write_phantom(tmp_path / "p")
    images.rename(tmp_path / "mouse.tif")
    labels.rename(tmp_path / "mouse-labels.tif")
    source = read_files(tmp_path / "mouse.tif", tmp_path / "mouse-labels.tif", name="mouse")
    assert source.name == "phantom"
    assert source.is_phantom
    assert source.facts.synthetic is True


def test_the_phantom_with_other_labels_stays_a_phantom_and_is_not_the_phantom() -> None:
    """Images decide what is real and what is not; labels of another's making are not the known ones."""
    from pipeline.source.phantom import make_phantom

    images, labels = make_phantom()
    source = make_source(images, labels[::-1], name="mine")
    assert source.name == "phantom-mine"
    assert source.is_phantom


def test_the_phantom_does_not_replace_files(tmp_path: Path) -> None:
    (tmp_path / LABELS_FILE).write_text("mine")
    with pytest.raises(ConfigError, match="is there already and will not be replaced"):
        write_phantom(tmp_path)
    assert (tmp_path / LABELS_FILE).read_text() == "mine"
    assert not (tmp_path / IMAGES_FILE).exists()


def test_another_stack_keeps_its_name(tmp_path: Path) -> None:
    result = build_small(tmp_path / "d")
    assert result.dataset.name == "small"
    assert result.dataset.record.source == SourceFacts(title="small")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_the_span_of_gray_levels_leaves_out_a_stuck_pixel(dtype: str) -> None:
    """The brightest minus the darkest made 4 of 10 samples black."""
    images = np.tile(np.arange(100, 164, dtype=dtype), (3, 64, 1))
    images[1, 7, 7] = np.finfo(dtype).max if dtype == "float32" else np.iinfo(dtype).max
    source = make_source(images, np.tile(np.eye(64, dtype=np.uint8), (3, 1, 1)), name="x")
    assert 60 <= source.gray_span() <= 63


def test_a_large_stack_is_measured_on_a_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "_MAX_MEASURED_PX", 1000)
    images = np.tile(np.arange(64, dtype=np.uint8), (3, 64, 1))
    source = make_source(images, np.tile(np.eye(64, dtype=np.uint8), (3, 1, 1)), name="x")
    assert 55 <= source.gray_span() <= 63
