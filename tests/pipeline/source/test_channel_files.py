"""Channels in files or folders of their own are joined, chosen ones kept, and nothing is a channel by chance."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from small_worlds import small_config, small_stack

from pipeline.build.builder import build_dataset
from pipeline.build.rebuild import rebuild_dataset
from pipeline.errors import ConfigError, SourceError
from pipeline.source.combining import make_source
from pipeline.source.origin import find_origin
from pipeline.source.pages.channel_files import channel_files
from pipeline.source.readers import read_pairs
from pipeline.source.tiff import write_stack
from pipeline.verify.verification import verify_dataset

IMAGES, LABELS = small_stack()
CUBE = np.stack([IMAGES, np.roll(IMAGES, 5, axis=2), IMAGES[:, ::-1]], axis=-1)  # slices, rows, columns, channels


def write_pages(folder: Path, names: Sequence[str], pages: NDArray[Any]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, page in zip(names, pages, strict=True):
        write_stack(folder / f"{name}.tif", page[None])
    return folder


def numbered(name: str) -> list[str]:
    return [name.format(z) for z in range(len(IMAGES))]


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_pages(tmp_path / "labels", numbered("img_{}"), LABELS)


def images_of(source: Any) -> NDArray[Any]:
    return np.stack(list(source.stacks[0].images))


@pytest.mark.parametrize(
    ("stems", "slices", "channels"),
    [
        (["a_0000", "a_0001", "b_0000", "b_0001"], ("a", "b"), ("0000", "0001")),
        (["img 10-ch1", "img 9-ch1", "img 9-ch2", "img 10-ch2"], ("img 9", "img 10"), ("ch1", "ch2")),
        (["x_C1", "x_C0", "x_C10"], ("x",), ("C0", "C1", "C10")),
        (["s1_w1", "s1_w2", "s2_w1", "s2_w2"], ("s1", "s2"), ("w1", "w2")),
        (["s_w1DAPI", "s_w2Cy 5", "r_w1DAPI", "r_w2Cy 5"], ("r", "s"), ("w1DAPI", "w2Cy 5")),
        (["C1-a", "C2-a", "C1-b", "C2-b"], ("a", "b"), ("C1", "C2")),
        (["x_w1DAPI_s1", "x_w2GFP_s1", "x_w1DAPI_s2", "x_w2GFP_s2"], ("x_s1", "x_s2"), ("w1DAPI", "w2GFP")),
        (["s1_DAPI", "s1_GFP", "s2_DAPI", "s2_GFP"], ("s1", "s2"), ("DAPI", "GFP")),
    ],
)
def test_names_tell_channels(stems: list[str], slices: tuple[str, ...], channels: tuple[str, ...]) -> None:
    found = channel_files(stems)
    assert found is not None
    assert (found.slices, found.channels) == (slices, channels)
    for channel, places in zip(channels, found.files, strict=True):
        assert [re.sub(rf"^{channel}[-_. ]|[-_. ]{channel}", "", stems[place]) for place in places] == list(slices)


@pytest.mark.parametrize(
    "stems",
    [
        ["a_0000", "a_0001", "b_0000"],  # one is missing
        ["a_0001", "a_0002", "b_0001", "b_0002"],  # nnU-Net begins with 0000
        ["a_0000", "b_0000"],  # one channel
        ["a_1", "a_2", "b_1", "b_2"],  # two fields, or two channels
        ["a_left", "a_right", "b_left", "b_right"],
        ["a0000", "a0001", "b0000", "b0001"],
        ["a_dapi", "a_gfp", "b_dapi", "b_2"],
        [f"a_{z:04}" for z in range(33)],
        ["_0000", "_0001"],
    ],
)
def test_other_names_tell_none(stems: list[str]) -> None:
    assert channel_files(stems) is None


@pytest.mark.parametrize("ends", [("0000", "0001", "0002"), ("ch1", "ch2", "ch3"), ("DAPI", "DIC", "GFP")])
def test_files_of_channels_are_joined_where_labels_say_so(tmp_path: Path, labels: Path, ends: tuple[str, ...]) -> None:
    for c, end in enumerate(ends):
        write_pages(tmp_path / "images", numbered(f"img_{{}}_{end}"), CUBE[..., c])
    source = read_pairs([(tmp_path / "images", labels)])
    assert source.stacks[0].channels == ends
    assert np.array_equal(images_of(source), CUBE)
    assert source.stacks[0].names == tuple(numbered("img_{}"))
    assert source.notes[0].startswith(
        f"source: {tmp_path / 'images'}: names that end in {', '.join(ends)} are taken for the ch"
    )
    build_dataset(source, small_config(), out=tmp_path / "d")
    assert verify_dataset(tmp_path / "d", replay=True).findings == ()


def test_files_with_labels_of_their_own_are_slices_whatever_they_end_with(tmp_path: Path) -> None:
    """Twelve slices that nnU-Net would call the channels of one."""
    for kind, pages in (("images", IMAGES), ("labels", LABELS)):
        write_pages(tmp_path / kind, [f"vol_{z:04}" for z in range(12)], pages)
    source = read_pairs([(tmp_path / "images", tmp_path / "labels")])
    assert source.inputs == make_source(IMAGES, LABELS, name="x").inputs


def test_a_hole_between_slices_of_channels_is_found(tmp_path: Path) -> None:
    for c in range(2):
        write_pages(tmp_path / "images", [f"img_{z}_000{c}" for z in (0, 1, 3)], CUBE[:3, ..., c])
    labels = write_pages(tmp_path / "labels", [f"img_{z}" for z in (0, 1, 3)], LABELS[:3])
    with pytest.raises(ConfigError, match="pages are numbered img_0 to img_3, but 2 is missing"):
        read_pairs([(tmp_path / "images", labels)])
    assert read_pairs([(tmp_path / "images", labels)], independent=True).stacks[0].channels == ("0000", "0001")


def test_names_that_fit_no_labels_are_told_as_they_are(tmp_path: Path, labels: Path) -> None:
    write_pages(tmp_path / "images", ["a_0000", "a_0001"], IMAGES[:2])
    with pytest.raises(ConfigError, match="images belongs to img_2, img_3, img_4 and 7 more"):
        read_pairs([(tmp_path / "images", labels)])


def test_what_is_not_read_as_channels_is_refused_with_what_is_to_be_done(tmp_path: Path, labels: Path) -> None:
    for c, end in enumerate(("w1", "w2")):
        write_pages(tmp_path / "images", numbered(f"img_{{}}_{end}"), CUBE[..., c])
    (tmp_path / "images" / "img_3_w2.tif").unlink()
    with pytest.raises(ConfigError, match="but img_3 has none for w2; add it"):
        read_pairs([(tmp_path / "images", labels)])
    for c, end in enumerate(("left", "right")):
        write_pages(tmp_path / "others", numbered(f"img_{{}}_{end}"), CUBE[..., c])
    with pytest.raises(ConfigError, match="each label belongs to 2 files, which end in left, right"):
        read_pairs([(tmp_path / "others", labels)])


# Channels in folders or stacks of their own


def joined(tmp_path: Path, labels: Path) -> list[tuple[Path, Path]]:
    """Return the pairs of three folders, one a channel."""
    names = {"dapi": "img_{}", "gfp": "{:03}", "phase": "img_{}"}
    folders = [
        write_pages(tmp_path / name, numbered(pattern), CUBE[..., c]) for c, (name, pattern) in enumerate(names.items())
    ]
    return [(folder, labels) for folder in folders]


def test_folders_are_joined_and_found_again(tmp_path: Path, labels: Path) -> None:
    source = read_pairs(joined(tmp_path, labels), join="channels", name="j")
    assert len(source.stacks) == len(source.files) == 1
    assert source.stacks[0].channels == ("dapi", "gfp", "phase")
    assert np.array_equal(images_of(source), CUBE)
    assert source.stacks[0].names == tuple(numbered("img_{}"))
    dataset = build_dataset(source, small_config(), out=tmp_path / "d").dataset
    assert dataset is not None
    assert verify_dataset(tmp_path / "d", replay=True).findings == ()
    (tmp_path / "d" / "build-info.json").unlink()
    assert find_origin(dataset, pairs=joined(tmp_path, labels)).inputs == source.inputs
    assert rebuild_dataset(tmp_path / "d", tmp_path / "e", pairs=joined(tmp_path, labels)).dataset is not None


def test_stacks_are_joined_two_by_two(tmp_path: Path) -> None:
    """Two stacks of two channels each, in files of their own; colours count as the channels that they are."""
    pairs = []
    for k in range(2):
        write_stack(tmp_path / f"labels{k}.tif", LABELS[k:])
        tifffile.imwrite(tmp_path / f"rgb{k}.tif", CUBE[k:], photometric="rgb")
        write_stack(tmp_path / f"depth{k}.tif", IMAGES[k:, :, ::-1])
        pairs += [(tmp_path / f"{name}{k}.tif", tmp_path / f"labels{k}.tif") for name in ("rgb", "depth")]
    source = read_pairs(pairs, join="channels", name="x")
    for k, stack in enumerate(source.stacks):
        expected = np.concatenate([CUBE, IMAGES[:, :, ::-1, None]], axis=-1)[k:]
        assert np.array_equal(np.stack(list(stack.images)), expected)
        assert stack.channels == ("red", "green", "blue", "1")
    assert [len(pair[0].further) for pair in source.files] == [1, 1]


@pytest.mark.parametrize("pattern", ["{}_{}", "{1}_{0}"])
def test_stacks_name_their_channels_alike(tmp_path: Path, pattern: str) -> None:
    pairs = []
    for k in "ab":
        write_stack(tmp_path / f"labels_{k}.tif", LABELS[k == "b" :])
        for c, name in enumerate(("dapi", "gfp")):
            path = tmp_path / f"{pattern.format(k, name)}.tif"
            write_stack(path, CUBE[k == "b" :, ..., c])
            pairs.append((path, tmp_path / f"labels_{k}.tif"))
    assert {stack.channels for stack in read_pairs(pairs, join="channels", name="x").stacks} == {("dapi", "gfp")}


def test_channels_that_do_not_fit_are_refused(tmp_path: Path, labels: Path) -> None:
    one = write_pages(tmp_path / "one", numbered("img_{}"), IMAGES)
    small = write_pages(tmp_path / "small", numbered("img_{}"), IMAGES[:, :5])
    with pytest.raises(ConfigError, match=re.escape("small: 12 x 5 x 72 (Z, Y, X) uint8, but ")):
        read_pairs([(one, labels), (small, labels)], join="channels")
    with pytest.raises(ConfigError, match="one: is named twice for channels of one stack"):
        read_pairs([(small, labels), (one, labels), (one, labels)], join="channels")
    other = write_pages(tmp_path / "other", [f"img_{z}{' b' * (z == 0)}" for z in range(12)], IMAGES)
    with pytest.raises(ConfigError, match=r"other: no page in .* belongs to img_0 b"):
        read_pairs([(one, labels), (other, labels)], join="channels")
    with pytest.raises(ConfigError, match="join: expected stacks or channels, got 'all'"):
        read_pairs([(one, labels)], join="all")


# Some channels


@pytest.fixture
def colours(tmp_path: Path) -> list[tuple[Path, Path]]:
    tifffile.imwrite(tmp_path / "rgb.tif", CUBE, photometric="rgb")
    write_stack(tmp_path / "labels.tif", LABELS)
    return [(tmp_path / "rgb.tif", tmp_path / "labels.tif")]


@pytest.mark.parametrize(
    ("wanted", "places"),
    [
        (["2,0"], [2, 0]),
        (["blue", "Red"], [2, 0]),
        (["green"], 1),
        (["1"], 1),
        (["red, green ,blue"], [0, 1, 2]),
    ],
)
def test_chosen_channels_are_kept_in_their_order(
    tmp_path: Path, colours: list[tuple[Path, Path]], wanted: list[str], places: Any
) -> None:
    source = read_pairs(colours, channel=wanted)
    assert np.array_equal(images_of(source), CUBE[..., places])
    names = np.array(["red", "green", "blue"])[places]
    assert source.stacks[0].channels == (tuple(names) if names.ndim else ())
    build_dataset(source, small_config(), out=tmp_path / "d")
    assert verify_dataset(tmp_path / "d", replay=True).findings == ()


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (["yellow"], "there is no channel 'yellow' in .*; it has red, green, blue, or 0 to 2"),
        (["3"], "there is no channel '3'"),
        (["-1"], "there is no channel '-1'"),
        (["red", "0"], "red is named twice"),
    ],
)
def test_channels_that_are_not_there_are_refused(
    colours: list[tuple[Path, Path]], wanted: list[str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        read_pairs(colours, channel=wanted)


def test_of_gray_nothing_can_be_chosen_and_colours_are_no_slices(
    tmp_path: Path, colours: list[tuple[Path, Path]]
) -> None:
    write_stack(tmp_path / "gray.tif", IMAGES)
    with pytest.raises(ConfigError, match=r"gray\.tif: has one channel, so that none can be chosen"):
        read_pairs([(tmp_path / "gray.tif", tmp_path / "labels.tif")], channel=["0"])
    with pytest.raises(ConfigError, match="are those of 12 slices and cannot be slices; leave out --channels-are-sl"):
        read_pairs(colours, channels_are_slices=True)


def test_more_channels_than_a_dataset_has_are_to_be_chosen_from(tmp_path: Path) -> None:
    many = np.stack([np.roll(IMAGES[0], c, axis=1) for c in range(40)])
    tifffile.imwrite(tmp_path / "many.tif", many, imagej=True, metadata={"axes": "CYX"})
    write_stack(tmp_path / "labels.tif", LABELS[:1])
    pair = [(tmp_path / "many.tif", tmp_path / "labels.tif")]
    with pytest.raises(ConfigError, match="at most 32 channels, found 40; choose some, such as --channel 0,1,2"):
        read_pairs(pair, channels_are_slices=False)
    assert np.array_equal(images_of(read_pairs(pair, channel=["39,2"])), many[[39, 2]].transpose(1, 2, 0)[None])


def test_arrays_of_one_file_are_joined(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["green"], file["red"], file["labels"] = CUBE[..., 0], CUBE[..., 1], LABELS
    pairs = [(Path(f"{tmp_path}/all.h5:/{name}"), Path(f"{tmp_path}/all.h5:/labels")) for name in ("green", "red")]
    source = read_pairs(pairs, join="channels", name="x")
    assert np.array_equal(images_of(source), CUBE[..., :2])
    assert source.stacks[0].channels == ("green", "red")
    assert source.stacks[0].names == ("all",)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_labels_that_tifffile_took_for_colours_are_as_many_as_images(tmp_path: Path) -> None:
    """Three labels, saved with its defaults, are planar RGB in the file; so is one label that was saved as RGB."""
    tifffile.imwrite(tmp_path / "hyper.tif", CUBE[:3, ..., :2].transpose(0, 3, 1, 2), imagej=True)
    tifffile.imwrite(tmp_path / "labels.tif", LABELS[:3])
    three = [(tmp_path / "hyper.tif", tmp_path / "labels.tif")]
    for channel in ((), ("1",)):
        source = read_pairs(three, channel=channel)
        assert np.array_equal(np.stack(list(source.stacks[0].labels)) * 255, LABELS[:3])
    tifffile.imwrite(tmp_path / "one.tif", CUBE[0], photometric="rgb")
    tifffile.imwrite(tmp_path / "label.tif", np.stack([LABELS[0]] * 3), photometric="rgb", planarconfig="separate")
    source = read_pairs([(tmp_path / "one.tif", tmp_path / "label.tif")])
    assert np.array_equal(source.stacks[0].labels[0] * 255, LABELS[0])
    assert "equal in every pixel" in source.notes[0]
    with pytest.raises(SourceError, match="expected one number a pixel, found colours"):
        read_pairs([(tmp_path / "one.tif", tmp_path / "labels.tif")])


@pytest.mark.parametrize(("kept", "names"), [(("2", "0"), ("2", "0")), (("1",), ())])
def test_a_lock_file_alone_finds_the_channels_that_were_kept(
    tmp_path: Path, kept: tuple[str, ...], names: tuple[str, ...]
) -> None:
    tifffile.imwrite(tmp_path / "raw.tif", CUBE.transpose(0, 3, 1, 2).copy(), imagej=True, metadata={"axes": "ZCYX"})
    write_stack(tmp_path / "seg.tif", LABELS)
    pairs = [(tmp_path / "raw.tif", tmp_path / "seg.tif")]
    built = build_dataset(read_pairs(pairs, channel=kept), small_config(), out=tmp_path / "d")
    assert built.dataset is not None
    assert (built.dataset.record.arrays.channels or ()) == names
    (tmp_path / "d" / "build-info.json").unlink()
    again = rebuild_dataset(tmp_path / "d", tmp_path / "again", pairs=pairs)
    assert again.dataset is not None
    assert again.dataset.digest == built.dataset.digest


def test_channels_of_renamed_files_have_the_names_of_the_lock_file(tmp_path: Path, labels: Path) -> None:
    pairs = joined(tmp_path, labels)
    built = build_dataset(read_pairs(pairs, join="channels", name="j"), small_config(), out=tmp_path / "d")
    (tmp_path / "d" / "build-info.json").unlink()
    moved = [(path.rename(tmp_path / f"{k}"), labels) for k, (path, _) in enumerate(pairs)]
    again = rebuild_dataset(tmp_path / "d", tmp_path / "again", pairs=moved)
    assert built.dataset is not None
    assert again.dataset is not None
    assert again.dataset.digest == built.dataset.digest
