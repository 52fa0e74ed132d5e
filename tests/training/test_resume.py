"""N steps are k steps, a SIGKILL anywhere, a resume, and N - k steps: the same weights and log, byte for byte."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_datasets import build_phantom
from small_runs import (
    COSINE,
    LOG,
    PLATEAU,
    contents,
    copy_run,
    edit_config,
    fit_small,
    lasting,
    network_bytes,
    read_log,
)

from pipeline.errors import ConfigError, exit_code
from training.fitting import fit, resume
from training.run_folder import RunError, load, save

STEPS, ROUNDS = 6, 3
FILES = ("checkpoint.pt", "config.json", "metrics.csv", "metrics.jsonl", "network.pt", "times.jsonl")
SCHEDULES = {
    "sgd, plateau, dropout": (
        "--preset", "release", "--set", "network.last_up=0", "--set", "network.dropout=0.5",
        "--set", "plateau_patience=0",
    ),
    "adamw, cosine, batch norm": ("--preset", "small", "--set", "crop=64"),
}  # fmt: skip
TINY = (
    "--set", "network.width=2", "--set", "network.depth=1", "--steps", str(STEPS), "--rounds", str(ROUNDS),
    "--batch", "2", "--threads", "1", "--device", "cpu", "--no-pictures", "--quiet",
)  # fmt: skip


class Driver:
    """Starts a run in a process of its own, and kills it where it is told."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("fit_driver.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: object, kill: tuple[str, int] | None = None) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"arguments": list(map(str, arguments)), "kill": kill}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def fit(self, dataset: Path, out: Path, *options: str, kill: tuple[str, int] | None = None) -> dict[str, Any]:
        return self.run("fit", dataset, "--out", out, *options, *TINY, kill=kill)

    def resume(self, out: Path, kill: tuple[str, int] | None = None) -> dict[str, Any]:
        return self.run("resume", out, "--no-pictures", "--quiet", kill=kill)

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    driver = Driver()
    yield driver
    driver.close()


Whole = Callable[..., Path]


@pytest.fixture(scope="module")
def whole(driver: Driver, phantom_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Runs that nothing interrupted, made when they are first asked for."""
    runs: dict[tuple[str, ...], Path] = {}

    def made(*options: str) -> Path:
        if options not in runs:
            out = tmp_path_factory.mktemp("whole") / "run"
            answer = driver.fit(phantom_dataset, out, *options)
            assert answer == {"killed": False, "code": 0, "lines": []}
            runs[options] = out
        return runs[options]

    return made


def assert_same_run(out: Path, expected: Path) -> None:
    """Everything but the wall times: and so weights, optimiser, generators and log."""
    assert sorted(contents(out)) == sorted(FILES)
    for name in LOG:
        assert (out / name).read_bytes() == (expected / name).read_bytes(), name
    assert network_bytes(out) == network_bytes(expected)
    assert lasting(out) == lasting(expected)


# Killed and resumed


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_killed_in_the_middle_of_a_round_ends_with_the_same_bits(
    driver: Driver, whole: Whole, phantom_dataset: Path, tmp_path: Path, schedule: str, precision: str
) -> None:
    options = (*SCHEDULES[schedule], "--precision", precision)
    assert driver.fit(phantom_dataset, tmp_path / "run", *options, kill=("step", 3))["killed"]
    assert len(read_log(tmp_path / "run")) == 1
    assert driver.resume(tmp_path / "run") == {"killed": False, "code": 0, "lines": []}
    assert_same_run(tmp_path / "run", whole(*options))


# What a run does on the disk: config.json, then csv, jsonl, times, network and checkpoint of each round.
PLACES = [
    *(("step", k) for k in (0, 1, 2, 5)),  # the first two before there is a checkpoint
    *(("write", k) for k in range(1, 11)),  # half of each file of two rounds
    *(("rename", k) for k in (4, 5)),  # whole files, under their temporary names
    *(("flush", k) for k in (11, 19)),  # the folder, after a file has got its name
]


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place[0]} {place[1]}")
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_killed_anywhere_ends_with_the_same_bits(
    driver: Driver, whole: Whole, phantom_dataset: Path, tmp_path: Path, schedule: str, place: tuple[str, int]
) -> None:
    options = (*SCHEDULES[schedule], "--precision", "fp32")
    assert driver.fit(phantom_dataset, tmp_path / "run", *options, kill=place)["killed"]
    assert driver.resume(tmp_path / "run") == {"killed": False, "code": 0, "lines": []}
    assert_same_run(tmp_path / "run", whole(*options))


def test_the_network_may_be_a_round_ahead_of_the_checkpoint(
    driver: Driver, whole: Whole, phantom_dataset: Path, tmp_path: Path
) -> None:
    """The gap between the two renamings: the plan of PLACES is not off by one."""
    options = (*SCHEDULES["adamw, cosine, batch norm"], "--precision", "fp32")
    assert driver.fit(phantom_dataset, tmp_path / "run", *options, kill=("rename", 10))["killed"]
    before = contents(tmp_path / "run")
    rows = load(tmp_path / "run" / "checkpoint.pt")["rows"]
    assert len(rows) == 1
    assert len(read_log(tmp_path / "run")) == 2
    assert before["network.pt"] != contents(whole(*options))["network.pt"]
    assert ".checkpoint.pt.tmp" in before
    assert driver.resume(tmp_path / "run")["code"] == 0
    assert_same_run(tmp_path / "run", whole(*options))


def test_a_run_killed_again_and_again_ends_with_the_same_bits(
    driver: Driver, whole: Whole, phantom_dataset: Path, tmp_path: Path
) -> None:
    options = (*SCHEDULES["sgd, plateau, dropout"], "--precision", "fp32")
    assert driver.fit(phantom_dataset, tmp_path / "run", *options, kill=("step", 1))["killed"]
    for place in (("write", 2), ("step", 2), ("rename", 3), ("step", 1), ("flush", 3)):
        assert driver.resume(tmp_path / "run", kill=place)["killed"], place
    assert driver.resume(tmp_path / "run")["code"] == 0
    assert_same_run(tmp_path / "run", whole(*options))


@pytest.mark.parametrize("what", ["write", "flush", "rename"])
def test_a_run_killed_before_it_began_begins_again(
    driver: Driver, whole: Whole, phantom_dataset: Path, tmp_path: Path, what: str
) -> None:
    """Without config.json there is no run yet: resume says so, and fit may use the folder."""
    options = (*SCHEDULES["adamw, cosine, batch norm"], "--precision", "fp32")
    assert driver.fit(phantom_dataset, tmp_path / "run", *options, kill=(what, 0))["killed"]
    answer = driver.resume(tmp_path / "run")
    assert (answer["code"], len(answer["lines"])) == (3, 1)
    assert "no run of augtrain fit here" in answer["lines"][0]
    assert driver.fit(phantom_dataset, tmp_path / "run", *options)["code"] == 0
    assert_same_run(tmp_path / "run", whole(*options))


@pytest.mark.slow
@pytest.mark.parametrize("k", [6, 8, 24])
def test_pictures_that_were_cut_are_drawn_again(
    driver: Driver, whole: Whole, phantom_dataset: Path, tmp_path: Path, k: int
) -> None:
    """Three pictures after each of three checkpoints; 24 is the last file of all."""
    options = (*SCHEDULES["adamw, cosine, batch norm"], "--precision", "fp32")
    where = ("--out", tmp_path / "run")
    answer = driver.run("fit", phantom_dataset, *where, *options, *TINY, "--pictures", kill=("write", k))
    assert answer["killed"]
    assert any(name.endswith(".png.tmp") for name in contents(tmp_path / "run"))
    assert driver.run("resume", tmp_path / "run", "--quiet") == {"killed": False, "code": 0, "lines": []}
    files = lasting(tmp_path / "run")
    for name in ("curves.png", "samples.png", "thresholds.png"):
        assert files.pop(name).startswith(b"\x89PNG"), name
    assert files == lasting(whole(*options))


def test_generators_matter(phantom_dataset: Path, tmp_path: Path) -> None:
    """The planted fault: a checkpoint without torch's generator gives another run."""

    class Stop(Exception):  # noqa: N818  # no error
        pass

    def stop(_row: object) -> None:
        raise Stop

    config = replace(PLATEAU, network=replace(PLATEAU.network, dropout=0.5))
    expected = fit_small(phantom_dataset, tmp_path / "whole", config).folder
    for name in ("kept", "lost"):
        with pytest.raises(Stop):
            fit(phantom_dataset, tmp_path / name, config, pictures=False, on_round=stop)
    values = load(tmp_path / "lost" / "checkpoint.pt")
    values["random"]["cpu"] = torch.Generator().manual_seed(5).get_state()
    save(tmp_path / "lost" / "checkpoint.pt", values)
    for name in ("kept", "lost"):
        torch.manual_seed(99)
        resume(tmp_path / name, pictures=False)
    assert lasting(tmp_path / "kept") == lasting(expected)
    assert read_log(tmp_path / "lost")[0] == read_log(expected)[0]
    assert read_log(tmp_path / "lost")[1] != read_log(expected)[1]


# Finished runs


@pytest.mark.parametrize("config", [COSINE, PLATEAU], ids=["cosine", "plateau"])
def test_a_finished_run_stays_as_it_is(phantom_dataset: Path, tmp_path: Path, config: Any) -> None:
    run = fit_small(phantom_dataset, tmp_path / "run", config)
    before = contents(run.folder)
    assert resume(run.folder, pictures=False) == run
    assert contents(run.folder) == before


def test_a_run_that_stopped_early_stays_as_it_is(phantom_dataset: Path, tmp_path: Path) -> None:
    """Its rounds are not all done, and none is to come."""
    run = fit_small(phantom_dataset, tmp_path / "run", replace(PLATEAU, learning_rate=1e-12, rounds=4, stop_patience=1))
    assert len(read_log(run.folder)) < 4
    before = contents(run.folder)
    resume(run.folder, pictures=False)
    assert contents(run.folder) == before


# What resume refuses


@pytest.fixture(scope="module")
def finished(phantom_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; tests damage copies."""
    return fit_small(phantom_dataset, tmp_path_factory.mktemp("finished") / "run").folder


def test_another_dataset_is_refused(finished: Path, tmp_path: Path) -> None:
    other = build_phantom(tmp_path / "other", seed=1)
    with pytest.raises(ConfigError, match=r"expected the dataset with digest .*, found .*--dataset") as caught:
        resume(finished, dataset=other)
    assert exit_code(caught.value) == 2


def test_a_dataset_may_move(phantom_copy: Path, tmp_path: Path) -> None:
    run = fit_small(phantom_copy, tmp_path / "run")
    phantom_copy.rename(tmp_path / "moved")
    with pytest.raises(Exception, match="dataset"):
        resume(run.folder, pictures=False)
    assert resume(run.folder, dataset=tmp_path / "moved", pictures=False).dataset == tmp_path / "moved"


def test_a_relative_dataset_is_found_from_anywhere(
    phantom_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(phantom_dataset.parent)
    fit_small(Path(phantom_dataset.name), tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert resume(Path("run"), pictures=False).dataset == phantom_dataset


def test_a_device_that_is_not_there_is_refused(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of a machine with a GPU, taken to one without."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    folder = copy_run(finished, tmp_path / "run")
    edit_config(folder, device="cuda")
    with pytest.raises(ConfigError, match="torch sees 0 CUDA devices here"):
        resume(folder, pictures=False)


def test_other_versions_are_told(finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = copy_run(finished, tmp_path / "run")
    resume(folder, pictures=False)
    assert "bits may differ" not in caplog.text
    values = json.loads((folder / "config.json").read_bytes())
    values["versions"]["torch"] = "1.0"
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    resume(folder, pictures=False)
    assert f"torch was 1.0 when the run began and is {torch.__version__} now; the bits may differ" in caplog.text


def damage_schema(folder: Path) -> None:
    text = (folder / "config.json").read_text(encoding="utf-8")
    (folder / "config.json").write_text(text.replace("augtrain/run/1", "augtrain/run/9"), encoding="utf-8")


def damage_digest(folder: Path) -> None:
    save(folder / "checkpoint.pt", {**load(folder / "checkpoint.pt"), "digest": "0" * 64})


def drop_optimizer(folder: Path) -> None:
    values = load(folder / "checkpoint.pt")
    del values["optimizer"]
    save(folder / "checkpoint.pt", values)


def widen(folder: Path) -> None:
    network = json.loads((folder / "config.json").read_bytes())["config"]["network"]
    edit_config(folder, network={**network, "width": 3})


def watch_training(folder: Path) -> None:
    values = json.loads((folder / "config.json").read_bytes())
    division = values["dataset"]["division"]
    division["watched"] += division["train"][:1]
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "no run of augtrain fit here"),
    "no JSON": (
        lambda folder: (folder / "config.json").write_text("{"),
        "not the config of a run.*no JSON from line 1",
    ),
    "no text": (lambda folder: (folder / "config.json").write_bytes(b"\xff"), "not the config of a run"),
    "a list": (lambda folder: (folder / "config.json").write_text("[]"), "its values are of other kinds"),
    "nothing said": (lambda folder: (folder / "config.json").write_text("{}"), "it does not say 'schema'"),
    "an older version": (damage_schema, r"schema 'augtrain/run/9', expected augtrain/run/1"),
    "a bad setting": (lambda folder: edit_config(folder, batch=0), "batch: expected 1 to 4096, got 0"),
    "an unknown setting": (lambda folder: edit_config(folder, colour="red"), "not the config of a run"),
    "no checkpoint": (
        lambda folder: (folder / "checkpoint.pt").unlink(),
        r"checkpoint\.pt is missing, so the run cannot",
    ),
    "a torn checkpoint": (
        lambda folder: (folder / "checkpoint.pt").write_bytes((folder / "checkpoint.pt").read_bytes()[:5000]),
        "not a checkpoint that can be trusted",
    ),
    "a checkpoint of another dataset": (damage_digest, "belongs to another dataset than config.json says"),
    "a checkpoint without its optimiser": (drop_optimizer, "not the checkpoint of this run"),
    "a checkpoint of another network": (widen, "belongs to a run of other settings"),
    "a checkpoint of another seed": (lambda folder: edit_config(folder, seed=7), "belongs to a run of other settings"),
    "samples on both sides": (watch_training, "samples are trained on and watched at once"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_refused_and_left_alone(finished: Path, tmp_path: Path, damage: str) -> None:
    folder = copy_run(finished, tmp_path / "run")
    do, words = DAMAGES[damage]
    do(folder)
    before = contents(folder)
    with pytest.raises(RunError, match=words) as caught:
        resume(folder, pictures=False)
    assert "\n" not in str(caught.value)
    assert "Error" not in str(caught.value)  # the name of an exception says nothing to a user
    assert contents(folder) == before


def test_a_run_of_keras_is_refused_and_left_alone(finished: Path, tmp_path: Path) -> None:
    """It has no checkpoint, and beginning again as torch would write over its files."""
    folder = copy_run(finished, tmp_path / "run")
    (folder / "checkpoint.pt").unlink()
    values = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps({**values, "framework": "keras"}), encoding="utf-8")
    before = contents(folder)
    with pytest.raises(RunError, match="was trained with keras, which keeps no checkpoint"):
        resume(folder, pictures=False)
    assert contents(folder) == before


# On a GPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("config", [COSINE, PLATEAU], ids=["cosine", "plateau"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_on_a_gpu_goes_on_to_the_same_bits(
    phantom_dataset: Path, tmp_path: Path, config: Any, precision: str
) -> None:
    class Stop(Exception):  # noqa: N818  # no error
        pass

    def stop(_row: object) -> None:
        raise Stop

    config = replace(config, device="cuda", loader="device", precision=precision)
    expected = fit_small(phantom_dataset, tmp_path / "whole", config).folder
    with pytest.raises(Stop):
        fit(phantom_dataset, tmp_path / "run", config, pictures=False, on_round=stop)
    resume(tmp_path / "run", pictures=False)
    assert lasting(tmp_path / "run") == lasting(expected)
