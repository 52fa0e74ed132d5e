"""What `augtrain bench` measures, and that it measures by the clock and leaves nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import COSINE, contents

from training.division import divide
from training.fitting import bench
from training.trainer import Trainer


def test_every_tier_and_both_kinds_of_data_are_measured(phantom_dataset: Path) -> None:
    report = bench(phantom_dataset, COSINE, steps=1)
    assert set(report["loaders"]) == {"host", "lazy", "copy"}
    assert all(speed > 0 for speed in report["loaders"].values())
    assert report["train_real"] > 0
    assert report["train_synthetic"] > 0
    assert (report["device"], report["batch"]) == ("cpu", 2)
    assert report["peak_memory_mb"] > 50  # torch alone
    assert "peak_device_memory_mb" not in report


@pytest.mark.usefixtures("ticking")
def test_speeds_are_samples_over_seconds(phantom_dataset: Path) -> None:
    """All samples to train on in a second; 3 steps of 2 samples in a second."""
    report = bench(phantom_dataset, COSINE, steps=3)
    n_train = len(divide(phantom_dataset).train)
    assert report["loaders"] == {"host": n_train, "lazy": n_train, "copy": n_train}
    assert (report["train_real"], report["train_synthetic"], report["real_of_synthetic"]) == (6, 6, 1)


@pytest.mark.usefixtures("ticking")
def test_real_batches_come_from_the_dataset_and_synthetic_ones_do_not(
    phantom_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounds alternate: two real steps on batches of their own, two on the one that is there."""
    seen: list[tuple[str, ...]] = []
    real = Trainer.step

    def look(trainer: Trainer, number: int, batch: Any) -> Any:
        seen.append(batch.ids)
        return real(trainer, number, batch)

    monkeypatch.setattr(Trainer, "step", look)
    bench(phantom_dataset, replace(COSINE, loader="lazy"), steps=2)
    first = seen[0]
    assert len(seen) == 1 + 5 * 4
    synthetic = [seen[1 + 4 * k + 2 : 1 + 4 * k + 4] for k in range(5)]
    assert all(ids == first for pair in synthetic for ids in pair)
    reals = [ids for k in range(5) for ids in seen[1 + 4 * k : 1 + 4 * k + 2]]
    assert len(set(reals)) > 5


def test_nothing_is_left(phantom_dataset: Path) -> None:
    before = contents(phantom_dataset)
    bench(phantom_dataset, COSINE, steps=1)
    assert contents(phantom_dataset) == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_has_a_tier_of_its_own(phantom_dataset: Path) -> None:
    report = bench(phantom_dataset, replace(COSINE, device="cuda"), steps=1)
    assert set(report["loaders"]) == {"device", "host", "lazy", "copy"}
    assert report["peak_device_memory_mb"] > 0
