"""The Keras network against the PyTorch one: the same numbers, batches, steps and files."""

import json
import math
import os
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import CountedProgress

from pipeline.build.builder import build_dataset
from pipeline.errors import ConfigError
from pipeline.shards.config import BuildConfig
from pipeline.source.combining import make_source
from pipeline.source.phantom import make_phantom
from training.config import FitConfig, UNetConfig, preset
from training.dataset import ShardDataset
from training.fitting import fit
from training.keras_fitting import (
    TorchView,
    build_keras_unet,
    copy_weights,
    import_keras,
    shard_sequence,
    to_torch,
)
from training.loading import Batches, Normalisation, open_store
from training.run_folder import Row, read_network, read_run
from training.trainer import DivergedError, Validation
from training.unet import UNet, centre, count_parameters

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("keras")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras on numpy 2

REPORT = preset("report-keras")
NARROW = replace(REPORT.network, width=4, depth=2)  # 108 px in, 68 px out
SMALL = replace(
    REPORT, network=NARROW, target=64, batch=2, rounds=2, steps=6, learning_rate=0.05, device="cpu", threads=1
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight samples of 108 px of a phantom, two of them for validation."""
    out = tmp_path_factory.mktemp("keras") / "dataset"
    source = make_source(*make_phantom((8, 160, 160), seed=3), name="small")
    build_dataset(source, BuildConfig(n=8, size=(108, 108), gap=1, test=0.0, val=0.25), out=out, jobs=1)
    return out


def run_keras(dataset: Path, out: Path, config: FitConfig = SMALL, **options: Any) -> list[dict[str, Any]]:
    """Train without pictures and return the rows."""
    fit(dataset, out, config, framework="keras", pictures=False, **options)
    return rows_of(out)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def drawn(config: UNetConfig) -> tuple[UNet, torch.Tensor]:
    """Return a network with biases that are not 0, and two images of noise."""
    torch.manual_seed(1)
    network = UNet(config).eval()
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    side = config.input_side(12)
    return network, torch.randn(2, 1, side, side)


# The network


@pytest.mark.parametrize(
    "config",
    [
        NARROW,
        replace(NARROW, depth=3),
        replace(NARROW, depth=4),
        replace(NARROW, up="transpose", up_relu=True, outputs=2, last_up=3),
        replace(NARROW, padding="same"),
    ],
)
def test_the_same_weights_give_the_same_scores(config: UNetConfig) -> None:
    network, image = drawn(config)
    model = build_keras_unet(config)
    copy_weights(network, model)
    with torch.no_grad():
        expected = network(image)
        found = TorchView(model)(image)
    assert found.shape == expected.shape
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_report_s_network_is_the_same_in_both() -> None:
    """31 million weights, four poolings; the smallest input that passes."""
    config = REPORT.network
    torch.manual_seed(0)
    network = UNet(config)
    torch.manual_seed(0)
    model = build_keras_unet(config)
    image = torch.randn(1, 1, 188, 188)
    with torch.no_grad():
        torch.testing.assert_close(TorchView(model)(image), network(image), rtol=0, atol=1e-4)
    assert model.count_params() == count_parameters(network) == 31_030_593


def test_weights_come_back_to_torch_as_they_are_in_keras() -> None:
    network, _ = drawn(NARROW)
    model = build_keras_unet(NARROW)
    copy_weights(network, model)
    kernel, bias = model.get_layer("merge_0_2").get_weights()
    model.get_layer("merge_0_2").set_weights([kernel + 1, bias])
    expected = network.state_dict()
    expected["merge.0.2.weight"] += 1
    found = to_torch(model, NARROW).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("change", [{"norm": "batch"}, {"dropout": 0.5}])
def test_layers_that_keras_s_network_does_not_have_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="without norm and dropout"):
        build_keras_unet(replace(NARROW, **change))


# Keras itself


def test_keras_that_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[keras\]'"):
        import_keras()


def test_another_backend_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for in the environment, or taken when Keras was imported before."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(ConfigError, match="got jax; start again with KERAS_BACKEND=torch"):
        import_keras()
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setattr("keras.config.backend", lambda: "tensorflow")
    with pytest.raises(ConfigError, match="got tensorflow channels_last"):
        import_keras()


# Batches


def test_a_sequence_holds_the_batches_of_the_torch_run(world: Path) -> None:
    """Epoch after epoch: number 5 is batch 2 of epoch 1."""
    data = ShardDataset(world, "train", weights="unet2015")
    config, cpu = FitConfig(batch=2, crop=100, turns=True, seed=4), torch.device("cpu")
    batches = Batches(open_store(data, "lazy", cpu), data, config, Normalisation(120.0, 40.0), cpu)
    sequence = shard_sequence(batches, steps=3, side=60)
    assert len(sequence) == 3
    for epoch, index in ((0, 0), (0, 2), (1, 0), (1, 2)):
        sequence.epoch = epoch
        image, label, weight = sequence[index]
        batch = batches[3 * epoch + index]
        assert (image.shape, label.shape, weight.shape) == ((2, 100, 100, 1), (2, 60, 60, 1), (2, 60, 60))
        assert {part.dtype for part in (image, label, weight)} == {np.dtype(np.float32)}
        assert batch.weights is not None
        np.testing.assert_array_equal(image[..., 0], batch.image[:, 0])
        np.testing.assert_array_equal(label[..., 0], batch.label[:, 20:80, 20:80])
        np.testing.assert_array_equal(weight, centre(batch.weights, 60))


# Runs


@pytest.mark.parametrize("weights", ["none", "unet2015"])
def test_a_keras_run_takes_the_steps_of_the_torch_run(world: Path, tmp_path: Path, weights: Any) -> None:
    """Same first weights, batches, loss, clipped gradient and momentum: the rows differ by rounding alone."""
    config = replace(SMALL, loss_weights=weights, clip_norm=0.3, learning_rate=0.5, steps=12, precision="fp32")
    found = run_keras(world, tmp_path / "keras", config)
    fit(world, tmp_path / "torch", config, pictures=False)
    expected = rows_of(tmp_path / "torch")
    assert [list(row) for row in found] == [list(row) for row in expected]
    for mine, other in zip(found, expected, strict=True):
        assert mine == pytest.approx(other, rel=1e-3)
    assert found[1]["val_loss"] != pytest.approx(found[0]["val_loss"], rel=1e-2)


def test_a_keras_run_is_read_as_any_other(world: Path, tmp_path: Path) -> None:
    """The network that is kept has the scores that Keras had in its best round."""
    config = replace(SMALL, clip_norm=0.5, learning_rate=0.5, steps=12)
    run = fit(world, tmp_path / "run", config, framework="keras", pictures=False)
    again = read_run(tmp_path / "run")
    assert again == replace(run, dataset=run.dataset.resolve())
    cpu = torch.device("cpu")
    validation = Validation(again, cpu)
    rows = rows_of(run.folder)
    best = min(rows, key=lambda row: row["val_loss"])
    assert best["val_loss"] < 0.95 * rows[-1]["val_loss"], "the last round must not be the best"
    for name, value in validation.score(read_network(again, cpu)).items():
        assert value == pytest.approx(best[name], abs=1e-4), name
    described = json.loads((run.folder / "config.json").read_text())
    assert described["framework"] == "keras"
    assert described["versions"]["keras"]
    table = (run.folder / "metrics.csv").read_text().splitlines()
    names = [field.name for field in fields(Row) if field.name in rows[0]]
    assert table == [",".join(names), *(",".join(str(row[name]) for name in names) for row in rows)]


def test_the_loss_falls_on_two_samples(world: Path, tmp_path: Path) -> None:
    config = replace(SMALL, n_train=2, rounds=3, steps=30, momentum=0.9, stop_patience=0)
    rows = run_keras(world, tmp_path / "run", config)
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]


def test_the_rate_falls_and_the_run_stops_where_nothing_improves(world: Path, tmp_path: Path) -> None:
    config = replace(
        SMALL, rounds=6, learning_rate=1e-12, lowest_rate=1e-14, plateau_patience=1, plateau_factor=0.1, stop_patience=2
    )
    rows = run_keras(world, tmp_path / "run", config)
    assert [row["rate"] for row in rows] == pytest.approx([1e-12, 1e-12, 1e-13], rel=1e-6, abs=0)


def test_a_loss_that_is_not_finite_names_the_samples(world: Path, tmp_path: Path) -> None:
    config = replace(SMALL, learning_rate=1e3, clip_norm=0.0, steps=40)
    with pytest.raises(
        DivergedError, match=r"step \d+: the (loss|norm of the gradient) is (nan|inf); the samples of the batch: \w+"
    ):
        run_keras(world, tmp_path / "run", config)


@pytest.mark.usefixtures("ticking")
def test_a_run_of_some_minutes_counts_its_steps_first(world: Path, tmp_path: Path) -> None:
    """And calls back for each."""
    progress, seen = CountedProgress(), []
    callbacks = {"progress": progress, "on_round": lambda row: seen.append(row.round)}
    rows = run_keras(world, tmp_path / "run", minutes=0.5, **callbacks)
    assert read_run(tmp_path / "run").config.steps == rows[-1]["step"] == 2
    assert progress.calls == ["start training 2 steps 0", "advance", "advance", "stop"]
    assert seen == [1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "adamw"}, "expected optimizer sgd, got adamw"),
        ({"schedule": "cosine"}, "expected schedule plateau, got cosine"),
        ({"precision": "bf16"}, "expected precision fp32, got bf16"),
        ({"network": replace(NARROW, outputs=2)}, "expected network.outputs 1, got 2"),
        ({"network": replace(NARROW, norm="batch")}, "without norm"),
    ],
)
def test_what_keras_does_not_do_is_refused(world: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_keras(world, tmp_path / "run", replace(SMALL, **change))
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_written_over(world: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds a run already"):
        run_keras(world, tmp_path)
    with pytest.raises(ConfigError, match="--minutes"):
        run_keras(world, tmp_path / "new", minutes=math.inf)
