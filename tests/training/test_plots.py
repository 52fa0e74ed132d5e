"""Pictures of a run: they are there, whole, repeatable, and show an error where there is one."""

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from small_runs import score_stack

from training.plots import CURVES_FILE, FALSE, MISSED, SAMPLES_FILE, Example, draw_run, draw_thresholds, overlay_errors
from training.run_folder import Row
from training.scores.challenge import THRESHOLDS, Scores, count_pixels, pixel_scores

CELL, MEMBRANE = 1.0, 0.0


def make_rows(n: int) -> list[Row]:
    return [
        Row(r, 20 * r, 0.01 / r, 0.6 / r, 2.0, 0.7 / r, 0.1 / r, 0.2 / r, 1 - 0.3 / r, 0.5) for r in range(1, n + 1)
    ]


def make_example(side: int = 6) -> Example:
    """A cross of membrane between four cells, predicted without its last pixel, and with one that is none."""
    label = np.full((side, side), CELL, np.float32)
    label[side // 2], label[:, side // 2] = MEMBRANE, MEMBRANE
    probability = 0.1 + 0.8 * label
    probability[side // 2, -1], probability[0, 0] = 0.9, 0.1
    image = np.arange(side * side, dtype=np.float32).reshape(side, side)
    return Example("0-003-0001", image, label, probability)


def make_scores() -> Scores:
    example = make_example(24)
    return score_stack([example.probability], [example.label])


def read_rgb(path):
    return np.array(Image.open(path).convert("RGB"))


def test_missed_and_false_membrane_have_the_two_colours_and_nothing_else_has():
    image = np.arange(36, dtype=np.float32).reshape(6, 6)
    label = np.array(
        [
            [1, 1, 0, 1, 1, 1],
            [1, 1, 0, 1, 1, 1],
            [1, 1, 0, 1, 1, 1],
            [0, 0, 0, 0, 0, 0],
            [1, 1, 1, 1, 1, 1],
            [1, 1, 1, 1, 1, 1],
        ],
        np.float32,
    )
    probability = 0.1 + 0.8 * label
    probability[1, 2] = 0.51  # the gap through which two cells merge
    probability[5, 4] = 0.5  # not above 0.5
    shown = overlay_errors(image, label, probability)
    assert shown.shape == (6, 6, 3)
    assert shown.dtype == np.uint8
    coloured = {(y, x): tuple(shown[y, x].tolist()) for y, x in np.argwhere(np.ptp(shown, axis=-1) > 0).tolist()}
    assert coloured == {(1, 2): MISSED, (5, 4): FALSE}


def test_a_flat_image_is_drawn_too():
    """Nothing to stretch: no division by zero, and no error is invented."""
    label = np.full((6, 6), CELL, np.float32)
    assert np.ptp(overlay_errors(np.full((6, 6), 7.0), label, label)) == 0


def test_a_run_has_two_pictures_of_the_expected_size(tmp_path):
    draw_run(tmp_path, make_rows(10), [make_example(300)] * 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CURVES_FILE, SAMPLES_FILE]
    assert read_rgb(tmp_path / CURVES_FILE).shape == (420, 1150, 3)
    assert read_rgb(tmp_path / SAMPLES_FILE).shape == (34 + 2 * (300 + 56), 12 + 4 * (300 + 12), 3)


@pytest.mark.parametrize(("side", "shown", "zoom"), [(6, 6, 40), (241, 241, 1), (400, 320, 1)])
def test_samples_show_every_pixel_as_a_square_and_the_middle_of_large_ones(tmp_path, side, shown, zoom):
    example = make_example(side)
    draw_run(tmp_path, make_rows(1), [example])
    middle = slice((side - shown) // 2, (side - shown) // 2 + shown)
    wanted = overlay_errors(*(part[middle, middle] for part in (example.image, example.label, example.probability)))
    left = 12 + 3 * (shown * zoom + 12)
    found = read_rgb(tmp_path / SAMPLES_FILE)[34 : 34 + shown * zoom, left : left + shown * zoom]
    assert np.array_equal(found, wanted.repeat(zoom, axis=0).repeat(zoom, axis=1))


def test_equal_runs_give_equal_bytes_and_others_do_not(tmp_path):
    written = {}
    for name, n_rows, side in (("a", 3, 6), ("again", 3, 6), ("longer", 4, 5)):
        (tmp_path / name).mkdir()
        draw_run(tmp_path / name, make_rows(n_rows), [make_example(side)])
        draw_thresholds(tmp_path / name / "thresholds.png", make_scores())
        written[name] = [path.read_bytes() for path in sorted((tmp_path / name).iterdir())]
    assert written["a"] == written["again"]
    assert [a == b for a, b in zip(written["a"], written["longer"], strict=True)] == [False, False, True]


def test_pictures_say_neither_when_nor_by_what_they_were_made(tmp_path):
    draw_run(tmp_path, make_rows(2), [make_example()])
    for name in (CURVES_FILE, SAMPLES_FILE):
        assert set(Image.open(tmp_path / name).info) <= {"dpi"}


@pytest.mark.parametrize(
    "rows",
    [
        make_rows(1),
        [Row(1, 1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0)],
        [*make_rows(2), replace(make_rows(3)[2], val_loss=math.inf)],
        [*make_rows(2), replace(make_rows(3)[2], val_loss=math.nan)],
        make_rows(100),
    ],
    ids=["single", "perfect", "infinite loss", "no loss", "many"],
)
def test_curves_of_unusual_runs_are_drawn_without_a_warning(tmp_path, rows, recwarn):
    """A picture must never end a run."""
    draw_run(tmp_path, rows, [])
    assert [path.name for path in tmp_path.iterdir()] == [CURVES_FILE]
    assert np.ptp(read_rgb(tmp_path / CURVES_FILE)) > 0
    assert not recwarn.list


def test_the_best_threshold_of_each_score_is_marked(tmp_path):
    """Moving the best of one score moves its mark: the pictures differ."""
    scores = make_scores()
    draw_thresholds(tmp_path / "a.png", scores)
    draw_thresholds(tmp_path / "b.png", replace(scores, v_rand_threshold=THRESHOLDS[3]))
    a, b = read_rgb(tmp_path / "a.png"), read_rgb(tmp_path / "b.png")
    assert a.shape == b.shape == (380, 1150, 3)
    assert not np.array_equal(a, b)


def test_pixel_scores_alone_make_a_picture_of_one_panel(tmp_path):
    """As every round of a run draws it: no half of it is blank."""
    example = make_example(24)
    draw_thresholds(tmp_path / "a.png", pixel_scores(count_pixels(example.probability, example.label)))
    shown = read_rgb(tmp_path / "a.png")
    assert shown.shape == (380, 575, 3)
    inked = (shown < 250).any(axis=(0, 2)).nonzero()[0]
    assert inked.max() > 0.85 * shown.shape[1]


def test_a_best_threshold_at_the_end_of_the_curve_is_in_the_picture(tmp_path):
    """A network that says membrane everywhere is best at 0, which else may lie outside the panel."""
    label = make_example(24).label
    scores = score_stack([np.full_like(label, 0.05)], [label])
    assert scores.pixel_error_threshold == 0
    draw_thresholds(tmp_path / "a.png", scores)
    around = read_rgb(tmp_path / "a.png")[46:324, 50:66]
    assert (around == (0x00, 0x72, 0xB2)).all(axis=-1).sum(axis=1).max() >= 8  # a disc, wider than a line


def test_pyplot_is_never_loaded(tmp_path):
    """Its figures are global and never freed; a program that embeds a run keeps its own."""
    code = (
        "import sys; from pathlib import Path;"
        "from training.plots import draw_run; from training.run_folder import Row;"
        "assert 'matplotlib' not in sys.modules;"
        f"draw_run(Path({str(tmp_path)!r}), [Row(1, 1, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.9, 0.9)], []);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
