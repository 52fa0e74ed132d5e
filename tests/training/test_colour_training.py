"""Networks take as many channels as the images of their dataset have."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from small_datasets import OPTIONS, build_phantom, phantom_stack
from small_runs import COSINE, PLATEAU, fit_small, lasting, read_log
from torch.utils.data import DataLoader

from pipeline.build.builder import build_dataset
from pipeline.errors import ConfigError
from pipeline.shards.config import BuildConfig
from pipeline.source.combining import combine
from pipeline.source.gray_levels import ScaleGray
from pipeline.source.stacks import RawStack
from pipeline.source.tiff import write_stack
from training.dataset import ShardDataset
from training.evaluation import evaluate
from training.fitting import fit, resume
from training.inference import open_predictor, predict
from training.loading import measure_gray
from training.run_folder import read_network, read_run


@pytest.fixture(scope="module")
def colour_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom in three channels: itself, half as bright, and inverted."""
    images, _ = phantom_stack()
    colour = np.stack([images, images // 2, 255 - images], axis=-1)
    return build_phantom(tmp_path_factory.mktemp("colour") / "dataset", images=colour)


def test_samples_have_their_channels_first(colour_dataset: Path) -> None:
    data = ShardDataset(colour_dataset, "train")
    assert data[0]["image"].shape == (3, 108, 108)
    assert data[0]["label"].shape == (108, 108)
    batch = next(iter(DataLoader(data, batch_size=4)))
    assert batch["image"].shape == (4, 3, 108, 108)


def test_every_channel_is_normalised_by_its_own_levels(colour_dataset: Path, phantom_dataset: Path) -> None:
    gray, colour = (measure_gray(ShardDataset(folder, "train")) for folder in (phantom_dataset, colour_dataset))
    assert isinstance(colour.mean, tuple)
    assert isinstance(colour.std, tuple)
    assert colour.mean[0] == gray.mean
    assert colour.mean[2] == pytest.approx(255 - colour.mean[0], abs=0.5), "but for rounding"
    assert colour.std[1] == pytest.approx(colour.std[0] / 2, rel=0.02)


@pytest.mark.parametrize("config", [COSINE, PLATEAU], ids=["padded", "valid"])
def test_a_run_on_colour_is_trained_read_and_evaluated(colour_dataset: Path, tmp_path: Path, config: object) -> None:
    run = fit_small(colour_dataset, tmp_path / "run", config)  # type: ignore[arg-type]
    assert run.config.network.inputs == 3
    assert read_run(tmp_path / "run") == run
    first = read_network(run, torch.device("cpu")).down[0][0]
    assert first.weight.shape[1] == 3  # type: ignore[index, union-attr]
    assert np.isfinite(read_log(tmp_path / "run")[-1]["val_loss"])
    assert evaluate(run.folder, colour_dataset, "test").scores.misclassified < 1
    predictor = open_predictor(run, device="cpu")
    images, _ = phantom_stack()
    colour = np.stack([images[0], images[0] // 2, 255 - images[0]], axis=-1)
    assert predictor(colour).shape == images[0].shape
    assert not np.array_equal(predictor(colour), predictor(colour[..., ::-1])), "each channel has weights of its own"
    with pytest.raises(ConfigError, match="images of 3 channels, and gets 1"):
        predictor(images[0])


def test_a_run_on_colour_goes_on_where_it_stopped(colour_dataset: Path, tmp_path: Path) -> None:
    def stop(_row: object) -> None:
        raise KeyboardInterrupt

    fit_small(colour_dataset, tmp_path / "whole", PLATEAU)
    with pytest.raises(KeyboardInterrupt):
        fit(colour_dataset, tmp_path / "stopped", PLATEAU, pictures=False, on_round=stop)
    resume(tmp_path / "stopped", pictures=False)
    assert lasting(tmp_path / "stopped") == lasting(tmp_path / "whole")


def test_pictures_of_a_run_on_colour_are_drawn(colour_dataset: Path, tmp_path: Path) -> None:
    fit(colour_dataset, tmp_path / "run", COSINE)
    assert list((tmp_path / "run").glob("*.png"))


def test_a_colour_stack_is_predicted_from_its_file(colour_dataset: Path, tmp_path: Path) -> None:
    images, _ = phantom_stack()
    colour = np.stack([images, images // 2, 255 - images], axis=-1)
    tifffile.imwrite(tmp_path / "colour.tif", colour, photometric="rgb")
    run = fit_small(colour_dataset, tmp_path / "run")
    assert predict(run.folder, tmp_path / "colour.tif", tmp_path / "p.tif") == images.shape
    expected = open_predictor(run, device="cpu")
    assert np.array_equal(tifffile.imread(tmp_path / "p.tif")[3], expected(colour[3]))


def test_gray_levels_are_scaled_for_a_prediction_as_they_were_for_the_dataset(tmp_path: Path) -> None:
    """A network that was trained on scaled levels would take others of the same dtype without a word."""
    images, labels = phantom_stack()
    dim = images.astype(np.uint16) + 3000
    raw = [RawStack(dim, labels, names=("phantom",))]
    source = combine(raw, name="dim", scale_gray=ScaleGray((1.0, 99.0), 16))
    dataset = build_dataset(source, BuildConfig(**OPTIONS), out=tmp_path / "dataset", jobs=1).out  # type: ignore[arg-type]
    run = fit_small(dataset, tmp_path / "run")
    assert read_run(tmp_path / "run").reading == source.reading
    write_stack(tmp_path / "raw.tif", dim)
    write_stack(tmp_path / "labels.tif", labels)
    predict(run.folder, tmp_path / "raw.tif", tmp_path / "p.tif")
    expected = open_predictor(run, device="cpu")(source.stacks[0].images[2])
    assert np.array_equal(tifffile.imread(tmp_path / "p.tif")[2], expected)
    found = evaluate(run.folder, dataset, "test", images=tmp_path / "raw.tif", labels=tmp_path / "labels.tif")
    assert found.shown == "whole slices"
