"""Labels that are colours become classes by a table, which is said and recorded; never gray levels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from small_worlds import OPTIONS, small_stack

from pipeline.errors import ConfigError, SourceError
from pipeline.shards.dataset import open_dataset
from pipeline.shards.digest import array_digest
from pipeline.source.combining import combine, make_source
from pipeline.source.labels import LabelOptions
from pipeline.source.stacks import RawStack
from pipeline.verify.verification import verify_dataset

Run = Callable[..., Any]
IMAGES, MASKS = small_stack()
TABLE = np.array([[0, 0, 0], [0, 255, 0], [255, 0, 10]], np.uint8)
CLASSES = (MASKS > 0).astype(np.uint8)
CLASSES[:, 40:, 30:] *= 2
COLOURS = TABLE[CLASSES]
FOUND = LabelOptions(are_colors=True)
RED, GREEN, BLACK = 0xFF000A, 0x00FF00, 0x000000


def colour_labels(colours: NDArray[Any] = COLOURS, **options: Any) -> Any:
    return make_source(IMAGES, colours, name="x", label_options=LabelOptions(are_colors=True, **options))


def test_each_colour_is_a_class_in_rising_order() -> None:
    source = colour_labels()
    labels = source.inputs[0].labels
    assert np.array_equal(source.stacks[0].labels[:], CLASSES)
    assert (labels.kind, labels.dtype, labels.values) == ("classes", "uint32", (BLACK, GREEN, RED))
    assert labels.colors == ("#000000", "#00ff00", "#ff000a")
    assert labels.sha256 == array_digest(np.array([BLACK, GREEN, RED], np.uint32)[CLASSES])
    share = np.mean(CLASSES == 1)
    assert f"labels: labels: #00ff00 -> 1, {share:.1%} of the pixels" in source.notes


def test_a_table_says_order_and_names() -> None:
    source = colour_labels(values=(RED, BLACK, GREEN, 0x123456), names=("a", "b", "c", "d"))
    assert np.array_equal(source.stacks[0].labels[:], np.array([1, 2, 0], np.uint8)[CLASSES])
    assert source.coding.background == RED
    assert source.notes[0].startswith("labels: labels: #ff000a -> 0 (a), ")
    assert source.notes[3] == "labels: labels: #123456 -> 3 (d), 0.0% of the pixels"


def test_a_background_that_is_not_the_first_colour_is_a_note() -> None:
    """White is the highest colour, and losses and scores take class 0 for the background."""
    masks = np.where(np.arange(72)[:, None] < 20, TABLE[2], np.uint8(255))[None, None].repeat(64, 1).repeat(12, 0)
    assert "is now #ff000a; if it is #ffffff, list all colours" in colour_labels(masks).notes[2]
    said = colour_labels(masks, values=(0xFFFFFF, RED))
    assert (said.coding.background, len(said.notes)) == (0xFFFFFF, 2)


def test_many_colours_in_any_order_are_classes() -> None:
    table = np.random.default_rng(0).permutation(256 * 9)[:40].astype(np.uint32) * 7001
    classes = np.random.default_rng(1).integers(0, 40, IMAGES.shape)
    colours = np.stack([table >> 16, table >> 8 & 255, table & 255], axis=-1).astype(np.uint8)[classes]
    stack = colour_labels(colours, values=tuple(table.tolist())).stacks[0]
    assert np.array_equal(stack.labels[:], classes)


def test_a_colour_can_be_ignored_and_one_without_a_class_is_refused() -> None:
    source = colour_labels(ignore=(RED,))
    assert np.array_equal(source.stacks[0].labels[:], np.array([0, 1, 255], np.uint8)[CLASSES])
    assert source.inputs[0].labels.ignored == (RED,)
    with pytest.raises(
        ConfigError, match="expected #000000, #00ff00 alone, but labels also has #ff000a; name every one"
    ):
        colour_labels(values=(BLACK, GREEN))
    with pytest.raises(ConfigError, match="colours are classes, not instances"):
        make_source(IMAGES, COLOURS, name="x", label_options=FOUND, label_kind="instances")


def test_a_smoothed_or_compressed_picture_is_refused() -> None:
    noisy = COLOURS.astype(np.int16) + np.random.default_rng(0).integers(-9, 9, COLOURS.shape)
    with pytest.raises(
        SourceError, match=r"at most 256 colours, found .* up to slice 0, as in a picture that was smoothed"
    ):
        colour_labels(np.clip(noisy, 0, 255).astype(np.uint8))


def test_colours_that_are_the_same_gray_stay_apart() -> None:
    """By any weights of the three colours, some colours have the same gray level."""
    table = np.array([[128, 0, 0], [0, 128, 0], [0, 0, 128]], np.uint8)
    assert np.array_equal(colour_labels(table[CLASSES]).stacks[0].labels[:], np.array([2, 1, 0], np.uint8)[CLASSES])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "bool"])
def test_gray_labels_and_places_in_a_table_are_colours_too(dtype: str) -> None:
    gray = (CLASSES > 0).astype(dtype)
    palette = np.array([[9 * 257, 65535], [0, 0], [0, 257]], np.uint16)
    raw = RawStack(IMAGES, gray.astype(np.uint8), palette=palette)
    assert combine([raw], name="x", label_options=FOUND).coding.colors == ("#090000", "#ff0001")
    by_256 = RawStack(IMAGES, gray.astype(np.uint8), palette=palette >> 8 << 8)
    assert combine([by_256], name="x", label_options=FOUND).coding.colors == ("#090000", "#ff0001")
    finer = RawStack(IMAGES, gray.astype(np.uint8), palette=np.array([[0, 1]] * 3, np.uint16))
    with pytest.raises(SourceError, match="expected a table of colours of 8 bits, found finer ones"):
        combine([finer], name="x", label_options=FOUND)
    shades = gray * np.array(257, dtype) * np.array(7, dtype) if dtype == "uint16" else gray
    expected = {"uint8": "#010101", "uint16": "#070707", "bool": "#ffffff"}[dtype]
    assert colour_labels(shades).coding.colors == ("#000000", expected)


@pytest.mark.parametrize("form", ["PNG", "palette", "TIFF"])
def test_pictures_become_a_dataset_that_is_verified(tmp_path: Path, augpipe: Run, form: str) -> None:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for z, (image, colours, classes) in enumerate(zip(IMAGES, COLOURS, CLASSES, strict=True)):
        Image.fromarray(image).save(tmp_path / "images" / f"{z}.png")
        if form == "palette":
            picture = Image.fromarray(classes)
            picture.putpalette(TABLE.tobytes())
            picture.save(tmp_path / "labels" / f"{z}.png")
        elif form == "PNG":
            Image.fromarray(colours).save(tmp_path / "labels" / f"{z}.png")
        else:
            tifffile.imwrite(tmp_path / "labels" / f"{z}.tif", colours, photometric="rgb")
    command = ("build", tmp_path, *OPTIONS, "--out", tmp_path / "d")
    if form != "palette":
        refused = augpipe(*command)
        assert refused.code == 3
        assert "found colours; if each colour is a class, say --label-colors found" in refused.err
    table = "background=#000000, cell=#00ff00"
    built = augpipe(*command, "--label-colors", table, "--ignore", "#ff000a", "--weights", "unet2015")
    assert "binary labels: #000000 -> 0 (background), #00ff00 -> 1 (cell), ignored: #ff000a -> 255" in built.out
    assert "#ff000a is ignored, " in built.out
    assert "#00ff00 -> 1 (cell), " in built.out
    record = open_dataset(tmp_path / "d").record
    assert [(each.value, each.name, each.color) for each in record.classes] == [
        (0, "background", "#000000"),
        (GREEN, "cell", "#00ff00"),
    ]
    assert verify_dataset(tmp_path / "d", replay=True).findings == ()
    found = augpipe(*command, "--label-colors", "found", "--classes", "a,b,c", "--overwrite")
    assert "#ff000a -> 2 (c), " in found.out
    assert verify_dataset(tmp_path / "d", replay=True).findings == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("--label-colors red", "expected found, or colours as background=#000000,cell=#00ff00, got 'red'"),
        ("--label-colors a=#000000,#00ff00", "expected different colours, and a name for all or none"),
        ("--label-colors #000000,#000000", "expected different colours, and a name for all or none"),
        ("--label-colors a=#000000,b=#00ff00 --classes a,b", "--classes: --label-colors says it, too"),
        ("--ignore 255 --label-colors found", "--ignore: 255 is no colour, as labels have with --label-colors"),
        ("--ignore #0000ff", "--ignore: #0000ff is a colour, which goes with --label-colors"),
        ("--ignore #12", "expected whole numbers such as -1 or 0,255, or colours, got '#12'"),
    ],
)
def test_what_is_no_colour_is_refused(augpipe: Run, tmp_path: Path, text: str, words: str) -> None:
    refused = augpipe("build", tmp_path, *text.split())
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert words in refused.err
