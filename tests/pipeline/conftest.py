"""Fixtures of the pipeline's tests."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from kaggle_loopback import TOKEN, Loopback, StillClock
from publish_worlds import SECRETS, TO_KAGGLE, write_report
from small_worlds import OPTIONS, small_stack, write_folder

from pipeline.cli import main

# What only the first build on a machine prints, whichever test it is in.
_FIRST_RUN = re.compile(r"^(compiling the kernels, once; about \d+ s|compiled in \d+ s)\n", re.MULTILINE)


class Outcome(NamedTuple):
    """What a command left: its exit status and its lines."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source folder with the small stack; tests only read it."""
    return write_folder(tmp_path_factory.mktemp("source") / "small", *small_stack())


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """The small dataset, built once from the folder; tests only read it."""
    out = tmp_path_factory.mktemp("built") / "dataset"
    assert main(["build", str(folder), "--out", str(out), "--quiet", *OPTIONS]) == 0
    return out


@pytest.fixture
def dataset(tmp_path: Path, built: Path) -> Path:
    """A copy of the small dataset, to be damaged."""
    return Path(shutil.copytree(built, tmp_path / "dataset"))


@pytest.fixture
def augpipe(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Outcome(code, out, _FIRST_RUN.sub("", err))

    return run


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as loopback:
        yield loopback
        assert loopback.errors == []


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of our own, with a token, so that no test can meet the credentials of whoever runs it."""
    for name in [name for name in os.environ if name.startswith("KAGGLE") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    token = home / ".kaggle" / "access_token"
    token.parent.mkdir(parents=True)
    token.write_text(f"{TOKEN}\n")
    token.chmod(0o600)
    return home


@pytest.fixture
def clock(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> StillClock:
    """Kaggle is the server on 127.0.0.1, and nobody really waits."""
    from kagglesdk import kaggle_env

    still = StillClock()
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, server.url)
    monkeypatch.setattr("pipeline.publish.kaggle.remote.Clock", lambda: still)
    return still


@pytest.fixture
def quick_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing the preview takes a second, and says nothing about publishing."""
    monkeypatch.setattr("pipeline.card.folder.draw_preview", lambda *_, **__: (b"a preview", ""))


@pytest.fixture
def publish(augpipe: Callable[..., Outcome], dataset: Path) -> Callable[..., Outcome]:
    """Publish the small dataset with the report of a clean audit, and look for secrets in all that is left."""

    def run(*options: object, **changes: Any) -> Outcome:
        report = write_report(dataset, **changes)
        outcome = augpipe("publish", dataset, *TO_KAGGLE, "--audit", report, *options)
        receipt = dataset.parent / "publish-receipt.json"
        left = [outcome.out, outcome.err, receipt.read_text() if receipt.exists() else ""]
        assert not any(secret in text for secret in SECRETS for text in left)
        return outcome

    return run
