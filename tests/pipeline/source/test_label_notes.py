"""What looks wrong with labels is said in one line, once, before anything is built; clean ones go without a word."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from small_worlds import small_source, small_stack

import pipeline.source.scanning
from pipeline.errors import ConfigError
from pipeline.source.combining import combine, make_source
from pipeline.source.label_notes import glimpse_places
from pipeline.source.labels import LabelOptions
from pipeline.source.readers import phantom_source, read_folder, read_pairs
from pipeline.source.stacks import RawStack, Slices

DATA = Path(__file__).parents[4] / "shared" / "data"
IMAGES = np.random.default_rng(0).integers(1, 250, (6, 80, 80), np.uint8)


def notes(labels: Slices, images: Slices = IMAGES, kind: str = "auto") -> list[str]:
    return list(make_source(images, labels, name="x", label_kind=kind).notes)


def discs(n: int = 12, first: int = 1) -> NDArray[np.uint16]:
    """Return labels of IMAGES: in each slice, n discs with the ids `first`, `first` + 1, ..., 20 pixels apart."""
    labels = np.zeros(IMAGES.shape, np.uint16)
    y, x = np.mgrid[:80, :80]
    for k in range(n):
        labels[:, np.hypot(y - 10 - 20 * (k // 4), x - 10 - 20 * (k % 4)) < 7] = first + k
    return labels


def masks() -> NDArray[np.uint8]:
    """Return labels of IMAGES: discs of 255."""
    return np.where(discs() > 0, np.uint8(255), np.uint8(0))


def through_jpeg(labels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    pictures = []
    for label in labels:
        file = io.BytesIO()
        Image.fromarray(label).save(file, "JPEG", quality=quality)
        pictures.append(np.asarray(Image.open(file)))
    return np.stack(pictures)


# Clean labels


@pytest.mark.parametrize(
    "labels",
    [
        masks(),
        255 - masks(),
        discs() > 0,
        discs(8),
        discs() % 3,
        np.minimum(discs(), 2) * 100,
        np.stack([discs(16)[0] + 16 * (discs(16)[0] > 0) * z for z in range(6)]),
        np.where(discs() > 0, discs() * 20, 0).astype(np.uint8),
        (masks() > 0) * 254 + 1,
    ],
    ids=["masks", "inverted", "bits", "8 ids", "classes", "gray classes", "ids", "ids to 240", "from 1"],
)
def test_clean_labels_have_no_notes(labels: NDArray[np.generic]) -> None:
    assert [note for note in notes(labels) if "single objects" not in note] == []


def test_the_stacks_at_hand_have_no_notes() -> None:
    assert small_source().notes == phantom_source().notes == ()


@pytest.mark.isbi
@pytest.mark.skipif(not DATA.is_dir(), reason="no real data here")
def test_real_stacks_have_no_notes() -> None:
    assert read_folder(DATA / "isbi2012").notes == ()
    fields = DATA / "bbbc039"
    assert read_pairs([(fields / "images", fields / "labels")], independent=True).notes == ()


# Slices without labels


def test_slices_without_labels_are_counted() -> None:
    labels = masks()
    labels[[0, 2, 3]] = 0
    (note,) = notes(labels)
    assert note.startswith("labels: labels: nothing but 0 in 3 of 6 slices; ")


def test_the_background_is_the_lowest_class_and_0_among_ids() -> None:
    labels = masks() // 255 + 1
    labels[1] = 1  # without labels
    labels[2] = 2  # all cell
    (note,) = notes(labels)
    assert "nothing but 1 in 1 of 6 slices;" in note
    ids = discs()
    ids[4] = 0
    source = make_source(IMAGES, ids, name="x", label_kind="instances")
    assert source.stacks[0].unlabelled == {4}
    ids[ids == 0] = 30  # no background anywhere: every pixel is an object
    assert notes(ids, kind="instances") == []


def test_slices_are_counted_over_all_stacks() -> None:
    labels = masks()
    labels[:, :] = 0
    raw = [RawStack(IMAGES, masks(), where=("a", "a-seg")), RawStack(IMAGES + 1, labels, where=("b", "b-seg"))]
    source = combine(raw, name="x")
    assert [note.partition(";")[0] for note in source.notes] == [
        "labels: a-seg and 1 more: nothing but 0 in 6 of 12 slices"
    ]


# Damaged masks


@pytest.mark.parametrize("quality", [95, 90, 75, 50])
def test_a_mask_that_was_saved_as_jpeg_is_to_be_thresholded(quality: int) -> None:
    labels = through_jpeg(masks(), quality)
    assert len(np.unique(labels)) > 8
    assert any("threshold it (mask > 127)" in note for note in notes(labels))


def test_a_mask_that_was_smoothed_is_to_be_thresholded() -> None:
    labels = np.stack([np.asarray(Image.fromarray(mask).resize((117, 117), 2))[:80, :80] for mask in masks()])
    assert any("threshold it (mask > 127)" in note for note in notes(labels))


def test_ids_up_to_255_are_no_damaged_mask() -> None:
    """They have values near both ends, and as many pixels between: here a disc each for 1, 2, ... and ... 254, 255."""
    labels = np.stack([discs(16, first) for first in (1, 17, 100, 150, 224, 240)]).astype(np.uint8)[:, 0]
    assert notes(labels) == []


def test_255_beside_two_classes_is_no_damage_but_may_be_what_nobody_annotated() -> None:
    labels = masks() // 255
    labels[:, :, 70:] = 255
    (note,) = notes(labels)
    assert "255 becomes class 2; if it marks what nobody annotated, say --ignore 255" in note
    assert notes(labels, kind="instances") == []
    with pytest.raises(ConfigError, match="use --label-kind classes or instances"):
        notes(labels, kind="binary")


def test_masks_of_0_and_1_beside_masks_of_0_and_255_are_no_classes() -> None:
    """As classes, the same thing would be two; where a slice has both 1 and 255, they are."""
    labels = masks()
    labels[:2] //= 255
    for kind, factor, other in (("auto", 1, 255), ("binary", 1, 255), ("auto", 257, 65535)):
        mixed = labels.astype(np.uint16) * np.where(labels == 255, factor, 1).astype(np.uint16)
        with pytest.raises(ConfigError, match=f"2 slices with 0 and 1, 4 slices with 0 and {other}, and none with sev"):
            notes(mixed, kind=kind)
    assert notes(labels, kind="classes")
    labels[0, :2] = 255
    assert "--ignore 255" in notes(labels)[-1]


@pytest.mark.parametrize(
    ("quality", "words"), [(90, ": JPEG makes such values of two"), (10, "; else use --label-kind")]
)
def test_a_damaged_mask_that_is_said_to_be_binary_is_to_be_thresholded(quality: int, words: str) -> None:
    with pytest.raises(ConfigError, match=r"threshold the mask \(mask > 127\) and save it without loss") as caught:
        notes(through_jpeg(masks(), quality), kind="binary")
    assert words in str(caught.value)
    assert ("use --label-kind" in str(caught.value)) == (quality == 10)


# Objects that were taken for classes


def test_classes_that_are_one_region_each_may_be_objects() -> None:
    (note,) = notes(discs(12))
    assert "13 values are taken for classes" in note
    assert "--label-kind instances" in note
    assert notes(discs(12), kind="classes") == notes(discs(12), kind="instances") == []


def test_a_few_objects_in_two_parts_are_objects_still() -> None:
    labels = discs(12)
    labels[:, :, 10] = 0  # a line through the discs of one column
    labels[:, 20:, 10] = discs(12)[:, 20:, 10]
    assert len(notes(labels)) == 1


def test_classes_of_several_regions_are_classes() -> None:
    labels = discs(12)
    labels[:, 60:] = labels[:, :20]  # ids 1 to 4 of 12 twice
    assert notes(labels) == []
    assert notes(np.resize(np.arange(20, dtype=np.uint8), IMAGES.shape)) == []


def test_few_classes_are_taken_as_they_are() -> None:
    assert notes(discs(7)) == []
    assert len(notes(discs(8))) == 1


def test_objects_are_looked_for_in_slices_that_have_some() -> None:
    labels = discs(12)
    labels[[0, 1, 2, 4]] = 0
    assert [note.split(": ")[2][:10] for note in notes(labels)] == ["nothing bu", "13 values "]


# Images for labels


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_images_for_labels_are_noticed(dtype: str) -> None:
    images = IMAGES.astype(dtype)
    labels = IMAGES.copy()
    labels[0, 0, 0] ^= 1
    assert any("are they the images themselves?" in note for note in notes(labels, images))


def test_dark_images_do_not_equal_their_empty_labels() -> None:
    """Nearly every pixel is 0 in both: pixels that show nothing tell nothing."""
    labels = masks()
    labels[:, 20:] = 0
    assert notes(labels, labels // 2) == []


# Axes


@pytest.mark.parametrize(("shape", "found"), [((40, 2, 30), "2 x 30"), ((40, 30, 3), "30 x 3"), ((40, 3, 24), "")])
def test_slices_that_are_much_longer_than_wide_are_a_question(shape: tuple[int, ...], found: str) -> None:
    images = np.resize(IMAGES, shape)
    labels = np.resize(np.array([0, 0, 1], np.uint8), shape)
    told = [note for note in notes(labels, images) if "axes in the right order" in note]
    assert [note.split(" px")[0] for note in told] == ([f"source: images: 40 slices of {found}"] if found else [])


# What the notes are made from


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 20, 24), (30, 512, 512), (4000, 5000, 300)])
@pytest.mark.parametrize("n_stacks", [1, 5, 1000])
def test_a_glimpse_is_of_few_pixels(shape: tuple[int, int, int], n_stacks: int) -> None:
    places, step = glimpse_places(*shape, n_stacks)
    assert {0} <= places <= set(range(shape[0]))
    assert len(places) * n_stacks <= max(16, n_stacks)
    assert max(shape[1:]) / step <= 128


def test_a_stack_that_is_not_held_has_the_same_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = discs(12)
    labels[[0, 5]] = 0
    held = notes(labels)
    monkeypatch.setattr(pipeline.source.scanning, "_MAX_HELD_BYTES", 1000)
    assert notes(labels) == held
    assert len(held) == 2


def test_a_source_whose_labels_are_noted_has_the_same_pixels() -> None:
    images, labels = small_stack()
    source = make_source(images, np.where(labels > 0, labels, 0), name="small")
    assert source.inputs == small_source().inputs


def test_what_is_ignored_is_no_object_and_not_why_there_are_none() -> None:
    """It lies in several parts, as no object does."""
    labels = discs().astype(np.int16)
    labels[:, :2] = labels[:, -2:] = labels[:, 39:41] = -1
    source = make_source(IMAGES, labels, name="x", label_options=LabelOptions(ignore=(-1,)))
    assert "13 values are taken for classes, but nearly each is one connected region" in source.notes[-1]


@pytest.mark.parametrize(("dtype", "void"), [("uint16", 2**16 - 1), ("uint32", 2**32 - 1), ("uint64", 2**64 - 1)])
def test_the_highest_number_among_ids_may_be_what_nobody_annotated(dtype: str, void: int) -> None:
    labels = discs().astype(dtype)
    labels[:, :2] = void
    said = f"{void} becomes an object; if it marks what nobody annotated, say --ignore {void}"
    assert any(said in note for note in notes(labels, kind="instances"))
    labels[0, 2] = void - 1
    assert not any(said in note for note in notes(labels, kind="instances"))
