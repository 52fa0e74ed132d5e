"""Scores of one stack of predictions against one of labels, whatever predicted it; what does not fit is refused."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.shards.progress import Progress, SilentProgress, track
from training.config import SCALES, Scale
from training.scores.bootstrap import add_up
from training.scores.challenge import Scores, finish
from training.scores.pictures import Picture, measure_picture

if TYPE_CHECKING:
    from pipeline.source.labels import LabelCoding
    from pipeline.source.stacks import Slices

_MANY = 32  # different values, above which a picture may be one of gray levels
_LEAST_PX = 8  # of an object, on average; single pixels of many gray levels are regions, too
_ROUGH = 0.3  # share of neighbouring pixels that differ: fewer in labels, more in pictures
_ORDER = "the prediction comes first, then the labels: are they swapped?"


@dataclass(frozen=True, slots=True)
class FileScores:
    """Scores of a stack, and what its labels were taken for.

    Attributes:
        scores: the scores.
        kind: of the labels: `binary`, `classes` or `instances`.
        values: of the labels' classes, in the order of their indices; empty for instances.
        scale: what the values of the prediction were taken for.
    """

    scores: Scores
    kind: str
    values: tuple[int, ...]
    scale: Scale

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        names = tuple(map(str, self.values))
        return {**self.scores.as_dict(names), "label_kind": self.kind, "prediction": self.scale}


@dataclass(frozen=True, slots=True)
class _Found:
    """What the values of a stack are, at a glance."""

    lowest: float
    highest: float
    values: tuple[int, ...]  # the different ones, in rising order; empty if some are no whole numbers
    are_regions: bool  # nearly each integer is one region in a slice, as ids are


def score(
    prediction: Path | str,
    labels: Path | str,
    *,
    ignore: Sequence[int] = (),
    label_kind: str = "auto",
    scale: Scale = "auto",
    progress: Progress | None = None,
) -> Scores:
    """Return the scores of one stack against another; see `score_files`."""
    return score_files(prediction, labels, ignore=ignore, label_kind=label_kind, scale=scale, progress=progress).scores


def score_files(
    prediction: Path | str,
    labels: Path | str,
    *,
    ignore: Sequence[int] = (),
    label_kind: str = "auto",
    scale: Scale = "auto",
    progress: Progress | None = None,
) -> FileScores:
    """Return the scores of one stack against another, of whatever predicted it, by what the labels mean.

    Labels are coded as `augpipe build` codes them: the lower of two values is background, several are classes, and
    more than 32, or any with `label_kind="instances"`, are the ids of objects.

    Args:
        prediction: whatever a build reads as a stack: (Z, Y, X) probability of foreground, as floats in 0..1 or as
            unsigned integers whose largest value means 1; a mask; classes or ids; or (Z, Y, X, K) probabilities of K
            classes.
        labels: (Z, Y, X), whatever a build reads as labels.
        ignore: values of the labels that mean nothing; such pixels are left out.
        label_kind: `auto`, `binary`, `classes` or `instances`.
        scale: what the values of the prediction mean: `probability`, `mask` (0 is background, all else is not),
            `labels` (the same as in the labels), or `auto`: what they must be, or else a question.
        progress: its progress callback.

    Raises:
        ConfigError: a file is not there, the stacks do not fit each other, or what the values mean has to be said.
        SourceError: a file cannot be read.
        ScoreError: the prediction is not in 0..1.
    """
    from pipeline.source.opening import open_slices

    where, truth_where = str(prediction), str(labels)
    found = open_slices(Path(prediction), labels=False)
    truth = open_slices(Path(labels), labels=True)
    if found.shape[:3] != truth.shape[:3]:
        raise ConfigError(f"{where}: expected the shape of the labels, {truth.shape}, got {found.shape}")
    if scale not in SCALES:
        raise ConfigError(f"--scale: expected one of {', '.join(SCALES)}, got {scale!r}")
    coding = _code(truth, truth_where, label_kind, ignore)
    if label_kind == "auto" and coding.kind == "classes" and not found.shape[3:]:
        coding = _ids_instead(found, truth, coding)
    chosen = _choose_scale(found, coding, scale, where)
    pictures = _pictures(found, truth, coding, chosen)
    watched = track(pictures, progress or SilentProgress(), "scoring", len(truth), unit="slices")
    n_classes = max(len(coding.values), 2)
    sums = [measure_picture(each, coding.kind, n_classes, f"slice {z}") for z, each in enumerate(watched)]
    return FileScores(finish(add_up(sums)), coding.kind, coding.values, chosen)


def _code(truth: "Slices", where: str, kind: str, ignore: Sequence[int]) -> "LabelCoding":
    """Return what the values of labels mean.

    Raises:
        ConfigError: they are no labels, or not of that kind.
        SourceError: they have values below 0.
    """
    from pipeline.source.label_values import are_labels, label_fault, values_in
    from pipeline.source.labels import LabelCoding, LabelOptions, choose_coding, without_ignored

    present: NDArray[Any] = np.zeros(0, np.int64)
    rough = []
    for z, label in enumerate(truth):
        if not are_labels(label):
            odd = label[label != np.floor(label)] if label.dtype.kind == "f" else label
            raise ConfigError(
                f"{where}: expected labels as whole numbers, found {odd.flat[0]} in slice {z} ({label.dtype}); {_ORDER}"
            )
        present = np.union1d(present, values_in(label.astype(np.int64) if label.dtype.kind == "f" else label))
        rough.append(_differing(label))
    meant = without_ignored(present, ignore)
    if meant.size and meant.min() < 0:
        raise label_fault(truth, where, ignore)
    if kind == "auto" and meant.size > _MANY and np.mean(rough) > _ROUGH:
        raise ConfigError(
            f"{where}: {meant.size} different values, and {np.mean(rough):.0%} of the neighbouring pixels differ, as "
            f"in a picture or probabilities, not in labels; {_ORDER} If they are ids, say --label-kind instances"
        )
    if meant.size < 2 and kind in ("auto", "binary"):  # one side alone, which a dataset cannot be made of
        values = (0, int(meant.max(initial=0)) or 1)
        return LabelCoding("binary", values, ignored=tuple(ignore))
    if meant.size < 2 and kind == "instances":
        return LabelCoding("instances", (), ignored=tuple(ignore))
    return choose_coding([present], kind, LabelOptions(ignore=tuple(ignore)), where)


def _ids_instead(found: "Slices", truth: "Slices", coding: "LabelCoding") -> "LabelCoding":
    """Return what labels of several values mean: ids, where nearly each value is one region in a slice.

    Few ids look like classes. They are taken for classes where the prediction has no other values than they, and they
    are fewer than those of which a build asks whether they are objects.
    """
    from pipeline.source.label_notes import MAX_OBJECT_SLICES, MIN_OBJECT_CLASSES, count_objects
    from pipeline.source.labels import LabelCoding

    shown = [label for label in (_coded(raw, coding) for raw in truth) if label.any()][:MAX_OBJECT_SLICES]
    seen = _look_at(found)
    are_same = found.dtype.kind in "iu" and len(seen.values) > 2 and set(seen.values) <= set(coding.values)
    if (are_same and len(coding.values) < MIN_OBJECT_CLASSES) or not all(map(count_objects, shown)):
        return coding
    return LabelCoding("instances", (), ignored=coding.ignored) if coding.background == 0 else coding


def _choose_scale(found: "Slices", coding: "LabelCoding", scale: Scale, where: str) -> Scale:
    """Return what the values of a prediction mean; refuse what does not fit the labels, or what may mean two things.

    Raises:
        ConfigError: it does.
    """
    if found.shape[3:]:
        return _require_channels(found.shape[3], coding, where)
    if scale in ("probability", "mask"):
        if coding.kind == "classes":
            raise ConfigError(
                f"{where}: the labels have {len(coding.values)} classes, which a {scale} does not tell apart"
            )
        return scale
    seen = _look_at(found)
    if scale == "labels" or coding.kind == "classes":
        _require_labels(seen, coding, where)
        return "labels"
    if found.dtype.kind == "f":
        if seen.values and seen.highest > 1:
            raise ConfigError(
                f"{where}: the values are whole numbers up to {seen.highest:g}: no probabilities in 0..1; say --scale "
                "labels if they are classes or ids, or --scale mask"
            )
        return "probability"
    if seen.lowest < 0:
        raise ConfigError(f"{where}: the lowest value is {seen.lowest:g} ({found.dtype}): no probability, no label")
    return _scale_of_integers(seen, int(np.iinfo(found.dtype).max) if found.dtype.kind != "b" else 1, coding, where)


def _scale_of_integers(seen: _Found, whole: int, coding: "LabelCoding", where: str) -> Scale:
    """Return what integers from 0 to `whole` mean, as far as they say it by themselves.

    Raises:
        ConfigError: they do not.
    """
    if set(seen.values) in ({0}, {0, whole}, {whole}):
        return "mask"
    question, labels = f"{where}: the largest value is {seen.highest:g} of {whole}", f"the labels have {_told(coding)}"
    if 0 < len(seen.values) <= 2:
        raise ConfigError(f"{question}: a mask? --scale mask (or probability, or labels: {labels})")
    if seen.are_regions:
        if coding.kind == "instances":
            return "labels"
        raise ConfigError(f"{question}, each in one region: ids? {labels}; say --scale mask, or --label-kind instances")
    if 2 * seen.highest <= whole:
        raise ConfigError(
            f"{question}, so that no pixel would be predicted as foreground; --scale probability if it is meant, "
            "--scale mask or --scale labels if it is none"
        )
    return "probability"


def _require_labels(seen: _Found, coding: "LabelCoding", where: str) -> None:
    """Refuse values of a prediction that labels of that kind cannot have.

    Raises:
        ConfigError: there are some.
    """
    labels = f"the labels have {_told(coding)}"
    if not seen.values:
        raise ConfigError(
            f"{where}: expected {'ids' if coding.kind == 'instances' else 'classes'}, found {seen.lowest:g} to "
            f"{seen.highest:g} that are no whole numbers; {labels}; a probability for each class is (Z, Y, X, K)"
        )
    if seen.lowest < 0:
        raise ConfigError(f"{where}: the value {seen.lowest:g} is below 0, and no label")
    odd = sorted(set(seen.values) - {*coding.values, *coding.ignored})
    if odd and coding.kind != "instances":
        raise ConfigError(f"{where}: the value {odd[0]} is none of a class: {labels}; give both the same numbers")


def _require_channels(n: int, coding: "LabelCoding", where: str) -> Scale:
    if coding.kind != "classes" or n != len(coding.values):
        raise ConfigError(
            f"{where}: has {n} channels, the labels {_told(coding)}; give one map of the foreground, or as many "
            "maps as there are classes"
        )
    return "probability"


def _told(coding: "LabelCoding") -> str:
    if coding.kind == "instances":
        return "ids of objects"
    return f"{len(coding.values)} values, {', '.join(map(str, coding.values))}"


def _look_at(found: "Slices") -> _Found:
    from pipeline.source.label_notes import MAX_OBJECT_SLICES, count_objects

    lowest, highest, values, are_whole = np.inf, -np.inf, set[int](), True
    n_objects: list[int] = []
    for image in found:
        if np.isnan(image).any():
            raise ConfigError("prediction: expected numbers, found NaN")
        lowest, highest = min(lowest, float(image.min())), max(highest, float(image.max()))
        are_whole = are_whole and (image.dtype.kind != "f" or bool((image == np.floor(image)).all()))
        if are_whole:
            values |= set(map(int, np.unique(image)))
        if len(n_objects) < MAX_OBJECT_SLICES and image.dtype.kind in "iu" and image.any():
            n = count_objects(_numbered(image))
            n_objects.append(n if _LEAST_PX * n <= np.count_nonzero(image) else 0)
    are_regions = bool(n_objects) and all(n_objects)
    return _Found(lowest, highest, tuple(sorted(values)) if are_whole else (), are_regions)


def _numbered(ids: NDArray[Any]) -> NDArray[np.int32]:
    """Return ids as 1, 2, ..., with 0 kept."""
    values, places = np.unique(ids, return_inverse=True)
    return np.asarray(places + (values[0] != 0), np.int32)


def _differing(image: NDArray[Any]) -> float:
    """Return the share of pixels that differ from the one below or to the right, of pairs of which neither is 0."""
    n_pairs = n_differ = 0
    for one, other in ((image[1:], image[:-1]), (image[:, 1:], image[:, :-1])):
        both = (one != 0) & (other != 0)
        n_pairs += int(both.sum())
        n_differ += int((both & (one != other)).sum())
    return n_differ / n_pairs if n_pairs else 0.0


def _pictures(found: "Slices", truth: "Slices", coding: "LabelCoding", scale: Scale) -> Iterator[Picture]:
    """Yield each slice of a prediction beside its label."""
    from pipeline.source.label_values import is_one_of

    whole = np.float32(np.iinfo(found.dtype).max if found.dtype.kind in "iu" else 1)
    for image, raw in zip(found, truth, strict=True):
        counted = ~is_one_of(raw, coding.ignored) if coding.ignored else None
        label = _coded(raw, coding)
        if counted is not None:
            label = np.where(counted, label, label.dtype.type(0))
        if image.ndim == 3:
            yield Picture(1 - image[..., 0].astype(np.float32), label, counted, image.argmax(axis=-1))
        elif scale == "labels":
            named = _coded(np.where(is_one_of(image, coding.ignored), coding.background, image), coding)
            sure = (named != 0).astype(np.float32)
            yield Picture(sure, label, counted, named, named if coding.kind == "instances" else None)
        elif scale == "mask":
            yield Picture((image != 0).astype(np.float32), label, counted)
        else:
            yield Picture(image.astype(np.float32) / whole, label, counted)


def _coded(label: NDArray[Any], coding: "LabelCoding") -> NDArray[Any]:
    """Return class indices; ids as they are, which may be too large to be stored."""
    if coding.kind == "instances":
        return label.astype(np.int64) if label.dtype.kind == "f" else label
    coded = coding.encode(label.astype(np.int64) if label.dtype.kind == "f" else label)
    return coded.astype(np.uint8)
