"""Folders of pages, several stacks, and where they were found: nothing may be shifted by one slice unnoticed."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from small_worlds import small_config, small_stack

import pipeline.source.known_stacks
import pipeline.source.scanning
from pipeline.build.builder import build_dataset
from pipeline.errors import ConfigError, SourceError
from pipeline.shards.digest import array_digest
from pipeline.shards.provenance import StackFacts
from pipeline.source.combining import combine, make_source
from pipeline.source.known_stacks import KnownStack, recognise
from pipeline.source.readers import phantom_source, read_images, read_pairs, write_phantom
from pipeline.source.scanning import RereadSlices
from pipeline.source.stacks import RawStack
from pipeline.source.tiff import open_stack, write_stack
from pipeline.verify.verification import verify_dataset

BBBC039 = Path(__file__).parents[4] / "shared" / "data" / "bbbc039"


def write_pages(folder: Path, stems: Sequence[str], pixels: NDArray[Any]) -> Path:
    folder.mkdir(parents=True)
    for stem, page in zip(stems, pixels, strict=True):
        tifffile.imwrite(folder / f"{stem}.tif", page, photometric="minisblack", metadata=None)
    return folder


def numbered(pattern: str, numbers: Sequence[int] = range(12)) -> list[str]:
    return [pattern.format(number) for number in numbers]


def pages(place: Path, image_stems: Sequence[str], label_stems: Sequence[str]) -> tuple[Path, Path]:
    images, labels = small_stack()
    return (
        write_pages(place / "images", image_stems, images[: len(image_stems)]),
        write_pages(place / "labels", label_stems, labels[: len(label_stems)]),
    )


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (numbered("s{}"), numbered("s{}")),
        (numbered("raw_{:03}"), numbered("seg-{}")),
        (numbered("cell{}_w1"), numbered("cell{}_w1_mask")),
        ([*"abcdefghijkl"], [*"abcdefghijkl"]),
    ],
)
def test_folders_of_pages_are_the_same_stack_as_one_file(tmp_path: Path, images: list[str], labels: list[str]) -> None:
    """Page 10 comes after page 9, and belongs to label 10 whatever the two are called beside the number."""
    source = read_pairs([pages(tmp_path, images, labels)])
    assert source.inputs == make_source(*small_stack(), name="x").inputs
    assert source.name == "images"
    assert source.stacks[0].names == tuple(sorted(images, key=lambda stem: (len(stem), stem)))


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (numbered("s{}", [0, 1, 3]), numbered("s{}", [0, 1, 3]), "but 2 is missing"),
        (numbered("s{}", [0, 1, 2]), numbered("s{}", [0, 1]), "images: no page in .*labels belongs to s2"),
        (numbered("s{}", [0, 1]), numbered("s{}", [0, 1, 2]), "labels: no page in .*images belongs to s2"),
        (numbered("s{}", [0, 1, 2]), numbered("s{}", [1, 2, 3]), "belongs to s0"),
        (["s1", "s01"], ["m1", "m01"], "two pages have the same number"),
        (["cat", "dog"], ["rat", "hen"], "belongs to cat, dog"),
    ],
)
def test_pages_that_have_no_partner_or_no_neighbour_are_refused(
    tmp_path: Path, images: list[str], labels: list[str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        read_pairs([pages(tmp_path, images, labels)])


def test_labels_follow_their_images_and_not_their_own_order(tmp_path: Path) -> None:
    """The order of the slices is that of the images, also where the labels' names sort otherwise."""
    images, labels = small_stack()
    places = [2, 0, 1]
    source = read_pairs(
        [
            (
                write_pages(tmp_path / "images", ["cell_a", "cell_b", "cell_c"], images[:3]),
                write_pages(tmp_path / "labels", ["b_gt", "c_mask", "seg_a"], labels[:3]),
            )
        ]
    )
    assert source.inputs == make_source(images[:3], labels[places], name="x").inputs


@pytest.mark.parametrize("link", ["", "symlink_to", "hardlink_to"])
@pytest.mark.parametrize("kind", ["file", "page", "folder"])
def test_images_that_are_their_own_labels_are_refused(tmp_path: Path, kind: str, link: str) -> None:
    """Else every image would be its own label, and the build go well."""
    images = write_pages(tmp_path / "images", ["0", "1"], small_stack()[0][:2])
    if kind == "folder":
        labels = images
        if link:
            (labels := tmp_path / "labels").symlink_to(images)
        pair, words = (images, labels), "images and labels are the same folder, and no name is one of a label"
    elif kind == "file":
        labels = images / "0.tif"
        if link:
            getattr(labels := tmp_path / "labels.tif", link)(images / "0.tif")
        pair, words = (images / "0.tif", labels), "named for labels, but is the images .*0.tif; name what holds"
    else:
        labels = write_pages(tmp_path / "labels", ["0"], small_stack()[1][:1])
        getattr(labels / "1.tif", link or "symlink_to")(images / "1.tif")
        pair, words = (images, labels), r"labels/1\.tif: is the image itself, .*images/1\.tif"
    with pytest.raises(ConfigError, match=words):
        read_pairs([pair])


ONE_FOLDER = [
    (["img_0", "img_1", "img_10"], ["img_0_masks", "img_1_masks", "img_10_masks"]),
    (["a", "b"], ["mask_a", "mask_b"]),
    (["s1_raw", "s2_raw"], ["s1_seg", "s2_seg"]),
]


@pytest.mark.parametrize(("images", "labels"), ONE_FOLDER)
def test_images_and_labels_in_one_folder_are_told_apart_by_name(
    tmp_path: Path, images: list[str], labels: list[str]
) -> None:
    """As Cellpose lays them out; a dataset finds them again, also where the folder was moved."""
    pixels, truth = small_stack()
    folder = write_pages(tmp_path / "train", [*images, *labels], [*pixels[: len(images)], *truth[: len(images)]])
    source = read_pairs([(folder, folder)], independent=True)
    expected = make_source(pixels[: len(images)], truth[: len(images)], name="x")
    assert (source.inputs, source.stacks[0].names) == (expected.inputs, tuple(images))
    assert [len(stack) for stack in read_images(folder)] == [len(images)]
    build_dataset(source, small_config(n=2, independent=True, gap=0, test=0.5), out=tmp_path / "d", jobs=1)
    (tmp_path / "below").mkdir()
    folder.rename(tmp_path / "below" / "train")
    for place in (tmp_path / "below", tmp_path / "below" / "train"):
        assert verify_dataset(tmp_path / "d", replay=True, source_folder=place).findings == ()


@pytest.mark.parametrize(
    ("stems", "words"),
    [
        (["a", "b"], "train: images and labels are the same folder, and no name is one of a label, such as"),
        (["a_mask", "b_mask"], "train: images and labels are the same folder, and every name is one of a label"),
        (["a", "b", "a_mask"], r"train \(its images\): no page in .*train \(its labels\) belongs to b;"),
        (["a", "a_mask", "b_mask"], r"train \(its labels\): no page in .*train \(its images\) belongs to b_mask;"),
        (["a", "a_mask", "a_masks"], r"train \(its labels\): two pages have the same number or name, a_mask and"),
    ],
)
def test_one_folder_whose_names_do_not_tell_is_refused(tmp_path: Path, stems: list[str], words: str) -> None:
    folder = write_pages(tmp_path / "train", stems, small_stack()[0][: len(stems)])
    with pytest.raises(ConfigError, match=words):
        read_pairs([(folder, folder)], independent=True)
    assert [len(stack) for stack in read_images(folder)] == [len(stems)]


def test_images_of_one_stack_are_not_the_labels_of_another(tmp_path: Path) -> None:
    images, labels = pages(tmp_path, numbered("s{}"), numbered("s{}"))
    with pytest.raises(ConfigError, match="named for labels, but is the images"):
        read_pairs([(images, labels), (labels, images)])


def test_fields_of_view_may_have_any_numbers(tmp_path: Path) -> None:
    pair = pages(tmp_path, numbered("s{}", [0, 4, 11]), numbered("s{}", [0, 4, 11]))
    assert len(read_pairs([pair], independent=True).stacks[0].images) == 3


def test_a_file_of_images_may_have_a_folder_of_labels(tmp_path: Path) -> None:
    images, labels = small_stack()
    write_stack(tmp_path / "raw.tif", images)
    folder = write_pages(tmp_path / "labels", numbered("l{}"), labels)
    assert read_pairs([(tmp_path / "raw.tif", folder)]).inputs == make_source(images, labels, name="x").inputs


def test_every_dataset_of_several_stacks_finds_them_again(tmp_path: Path) -> None:
    """Also where images and labels have the same names in two folders, and all was moved."""
    images, labels = small_stack()
    for k, part in enumerate((slice(0, 4), slice(4, 9), slice(9, 12))):
        for kind, pixels in (("images", images), ("labels", labels)):
            (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
            write_stack(tmp_path / "data" / kind / f"{k}.tif", pixels[part])
    pairs = [(tmp_path / "data" / "images" / f"{k}.tif", tmp_path / "data" / "labels" / f"{k}.tif") for k in range(3)]
    source = read_pairs(pairs)
    assert source.name == "0-1-2"
    result = build_dataset(source, small_config(split="stack"), out=tmp_path / "d", jobs=1)
    assert result.plan.assignment.pictures == ("TTTT", "TTTTT", "EEE")
    assert verify_dataset(tmp_path / "d", replay=True).findings == ()
    (tmp_path / "data").rename(tmp_path / "moved")
    assert verify_dataset(tmp_path / "d", replay=True, source_folder=tmp_path / "moved").findings == ()


def test_a_stack_too_large_to_hold_is_read_again_slice_by_slice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = small_stack()
    write_stack(tmp_path / "i.tif", images)
    write_stack(tmp_path / "l.tif", labels)
    held = read_pairs([(tmp_path / "i.tif", tmp_path / "l.tif")])
    monkeypatch.setattr(pipeline.source.scanning, "_MAX_HELD_BYTES", 1000)
    reread = read_pairs([(tmp_path / "i.tif", tmp_path / "l.tif")])
    assert isinstance(reread.stacks[0].images, RereadSlices)
    assert isinstance(reread.stacks[0].labels, RereadSlices)
    datasets = [
        build_dataset(source, small_config(), out=tmp_path / name, jobs=2).dataset
        for name, source in (("held", held), ("reread", reread))
    ]
    assert datasets[0].digest == datasets[1].digest


def test_a_stack_that_changes_during_the_build_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = small_stack()
    write_stack(tmp_path / "i.tif", images)
    monkeypatch.setattr(pipeline.source.scanning, "_MAX_HELD_BYTES", 1000)
    source = combine([RawStack(open_stack(tmp_path / "i.tif"), labels, where=("i.tif", "l.tif"))], name="x")
    write_stack(tmp_path / "other.tif", 255 - images)
    (tmp_path / "i.tif").write_bytes((tmp_path / "other.tif").read_bytes())
    with pytest.raises(SourceError, match=r"i\.tif: slice \d+ changed while it was being used"):
        build_dataset(source, small_config(), out=tmp_path / "d", jobs=1)
    assert not (tmp_path / "d").exists()
    assert not (tmp_path / "d.partial").exists()


def test_a_phantom_among_other_stacks_is_still_said_to_be_one(tmp_path: Path) -> None:
    images, labels = write_phantom(tmp_path / "p")
    other = tuple(tmp_path / name for name in ("i.tif", "l.tif"))
    for path, pixels in zip(other, small_stack(), strict=True):
        write_stack(path, pixels)
    source = read_pairs([other, (images, labels)], name="mix", facts={"licence": "CC0"})
    assert source.is_phantom
    assert source.facts.title == "mix"
    assert source.facts.licence == "CC0"
    assert [part.stack for part in source.facts.parts] == [1]


def test_facts_that_contradict_the_pixels_are_told_and_not_used() -> None:
    phantom = phantom_source()
    _, known = recognise(phantom.inputs, "x")
    stack = phantom.stacks[0]
    labels = np.where(stack.labels[:] > 0, 255, 0).astype(np.uint8)
    source = make_source(stack.images, labels, name="x", facts={"specimen": "mouse", "url": "https://example.org"})
    assert source.facts == replace(known, url="https://example.org")
    assert any("'mouse' is not used" in note for note in source.notes)


def test_a_voxel_size_that_agrees_with_the_pixels_is_no_contradiction(monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration file gives it as a list."""
    images, labels = small_stack()
    known = KnownStack("known", array_digest(images), array_digest(labels), StackFacts(voxel_size_nm=(50.0, 4.0, 4.0)))
    monkeypatch.setitem(pipeline.source.known_stacks._BY_IMAGES, known.images_sha256, known)
    for voxel_size_nm, n_notes in (([50.0, 4.0, 4.0], 0), ([50.0, 4.0, 8.0], 1)):
        source = make_source(images, labels, name="x", facts={"voxel_size_nm": voxel_size_nm})
        assert (source.name, source.facts.voxel_size_nm, len(source.notes)) == ("known", (50.0, 4.0, 4.0), n_notes)


def test_labels_of_a_table_of_colours_say_which_colour_is_which(tmp_path: Path) -> None:
    images, labels = small_stack()
    table = np.zeros((3, 256), np.uint16)
    table[:, 0], table[:, 1] = 65535, (51400, 0, 257)
    pairs = []
    for k, colours in enumerate((table, table, table[::-1])):
        write_stack(tmp_path / f"{k}.tif", np.roll(images, k, axis=1))
        tifffile.imwrite(tmp_path / f"{k}-seg.tif", labels // 255, photometric="palette", colormap=colours)
        pairs.append((tmp_path / f"{k}.tif", tmp_path / f"{k}-seg.tif"))
    (note,) = read_pairs(pairs[:2]).notes
    assert note == (
        f"labels: {tmp_path / '0-seg.tif'} and 1 more: places in a table of colours are taken as they are: "
        "0 is #ffffff, 1 is #c80001"
    )
    assert np.array_equal(read_pairs(pairs[:1]).stacks[0].labels, labels // 255)
    with pytest.raises(ConfigError, match=r"2-seg\.tif: its pixels stand for other colours than those of .*0-seg\.tif"):
        read_pairs(pairs)


@pytest.mark.isbi
@pytest.mark.skipif(not BBBC039.is_dir(), reason="no real fields of view here")
def test_real_fields_of_view_build(tmp_path: Path) -> None:
    """BBBC039: 16-bit MetaMorph files, instance ids, 520 x 696, no neighbours."""
    source = read_pairs([(BBBC039 / "images", BBBC039 / "labels")], independent=True)
    assert (source.coding.kind, source.image_dtype, source.stacks[0].slice_size) == ("instances", "uint16", (520, 696))
    config = small_config(n=8, size=(256, 300), independent=True, gap=3)
    result = build_dataset(source, config, out=tmp_path / "d", jobs=2)
    assert result.plan.assignment.pictures == ("TTTTTTEE",)
    assert verify_dataset(tmp_path / "d", replay=True).findings == ()


@pytest.mark.parametrize("how", ["ImageJ", "OME", "tifffile"])
def test_planes_that_are_called_channels_are_asked_about(tmp_path: Path, how: str) -> None:
    """Ten channels of one field became ten sections, and the same cells were in train and test."""
    images, labels = small_stack()
    options: dict[str, Any] = {"ImageJ": {"imagej": True}, "OME": {"ome": True}, "tifffile": {}}[how]
    for axis in "CZ":
        tifffile.imwrite(tmp_path / f"{axis}.tif", images, **options, metadata={"axes": f"{axis}YX"})
    write_stack(tmp_path / "labels.tif", labels)
    asked = (
        "C.tif: its 12 planes may be the channels of one slice, or the slices of a stack; say --no-channels-are-slices "
        "for one slice of 12 channels, or --channels-are-slices for 12 slices (the labels have 12)"
    )
    with pytest.raises(ConfigError, match=re.escape(asked)):
        read_pairs([(tmp_path / "C.tif", tmp_path / "labels.tif")])
    with pytest.raises(ConfigError, match=r"has 12 slices, for one slice of 12 channels in .* the one label that all"):
        read_pairs([(tmp_path / "C.tif", tmp_path / "labels.tif")], channels_are_slices=False)
    with pytest.raises(ConfigError, match="channels that are slices cannot be chosen"):
        read_pairs([(tmp_path / "C.tif", tmp_path / "labels.tif")], channels_are_slices=True, channel=["0"])
    read = [
        read_pairs([(tmp_path / f"{axis}.tif", tmp_path / "labels.tif")], channels_are_slices=axis == "C")
        for axis in "CZ"
    ]
    assert read[0].inputs == read[1].inputs


def test_what_was_answered_once_is_not_asked_again(tmp_path: Path) -> None:
    """A dataset knows its stack by the digest of its pixels."""
    images, labels = small_stack()
    tifffile.imwrite(tmp_path / "C.tif", images, imagej=True, metadata={"axes": "CYX"})
    write_stack(tmp_path / "labels.tif", labels)
    source = read_pairs([(tmp_path / "C.tif", tmp_path / "labels.tif")], channels_are_slices=True)
    build_dataset(source, small_config(), out=tmp_path / "d")
    assert verify_dataset(tmp_path / "d", replay=True).findings == ()
