"""Scores of any prediction against any labels; no network needed, nor torch."""

from pathlib import Path

import numpy as np

from pipeline.errors import ConfigError
from training.metrics import Scores, score_slices
from training.progress import Told, counted, untold


def score_files(prediction: Path, labels: Path, *, told: Told = untold) -> tuple[Scores, int]:
    """Return the scores of one TIFF stack against another, and their number of slices.

    Args:
        prediction: (Z, Y, X) probability of cell: float in 0..1, or unsigned integers, whose largest value means 1.
        labels: (Z, Y, X), 0 = membrane, anything else cell.
        told: is told about every slice.

    Raises:
        ConfigError: a file is not there.
        SourceError: a file cannot be read.
        ScoreError: the stacks do not fit each other.
    """
    from pipeline.source.tiff import open_stack

    found, truth = open_stack(prediction), open_stack(labels, labels=True)
    if found.shape != truth.shape:
        raise ConfigError(f"{prediction}: expected the shape of the labels, {truth.shape}, got {found.shape}")
    whole = float(np.iinfo(found.dtype).max) if found.dtype.kind == "u" else 1.0
    pairs = ((image.astype(np.float32) / np.float32(whole), label) for image, label in zip(found, truth, strict=True))
    return score_slices(counted(pairs, len(found), told)), len(found)
