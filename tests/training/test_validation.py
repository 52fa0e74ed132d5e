"""What a run watches: whole samples of slices that it does not train on, scored as they will be in the end."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import COSINE, PLATEAU, fit_small, random_network, read_log, score_stack
from torch import nn

from pipeline.shards import open_dataset
from training.config import FitConfig, UNetConfig
from training.division import divide
from training.loading import Normalisation
from training.run_folder import Row, Run, read_network, read_run
from training.trainer import DivergedError, Validation

CPU = torch.device("cpu")
GRAY = Normalisation(100.0, 50.0)


class Copier(nn.Module):
    """Returns its input times 3 as the logit of cell."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 3 * image


def validation_of(dataset: Path, config: FitConfig = COSINE) -> Validation:
    return Validation(Run(dataset, dataset, config, divide(dataset), GRAY, "uint8"), CPU)


def watched(dataset: Path) -> list[Any]:
    division = divide(dataset)
    split = open_dataset(dataset)[division.watched_split]
    return [split[row] for row in division.watched]


def test_scores_are_those_of_the_pooled_samples(phantom_with_val: Path) -> None:
    """By hand: the probability of every pixel of the split val, and the metrics of all of them together."""
    scores = validation_of(phantom_with_val).score(Copier())
    samples = watched(phantom_with_val)
    assert len(samples) == 5
    logits = np.stack([(sample.image.astype(np.float32) - 100) / 50 * 3 for sample in samples])
    labels = np.stack([sample.label > 0 for sample in samples])
    expected = score_stack((1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32), labels)
    losses = np.log1p(np.exp(np.where(labels, -logits, logits).astype(np.float64)))
    assert scores["val_loss"] == pytest.approx(losses.mean(), rel=1e-5)
    for name in ("pixel_error", "misclassified", "iou_cell", "iou_membrane"):
        assert scores[f"val_{name}"] == pytest.approx(getattr(expected, name), abs=2e-5), name


def test_rows_have_a_column_for_each_score(phantom_with_val: Path) -> None:
    names = {field.name for field in fields(Row)} - {"val_mean_dice"}  # which there is of several classes alone
    assert set(validation_of(phantom_with_val).score(Copier())) == {name for name in names if name.startswith("val_")}


def test_only_what_the_network_takes_is_scored(phantom_with_val: Path) -> None:
    """A padded network of depth 3 takes 104 of 108 px: the middle."""
    config = replace(COSINE, network=UNetConfig(width=1, depth=3, padding="same"))
    (example, *_) = validation_of(phantom_with_val, config).examples(Copier())
    sample = watched(phantom_with_val)[0]
    assert np.array_equal(example.image, sample.image[2:106, 2:106].astype(np.float32))
    assert np.array_equal(example.label, (sample.label[2:106, 2:106] > 0).astype(np.float32))


@pytest.mark.parametrize("target", [0, 32])
def test_valid_networks_are_scored_on_the_centre(phantom_with_val: Path, target: int) -> None:
    """108 px in, 92 px out, of which `target` px are scored; examples show the same pixels."""
    config = replace(PLATEAU, target=target)
    network = random_network(config.network)
    side = target or 92
    margin = (108 - side) // 2
    (example, *_) = validation_of(phantom_with_val, config).examples(network)
    sample = watched(phantom_with_val)[0]
    inner = slice(margin, margin + side)
    assert np.array_equal(example.image, sample.image[inner, inner].astype(np.float32))
    assert np.array_equal(example.label, (sample.label[inner, inner] > 0).astype(np.float32))
    with torch.inference_mode():
        scores = network((torch.from_numpy(sample.image).float()[None, None] - 100) / 50)
    probability = scores.softmax(1)[0, 1].numpy()
    cut = (92 - side) // 2
    assert np.allclose(example.probability, probability[cut : cut + side, cut : cut + side], atol=1e-6)


def test_watching_changes_nothing(phantom_with_val: Path) -> None:
    """Not the statistics of batch norm, not torch's generator, and not the next scores: dropout is off."""
    config = replace(COSINE, network=UNetConfig(width=2, depth=1, padding="same", norm="batch", dropout=0.5))
    network = random_network(config.network).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()
    validation = validation_of(phantom_with_val, config)
    assert validation.score(network) == validation.score(network)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_examples_are_the_first_of_each_slice(phantom_with_val: Path) -> None:
    """Five samples of slices 6 and 7: two pictures, of which no two are alike."""
    validation = validation_of(phantom_with_val)
    first_of_each = ["s000-z00006-r0000000", "s000-z00007-r0000000"]
    assert [example.id for example in validation.examples(Copier())] == first_of_each
    assert [example.id for example in validation.examples(Copier(), n=1)] == first_of_each[:1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_not_finite_names_the_sample(phantom_with_val: Path, value: float) -> None:
    class Broken(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.full_like(image, value)

    first = watched(phantom_with_val)[0].id
    with pytest.raises(DivergedError, match=rf"validation: the loss of sample {first} is (nan|inf); .*--set clip_norm"):
        validation_of(phantom_with_val).score(Broken())


def test_pixel_weights_count_in_the_loss_alone(phantom_with_weights: Path) -> None:
    plain = validation_of(phantom_with_weights).score(Copier())
    weighted = validation_of(phantom_with_weights, replace(COSINE, loss_weights="unet2015")).score(Copier())
    assert weighted.pop("val_loss") != plain.pop("val_loss")
    assert weighted == plain


def test_the_log_holds_what_the_kept_network_scores(phantom_with_val: Path, tmp_path: Path) -> None:
    folder = fit_small(phantom_with_val, tmp_path / "run").folder
    run = read_run(folder)
    validation = Validation(run, CPU)
    last = read_log(folder)[-1]
    for name, value in validation.score(read_network(run, CPU)).items():
        assert value == pytest.approx(last[name], rel=1e-6), name


def test_every_sample_that_is_watched_shows_a_slice_of_its_own_side(phantom_dataset: Path, tmp_path: Path) -> None:
    """No split val: a block of slices of train is held out, and no training sample shows one of them."""
    division = fit_small(phantom_dataset, tmp_path / "run").division
    rows = open_dataset(phantom_dataset)["train"].manifest
    watched_z = {rows[row].z for row in division.watched}
    trained_z = {rows[row].z for row in division.train}
    assert division.watched_split == "train"
    assert watched_z
    assert min(abs(a - b) for a in watched_z for b in trained_z) > 1  # the gap
