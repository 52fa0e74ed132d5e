"""What a network learns of classes and of cells that touch, and what becomes of what it says."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed
from small_datasets import OPTIONS, phantom_stack
from small_runs import COSINE, fit_small, network_bytes, read_log
from torch import nn

from augment.weight_map import unet_weight_map
from pipeline.build.builder import build_dataset
from pipeline.errors import ConfigError
from pipeline.shards import open_dataset
from pipeline.shards.config import BuildConfig
from pipeline.source.combining import make_source
from pipeline.source.labels import LabelOptions
from pipeline.source.opening import open_slices
from pipeline.source.phantom import make_phantom
from pipeline.source.tiff import read_stack, write_stack
from training.config import FitConfig
from training.dataset import ShardDataset
from training.evaluation import evaluate
from training.fitting import resume, settle, with_class_weights
from training.inference import open_predictor, predict
from training.objects import find_contact, find_objects, seeded_watershed
from training.run_folder import read_run
from training.scores.files import score_files
from training.targets import make_target, make_weights
from training.unet import class_cross_entropy, dice_loss, target_loss, weighted_cross_entropy

TOUCHING = np.zeros((7, 10), np.uint16)
TOUCHING[1:6, 1:5], TOUCHING[1:6, 5:9] = 3, 8


# Cells that touch


def test_a_touching_pair_is_kept_apart_by_background_that_weighs_most() -> None:
    """Made by hand: both sides of the contact are background, or the border, and carry the paper's emphasis."""
    contact = np.zeros(TOUCHING.shape, bool)
    contact[1:6, 4:6] = True
    assert np.array_equal(find_contact(TOUCHING), contact)
    cells = make_target(TOUCHING, "cells", None)
    assert np.array_equal(cells, (TOUCHING > 0) & ~contact)
    assert ndimage.label(cells)[1] == 2
    assert np.array_equal(make_target(TOUCHING, "border", None), cells + 2 * contact)
    weights = make_weights(TOUCHING, "cells", instances=True, ignored=None)
    apart = np.where(contact, 0, TOUCHING)
    assert np.array_equal(weights, unet_weight_map(apart, instances=True).astype(np.float16))
    # d1 = 1 and d2 = 2 on either side: w_c of background, 70 / (2 x 40), and 10 exp(-(1 + 2)^2 / 50)
    assert weights[3, 4] == pytest.approx(70 / (2 * 40) + 10 * np.exp(-9 / 50), rel=1e-3)
    assert weights[contact].min() > 9


def test_cells_that_meet_at_a_corner_or_at_ignored_pixels_do_not_touch() -> None:
    corner = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 2]])
    assert not find_contact(corner).any()
    beside = np.array([[1, 1, 65535], [1, 1, 65535]], np.uint16)
    assert make_target(beside, "cells", 65535).tolist() == [[1, 1, 0], [1, 1, 0]]


def test_the_watershed_is_that_of_scikit_image() -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        height = rng.permutation(256).reshape(16, 16)  # no two alike, so that there is one answer
        seeds = np.zeros(256, np.int32)
        seeds[rng.choice(256, 5, replace=False)] = np.arange(1, 6)
        mask = rng.random((16, 16)) > 0.2
        seeds = seeds.reshape(16, 16) * mask
        assert np.array_equal(seeded_watershed(height / 255, seeds, mask), watershed(height, seeds, mask=mask))


def test_objects_are_found_again_in_what_is_learnt() -> None:
    """Of a sure prediction: every pixel of the pair, the contact included, and no speck of a few pixels."""
    for learn in ("cells", "border"):
        target = make_target(TOUCHING, learn, None)
        cell = np.where(target == 1, 0.9, 0.1)
        cell[0, 9] = 0.9
        found = find_objects(cell, np.where(target > 0, 0.95, 0.05))
        assert np.array_equal(found > 0, TOUCHING > 0), learn
        assert len(np.unique(found[TOUCHING == 3])) == len(np.unique(found[TOUCHING == 8])) == 1
    bridge = np.where(make_target(TOUCHING, "cells", None) > 0, 0.9, 0.1)
    bridge[3, 4:6] = 0.6  # likely cell, but less so than both
    assert find_objects(bridge, bridge).max() == 2


# Losses


def test_the_losses_are_torchs_and_the_papers() -> None:
    torch.manual_seed(0)
    scores, label = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 6, 6))
    inner, weight = scores[:, :, 1:7, 1:7], torch.rand(2, 6, 6)
    plain = class_cross_entropy(inner, label.float())
    torch.testing.assert_close(plain, nn.functional.cross_entropy(inner, label))
    by_class = torch.tensor([1.0, 2.0, 0.5])
    config = replace(COSINE, learn="classes", network=replace(COSINE.network, outputs=3))
    torch.testing.assert_close(
        target_loss(inner, label.float(), None, config, by_class),
        nn.functional.cross_entropy(inner, label, weight=by_class),
    )
    shares = torch.softmax(inner, 1)
    counted = (weight > 0.3).float()
    dice = [
        (2 * (shares[:, k] * (label == k) * counted).sum() + 1)
        / ((shares[:, k] * counted).sum() + ((label == k) * counted).sum() + 1)
        for k in (1, 2)
    ]
    torch.testing.assert_close(dice_loss(shares, label.float(), counted), 1 - sum(dice) / 2)
    with_dice = target_loss(inner, label.float(), counted, replace(config, loss="dice-ce"))
    ce = class_cross_entropy(inner, label.float(), counted)
    torch.testing.assert_close(with_dice, ce + dice_loss(shares, label.float(), counted))


def test_a_binary_loss_is_the_one_it_was() -> None:
    """Of a config that was recorded before there were other targets: bit for bit."""
    recorded = COSINE.as_dict()
    for name in ("learn", "loss", "class_weights"):
        del recorded[name]
    config = FitConfig.from_dict(recorded)
    assert config == replace(COSINE, learn="foreground")
    torch.manual_seed(0)
    scores, label, weight = torch.randn(2, 1, 8, 8), torch.randint(0, 2, (2, 8, 8)).float(), torch.rand(2, 8, 8)
    for each in (None, weight):
        assert torch.equal(target_loss(scores, label, each, config), weighted_cross_entropy(scores, label, each))


def test_a_run_of_recorded_settings_goes_on(phantom_dataset: Path, tmp_path: Path) -> None:
    """Neither its config.json nor its checkpoint says what is learnt: it is the foreground, to the same bits."""
    folder = fit_small(phantom_dataset, tmp_path / "new").folder
    values = json.loads((folder / "config.json").read_bytes())
    for name in ("learn", "loss", "class_weights"):
        del values["config"][name]
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    before = network_bytes(folder)
    resume(folder, pictures=False)
    assert network_bytes(folder) == before
    assert set(read_log(folder)[0]) == {
        "round", "step", "rate", "loss", "gradient", "val_loss", "val_pixel_error", "val_misclassified",
        "val_iou_cell", "val_iou_membrane",
    }  # fmt: skip


# Runs of classes


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dataset of three classes, of which a part is ignored, and a run that learnt them for a moment."""
    images, _ = phantom_stack()
    labels = three_classes()
    folder = tmp_path_factory.mktemp("classes")
    options = LabelOptions(ignore=(9,), names=("membrane", "cell", "mitochondria"))
    source = make_source(images, labels, name="three", label_options=options)
    build_dataset(source, BuildConfig(**OPTIONS), out=folder / "d", jobs=1)
    fit_small(folder / "d", folder / "run", loss="dice-ce", class_weights="balanced")
    return folder / "d", folder / "run"


def three_classes() -> NDArray[np.uint8]:
    labels = make_phantom((12, 128, 120), seed=7, n_classes=3)[1]
    values = np.array([0, 100, 200], np.uint8)[labels]
    values[:, :20, :20] = 9
    return values


def test_classes_are_learnt_each(classes: tuple[Path, Path]) -> None:
    dataset, folder = classes
    data, stored = ShardDataset(dataset, "train"), open_dataset(dataset)["train"].labels
    assert (data.learn, data.n_classes, data.ignore) == ("classes", 3, 255)
    assert np.array_equal(data[0]["label"], stored[0])
    run = read_run(folder)
    assert (run.config.learn, run.config.network.outputs) == ("classes", 3)
    assert run.map_names == ("membrane", "cell", "mitochondria")
    labels = np.stack([data[index]["label"] for index in run.division.train])
    counts = np.bincount(labels[labels < 3])
    assert run.config.class_weight_values() == pytest.approx(counts.sum() / (3 * counts), rel=1e-5)
    assert with_class_weights(run.config, data) == run.config
    assert 0 < read_log(folder)[-1]["val_mean_dice"] < 1


def test_ignored_pixels_of_classes_change_nothing(classes: tuple[Path, Path]) -> None:
    """Neither loss nor gradient knows what a network says there."""
    _, folder = classes
    config = read_run(folder).config
    label, known = torch.randint(0, 3, (1, 8, 8)).float(), (torch.rand(1, 8, 8) > 0.4).float()
    scores = torch.randn(1, 3, 8, 8)
    other = torch.where(known[:, None] > 0, scores, torch.randn(1, 3, 8, 8) * 9)
    assert torch.equal(target_loss(scores, label, known, config), target_loss(other, label, known, config))
    other.requires_grad_()
    target_loss(other, label, known, config).backward()  # type: ignore[no-untyped-call]
    assert other.grad is not None
    assert other.grad[:, :, known[0] == 0].abs().max() == 0


def test_channels_are_named_and_labels_are_the_sources_values(classes: tuple[Path, Path], tmp_path: Path) -> None:
    _, folder = classes
    images = phantom_stack()[0][:2]
    write_stack(tmp_path / "stack.tif", images)
    predict(folder, tmp_path / "stack.tif", tmp_path / "maps.tif", device="cpu")
    predict(folder, tmp_path / "stack.tif", tmp_path / "labels.tif", labels=True, device="cpu")
    found = open_slices(tmp_path / "maps.tif", labels=False)
    assert found.channels == ("membrane", "cell", "mitochondria")
    maps, predictor = np.stack(list(found)), open_predictor(read_run(folder), device="cpu")
    assert np.array_equal(maps, np.stack([np.moveaxis(predictor.maps(image), 0, -1) for image in images]))
    np.testing.assert_allclose(maps.sum(axis=-1), 1, atol=1e-5)
    values = np.array([0, 100, 200])[maps.argmax(axis=-1)]
    assert np.array_equal(read_stack(tmp_path / "labels.tif"), values)
    write_stack(tmp_path / "truth.tif", three_classes()[:2])
    one = score_files(tmp_path / "maps.tif", tmp_path / "truth.tif", ignore=(9,)).scores
    other = score_files(tmp_path / "labels.tif", tmp_path / "truth.tif", ignore=(9,)).scores
    assert one.classes == other.classes is not None


@pytest.mark.parametrize("whole", [False, True])
def test_classes_are_evaluated_by_name_with_intervals(classes: tuple[Path, Path], tmp_path: Path, whole: bool) -> None:
    dataset, folder = classes
    files: dict[str, Any] = {}
    if whole:
        write_stack(tmp_path / "i.tif", phantom_stack()[0])
        write_stack(tmp_path / "l.tif", three_classes())
        files = {"images": tmp_path / "i.tif", "labels": tmp_path / "l.tif"}
    report = evaluate(folder, dataset, "test", **files, device="cpu").as_dict()
    assert list(report["dice"]) == ["membrane", "cell", "mitochondria"] == report["classes"]
    assert report["mean_dice"] == pytest.approx(np.mean([report["dice"]["cell"], report["dice"]["mitochondria"]]))
    low, high = report["intervals"]["mean_dice"]
    assert low <= report["mean_dice"] <= high
    counted = np.sum(report["confusion"])
    if whole:
        assert counted == np.sum(three_classes()[9:] != 9)


def test_the_source_is_found_where_it_was(tmp_path: Path) -> None:
    """And where it is another one by now, samples are scored, with a line."""
    from pipeline.source.readers import read_folder

    (tmp_path / "s").mkdir()
    images, labels = phantom_stack()
    write_stack(tmp_path / "s" / "train-volume.tif", images)
    write_stack(tmp_path / "s" / "train-labels.tif", labels)
    build_dataset(read_folder(tmp_path / "s"), BuildConfig(**OPTIONS), out=tmp_path / "d", jobs=1)
    folder = fit_small(tmp_path / "d", tmp_path / "run").folder
    found = evaluate(folder, tmp_path / "d", "test", device="cpu")
    assert (found.shown, found.scores.n) == ("whole slices", 3)
    assert evaluate(folder, tmp_path / "d", "test", augmented=True, device="cpu").shown == "augmented samples"
    (tmp_path / "s" / "train-labels.tif").unlink()
    write_stack(tmp_path / "s" / "train-labels.tif", labels[:, ::-1])
    assert evaluate(folder, tmp_path / "d", "test", device="cpu").shown == "augmented samples"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learn": "cells"}, "--target cells: needs labels of kind instances, the dataset's are classes"),
        ({"class_weights": "1,2"}, "class_weights: expected 3 numbers for --target classes, got 1,2"),
        ({"learn": "foreground", "network": replace(COSINE.network, outputs=3)}, "network.outputs: expected 1 or 2"),
    ],
)
def test_what_does_not_fit_the_labels_is_refused(
    classes: tuple[Path, Path], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        settle(replace(COSINE, **changes), classes[0], 10)
    with pytest.raises(ConfigError, match="class_weights: expected none, balanced, or a number for each"):
        replace(COSINE, class_weights="many")


def test_a_network_of_other_classes_is_not_evaluated(classes: tuple[Path, Path], phantom_dataset: Path) -> None:
    with pytest.raises(ConfigError, match=r"has 2 classes, and the network of .* tells 3 classes apart"):
        evaluate(classes[1], phantom_dataset, "test", device="cpu")


# Runs of objects


@pytest.mark.parametrize("learn", ["auto", "border"])
def test_objects_are_learnt_found_and_scored(tmp_path: Path, learn: str) -> None:
    images, labels = phantom_stack()
    ids = np.stack([ndimage.label(label)[0] for label in labels]).astype(np.uint16)
    source = make_source(images, ids, name="ids", label_kind="instances")
    build_dataset(source, BuildConfig(**OPTIONS), out=tmp_path / "d", jobs=1)
    fit_small(tmp_path / "d", tmp_path / "run", learn=learn, loss_weights="unet2015")
    run = read_run(tmp_path / "run")
    assert run.config.learn == ("cells" if learn == "auto" else learn)
    assert run.map_names == (("cell",) if learn == "auto" else ("background", "cell", "border"))
    found = evaluate(tmp_path / "run", tmp_path / "d", "test", device="cpu")
    assert {"ap_50", "seg", "pq", "voi_split", "objects"} <= set(found.as_dict())
    write_stack(tmp_path / "i.tif", images[:1])
    predict(tmp_path / "run", tmp_path / "i.tif", tmp_path / "o.tif", labels=True, device="cpu")
    assert read_stack(tmp_path / "o.tif").dtype == np.uint16


def test_a_prediction_of_two_sides_is_what_it_was(tmp_path: Path, phantom_dataset: Path) -> None:
    """A network of two outputs, too, has one map."""
    for outputs in (1, 2):
        folder = fit_small(
            phantom_dataset, tmp_path / str(outputs), network=replace(COSINE.network, outputs=outputs)
        ).folder
        predictor = open_predictor(read_run(folder), device="cpu")
        image = phantom_stack()[0][0]
        assert predictor.maps(image).shape == (1, *image.shape)
        assert np.array_equal(predictor(image), predictor.maps(image)[0])
