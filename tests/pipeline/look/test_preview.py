"""A preview shows samples of every split, also without the source, and never touches the dataset."""

import errno
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageColor
from small_worlds import (
    build_small,
    count_calls,
    digests,
    edit_record,
    names,
    read_rows,
    small_config,
    small_stack,
    write_folder,
    write_rows,
)

from augment.ranges import AugmentRanges
from pipeline.build.builder import build_dataset
from pipeline.errors import ConfigError, DatasetError, StorageError
from pipeline.look.contact_sheet import SPLIT_COLOURS, WIDTH_PX, Chip, SheetRow, draw_sheet
from pipeline.look.panels import OUTLINE_COLOURS
from pipeline.look.preview import preview_dataset, spread_rows
from pipeline.source.combining import make_source
from pipeline.verify.verification import verify_dataset

Sheets = list[tuple[str, str, Any, list[SheetRow]]]


@pytest.fixture
def sheets(monkeypatch: pytest.MonkeyPatch) -> Sheets:
    """What was drawn: title, summary, legend and rows of each sheet."""
    drawn: Sheets = []

    def draw(*parts: Any) -> Image.Image:
        drawn.append(parts)
        return draw_sheet(*parts)

    monkeypatch.setattr("pipeline.look.preview.draw_sheet", draw)
    return drawn


def forget_source(dataset: Path) -> None:
    (dataset / "build-info.json").unlink()


def runs(column: np.ndarray, colour: str) -> int:
    """Return how many times a column of pixels enters a colour."""
    inside = (np.abs(column.astype(int) - ImageColor.getrgb(colour)) <= 8).all(axis=1)
    return int(inside[0]) + int((inside[1:] & ~inside[:-1]).sum())


@pytest.mark.parametrize("per_split", [1, 2, 3])
def test_sheet_has_a_row_for_each_sample(dataset: Path, sheets: Sheets, per_split: int) -> None:
    forget_source(dataset)  # its windows would be outlined in the colours that are counted here
    preview = preview_dataset(dataset, per_split=per_split)
    [(_, _, _, rows)] = sheets
    assert [row.title for row in rows] == list(preview.samples)
    assert [row.chip.word for row in rows] == ["train"] * per_split + ["test"] * per_split
    assert len(set(preview.samples)) == 2 * per_split
    sheet = np.array(Image.open(preview.path).convert("RGB"))
    assert sheet.shape[1] == WIDTH_PX
    first_column = sheet[:, 24 + 4]  # where the chips begin; the legend's line is one more
    assert runs(first_column, SPLIT_COLOURS["train"]) == per_split + 1
    assert runs(first_column, SPLIT_COLOURS["test"]) == per_split


def test_panels_show_the_samples_own_pixels(built: Path, tmp_path: Path, sheets: Sheets) -> None:
    from pipeline.shards import open_dataset

    preview = preview_dataset(built, tmp_path / "sheet.png", per_split=2)
    train, test = (open_dataset(built)[split] for split in ("train", "test"))
    for row in sheets[0][3]:
        split = train if row.title in train.ids else test
        sample = split[split.ids.index(row.title)]
        factor = row.panels[1].width // sample.image.shape[1]
        assert (np.array(row.panels[1]) == sample.image.repeat(factor, 0).repeat(factor, 1)).all()
        assert f"slice {int(row.title[6:11])}" in row.text
        assert f"rotated {split.recipes[split.ids.index(row.title)].angle_deg:.1f}°" in row.text
    assert not preview.source_missing


def test_only_what_was_done_is_said(tmp_path: Path, sheets: Sheets) -> None:
    plain = AugmentRanges(rotate_deg=(0.0, 0.0), sigma_px=0.0, shift_px=0.0)
    rich = AugmentRanges(flip=True, zoom=(1.5, 1.5), gain=(0.8, 0.8), bias=(-12.0, -12.0), shift_px=5.0)
    for name, ranges in (("plain", plain), ("rich", rich)):
        build_small(tmp_path / name, ranges=ranges)
        forget_source(tmp_path / name)
        preview_dataset(tmp_path / name)
    plain_texts, rich_texts = ([row.text for row in rows] for _, _, _, rows in sheets)
    assert all(text.startswith("slice ") and "·" not in text for text in plain_texts)
    for said in ("rotated", "zoom 1.50", "shift", "gain 0.80", "bias -12", "grid pushed up to"):
        assert all(said in text for text in rich_texts), said
    assert 0 < sum("mirrored" in text for text in rich_texts) < len(rich_texts)


def test_samples_of_one_sheet_show_different_slices(built: Path, tmp_path: Path) -> None:
    preview = preview_dataset(built, tmp_path / "sheet.png", per_split=3)
    assert len({sample[:11] for sample in preview.samples}) == 6


@pytest.mark.parametrize(
    ("n", "n_slices", "wanted"),
    [(240, 6, 3), (240, 21, 3), (300, 20, 3), (7, 21, 3), (2, 9, 3), (60, 2, 5), (7, 3, 5), (5, 2, 5), (1, 1, 1)],
)
def test_rows_are_spread_over_slices_and_replicates(n: int, n_slices: int, wanted: int) -> None:
    rows = spread_rows(n, n_slices, wanted)
    assert len(rows) == len(set(rows)) == min(n, wanted)
    assert rows == sorted(rows)
    assert 0 <= rows[0] <= rows[-1] < n
    assert len({row % n_slices for row in rows}) == min(n, n_slices, wanted)
    if n >= 10 * n_slices:
        assert rows[-1] >= n / 2, "late replicates are looked at too"


def test_the_same_dataset_gives_the_same_bytes(built: Path, tmp_path: Path) -> None:
    first, second = (preview_dataset(built, tmp_path / name).path for name in ("a.png", "b.png"))
    assert first.read_bytes() == second.read_bytes()
    moved = Path(shutil.copytree(built, tmp_path / "elsewhere"))
    assert preview_dataset(moved).path.read_bytes() == first.read_bytes()
    assert Image.open(first).info == {}, "no times, no paths"


def test_preview_lies_beside_the_dataset(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digests(dataset)
    assert preview_dataset(dataset).path == dataset.with_name("dataset-preview.png")
    monkeypatch.chdir(dataset)
    assert preview_dataset(Path()).path == dataset.with_name("dataset-preview.png")
    assert digests(dataset) == before
    assert verify_dataset(dataset).findings == ()


@pytest.mark.parametrize("inside", ["sheet.png", "deeper/sheet.png", "../dataset/sheet.png", ""])
def test_nothing_is_written_into_a_dataset(dataset: Path, inside: str) -> None:
    before = names(dataset.parent)
    with pytest.raises(ConfigError, match="lies in the dataset"):
        preview_dataset(dataset, dataset / inside)
    assert names(dataset.parent) == before


def test_other_names_and_numbers_are_refused(built: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ends in \.png"):
        preview_dataset(built, tmp_path / "sheet.jpg")
    for per_split in (0, -1, 51):
        with pytest.raises(ConfigError, match="expected 1 to 50"):
            preview_dataset(built, tmp_path / "sheet.png", per_split=per_split)
    assert names(tmp_path) == []


def test_build_without_its_source_still_gets_a_sheet(dataset: Path, sheets: Sheets) -> None:
    with_source = preview_dataset(dataset)
    forget_source(dataset)
    without = preview_dataset(dataset)
    assert "--source" in without.source_missing
    assert not with_source.source_missing
    assert without.samples == with_source.samples
    for known, unknown in zip(sheets[0][3], sheets[1][3], strict=True):
        same = [np.array_equal(np.array(a), np.array(b)) for a, b in zip(known.panels, unknown.panels, strict=True)]
        assert same == [False, True, True, True]


def test_source_that_is_named_must_be_the_right_one(dataset: Path, folder: Path, tmp_path: Path) -> None:
    forget_source(dataset)
    out = tmp_path / "sheet.png"
    images, labels = small_stack()
    other = write_folder(tmp_path / "other", images[::-1], labels)
    with pytest.raises(DatasetError, match="found others"):
        preview_dataset(dataset, out, source_folder=other)
    with pytest.raises(ConfigError, match="found nothing"):
        preview_dataset(dataset, out, source_folder=tmp_path / "missing")
    assert not out.exists()
    assert preview_dataset(dataset, out, source_folder=folder).source_missing == ""


def test_nothing_half_made_is_left_when_the_disk_is_full(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "sheet.png"
    out.write_bytes(b"an older sheet")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="disk is full"):
        preview_dataset(built, out)
    assert names(tmp_path) == ["sheet.png"]
    assert out.read_bytes() == b"an older sheet"


def test_folder_that_is_not_there_is_an_error(built: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        preview_dataset(built, tmp_path / "missing" / "sheet.png")
    assert names(tmp_path) == []


def test_folder_that_may_not_be_written_is_an_error(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_file = Path.open

    def refuse(path: Path, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
        if "w" in mode and path.parent == tmp_path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return open_file(path, mode, *arguments, **keywords)

    monkeypatch.setattr(Path, "open", refuse)  # root may write anywhere, so the mode bits alone would refuse nothing
    with pytest.raises(StorageError, match="Permission denied"):
        preview_dataset(built, tmp_path / "sheet.png")
    assert names(tmp_path) == []


def drop_last(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return rows[:-1]


def other_window(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for row in rows:
        row["recipe"]["window"] = [36, 40]
        row["recipe"]["extent_px"] = [40, 40]
    return rows


def other_shards(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of which every one claims the place of the next in its shard."""
    for row in rows:
        row["row"] += 1
    return rows


@pytest.mark.parametrize("change", [drop_last, other_window, other_shards])
def test_manifest_of_other_samples_is_refused(dataset: Path, change: Callable[..., Any]) -> None:
    write_rows(dataset, change(read_rows(dataset)))
    with pytest.raises(DatasetError, match="run augpipe verify"):
        preview_dataset(dataset)
    assert not dataset.with_name("dataset-preview.png").exists()


def test_the_manifest_is_read_once(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = count_calls(monkeypatch, "pipeline.shards.manifest.parse_line")
    preview_dataset(built, tmp_path / "sheet.png")
    assert len(parsed) == 12


@pytest.mark.parametrize("key", ["split", "config", "label_kind", "source", "inputs"])
def test_record_without_a_field_is_refused(dataset: Path, key: str) -> None:
    edit_record(dataset, lambda values: values.pop(key))
    with pytest.raises(DatasetError, match=key):
        preview_dataset(dataset)


@pytest.mark.parametrize("kind", ["classes", "instances"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_kind_of_label_and_pixel_is_shown(tmp_path: Path, sheets: Sheets, kind: str, dtype: type) -> None:
    images, labels = small_stack()
    columns = np.arange(images.shape[2]) // 24
    values = (labels > 0) * (columns + 1).astype(np.uint8)  # three bands of objects
    source = make_source(images.astype(dtype) * dtype(3 if dtype != np.uint8 else 1), values, name="bands")
    build_dataset(source, small_config(val=0.2), out=tmp_path / "set", jobs=1)
    if kind == "instances":
        edit_record(tmp_path / "set", lambda record: record.update(label_kind=kind, classes=[]))
    preview_dataset(tmp_path / "set", per_split=1)
    _, summary, legend, rows = sheets[0]
    assert f"labels: {kind}" in summary
    assert np.dtype(dtype).name in summary
    assert [chip.word for chip in legend[0]] == ["train", "val", "test"]
    shown = {tuple(colour) for row in rows for colour in np.array(row.panels[2]).reshape(-1, 3).tolist()}
    assert {ImageColor.getrgb(colour) for colour in OUTLINE_COLOURS[:3]} <= shown
    classes = [(chip.word, chip.colour) for line in legend[1:] for chip in line]
    named = [(f"class {k}", OUTLINE_COLOURS[k - 1]) for k in (1, 2, 3)]
    assert classes == (named if kind == "classes" else [])


def test_many_classes_share_the_colours(dataset: Path, sheets: Sheets) -> None:
    classes = [{"index": k, "value": k} for k in range(20)]
    edit_record(dataset, lambda record: record.update(label_kind="classes", classes=classes))
    preview_dataset(dataset)
    chips = sheets[0][2][1]
    assert len(chips) == len(OUTLINE_COLOURS)
    assert chips[-1].text == "and so on"


def test_what_is_synthetic_says_so(dataset: Path, sheets: Sheets) -> None:
    preview_dataset(dataset)
    edit_record(dataset, lambda record: record["source"].update(synthetic=True))
    preview_dataset(dataset)
    assert ["synthetic" in summary for _, summary, _, _ in sheets] == [False, True]


def test_text_that_is_too_long_is_cut_at_the_margin() -> None:
    panel = Image.new("RGB", (10, 10))
    row = SheetRow(Chip("#1f6fd1", "train"), "id", "word " * 200, (panel,))
    sheet = np.array(draw_sheet("x" * 500, "y" * 500, [], [row]))
    assert (sheet[:, -20:] == 255).all()
    assert (sheet[:110, WIDTH_PX // 2 : -24] < 128).any()


def test_sheet_survives_a_reader_of_its_own(built: Path, tmp_path: Path) -> None:
    data = preview_dataset(built, tmp_path / "sheet.png").path.read_bytes()
    with Image.open(io.BytesIO(data)) as sheet:
        sheet.verify()
        assert sheet.format == "PNG"
