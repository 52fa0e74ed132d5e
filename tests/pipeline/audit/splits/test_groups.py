"""Groups of samples: a patient in two splits is found, in folders and in split files, however its files are called."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folder_worlds import write_pictures_of

from pipeline.audit.auditing import audit_dataset, audit_folders
from pipeline.audit.report import AuditReport, Check, Finding
from pipeline.audit.split_checks import split_check
from pipeline.audit.splits.groups import read_groups
from pipeline.errors import AugpipeError, ConfigError, DatasetError
from pipeline.source.tiff import write_stack

Run = Callable[..., Any]

FOLDS = [{"train": ["p1", "p2", "p3"], "val": ["p4"]}, {"train": ["p2", "p3", "p4"], "val": ["p1"]}]
CLEAN = "case,group\np1,A\np2,B\np3,B\np4,C\n"
LEAKY = "case,group\np1,A\np2,B\np3,B\np4,A\n"
NO_CLAUSE = "CLEAN by its records alone: pixels were not checked"
NOTHING_KNOWN = "6 of 6 samples were neither proven nor compared"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def m006(report: AuditReport) -> Check:
    return next(check for check in report.checks if check.id == "M006")


def found(report: AuditReport) -> list[Finding]:
    return [finding for finding in report.findings if finding.check == "M006"]


@pytest.fixture
def folds(tmp_path: Path) -> Path:
    return write(tmp_path / "splits_final.json", json.dumps(FOLDS))


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Noise, of which no two pictures are alike: two patients in train, of whom one has pages; one in val and test."""
    noise = np.random.default_rng(0).integers(0, 256, (6, 24, 24), dtype=np.uint8)
    named = {"train": {"a.png": noise[0]}, "val": {"c.png": noise[4]}, "test": {"d.png": noise[5]}}
    made = {split: write_pictures_of(tmp_path / split, each) for split, each in named.items()}
    write_stack(made["train"] / "b.ome.tif", noise[1:4])
    return made


# Names


@pytest.mark.parametrize("listed", ["p1", "p1.nii.gz", "p1_0000.nii.gz", "x/p1_0000"])
def test_however_the_case_is_listed_it_is_found(tmp_path: Path, listed: str) -> None:
    groups = read_groups(write(tmp_path / "g.csv", f"file,group\n{listed},A\n"))
    assert groups.find("p1") == "A"
    assert groups.find("p1.tif#3") == "A"
    assert groups.find("p1_0000.nii.gz") == "A"
    assert groups.find("p2") is None


def test_a_number_of_four_digits_is_no_channel_of_its_neighbour(tmp_path: Path) -> None:
    """Taken off blindly, it would make one case of a whole series."""
    groups = read_groups(write(tmp_path / "g.csv", "file,group\nimg_0001.png,A\nimg_0002.png,B\n"))
    named = ("img_0001", "img_0002.png", "img_0002_0000.nii.gz", "img_0003.png", "img")
    assert [groups.find(name) for name in named] == ["A", "B", "B", None, None]


# Folders


def test_a_patient_in_two_splits_of_folders(folders: dict[str, Path], tmp_path: Path) -> None:
    """One finding for every two splits; what the pixels show is another matter."""
    groups = write(tmp_path / "g.csv", "file;group\na.png;A\nb;B\nc.png;B\nd.jpg;B\n")
    report = audit_folders(folders, groups=groups, allow_unknown=True, jobs=1)
    by_splits = {finding.splits: finding for finding in found(report)}
    assert (len(found(report)), set(by_splits)) == (3, {("train", "val"), ("train", "test"), ("val", "test")})
    assert {(finding.severity, finding.other) for finding in found(report)} == {("critical", "group B")}
    first = by_splits["train", "test"]
    assert first.text.startswith("1 of 2 groups is in more than one split, such as group B (3 train, 1 test)")
    assert first.advice
    assert (m006(report).status, m006(report).n) == ("failed", 2)
    assert (report.verdict, report.exit_code) == (f"LEAKAGE: 3 critical findings; {NOTHING_KNOWN}", 1)
    assert AuditReport.from_json(report.to_json()).verdict == report.verdict


def test_patients_that_are_each_in_one_split_pass(folders: dict[str, Path], tmp_path: Path) -> None:
    groups = write(tmp_path / "g.csv", "file,group\na,A\nb.ome.tif,A\nc.png,C\nd.png,D\nunused.png,A\n")
    report = audit_folders(folders, groups=groups, allow_unknown=True, jobs=1)
    assert (m006(report).status, m006(report).n, found(report)) == ("passed", 3, [])
    assert not report.verdict.endswith("groups could be checked")


def test_without_groups_folders_say_so(folders: dict[str, Path]) -> None:
    report = audit_folders({split: folders[split] for split in ("train", "test")}, allow_unknown=True, jobs=1)
    assert m006(report) == Check("M006", "not applicable", 0, "no groups were named: name them with --groups")


def test_samples_whose_group_is_not_named_are_refused_at_once(folders: dict[str, Path], tmp_path: Path) -> None:
    """The pages of one file count once."""
    groups = write(tmp_path / "g.csv", "file,group\na,A\nd,\n")
    with pytest.raises(ConfigError) as caught:
        audit_folders(folders, groups=groups, jobs=1)
    assert str(caught.value) == (
        f"{groups}: names no group of 3 of 4 cases, such as b.ome.tif#0, c.png, d.png; add a line for each"
    )


def test_a_dataset_records_no_groups(built: Path) -> None:
    report = audit_dataset(built, gap=1, manifest_only=True)
    assert (m006(report).status, m006(report).reason) == ("not applicable", "the dataset records no groups")
    assert report.verdict == f"{NO_CLAUSE}; no groups could be checked"


@pytest.fixture
def namesakes(tmp_path: Path) -> dict[str, Path]:
    """Noise again: 0 and 1 in train, 0 and 2 in test."""
    noise = np.random.default_rng(0).integers(0, 256, (4, 24, 24), dtype=np.uint8)
    named = {"train": {"0.png": noise[0], "1.png": noise[1]}, "test": {"0.png": noise[2], "2.png": noise[3]}}
    return {split: write_pictures_of(tmp_path / split, each) for split, each in named.items()}


@pytest.mark.parametrize(
    ("lines", "shared"),
    [
        ("train/0.png,A\ntest/0.png,B\n1,A\n2,B\n", []),
        ("train/0,A\ntest/0,B\ntrain/1,B\n2,C\n", ["group B"]),
        ("train/0.png,A\ntest/0.png,A\nother/1,B\ntest/2,C\n", ["group A"]),
        ("test\\0.png,B\ntrain\\0.png,A\ntest/1,A\n2,B\n", []),  # no other file is called 1
    ],
)
def test_files_of_one_name_are_told_apart_by_their_split(
    namesakes: dict[str, Path], tmp_path: Path, lines: str, shared: list[str]
) -> None:
    groups = write(tmp_path / "g.csv", f"file,group\n{lines}")
    report = audit_folders(namesakes, groups=groups, allow_unknown=True, jobs=1)
    assert [finding.other for finding in found(report)] == shared


@pytest.mark.parametrize("lines", ["0.png,A\n1,A\n2,B\n", "train/0.png,A\n1,A\n2,B\n", "0,A\ntest/0,B\n1,A\n2,B\n"])
def test_a_bare_name_that_two_splits_have_is_refused(namesakes: dict[str, Path], tmp_path: Path, lines: str) -> None:
    """Else an honest set of files that are numbered in each split would count as a leak."""
    groups = write(tmp_path / "g.csv", f"file,group\n{lines}")
    with pytest.raises(ConfigError) as caught:
        audit_folders(namesakes, groups=groups, jobs=1)
    assert str(caught.value) == (
        f"{groups}: 0 is in train and test, so that its name alone tells no group; write split/name, train/0 and test/0"
    )


def test_a_file_of_which_only_a_namesake_is_named_has_no_group(namesakes: dict[str, Path], tmp_path: Path) -> None:
    groups = write(tmp_path / "g.csv", "file,group\nval/0,A\ntest/0,B\n1,A\n2,B\n")
    with pytest.raises(ConfigError, match=r"names no group of 1 of 4 cases, such as train/0\.png; add a line for each"):
        audit_folders(namesakes, groups=groups, jobs=1)


def test_namesakes_of_different_groups_are_repaired_apart(namesakes: dict[str, Path], tmp_path: Path) -> None:
    groups = write(tmp_path / "g.csv", "file,group\ntrain/0,A\ntest/0,B\n1,B\n2,C\n")
    report = audit_folders(namesakes, groups=groups, allow_unknown=True, jobs=1, repair=True)
    assert report.repair
    assert [(move.file.split, move.file.name, move.to) for move in report.repair.moves] == [("test", "0.png", "train")]


# Split files


def test_names_in_a_split_file_may_begin_with_the_split_that_they_were_in(tmp_path: Path) -> None:
    """As an audit writes them; where a file is now is another matter."""
    split = write(tmp_path / "s.json", '{"train": ["train/0.png", "test/0.png"], "test": ["test/1.png"]}')
    groups = write(tmp_path / "g.csv", "file,group\ntrain/0,A\ntest/0,B\n1,B\n")
    assert [finding.other for finding in split_check([split], groups=groups).findings] == ["group B"]
    with pytest.raises(ConfigError, match="write split/name, train/0 and test/0"):
        split_check([split], groups=write(tmp_path / "g.csv", "file,group\n0,A\n1,B\n"))


def test_a_patient_in_train_and_val_of_one_fold(folds: Path, tmp_path: Path) -> None:
    report = split_check([folds], groups=write(tmp_path / "g.csv", LEAKY))
    texts = [finding.text for finding in found(report)]
    assert texts[0].startswith(f"{folds}, fold 0: 1 of 2 groups is in more than one split, such as group A (1 train, 1")
    assert texts[1].startswith(f"{folds}, fold 1: 1 of 2 groups")
    assert (report.findings, m006(report).n) == (tuple(found(report)), 4)
    assert (report.verdict, report.exit_code) == ("LEAKAGE: 2 critical findings", 1)


def test_a_fault_of_one_fold_is_found_in_it_alone(folds: Path, tmp_path: Path) -> None:
    folds.write_text(json.dumps([FOLDS[0], {"train": ["p1", "p2"], "val": ["p3"]}]), encoding="utf-8")
    (finding,) = split_check([folds], groups=write(tmp_path / "g.csv", CLEAN)).findings
    assert finding.text.startswith(f"{folds}, fold 1: ")
    assert (finding.check, finding.other, finding.splits) == ("M006", "group B", ("train", "val"))


@pytest.mark.parametrize(
    "text",
    [
        CLEAN,
        CLEAN.replace(",", ";"),
        CLEAN.replace(",", "\t"),
        CLEAN.replace("case", "\ufeffFile"),
        CLEAN.replace("case", "identifier"),
        CLEAN.replace("p1,", "p1_0000.nii.gz,").replace("p2,", "p2.nii.gz,"),
        CLEAN + "p1,A\n,\n",
        "group,note,id\n" + "".join(f'{group},"x, y",{case}\n' for case, group in zip("1234", "ABBC", strict=True)),
    ],
)
def test_ways_to_name_the_same_groups(folds: Path, tmp_path: Path, text: str) -> None:
    """Each passes, and fails once case 4 is of group A."""
    text = text.replace(",1\n", ",p1\n").replace(",2\n", ",p2\n").replace(",3\n", ",p3\n").replace(",4\n", ",p4\n")
    report = split_check([folds], groups=write(tmp_path / "g.csv", text))
    assert (report.verdict, m006(report).status) == (NO_CLAUSE, "passed")
    moved = text.replace("C,", "A,") if text.startswith("group") else text.replace("C\n", "A\n")
    assert len(found(split_check([folds], groups=write(tmp_path / "g.csv", moved)))) == 2


def test_another_column_of_groups(folds: Path, tmp_path: Path) -> None:
    groups = write(tmp_path / "g.csv", "id,group,Patient_ID\np1,1,A\np2,2,B\np3,3,B\np4,4,A\n")
    assert found(split_check([folds], groups=groups)) == []
    report = split_check([folds], groups=groups, column="patient_id")
    assert [finding.other for finding in found(report)] == ["patient_id A"] * 2


def test_the_ids_of_a_table_are_joined_too(tmp_path: Path) -> None:
    """Its own groups are wells, and none is cut; the slide is."""
    table = write(tmp_path / "wells.csv", "id,group,split\na.png,w1,train\nb.png,w2,val\nc.png,w3,test\n")
    report = split_check([table], groups=write(tmp_path / "g.csv", "file,group\na,S\nb,T\nc,S\n"))
    assert [(finding.check, finding.splits) for finding in report.findings] == [("M006", ("train", "test"))]


def test_without_groups_split_files_are_never_clean(augpipe: Run, folds: Path) -> None:
    """Two cases of one patient, in train and in val, look as clean as any others by their names."""
    report = split_check([folds])
    reason = "no group in two splits could be checked: name groups with --groups"
    assert m006(report) == Check("M006", "not run", 0, reason)
    assert (report.verdict, report.exit_code) == ("NOT PROVEN: no group in two splits could be checked", 3)
    assert AuditReport.from_json(report.to_json()).verdict == report.verdict
    code, out, _ = augpipe("split-check", folds)
    assert code == 3
    assert out.startswith("NOT PROVEN: no group in two splits could be checked\n")


def test_one_split_has_no_groups_to_share(tmp_path: Path) -> None:
    alone = write(tmp_path / "s.json", '[{"train": ["p1", "p2"]}]')
    report = split_check([alone], groups=write(tmp_path / "g.csv", CLEAN))
    assert (m006(report).status, m006(report).reason) == ("not applicable", "no file has samples in two splits")


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("", ConfigError, "expected CSV with the columns file,group; group missing, found nothing"),
        ("file,patient_id,animal\np1,A,B\n", ConfigError, "may all be the groups; choose with --column patient_id"),
        ("file,gruop\np1,A\n", ConfigError, "did you mean group by 'gruop'?"),
        ("group\nA\n", ConfigError, "file missing"),
        ("file,group,group\np1,A,A\n", ConfigError, "names group twice"),
        ("file,group\n", DatasetError, "found none; fill it in"),
        ("file,group\np1,\n", DatasetError, "found none; fill it in"),
        ("file,group\n,A\n", DatasetError, "line 2: expected a text for file"),
        ("file,group\np1,A\x1b[2J\n", DatasetError, "line 2: expected a text for group"),
        ("file,group\np1,A,B\n", DatasetError, "line 2: expected 2 fields, as the header has, got 3"),
        ("file,group\np1.png,A\np1.tif,B\n", DatasetError, "line 3: case p1 is of group B, and of A further up"),
        ('file,group\np1,"A\n', DatasetError, "close every quote"),
        ("file,group\np1,A\n", ConfigError, "names no group of 3 of 4 cases, such as p2, p3, p4"),
    ],
)
def test_what_are_no_groups(folds: Path, tmp_path: Path, text: str, error: type[AugpipeError], words: str) -> None:
    groups = write(tmp_path / "g.csv", text)
    with pytest.raises(error) as caught:
        split_check([folds], groups=groups)
    assert words in str(caught.value)
    assert str(groups) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_groups_that_cannot_be_joined(built: Path, folds: Path, tmp_path: Path) -> None:
    groups = write(tmp_path / "g.csv", CLEAN)
    with pytest.raises(ConfigError, match="a manifest has no cases"):
        split_check([built / "manifest.jsonl"], groups=groups)
    with pytest.raises(ConfigError, match="fold 0: has no patient_id; name the file of groups with --groups"):
        split_check([folds], column="patient_id")
    for path, words in ((tmp_path / "none", "found nothing"), (tmp_path, "name the CSV file in it")):
        with pytest.raises(ConfigError, match=words):
            split_check([folds], groups=path)
    (tmp_path / "g.csv").write_bytes(b"file,group\np1,\xff\n")
    with pytest.raises(DatasetError, match=r"expected text in UTF-8 .*: CSV with the columns file,group"):
        split_check([folds], groups=groups)


# The commands


def test_the_commands_take_groups(augpipe: Run, folds: Path, folders: dict[str, Path], tmp_path: Path) -> None:
    groups = write(tmp_path / "g.csv", "file,patient_id\np1,A\np2,B\np3,B\np4,A\n")
    result = augpipe("split-check", folds, "--groups", groups, "--column", "patient_id")
    assert result.code == 1
    assert result.out.startswith("LEAKAGE: 2 critical findings\n")
    write(groups, "file,group\na,A\nb,A\nd,A\n")
    named = ("--train", folders["train"], "--test", folders["test"], "--groups", groups)
    result = augpipe("audit", *named, "--allow-unknown")
    assert result.code == 1
    assert "M006   failed" in result.out
    result = augpipe("audit", tmp_path, "--groups", groups)
    assert result.code == 2
    assert "leave it out for a DATASET" in result.err
