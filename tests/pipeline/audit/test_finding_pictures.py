"""A finding's picture shows both sides as they were matched, with the matched places where they are."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folder_worlds import picture, random_split, tissue, write_pictures_of
from PIL import Image, ImageColor

from pipeline.audit.auditing import audit_folders
from pipeline.audit.finding_pictures import PairSide, draw_pair, write_pictures
from pipeline.audit.report import AuditReport, Finding
from pipeline.audit.samples.audited_samples import AuditedSample, AuditedSamples
from pipeline.audit.samples.image_folders import read_folders
from pipeline.audit.search.registration import NO_MATCH, Match
from pipeline.audit.search.slice_identification import SliceIdentifier
from pipeline.errors import StorageError
from pipeline.look.contact_sheet import SPLIT_COLOURS, WIDTH_PX, Chip
from pipeline.look.panels import OUTLINE_COLOURS
from pipeline.plan.split import SliceAddress

LEFT_X, RIGHT_X, TOP_Y, SIDE_PX = 24, 608, 122, 568  # where the two pictures are on a sheet
CHIP_YX = (92, 28)  # a pixel of the left picture's chip, beside its word


def shows(sheet: np.ndarray, colour: str, y: float, x: float) -> bool:
    """Return whether a colour is within two pixels of a place."""
    near = sheet[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3].astype(int)
    return bool((np.abs(near - ImageColor.getrgb(colour)).max(axis=-1) < 30).any())


def opened(path: Path) -> np.ndarray:
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        assert sheet.info == {}, "no times, no paths"
        return np.array(sheet.convert("RGB"))


# The sheet


def test_matched_places_are_drawn_where_they_are() -> None:
    """A place right of the middle, and one below it; the right picture is smaller, in pixels, and lies on its side."""
    here, there = np.array([[90, 30], [50, 50]], np.float32), np.array([[10, 40], [25, 25]], np.float32)
    found = Match(here, there, np.eye(2, 3))
    shapes = (61, 101), (51, 31)
    sides = [PairSide(Chip("#000000", "test"), np.full(shape, 40, np.uint8)) for shape in shapes]
    sheet = np.array(draw_pair(Chip("#000000", "P007"), "facts", *sides, found))
    assert sheet.shape == (TOP_Y + SIDE_PX + 24, WIDTH_PX, 3)
    right_of, below = OUTLINE_COLOURS[4], OUTLINE_COLOURS[6]
    for colour, (left_x, left_y), (right_x, right_y) in zip((right_of, below), here + 0.5, there + 0.5, strict=True):
        assert shows(sheet, colour, TOP_Y + left_y * SIDE_PX / 101, LEFT_X + left_x * SIDE_PX / 101)
        assert shows(sheet, colour, TOP_Y + right_y * SIDE_PX / 51, RIGHT_X + right_x * SIDE_PX / 51)
    gap_x = (LEFT_X + SIDE_PX + RIGHT_X) // 2
    assert any(shows(sheet, right_of, y, gap_x) for y in range(TOP_Y + 2, TOP_Y + SIDE_PX)), "a line joins the two"


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 4000), (np.float32, 1.0)])
def test_pictures_of_any_depth_and_shape_are_shown(dtype: Any, top: float) -> None:
    ramp = (np.linspace(0, 1, 200)[None] * np.ones((80, 1)) * top).astype(dtype)
    left, right = (PairSide(Chip("#000000", "test"), image) for image in (ramp, ramp.T))
    sheet = np.array(draw_pair(Chip("#000000", "P001"), "", left, right, NO_MATCH))
    assert sheet.shape[0] == TOP_Y + SIDE_PX + 24
    assert sheet[TOP_Y + 50, LEFT_X + 2].max() < 10
    assert sheet[TOP_Y + 50, LEFT_X + SIDE_PX - 3].min() > 245
    assert (sheet[TOP_Y + 300, LEFT_X + 10] == 255).all(), "a low picture leaves paper below it"
    assert sheet[TOP_Y + SIDE_PX - 3, RIGHT_X + 20].min() > 245


def test_many_matches_are_not_all_joined() -> None:
    places = np.random.default_rng(0).uniform(0, 100, (400, 2)).astype(np.float32)
    sides = [PairSide(Chip("#000000", "test"), np.zeros((101, 101), np.uint8))] * 2
    sheet = np.array(draw_pair(Chip("#000000", "P007"), "", *sides, Match(places, places, np.eye(2, 3))))
    gap = sheet[TOP_Y : TOP_Y + SIDE_PX, LEFT_X + SIDE_PX + 8]
    touched = (gap != 255).any(axis=-1)
    assert 20 < int((touched[1:] & ~touched[:-1]).sum()) <= 40


# The files


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[AuditedSamples, AuditReport]:
    """A random split, an exact copy in it, and what its pixels tell without a source."""
    folders = random_split(tmp_path_factory.mktemp("leaky"))
    train = next(folders["train"].iterdir()).name
    with Image.open(folders["train"] / train) as copied:
        write_pictures_of(folders["test"], {"copy.png": np.array(copied)})
    return read_folders(folders), audit_folders(folders, jobs=2)


def report_of(report: AuditReport, *findings: Finding) -> AuditReport:
    return replace(report, findings=findings)


def slices_of(images: np.ndarray, labels: np.ndarray | None = None) -> SliceIdentifier:
    return SliceIdentifier([images], None if labels is None else [labels], independent=False, gap=3)


def file_names(paths: Sequence[Path]) -> list[str]:
    return [path.name for path in paths]


def test_each_of_the_worst_has_a_picture(world: tuple[AuditedSamples, AuditReport], tmp_path: Path) -> None:
    audited, report = world
    findings = [*(each for each in report.findings if each.check == "P001"), *report.findings[:2]]
    paths = write_pictures(tmp_path / "new" / "folder", report_of(report, *findings), audited)
    assert file_names(paths) == [
        f"{rank:02}-{finding.check}-{str(finding.sample).removesuffix('.png')}.png"
        for rank, finding in enumerate(findings, start=1)
    ]
    assert {name[3:7] for name in file_names(paths)} == {"P001", "P007"}
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == sorted(file_names(paths))
    for path in paths:
        sheet = opened(path)
        assert sheet.shape == (TOP_Y + SIDE_PX + 24, WIDTH_PX, 3)
        assert shows(sheet, SPLIT_COLOURS["test"], *CHIP_YX)
        assert shows(sheet, SPLIT_COLOURS["train"], CHIP_YX[0], CHIP_YX[1] + RIGHT_X - LEFT_X)


def test_only_as_many_as_wanted_are_written_and_always_the_same(
    world: tuple[AuditedSamples, AuditReport], tmp_path: Path
) -> None:
    audited, report = world
    (tmp_path / "kept.txt").write_text("x")
    first = write_pictures(tmp_path, report, audited, worst=2)
    before = [path.read_bytes() for path in first]
    first[0].write_bytes(b"an older picture")
    second = write_pictures(tmp_path, report, audited, worst=2)
    assert len(first) == 2
    assert [path.read_bytes() for path in second] == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["kept.txt", *file_names(first)])
    assert write_pictures(tmp_path / "none", report, audited, worst=0) == []
    assert not (tmp_path / "none").exists()


def test_a_folder_that_cannot_be_is_told(world: tuple[AuditedSamples, AuditReport], tmp_path: Path) -> None:
    audited, report = world
    (tmp_path / "taken").write_text("x")
    with pytest.raises(StorageError, match="taken: cannot be written"):
        write_pictures(tmp_path / "taken", report, audited)


# Which pictures


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Chip, str, PairSide, PairSide, Match]]:
    """What was drawn: title, facts, both sides and their match."""
    sheets: list[Any] = []

    def draw(*parts: Any) -> Image.Image:
        sheets.append(parts)
        return draw_pair(*parts)

    monkeypatch.setattr("pipeline.audit.finding_pictures.draw_pair", draw)
    return sheets


def one_sample(name: str = "s", split: str = "test", label: np.ndarray | None = None) -> AuditedSamples:
    """Return an audit whose one sample shows slice 1."""
    read_label = None if label is None else lambda: label
    sample = AuditedSample(name, split, SliceAddress(0, 1), lambda: picture(1, 0), read_label)
    return AuditedSamples("x", (sample,), {})


@pytest.fixture(scope="module")
def measures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an audit measures of a sample that shows slice 1, which train uses."""
    folder = tmp_path_factory.mktemp("one")
    train = write_pictures_of(folder / "train", {"s1.png": picture(1, 1)})
    test = write_pictures_of(folder / "test", {"s1.png": picture(1, 0)})
    images, _ = tissue()
    report = audit_folders({"train": train, "test": test}, [images[:3]], jobs=2)
    [found] = [finding.measures for finding in report.findings if finding.check == "P002"]
    return dict(found)


@pytest.mark.parametrize("check", ["P002", "P003", "P006"])
def test_a_sample_is_shown_beside_its_slice(
    world: tuple[AuditedSamples, AuditReport], measures: dict[str, Any], tmp_path: Path, drawn: list[Any], check: str
) -> None:
    images, labels = tissue()
    splits = ("test",) if check == "P006" else ("train", "test")
    finding = Finding(check, "error", "x", sample="s", other="stack 0, z 1", splits=splits, measures=measures)
    label = (np.indices((256, 256)).sum(axis=0) > 256).astype(np.uint8)
    [path] = write_pictures(tmp_path, report_of(world[1], finding), one_sample(label=label), slices_of(images, labels))
    [(title, facts, left, right, found)] = drawn
    assert path.name == f"01-{check}-s.png"
    assert (title.word, title.text) == (check, "x")
    assert facts.startswith(f"{' - '.join(splits)}  ·  {measures['inliers']} inliers")
    mirrored = bool(measures["mirrored"])
    assert (left.image == (picture(1, 0)[:, ::-1] if mirrored else picture(1, 0))).all()
    assert (right.image == images[1]).all()
    assert left.chip.text == ("s, mirrored" if mirrored else "s")
    assert right.chip.word == ("slice" if check == "P006" else "train")
    assert found.inliers == measures["inliers"]
    if check == "P006":
        assert (left.label == (label[:, ::-1] if mirrored else label)).all()
        assert (right.label == labels[1]).all()
        y, x = np.array([32.5, 30.5 if mirrored else 225.5]) * SIDE_PX / 256  # a pixel where the label begins
        assert shows(opened(path), OUTLINE_COLOURS[0], TOP_Y + y, LEFT_X + x)
    else:
        assert left.label is right.label is None


@pytest.mark.parametrize("mirrored", [False, True])
def test_siblings_are_mirrored_as_they_were_found(
    world: tuple[AuditedSamples, AuditReport], tmp_path: Path, drawn: list[Any], mirrored: bool
) -> None:
    audited, report = world
    finding = next(each for each in report.findings if each.measures.get("mirrored") is mirrored)
    write_pictures(tmp_path, report_of(report, finding), audited)
    [(_, _, left, right, found)] = drawn
    shown = {(sample.name, sample.split): sample.image() for sample in audited.samples}
    own, other = shown[finding.sample, "test"], shown[finding.other, "train"]
    assert (left.image == (own[:, ::-1] if mirrored else own)).all()
    assert (right.image == other).all()
    assert left.chip.text == f"{finding.sample}{', mirrored' * mirrored}"
    assert found.inliers == finding.measures["inliers"]


def test_slices_that_are_the_same_are_turned_to_match(
    world: tuple[AuditedSamples, AuditReport], tmp_path: Path, drawn: list[Any]
) -> None:
    images = np.stack([tissue()[0][0], tissue()[0][0].T])
    names = {"sample": "stack 0, z 0", "other": "stack 0, z 1"}
    exact = Finding("S001", "critical", "x", **names, splits=("train", "test"), measures={"exact": True})
    alone = replace(exact, severity="warning", splits=())
    paths = write_pictures(tmp_path, report_of(world[1], exact, alone), one_sample(), slices_of(images))
    assert file_names(paths) == ["01-S001-stack-0-z-0.png", "02-S001-stack-0-z-0.png"]
    for (_, _, left, right, found), words in zip(drawn, (("train", "test"), ("slice", "slice")), strict=True):
        assert (left.chip.word, right.chip.word) == words
        assert left.chip.text == "stack 0, z 0, mirrored"
        assert found.inliers > 100


def test_findings_without_two_pictures_are_passed_over(
    world: tuple[AuditedSamples, AuditReport], tmp_path: Path
) -> None:
    images, _ = tissue()
    slice_name = "stack 0, z 1"
    findings = [
        Finding("M002", "error", "x", sample="s"),
        Finding("P004", "critical", "x", other=slice_name, splits=("train", "test")),
        Finding("P005", "error", "x", sample="s", splits=("test",)),
        Finding("P006", "error", "x", sample="s", other=None, splits=("test",)),
        Finding("P002", "critical", "x", sample="gone", other=slice_name, splits=("train", "test")),
        Finding("P002", "critical", "x", sample="s", other="stack 7, z 1", splits=("train", "test")),
        Finding("P002", "critical", "x", sample="s", other=slice_name, splits=("train", "test")),
    ]
    report = report_of(world[1], *findings)
    assert file_names(write_pictures(tmp_path, report, one_sample(), slices_of(images), worst=1)) == ["07-P002-s.png"]
    assert write_pictures(tmp_path, report, one_sample()) == [], "no stacks, no slices"


@pytest.mark.parametrize("name", ["../../up", "/etc/passwd", "a\nb\x1b[2J", "\udcff", "long " * 100, "x#3"])
def test_names_stay_inside_the_folder_and_on_one_line(
    world: tuple[AuditedSamples, AuditReport], tmp_path: Path, drawn: list[Any], name: str
) -> None:
    images, _ = tissue()
    finding = Finding("P002", "critical", f"{name} leaks", sample=name, other="stack 0, z 1", splits=("train", "test"))
    [path] = write_pictures(tmp_path / "p", report_of(world[1], finding), one_sample(name), slices_of(images))
    assert path.parent == tmp_path / "p"
    assert list(path.parent.iterdir()) == [path]
    assert path.name.startswith("01-P002-")
    assert path.name.isascii()
    [(title, facts, left, _, _)] = drawn
    assert (title.text + facts + left.chip.text).isprintable()
    assert len(left.chip.text) < 60


def test_small_samples_are_looked_at_closely(
    world: tuple[AuditedSamples, AuditReport], tmp_path: Path, drawn: list[Any]
) -> None:
    images, _ = tissue()
    crop = np.ascontiguousarray(images[1][100:170, 120:190])
    audited = AuditedSamples("x", (AuditedSample("s", "test", None, lambda: crop),), {})
    finding = Finding("P002", "critical", "x", sample="s", other="stack 0, z 1", splits=("train", "test"))
    write_pictures(tmp_path, report_of(world[1], finding), audited, slices_of(images))
    [(*_, found)] = drawn
    assert found.inliers >= 10
    assert np.abs(found.other_points - found.sample_points - (120, 100)).max() < 8
