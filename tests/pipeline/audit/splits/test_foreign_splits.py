"""Splits as others write them: case names with endings and channels, columns of other names, MONAI's lists, pickles."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.audit.report import AuditReport
from pipeline.audit.split_checks import split_check
from pipeline.errors import ConfigError
from pipeline.plan.case_names import case_keys

Run = Callable[..., Any]


def check(path: Path, content: Any, **options: Any) -> AuditReport:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return split_check([path], **options)


def found(report: AuditReport) -> list[str]:
    return [finding.check for finding in report.findings]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "splits"


# The names of cases


@pytest.mark.parametrize(
    ("train", "val", "same"),
    [
        ("p1", "p1.nii.gz", True),
        ("p1.nii.gz", "p1_0000.nii.gz", True),
        ("p1_0001", "p1", True),
        ("imagesTr/p1_0000.nii.gz", "imagesTr\\p1.nii.gz", True),
        ("img_0001.png", "img_0002.png", False),
        ("img_0007_0000.nii.gz", "img_0003", False),
        ("train/1.png", "val/1.png", False),
        ("s.tif#0", "s.tif#1", False),
        ("patient1.2", "patient1.3", False),
    ],
)
def test_one_case_by_two_names_in_two_splits(path: Path, train: str, val: str, same: bool) -> None:
    report = check(path, [{"train": [train, "other"], "val": [val]}])
    assert found(report) == (["M003"] if same else [])
    assert report.n_leaking == {"val": int(same)}
    if same:
        assert report.findings[0].text.endswith(f", as {train} and {val} (1 train, 1 val)")


def test_names_of_one_case_in_one_split_are_no_fault(path: Path) -> None:
    """A table may list the image and its label, or every channel."""
    assert found(check(path, [{"train": ["p1_0000.nii.gz", "p1_0001.nii.gz", "p1"], "val": ["p2"]}])) == []


def test_the_order_of_names_does_not_matter() -> None:
    names = ["a/p1_0000.nii.gz", "a/p1.nii.gz", "p1", "./p1_0001", "b.tif"]
    keys = {"a/p1_0000.nii.gz": "a/p1", "a/p1.nii.gz": "a/p1", "p1": "p1", "./p1_0001": "p1", "b.tif": "b"}
    assert case_keys(names) == case_keys(names[::-1]) == keys


def test_a_patient_in_train_and_val_of_a_fold_by_the_table_beside_it(augpipe: Run, path: Path, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("filename,age,patient_id\npat08_a.nii.gz,9,8\npat08_b_0000.nii.gz,9,8\nq,1,1\n")
    path.write_text(json.dumps([{"train": ["pat08_a", "q"], "val": ["pat08_b"]}]), encoding="utf-8")
    for column in ((), ("--column", "patient_id")):
        code, out, _ = augpipe("split-check", path, "--groups", tmp_path / "table.csv", *column)
        assert code == 1
        assert out.startswith("LEAKAGE: 1 critical finding\n")
        assert "such as patient_id 8 (1 train, 1 val)" in out


# Tables


@pytest.mark.parametrize(
    "text",
    [
        "file,patient_id,set\na,p1,train\nb,p2,val\nc,p1,val\n",
        "Image_ID;Subject;Fold\na;p1;0\nb;p2;1\nc;p1;1\n",
        "patient_id,set\np1,train\np2,val\np1,val\n",
        "filename,patient_id,split,fold\na,p1,train,0\nb,p2,train,1\nc,p1,train,1\nd,p3,test,\n",
        "id,group,patient_id,split\na,w1,p1,train\nb,w2,p2,val\nc,w3,p1,val\n",
        "id,group,split,z\na,s1,train,0\nb,s1,val,0\n",
    ],
)
def test_a_patient_in_two_splits_of_a_table(path: Path, text: str) -> None:
    assert "M005" in found(check(path, text))
    clean = text.replace("p1,val\n", "p2,val\n").replace("p1;1", "p2;1").replace("p1,train,1", "p2,train,1")
    report = check(path, clean.replace("s1,val,0", "s2,val,0"))
    assert (found(report), report.exit_code) == ([], 0)


def test_columns_can_be_named(augpipe: Run, path: Path) -> None:
    path.write_text("id,group,Ward,part\na,1,x,A\nb,2,x,B\n", encoding="utf-8")
    code, _, err = augpipe("split-check", path)
    assert code == 2
    assert "split missing" in err
    assert "--split-column" in err
    assert augpipe("split-check", path, "--split-column", "part").code == 0
    assert augpipe("split-check", path, "--split-column", "part", "--column", "ward").code == 1
    code, _, err = augpipe("split-check", path, "--split-column", "part", "--column", "none")
    assert code == 2
    assert "none missing" in err


def test_a_table_without_groups_is_not_clean(path: Path) -> None:
    report = check(path, "file,set\na,train\nb,test\n")
    assert (report.verdict, report.exit_code) == ("NOT PROVEN: no group in two splits could be checked", 3)
    assert found(check(path, "file,set\na.png,train\na.tif,test\n")) == ["M003"]


# MONAI's lists


def entries(**folds_of: int | None) -> list[dict[str, Any]]:
    """Return the entries of a data list: for each image, its fold."""
    return [
        {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz", "patient_id": name[0]}
        | ({} if fold is None else {"fold": fold})
        for name, fold in folds_of.items()
    ]


@pytest.mark.parametrize("beside", [{}, {"name": "Heart", "labels": {"0": "background"}, "numTraining": 2}])
def test_a_list_of_monais(path: Path, beside: dict[str, Any]) -> None:
    """Beside the lists there may be anything, as in dataset.json of the Medical Segmentation Decathlon."""
    clean = {**beside, "training": entries(a1=None, a2=None), "validation": entries(b1=None), "test": []}
    report = check(path, clean)
    assert (report.n_samples, report.verdict[:5], found(report)) == ({"train": 2, "val": 1}, "CLEAN", [])
    report = check(path, {**clean, "testing": entries(a3=None)})
    assert (found(report), report.n_leaking) == (["M005"], {"val": 0, "test": 1})
    report = check(path, {**beside, "training": entries(a1=None), "test": ["./imagesTr/a1.nii.gz"]})
    assert (found(report), report.n_leaking) == (["M003"], {"test": 1})


def test_the_folds_of_a_list_validate_one_after_another(path: Path) -> None:
    report = check(path, {"training": entries(a1=0, b1=1, a2=1), "testing": entries(c1=None)})
    assert found(report) == ["M005", "M005"]
    assert {finding.splits for finding in report.findings} == {("train", "val")}
    assert report.findings[0].text.startswith(f"{path}, fold 0: 1 of 3 groups is in more than one split")
    assert found(check(path, {"training": entries(a1=0, b1=1, a2=0), "testing": entries(c1=None)})) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"training": [{"image": "a"}, 3], "test": []}, "training 1: expected an entry such as"),
        ({"training": [{"image": "a"}], "test": "b"}, "test: expected a list"),
        ({"training": [{"image": "a"}], "test": [{"image": "b"}]}, "not every entry has ward"),
    ],
)
def test_what_is_no_list_of_monais(path: Path, content: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check(path, content, column="ward")


# Pickles


class Trap:
    """Leaves a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ["splits_final.pkl", "splits"])
def test_a_pickle_is_refused_by_name_and_never_opened(
    augpipe: Run, tmp_path: Path, folder: Path, protocol: int, name: str
) -> None:
    path, trace = tmp_path / name, tmp_path / "trace"
    path.write_bytes(pickle.dumps([{"train": ["a"], "val": [Trap(trace)]}], protocol=protocol))
    commands = (("split-check", path), ("build", folder, "--split-file", path, "--out", tmp_path / "d"))
    for command in commands:
        code, _, err = augpipe(*command)
        assert code == 2
        assert f"{path}: is a pickle, as nnU-Net v1 writes its folds" in err
        assert "splits_final.json" in err
    assert not trace.exists()
