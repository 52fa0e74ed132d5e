"""A strengths sheet has a column for everything that a dataset's ranges change, and shows it as it is rendered."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_worlds import build_small, digests, small_stack, write_folder

from augment.operations import OPERATIONS
from augment.presets import preset_ranges
from augment.ranges import AugmentRanges
from pipeline.build.builder import build_dataset
from pipeline.errors import ConfigError, DatasetError
from pipeline.look.contact_sheet import WIDTH_PX
from pipeline.look.preview import preview_strengths
from pipeline.look.strength_sheet import PANEL_PX, StrengthColumn, draw_strengths
from pipeline.shards.config import BuildConfig
from pipeline.source.combining import make_source

GEOMETRY = ["rotation", "mirror", "zoom", "shift", "deformation"]
FAULTS = ["missing part", "dark spot", "fold", "jump"]
EVERYTHING = replace(
    preset_ranges("strong"),
    defects=(2.0, 6.0),
    shading=(0.1, 0.5),
    blur=(0.5, 2.0),
    noise=(2.0, 20.0),
    low_resolution=(0.3, 0.9),
    contrast=(0.5, 1.5),
    gamma=(0.5, 1.5),
    probability={"noise": 0.15, "zoom": 0.2},
)


@pytest.fixture
def sheets(monkeypatch: pytest.MonkeyPatch) -> list[list[StrengthColumn]]:
    """The columns of each sheet that was drawn."""
    drawn: list[list[StrengthColumn]] = []

    def draw(title: str, summary: Any, columns: Any) -> Image.Image:
        drawn.append(list(columns))
        return draw_strengths(title, summary, columns)

    monkeypatch.setattr("pipeline.look.strengths.draw_strengths", draw)
    return drawn


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "source", *small_stack())


def test_each_augmentation_has_a_column_from_its_lowest_to_its_highest_strength(
    tmp_path: Path, source: Path, sheets: list[list[StrengthColumn]]
) -> None:
    build_small(tmp_path / "d", ranges=EVERYTHING)
    before = digests(tmp_path / "d")
    path = preview_strengths(tmp_path / "d", (0, 5), source_folder=source)
    assert (path, digests(tmp_path / "d")) == (tmp_path / "d-strengths.png", before)
    [columns] = sheets
    by_title = {column.title: column for column in columns}
    levels = ["shading", "blur", "noise", "low resolution", "gain", "bias", "contrast", "gamma"]
    assert list(by_title) == GEOMETRY + FAULTS + levels
    assert by_title["zoom"].captions == ("x 0.80", "x 1.02", "x 1.25")
    assert by_title["gain"].captions == ("x 0.80", "x 1.02", "x 1.25")
    assert by_title["noise"].captions == ("2 s.d.", "11 s.d.", "20 s.d.")
    assert by_title["fold"].captions == ("fold of 2 px", "fold of 4 px", "fold of 6 px")
    assert (by_title["noise"].note, by_title["zoom"].note) == ("15% of the samples", "20% of the samples")
    assert (by_title["gain"].note, by_title["mirror"].note) == ("every sample", "50% of the samples")
    for column in columns:
        shown = [np.asarray(panel.convert("RGB")) for panel in column.panels]
        assert len(shown) == (2 if column.title == "mirror" else 3), column.title
        assert all(not np.array_equal(one, other) for one, other in pairwise(shown)), column.title
        assert max(shown[0].shape) <= PANEL_PX
    sheet = Image.open(path)
    assert sheet.width == WIDTH_PX
    assert (
        path.read_bytes()
        == preview_strengths(tmp_path / "d", (0, 5), tmp_path / "again.png", source_folder=source).read_bytes()
    )


def test_a_panel_is_the_slice_as_it_is_where_nothing_changes(
    tmp_path: Path, source: Path, sheets: list[list[StrengthColumn]]
) -> None:
    ranges = AugmentRanges(rotate_deg=(0.0, 0.0), sigma_px=0.0, shift_px=0.0, gain=(0.5, 1.5))
    build_small(tmp_path / "d", ranges=ranges)
    preview_strengths(tmp_path / "d", (0, 7), source_folder=source)
    [[gain]] = sheets
    image, _ = small_stack()
    height, width = 40, 36  # the window, in the middle of 64 x 72
    middle = image[7, 12:52, 18:54]
    scale = PANEL_PX // height
    for factor, panel in zip((0.5, 1.0, 1.5), gain.panels, strict=True):
        expected = np.clip(middle * factor, 0, 255).repeat(scale, 0).repeat(scale, 1)
        np.testing.assert_allclose(np.asarray(panel), expected, rtol=0, atol=0.51)  # a half is rounded either way
    assert (gain.panels[0].width, gain.panels[0].height) == (width * scale, height * scale)


def test_one_strength_alone_is_shown_three_times_in_colour(tmp_path: Path, sheets: list[list[StrengthColumn]]) -> None:
    images, labels = small_stack()
    source = make_source(np.stack([images, images[:, ::-1], images[:, :, ::-1]], axis=-1), labels, name="small")
    config = BuildConfig(n=12, size=(40, 36), gap=1, ranges=preset_ranges("he-stain"))
    dataset = build_dataset(source, config, out=tmp_path / "d").dataset
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.look.preview.find_origin", lambda *_: source)
        preview_strengths(dataset or "", (0, 0))
    stain = next(column for column in sheets[0] if column.title == "stain")
    assert len(set(stain.captions)) == 3
    assert all(panel.mode == "RGB" for panel in stain.panels)


@pytest.mark.parametrize("place", [(0, 12), (1, 0)])
def test_slices_that_are_not_there_are_refused(tmp_path: Path, source: Path, place: tuple[int, int]) -> None:
    build_small(tmp_path / "d")
    with pytest.raises(ConfigError, match=f"slice: expected one of 0:0 to 0:11, got {place[0]}:{place[1]}"):
        preview_strengths(tmp_path / "d", place, source_folder=source)


def test_nothing_to_show_and_no_source_are_refused(tmp_path: Path, source: Path) -> None:
    still = AugmentRanges(rotate_deg=(0.0, 0.0), sigma_px=0.0, shift_px=0.0)
    build_small(tmp_path / "still", ranges=still)
    with pytest.raises(ConfigError, match="there is no strength to show"):
        preview_strengths(tmp_path / "still", (0, 0), source_folder=source)
    with pytest.raises(DatasetError, match="source"):
        preview_strengths(tmp_path / "still", (0, 0))
    assert not (tmp_path / "still-strengths.png").exists()


def test_every_operation_would_be_shown() -> None:
    assert set(OPERATIONS) == {*EVERYTHING.operations, "color", "stain"}
