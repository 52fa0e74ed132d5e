"""Pictures of a run: its curves, what it predicts, and its scores at every threshold."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.files import write_atomically
from training.run_folder import Row
from training.scores.challenge import PixelScores, Scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES_FILE, SAMPLES_FILE, THRESHOLDS_FILE = "curves.png", "samples.png", "thresholds.png"
MISSED, FALSE = (230, 85, 0), (0, 100, 190)  # RGB of membrane that was not found, and of cell taken for membrane

_BLUE, _RED, _GREEN, _INK, _GRAY = "#0072b2", "#d55e00", "#007a5a", "#24292f", "#6e7781"  # after Okabe and Ito 2008
_DPI, _TEXT_PT, _LINE_PX, _FRAME = 100, 9, 17, 200
_MIN_PX, _MAX_PX = 240, 320  # sides in samples.png: what is smaller is enlarged, what is larger cropped
_GAP_PX, _HEAD_PX, _FOOT_PX = 12, 34, 56
_PANEL_PX = 575  # in thresholds.png, which has one panel or two
UNKNOWN = 0.5
_PALE = 0.5  # how far the image is lightened under the errors, so that both colours stand out


@dataclass(frozen=True, slots=True)
class Example:
    """One validation sample to look at: image, label and probability of cell, each (h, w) float32.

    The label is 0 for membrane, 1 for cell, and UNKNOWN, a gray between them, where it is ignored.
    """

    id: str
    image: NDArray[np.float32]
    label: NDArray[np.float32]
    probability: NDArray[np.float32]


def draw_run(folder: Path, rows: Sequence[Row], examples: Sequence[Example], scores: PixelScores | None = None) -> None:
    """Write pictures of a run: curves.png, of one row or more; samples.png, if there are examples; thresholds.png.

    Args:
        folder: of the run.
        rows: its log.
        examples: all of one size.
        scores: those of its last round, for thresholds.png.

    Raises:
        StorageError: a file cannot be written.
    """
    _write(folder / CURVES_FILE, _curves(rows))
    if examples:
        _write(folder / SAMPLES_FILE, _samples(examples))
    if scores is not None:
        draw_thresholds(folder / THRESHOLDS_FILE, scores)


def draw_thresholds(path: Path, scores: PixelScores) -> None:
    """Write the scores at every threshold, with the best of each marked: of pixels alone, or all of them.

    Raises:
        StorageError: it cannot be written.
    """
    cells = [("pixel F-score", scores.pixel_f_curve, scores.pixel_error_threshold, _BLUE)]
    panels = [("Cells: 1 is perfect", cells)]
    if isinstance(scores, Scores):
        cells.append(("V_rand", scores.v_rand_curve, scores.v_rand_threshold, _RED))
        cells.append(("V_info", scores.v_info_curve, scores.v_info_threshold, _GREEN))
        warping = [("warping error", scores.warping_curve, scores.warping_error_threshold, _INK)]
        panels.append(("Splits and mergers per pixel: 0 is perfect", warping))
    figure = _figure(_PANEL_PX * len(panels), 380)
    for number, (title, lines) in enumerate(panels):
        place = ((0.1 + number) / len(panels), 0.15, 0.52 / len(panels), 0.73)
        axes = _axes(figure, place, title, "threshold of the probability of cell")
        bests = [curve[scores.thresholds.index(threshold)] for _, curve, threshold, _ in lines]
        shown = np.concatenate([bests, *(curve[1:10] for _, curve, _, _ in lines)])  # ends may leave the panel
        room = 0.06 * float(np.ptp(shown)) or 0.01
        axes.set(xlim=(0, 1), ylim=(shown.min() - room, shown.max() + room))
        ends = []
        for (name, curve, threshold, colour), best in zip(lines, bests, strict=True):
            axes.plot(scores.thresholds[: len(curve)], curve, "o-", color=colour, markersize=3)
            axes.plot([threshold, 1], [best, best], ":", color=colour, linewidth=1)
            axes.plot([threshold], [best], "o", color=colour, markersize=8, clip_on=False)
            ends.append((best, f"{name} {best:.3g} at {threshold:.1f}", colour))
        _label_ends(axes, ends)
    _write(path, figure)


def overlay_errors(image: NDArray[Any], label: NDArray[Any], probability: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the image (h, w, 3), paler, with missed membrane in `MISSED` and false membrane in `FALSE`.

    Args:
        image: (h, w), gray.
        label: (h, w), 0 = membrane, 1 = cell, UNKNOWN where nothing is right or wrong.
        probability: (h, w), of cell; what is not above 0.5 is predicted as membrane.
    """
    shown = _as_rgb(_PALE + (1 - _PALE) * _stretch(image))
    shown[(label == 0) & (probability > 0.5)] = MISSED
    shown[(label == 1) & (probability <= 0.5)] = FALSE
    return shown


def _curves(rows: Sequence[Row]) -> "Figure":
    """Return the losses above the learning rate on the left, and the validation errors on the right."""
    figure, steps = _figure(1150, 420), [row.step for row in rows]
    losses = (
        ("training", [row.loss for row in rows], _GRAY),
        ("validation", [row.val_loss for row in rows], _BLUE),
    )
    rates = (("learning rate", [row.rate for row in rows], _INK),)
    errors = (
        ("1 - IoU of cells", [1 - row.val_iou_cell for row in rows], _GREEN),
        ("misclassified", [row.val_misclassified for row in rows], _RED),
        ("pixel error", [row.val_pixel_error for row in rows], _BLUE),
    )
    low = min(rows, key=lambda row: row.val_loss)
    title = f"Loss, lowest in validation: {low.val_loss:.3g}, round {low.round} of {len(rows)}"
    panels = (
        (0.05, 0.42, 0.48, title, losses),
        (0.05, 0.13, 0.16, "", rates),
        (0.56, 0.13, 0.77, "Validation errors", errors),
    )
    for left, bottom, height, title, lines in panels:
        axes = _axes(figure, (left, bottom, 0.28, height), title, "" if lines is losses else "step")
        known = np.array([curve for _, curve, _ in lines])
        known = known[np.isfinite(known)]
        top = min(known.max(), 2 * np.percentile(known, 90)) if known.size else 0  # a lone peak may leave the panel
        top = top or 1.0
        axes.set(xlim=(0, 1.02 * steps[-1]), ylim=(-0.03 * top, 1.08 * top))
        for _, curve, colour in lines:
            axes.plot(steps, curve, "o-" if len(rows) <= 30 else "-", color=colour, markersize=3.5)
        _label_ends(axes, [(curve[-1], f"{name} {curve[-1]:.3g}", colour) for name, curve, colour in lines])
    return figure


def _samples(examples: Sequence[Example]) -> "Figure":
    """Return a row of pictures for every example: image, label, probability, errors."""
    full = examples[0].image.shape
    middle = tuple(slice(max(0, n - _MAX_PX) // 2, max(0, n - _MAX_PX) // 2 + _MAX_PX) for n in full)
    h, w = examples[0].image[middle].shape
    zoom = -(-_MIN_PX // max(h, w))
    across, down = w * zoom + _GAP_PX, h * zoom + _FOOT_PX
    paper = np.full((_HEAD_PX + len(examples) * down, _GAP_PX + 4 * across, 3), 255, np.uint8)
    figure = _figure(paper.shape[1], paper.shape[0])

    def write(text: str, column: int, y_px: float, *, shift_px: int = 0, **style: Any) -> None:
        place = (_GAP_PX + column * across + shift_px) / paper.shape[1], 1 - y_px / paper.shape[0]
        figure.text(*place, text, **{"color": _INK, "fontsize": _TEXT_PT, "va": "center", **style})

    for column, title in enumerate(("image", "label", "predicted probability of cell", "errors at 0.5")):
        write(title, column, _HEAD_PX / 2, fontweight="bold")
    for number, example in enumerate(examples):
        top, foot = _HEAD_PX + number * down, _HEAD_PX + (number + 1) * down - _FOOT_PX
        image, label, probability = (part[middle] for part in (example.image, example.label, example.probability))
        errors = overlay_errors(image, label, probability)
        for column, part in enumerate((_as_rgb(_stretch(image)), _as_rgb(label), _as_rgb(probability), errors)):
            left = _GAP_PX + column * across
            paper[top - 1 : foot + 1, left - 1 : left + w * zoom + 1] = _FRAME
            paper[top:foot, left : left + w * zoom] = part.repeat(zoom, axis=0).repeat(zoom, axis=1)
        write(example.id, 0, foot + 14)
        size = f"{h} x {w} px" if (h, w) == full else f"{h} x {w} px, the middle of {full[0]} x {full[1]}"
        write(size, 0, foot + 32, color=_GRAY)
        for y_px, colour, name in ((foot + 14, MISSED, "missed membrane"), (foot + 32, FALSE, "false membrane")):
            write("\N{BLACK SQUARE}", 3, y_px, color=np.divide(colour, 255))
            write(f"{name}, {(errors == colour).all(axis=-1).mean():.1%} of the pixels", 3, y_px, shift_px=14)
    figure.figimage(paper)
    return figure


def _stretch(image: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """Return gray levels in 0..1, the darkest and the lightest half percent cut off."""
    low, high = np.percentile(image, (0.5, 99.5))
    return np.asarray(np.clip((image - low) / ((high - low) or 1.0), 0, 1))


def _as_rgb(gray: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    return (255 * gray[..., None] + 0.5).astype(np.uint8).repeat(3, axis=-1)


def _figure(width_px: int, height_px: int) -> "Figure":
    from matplotlib.figure import Figure

    return Figure((width_px / _DPI, height_px / _DPI), dpi=_DPI, facecolor="white")


def _axes(figure: "Figure", place: tuple[float, float, float, float], title: str, below: str) -> "Axes":
    """Return quiet axes at a place: left, bottom, width and height as shares of the figure."""
    axes = figure.add_axes(place)
    axes.set_title(title, loc="left", fontsize=_TEXT_PT + 1, fontweight="bold", color=_INK)
    axes.set_xlabel(below, fontsize=_TEXT_PT, color=_INK)
    axes.tick_params(labelsize=_TEXT_PT - 1, length=0, colors=_GRAY, labelbottom=bool(below))
    axes.locator_params(axis="x", nbins=5)
    axes.locator_params(axis="y", nbins=max(2, round(8 * place[3])))
    axes.grid(color="#e5e8ec", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    return axes


def _label_ends(axes: "Axes", ends: Sequence[tuple[float, str, str]]) -> None:
    """Write texts to the right of the axes, at heights of theirs, moved apart; ends: height, text, colour."""
    low, high = axes.get_ylim()
    gap = (high - low) * _LINE_PX / axes.bbox.height
    heights: list[float] = []
    for height, _, _ in sorted(ends):
        inside = height if height < high else high  # noqa: FURB136  min() would keep a NaN
        heights.append(max(inside, heights[-1] + gap if heights else low + gap / 2))
    too_high = max(0.0, heights[-1] - high)
    for height, (_, text, colour) in zip(heights, sorted(ends), strict=True):
        axes.annotate(
            text, (1, height - too_high), xycoords=("axes fraction", "data"), xytext=(8, 0),
            textcoords="offset points", va="center", color=colour, fontsize=_TEXT_PT,
        )  # fmt: skip


def _write(path: Path, figure: "Figure") -> None:
    """Write a PNG that says neither when nor by what it was made: equal pictures are equal files."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi="figure", metadata={"Software": None})
    write_atomically(path, [buffer.getvalue()])
