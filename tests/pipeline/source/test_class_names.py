"""Classes have names where these are said or known; they fit the values, and are shown wherever classes are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_worlds import OPTIONS, small_stack, write_folder

from pipeline.errors import ConfigError
from pipeline.shards.dataset import open_dataset
from pipeline.source.combining import make_source
from pipeline.source.known_stacks import class_names
from pipeline.source.labels import LabelOptions
from pipeline.source.readers import phantom_source
from pipeline.verify.verification import verify_dataset

Run = Callable[..., Any]
IMAGES, LABELS = small_stack()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    labels = np.where(LABELS > 0, 7, 3).astype(np.uint8)
    labels[:, :, 60:] = 200
    labels[5:8, :, :60] = 3
    return write_folder(tmp_path / "small", IMAGES, labels)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"names": ("a",)}, r"expected a name for each class, got 1 \(a\), but labels has 2 label values \(0, 255\)"),
        ({"names": ("a", "a")}, "expected different names"),
        ({"names": ("a", "b\n")}, "each short and in one line"),
        (
            {"names": ("a", "b"), "values": (0, 254)},
            "classes: expected 0, 254 alone, but labels also has 255; name every one, or say --ignore",
        ),
        ({"names": ("a", "b", "c"), "values": (-1, 0, 255)}, "values from 0, got -1; say --ignore -1"),
        ({"names": ("a", "b"), "values": (0, 255), "ignore": (255,)}, "255 has a name, and is to be ignored"),
    ],
)
def test_names_that_do_not_fit_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_source(IMAGES, LABELS, name="x", label_options=LabelOptions(**options))


def test_a_named_value_is_a_class_even_where_no_pixel_has_it() -> None:
    """So a class has the same index in all sets of a series."""
    options = LabelOptions(names=("a", "b", "c"), values=(0, 100, 255))
    source = make_source(IMAGES, LABELS, name="x", label_options=options)
    assert (source.coding.kind, source.coding.values, source.coding.names) == (
        "classes",
        (0, 100, 255),
        ("a", "b", "c"),
    )
    assert set(np.unique(source.stacks[0].labels[:])) == {0, 2}


def test_objects_have_two_names() -> None:
    ids = np.arange(LABELS.size, dtype=np.uint16).reshape(LABELS.shape) // 100
    options = LabelOptions(names=("background", "nucleus"))
    source = make_source(IMAGES, ids, name="x", label_options=options)
    assert source.inputs[0].labels.names == ("background", "nucleus")
    with pytest.raises(ConfigError, match="objects have 2: what they are called, after the background"):
        make_source(IMAGES, ids, name="x", label_options=LabelOptions(names=("nucleus",)))


def test_names_of_known_stacks_are_shown_and_not_recorded() -> None:
    inputs = phantom_source().inputs
    assert class_names(inputs) == ("membrane", "cell")
    assert inputs[0].labels.names is None


@pytest.mark.parametrize(
    "said",
    [
        ("--classes", "stroma, nucleus"),
        ("--classes", "7=nucleus,3=stroma"),
        'classes = ["stroma", "nucleus"]',
        'classes = "stroma,nucleus"',
        '[classes]\n3 = "stroma"\n7 = "nucleus"',
    ],
)
def test_names_are_shown_wherever_classes_are(tmp_path: Path, augpipe: Run, folder: Path, said: Any) -> None:
    out = tmp_path / "d"
    more = said
    if isinstance(said, str):
        (tmp_path / "set.toml").write_text(f"ignore = 200\n{said}\n")
        more = ("--config", tmp_path / "set.toml")
    built = augpipe("build", folder, *OPTIONS, "--ignore", "200", *more, "--skip-unlabelled", "--out", out)
    assert "binary labels: 3 -> 0 (stroma), 7 -> 1 (nucleus), ignored: 200 -> 255" in built.out
    assert "train-labels.tif: 200 is ignored, 16.7% of the pixels" in built.out
    record = open_dataset(out).record
    assert [(each.index, each.value, each.name) for each in record.classes] == [(0, 3, "stroma"), (1, 7, "nucleus")]
    assert record.inputs[0].skipped == (5, 6, 7)
    assert not {5, 6, 7} & {row.z for row in open_dataset(out).rows()}
    assert verify_dataset(out, replay=True).findings == ()
    shown = augpipe("show", out).out
    for words in ("3 -> 0 (stroma), 7 -> 1 (nucleus)", "200 -> 255, without weight", "3 slices: nothing is annotated"):
        assert words in shown


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ignore = 1.5", "ignore: expected a whole number, or a list of them, got 1.5"),
        ('ignore = "255"', "ignore: expected a whole number"),
        ("classes = [1, 2]", 'classes: expected names such as ["background", "cell"], or a table of them by value'),
        ('[classes]\na = "b"', "expected names by value, such as 0=background,255=cell"),
    ],
)
def test_other_values_in_a_file_are_refused(tmp_path: Path, augpipe: Run, folder: Path, text: str, words: str) -> None:
    (tmp_path / "set.toml").write_text(f"{text}\n")
    refused = augpipe("build", folder, "--config", tmp_path / "set.toml")
    assert refused.code == 2
    assert words in refused.err
    assert refused.err.count("\n") == 1


def test_a_card_names_classes_and_what_is_ignored(tmp_path: Path, augpipe: Run, folder: Path) -> None:
    out = tmp_path / "d"
    augpipe("build", folder, *OPTIONS, "--ignore", "200,9", "--classes", "stroma,nucleus", "--gap", "3", "--out", out)
    assert augpipe("card", out).code == 0
    text = (out / "card" / "README.md").read_text()
    assert "| 0 | 3 | stroma |\n| 1 | 7 | nucleus |" in text
    assert "Label 255 marks pixels that mean nothing: leave them out of losses and scores." in text
    assert '"classes/name":"nucleus"' in (out / "card" / "croissant.json").read_text()
