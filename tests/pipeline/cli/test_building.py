"""What the options of a build ask for; what cannot be built is one line and leaves nothing."""

import json
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from small_worlds import OPTIONS, build_small, contents, names, small_stack, write_folder

from augment.presets import preset_ranges
from augment.ranges import AugmentRanges
from pipeline.shards.dataset import open_dataset
from pipeline.source.tiff import write_stack

Run = Callable[..., Any]

# Bad input: what is wrong -> (arguments, exit code, words)


def write_inputs(place: Path) -> None:
    images, labels = small_stack()
    write_folder(place / "good", images, labels)
    write_folder(place / "mismatch", images, labels[:5])
    write_folder(place / "blank", images, np.zeros_like(labels))
    write_folder(place / "cut", images, labels)
    cut = place / "cut" / "train-volume.tif"
    os.truncate(cut, cut.stat().st_size // 2)
    write_folder(place / "halfempty", images, labels)
    (place / "halfempty" / "train-labels.tif").unlink()
    tifffile.imwrite(place / "colour.tif", np.zeros((64, 72, 3), np.uint8), photometric="rgb")
    write_stack(place / "labels.tif", labels)
    (place / "file").write_text("a file")
    (place / "others").mkdir()
    (place / "others" / "thesis.txt").write_text("precious")
    build_small(place / "another", seed=9)


# What cannot be built: what is wrong -> (arguments, exit code, what the message names)
BAD: dict[str, tuple[tuple[str, ...], int, str]] = {
    "no folder": (("none",), 2, "none"),
    "a file for a folder": (("file",), 2, "--images and --labels"),
    "no labels": (("halfempty",), 2, "train-labels.tif"),
    "no such images": (("--images", "none.tif", "--labels", "labels.tif"), 2, "none.tif"),
    "fewer labels": (("mismatch",), 2, "mismatch"),
    "nothing annotated": (("blank",), 3, "nothing is annotated"),
    "cut short": (("cut",), 3, "cut/train-volume.tif"),
    "colour": (("--images", "colour.tif", "--labels", "labels.tif"), 2, "(1, 64, 72) (Z, Y, X)"),
    "no TIFF": (("--images", "file", "--labels", "labels.tif"), 3, "not a TIFF file"),
    "empty split": (("good", "--gap", "9"), 2, "train"),
    "empty val": (("good", "--val", "0.5", "--test", "0.4", "--gap", "3"), 2, "gap"),
    "too few samples": (("good", "--n", "1"), 2, "got 1"),
    "sigma that reaches too far": (("good", "--sigma", "1e7"), 2, "sigma"),
    "shift that reaches too far": (("good", "--shift", "1e7"), 2, "shift"),
    "stains of gray images": (("good", "--preset", "he-stain"), 2, "stain: expected images of red, green and blue"),
    "labels of another kind": (("mismatch", "--label-kind", "binary"), 2, "mismatch"),
    "a phantom of classes": (("--label-kind", "classes"), 2, "label-kind"),
    "a phantom without neighbours": (("--independent", "--gap", "0"), 2, "independent"),
    "out below a file": (("good", "--out", "file/d"), 3, "file/d"),
    "out is a file": (("good", "--out", "file"), 2, "file"),
    "out is a folder": (("good", "--out", "others"), 2, "others"),
    "out is another dataset": (("good", "--out", "another"), 2, "--overwrite"),
    "a name that is no text": (("good", "--name", "\udcff"), 2, "name"),
    "a name that is a path": (("good", "--name", "../../x"), 2, "name"),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("inputs")
    write_inputs(place)
    return place


@pytest.mark.parametrize("case", BAD)
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_bad_input_is_one_line_and_leaves_nothing(
    inputs: Path, augpipe: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str
) -> None:
    arguments, expected, named = BAD[case]
    work = tmp_path / "deep" / "work"
    work.mkdir(parents=True)
    for path in inputs.iterdir():
        (work / path.name).symlink_to(path)
    monkeypatch.chdir(work)
    given = ("--n", "12", "--size", "40x36", "--gap", "1", "--test", "0.25")
    before, listing = contents(inputs), names(tmp_path)
    # Options given later win over the same ones given earlier.
    code, _, err = augpipe("build", *given, *(() if "--out" in arguments else ("--out", "d")), *arguments)
    assert code == expected
    assert len(err.splitlines()) == 1
    assert err.startswith("augpipe: ")
    assert named in err
    assert contents(inputs) == before
    assert names(tmp_path) == listing


# Options that are wrong whatever the source is, and what the message names
MISTAKES: list[tuple[str, str]] = [
    ("--n 0", "n: expected"),
    ("--n many", "'many'"),
    ("--seed -1", "seed: expected"),
    ("--test 0.6 --val 0.4", "0.6 + 0.4"),
    ("--test nan", "test: expected"),
    ("--size 40x", "'40x'"),
    ("--size 1", "size: expected"),
    (f"--size {'9' * 5000}", "'99999"),
    ("--zoom 2 1", "zoom: expected"),
    ("--gain 0 1", "gain: expected"),
    ("--preset strong --gain -1 1", "gain: expected"),
    ("--bias 1 nan", "bias: expected"),
    ("--grid 1", "grid: expected"),
    ("--sigma nan", "sigma: expected"),
    ("--sigma 1e300", "sigma: expected"),
    ("--shift 1e300", "shift: expected"),
    ("--preset weak", "'weak'"),
    ("--label-kind objects", "'objects'"),
    ("--split blocks", "'blocks'"),
    ("--split kfold --test 0.2", "--test: "),
    ("--split kfold --folds 1", "--folds: expected 2 or more, got 1"),
    ("--split kfold --folds 0", "--folds: expected 2 or more, got 0"),
    ("--split kfold --fold 5", "fold: expected a whole number from 0 to 4, got 5"),
    ("--split kfold --fold -1", "--fold: expected 0 or more, got -1"),
    ("--split explicit", "--split-file"),
    ("--split stack --split-file file", "leave out --split"),
    ("--split stack --gap 1", "--gap: "),
    ("--split random --fold 0", "--fold: "),
    ("--folds 4", "--folds: it goes with split kfold, not with block: add --split kfold"),
    ("--split-file none.json", "none.json"),
    ("--split-file none.json --fold -1", "--fold: expected 0 or more, got -1"),
    ("--split-file none.json --test 0.1", "--test: "),
    ("--split-file none.json --val 0.1", "--val: "),
    ("--split-file none.json --folds 3", "--folds: "),
    ("--split-file none.json --gap 1", "--gap: "),
    ("--independent --gap 1", "--gap: "),
    ("--config none.toml", "none.toml"),
    ("--jobs 0", "jobs: expected"),
    ("--more", "--more"),
    ("--images a --labels b", "either a SOURCE folder, or both --images and --labels, or --ctc"),
    ("another", "another"),
]


@pytest.mark.parametrize(("arguments", "named"), MISTAKES)
def test_a_mistake_is_found_before_anything_is_read(
    tmp_path: Path, augpipe: Run, monkeypatch: pytest.MonkeyPatch, arguments: str, named: str
) -> None:
    """A large stack takes minutes to read; here it is not even there."""
    monkeypatch.chdir(tmp_path)
    code, out, err = augpipe("build", "missing", *arguments.split())
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("augpipe: ")
    assert named in err
    assert "missing" not in err
    assert names(tmp_path) == []


@pytest.mark.parametrize("out", [".", "/"])
def test_a_folder_that_cannot_be_made_is_refused(
    tmp_path: Path, folder: Path, augpipe: Run, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    code, _, err = augpipe("build", folder, "--out", out, *OPTIONS)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert names(tmp_path) == ["mine.txt"]


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX alone")
def test_paths_that_are_no_text_work(tmp_path: Path, augpipe: Run) -> None:
    """Linux paths are bytes; someone's old disk holds Latin-1."""
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller"))
    folder = write_folder(place / "small", *small_stack())
    code, _, err = augpipe("build", folder, "--out", place / "d", *OPTIONS)
    assert (code, err) == (0, "")
    assert augpipe("verify", place / "d", "--replay").code == 0
    assert augpipe("verify", place / "d", "--json", "-").code == 0


# What the options ask for


def recorded(augpipe: Run, out: Path, *arguments: object) -> dict[str, Any]:
    """Return the record of a dataset built with these arguments."""
    command = ("build", "--n", 12, "--size", "40x36", "--jobs", 1, "--out", out, *arguments)
    code, _, err = augpipe(*command)
    assert (code, re.sub("note: .* are black or white .*\n", "", err)) == (0, "")
    return dict(json.loads((out / "dataset.json").read_bytes()))


def letters(record: dict[str, Any], depths: tuple[int, ...]) -> list[str]:
    """Return the split as it is drawn: one text a stack, one character a slice."""
    drawn = [["?"] * depth for depth in depths]
    for split, letter in {"train": "T", "val": "V", "test": "E", "unused": "."}.items():
        for stack in record["split"]["slices"].get(split, []):
            for z in stack["z"]:
                drawn[stack["stack"]][z] = letter
    return ["".join(stack) for stack in drawn]


@pytest.fixture
def pairs(tmp_path: Path) -> list[str]:
    """The arguments for three stacks of 12, 8 and 6 slices."""
    arguments = []
    for k, depth in enumerate((12, 8, 6)):
        images, labels = (np.roll(stack[:depth], k, axis=1) for stack in small_stack())
        write_stack(tmp_path / f"{k}.tif", images)
        write_stack(tmp_path / f"{k}-labels.tif", labels)
        arguments += ["--images", str(tmp_path / f"{k}.tif"), "--labels", str(tmp_path / f"{k}-labels.tif")]
    return arguments


def test_several_stacks_are_one_source(tmp_path: Path, pairs: list[str], augpipe: Run) -> None:
    record = recorded(augpipe, tmp_path / "d", *pairs, "--split", "stack", "--test", "0.3")
    assert letters(record, (12, 8, 6)) == ["T" * 12, "T" * 8, "E" * 6]
    assert [stack["images"]["shape"][0] for stack in record["inputs"]] == [12, 8, 6]


def test_the_first_of_many_stacks_are_drawn(tmp_path: Path, augpipe: Run) -> None:
    images, labels = small_stack()
    pairs: list[str] = []
    for k in range(14):
        for name, stack in ((f"{k}.tif", images), (f"{k}-labels.tif", labels)):
            write_stack(tmp_path / name, np.roll(stack[:2], k, axis=1))
        pairs += ["--images", str(tmp_path / f"{k}.tif"), "--labels", str(tmp_path / f"{k}-labels.tif")]
    twice = augpipe("build", *pairs[:4], *pairs[4:6], "--labels", tmp_path / "0-labels.tif")
    assert "0-labels.tif: named for the labels of" in twice.err
    lines = augpipe("build", *pairs, "--split", "stack", "--size", 40, "--dry-run").out.splitlines()
    drawn = [line.partition("  ")[2].strip() for line in lines if line.startswith("split ")]
    assert drawn == ["TT"] * 11 + ["... and 3 more stacks  (T train 22, E test 6)"]
    assert "14 stacks, 28 slices of 64 x 72 uint8" in "".join(lines)


def test_images_go_with_labels_in_the_order_given(tmp_path: Path, pairs: list[str], augpipe: Run) -> None:
    first, second = pairs[:4], pairs[4:8]
    there = [*first[:2], *second[:2], *first[2:], *second[2:]]
    lines = augpipe("build", *there, "--n", 12, "--size", 40, "--gap", 1, "--dry-run").out.splitlines()
    assert lines[:2] == [f"source: {tmp_path / f'{k}.tif'} with {tmp_path / f'{k}-labels.tif'}" for k in (0, 1)]
    crossed = [*first[:2], *second[:2], *second[2:], *first[2:]]
    code, _, err = augpipe("build", *crossed, "--n", 12, "--size", 40, "--gap", 1, "--dry-run")
    assert code == 2
    assert "expected a label for every image slice" in err


def test_a_folder_of_pages_is_a_stack(tmp_path: Path, folder: Path, augpipe: Run) -> None:
    for name, stack in zip(("raw", "seg"), small_stack(), strict=True):
        (tmp_path / name).mkdir()
        for z, page in enumerate(stack):
            tifffile.imwrite(tmp_path / name / f"page{z:02}.tif", page)
    pages = ("--images", tmp_path / "raw", "--labels", tmp_path / "seg")
    as_pages = recorded(augpipe, tmp_path / "a", *pages, "--gap", 1)
    as_stack = recorded(augpipe, tmp_path / "b", folder, "--gap", 1)
    assert as_pages["inputs"] == as_stack["inputs"]


def test_every_fold_holds_out_other_slices(tmp_path: Path, folder: Path, augpipe: Run) -> None:
    kfold = ("--split", "kfold", "--folds", 3, "--gap", 1)
    drawn = [
        letters(recorded(augpipe, tmp_path / str(fold), folder, *kfold, "--fold", fold), (12,))[0] for fold in range(3)
    ]
    assert drawn == ["EEEE.TTTTTTT", "TTT.EEEE.TTT", "TTTTTTT.EEEE"]
    default = recorded(augpipe, tmp_path / "default", folder, "--split", "kfold", "--gap", 1)
    assert (default["config"]["folds"], default["config"]["fold"]) == (5, 0)


def test_a_split_file_says_it_all(tmp_path: Path, folder: Path, augpipe: Run) -> None:
    (tmp_path / "split.json").write_text('["TTTTTT.VV.EE"]')
    for k, more in enumerate(((), ("--split", "explicit"))):
        record = recorded(augpipe, tmp_path / str(k), folder, "--split-file", tmp_path / "split.json", *more)
        assert letters(record, (12,)) == ["TTTTTT.VV.EE"]
        assert record["split"]["strategy"] == "explicit"


def test_a_fold_of_an_nnunet_split_can_be_chosen(tmp_path: Path, pairs: list[str], augpipe: Run) -> None:
    folds = [{"train": ["0", "1"], "val": ["2"]}, {"train": ["1", "2"], "val": ["0"]}]
    (tmp_path / "splits_final.json").write_text(json.dumps(folds))
    file = ("--split-file", tmp_path / "splits_final.json")
    drawn = [
        letters(recorded(augpipe, tmp_path / f"d{fold}", *pairs, *file, "--fold", fold), (12, 8, 6)) for fold in (0, 1)
    ]
    assert drawn == [["T" * 12, "T" * 8, "V" * 6], ["V" * 12, "T" * 8, "T" * 6]]
    code, _, err = augpipe("build", *pairs, *file, "--fold", 2, "--dry-run", "--quiet")
    assert code == 2
    assert "fold: expected 0 to 1" in err


@pytest.mark.parametrize("text", ["", "{}", '["TTTE"]', '["TTTTTTTTTTTx"]', '["TTTTTTTTTTTT"]'])
def test_a_split_file_that_does_not_fit_leaves_nothing(tmp_path: Path, folder: Path, augpipe: Run, text: str) -> None:
    (tmp_path / "split.json").write_text(text)
    code, _, err = augpipe(
        "build", folder, "--n", 12, "--size", 40, "--out", tmp_path / "d", "--split-file", tmp_path / "split.json"
    )
    assert code == 2
    assert len(err.splitlines()) == 1
    assert names(tmp_path) == ["split.json"]


def test_independent_slices_have_no_gap(tmp_path: Path, folder: Path, augpipe: Run) -> None:
    record = recorded(augpipe, tmp_path / "d", folder, "--independent")
    assert letters(record, (12,)) == ["TTTTTTTTTTEE"]
    assert record["config"]["independent"] is True


def test_a_nothing_that_changes_nothing_is_no_mistake(
    tmp_path: Path, folder: Path, pairs: list[str], augpipe: Run
) -> None:
    """A gap of 0 between stacks and no val beside a split file say only what is so anyway."""
    stacks = (*pairs, "--split", "stack")
    (tmp_path / "split.json").write_text('["TTTTTTTT.EEE"]')
    file = (folder, "--split-file", tmp_path / "split.json")
    same = recorded(augpipe, tmp_path / "a", *stacks), recorded(augpipe, tmp_path / "b", *stacks, "--gap", 0)
    assert same[0] == same[1]
    same = recorded(augpipe, tmp_path / "c", *file), recorded(augpipe, tmp_path / "d", *file, "--val", 0, "--gap", 0)
    assert same[0] == same[1]


def test_the_kind_of_labels_can_be_told(tmp_path: Path, folder: Path, augpipe: Run) -> None:
    kinds = {
        kind: recorded(augpipe, tmp_path / kind, folder, "--gap", 1, "--label-kind", kind)["label_kind"]
        for kind in ("auto", "binary", "classes", "instances")
    }
    assert kinds == {"auto": "binary", "binary": "binary", "classes": "classes", "instances": "instances"}


# The slices are 64 x 72 px, larger than the window: shifts reach every corner.
STRONG = preset_ranges("strong", gray_span=float(np.ptp(np.percentile(small_stack()[0], (1, 99)))), covered=False)


@pytest.mark.parametrize(
    ("arguments", "ranges"),
    [
        ((), preset_ranges("unet2015")),
        (("--preset", "unet2015"), preset_ranges("unet2015")),
        (("--preset", "original"), preset_ranges("original")),
        (("--preset", "original", "--rotate"), replace(preset_ranges("original"), rotate_deg=(0.0, 360.0))),
        (("--preset", "strong", "--no-rotate"), replace(STRONG, rotate_deg=(0.0, 0.0))),
        (("--preset", "strong"), STRONG),
        (("--preset", "strong", "--no-flip", "--zoom", "1", "2"), replace(STRONG, flip=False, zoom=(1.0, 2.0))),
        (("--preset", "strong", "--shift", "3", "--bias", "-1", "1"), replace(STRONG, shift_px=3.0, bias=(-1.0, 1.0))),
        (("--preset", "strong", "--gain", "1", "1"), replace(STRONG, gain=(1.0, 1.0))),
        (("--preset", "original", "--extent", "window"), replace(preset_ranges("original"), extent="window")),
        (("--grid", "5", "--sigma", "0", "--flip"), AugmentRanges(grid_points=5, sigma_px=0.0, flip=True)),
    ],
)
def test_options_stand_in_the_place_of_the_presets_own(
    tmp_path: Path, folder: Path, augpipe: Run, arguments: tuple[str, ...], ranges: AugmentRanges
) -> None:
    recorded(augpipe, tmp_path / "d", folder, "--gap", 1, *arguments)
    assert open_dataset(tmp_path / "d").record.config.ranges == ranges


def test_the_strong_preset_measures_a_bias_in_the_sources_own_gray_levels(tmp_path: Path, augpipe: Run) -> None:
    images, labels = small_stack()
    dim = write_folder(tmp_path / "dim", images.astype(np.uint16) * 10 + 7, labels)
    ranges = recorded(augpipe, tmp_path / "d", dim, "--gap", 1, "--preset", "strong")["config"]["ranges"]
    assert ranges["bias"] == list(
        preset_ranges("strong", gray_span=10 * float(np.ptp(np.percentile(images, (1, 99))))).bias
    )


def test_the_strong_preset_shifts_as_far_as_the_slices_need(tmp_path: Path, folder: Path, augpipe: Run) -> None:
    """A window smaller than a slice along one axis alone does not cover it: 64 x 72 px here."""
    shifts = {}
    for size in ("64x72", "65x73", "64x71", "63x90", "40x36"):
        command = ("--gap", 1, "--preset", "strong", "--size", size)
        shifts[size] = recorded(augpipe, tmp_path / size, folder, *command)["config"]["ranges"]["shift_px"]
    assert shifts == {"64x72": 32.0, "65x73": 32.0, "64x71": None, "63x90": None, "40x36": None}


def test_what_a_source_has_to_tell_is_told_before_anything_is_built(
    tmp_path: Path, augpipe: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Facts that are known by the pixels are not replaced by those of a file, and that must not go unnoticed."""
    monkeypatch.chdir(tmp_path)
    assert augpipe("phantom", "p").code == 0
    (tmp_path / "set.toml").write_text('folder = "p"\nn = 4\nsize = 40\n[source]\nlicence = "CC0"\n')
    lines = augpipe("build", "--config", "set.toml", "--dry-run").out.splitlines()
    assert lines[:3] == [
        "config: set.toml",
        "source: p",
        "source: licence is 'MIT', because these are its pixels; 'CC0' is not used",
    ]


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_looks_wrong_is_told_before_anything_is_built(tmp_path: Path, augpipe: Run, dry_run: bool) -> None:
    """Only slice 8, which is in no split, is annotated."""
    images, labels = small_stack()
    empty = np.zeros_like(labels)
    empty[8] = labels[8]
    folder = write_folder(tmp_path / "small", images, empty)
    code, out, _ = augpipe("build", folder, *OPTIONS, "--out", tmp_path / "d", *(("--dry-run",) if dry_run else ()))
    assert code == 0
    found = [line.partition(",")[0].partition(";")[0] for line in out.splitlines()[:5]]
    assert found[:-1] == [
        f"source: {folder}",
        f"labels: {folder / 'train-labels.tif'}: nothing but 0 in 11 of 12 slices",
        "split: nothing but 0 in the labels of train (8 slices)",
        "split: nothing but 0 in the labels of test (3 slices)",
    ]
    assert found[-1].startswith("source       small: 12 slices")
    assert "nothing but" not in augpipe("build", folder, *OPTIONS, "--out", tmp_path / "d", "--quiet").out


def test_sizes_are_a_side_or_height_by_width(tmp_path: Path, folder: Path, augpipe: Run) -> None:
    command = ("build", folder, "--out", tmp_path / "d", *OPTIONS, "--dry-run", "--size")
    assert "40 x 40 px" in augpipe(*command, "40").out
    assert "40 x 36 px" in augpipe(*command, "40x36").out
    assert "40 x 36 px" in augpipe(*command, "40X36").out


def test_without_a_size_samples_fit_the_slices(tmp_path: Path, folder: Path, augpipe: Run) -> None:
    """Slices of 64 x 72 px: unturned, a sample shows no mirror image. The phantom keeps the size of its lock file."""
    options, line = ("--n", "2", "--gap", "0"), "size: 64 x 64 px, the largest multiple of 16 px that fits"
    assert line in augpipe("build", folder, "--out", tmp_path / "a", *options).out
    assert open_dataset(tmp_path / "a").record.config.size == (64, 64)
    assert line not in augpipe("build", folder, "--out", tmp_path / "a", *options, "--dry-run", "--size", "64").out
    augpipe("phantom", tmp_path / "phantom")
    assert "700 x 700 px" in augpipe("build", tmp_path / "phantom", *options, "--dry-run").out


def test_the_command_that_comes_next_can_be_copied(augpipe: Run, tmp_path: Path) -> None:
    """Also where a folder's name has spaces and quotes."""
    write_folder(tmp_path / "stack", *small_stack())
    out = tmp_path / "d ü's"
    printed = augpipe("build", tmp_path / "stack", *OPTIONS, "--out", out).out
    (command,) = (line[13:] for line in printed.splitlines() if line.startswith("next "))
    assert shlex.split(command) == ["augpipe", "audit", str(out), "--gap", "1"]


def test_a_build_says_which_folders_it_took_for_what(augpipe: Run, tmp_path: Path) -> None:
    for name, pixels in zip(("raw", "seg"), small_stack(), strict=True):
        (tmp_path / "set" / name).mkdir(parents=True)
        for z, page in enumerate(pixels):
            write_stack(tmp_path / "set" / name / f"{z}.tif", page[None])
    printed = augpipe("build", tmp_path / "set", *OPTIONS, "--out", tmp_path / "d").out.splitlines()
    folder = tmp_path / "set"
    assert printed[:2] == [f"source: {folder}", f"source: {folder / 'raw'} for images, {folder / 'seg'} for labels"]
    assert open_dataset(tmp_path / "d").name == "set"
    folder.rename(tmp_path / "moved")
    assert augpipe("verify", tmp_path / "d", "--replay", "--source", tmp_path / "moved").code == 0
