"""Split files of three makes, ours and others': every fault is planted alone, and what is clean passes."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_worlds import build_small, read_rows, run_python, small_config, small_stack, write_rows

from pipeline.audit.report import CHECKS, AuditReport, Finding
from pipeline.audit.split_checks import split_check
from pipeline.build.builder import build_dataset
from pipeline.errors import AugpipeError, ConfigError, DatasetError
from pipeline.shards.digest import canonical_json
from pipeline.shards.manifest import sample_id
from pipeline.source.combining import make_source

CLEAN_GROUPS = "id,group,split\na,p1,train\nb,p1,train\nc,p2,val\nd,p3,test\n"
CLEAN_PLACES = "id,group,split,z\na,s1,train,0\nb,s1,train,1\nc,s1,test,5\nd,s2,test,1\n"
ROOT = Path(__file__).parents[4]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "splits"


def statuses(report: AuditReport) -> dict[str, str]:
    return {check.id: check.status for check in report.checks}


def found(report: AuditReport) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(finding.check, finding.severity, finding.splits) for finding in report.findings]


def only(report: AuditReport) -> Finding:
    (finding,) = report.findings
    assert finding.advice
    assert "\n" not in finding.text
    assert statuses(report)[finding.check] == "failed"
    assert report.exit_code == 1
    return finding


def check_text(path: Path, text: str, gap: int = 3) -> AuditReport:
    path.write_text(text, encoding="utf-8")
    return split_check([path], gap=gap)


# augpipe's manifest


def test_a_clean_manifest(built: Path) -> None:
    report = split_check([built / "manifest.jsonl"], gap=1)
    assert report.findings == ()
    assert report.exit_code == 0
    assert report.verdict == "CLEAN by its records alone: pixels were not checked; no groups could be checked"
    passed = {"M001", "M003", "M004", "M005"}
    assert statuses(report) == {name: "passed" if name in passed else "not applicable" for name in CHECKS}
    assert all(check.reason for check in report.checks if check.status == "not applicable")
    assert (report.n_samples, report.coverage.total) == ({"train": 9, "test": 3}, 12)


def test_neighbours_in_a_manifest(built: Path) -> None:
    finding = only(split_check([built / "manifest.jsonl"]))
    assert (finding.check, finding.severity, finding.measures) == ("M004", "error", {"distance": 2, "slices": 4})
    assert finding.text.startswith(f"{built / 'manifest.jsonl'}: stack 0: ")


def test_the_manifest_of_fields_of_view_has_no_neighbours(tmp_path: Path) -> None:
    """Only dataset.json says that they are; a manifest alone, or beside another's dataset.json, has neighbours."""
    build_small(tmp_path / "d", independent=True)
    report = split_check([tmp_path / "d" / "manifest.jsonl"], gap=3)
    assert report.findings == ()
    assert statuses(report)["M004"] == "not applicable"
    shutil.copy(tmp_path / "d" / "manifest.jsonl", tmp_path / "alone")
    assert only(split_check([tmp_path / "alone"], gap=3)).check == "M004"
    rows = read_rows(tmp_path / "d")
    write_rows(tmp_path / "d", rows[1:])
    assert only(split_check([tmp_path / "d" / "manifest.jsonl"], gap=3)).check == "M004"


def test_a_slice_in_two_splits_of_a_manifest(dataset: Path) -> None:
    rows = read_rows(dataset)
    last = rows[-1]
    last |= {"z": 3, "replicate": 99, "id": sample_id(0, 3, 99), "source_sha256": rows[3]["source_sha256"]}
    write_rows(dataset, rows)
    report = split_check([dataset / "manifest.jsonl"], gap=0)
    assert found(report) == [(name, "critical", ("train", "test")) for name in ("M005", "M003")]
    assert report.n_leaking == {"test": 1}
    assert report.verdict == "LEAKAGE: 1 of 3 test samples show tissue that was trained on"


@pytest.mark.parametrize("seed", range(4))
def test_rows_of_a_manifest_twice_in_whatever_order(dataset: Path, seed: int) -> None:
    """No name of a manifest is kept; what is kept tells in any order."""
    rows = read_rows(dataset)
    order = random.Random(seed)
    order.shuffle(rows)
    write_rows(dataset, rows)
    assert split_check([dataset / "manifest.jsonl"], gap=1).findings == ()
    twice = [rows[5], rows[-1], rows[5]]
    rows += twice
    order.shuffle(rows)
    write_rows(dataset, rows)
    finding = only(split_check([dataset / "manifest.jsonl"], gap=1))
    assert (finding.check, finding.severity) == ("M001", "error")
    assert finding.text.split(": ")[1].startswith("2 samples are in one split more than once, such as s000-")
    assert all(row["id"] in finding.text for row in twice)


def test_lost_sections_are_no_leak(tmp_path: Path) -> None:
    images, labels = small_stack()
    blank = images.copy()
    blank[[2, 10]] = 0
    build_dataset(make_source(blank, labels, name="blank"), small_config(), out=tmp_path / "d", jobs=1)
    assert split_check([tmp_path / "d" / "manifest.jsonl"], gap=1).findings == ()


# nnU-Net


def folds(*pairs: tuple[list[Any], list[Any]]) -> str:
    return json.dumps([{"train": train, "val": val} for train, val in pairs])


def test_clean_folds(path: Path) -> None:
    """A case may be in train of one fold and in val of another."""
    report = check_text(path, folds((["a", "b"], ["c"]), (["c", "b"], ["a"])))
    assert report.findings == ()
    assert (report.n_samples, report.n_leaking) == ({"train": 4, "val": 2}, {"val": 0})
    assert {name for name, status in statuses(report).items() if status == "passed"} == {"M001", "M003"}


def test_a_case_in_train_and_val_of_one_fold(path: Path) -> None:
    report = check_text(path, folds((["a", "b"], ["c"]), (["c", "b", "d"], ["b", "a", "c"])))
    finding = only(report)
    assert (finding.check, finding.severity, finding.splits) == ("M003", "critical", ("train", "val"))
    assert finding.text.startswith(f"{path}, fold 1: 2 of 4 cases are in more than one split, such as c (1 train, 1 v")
    assert finding.sample == "c"
    assert report.n_leaking == {"val": 2}


def test_a_case_twice_in_one_list(path: Path) -> None:
    finding = only(check_text(path, folds((["a", "b", "a"], ["c"]))))
    assert (finding.check, finding.severity, finding.sample) == ("M001", "error", "a")
    assert "fold 0: 1 sample is in one split more than once, such as a (train)" in finding.text


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("[]", ConfigError, "at least one fold"),
        ("[1]", ConfigError, "fold 0"),
        ('["TTTT..EE"]', ConfigError, "fold 0: expected"),
        ("[{}]", ConfigError, "fold 0"),
        ('[{"train": "a"}]', ConfigError, "fold 0"),
        ('[{"train": ["a"], "val": [null]}]', DatasetError, "got None"),
        ('[{"train": ["a"], "val": [{"image": "x"}]}]', DatasetError, "expected a case"),
        ('[{"train": ["a\\u001b[2J"], "val": ["b"]}]', DatasetError, "control characters"),
        ('[{"train": [], "val": []}]', DatasetError, "found none in any split"),
        ('[{"train": ["a"], "val": ["b"], "train": ["b"]}]', DatasetError, "twice in one object"),
        ('[{"train": ["a"], "val": ["b"]}', DatasetError, "in JSON"),
        ("[" * 100_000, DatasetError, "in JSON"),
    ],
)
def test_what_are_no_folds(path: Path, text: str, error: type[AugpipeError], words: str) -> None:
    with pytest.raises(error) as caught:
        check_text(path, text)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


# CSV


@pytest.mark.parametrize("text", [CLEAN_GROUPS, CLEAN_PLACES])
def test_clean_tables(path: Path, text: str) -> None:
    report = check_text(path, text)
    assert report.findings == ()
    assert report.exit_code == 0
    assert (statuses(report)["M004"] == "passed") == (text == CLEAN_PLACES)


def test_a_group_in_two_splits(path: Path) -> None:
    report = check_text(path, CLEAN_GROUPS + "e,p1,test\nf,p2,val\n")
    finding = only(report)
    assert (finding.check, finding.severity, finding.splits) == ("M005", "critical", ("train", "test"))
    assert "1 of 3 groups is in more than one split, such as group p1 (2 train, 1 test)" in finding.text
    assert report.n_leaking == {"val": 0, "test": 1}


def test_a_place_in_two_splits(path: Path) -> None:
    report = check_text(path, CLEAN_PLACES + "e,s1,train,5\n", gap=0)
    finding = only(report)
    assert (finding.check, finding.severity, finding.other) == ("M005", "critical", "group s1, z 5")


@pytest.mark.parametrize(
    ("z", "gap", "severity"), [("2", 3, "critical"), ("3", 3, "error"), ("4", 3, "error"), ("5", 3, None)]
)
def test_neighbours_in_a_group(path: Path, z: str, gap: int, severity: str | None) -> None:
    """Slice 1 is trained on; the one at z is tested on."""
    report = check_text(path, f"id,group,split,z\na,s1,train,1\nb,s1,test,{z}\nc,s2,test,1\n", gap)
    assert [finding.severity for finding in report.findings] == ([severity] if severity else [])
    assert all(finding.check == "M004" for finding in report.findings)


def test_places_need_not_be_whole_numbers(path: Path) -> None:
    report = check_text(path, "id,group,split,z\na,s1,train,1e1\nb,s1,test,12.5\n")
    assert only(report).measures == {"distance": 2.5, "slices": 2}


def test_an_id_twice(path: Path) -> None:
    finding = only(check_text(path, CLEAN_GROUPS + "a,p1,train\n"))
    assert (finding.check, finding.severity, finding.sample) == ("M001", "error", "a")


def test_an_id_in_two_splits(path: Path) -> None:
    """One sample in train and test is a leak, though its groups are said to be different ones."""
    finding = only(check_text(path, CLEAN_GROUPS + "a,p9,test\n"))
    assert (finding.check, finding.severity, finding.sample) == ("M003", "critical", "a")
    assert "1 of 4 samples is in more than one split" in finding.text


@pytest.mark.parametrize(
    ("here", "there"),
    [("train", "Training"), ("VAL", " valid "), ("validation", "dev"), ("test", "TESTING"), ("fold A", "fold A ")],
)
def test_names_of_the_same_split(path: Path, here: str, there: str) -> None:
    report = check_text(path, f"id,group,split\na,p1,{here}\nb,p1,{there}\n")
    assert report.findings == ()
    assert len(report.n_samples) == 1


@pytest.mark.parametrize(("here", "there"), [("train", "dev"), ("fold A", "fold B"), ("val", "test"), ("0", "1")])
def test_names_of_different_splits(path: Path, here: str, there: str) -> None:
    assert only(check_text(path, f"id,group,split\na,p1,{here}\nb,p1,{there}\n")).check == "M005"


def test_unused_is_no_split(path: Path) -> None:
    report = check_text(path, CLEAN_PLACES + "e,s1,unused,2\nf,s1,Unused,4\n")
    assert report.findings == ()
    assert report.coverage.total == 4


@pytest.mark.parametrize("indent", [None, 2])
def test_files_that_a_split_names(path: Path, indent: int | None) -> None:
    """As an audit writes them, and as somebody may write them by hand."""
    clean = {"train": ["a.png", "b.png"], "test": ["c.png"], "moved": [{"file": "b.png"}]}
    report = check_text(path, json.dumps(clean, indent=indent))
    assert (report.findings, report.n_samples) == ((), {"train": 2, "test": 1})
    finding = only(check_text(path, json.dumps({"moved": [], "train": ["a.png", "b.png"], "test": ["b.png"]})))
    assert (finding.check, finding.splits) == ("M003", ("train", "test"))
    assert "1 of 2 files is in more than one split, such as b.png (1 train, 1 test)" in finding.text
    groups = path.with_suffix(".csv")
    groups.write_text("file,group\na,A\nb,B\nc,B\n")
    path.write_text(json.dumps(clean))
    assert only(split_check([path], groups=groups)).check == "M006"


def test_cases_that_are_unused_are_in_no_fold(path: Path) -> None:
    report = check_text(path, json.dumps([{"train": ["a"], "val": ["b"], "unused": ["a", "c"]}]))
    assert report.findings == ()
    assert report.n_samples == {"train": 1, "val": 1}


def test_one_split_alone_proves_nothing(path: Path) -> None:
    """What cannot fail was not checked."""
    report = check_text(path, "id,group,split,z\na,p1,train,0\nb,p1,train,1\n")
    assert statuses(report) == {name: "passed" if name == "M001" else "not applicable" for name in CHECKS}


@pytest.mark.parametrize(
    "text",
    [
        CLEAN_GROUPS.replace(",", ";"),
        CLEAN_GROUPS.replace(",", "\t"),
        CLEAN_GROUPS.replace("\n", "\r\n"),
        "\ufeff" + CLEAN_GROUPS,
        CLEAN_GROUPS.replace("id,group,split", "ID, Group ,SPLIT"),
        CLEAN_GROUPS.replace("id,group,split", '"id","group","split"'),
        "\n" + CLEAN_GROUPS.replace("\n", "\n\n") + ",,\n",
        "note,split,id,group\n" + "".join(f'"x, {k}",{split},{k},{k}\n' for k, split in enumerate(("train", "test"))),
    ],
)
def test_other_ways_to_write_the_same(path: Path, text: str) -> None:
    """Each has as many groups as splits; with the last group moved to the first split's name, a fault is found."""
    assert check_text(path, text).findings == ()
    moved = text.replace("p3", "p1") if "p3" in text else text.replace("1,1\n", "1,0\n")
    assert moved != text
    assert only(check_text(path, moved)).check == "M005"


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("", ConfigError, "id and group and split missing, found nothing"),
        ("\n\n", ConfigError, "found nothing"),
        ("id,gruop,split\n", ConfigError, "did you mean group by 'gruop'?"),
        ("id,patient,fraction\n", ConfigError, "split missing, found 'id', 'patient', 'fraction'"),
        ("patient_id,set,patient_id\n", ConfigError, "names patient_id twice"),
        ("a,p1,train\nb,p2,test\n", ConfigError, "id and group and split missing"),
        ("id,group,split,group\n", ConfigError, "names group twice"),
        ("id,group,split\n", DatasetError, "found none in any split"),
        (CLEAN_GROUPS + "e,p4\n", DatasetError, "line 6: expected 3 fields, as the header has, got 2"),
        (CLEAN_GROUPS + "e,p4,te,st\n", DatasetError, "line 6: expected 3 fields, as the header has, got 4"),
        (CLEAN_GROUPS + ",p4,test\n", DatasetError, "line 6: expected a text for id, got ''"),
        (CLEAN_GROUPS + "e, ,test\n", DatasetError, "line 6: expected a text for group, got ' '"),
        (CLEAN_GROUPS + "e,p4,\n", DatasetError, "line 6: expected a text for split"),
        (CLEAN_GROUPS + "e\x1b[2J,p4,test\n", DatasetError, "line 6: expected a text for id"),
        (CLEAN_GROUPS + 'e,"p4,test\n', DatasetError, "close every quote"),
        (CLEAN_GROUPS + f"e,{'p' * 200_000},test\n", DatasetError, "not CSV (field larger"),
        (CLEAN_PLACES + "e,s1,test,\n", DatasetError, "line 6: expected a number for z, got ''"),
        (CLEAN_PLACES + "e,s1,test,top\n", DatasetError, "expected a number for z, got 'top'"),
        (CLEAN_PLACES + "e,s1,test,nan\n", DatasetError, "expected a number for z, got 'nan'"),
        (CLEAN_PLACES + "e,s1,test,-inf\n", DatasetError, "expected a number for z"),
        (CLEAN_PLACES + f"e,s1,test,{'9' * 400}\n", DatasetError, "expected a number for z"),
        (CLEAN_PLACES + f"e,s1,test,{'9' * 5000}\n", DatasetError, "expected a number for z"),
        ('{"folds": {"train": ["a"], "val": ["b"]}}', DatasetError, "line 1: not a sample"),
        ('{"train": [0, 1], "val": [3]}', ConfigError, "expected names of files"),
        ('{"train": "all"}', ConfigError, "expected names of files"),
        ('{"moved": []}', ConfigError, 'expected {"train": [case, ...]'),
        ('{"train":\n["a"]', DatasetError, "expected a split file in JSON"),
        ('{"train": ["a"]}\n{"train": ["b"]}', DatasetError, "expected a split file in JSON"),
        ('{"train": ["a"], "train": ["b"]}', DatasetError, "a name is there twice"),
    ],
)
def test_what_is_no_split_file(path: Path, text: str, error: type[AugpipeError], words: str) -> None:
    with pytest.raises(error) as caught:
        check_text(path, text)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"id,group,split\na,\xff,train\n", b"\x89HDF\r\n\x1a\n"])
def test_what_is_no_text(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"expected text in UTF-8 .*nnU-Net's splits_final.json"):
        split_check([path])


def test_a_manifest_cut_short(dataset: Path) -> None:
    path = dataset / "manifest.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DatasetError, match="line 12: not a sample"):
        split_check([path])


def test_paths_that_are_no_files(tmp_path: Path, built: Path) -> None:
    for path, words in ((tmp_path / "none", "found nothing"), (built, "name the manifest.jsonl in it")):
        with pytest.raises(ConfigError, match=words):
            split_check([path])


def test_no_files() -> None:
    with pytest.raises(ConfigError, match="at least one file"):
        split_check([])


def test_a_gap_that_is_no_number_of_slices(path: Path) -> None:
    with pytest.raises(ConfigError, match="gap: expected 0 or more"):
        check_text(path, CLEAN_GROUPS, gap=-1)


# All of them


def test_every_file_is_checked_on_its_own(tmp_path: Path, built: Path) -> None:
    """Each is told by its content, whatever it is called; the same name in two files is not the same sample."""
    files = {
        "a.json": CLEAN_GROUPS,
        "b.csv": folds((["a", "p1"], ["c"])),
        "c.txt": "id,group,split\na,p1,test\nb,p2,train\nc,p2,test\n",
        "d.csv": (built / "manifest.jsonl").read_text(encoding="utf-8"),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    report = split_check([tmp_path / name for name in files], gap=1)
    assert only(report).text.startswith(f"{tmp_path / 'c.txt'}: 1 of 2 groups")
    assert report.subject == ", ".join(str(tmp_path / name) for name in files)
    assert report.n_samples == {"train": 2 + 2 + 1 + 9, "val": 1 + 1, "test": 1 + 2 + 3}
    assert statuses(report)["M004"] == "passed"


def test_the_report_is_canonical_json(path: Path) -> None:
    report = check_text(path, CLEAN_PLACES + "e,s1,train,4\n").to_json()
    assert json.loads(canonical_json(report)) == report
    assert (report["exit_code"], report["counts"]) == (1, {"critical": 1, "error": 0, "warning": 0})


NAMES, SPLIT_NAMES = st.sampled_from("abcdefgh"), st.sampled_from(["train", "dev", "x"])
ROWS = st.lists(st.tuples(NAMES, st.sampled_from("pq"), SPLIT_NAMES, st.integers(0, 9)), min_size=1, max_size=12)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, order=st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(path: Path, rows: list[Any], order: random.Random) -> None:
    def key(report: AuditReport) -> list[Any]:
        return sorted(
            (each.check, each.severity, each.splits, sorted(each.measures.items())) for each in report.findings
        )

    def text(rows: list[Any]) -> str:
        return "id,group,split,z\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)

    first = key(check_text(path, text(rows)))
    order.shuffle(rows)
    assert key(check_text(path, text(rows))) == first


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=80), beginning=st.sampled_from([b"", b"id,group,split,z\n", b"[", b'[{"train":', b"{"]))
def test_no_file_makes_a_traceback(path: Path, data: bytes, beginning: bytes) -> None:
    path.write_bytes(beginning + data)
    try:
        report = split_check([path])
    except AugpipeError as error:
        assert str(path) in str(error)  # noqa: PT017  # most are refused, a few are split files
    else:
        assert report.coverage.total > 0


def test_a_split_file_is_checked_without_the_compiler(path: Path) -> None:
    """It needs no rendering and no features, so it starts at once."""
    path.write_text(CLEAN_GROUPS, encoding="utf-8")
    code = (
        "import sys; from pipeline.audit.split_checks import split_check; split_check([sys.argv[1]]); "
        "print(sorted({'numba', 'scipy', 'cv2', 'joblib'} & set(sys.modules)))"
    )
    assert run_python(code, str(path), cwd=ROOT).stdout == "[]\n"
