"""One mask file an object: the masks of an image become one label, in the natural order of their names."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import ConfigError, SourceError
from pipeline.source.combining import combine
from pipeline.source.pages.formats import open_file
from pipeline.source.pages.object_masks import ObjectMasks
from pipeline.source.stacks import RawStack


def written(folder: Path, **masks: list[list[int]] | NDArray[np.uint8]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, mask in masks.items():
        Image.fromarray(np.asarray(mask, np.uint8)).save(folder / f"{name}.png")
    return [folder / f"{name}.png" for name in masks]


def test_masks_are_numbered_in_natural_order_and_the_first_wins(tmp_path: Path) -> None:
    one = written(tmp_path / "a", m10=[[0, 255, 255]], m9=[[255, 255, 0]], m2=[[0, 0, 0]])
    two = written(tmp_path / "b", x=[[0, 0, 1]])
    masks = ObjectMasks(tmp_path, [one, [], two])
    assert (masks.shape, masks.dtype, len(masks)) == ((3, 1, 3), np.uint16, 3)
    assert [label.tolist() for label in masks] == [[[2, 2, 3]], [[0, 0, 0]], [[0, 0, 1]]]
    assert [file.name for file in masks.files] == ["m2.png", "m9.png", "m10.png", "x.png"]
    assert masks.notes == ("masks overlap in 1 pixel of 1 image; they belong to the object whose file comes first",)


def test_they_are_instances_however_few_they_are(tmp_path: Path) -> None:
    """Four values would be taken for classes."""
    labels = ObjectMasks(tmp_path, [written(tmp_path, a=[[9, 0, 0]], b=[[0, 9, 0]], c=[[0, 0, 9]])])
    source = combine([RawStack(np.zeros(labels.shape, np.uint8), labels)], name="x")
    assert (source.coding.kind, source.stacks[0].labels[0].tolist()) == ("instances", [[1, 2, 3]])
    assert not any("overlap" in note for note in source.notes)


def test_a_label_in_one_file_is_not_taken_for_masks(tmp_path: Path) -> None:
    (file,) = written(tmp_path, a=[[0, 1, 2]])
    labels = open_file(file, labels=True)
    assert combine([RawStack(np.zeros(labels.shape, np.uint8), labels)], name="x").coding.kind == "classes"


@pytest.mark.parametrize(
    ("images", "note"),
    [("LA", "source: a.png: the alpha channel hides nothing, and is left out"), ("L", None)],
)
def test_how_files_were_read_is_a_note(tmp_path: Path, images: str, note: str | None) -> None:
    (file,) = written(tmp_path, a=[[0, 1, 2]])
    Image.open(file).convert(images).save(file)
    raw = RawStack(open_file(file, labels=False), np.array([[[0, 1, 2]]], np.uint8), where=("a.png", "b"))
    assert [each for each in combine([raw], name="x").notes if each.startswith("source")] == [note] * (note is not None)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ([[0, 1], [2, 0]], "b.png: expected the mask of one object, 0 and one other value, found 2 values beside 0"),
        ([[0, 1, 1]], r"b.png: expected one mask of 2 x 2 px, as a.png is, found shape \(1, 1, 3\)"),
        (np.arange(12).reshape(2, 2, 3), "b.png: expected one number a pixel, found colours"),
    ],
)
def test_what_is_no_mask_of_one_object_is_refused(tmp_path: Path, mask: NDArray[np.uint8], words: str) -> None:
    masks = ObjectMasks(tmp_path, [written(tmp_path, a=[[0, 1], [0, 1]], b=mask)])
    with pytest.raises(SourceError, match=words):
        masks[0]


def test_no_masks_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected masks, one file an object, found none"):
        ObjectMasks(tmp_path, [[], []])
