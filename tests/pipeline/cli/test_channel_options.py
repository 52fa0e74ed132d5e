"""The options that say what channels are: on the command line, in a config file, and for verify and rebuild later."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from small_worlds import OPTIONS, small_stack

from pipeline.shards.dataset import open_dataset
from pipeline.source.tiff import write_stack

Run = Callable[..., Any]
IMAGES, LABELS = small_stack()
CUBE = np.stack([IMAGES, np.roll(IMAGES, 5, axis=2), IMAGES[:, ::-1]], axis=-1)  # slices, rows, columns, channels


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_stack(tmp_path / "labels.tif", LABELS)
    write_stack(tmp_path / "label.tif", LABELS[:1])
    tifffile.imwrite(tmp_path / "rgb.tif", CUBE, photometric="rgb")
    tifffile.imwrite(tmp_path / "planes.tif", IMAGES[:3], imagej=True, metadata={"axes": "CYX"})
    for c, name in enumerate(("dapi", "gfp", "phase")):
        write_stack(tmp_path / f"{name}.tif", CUBE[..., c])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def channels(folder: Path) -> tuple[str, ...]:
    return open_dataset(folder).record.arrays.channels or ()


def test_chosen_channels_are_found_again(place: Path, augpipe: Run) -> None:
    """The file has three, and nothing but build-info.json says which of them the dataset is of."""
    for wanted, expected in (("blue,red", ("blue", "red")), ("1", ())):
        done = augpipe(
            "build", "--images", "rgb.tif", "--labels", "labels.tif", "--channel", wanted, *OPTIONS, "--out", wanted
        )
        assert done.code == 0
        assert channels(place / wanted) == expected
        assert augpipe("verify", wanted, "--replay").code == 0
    config = place / "set.toml"
    config.write_text('images = "rgb.tif"\nlabels = "labels.tif"\nchannel = "1"\n')
    assert "reused" in augpipe("build", "--config", config, *OPTIONS, "--out", "1").out
    config.write_text('images = "rgb.tif"\nlabels = "labels.tif"\nchannel = ["blue", "red"]\n')
    assert "reused" in augpipe("build", "--config", config, *OPTIONS, "--out", "blue,red").out


def test_joined_channels_are_found_again(place: Path, augpipe: Run) -> None:
    names = ("dapi", "gfp", "phase")
    images = [word for name in names for word in ("--images", f"{name}.tif")]
    refused = augpipe("build", *images, "--labels", "labels.tif", *OPTIONS)
    assert refused.code == 2
    assert "got 3 --images and 1 --labels; if these images are the channels of one stack, say --join ch" in refused.err
    assert augpipe("build", *images, "--labels", "labels.tif", "--join", "channels", *OPTIONS, "--out", "d").code == 0
    assert channels(place / "d") == names
    assert augpipe("verify", "d", "--replay").code == 0
    assert augpipe("verify", "d", "--replay", "--source", ".").code == 0
    assert augpipe("rebuild", "d", *images, "--labels", "labels.tif", "--out", "again").code == 0
    config = place / "set.toml"
    config.write_text(f'images = {[f"{name}.tif" for name in names]}\nlabels = "labels.tif"\njoin = "channels"\n')
    assert "reused" in augpipe("build", "--config", config, *OPTIONS, "--out", "d").out


def test_what_cannot_be_joined_is_refused(place: Path, augpipe: Run) -> None:
    two = ("--images", "dapi.tif", "--images", "gfp.tif")
    for arguments in (
        (*two, "--labels", "labels.tif", "--labels", "label.tif"),
        (*two, "--images", "phase.tif", "--labels", "labels.tif", "--labels", "label.tif"),
        (),
    ):
        done = augpipe("build", *arguments, "--join", "channels", *OPTIONS)
        assert done.code == 2
        assert "--join: expected the --images of each channel for every --labels, 2 or more, got" in done.err
    assert sorted(path.name for path in place.iterdir() if path.is_dir()) == []


@pytest.mark.parametrize("said", ["--channels-are-slices", "--no-channels-are-slices"])
def test_the_answer_that_a_question_names_is_one(place: Path, augpipe: Run, said: str) -> None:
    label = "label.tif" if said.startswith("--no") else "labels3.tif"
    write_stack(place / "labels3.tif", LABELS[:3])
    arguments = ("build", "--images", "planes.tif", "--labels", label, *OPTIONS, "--gap", "0", "--out", "d")
    if label == "label.tif":
        arguments = (*arguments, "--test", "0")
    asked = augpipe(*arguments)
    assert asked.code == 2
    assert said in asked.err
    assert augpipe(*arguments, said).code == 0
    assert channels(place / "d") == (("0", "1", "2") if label == "label.tif" else ())
    assert augpipe("verify", "d", "--replay").code == 0


@pytest.mark.usefixtures("place")
def test_the_phantom_has_one_channel(augpipe: Run) -> None:
    done = augpipe("build", "--channel", "0", *OPTIONS)
    assert done.code == 2
    assert "channel: the built-in phantom has one channel" in done.err
