"""Prediction without seams: the same probabilities whatever the tiles, the turns, and the number of slices."""

import errno
import os
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from small_runs import COSINE, contents, edit_config, fit_small, noise, random_network, small_predictor

import pipeline.files
import pipeline.source.opening
import pipeline.source.tiff
from augment.gray import as_renderable
from pipeline.errors import ConfigError, StorageError
from pipeline.source.tiff import read_stack, write_stack
from training.config import UNetConfig
from training.inference import Predictor, as_levels, mirrored, open_predictor, predict
from training.run_folder import RunError, read_run

NETWORKS = {
    "valid, transposed, none": UNetConfig(width=2, depth=1),
    "valid, upsampled, none": UNetConfig(width=2, depth=2, up="upsample", outputs=1),
    "valid, transposed, batch": UNetConfig(width=2, depth=2, norm="batch"),
    "same, transposed, batch": UNetConfig(width=2, depth=2, padding="same", norm="batch", outputs=1),
    "same, upsampled, none": UNetConfig(width=2, depth=1, padding="same", up="upsample"),
    "same, upsampled, batch": UNetConfig(width=1, depth=2, padding="same", up="upsample", norm="batch"),
    "valid, release": UNetConfig(width=2, depth=1, up_relu=True, last_up=4, dropout=0.5),
}
SIZES = [(1, 1), (3, 50), (70, 33), (90, 101)]  # the last one of several tiles each way


@pytest.fixture(scope="module")
def run_folder(phantom_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run; tests only read it."""
    return fit_small(phantom_dataset, tmp_path_factory.mktemp("predict") / "run").folder


@pytest.fixture
def predictor(run_folder: Path) -> Predictor:
    return open_predictor(read_run(run_folder), device="cpu", tile=32)


def predict_stack(predictor: Predictor, stack: Path, out: Path, *, overwrite: bool = False) -> tuple[int, int, int]:
    return predict(predictor.run.folder, stack, out, overwrite=overwrite, device="cpu", tile=predictor.tile)


# Tiles


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", NETWORKS)
def test_tiled_equals_untiled(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    """Tiles of 32 px, and of a length that no pooling divides, against one tile of the whole slice."""
    network, image = random_network(NETWORKS[name]), noise(size)
    whole = small_predictor(tmp_path, network)(image)
    assert (whole.shape, whole.dtype) == (size, np.float32)
    for tile in (32, 27):
        tiled = small_predictor(tmp_path, network, tile=tile)(image)
        assert np.abs(tiled - whole).max() < 1e-5, tile


@pytest.mark.parametrize("name", NETWORKS)
def test_the_inner_part_is_what_the_network_says(tmp_path: Path, name: str) -> None:
    """Away from the edges, no tile and no mirror: the network on the slice itself."""
    config = NETWORKS[name]
    network, image = random_network(config), noise((120, 120))
    with torch.inference_mode():
        side = config.largest_input(120)
        scores = network((torch.from_numpy(image).float()[None, None, :side, :side] - 128) / 40)
    logit = scores[0, 0] if config.outputs == 1 else scores[0, 1] - scores[0, 0]
    edge = config.halo + config.step
    kept = config.reach if config.padding == "valid" else 0
    inner = slice(edge, side - edge)
    expected = torch.sigmoid(logit).numpy()[edge - kept : side - edge - kept, edge - kept : side - edge - kept]
    found = small_predictor(tmp_path, network, tile=32)(image)[inner, inner]
    assert found.size >= 100
    assert np.abs(found - expected).max() < 1e-5


def test_a_slice_goes_on_in_mirrors() -> None:
    assert mirrored(-4, 11, 3).tolist() == [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0]
    assert mirrored(-2, 4, 1).tolist() == [0, 0, 0, 0]


def test_the_edge_sees_the_mirrored_slice(tmp_path: Path) -> None:
    """A slice and its mirror image side by side give, on the left, what the slice alone gives."""
    network, image = random_network(NETWORKS["valid, transposed, batch"]), noise((64, 64))
    alone = small_predictor(tmp_path, network)(image)
    double = small_predictor(tmp_path, network)(np.concatenate([image, image[:, ::-1]], axis=1))
    assert np.abs(double[:, :64] - alone).max() < 1e-5


def test_a_tile_is_as_wide_as_what_the_network_looks_at_around_it(run_folder: Path) -> None:
    """Below that, every pixel is computed more than nine times; this network, of one pooling, sees 10 px around."""
    for tile in (-1, 0, 1, 9):
        with pytest.raises(ConfigError, match=rf"--tile: expected 10 px or more, .*; got {tile}"):
            open_predictor(read_run(run_folder), device="cpu", tile=tile)
    image = noise((25, 36))
    least, whole = (open_predictor(read_run(run_folder), device="cpu", tile=tile)(image) for tile in (10, 512))
    assert np.abs(least - whole).max() < 1e-5


# Turns, gray levels


@pytest.mark.parametrize("size", [(40, 40), (33, 70)], ids=["square", "oblong"])
def test_tta_is_the_mean_over_the_eight_ways(tmp_path: Path, size: tuple[int, int]) -> None:
    network, image = random_network(NETWORKS["same, transposed, batch"]), noise(size)
    plain = small_predictor(tmp_path, network)
    total = np.zeros(size)
    for mirror in (False, True):
        for quarter in range(4):
            view = np.rot90(image.T if mirror else image, quarter)
            back = np.rot90(plain(np.ascontiguousarray(view)), -quarter)
            total += back.T if mirror else back
    found = small_predictor(tmp_path, network, tta=True)(image)
    assert np.abs(found - total / 8).max() < 1e-5
    assert np.abs(found - plain(image)).max() > 1e-3  # it does something


def test_gray_levels_of_16_bits_count(tmp_path: Path) -> None:
    """257 x the levels with 257 x the normalisation are the same picture; the low byte matters."""
    network, image = random_network(NETWORKS["valid, transposed, none"]), noise((40, 40))
    deep = small_predictor(tmp_path, network, dtype="uint16")
    expected = small_predictor(tmp_path, network)(image)
    assert np.abs(deep(image.astype(np.uint16) * 257) - expected).max() < 1e-4
    assert not np.array_equal(deep(image.astype(np.uint16) * 257 & 0xFF00), expected)


def test_another_dtype_is_refused(tmp_path: Path) -> None:
    network = random_network(NETWORKS["valid, transposed, none"])
    with pytest.raises(ConfigError, match="was trained on uint8 images, and gets uint16; convert"):
        small_predictor(tmp_path, network)(noise((8, 8), "uint16"))
    with pytest.raises(ConfigError, match="was trained on uint16 images, and gets uint8; convert"):
        small_predictor(tmp_path, network, dtype="uint16")(noise((8, 8)))


def test_probabilities_lie_in_0_to_1(tmp_path: Path) -> None:
    network = random_network(NETWORKS["same, upsampled, none"])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(30)
    found = small_predictor(tmp_path, network, tta=True)(noise((40, 40)))
    assert 0 <= found.min() <= found.max() <= 1


def test_predicting_needs_no_gradients(predictor: Predictor) -> None:
    """And does not switch them off for whoever calls it."""
    assert isinstance(predictor(noise((8, 8))), np.ndarray)
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()


# Stacks


def test_a_stack_becomes_a_stack_of_floats(predictor: Predictor, tmp_path: Path) -> None:
    stack = noise((3, 40, 50))
    write_stack(tmp_path / "stack.tif", stack)
    assert predict_stack(predictor, tmp_path / "stack.tif", tmp_path / "out.tif") == (3, 40, 50)
    found = read_stack(tmp_path / "out.tif")
    assert (found.dtype, found.shape) == (np.float32, (3, 40, 50))
    assert np.array_equal(found, np.stack([predictor(image) for image in stack]))
    assert np.array_equal(tifffile.imread(tmp_path / "out.tif"), found)
    assert sorted(contents(tmp_path)) == ["out.tif", "stack.tif"]


def test_the_same_bytes_every_time(predictor: Predictor, tmp_path: Path) -> None:
    write_stack(tmp_path / "stack.tif", noise((2, 40, 50)))
    for name in ("a.tif", "b.tif", "b.tif"):
        predict_stack(predictor, tmp_path / "stack.tif", tmp_path / name, overwrite=True)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


@pytest.mark.parametrize("n", [4, 40])
def test_memory_does_not_grow_with_the_slices(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    """Neither the slices that are read nor the predictions that are written pile up."""
    read, made = Counter(), Counter()

    class Endless:
        shape, channels = (n, 16, 16), ()

        def __iter__(self) -> Iterator[NDArray[Any]]:
            return (read.watch(np.full((16, 16), z, np.uint8)) for z in range(n))

        def close(self) -> None:
            """Nothing is open."""

    real = Predictor.__call__
    monkeypatch.setattr(Predictor, "__call__", lambda self, image: made.watch(real(self, image)))
    monkeypatch.setattr(pipeline.source.opening, "open_slices", lambda _, **__: Endless())
    assert predict_stack(predictor, tmp_path / "stack.tif", tmp_path / "out.tif") == (n, 16, 16)
    assert (read.n, made.n) == (n, n)
    assert read.most <= 2
    assert made.most <= 3


class Counter:
    """Counts the arrays that live at a time."""

    def __init__(self) -> None:
        self.n = self.live = self.most = 0

    def watch(self, array: NDArray[Any]) -> NDArray[Any]:
        self.n, self.live = self.n + 1, self.live + 1
        self.most = max(self.most, self.live)
        weakref.finalize(array, self._gone)
        return array

    def _gone(self) -> None:
        self.live -= 1


def test_a_stack_damaged_in_the_middle_leaves_nothing(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also not what was there before: the old prediction stays whole."""
    tifffile.imwrite(tmp_path / "stack.tif", noise((3, 40, 50)), compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "stack.tif") as tiff:
        start, length = tiff.pages[1].dataoffsets[0], tiff.pages[1].databytecounts[0]
    data = bytearray((tmp_path / "stack.tif").read_bytes())
    data[start : start + length] = bytes(length)
    (tmp_path / "stack.tif").write_bytes(data)
    (tmp_path / "old.tif").write_bytes(b"old")
    before = contents(tmp_path)
    seen = []
    real = Predictor.__call__
    monkeypatch.setattr(Predictor, "__call__", lambda self, image: seen.append(1) or real(self, image))
    for name in ("out.tif", "old.tif"):
        with pytest.raises(Exception, match="slice 1") as caught:
            predict_stack(predictor, tmp_path / "stack.tif", tmp_path / name, overwrite=True)
        assert type(caught.value).__name__ == "SourceError"
        assert contents(tmp_path) == before
    assert seen  # the first slice was fine


def test_a_full_disk_leaves_nothing(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_stack(tmp_path / "stack.tif", noise((1, 8, 8)))
    before = contents(tmp_path)

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pipeline.files.os, "fsync", fail)
    with pytest.raises(StorageError, match=r"out\.tif: the disk is full"):
        predict_stack(predictor, tmp_path / "stack.tif", tmp_path / "out.tif")
    assert contents(tmp_path) == before


def test_the_stack_is_never_overwritten(predictor: Predictor, tmp_path: Path) -> None:
    """Under no name: links are followed."""
    write_stack(tmp_path / "stack.tif", noise((1, 8, 8)))
    (tmp_path / "link.tif").symlink_to("stack.tif")
    os.link(tmp_path / "stack.tif", tmp_path / "hard.tif")
    before = contents(tmp_path)
    for name in ("stack.tif", "link.tif", "hard.tif", "../" + tmp_path.name + "/stack.tif"):
        with pytest.raises(ConfigError, match="is the stack itself; name another file"):
            predict_stack(predictor, tmp_path / "stack.tif", tmp_path / name, overwrite=True)
    assert contents(tmp_path) == before


def test_what_is_there_is_replaced_only_where_that_was_asked_for(predictor: Predictor, tmp_path: Path) -> None:
    """Somebody's labels, say; a link is left as it is, too, even one that leads nowhere."""
    write_stack(tmp_path / "stack.tif", noise((1, 20, 20)))
    write_stack(tmp_path / "labels.tif", noise((1, 20, 20), seed=1))
    (tmp_path / "link.tiff").symlink_to("nowhere")
    before = contents(tmp_path)
    for name in ("labels.tif", "link.tiff"):
        with pytest.raises(ConfigError, match=rf"{name}: is there already; name another file .*, or --overwrite it"):
            predict_stack(predictor, tmp_path / "stack.tif", tmp_path / name)
    assert contents(tmp_path) == before
    assert (tmp_path / "link.tiff").is_symlink()
    predict_stack(predictor, tmp_path / "stack.tif", tmp_path / "labels.tif", overwrite=True)
    assert read_stack(tmp_path / "labels.tif").dtype == np.float32


def test_a_prediction_is_named_as_the_tiff_that_it_is(predictor: Predictor, tmp_path: Path) -> None:
    write_stack(tmp_path / "stack.tif", noise((1, 20, 20)))
    for name in ("o.png", "o", "tif"):
        with pytest.raises(ConfigError, match=rf"{name}: expected a name that ends in \.tif or \.tiff"):
            predict_stack(predictor, tmp_path / "stack.tif", tmp_path / name)
    for name in ("a.tiff", "B.TIF"):
        predict_stack(predictor, tmp_path / "stack.tif", tmp_path / name)
    os.mkfifo(tmp_path / "pipe.tif")
    with pytest.raises(ConfigError, match=r"pipe\.tif: is no plain file"):
        predict_stack(predictor, tmp_path / "stack.tif", tmp_path / "pipe.tif", overwrite=True)
    (tmp_path / "pipe.tif").unlink()
    assert sorted(contents(tmp_path)) == ["B.TIF", "a.tiff", "stack.tif"]


def test_a_folder_is_no_file_for_a_prediction(predictor: Predictor, tmp_path: Path) -> None:
    """Said before hours of prediction, and not after them."""
    write_stack(tmp_path / "stack.tif", noise((1, 8, 8)))
    with pytest.raises(ConfigError, match="is a folder; name a file"):
        predict_stack(predictor, tmp_path / "stack.tif", tmp_path)


def test_no_stack_is_a_question_of_use(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a TIFF file, found nothing"):
        predict_stack(predictor, tmp_path / "none.tif", tmp_path / "out.tif")
    assert contents(tmp_path) == {}


def test_another_dtype_leaves_nothing(predictor: Predictor, tmp_path: Path) -> None:
    write_stack(tmp_path / "stack.tif", noise((1, 8, 8), "uint16"))
    with pytest.raises(ConfigError, match="gets uint16"):
        predict_stack(predictor, tmp_path / "stack.tif", tmp_path / "out.tif")
    assert list(contents(tmp_path)) == ["stack.tif"]


# Networks


def test_a_run_without_a_network_is_refused(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((run_folder / "config.json").read_bytes())
    with pytest.raises(RunError, match=r"network\.pt: not there"):
        open_predictor(read_run(tmp_path), device="cpu")
    (tmp_path / "network.pt").write_bytes((run_folder / "network.pt").read_bytes())
    edit_config(tmp_path, network={**read_run(run_folder).config.as_dict()["network"], "width": 3})
    with pytest.raises(RunError, match=r"network\.pt: not the network that config\.json describes"):
        open_predictor(read_run(tmp_path), device="cpu")


def test_the_network_of_a_run_is_used(run_folder: Path) -> None:
    """Its weights, its normalisation, in evaluation mode."""
    run = read_run(run_folder)
    image = noise((32, 32))
    found = open_predictor(run, device="cpu")(image)
    other = open_predictor(replace(run, normalisation=replace(run.normalisation, mean=0.0)), device="cpu")(image)
    assert run.config == replace(COSINE, learn="foreground")
    assert not np.array_equal(found, other)
    assert not open_predictor(run, device="cpu").network.training


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_predicts_nearly_the_same(run_folder: Path) -> None:
    image = noise((70, 90))
    found, expected = (open_predictor(read_run(run_folder), device=name)(image) for name in ("cuda", "cpu"))
    assert np.abs(found - expected).max() < 1e-2  # TF32 may be on


@pytest.mark.parametrize("dtype", ["bool", "int8", "int16", "float16", "float32"])
def test_levels_are_those_that_a_build_makes(dtype: str) -> None:
    """A stack that is predicted must look to the network as it looked in training."""
    image = np.array([[-3, 0, 5]]).astype(dtype)
    found, expected = as_levels(image), as_renderable(image)
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)
