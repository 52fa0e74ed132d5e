"""Folders as people lay them out: several sizes, a folder a picture, nnU-Net, and the Cell Tracking Challenge."""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from small_worlds import digests, names

from pipeline.errors import ConfigError, SourceError
from pipeline.source.labels import LabelOptions
from pipeline.source.readers import read_folder, read_images, read_pairs, source_pairs
from pipeline.source.tiff import write_stack

Run = Callable[..., Any]

SMALL = ("--n", "6", "--size", "16", "--sigma", "1", "--jobs", "1")
SIZES = [(20, 24), (18, 18), (20, 24), (18, 18), (20, 30), (20, 24)]


def pixels(number: int, size: tuple[int, int] = (20, 24)) -> NDArray[np.uint8]:
    """Return a picture that is unlike those of other numbers."""
    return np.random.default_rng(number).integers(0, 255, size, np.uint8)


def ids(number: int, size: tuple[int, int] = (20, 24)) -> NDArray[np.uint16]:
    """Return its label, with the ids 1 to 3."""
    label = np.zeros(size, np.uint16)
    for value in (1, 2, 3):
        label[4 * value : 4 * value + 3, number % 7 : number % 7 + 8] = value
    return label


def write(path: Path, *pages: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_stack(path, np.stack(pages))


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Several sizes


def several_sizes(folder: str, sizes: Iterable[tuple[int, int]] = SIZES) -> tuple[Path, Path]:
    for k, size in enumerate(sizes):
        write(Path(folder, "images", f"n{k + 7}.tif"), pixels(k, size))
        write(Path(folder, "masks", f"n{k + 7}_mask.tif"), ids(k, size))
    return Path(folder, "images"), Path(folder, "masks")


def test_each_size_is_a_stack_and_all_are_one_sequence_in_the_order_of_names() -> None:
    """n10 comes after n9."""
    source = read_pairs([several_sizes("set")])
    assert [stack.slice_size for stack in source.stacks] == [(20, 24), (18, 18), (20, 30)]
    assert [stack.names for stack in source.stacks] == [("n7", "n9", "n12"), ("n8", "n10"), ("n11",)]
    assert [stack.sequence for stack in source.stacks] == [(0, 2, 5), (1, 3), (4,)]
    assert [stack.label_names[0] for stack in source.stacks] == ["n7_mask", "n8_mask", "n11_mask"]
    assert source.independent
    assert source.notes[0] == (
        "source: set/images: 6 pictures of 3 sizes (20 x 24, 18 x 18, 20 x 30), a stack a size; taken for fields of "
        "view without neighbours; --no-independent if they are sections of one specimen"
    )
    for stack in source.stacks:
        for name, image, label in zip(stack.names, stack.images, stack.labels, strict=True):
            number = int(name[1:]) - 7
            assert np.array_equal(image, pixels(number, stack.slice_size))
            assert np.array_equal(label, ids(number, stack.slice_size))


def test_several_folders_follow_each_other_in_the_sequence() -> None:
    pairs = [several_sizes("one", [(20, 24)] * 2), several_sizes("two", [(18, 18), (20, 26), (18, 18)])]
    for k in range(2):
        write(Path("one/images", f"n{k + 7}.tif"), pixels(k + 50))
    source = read_pairs(pairs, independent=True)
    assert [stack.sequence for stack in source.stacks] == [(0, 1), (2, 4), (3,)]
    with pytest.raises(ConfigError, match="two/images: seems to hold fields of view, and one/images sections; say"):
        read_pairs(pairs)


def test_sections_of_several_sizes_are_refused() -> None:
    with pytest.raises(SourceError, match=r"n8\.tif: 18 x 18 px, uint8, but n7\.tif is 20 x 24 px"):
        read_pairs([several_sizes("set")], independent=False)


def test_pictures_of_several_sizes_may_lie_beside_their_masks() -> None:
    images, masks = several_sizes("set")
    for file in list(masks.iterdir()):
        file.rename(images / file.name)
    stacks = read_pairs([(images, images)]).stacks
    assert [stack.names for stack in stacks] == [("n7", "n9", "n12"), ("n8", "n10"), ("n11",)]


def test_more_sizes_than_ids_have_room_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.source.pages.fields._MAX_SIZES", 2)
    with pytest.raises(ConfigError, match="set/images: its pictures have 3 sizes, and ids have room for 2 stacks; cut"):
        read_pairs([several_sizes("set")])


def test_boxes_of_a_picture_follow_each_other_in_the_sequence(augpipe: Run) -> None:
    """Those of the last pictures are tested on, whatever their size, and whether they are cut or not."""
    several_sizes("set", [(80, 80), (20, 24), (80, 80), (20, 24)])
    options = ("--regions", "--region-gap", "8", *SMALL, "--test", "0.1")
    assert augpipe("build", "set", "--out", "d", *options).code == 0
    record = json.loads(Path("d/dataset.json").read_bytes())
    cut, whole = record["inputs"]
    n = len(cut["boxes"]) // 2
    places = sorted((place, z) for place, (z, _, _) in zip(cut["sequence"], cut["boxes"], strict=True))
    assert [z for _, z in places] == [0] * n + [1] * n
    assert whole["sequence"] == [n, 2 * n + 1]
    assert sorted(cut["sequence"] + whole["sequence"]) == list(range(2 * n + 2))
    tested = {(part["stack"], z) for part in record["split"]["slices"]["test"] for z in part["z"]}
    assert (1, 1) in tested
    assert all(cut["boxes"][z][0] == 1 for stack, z in tested - {(1, 1)})
    assert augpipe("verify", "d", "--replay").code == 0


def test_one_size_is_a_plain_stack_as_ever() -> None:
    (stack,) = read_pairs([several_sizes("set", [(20, 24)] * 3)]).stacks
    assert (stack.sequence, stack.identity.sequence) == ((), None)


def test_a_label_of_another_size_is_named_with_its_image() -> None:
    pair = several_sizes("set")
    write(Path("set/masks/n8_mask.tif"), ids(1))
    with pytest.raises(SourceError, match=r"n8_mask\.tif: 20 x 24 px, but its image n8\.tif is 18 x 18 px"):
        read_pairs([pair])


def test_a_dataset_of_several_sizes_is_verified_rebuilt_and_has_the_end_of_the_sequence_as_test(augpipe: Run) -> None:
    several_sizes("set")
    built = augpipe("build", "set", "--out", "d", *SMALL, "--test", "0.34")
    assert built.code == 0, built.err
    assert "split        TTTTEE  (T train 4, E test 2)" in built.out
    record = json.loads(Path("d/dataset.json").read_bytes())
    assert (record["schema"], record["config"]["independent"]) == ("augpipe/dataset/2", True)
    assert [stack["sequence"] for stack in record["inputs"]] == [[0, 2, 5], [1, 3], [4]]
    assert record["split"]["slices"]["test"] == [{"stack": 0, "z": [2]}, {"stack": 2, "z": [0]}]
    assert augpipe("verify", "d", "--replay").code == 0
    assert "             TTTTEE\n" in augpipe("show", "d").out
    Path("set").rename("moved")
    assert augpipe("rebuild", "d", "--source", "moved", "--out", "again").code == 0
    assert digests(Path("again")) == digests(Path("d"))
    refused = augpipe("build", "moved", "--out", "e", *SMALL, "--gap", "2")
    assert (refused.code, names(Path("e"))) == (2, [])
    assert "gap: the slices are taken for fields of view, which have no neighbours; leave out --gap" in refused.err


# Pictures of which some have a label


@pytest.mark.parametrize("masks", ["masks", "images"])
def test_pictures_without_a_label_are_skipped_on_demand(augpipe: Run, masks: str) -> None:
    for k in range(12):
        write(Path("set/images", f"img_{k:02}.tif"), pixels(k))
    for k in (11, 3, 6, 8):
        write(Path("set", masks, f"img_{k}_mask.tif"), 1 + (ids(k) > 0).astype(np.uint8))
    command = ("build", "--images", "set/images", "--labels", f"set/{masks}", "--out", "d", *SMALL)
    refused = augpipe(*command)
    assert refused.code == 2
    assert "img_00, img_01, img_02 and 5 more; every slice needs its label: add or remove pages" in refused.err
    assert refused.err.endswith("or say --skip-unlabelled\n")
    built = augpipe(*command, "--skip-unlabelled", "--gap", "1")
    assert built.code == 0, built.err
    assert f"source: set/images: 4 of 12 pictures have a label in set/{masks}; the others are skipped\n" in built.out
    assert "split        ...T..T.T..E  (T train 3, E test 1, . unused 8)" in built.out
    record = json.loads(Path("d/dataset.json").read_bytes())
    assert [each["value"] for each in record["classes"]] == [1, 2]  # and no class of slices without a label
    assert record["inputs"][0]["skipped"] == [0, 1, 2, 4, 5, 7, 9, 10]
    Path("set").rename("moved")
    assert augpipe("verify", "d", "--replay", "--source", "moved").code == 0
    assert augpipe("rebuild", "d", "--source", "moved", "--out", "again").code == 0


def test_pictures_of_several_sizes_without_a_label_are_to_be_moved_away() -> None:
    """The sizes are no fault, and need no stack each: it would have been said so."""
    images, labels = several_sizes("set")
    (labels / "n8_mask.tif").unlink()
    with pytest.raises(ConfigError, match=r"1 of its pictures, which are of 3 sizes, have no label; move them"):
        read_pairs([(images, labels)], label_options=LabelOptions(skip_unlabelled=True))


# A folder a picture


def folder_each(folder: str, n_masks: Iterable[int], sizes: Iterable[tuple[int, int]] = SIZES) -> Path:
    """Write folders a9, a10, ...: one picture each, and a mask for each of its objects."""
    for k, (n, size) in enumerate(zip(n_masks, sizes, strict=False), start=9):
        write(Path(folder, f"a{k}", "images", f"a{k}.tif"), pixels(k, size))
        Path(folder, f"a{k}", "masks").mkdir()
        for value in range(1, n + 1):
            write(Path(folder, f"a{k}", "masks", f"m{value}.tif"), np.uint8(255) * (ids(k, size) == value))
    return Path(folder)


def test_masks_of_single_objects_in_a_folder_a_picture_become_ids() -> None:
    root = folder_each("set", [3, 2, 1, 0])
    source = read_folder(root)
    assert source_pairs(root) == [(root, root)]
    assert source.coding.kind == "instances"
    assert source.independent
    assert [stack.names for stack in source.stacks] == [("a9", "a11"), ("a10", "a12")]
    assert [stack.sequence for stack in source.stacks] == [(0, 2), (1, 3)]
    assert [stack.label_names for stack in source.stacks] == [("3 masks", "m1"), ("2 masks", "0 masks")]
    for stack, values in zip(source.stacks, ([3, 1], [2, 0]), strict=True):
        for name, label, n in zip(stack.names, stack.labels, values, strict=True):
            whole = ids(int(name[1:]), stack.slice_size)
            assert np.array_equal(label, np.where(whole <= n, whole, 0))
    assert source.notes[0].startswith(
        "source: set: 4 folders of one picture, of 2 sizes (20 x 24, 18 x 18), with one mask an object (6 in all); "
    )
    assert source.notes[1] == "source: set: no mask for 1 picture, such as a12: they show no object"


def test_one_mask_a_picture_is_its_label() -> None:
    source = read_folder(folder_each("set", [1, 1, 1], [(20, 24)] * 3))
    assert (source.coding.kind, len(source.stacks)) == ("binary", 1)
    assert "with one mask each; taken for fields of view" in source.notes[0]
    assert read_folder(Path("set"), independent=True).notes[0].endswith("with one mask each")
    sections = read_folder(Path("set"), independent=False)
    assert (sections.independent, sections.notes[0]) == (False, source.notes[0].partition(";")[0])
    with pytest.raises(SourceError, match=r"sections of one specimen have one size: .* or leave out --no-independent"):
        read_folder(folder_each("other", [1, 1, 1]), independent=False)


def test_a_folder_a_picture_is_built_and_found_again(augpipe: Run) -> None:
    folder_each("set", [3, 2, 1, 3])
    dry = augpipe("build", "set", *SMALL, "--dry-run")
    assert "pairs: a9 with 3 masks, a11 with m1, a10 with 2 masks, ... (4 in all)" in dry.out
    assert augpipe("build", "set", "--out", "d", *SMALL).code == 0
    assert augpipe("verify", "d", "--replay").code == 0
    Path("set").rename("moved")
    assert augpipe("rebuild", "d", "--source", "moved", "--out", "again").code == 0
    assert augpipe("audit", "d", "--source", "moved").code == 0


def test_folders_of_several_pictures_or_without_masks_are_refused() -> None:
    write(folder_each("set", [1, 1]) / "a9/images/b.tif", pixels(1))
    with pytest.raises(ConfigError, match="a9/images: expected one picture in a folder beside its masks, found 2"):
        read_folder(Path("set"))
    for path in (folder_each("other", [1, 1]) / "a10/masks").iterdir():
        path.unlink()
    Path("other/a10/masks").rmdir()
    with pytest.raises(ConfigError, match=r"a10: expected a folder of images and one of labels, as a9 has; .* empty"):
        read_folder(Path("other"))
    Path("other/a10/images").rename("other/a10/pictures")
    assert "other: 1 folder without images and labels, such as a10, not read" in read_folder(Path("other")).notes[1]


def test_folders_of_several_pictures_each_are_to_be_named_as_stacks_the_one_to_test_on_last() -> None:
    for part in ("test", "train", "val"):
        for kind, page in (("images", pixels(len(part))), ("labels", ids(1))):
            write(Path("set", part, kind, "a.tif"), page)
            write(Path("set", part, kind, "b.tif"), 255 - page)
    with pytest.raises(ConfigError) as raised:
        read_folder(Path("set"))
    words = re.findall(r"--images set/(\w+)/images --labels set/(\w+)/labels", str(raised.value))
    assert words == [("train", "train"), ("val", "val"), ("test", "test")]
    assert "--split stack" in str(raised.value)


def test_masks_that_are_called_alike_in_every_picture_may_be_classes() -> None:
    for k, called in enumerate((("cell", "nucleus"), ("nucleus", "cell"))):
        write(Path(f"set/p{k}/images/a.tif"), pixels(k))
        for place, name in enumerate(called):
            write(Path(f"set/p{k}/masks/{name}.tif"), (ids(k) == place + 1).astype(np.uint8))
    notes = read_folder(Path("set")).notes
    assert "the masks of every picture are called cell, nucleus, as if each were a class" in notes[1]
    Path("set/p1/masks/cell.tif").rename("set/p1/masks/m2.tif")
    assert not any("class" in note for note in read_folder(Path("set")).notes)


def test_the_label_that_nnu_net_ignores_is_told() -> None:
    for k in range(2):
        write(Path(f"set/imagesTr/c_{k}_0000.tif"), pixels(k))
        write(Path(f"set/labelsTr/c_{k}.tif"), ids(k))
    for text, told in ((' {"ignore": 3}', True), (' {"cell": 3}', False), ("[]", False), ('{"ignore": [3]}', False)):
        Path("set/dataset.json").write_text(f'{{"labels": {text}}}')
        assert ("--ignore 3" in read_folder(Path("set")).notes[1:2].__str__()) is told


def test_images_alone_are_a_stack_a_size() -> None:
    several_sizes("set")
    folder_each("each", [1, 1, 1])
    for root in ("set", "set/images", "each"):
        stacks = read_images(Path(root))
        assert [stack.shape[1:] for stack in stacks] == list(dict.fromkeys(SIZES))[: len(stacks)]
        assert sum(map(len, stacks)) == (3 if root == "each" else 6)


# nnU-Net


def nnunet(folder: str, *, depth: int = 1, n_channels: int = 1) -> Path:
    root = Path(folder)
    for k in range(5):
        for channel in range(n_channels):
            pages = [pixels(100 * k + 10 * z + channel) for z in range(depth)]
            write(root / "imagesTr" / f"case_{k}_{channel:04}.tif", *pages)
        write(root / "labelsTr" / f"case_{k}.tif", *[(ids(k + z) > 0).astype(np.uint8) for z in range(depth)])
    (root / "dataset.json").write_text("{}")
    return root


def test_pictures_of_nnunet_are_independent_cases() -> None:
    source = read_folder(nnunet("set"))
    (stack,) = source.stacks
    assert (source.independent, stack.names[1], stack.label_names[1]) == (True, "case_1_0000", "case_1")
    assert "5 cases of nnU-Net, a picture each; taken for fields of view without neighbours" in source.notes[0]
    (stack,) = read_folder(nnunet("two", n_channels=2)).stacks
    assert (stack.channels, stack.names[1]) == (("0000", "0001"), "case_1")


def test_volumes_of_nnunet_are_stacks() -> None:
    source = read_folder(nnunet("set", depth=4))
    assert [stack.names for stack in source.stacks] == [(f"case_{k}_0000",) for k in range(5)]
    assert (source.independent, [len(stack.images) for stack in source.stacks]) == (False, [4] * 5)
    with pytest.raises(ConfigError, match="10 files for 5 volumes; of volumes, one channel is read"):
        read_folder(nnunet("two", depth=2, n_channels=2))
    Path("set/labelsTr").rename("set/labelsTs")
    with pytest.raises(ConfigError, match="labelsTr: a raw dataset of nnU-Net has imagesTr and labelsTr"):
        read_folder(Path("set"))


# The Cell Tracking Challenge


def tracking(folder: str, sequences: Iterable[str] = ("01", "02"), annotated: Iterable[int] = (1, 4, 7, 8)) -> Path:
    root = Path(folder)
    for sequence in sequences:
        for frame in range(10):
            number = 100 * int(sequence) + frame
            write(root / sequence / f"t{frame:03}.tif", pixels(number))
            write(root / f"{sequence}_ST/SEG/man_seg{frame:03}.tif", ids(number))
            write(root / f"{sequence}_GT/TRA/man_track{frame:03}.tif", ids(number))
        for frame in annotated:
            write(root / f"{sequence}_GT/SEG/man_seg{frame:03}.tif", ids(100 * int(sequence) + frame))
    return root


def test_frames_that_are_annotated_are_used_and_the_others_skipped() -> None:
    source = read_folder(tracking("set"))
    assert (source.films, source.independent, source.coding.kind) == (True, False, "instances")
    for sequence, stack in enumerate(source.stacks, start=1):
        assert stack.names == tuple(f"t{frame:03}" for frame in range(10))
        assert stack.skipped == {0, 2, 3, 5, 6, 9}
        for frame, label in enumerate(stack.labels):
            whole = ids(100 * sequence + frame)
            assert np.array_equal(label, whole * (frame not in stack.skipped))
    assert source.notes[0] == (
        "source: set/01: 4 of 10 frames are annotated in set/01_GT/SEG; the others are skipped: they are in no split"
    )
    assert not any("nothing but 0" in note for note in source.notes)


def test_two_sequences_are_train_and_test_unless_another_split_is_asked_for(augpipe: Run) -> None:
    tracking("set")
    built = augpipe("build", "--ctc", "set", "--out", "d", *SMALL)
    assert built.code == 0, built.err
    assert "split        .T..T..TT.\nsplit        .E..E..EE.  (T train 4, E test 4, . unused 12)" in built.out
    assert "more than half" not in built.out
    record = json.loads(Path("d/dataset.json").read_bytes())
    assert (record["config"]["split"], record["inputs"][1]["skipped"]) == ("stack", [0, 2, 3, 5, 6, 9])
    assert augpipe("verify", "d", "--replay").code == 0
    Path("set").rename("moved")
    assert augpipe("rebuild", "d", "--source", "moved", "--out", "again").code == 0
    assert digests(Path("again")) == digests(Path("d"))
    assert "split        .T..T...E." in augpipe("build", "moved", "--gap", "3", "--dry-run", *SMALL).out
    assert "split        .T..T...E." in augpipe("build", "moved", "--split", "block", "--dry-run", *SMALL).out


def test_frames_are_neighbours_in_time_and_one_sequence_is_a_block(augpipe: Run) -> None:
    tracking("set", ["01"])
    out = augpipe("build", "--images", "set/01", "--labels", "set/01_GT/SEG", "--dry-run", *SMALL, "--gap", "1").out
    assert "split        .T..T...E.  (T train 2, E test 1, . unused 7)" in out


def test_boxes_of_frames_without_annotation_are_skipped_too(augpipe: Run) -> None:
    for name, pages in (("01", pixels), ("01_GT/SEG", ids)):
        for frame in range(6) if name == "01" else (1, 4):
            write(Path("set", name, f"{'t' if name == '01' else 'man_seg'}{frame:03}.tif"), pages(frame, (80, 80)))
    assert augpipe("build", "set", "--regions", "--region-gap", "8", "--out", "d", *SMALL, "--test", "0").code == 0
    (stack,) = json.loads(Path("d/dataset.json").read_bytes())["inputs"]
    without = [box for box, (z, _, _) in enumerate(stack["boxes"]) if z not in (1, 4)]
    assert stack["skipped"] == without
    assert 0 < len(without) < len(stack["boxes"])


def test_silver_annotations_are_of_all_frames(augpipe: Run) -> None:
    tracking("set", ["01"])
    out = augpipe("build", "--ctc", "set", "--silver", "--dry-run", *SMALL).out
    assert "source: set/01: 10 of 10 frames are annotated in set/01_ST/SEG\n" in out
    assert "TTTTT...EE" in out
    assert "--silver: it goes with --ctc" in augpipe("build", "set", "--silver", "--dry-run").err


@pytest.mark.parametrize(
    ("name", "remove", "words"),
    [
        ("01_GT/SEG/man_seg010.tif", "", "man_seg010.tif: annotates frame 010, which is not in set/01"),
        ("01_GT/SEG/man_seg_001_003.tif", "", "man_seg_001_003 annotates one plane of a frame of several"),
        ("", "01/t005.tif", "set/01: frame 5 is missing"),
        ("01/t000.tif", "", "t000.tif: has 2 pages, as a frame of several planes; sequences of volumes are not read"),
    ],
)
def test_what_is_no_sequence_of_plane_frames_is_refused(name: str, remove: str, words: str) -> None:
    tracking("set", ["01"])
    if name:
        write(Path("set", name), *[ids(0)] * (1 + name.startswith("01/")))
    if remove:
        Path("set", remove).unlink()
    with pytest.raises((ConfigError, SourceError), match=words):
        read_folder(Path("set"), ctc=True)


def test_what_is_no_set_of_the_challenge_is_refused(augpipe: Run) -> None:
    several_sizes("set")
    refused = augpipe("build", "--ctc", "set")
    assert refused.code == 2
    assert "set: expected a training set of the Cell Tracking Challenge, with 01 and 01_GT/SEG, found" in refused.err
    (tracking("other", ["01"]) / "01_GT").rename("kept")
    with pytest.raises(ConfigError, match=r"01_GT/SEG: expected .* --silver takes the computed ones"):
        read_folder(Path("other"), ctc=True)


@pytest.mark.parametrize(("preset", "size"), [("ctc-phc-u373", [520, 696]), ("ctc-dic-hela", [512, 512])])
def test_presets_of_the_challenge_have_a_size_and_weights(augpipe: Run, preset: str, size: list[int]) -> None:
    height, width = size
    out = augpipe("build", "--preset", preset, "--dry-run").out
    assert f"{height} x {width} px, weights unet2015" in out
    assert "64 x 64 px\n" in augpipe("build", "--preset", preset, "--size", "64", "--weights", "none", "--dry-run").out


def test_a_config_file_names_a_set_of_the_challenge(augpipe: Run) -> None:
    tracking("set", ["01"])
    Path("set.toml").write_text('ctc = "set"\nsilver = true\nsize = 16\n')
    assert "10 of 10 frames are annotated" in augpipe("build", "--config", "set.toml", "--dry-run").out
    overruled = augpipe("build", "--config", "set.toml", "--images", "set/01", "--labels", "set/01_GT/SEG", "--dry-run")
    assert "4 of 10 frames are annotated" in overruled.out
