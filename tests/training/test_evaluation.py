"""Scores of a run on the right slices, and of files: equal to the metrics of what it predicts for them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy import ndimage
from small_datasets import OPTIONS, build_phantom, phantom_stack
from small_runs import PLATEAU, fit_small, score_stack

from pipeline.build.builder import build_dataset
from pipeline.errors import ConfigError, exit_code
from pipeline.shards import open_dataset
from pipeline.shards.config import BuildConfig
from pipeline.source.combining import make_source
from pipeline.source.tiff import write_stack
from training.evaluation import Evaluation, evaluate
from training.inference import Predictor, open_predictor
from training.run_folder import read_run
from training.scores.challenge import ScoreError
from training.scores.files import score

KEYS = (
    "pixel_error", "misclassified", "iou_cell", "iou_membrane", "v_rand", "v_info", "warping_error",
    "adapted_rand_error",
)  # fmt: skip
CHOSEN = ("pixel_error", "v_rand", "v_info", "warping_error")  # at the best threshold
OFFICIAL = Path(__file__).parents[3] / "shared" / "fixtures" / "metrics"


@pytest.fixture(scope="module")
def predictor(phantom_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A small network of valid convolutions that was trained a little."""
    folder = fit_small(phantom_dataset, tmp_path_factory.mktemp("evaluation") / "run", PLATEAU).folder
    return open_predictor(read_run(folder), device="cpu", tile=64)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The stack of the datasets and its labels, as files."""
    folder = tmp_path_factory.mktemp("stack")
    for name, pixels in zip(("images.tif", "labels.tif"), phantom_stack(), strict=True):
        write_stack(folder / name, pixels)
    return folder / "images.tif", folder / "labels.tif"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[NDArray[Any]]:
    """What the network is shown."""
    images: list[NDArray[Any]] = []
    real = Predictor.__call__

    def look(predictor: Predictor, image: NDArray[Any]) -> NDArray[np.float32]:
        images.append(image.copy())
        return real(predictor, image)

    monkeypatch.setattr(Predictor, "__call__", look)
    return images


def evaluate_slices(predictor: Predictor, dataset: Path, split: str, images: Path, labels: Path) -> Evaluation:
    tile = predictor.tile
    return evaluate(predictor.run.folder, dataset, split, images=images, labels=labels, device="cpu", tile=tile)


def evaluate_samples(predictor: Predictor, dataset: Path, split: str) -> Evaluation:
    return evaluate(predictor.run.folder, dataset, split, device="cpu", tile=predictor.tile)


# Whole slices


def test_whole_slices_of_the_split_are_scored(
    predictor: Predictor, phantom_dataset: Path, stack: tuple[Path, Path], seen: list[NDArray[Any]]
) -> None:
    """Slices 9 to 11, as they lie in the stack, each once; by hand from what is predicted for them."""
    result = evaluate_slices(predictor, phantom_dataset, "test", *stack)
    images, labels = phantom_stack()
    assert np.array_equal(seen, images[9:])
    expected = score_stack([predictor(image) for image in images[9:]], labels[9:] == 255)
    assert result.scores == expected
    assert (result.split, result.shown, result.scores.n) == ("test", "whole slices", 3)


def test_train_may_be_scored_and_says_what_was_trained_on(
    predictor: Predictor, phantom_dataset: Path, stack: tuple[Path, Path], seen: list[NDArray[Any]]
) -> None:
    """Slices 0 to 7, of which some were held out."""
    result = evaluate_slices(predictor, phantom_dataset, "train", *stack)
    assert result.scores.n == 8
    assert np.array_equal(seen, phantom_stack()[0][:8])
    assert 0 < result.trained_on == len(predictor.run.division.train_slices) < 8
    assert evaluate_slices(predictor, phantom_dataset, "test", *stack).trained_on == 0


def test_slices_that_were_trained_on_are_no_test(
    predictor: Predictor, phantom_with_val: Path, stack: tuple[Path, Path], seen: list[NDArray[Any]]
) -> None:
    """Another dataset of the same stack, with slices 6 and 7 in val: the network knows them."""
    assert {z for _, z in predictor.run.division.train_slices} & {6, 7}
    with pytest.raises(ConfigError, match=r"val shows [12] slices that the network of .* was trained on"):
        evaluate_slices(predictor, phantom_with_val, "val", *stack)
    with pytest.raises(ConfigError, match=r"val shows [12] slices that the network of .* was trained on"):
        evaluate_samples(predictor, phantom_with_val, "val")
    assert not seen


def test_every_label_of_a_cell_is_cell(predictor: Predictor, tmp_path: Path, stack: tuple[Path, Path]) -> None:
    """Labels with a number for each cell give the scores of those with 255 for all."""
    images, labels = phantom_stack()
    cells = np.stack([ndimage.label(label)[0] for label in labels]).astype(np.uint16)
    source = make_source(images, cells, name="cells", label_kind="instances")
    build_dataset(source, BuildConfig(**OPTIONS), out=tmp_path / "cells", jobs=1)
    write_stack(tmp_path / "cells.tif", cells)
    binary = build_phantom(tmp_path / "binary")
    found = evaluate_slices(predictor, tmp_path / "cells", "test", stack[0], tmp_path / "cells.tif")
    assert found.scores.objects is not None
    assert replace(found.scores, objects=None) == evaluate_slices(predictor, binary, "test", *stack).scores


def test_labels_saved_as_floats_are_their_numbers(
    predictor: Predictor, phantom_dataset: Path, tmp_path: Path, stack: tuple[Path, Path]
) -> None:
    """The dataset of them was made from the numbers, and records their digest."""
    images, labels = phantom_stack()
    source = make_source(images, labels.astype(np.float32), name="floats")
    build_dataset(source, BuildConfig(**OPTIONS), out=tmp_path / "floats", jobs=1)
    write_stack(tmp_path / "floats.tif", labels.astype(np.float32))
    found = evaluate_slices(predictor, tmp_path / "floats", "test", stack[0], tmp_path / "floats.tif")
    assert found.scores == evaluate_slices(predictor, phantom_dataset, "test", *stack).scores


def test_another_stack_is_refused_by_its_digest(
    predictor: Predictor, phantom_dataset: Path, stack: tuple[Path, Path], tmp_path: Path
) -> None:
    """One gray level of one pixel of one slice is enough, and the labels are told from one another, too."""
    record = open_dataset(phantom_dataset).record.inputs[0]
    images, labels = (pixels.copy() for pixels in phantom_stack())
    images[0, 0, 0] ^= 1
    labels[0] = labels[0, ::-1]
    write_stack(tmp_path / "images.tif", images)
    write_stack(tmp_path / "labels.tif", labels)
    made_of = record.images.sha256[:12]
    with pytest.raises(
        ConfigError, match=rf"images\.tif: .* digest [0-9a-f]{{12}}, .* was made of {made_of}"
    ) as caught:
        evaluate_slices(predictor, phantom_dataset, "test", tmp_path / "images.tif", stack[1])
    assert exit_code(caught.value) == 2
    known = record.labels.sha256[:12]
    with pytest.raises(ConfigError, match=rf"labels\.tif: .* digest [0-9a-f]{{12}}, the dataset's labels {known}"):
        evaluate_slices(predictor, phantom_dataset, "test", stack[0], tmp_path / "labels.tif")
    with pytest.raises(ConfigError, match="binary labels have 2 values"):
        evaluate_slices(predictor, phantom_dataset, "test", *reversed(stack))


def test_a_split_without_slices_is_refused(
    predictor: Predictor, phantom_dataset: Path, stack: tuple[Path, Path]
) -> None:
    for split in ("val", "tset"):
        with pytest.raises(ConfigError, match=split):
            evaluate_slices(predictor, phantom_dataset, split, *stack)
        with pytest.raises(ConfigError, match=split):
            evaluate_samples(predictor, phantom_dataset, split)


# Augmented samples


def test_samples_of_the_split_are_scored(predictor: Predictor, phantom_dataset: Path, seen: list[NDArray[Any]]) -> None:
    result = evaluate_samples(predictor, phantom_dataset, "test")
    assert np.array_equal(seen, open_dataset(phantom_dataset)["test"].images[:])
    assert (result.split, result.shown, result.scores.n) == ("test", "augmented samples", 6)


def test_samples_are_scored_where_training_scores_them(phantom_dataset: Path, tmp_path: Path) -> None:
    """The centre: of 32 px where that is the target, else the 92 px that come out of valid convolutions."""
    split = open_dataset(phantom_dataset)["test"]
    for target, inner in ((32, np.s_[38:70, 38:70]), (0, np.s_[8:100, 8:100])):
        run = read_run(fit_small(phantom_dataset, tmp_path / str(target), PLATEAU, target=target).folder)
        predictor = open_predictor(run, device="cpu")
        expected = score_stack([predictor(s.image)[inner] for s in split], [s.label[inner] for s in split])
        assert evaluate_samples(predictor, phantom_dataset, "test").scores == expected


def test_padded_networks_are_scored_on_whole_samples(phantom_dataset: Path, tmp_path: Path) -> None:
    split = open_dataset(phantom_dataset)["test"]
    predictor = open_predictor(read_run(fit_small(phantom_dataset, tmp_path / "run").folder), device="cpu")
    expected = score_stack([predictor(s.image) for s in split], [s.label for s in split])
    assert evaluate_samples(predictor, phantom_dataset, "test").scores == expected


def test_the_report_is_flat(predictor: Predictor, phantom_dataset: Path) -> None:
    report = evaluate_samples(predictor, phantom_dataset, "test").as_dict()
    known = {
        *KEYS,
        "mean_dice",
        *(f"{key}_threshold" for key in CHOSEN),
        "split",
        "shown",
        "n",
        "trained_on",
        "intervals",
    }
    assert set(report) == known
    assert all(isinstance(value, float | int | str) for name, value in report.items() if name != "intervals")
    assert json.loads(json.dumps(report)) == report


# Files


def write_pair(folder: Path, prediction: NDArray[Any], labels: NDArray[Any]) -> tuple[Path, Path]:
    write_stack(folder / "prediction.tif", prediction)
    write_stack(folder / "truth.tif", labels)
    return folder / "prediction.tif", folder / "truth.tif"


def smooth(shape: tuple[int, int, int]) -> NDArray[np.float32]:
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=shape), (0, 2, 2))
    return np.clip(0.5 + noise / (4 * noise.std()), 0, 1).astype(np.float32)


@pytest.mark.parametrize("kind", ["float32", "uint8", "uint16"])
def test_integers_mean_shares_of_their_largest_value(tmp_path: Path, kind: str) -> None:
    labels = phantom_stack()[1][:2, :40, :40]
    probability = smooth(labels.shape)
    whole = 1 if kind == "float32" else np.iinfo(kind).max
    prediction = (probability * whole).astype(kind)
    scores = score(*write_pair(tmp_path, prediction, labels))
    assert scores.n == 2
    assert scores == score_stack(prediction.astype(np.float32) / np.float32(whole), labels)
    assert scores != score_stack(1 - probability, labels)


def test_every_label_but_0_is_cell(tmp_path: Path) -> None:
    labels = phantom_stack()[1][:1, :40, :40]
    numbered = ndimage.label(labels)[0].astype(np.uint16)
    probability = smooth(labels.shape)
    found = score(*write_pair(tmp_path, probability, numbered))
    assert found.objects is not None
    assert replace(found, objects=None) == score_stack(probability, labels)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    labels = phantom_stack()[1][:2, :20, :20]
    with pytest.raises(ConfigError, match=r"expected the shape of the labels, \(2, 20, 20\), got \(1, 20, 20\)"):
        score(*write_pair(tmp_path, smooth((1, 20, 20)), labels))
    with pytest.raises(ScoreError, match=r"expected probabilities of cell in 0\.\.1, got"):
        score(*write_pair(tmp_path, 3 * smooth(labels.shape), labels))
    with pytest.raises(ConfigError, match="expected a TIFF file, found nothing"):
        score(tmp_path / "none.tif", tmp_path / "truth.tif")


@pytest.mark.isbi
@pytest.mark.slow
@pytest.mark.parametrize(("file", "key"), [("probability_u8.tif", "probability"), ("binary.tif", "binary")])
def test_files_get_the_challenges_own_scores(file: str, key: str) -> None:
    """Through every reader and conversion: 8-bit files."""
    if not OFFICIAL.is_dir():
        pytest.skip(f"{OFFICIAL} is missing")
    numbers = json.loads((OFFICIAL / "official.json").read_text(encoding="utf-8"))
    official = next(values for name, values in numbers.items() if name.startswith(key))
    scores = score(OFFICIAL / file, OFFICIAL / "labels.tif")
    assert scores.n == len(tifffile.TiffFile(OFFICIAL / "labels.tif").pages)
    assert scores.pixel_error == pytest.approx(1 - official["pixel_f_max"], abs=1e-6)
    assert scores.misclassified == pytest.approx(official["pixel_misclassified@0.5"], abs=1e-6)
    assert scores.v_rand == pytest.approx(official["v_rand_max"], abs=1e-3)
    assert scores.v_info == pytest.approx(official["v_info_max"], abs=1e-3)
