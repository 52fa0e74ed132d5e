"""What a run watches: the loss and the pixel scores on slices that it does not train on."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.errors import AugpipeError
from training.config import FitConfig
from training.dataset import Division, ShardDataset
from training.device import autocast
from training.loading import Normalisation, normalise, open_store
from training.losses import cell_logits, centre, weighted_cross_entropy
from training.metrics import count_pixels, pixel_scores


class DivergedError(AugpipeError):
    """The loss is no longer a finite number."""


@dataclass(frozen=True, slots=True)
class Row:
    """One round of a run, as the log has it.

    Attributes:
        round: its number, from 1.
        step: steps so far.
        rate: the last learning rate.
        loss: mean over the round's batches, while they were trained on.
        gradient: largest norm of a gradient, before it was clipped.
        val_loss: mean over the validation samples.
        val_pixel_error: 1 - best F-score of cell pixels over the thresholds, pooled over the samples.
        val_misclassified: share of wrong pixels at 0.5.
        val_iou_cell: of the cells' pixels at 0.5, pooled.
        val_iou_membrane: of the membranes' pixels at 0.5, pooled.
    """

    round: int
    step: int
    rate: float
    loss: float
    gradient: float
    val_loss: float
    val_pixel_error: float
    val_misclassified: float
    val_iou_cell: float
    val_iou_membrane: float


@dataclass(frozen=True, slots=True)
class Example:
    """One validation sample to look at: image, label and probability of cell, each (h, w) float32."""

    id: str
    image: NDArray[np.float32]
    label: NDArray[np.float32]
    probability: NDArray[np.float32]


class Watch:
    """The validation samples, whole, as far as the network takes them."""

    def __init__(
        self, dataset: Path, division: Division, config: FitConfig, normalisation: Normalisation, device: torch.device
    ) -> None:
        self._data = ShardDataset(dataset, division.watched_split, division.watched, weights=config.loss_weights)
        self._store = open_store(self._data, config.loader, device)
        self._config, self._normalisation, self._device = config, normalisation, device
        self._firsts = self._data.firsts
        self._side = config.network.largest_input(min(self._data.window))

    def score(self, network: nn.Module, on_sample: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Return the columns of a row that begin with val_.

        Args:
            network: image (B, 1, Y, X) in, scores out.
            on_sample: is called after every sample, and may raise what ends it.

        Raises:
            DivergedError: a loss is not finite.
        """
        losses, counts = [], np.zeros(1, np.int64)
        for index in range(len(self._data)):
            probability, label, loss = self._run(network, index)
            if not math.isfinite(loss):
                raise DivergedError(
                    f"validation: the loss of sample {self._data.ids[index]} is {loss}; the last checkpoint is kept; "
                    "lower the learning rate or --set clip_norm"
                )
            losses.append(loss)
            counts = counts + count_pixels(probability, label)
            on_sample()
        self.pixels = scores = pixel_scores(counts)
        return {
            "val_loss": float(np.mean(losses)),
            "val_pixel_error": scores.pixel_error,
            "val_misclassified": scores.misclassified,
            "val_iou_cell": scores.iou_cell,
            "val_iou_membrane": scores.iou_membrane,
        }

    def examples(self, network: nn.Module, n: int = 3) -> list[Example]:
        """Return the first sample of each of the first `n` slices."""
        found = []
        for index in self._firsts[:n]:
            probability, label, _ = self._run(network, index)
            image = centre(self._store[index][0], label.shape[-1]).float().cpu().numpy()
            found.append(Example(self._data.ids[index], image, label, probability))
        return found

    def _run(self, network: nn.Module, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
        pixels, truth, emphasis = self._store[index]
        image = normalise(centre(pixels, self._side).to(self._device), self._normalisation)[None, None]
        label = centre(truth, self._side).to(self._device).float()[None]
        weight = None if emphasis is None else centre(emphasis, self._side).to(self._device).float()[None]
        network.eval()
        with torch.inference_mode():
            with autocast(self._device, self._config.precision):
                scores = centre(network(image), self._config.target)
            loss = weighted_cross_entropy(scores, label, weight)
            probability = torch.sigmoid(cell_logits(scores).float())[0]
            return probability.cpu().numpy(), centre(label, scores.shape[-1])[0].cpu().numpy(), loss.item()
