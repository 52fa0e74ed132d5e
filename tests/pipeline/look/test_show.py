"""What is said of a dataset and of a sample is what its files hold."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_worlds import (
    DEPTH,
    build_small,
    count_calls,
    edit_record,
    read_rows,
    run_python,
    small_config,
    small_stack,
    write_rows,
)

from augment.ranges import AugmentRanges
from augment.recipe import Recipe
from pipeline.build.builder import build_dataset
from pipeline.errors import ConfigError, DatasetError, exit_code
from pipeline.look.fact_sheet import WIDTH, show_dataset, show_sample
from pipeline.look.recipe_statistics import measure_recipes
from pipeline.shards.digest import canonical_json
from pipeline.source.combining import make_source

RICH = AugmentRanges(flip=True, zoom=(0.8, 1.25), shift_px=6.0, gain=(0.9, 1.1), bias=(-8.0, 8.0), grid_points=4)
SAMPLE = "s000-z00004-r0000000"


def dataset_lines(dataset: Path) -> list[str]:
    return show_dataset(dataset).lines()


def dataset_json(dataset: Path) -> Any:
    """Return what the command writes, read again."""
    return json.loads(canonical_json(show_dataset(dataset).to_json()))


def sample_lines(dataset: Path, sample_id: str) -> list[str]:
    return show_sample(dataset, sample_id).lines()


def sample_json(dataset: Path, sample_id: str) -> Any:
    return json.loads(canonical_json(show_sample(dataset, sample_id).to_json()))


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of which every range was drawn from; tests only read it."""
    out = tmp_path_factory.mktemp("rich") / "dataset"
    build_small(out, ranges=RICH, n=30, val=0.2)
    return out


def value(lines: list[str], label: str) -> str:
    """Return what stands beside a label, its continuation lines joined to it."""
    start = next(k for k, line in enumerate(lines) if line.startswith(f"{label:<13}"))
    end = next((k for k in range(start + 1, len(lines)) if lines[k][:13].strip()), len(lines))
    return " ".join(line[13:] for line in lines[start:end])


def test_ranges_as_drawn_are_those_of_the_manifest(rich: Path) -> None:
    recipes = [row["recipe"] for row in read_rows(rich)]
    drawn = dataset_json(rich)["drawn"]
    for name in ("angle_deg", "zoom", "gain", "bias"):
        by_hand = sorted(recipe[name] for recipe in recipes)
        assert drawn[name] == [by_hand[0], by_hand[-1]], name
        assert by_hand[0] < by_hand[-1]
    for axis, name in enumerate(("shift_y_px", "shift_x_px")):
        by_hand = sorted(recipe["shift_px"][axis] for recipe in recipes)
        assert drawn[name] == [by_hand[0], by_hand[-1]]
    pushes = np.array([recipe["grid_px"] for recipe in recipes])
    assert drawn["grid_largest_px"] == np.abs(pushes).max()
    assert drawn["grid_sd_px"] == pytest.approx(pushes.std())
    assert drawn["n_flipped"] == sum(recipe["flip"] for recipe in recipes)
    assert 0 < drawn["n_flipped"] < drawn["n"] == 30


def test_ranges_are_shown_as_configured_and_as_drawn(rich: Path) -> None:
    lines, drawn = dataset_lines(rich), dataset_json(rich)["drawn"]
    assert value(lines, "zoom").split("   ")[0] == "0.8 to 1.25"
    assert value(lines, "zoom").endswith(f"{drawn['zoom'][0]:.4g} to {drawn['zoom'][1]:.4g}")
    assert value(lines, "angle").startswith("0 to 360 deg ")
    assert value(lines, "shift").startswith("up to 6 px ")
    assert value(lines, "flip").endswith(f" {drawn['n_flipped']} of 30 ({drawn['n_flipped'] / 30:.0%})")
    assert value(lines, "bias").startswith("-8 to 8 ")
    assert value(lines, "grid").startswith("4 x 4 over the window, s.d. 10 px ")
    columns = {
        line.index(word) for line in lines for word in ("as drawn", f"{drawn['gain'][0]:.4g} to") if word in line
    }
    assert len(columns) == 1, "both stand in one column"


def test_extents_are_of_the_smallest_and_the_largest() -> None:
    """Three recipes made by hand, the extremes neither first nor last."""

    def recipe(number: float, push: float) -> Recipe:
        grid = ((push, 0.0), (0.0, 0.0))
        matrix = ((1.0, 0.0), (0.0, 1.0))
        return Recipe((4, 4), (grid, grid), (4, 4), matrix, (number, -number), number, number > 2, number, 1.0, 0.0)

    drawn = measure_recipes(recipe(number, push) for number, push in ((2.0, 1.0), (1.0, -8.0), (4.0, 3.0), (3.0, 0.0)))
    assert (drawn.n, drawn.n_flipped) == (4, 2)
    assert drawn.angle_deg == drawn.zoom == drawn.shift_y_px == (1.0, 4.0)
    assert drawn.shift_x_px == (-4.0, -1.0)
    assert drawn.gain == (1.0, 1.0)
    assert drawn.grid_largest_px == 8.0
    # 32 displacements: 1, -8, 3 and 0 twice each, else 0; mean -1/4, mean square 148/32.
    assert drawn.grid_sd_px == pytest.approx((148 / 32 - 1 / 16) ** 0.5)
    with pytest.raises(ValueError, match="no recipe"):
        measure_recipes([])


def test_dataset_is_described(built: Path) -> None:
    lines, facts = dataset_lines(built), dataset_json(built)
    record = json.loads((built / "dataset.json").read_bytes())
    assert value(lines, "dataset") == "small: 12 samples of 40 x 36 px uint8"
    assert value(lines, "stack") == "12 slices of 64 x 72 px, uint8"
    assert value(lines, "labels") == "binary, uint8: 0 -> 0, 255 -> 1"
    assert value(lines, "seed") == "0"
    assert value(lines, "fingerprint") == record["fingerprint"]
    assert facts["dataset_sha256"] in value(lines, "digest")
    assert value(lines, "renderer").startswith(f"version {record['renderer']},")
    n_bytes = sum(path.stat().st_size for path in built.glob("*.h5"))
    assert facts["bytes"] == {"shards": n_bytes, "manifest": (built / "manifest.jsonl").stat().st_size}
    assert value(lines, "files").startswith(f"4 shards, {n_bytes / 1e3:.1f} kB; manifest ")
    assert facts["schema"] == "augpipe/show-dataset/1"
    assert facts["config"] == record["config"]


def test_slices_are_shown_as_letters_and_counted(built: Path) -> None:
    facts = dataset_json(built)
    assert facts["split"]["pictures"] == ["TTTTTTTT.EEE"]
    assert facts["split"]["slices"] == {"train": 8, "val": 0, "test": 3, "unused": 1}
    assert facts["split"]["samples"] == {"train": 9, "test": 3}
    lines = dataset_lines(built)
    start = next(k for k, line in enumerate(lines) if line.startswith("split"))
    assert [line.split() for line in lines[start : start + 5]] == [
        ["split", "block,", "gap", "1"],
        ["TTTTTTTT.EEE"],
        ["T", "train", "8", "slices", "9", "samples"],
        ["E", "test", "3", "slices", "3", "samples"],
        [".", "unused", "1", "slices"],
    ]


def pretend(values: dict[str, Any], depths: list[int], **split: Any) -> None:
    """Make a record one of several stacks, each with a train slice at its beginning and a test slice at its end."""
    values["inputs"] = [
        {**values["inputs"][0], "images": {**values["inputs"][0]["images"], "shape": [depth, 64, 72]}}
        for depth in depths
    ]
    values["split"] |= {
        "slices": {
            "train": [{"stack": stack, "z": [0]} for stack in range(len(depths))],
            "test": [{"stack": stack, "z": [depth - 1]} for stack, depth in enumerate(depths) if depth > 1],
            "unused": [{"stack": stack, "z": [*range(1, depth - 1)]} for stack, depth in enumerate(depths)],
        },
        **split,
    }


def test_several_stacks_are_shown_one_by_one(dataset: Path) -> None:
    edit_record(dataset, lambda values: pretend(values, [4, 300, 2], strategy="stack", independent=False, gap=None))
    lines, facts = dataset_lines(dataset), dataset_json(dataset)
    assert facts["split"]["pictures"] == ["T..E", f"T{'.' * 298}E", "TE"]
    assert value(lines, "split").startswith("stack T..E T....")
    assert value(lines, "stack 1") == "300 slices of 64 x 72 px, uint8"
    assert max(map(len, lines)) <= WIDTH


def test_single_slices_are_shown_side_by_side(dataset: Path) -> None:
    edit_record(dataset, lambda values: pretend(values, [1] * 30, strategy="explicit", independent=True, gap=None))
    lines = dataset_lines(dataset)
    assert value(lines, "split").startswith(f"explicit, slices without neighbours {'T' * 30} ")
    assert any(line.strip() == "... and 18 more stacks" for line in lines)


def test_folds_are_named(dataset: Path) -> None:
    def edit(values: dict[str, Any]) -> None:
        values["config"] |= {"split": "kfold", "folds": 5, "fold": 2, "test": 1 / 5}
        values["split"] |= {"strategy": "kfold", "gap": 3}

    edit_record(dataset, edit)
    assert value(dataset_lines(dataset), "split").startswith("kfold, fold 2 of 5, counted from 0, gap 3 ")


def test_what_is_known_of_the_source_is_told(dataset: Path) -> None:
    assert dataset_json(dataset)["source"].get("licence") is None
    assert not any(line.startswith("licence") for line in dataset_lines(dataset))
    source = {
        "title": "A very long title " + "of a specimen " * 12,
        "licence": "CC BY 4.0",
        "citation": "none yet",
        "url": "https://example.org/stack",
        "voxel_size_nm": [50.0, 4.0, 4.5],
        "synthetic": True,
        "parts": [{"stack": 0, "title": "a known stack"}],
    }
    edit_record(dataset, lambda values: values.update(source=source))
    lines = dataset_lines(dataset)
    assert value(lines, "source") == source["title"].strip()
    assert value(lines, "licence") == "CC BY 4.0"
    assert value(lines, "voxel size") == "50 x 4 x 4.5 nm (z, y, x)"
    assert value(lines, "synthetic") == "yes, no real tissue"
    assert value(lines, "stack 0 is") == "a known stack"
    assert max(map(len, lines)) <= WIDTH
    assert dataset_json(dataset)["source"] == source


def test_no_terminal_is_sent_what_only_looks_like_text(dataset: Path) -> None:
    edit_record(dataset, lambda values: values["source"].update(title="red\u202enext\u200bline"))
    assert value(dataset_lines(dataset), "source") == "red next line"
    edit_record(dataset, lambda values: values["source"].update(title="red\x1b[31m\nnext\rline\x07"))
    with pytest.raises(DatasetError, match="title"):
        show_dataset(dataset)


@pytest.mark.parametrize(
    ("kind", "classes", "dtype", "said"),
    [
        ("classes", [(0, 3), (1, 7), (2, 9)], "uint8", "classes, uint8: 3 -> 0, 7 -> 1, 9 -> 2"),
        ("instances", [], "uint16", "instances, uint16 ids"),
        ("classes", [(k, k) for k in range(40)], "uint8", "11 -> 11, ... and 28 more"),
    ],
)
def test_every_kind_of_label_is_described(
    dataset: Path, kind: str, classes: list[tuple[int, int]], dtype: str, said: str
) -> None:
    def edit(values: dict[str, Any]) -> None:
        values["label_kind"] = kind
        values["classes"] = [{"index": index, "value": number} for index, number in classes]
        values["arrays"]["labels"] = dtype

    edit_record(dataset, edit)
    assert value(dataset_lines(dataset), "labels").endswith(said)


def test_sample_is_its_manifest_row(built: Path) -> None:
    row = next(row for row in read_rows(built) if row["id"] == SAMPLE)
    facts = sample_json(built, SAMPLE)
    assert {name: facts.pop(name) for name in row} == row
    assert facts == {
        "schema": "augpipe/show-sample/1",
        "dataset": str(built),
        "dataset_sha256": dataset_json(built)["dataset_sha256"],
        "name": "small",
    }


def test_sample_is_described(rich: Path) -> None:
    row = next(row for row in read_rows(rich) if row["id"] == SAMPLE)
    recipe, lines = row["recipe"], sample_lines(rich, SAMPLE)
    assert value(lines, "sample") == f"{SAMPLE} of small"
    assert value(lines, "stored in") == f"{row['shard']}, row {row['row']}"
    assert value(lines, "slice") == "stack 0, z 4; replicate 0 of it"
    assert value(lines, "image sha256") == row["image_sha256"]
    assert value(lines, "label sha256") == row["label_sha256"]
    assert value(lines, "slice sha256") == row["source_sha256"]
    assert value(lines, "angle") == f"{recipe['angle_deg']:.4g} deg counter-clockwise"
    assert value(lines, "flip") == ("left to right" if recipe["flip"] else "none")
    assert value(lines, "zoom") == f"{recipe['zoom']:.4g}"
    assert value(lines, "shift").startswith("{:+g}, {:+g} px".format(*recipe["shift_px"]))
    assert value(lines, "gray levels") == f"gain {recipe['gain']:.4g}, bias {recipe['bias']:+.4g}"
    assert max(map(len, lines)) <= WIDTH


def test_control_points_are_a_table(rich: Path) -> None:
    along_y, along_x = sample_json(rich, SAMPLE)["recipe"]["grid_px"]
    *_, title, first, second, third, fourth = sample_lines(rich, SAMPLE)
    assert title.startswith("grid         4 x 4 control points over 40 x 36 px")
    for k, line in enumerate((first, second, third, fourth)):
        cells = [cell.strip(" (") for cell in line.split(")")[:-1]]
        assert cells == [f"{y:+.2f}, {x:+.2f}" for y, x in zip(along_y[k], along_x[k], strict=True)]


def test_large_grids_are_summed_up(tmp_path: Path) -> None:
    build_small(tmp_path / "dataset", ranges=AugmentRanges(grid_points=6))
    lines = sample_lines(tmp_path / "dataset", SAMPLE)
    largest = np.abs(sample_json(tmp_path / "dataset", SAMPLE)["recipe"]["grid_px"]).max()
    assert f"by {largest:.4g} along an axis at most" in value(lines, "grid")
    assert max(map(len, lines)) <= WIDTH


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("s0-z4-r0", SAMPLE),
        ("S000_Z00004_R0000000", SAMPLE),
        ("s000-z00004-r0000099", SAMPLE),
        ("s000-z00008-r0000000", "s000-z00007-r0000000"),
        ("s000-z00011-r0000004", "s000-z00011-r0000000"),
        ("s000-z00900-r0000000", None),
        ("s007-z00004-r0000000", None),
        ("z5", None),
        ("", None),
        ("9" * 5000, None),
    ],
)
def test_unknown_sample_is_answered_with_one_that_may_be_meant(built: Path, asked: str, meant: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        show_sample(built, asked)
    message = str(caught.value)
    assert "look like s000-z00000-r0000000" in message
    assert (f"did you mean {meant}?" in message) if meant else ("did you mean" not in message)
    assert len(message) < 300 + len(str(built))
    assert exit_code(caught.value) == 2


def test_the_manifest_is_read_once(built: Path, monkeypatch: pytest.MonkeyPatch, augpipe: Callable[..., Any]) -> None:
    """Whatever the command is asked for: lines, JSON, or both."""
    parsed = count_calls(monkeypatch, "pipeline.shards.manifest.parse_line")
    assert augpipe("show", built, "--json", "-").code == 0
    assert len(parsed) == 12
    assert augpipe("show", built, "s000-z00011-r0000000", "--json", "-").code == 0
    assert len(parsed) <= 24


def test_manifest_of_another_length_is_refused(dataset: Path) -> None:
    write_rows(dataset, read_rows(dataset)[:-1])
    with pytest.raises(DatasetError, match="expected 12 samples, as the shards hold, found 11"):
        dataset_lines(dataset)
    with pytest.raises(DatasetError, match="run augpipe verify"):
        sample_lines(dataset, "s000-z00099-r0000000")


@pytest.mark.parametrize("key", ["split", "config", "inputs", "source", "label_kind", "classes", "renderer"])
def test_record_without_a_field_is_refused(dataset: Path, key: str) -> None:
    edit_record(dataset, lambda values: values.pop(key))
    with pytest.raises(DatasetError, match=key):
        show_dataset(dataset)


@pytest.mark.parametrize("depth", [0, -3, 10**12, "12"])
def test_stack_of_no_depth_is_refused(dataset: Path, depth: Any) -> None:
    edit_record(dataset, lambda values: values["inputs"][0]["images"].update(shape=[depth, 64, 72]))
    with pytest.raises(DatasetError, match=r"dataset\.json"):
        dataset_lines(dataset)


def test_folder_without_a_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"dataset\.json"):
        show_dataset(tmp_path)
    with pytest.raises(DatasetError, match=r"dataset\.json"):
        show_sample(tmp_path, SAMPLE)


def test_pixels_of_any_kind_are_described(tmp_path: Path) -> None:
    images, labels = small_stack()
    source = make_source(images.astype(np.float32), labels, name="floats")
    build_dataset(source, small_config(), out=tmp_path / "dataset", jobs=1)
    assert value(dataset_lines(tmp_path / "dataset"), "stack") == f"{DEPTH} slices of 64 x 72 px, float32"


def test_showing_loads_nothing_heavy(built: Path, tmp_path: Path) -> None:
    code = f"""
import sys
from pipeline.look.fact_sheet import show_dataset, show_sample
sheets = show_dataset({str(built)!r}), show_sample({str(built)!r}, {SAMPLE!r})
print(*(len(sheet.lines()) > 10 for sheet in sheets))
print(sorted({{"numba", "scipy", "joblib", "tifffile", "PIL", "click"}} & set(sys.modules)))
"""
    result = run_python(code, cwd=tmp_path)
    assert result.stdout == "True True\n[]\n", result.stderr
