"""Networks that see the neighbours of a slice: trained, predicted with, and never shown what they are scored on."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from small_datasets import build_phantom, phantom_stack, read_rows, write_rows
from small_runs import COSINE, fit_small

from pipeline.errors import ConfigError, DatasetError
from pipeline.shards import open_dataset
from pipeline.source.tiff import write_stack
from training.division import Division, divide
from training.evaluation import evaluate
from training.inference import open_predictor, predict
from training.run_folder import Run, read_run
from training.stacks import ContextSlices


@pytest.fixture(scope="module")
def context_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom's twelve slices, each with its neighbours, and no gap beyond what is shown."""
    return build_phantom(tmp_path_factory.mktemp("context") / "dataset", context=1, gap=0)


@pytest.fixture(scope="module")
def run(context_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fit_small(context_dataset, tmp_path_factory.mktemp("context") / "run", COSINE)


def test_a_run_with_context_predicts_with_the_neighbours(run: Run, context_dataset: Path, tmp_path: Path) -> None:
    assert (run.context, run.channels, run.config.network.inputs) == (1, (), 3)
    assert read_run(run.folder) == run
    images, labels = phantom_stack()
    write_stack(tmp_path / "i.tif", images)
    write_stack(tmp_path / "l.tif", labels)
    assert predict(run.folder, tmp_path / "i.tif", tmp_path / "p.tif") == images.shape
    predicted, predictor = tifffile.imread(tmp_path / "p.tif"), open_predictor(run)
    for z, shown in {0: (1, 0, 1), 5: (4, 5, 6), 11: (10, 11, 10)}.items():
        assert np.array_equal(predicted[z], predictor(np.stack([images[each] for each in shown], axis=-1)))
    assert not np.array_equal(predicted[5], predictor(np.stack([images[5]] * 3, axis=-1))), "it looks at them"
    of_samples = evaluate(run.folder, context_dataset, "test")
    of_slices = evaluate(run.folder, context_dataset, "test", images=tmp_path / "i.tif", labels=tmp_path / "l.tif")
    assert of_samples.scores.misclassified < 1
    held_out = [z for part in open_dataset(context_dataset).record.split.slices["test"] for z in part.z]
    wrong = np.mean([(predicted[z] > 0.5) != (labels[z] > 0) for z in held_out])
    assert of_slices.scores.misclassified == pytest.approx(wrong, abs=1e-6)


def test_slices_are_read_once_each() -> None:
    class Counted(np.ndarray):  # type: ignore[type-arg]
        n_read = 0

        def __getitem__(self, z: object) -> object:
            Counted.n_read += 1
            return super().__getitem__(z)  # type: ignore[index]

    images = np.arange(5 * 2 * 2 * 3).reshape(5, 2, 2, 3)
    shown = ContextSlices(images.view(Counted), lambda z: (max(z - 1, 0), min(z + 1, 4)), 1)
    assert shown.shape == (5, 2, 2, 9)
    for z, image in enumerate(shown):
        assert np.array_equal(image[..., 3:6], images[z])
        assert np.array_equal(image[..., :3], images[max(z - 1, 0)])
    assert Counted.n_read == 5


def test_what_has_no_neighbours_is_refused(run: Run, phantom_dataset: Path, tmp_path: Path) -> None:
    write_stack(tmp_path / "one.tif", phantom_stack()[0][:1])
    with pytest.raises(ConfigError, match=r"expected a stack of two slices or more.*got one"):
        predict(run.folder, tmp_path / "one.tif", tmp_path / "p.tif")
    with pytest.raises(ConfigError, match=r"3 channels, and gets 1; .*, built with --context 1"):
        evaluate(run.folder, phantom_dataset, "train")


def shown(division: Division) -> tuple[set[object], set[object]]:
    return set(division.train_slices), set(division.watched_slices)


@pytest.mark.parametrize("fold", range(3))
def test_no_slice_that_validation_shows_is_shown_in_training(context_dataset: Path, fold: int) -> None:
    for division in (divide(context_dataset, fold=fold, folds=3), divide(context_dataset, held_out=0.2)):
        trained, watched = shown(division)
        assert trained
        assert watched
        assert not trained & watched
        there = open_dataset(context_dataset)["train"].manifest
        digests = {sha256 for row in division.train for _, sha256 in there[row].shown}
        assert digests == set(division.trained_on), "also of what lies beside"


def test_the_gap_of_a_fold_counts_from_what_is_shown(tmp_path: Path) -> None:
    folder = build_phantom(tmp_path / "d", context=1, gap=1, test=0.0)
    trained, watched = shown(divide(folder, fold=0, folds=4))
    assert max(z for _, z in watched) == 3, "slices 0 to 2, and what lies beside"
    assert min(z for _, z in trained) == 5


def test_a_dataset_that_shows_a_test_slice_beside_a_training_slice_is_refused(tmp_path: Path) -> None:
    build_phantom(tmp_path / "d", context=1, gap=0)
    rows = read_rows(tmp_path / "d")
    test = next(row for row in rows if row["split"] == "test")
    rows[0]["context"][1] = {"z": test["z"], "sha256": test["source_sha256"]}
    write_rows(tmp_path / "d", rows)
    with pytest.raises(DatasetError, match=f"leakage.*show the same slice .stack 0, z {test['z']}."):
        divide(tmp_path / "d")


def test_lost_sections_beside_two_splits_leak_nothing(tmp_path: Path) -> None:
    """Two black slices have one digest: the build and the audit know that they show nothing, and so must training."""
    images = phantom_stack()[0].copy()
    images[[1, 10]] = 0
    folder = build_phantom(tmp_path / "d", images=images, context=1, gap=0)
    division = divide(folder, held_out=0.2)
    assert not set(division.train_slices) & set(division.watched_slices)
