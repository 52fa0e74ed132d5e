"""How much of the training samples is foreground: with little of it, a network learns to find none."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.shards import Dataset, open_dataset
from training.config import Weights

_LOOKED_AT = 64  # samples, spread over all of them
_LITTLE = 0.02


def foreground_line(folder: Dataset | Path | str, rows: Sequence[int], weights: Weights) -> str:
    """Return the share of the foreground in one line, with advice where it is below 2 %.

    Args:
        folder: the dataset, or where it lies.
        rows: positions within its split `train`.
        weights: the pixels' weights that the loss has.
    """
    dataset = open_dataset(folder)
    looked_at = rows[:: -(-len(rows) // _LOOKED_AT)]
    share = foreground_share(dataset, looked_at)
    line = f"foreground   {share:.2%} of the pixels of {len(looked_at)} training samples"
    advice = [
        *(["--loss-weights unet2015"] if weights == "none" else []),
        *([] if dataset.record.config.focus != "uniform" else ["a dataset that was built with --focus foreground"]),
    ]
    if share >= _LITTLE or not advice:
        return line
    return f"{line}: so little that a network may find none; {' or '.join(advice)} may help"


def foreground_share(dataset: Dataset, rows: Sequence[int]) -> float:
    """Return the share of pixels of training samples that are not background, of those that count."""
    ignored = dataset.record.arrays.ignore
    labels = dataset["train"].labels
    n_foreground = n_counted = 0
    for row in rows:
        label = labels[row]
        counted = label[label != ignored] if ignored is not None else label
        n_foreground, n_counted = n_foreground + int(np.count_nonzero(counted)), n_counted + counted.size
    return n_foreground / n_counted if n_counted else 0.0
