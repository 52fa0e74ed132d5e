"""The audit of a dataset: every planted fault is found by the pixels, and a clean set is clean."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folder_worlds import clean_split, tissue, write_pictures_of
from numpy.typing import NDArray
from small_worlds import digest_rows, edit_record, read_only, read_rows, rewrite_shard, seal, write_plainly, write_rows

import pipeline.plan.plan
from augment.ranges import AugmentRanges
from augment.recipe import Recipe
from augment.renderer import render
from pipeline.audit.auditing import audit_dataset, audit_folders
from pipeline.audit.report import CHECKS, AuditReport, Coverage
from pipeline.audit.samples.image_folders import read_folders
from pipeline.audit.search import picture_search
from pipeline.audit.search.slice_identification import Identification, SliceIdentifier
from pipeline.build.builder import build_dataset
from pipeline.errors import ConfigError, DatasetError
from pipeline.plan.split import SliceAddress
from pipeline.shards import open_dataset
from pipeline.shards.config import BuildConfig
from pipeline.source.combining import make_source
from pipeline.source.phantom import make_phantom
from pipeline.source.readers import read_files
from pipeline.source.tiff import write_stack

DEPTH, SIDE = 10, 320
TEST_FILE = "test-00000.h5"
CONFIG = BuildConfig(
    n=20, size=(360, 360), gap=1, test=0.2, ranges=AugmentRanges(flip=True, gain=(0.8, 1.2), bias=(-10.0, 10.0))
)


@cache
def stack() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return ten slices, large enough to be recognised: train 0..6, test 8 and 9."""
    return make_phantom((DEPTH, SIDE, SIDE), seed=5)


def build_of(folder: Path, images: NDArray[Any], labels: NDArray[Any], config: BuildConfig = CONFIG) -> Path:
    folder.mkdir()
    write_stack(folder / "i.tif", images)
    write_stack(folder / "l.tif", labels)
    return build_dataset(read_files(folder / "i.tif", folder / "l.tif"), config, out=folder / "d", jobs=2).out


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_of(tmp_path_factory.mktemp("audit") / "world", *stack())


@pytest.fixture
def copied(tmp_path: Path, clean: Path) -> Path:
    """A copy of the clean dataset, to be falsified."""
    import shutil

    return Path(shutil.copytree(clean, tmp_path / "d"))


def falsify(folder: Path, change: Callable[[dict[str, NDArray[Any]]], Any]) -> None:
    """Change the test shard's arrays, and make every digest agree with them."""

    def write(file: Any, arrays: dict[str, NDArray[Any]]) -> None:
        change(arrays)
        write_plainly(file, arrays)

    rewrite_shard(folder / TEST_FILE, write)
    write_rows(folder, digest_rows(folder))
    seal(folder)


def render_as(folder: Path, row: int, z: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return what slice z becomes by the recipe of one row of the test shard."""
    recipe = [each["recipe"] for each in read_rows(folder) if each["shard"] == TEST_FILE][row]
    images, labels = stack()
    sample = render(images[z], (labels[z] > 0).astype(np.uint8), Recipe.from_json(recipe))
    return sample.image, sample.label


def found(report: AuditReport) -> dict[str, str]:
    """Return the worst severity of each check that found something."""
    return {finding.check: finding.severity for finding in reversed(report.findings)}


def test_a_clean_dataset_is_clean_and_all_of_it_was_looked_at(clean: Path) -> None:
    report = audit_dataset(clean, gap=1, jobs=2)
    assert (report.exit_code, report.findings) == (0, ())
    assert report.verdict.startswith("CLEAN: no test sample shows tissue that was trained on; 20 of 20 samples")
    assert {check.id: check.status for check in report.checks} == dict.fromkeys(CHECKS, "passed") | {
        "P007": "not applicable",
        "M006": "not applicable",
    }
    assert report.coverage == Coverage(20, proven=20, replayed=20, searched_again=1)


def test_what_was_done_to_a_slice_is_recovered(clean: Path) -> None:
    """Angle, mirror and magnification as the recipe has them: the findings' numbers mean what they say."""
    images, labels = stack()
    slices = SliceIdentifier([images], [labels], independent=False, gap=1)
    for address in slices.addresses:
        slices.learn(address)
    split = open_dataset(clean)["train"]
    for k, row in enumerate(split.manifest):
        seen = slices.identify(split.images[k], split.labels[k])
        assert seen.found == SliceAddress(0, row.z)
        assert seen.mirrored == row.recipe.flip
        assert abs((seen.angle_deg - row.recipe.angle_deg + 180) % 360 - 180) < 8
        assert abs(seen.scale - 1.0) < 0.15
        assert seen.f1 is not None
        assert seen.f1 > 0.6


def test_a_sibling_of_a_train_slice_in_test_is_found_by_its_pixels(copied: Path) -> None:
    def change(arrays: dict[str, NDArray[Any]]) -> None:
        arrays["images"][0], arrays["labels"][0] = render_as(copied, 0, 3)

    falsify(copied, change)
    report = audit_dataset(copied, gap=1, jobs=2)
    assert report.exit_code == 1
    assert {"P002": "critical", "P003": "critical"}.items() <= found(report).items()
    assert report.verdict == "LEAKAGE: 1 of 4 test samples show tissue that was trained on"
    assert "stack 0, z 3" in next(each.text for each in report.findings if each.check == "P002")


def test_a_copy_of_a_train_sample_is_found(copied: Path) -> None:
    with read_only(copied / "train-00000.h5") as file:
        image, label = file["images"][5], file["labels"][5]

    def change(arrays: dict[str, NDArray[Any]]) -> None:
        arrays["images"][1], arrays["labels"][1] = image, label

    falsify(copied, change)
    assert found(audit_dataset(copied, gap=1, jobs=2))["P001"] == "critical"


def test_the_label_of_a_neighbour_is_found_and_drawn(copied: Path, tmp_path: Path) -> None:
    def change(arrays: dict[str, NDArray[Any]]) -> None:
        arrays["labels"][2] = render_as(copied, 2, 7)[1]

    falsify(copied, change)
    report = audit_dataset(copied, gap=1, jobs=2, pictures=tmp_path / "why")
    assert [path.name[:8] for path in report.pictures] == ["01-P006-"]
    assert list(report.pictures) == list((tmp_path / "why").iterdir())
    assert set(found(report)) == {"P006", "R001"}
    assert report.exit_code == 1


def test_a_slice_near_the_other_split_is_found_where_the_manifest_lies(copied: Path) -> None:
    """Slice 7 lies between the splits; a test sample that shows it is next to slice 6, which was trained on."""

    def change(arrays: dict[str, NDArray[Any]]) -> None:
        arrays["images"][0], arrays["labels"][0] = render_as(copied, 0, 7)

    falsify(copied, change)
    report = audit_dataset(copied, gap=1, jobs=2)
    assert {"P004": "critical", "P003": "error"}.items() <= found(report).items()


@pytest.mark.parametrize("other", [4, 6])
def test_slices_that_were_swapped_in_the_manifest_are_found(copied: Path, other: int) -> None:
    rows = read_rows(copied)
    for row in rows:
        if row["z"] in (3, other):
            row["z"] = other if row["z"] == 3 else 3
            row["id"] = f"s000-z{row['z']:05d}-r{row['replicate']:07d}"
    write_rows(copied, rows)
    seal(copied)
    report = audit_dataset(copied, gap=1, jobs=2)
    named = [finding.sample for finding in report.findings if finding.check == "P003"]
    assert len(named) == sum(row["z"] in (3, other) for row in rows)
    assert report.exit_code == 1


@pytest.mark.parametrize("form", ["plain", "rotated", "mirrored", "deformed"])
def test_a_slice_that_is_in_the_source_twice_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """The build itself refuses the plain copy; others may not have."""
    images, labels = (pixels.copy() for pixels in stack())
    if form == "deformed":
        from augment.draw import draw_recipe
        from augment.seeding import Stream

        recipe = draw_recipe(AugmentRanges(flip=True), Stream(3, (1,)), window=(SIDE, SIDE), slice_size=(SIDE, SIDE))
        images[9], labels[9] = render(images[2], labels[2], recipe)
    else:
        turn = {"plain": lambda a: a, "rotated": np.rot90, "mirrored": np.fliplr}[form]
        images[9], labels[9] = turn(images[2]), turn(labels[2])
    monkeypatch.setattr(pipeline.plan.plan, "require_distinct", lambda *_: None)
    report = audit_dataset(build_of(tmp_path / "w", images, labels), gap=1, jobs=2)
    finding = next(each for each in report.findings if each.check == "S001")
    assert (finding.severity, finding.splits) == ("critical", ("train", "test"))
    assert (finding.sample, finding.other) == ("stack 0, z 2", "stack 0, z 9")
    assert report.n_leaking == {"test": 2}, "the samples of slice 9 show slice 2, which was trained on"
    assert "P005" not in found(report), "two slices that are the same must not hide each other's samples"


def test_a_split_of_augmented_samples_at_random_is_found(copied: Path) -> None:
    """What the reproduction did that augpipe grew out of; here with a manifest of ours."""
    rows = read_rows(copied)
    tests = [row for row in rows if row["split"] == "test"]
    trains = [row for row in rows if row["split"] == "train"][:4]
    with read_only(copied / "train-00000.h5") as file:
        pixels = {name: file[name][:4] for name in ("images", "labels")}

    def change(arrays: dict[str, NDArray[Any]]) -> None:
        for name, array in pixels.items():
            arrays[name][:] = array

    for test, train in zip(tests, trains, strict=True):
        test |= {name: train[name] for name in ("stack", "z", "source_sha256", "recipe")}
        test |= {"replicate": 99, "id": f"s000-z{train['z']:05d}-r0000099"}
    write_rows(copied, rows)
    falsify(copied, change)
    report = audit_dataset(copied, gap=1, jobs=2)
    assert {"M003", "M005", "P001", "P002"} <= set(found(report))
    assert report.verdict == "LEAKAGE: 4 of 4 test samples show tissue that was trained on"


def test_a_smaller_gap_than_asked_for_is_found_in_records_and_pixels(clean: Path) -> None:
    report = audit_dataset(clean, gap=2, jobs=2)
    assert found(report) == {"M004": "error", "P004": "error"}


def test_noise_is_unknown_and_may_be_allowed(copied: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (360, 360), np.uint8)
    falsify(copied, lambda arrays: arrays["images"].__setitem__(0, noise))
    assert found(audit_dataset(copied, gap=1, jobs=2))["P005"] == "error"
    allowed = audit_dataset(copied, gap=1, jobs=2, allow_unknown=True)
    assert found(allowed)["P005"] == "warning"
    assert allowed.coverage == Coverage(20, proven=19, not_compared=1, replayed=20, searched_again=1)
    assert "P005" in {check.id for check in allowed.checks if check.status == "failed"}


def test_unknown_samples_that_show_the_same_tissue_are_found(copied: Path) -> None:
    """A stranger's slice, deformed twice, once for train and once for test: no slice of the source, and yet a leak."""
    stranger = make_phantom((1, SIDE, SIDE), seed=77)[0][0]
    for file in ("train-00000.h5", TEST_FILE):
        row = next(each for each in read_rows(copied) if each["shard"] == file)
        image = render(stranger, np.zeros_like(stranger), Recipe.from_json(row["recipe"])).image

        def write(target: Any, arrays: dict[str, NDArray[Any]], image: NDArray[Any] = image) -> None:
            arrays["images"][0] = image
            write_plainly(target, arrays)

        rewrite_shard(copied / file, write)
    write_rows(copied, digest_rows(copied))
    seal(copied)
    report = audit_dataset(copied, gap=1, jobs=2, allow_unknown=True)
    assert found(report)["P007"] == "critical"
    assert report.n_leaking == {"test": 1}


def test_a_source_that_is_there_and_is_another_one_is_not_passed_over(tmp_path: Path, clean: Path) -> None:
    """Gone is not given; changed is a check that could not be run."""
    import shutil

    world = Path(shutil.copytree(clean.parent, tmp_path / "w"))
    info = json.loads((world / "d" / "build-info.json").read_bytes())
    for pair in info["inputs"]:
        for each, name in ((pair["images"], "i.tif"), (pair["labels"], "l.tif")):
            each["path"] = str(world / name)
    (world / "d" / "build-info.json").write_text(json.dumps(info))
    assert audit_dataset(world / "d", gap=1, jobs=2).verdict.endswith(
        "20 of 20 samples proven by rendering them again; no groups could be checked"
    )
    write_stack(world / "i.tif", stack()[0][::-1])
    report = audit_dataset(world / "d", gap=1, jobs=2)
    assert report.exit_code == 3
    assert {check.status for check in report.checks if check.id in ("P002", "P006", "S001", "R001")} == {"not run"}
    (world / "i.tif").unlink()
    report = audit_dataset(world / "d", gap=1, jobs=2)
    assert report.exit_code == 0
    assert "with each other alone" in report.verdict


def test_a_section_that_was_lost_is_no_finding(tmp_path: Path) -> None:
    """The build takes slices of one gray level, so their samples must not fail its audit."""
    images, labels = (pixels.copy() for pixels in stack())
    images[0] = images[9] = 0
    report = audit_dataset(build_of(tmp_path / "w", images, labels), gap=1, jobs=2)
    assert (report.exit_code, report.coverage.proven) == (0, 20)


@pytest.mark.parametrize("name", ["manifest.jsonl", "build-info.json"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(copied: Path, name: str) -> None:
    import os

    (copied / name).unlink()
    os.mkfifo(copied / name)
    assert audit_dataset(copied, gap=1, jobs=2).exit_code == (1 if name == "manifest.jsonl" else 0)


@pytest.mark.parametrize("broken", ["deep", "digest"])
def test_hostile_records_are_no_traceback(copied: Path, broken: str) -> None:
    if broken == "deep":
        (copied / "build-info.json").write_text("[" * 200_000)
        assert audit_dataset(copied, gap=1, jobs=2).exit_code == 0
    else:
        edit_record(copied, lambda values: values["inputs"][0]["images"].update(sha256=5))
        with pytest.raises(DatasetError, match=r"`\$\.inputs\[0\]\.images\.sha256`"):
            audit_dataset(copied, gap=1, jobs=2)


def test_samples_that_show_nothing_are_not_clean(copied: Path) -> None:
    """Without a source nothing can be said of a smooth ramp: that is no proof."""
    ramp = np.broadcast_to(np.linspace(0, 255, 360), (360, 360)).astype(np.uint8)
    falsify(copied, lambda arrays: arrays["images"].__setitem__(0, ramp))
    (copied / "build-info.json").unlink()
    for allow_unknown in (False, True):
        report = audit_dataset(copied, gap=1, jobs=2, allow_unknown=allow_unknown)
        siblings = next(check for check in report.checks if check.id == "P007")
        assert (siblings.status, siblings.n, siblings.n_skipped) == ("passed in part", 19, 1)
        assert "1 of 20 samples not compared: " in siblings.reason


@pytest.mark.parametrize("hide", ["features", "blank", "unread"])
@pytest.mark.parametrize("with_source", [False, True])
def test_a_sample_that_is_hidden_from_the_search_is_never_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hide: str, with_source: bool
) -> None:
    """Absence of a finding proves nothing of a sample that nobody could look at, whatever is allowed."""
    folders = clean_split(tmp_path)
    name = min(path.name for path in folders["test"].iterdir())
    path = folders["test"] / name
    if hide == "features":
        hidden = next(each for each in read_folders(folders).samples if each.split == "test").image()
        hide_features(monkeypatch, hidden)
    else:
        path.unlink()
        if hide == "blank":
            write_pictures_of(folders["test"], {name: np.full((360, 360), 90, np.uint8)})
        else:
            path.write_bytes(b"no picture")
    source = [tissue()[0]] if with_source else None
    report = audit_folders(folders, source, gap=1, allow_unknown=True, jobs=2)
    assert (report.outcome, report.exit_code) == ("NOT PROVEN", 3)
    assert report.coverage.not_compared == 1
    assert report.coverage.by_pixels == report.coverage.total - 1
    assert report.verdict.startswith(f"NOT PROVEN: 1 of {report.coverage.total} samples were neither proven nor")


def hide_features(monkeypatch: pytest.MonkeyPatch, hidden: NDArray[Any]) -> None:
    """Make the audit find no features in one picture, nor in its mirror image."""
    find = picture_search.find_features

    def find_none(image: NDArray[Any], *arguments: Any, **options: Any) -> Any:
        same = any(np.array_equal(image, each) for each in (hidden, hidden[:, ::-1]))
        return find(np.zeros((64, 64), np.uint8) if same else image, *arguments, **options)

    monkeypatch.setattr(picture_search, "find_features", find_none)


def test_a_proven_sample_needs_no_search(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was rendered again shows its slice, however little the search makes of it."""
    nothing = Identification(inliers=0, angle_deg=0.0, scale=1.0, mirrored=False)
    monkeypatch.setattr(SliceIdentifier, "check", lambda *_: nothing)
    report = audit_dataset(clean, gap=1, jobs=2)
    assert (report.outcome, report.findings) == ("CLEAN", ())
    assert report.verdict.endswith("; 20 of 20 samples proven by rendering them again; no groups could be checked")


def test_a_search_that_contradicts_a_proven_sample_is_told(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = SliceAddress(0, 9)
    seen = Identification(80, 0.0, 1.0, mirrored=False, found=other, likely=frozenset([other]))
    monkeypatch.setattr(SliceIdentifier, "check", lambda *_: seen)
    report = audit_dataset(clean, gap=1, jobs=2)
    assert found(report) == {"P003": "critical"}
    assert len(report.findings) == report.coverage.searched_again == 1


def test_records_alone_tell_how_many_samples_leak(copied: Path) -> None:
    rows = read_rows(copied)
    last = rows[-1]
    last |= {"z": 3, "replicate": 99, "id": "s000-z00003-r0000099"}
    write_rows(copied, rows)
    seal(copied)
    report = audit_dataset(copied, gap=1, manifest_only=True)
    assert report.verdict == "LEAKAGE: 1 of 4 test samples show tissue that was trained on"


def test_records_alone_can_be_clean_and_say_so(clean: Path) -> None:
    report = audit_dataset(clean, gap=1, manifest_only=True)
    assert report.exit_code == 0
    assert "pixels were not checked" in report.verdict
    assert {check.status for check in report.checks if check.id[0] in "PSR"} == {"not applicable"}


def test_without_its_source_a_dataset_is_compared_with_itself(copied: Path) -> None:
    """Whoever downloads a dataset has no source; that is said, and siblings are looked for instead."""

    def change(arrays: dict[str, NDArray[Any]]) -> None:
        arrays["images"][0], arrays["labels"][0] = render_as(copied, 0, 3)

    (copied / "build-info.json").unlink()
    assert audit_dataset(copied, gap=1, jobs=2).exit_code == 0
    falsify(copied, change)
    report = audit_dataset(copied, gap=1, jobs=2)
    assert found(report)["P007"] == "critical"
    assert report.n_leaking == {"test": 1}
    assert {check.id for check in report.checks if check.status == "not applicable"} >= {"P002", "R001", "S001"}


def test_the_report_is_the_same_for_any_number_of_jobs(copied: Path) -> None:
    falsify(copied, lambda arrays: arrays["images"].__setitem__(slice(None), arrays["images"][::-1].copy()))
    reports = [json.dumps(audit_dataset(copied, gap=1, jobs=jobs).to_json()) for jobs in (1, 3)]
    assert reports[0] == reports[1]
    assert json.loads(reports[0])["findings"]


def test_pictures_are_not_drawn_into_the_dataset(copied: Path) -> None:
    with pytest.raises(ConfigError, match="lies in the dataset"):
        audit_dataset(copied, gap=1, pictures=copied / "why")


def test_a_shard_that_cannot_be_read_is_never_passed(copied: Path) -> None:
    path = copied / TEST_FILE
    path.write_bytes(path.read_bytes()[:-2000])
    report = audit_dataset(copied, gap=1, jobs=2)
    assert report.exit_code == 1
    assert {check.status for check in report.checks if check.id in ("P001", "P002")} == {"passed in part"}
    assert report.coverage.not_compared == 4


def test_arrays_have_no_files_to_find_again(tmp_path: Path) -> None:
    """A source that was never on disk cannot be remembered: the audit goes on without it."""
    out = build_dataset(make_source(*stack(), name="x"), CONFIG, out=tmp_path / "d", jobs=2).out
    report = audit_dataset(out, gap=1, jobs=2)
    assert report.exit_code == 0
    assert "the source is not at hand" in next(check.reason for check in report.checks if check.id == "P002")


def test_the_command_tells_the_verdict_first_and_exits_with_it(
    clean: Path, copied: Path, augpipe: Callable[..., Any]
) -> None:
    done = augpipe("audit", clean, "--gap", "1", "--jobs", "2")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("CLEAN: ")
    falsify(copied, lambda arrays: arrays["labels"].__setitem__(slice(None), arrays["labels"][::-1].copy()))
    done = augpipe("audit", copied, "--gap", "1", "--quiet", "--json", "-", "--pictures", copied.parent / "why")
    assert done.code == 1
    assert done.err.startswith("NOT CLEAN: ")
    assert {finding["check"] for finding in json.loads(done.out)["findings"]} == {"P006", "R001"}
    assert list((copied.parent / "why").glob("01-P006-*.png"))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "name a DATASET, or folders"),
        (("--train", "."), 2, "name a DATASET, or folders"),
        (("d", "--train", "."), 2, "name either a DATASET, or folders"),
        (("--train", ".", "--test", ".", "--manifest-only"), 2, "leave out --manifest-only"),
        (("d", "--independent"), 2, "leave out --independent"),
        (("none",), 3, "found nothing"),
        (("--train", "none", "--test", "none"), 2, "none"),
        (("d", "--gap", "-1"), 2, "gap: expected 0 or more"),
        (("d", "--jobs", "0"), 2, "jobs: expected"),
        (("d", "--source", ".."), 2, "..: expected the stack that d was made from"),
    ],
)
def test_wrong_use_is_one_line(
    clean: Path,
    monkeypatch: pytest.MonkeyPatch,
    augpipe: Callable[..., Any],
    arguments: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(clean.parent)
    done = augpipe("audit", *arguments)
    assert (done.code, done.out) == (code, "")
    assert words in done.err
    assert done.err.count("\n") == 1
