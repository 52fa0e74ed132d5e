"""Groups of slices: from a CSV file or from names, recorded in the dataset, and held to by all that reads it again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_worlds import digests, edit_record, small_stack

from pipeline.audit.auditing import audit_dataset
from pipeline.errors import ConfigError
from pipeline.plan.grouping import Grouping, group_slices
from pipeline.source.combining import combine
from pipeline.source.stacks import RawStack, Source
from pipeline.source.tiff import write_stack

Run = Callable[..., Any]

PATIENTS = tuple("ababbbccccdd")
NAMES = tuple(f"{patient}-{z:02}" for z, patient in enumerate(PATIENTS))
SMALL = ("--independent", "--n", "12", "--size", "40x36", "--jobs", "1")
LINES = [f"{name},{patient}" for name, patient in zip(NAMES, PATIENTS, strict=True)]


def pages() -> Source:
    """Return the small stack as twelve files, whose names begin with their patient's."""
    return combine([RawStack(*small_stack(), names=NAMES)], name="x")


def by_file(path: Path, text: str, source: Source | None = None) -> Source:
    path.write_text(text, encoding="utf-8")
    return group_slices(source or pages(), Grouping(path, "", "--groups"))


def by_names(pattern: str) -> Source:
    return group_slices(pages(), Grouping(None, pattern, "--group-by"))


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(LINES),
        "\ufefffile;group\r\n" + "\r\n".join(reversed(LINES)).replace(",", ";"),
        "image,age,Group\n" + "\n".join(line.replace(",", ".tif,7,") for line in LINES) + "\nother.tif,8,e\n",
        "patient_id;file_name\n" + "\n".join(f"{name[0]};{name}_0000.nii.gz" for name in NAMES),
        "group\tfile\n" + "\n".join(f'{name[0]}\t"raw/{name}.png"' for name in NAMES),
        "slice,patient\n" + "\n".join(f"{z},{patient}" for z, patient in enumerate(PATIENTS)),
    ],
)
def test_a_file_names_groups_in_several_forms(tmp_path: Path, text: str) -> None:
    source = by_file(tmp_path / "g.csv", text)
    assert source.stacks[0].groups == PATIENTS
    assert source.notes[-1] == "groups: 4 of 2 to 4 slices; none is in two splits"


@pytest.mark.parametrize("pattern", ["^[a-d]", "^([a-d])-", "^(?:([a-d])|x)"])
def test_names_of_files_tell_groups(pattern: str) -> None:
    assert by_names(pattern).stacks[0].groups == PATIENTS


def test_a_file_of_several_slices_is_of_one_group(tmp_path: Path) -> None:
    images, labels = small_stack()
    parts = [RawStack(images[:5], labels[:5], names=("p",)), RawStack(images[5:], labels[5:], names=("q",))]
    source = by_file(tmp_path / "g.csv", "p.tif,1\nq.tif,1\n", combine(parts, name="x"))
    assert [stack.groups for stack in source.stacks] == [("1",) * 5, ("1",) * 7]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n".join(LINES[1:-1]), r"g.csv: no group for 2 of 12 slices, such as a-00; add a line for each"),
        ("x,a\n", r"g.csv: names 'x', and nothing that is in the source, such as .*; its columns are file,group"),
        ("ward,image\nA,a-00\n", r"names 'A', and nothing that is in the source"),
        ("\n".join([*LINES, "a-00.tif,b"]), r"line 13: a-00.tif is in the group b, and in a further up|the same file"),
        ("a-00,1,2\n", r"line 1: expected two columns, file-or-slice and group, .* got 3"),
        ("file,group\na-00\n", r"line 2: expected file-or-slice,group, got 'a-00'"),
        ("a-00,\n", r"line 1: expected a group's name of 1 to 80 characters, got ''"),
        ('a-00,"b\n', r"not CSV"),
        ("", r"no group for 12 of 12"),
    ],
)
def test_what_a_file_lacks_is_told(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        by_file(tmp_path / "g.csv", text)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("^a", "--group-by: no group for 10 of 12 slices, such as b-01; the expression must find something"),
        ("x*", "no group for 12 of 12"),
        ("(", "--group-by: expected a regular expression, such as .*, got '.'"),
    ],
)
def test_an_expression_that_does_not_fit_is_told(pattern: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        by_names(pattern)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two folders of pages, and a working directory."""
    for kind, stack in zip(("images", "labels"), small_stack(), strict=True):
        (tmp_path / "set" / kind).mkdir(parents=True)
        for name, pixels in zip(NAMES, stack, strict=True):
            write_stack(tmp_path / "set" / kind / f"{name}.tif", pixels[None])
    monkeypatch.chdir(tmp_path)
    return tmp_path / "set"


def test_a_dataset_keeps_its_groups_and_is_made_again_without_the_file(folders: Path, augpipe: Run) -> None:
    (folders.parent / "g.csv").write_text("\n".join(LINES))
    assert augpipe("build", folders, "--groups", "g.csv", "--out", "d", *SMALL).code == 0
    record = json.loads(Path("d/dataset.json").read_bytes())
    assert (record["schema"], record["inputs"][0]["groups"]) == ("augpipe/dataset/2", sorted(PATIENTS))
    assert record["split"]["slices"]["test"] == [{"stack": 0, "z": [10, 11]}]
    (folders.parent / "g.csv").unlink()
    folders.rename("moved")
    assert augpipe("verify", "d", "--replay", "--source", "moved").code == 0
    assert augpipe("rebuild", "d", "--source", "moved", "--out", "again").code == 0
    assert digests(Path("again")) == digests(Path("d"))
    assert "split        block, slices without neighbours, 4 groups, each in one split" in augpipe("show", "d").out
    assert augpipe("card", "d", "--source", "moved").code == 0
    said = "block: the last groups are held out; fields of view without neighbours; 4 groups, each of them in one split"
    assert said in Path("d/card/README.md").read_text(encoding="utf-8")
    report = audit_dataset(Path("d"), source_folder=Path("moved"), jobs=1)
    proven = "12 of 12 samples proven by rendering them again"
    assert report.verdict == f"CLEAN: no test sample shows tissue that was trained on; {proven}"


def test_groups_on_the_command_line_overrule_those_in_a_file(folders: Path, augpipe: Run) -> None:
    (folders.parent / "g.csv").write_text("\n".join(LINES))
    Path("set.toml").write_text('folder = "set"\ngroups = "g.csv"\nindependent = true\nn = 4\nsize = 20\n')
    from_file = augpipe("build", "--config", "set.toml", "--dry-run").out
    assert "groups: 4 of 2 to 4 slices" in from_file
    other = augpipe("build", "--config", "set.toml", "--group-by", "[0-9]", "--dry-run").out
    assert "groups: 2 of 2 to 10 slices" in other
    both = augpipe("build", "set", "--groups", "g.csv", "--group-by", "^.", "--dry-run")
    assert (both.code, both.err) == (2, "augpipe: --groups: --group-by says it, too; leave out one of them\n")
    assert augpipe("build", "set", "--groups", "no.csv", "--dry-run").code == 2


def test_an_audit_finds_a_group_that_is_in_two_splits(folders: Path, augpipe: Run) -> None:
    """As in a record that somebody edited."""
    assert augpipe("build", folders, "--group-by", "^.", "--out", "d", *SMALL).code == 0

    def move_a_slice(record: dict[str, Any]) -> None:
        slices = record["split"]["slices"]
        slices["test"][0]["z"] = [9, 10, 11]

    edit_record(Path("d"), move_a_slice)
    report = audit_dataset(Path("d"), manifest_only=True)
    (finding,) = [finding for finding in report.findings if finding.check == "M006"]
    assert (finding.other, finding.splits) == ("group c", ("train", "test"))
    assert "1 of 4 groups is in more than one split, such as group c" in finding.text
