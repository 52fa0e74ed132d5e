"""Pixels that nobody annotated: neither a loss nor a score knows them."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from small_datasets import phantom_stack
from small_runs import COSINE, fit_small
from torch import nn

from pipeline.build.builder import build_dataset
from pipeline.shards import open_dataset
from pipeline.shards.config import BuildConfig
from pipeline.source.combining import make_source
from pipeline.source.labels import LabelOptions
from pipeline.source.tiff import write_stack
from training.dataset import ShardDataset
from training.division import divide
from training.evaluation import evaluate
from training.inference import open_predictor
from training.loading import Normalisation, without_ignored
from training.run_folder import Run, read_run
from training.scores.challenge import count_pixels, pixel_scores, score_slices
from training.scores.files import score
from training.trainer import Validation
from training.unet import weighted_cross_entropy

OPTIONS = {"n": 12, "size": (108, 108), "gap": 1, "test": 0.25, "val": 0.2, "shard_size": 8}


@pytest.fixture(scope="module")
def with_void(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset whose labels are 200 in a third of every slice, and all over slice 7, which is to be ignored."""
    images, labels = phantom_stack()
    labels = labels.copy()
    labels[:, :, 80:], labels[7] = 200, 200
    source = make_source(images, labels, name="void", label_options=LabelOptions(ignore=(200,)))
    out = tmp_path_factory.mktemp("void") / "d"
    return build_dataset(source, BuildConfig(**OPTIONS), out=out, jobs=1).out


@pytest.mark.parametrize("weights", ["none", "unet2015"])
def test_labels_keep_the_value_and_weights_are_0_there(with_void: Path, weights: str) -> None:
    data = ShardDataset(with_void, "train", weights=weights)
    stored = open_dataset(with_void)["train"].labels
    assert data.ignore == 255
    for index in range(len(data)):
        sample, raw = data[index], stored[index]
        assert np.array_equal(sample["label"], np.where(raw == 255, 255, raw > 0))
        if weights != "none":
            assert np.array_equal(sample["weights"] == 0, raw == 255)


def test_a_dataset_without_has_none(phantom_dataset: Path) -> None:
    assert ShardDataset(phantom_dataset, "train").ignore is None


def test_the_loss_is_that_of_the_other_pixels() -> None:
    label = torch.tensor([[[0, 1, 255], [255, 1, 255]]], dtype=torch.uint8)
    scores = torch.arange(6.0).reshape(1, 1, 2, 3)
    known, weights = without_ignored(label, None, 255)
    kept = nn.functional.binary_cross_entropy_with_logits(scores[0, 0][label[0] < 255], label[label < 255].float())
    torch.testing.assert_close(weighted_cross_entropy(scores, known, weights), kept)
    _, weights = without_ignored(label, torch.full(label.shape, 2.0, dtype=torch.float16), 255)
    assert weights.tolist() == [[[2, 2, 0], [0, 2, 0]]]
    nothing, weights = without_ignored(torch.full_like(label, 255), None, 255)
    scores.requires_grad_()
    loss = weighted_cross_entropy(scores, nothing, weights)
    loss.backward()
    assert (loss.item(), scores.grad.abs().max().item()) == (0, 0)


def test_scores_of_pixels_are_those_of_the_others() -> None:
    rng = np.random.default_rng(0)
    probability, cells = rng.random((20, 30), np.float32), rng.random((20, 30)) > 0.5
    mask = rng.random(cells.shape) > 0.7
    counts = count_pixels(probability, np.ma.array(cells, mask=mask))
    assert np.array_equal(counts, count_pixels(probability[~mask], cells[~mask]))
    scores = score_slices([(probability, np.ma.array(cells, mask=mask))])
    assert scores.pixel_error == pixel_scores(counts).pixel_error
    assert scores.misclassified == np.mean((probability > 0.5)[~mask] != cells[~mask])


def test_scores_of_cells_do_not_see_what_is_ignored() -> None:
    """Two cells are merged, and a third is made up, where nobody annotated: nothing is wrong."""
    cells = np.ones((12, 15), bool)
    cells[:, 7] = cells[:, 11:] = False
    mask = np.zeros(cells.shape, bool)
    mask[:, 7] = mask[:, 12:] = True
    found = np.ones(cells.shape, np.float32)
    found[:, 11] = 0
    scores = score_slices([(found, np.ma.array(cells, mask=mask))])
    assert (scores.v_rand, scores.warping_error, scores.adapted_rand_error, scores.pixel_error) == (1, 0, 0, 0)
    merged = score_slices([(found, cells)])
    assert merged.v_rand < 1
    assert merged.warping_error > 0


def test_validation_and_evaluation_leave_them_out(with_void: Path) -> None:
    """By hand, of a network that says cell everywhere; slice 7, of which nothing is known, has no loss."""

    class Sure(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.ones_like(image)

    run = Run(with_void, with_void, COSINE, divide(with_void), Normalisation(100.0, 50.0), "uint8")
    scores = Validation(run, torch.device("cpu")).score(Sure())
    labels = open_dataset(with_void)["val"].labels[:]
    assert (labels == 255).all(axis=(1, 2)).any()
    known = labels[labels != 255]
    assert scores["val_misclassified"] == np.mean(known == 0)
    losses = [
        np.log1p(np.exp(np.where(each[each != 255] > 0, -1.0, 1.0))).mean() for each in labels if (each != 255).any()
    ]
    assert scores["val_loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_run_trains_and_is_evaluated(with_void: Path, tmp_path: Path) -> None:
    fit_small(with_void, tmp_path / "run")
    found = evaluate(tmp_path / "run", with_void, split="test").scores
    assert 0 <= found.pixel_error <= 1


def test_slices_of_the_stack_are_scored_without_what_was_ignored(with_void: Path, tmp_path: Path) -> None:
    """Their labels are read from the file again, where they have the value that was to be ignored."""
    images, labels = phantom_stack()
    void = np.where(np.arange(120) >= 80, 200, labels).astype(np.uint8)
    void[7] = 200
    paths = tmp_path / "i.tif", tmp_path / "l.tif", tmp_path / "p.tif"
    for path, stack in zip(paths, (images, void, np.where(void == 200, 255 - labels, labels)), strict=True):
        write_stack(path, stack)
    fit_small(with_void, tmp_path / "run")
    found = evaluate(tmp_path / "run", with_void, "test", images=paths[0], labels=paths[1])
    predictor = open_predictor(read_run(tmp_path / "run"))
    expected = score_slices((predictor(images[z]), np.ma.array(void[z] > 0, mask=void[z] == 200)) for z in (9, 10, 11))
    assert found.scores == expected
    assert score(paths[2], paths[1], ignore=(200,)).pixel_error == 0
    assert score(paths[2], paths[1]).pixel_error > 0.1


def test_labels_of_the_stack_may_be_colours(tmp_path: Path) -> None:
    images, labels = phantom_stack()
    colours = np.where(labels[..., None] > 0, np.array([0, 200, 9], np.uint8), np.uint8(0))
    source = make_source(images, colours, name="x", label_options=LabelOptions(are_colors=True))
    out = build_dataset(source, BuildConfig(**OPTIONS), out=tmp_path / "d", jobs=1).out
    write_stack(tmp_path / "i.tif", images)
    tifffile.imwrite(tmp_path / "l.tif", colours, photometric="rgb")
    fit_small(out, tmp_path / "run")
    found = evaluate(tmp_path / "run", out, "test", images=tmp_path / "i.tif", labels=tmp_path / "l.tif")
    predictor = open_predictor(read_run(tmp_path / "run"))
    assert found.scores == score_slices((predictor(images[z]), labels[z] > 0) for z in (9, 10, 11))
