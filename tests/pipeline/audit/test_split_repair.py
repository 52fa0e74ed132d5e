"""A split that leaks is repaired: the folders that the file describes are audited again, and are clean."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folder_worlds import clean_split, picture, tissue, write_pictures_of
from numpy.typing import NDArray

from pipeline.audit.auditing import audit_folders
from pipeline.audit.report import AuditReport
from pipeline.audit.split_checks import split_check
from pipeline.audit.splits.repaired_split import split_values, write_split_file
from pipeline.source.phantom import make_phantom
from pipeline.source.tiff import write_stack

LEAKS = {"P001", "P002", "P007", "M006"}
STEP_PX, SIDE_PX = 160, 256


def panorama() -> list[NDArray[Any]]:
    """Return four pictures of one long slice: each shows a third of the next one, and nothing of the others."""
    images, _ = make_phantom((1, SIDE_PX, SIDE_PX + 3 * STEP_PX), seed=11)
    return [images[0, :, k * STEP_PX : k * STEP_PX + SIDE_PX].copy() for k in range(4)]


@pytest.fixture
def chain(tmp_path: Path) -> dict[str, Path]:
    """A chain of four pictures: the first one in train, the others, and a copy of the last one, in test."""
    folders = clean_split(tmp_path / "before")
    first, *others = panorama()
    write_pictures_of(folders["train"], {"p0.png": first})
    write_pictures_of(folders["test"], {f"p{k}.png": pixels for k, pixels in enumerate(others, start=1)})
    write_pictures_of(folders["test"], {"copy.png": others[-1]})
    return folders


def repaired(folders: dict[str, Path], report: AuditReport, out: Path) -> dict[str, Path]:
    """Return folders of the same files, where the repair puts them."""
    assert report.repair
    for file, split in report.repair.placed.items():
        (out / split / file.name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folders[file.split] / file.name, out / split / file.name)
    return {split: out / split for split in folders}


def moved(report: AuditReport) -> dict[str, tuple[str, str]]:
    assert report.repair
    return {each["file"]: (each["to"], each["because"]) for each in split_values(report.repair)["moved"]}


def test_a_chain_through_test_moves_as_a_whole_and_then_nothing_leaks(chain: dict[str, Path], tmp_path: Path) -> None:
    """The first audit sees one leak alone: what pictures of test share with each other shows when one has moved."""
    report = audit_folders(chain, jobs=2, repair=True)
    assert [(each.check, each.sample, each.other) for each in report.findings] == [("P007", "p1.png", "p0.png")]
    assert moved(report) == {
        "p1.png": ("train", "shows the same tissue as p0.png"),
        "p2.png": ("train", "shows the same tissue as p1.png"),
        "p3.png": ("train", "shows the same tissue as p2.png"),
        "copy.png": ("train", "shows the same tissue as p2.png"),
    }
    after = audit_folders(repaired(chain, report, tmp_path / "after"), jobs=2, repair=True)
    assert (after.exit_code, after.findings, moved(after)) == (0, (), {})
    assert after.n_samples == {"train": 13, "test": 4}


def test_the_repair_is_the_same_for_any_number_of_jobs(chain: dict[str, Path]) -> None:
    one, two = (audit_folders(chain, jobs=jobs, repair=True).repair for jobs in (1, 2))
    assert one == two


def test_what_is_clean_needs_no_repair(tmp_path: Path) -> None:
    folders = clean_split(tmp_path)
    assert audit_folders(folders, jobs=2).repair is None
    assert moved(audit_folders(folders, jobs=2, repair=True)) == {}


def test_slices_of_the_source_are_joined(tmp_path: Path) -> None:
    """Also where two pictures of a slice share too little to be compared: both halves of it."""
    folders = clean_split(tmp_path / "before")
    write_pictures_of(folders["test"], {"left.png": tissue()[0][2][:, :150]})
    report = audit_folders(folders, [tissue()[0]], gap=1, jobs=2, repair=True)
    assert "P002" in {finding.check for finding in report.findings}
    assert {name: to for name, (to, _) in moved(report).items()} == {"left.png": "train"}
    assert moved(report)["left.png"][1].startswith("shows the same slice as s2-r")
    after = audit_folders(repaired(folders, report, tmp_path / "after"), [tissue()[0]], gap=1, jobs=2)
    assert (after.exit_code, after.findings) == (0, ())


def test_groups_and_copies_are_joined_and_blank_pictures_are_not(tmp_path: Path) -> None:
    blank = np.zeros((64, 64), np.uint8)
    folders = {
        "train": write_pictures_of(tmp_path / "1", {"a.png": picture(0, 0), "blank1.png": blank}),
        "val": write_pictures_of(tmp_path / "2", {"b.png": picture(3, 0), "c.png": picture(5, 0)}),
        "test": write_pictures_of(tmp_path / "3", {"d.png": picture(5, 0), "e.png": picture(9, 0), "z.png": blank}),
    }
    groups = tmp_path / "groups.csv"
    groups.write_text("file,group\na,A\nb,B\nc,C\nd,D\ne,B\nblank1,F\nz,G\n")
    report = audit_folders(folders, groups=groups, jobs=2, repair=True)
    assert moved(report) == {
        "d.png": ("val", "has the same pixels as c.png"),
        "e.png": ("val", "is in the same group as b.png"),
    }
    after = audit_folders(repaired(folders, report, tmp_path / "after"), groups=groups, jobs=2)
    assert not LEAKS & {finding.check for finding in after.findings}


def test_the_pages_of_a_file_move_together(tmp_path: Path) -> None:
    folders = clean_split(tmp_path)
    write_stack(folders["test"] / "pages.tif", np.stack([picture(6, 0), picture(1, 0)]))
    assert list(moved(audit_folders(folders, jobs=2, repair=True))) == ["pages.tif"]


def test_the_command_writes_the_split_and_still_tells_the_leak(
    chain: dict[str, Path], tmp_path: Path, augpipe: Callable[..., Any]
) -> None:
    path = tmp_path / "split.json"
    done = augpipe("audit", "--train", chain["train"], "--test", chain["test"], "--write-split", path)
    assert (done.code, done.err) == (1, "")
    assert done.out.startswith("LEAKAGE: 1 of 8 test samples")
    assert done.out.endswith(f"\nsplit: {path} (4 of 17 files moved: 4 test to train)\n")
    values = json.loads(path.read_text())
    assert values["test"] == ["s8-r0.png", "s8-r1.png", "s9-r0.png", "s9-r1.png"]
    assert split_check([path]).findings == ()


def test_a_split_that_cannot_be_repaired_is_told_after_the_report(
    chain: dict[str, Path], tmp_path: Path, augpipe: Callable[..., Any]
) -> None:
    alone = write_pictures_of(tmp_path / "alone", {"p1.png": panorama()[1]})
    done = augpipe("audit", "--train", chain["train"], "--test", alone, "--write-split", tmp_path / "split.json")
    assert done.code == 3
    assert done.out.startswith("LEAKAGE: 1 of 1 test samples")
    assert "no file would be left in test" in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "split.json").exists()


@pytest.fixture
def two_folders(tmp_path: Path) -> dict[str, Path]:
    """Folders of one picture each, with nothing to look for in them."""
    noise = np.random.default_rng(0).integers(0, 256, (2, 24, 24), dtype=np.uint8)
    return {
        split: write_pictures_of(tmp_path / split, {"0.png": pixels})
        for split, pixels in zip(("train", "test"), noise, strict=True)
    }


@pytest.mark.parametrize("option", ["--write-split", "--json", "--pictures"])
@pytest.mark.parametrize("inside", ["train/0.png", "test/new.json", "train/../test/deep/new", "link", "groups.csv"])
def test_what_is_audited_is_not_written_to(
    two_folders: dict[str, Path], tmp_path: Path, augpipe: Callable[..., Any], option: str, inside: str
) -> None:
    """Also through a link, and before the audit runs."""
    (tmp_path / "link").symlink_to(tmp_path / "train" / "0.png")
    (tmp_path / "test" / "deep").mkdir()
    (tmp_path / "groups.csv").write_text("file,group\ntrain/0,A\ntest/0,B\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    named = [word for split, folder in two_folders.items() for word in (f"--{split}", folder)]
    done = augpipe("audit", *named, "--groups", tmp_path / "groups.csv", option, tmp_path / inside)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert f"{option} {tmp_path / inside} would change " in done.err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == before


@pytest.mark.parametrize(
    "content", ["a,b\n", "[]", '{"train": [0], "test": [1]}', '{"train": 1, "moved": []}', '{"moved": []}', "\udcff"]
)
def test_only_a_split_that_an_audit_wrote_is_replaced(
    two_folders: dict[str, Path], tmp_path: Path, augpipe: Callable[..., Any], content: str
) -> None:
    path = tmp_path / "split.json"
    named = [word for split, folder in two_folders.items() for word in (f"--{split}", folder)]
    path.write_text(content, errors="surrogateescape")
    done = augpipe("audit", *named, "--write-split", path)
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith(f"{path}: is there already, and is no split that an audit wrote; name another file\n")
    assert path.read_text(errors="surrogateescape") == content
    for replaced in ("", '{"train": ["old.png"], "test": [], "moved": []}'):
        path.write_text(replaced)
        assert augpipe("audit", *named, "--write-split", path).code == 3
        assert json.loads(path.read_text())["train"] == ["train/0.png"]


def test_where_no_split_can_be_written_is_told_before_the_audit(
    two_folders: dict[str, Path], tmp_path: Path, augpipe: Callable[..., Any]
) -> None:
    named = [word for split, folder in two_folders.items() for word in (f"--{split}", folder)]
    for path, code, words in ((tmp_path / "none" / "s.json", 3, "cannot be written"), (tmp_path, 2, "is a folder")):
        done = augpipe("audit", *named, "--write-split", path)
        assert (done.code, done.out) == (code, "")
        assert f"{path}: {words}" in done.err


def test_a_report_does_not_replace_a_file_of_the_dataset(built: Path, augpipe: Callable[..., Any]) -> None:
    before = (built / "dataset.json").read_bytes()
    done = augpipe("audit", built, "--manifest-only", "--json", built / "dataset.json")
    assert (done.code, done.out) == (2, "")
    assert f"--json {built / 'dataset.json'} would change {built}, which is read; name another place" in done.err
    assert (built / "dataset.json").read_bytes() == before


def test_a_report_does_not_replace_the_split_that_is_checked(tmp_path: Path, augpipe: Callable[..., Any]) -> None:
    path = tmp_path / "s.json"
    path.write_text('{"train": ["a.png"], "test": ["b.png"]}')
    done = augpipe("split-check", path, "--json", path)
    assert (done.code, done.out) == (2, "")
    assert "would change" in done.err
    assert path.read_text() == '{"train": ["a.png"], "test": ["b.png"]}'


def test_a_dataset_is_built_again_instead(tmp_path: Path, augpipe: Callable[..., Any]) -> None:
    done = augpipe("audit", tmp_path, "--write-split", tmp_path / "split.json")
    assert (done.code, done.out) == (2, "")
    assert "build a DATASET again" in done.err


def test_a_report_is_read_back_without_the_repair(chain: dict[str, Path], tmp_path: Path) -> None:
    report = audit_folders(chain, jobs=2, repair=True)
    assert AuditReport.from_json(report.to_json()).repair is None
    assert report.repair
    write_split_file(tmp_path / "split.json", report.repair)
