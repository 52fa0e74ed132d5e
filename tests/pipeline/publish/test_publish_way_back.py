"""The way there and back: build, audit, publish, download, verify, train; the server is on 127.0.0.1."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kaggle_loopback import Loopback
from publish_worlds import REF, own_client
from small_worlds import digests, write_folder

from pipeline.shards.digest import file_digest
from pipeline.source.phantom import make_phantom

Run = Callable[..., Any]


@pytest.mark.slow
@pytest.mark.usefixtures("clock")
def test_what_was_published_is_audited_downloads_verifies_and_trains(
    augpipe: Run, server: Loopback, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is real but the server: the audit looks at pixels, and Kaggle's own client downloads."""
    dataset, download = tmp_path / "built", tmp_path / "download"
    folder = write_folder(tmp_path / "stack", *make_phantom((10, 320, 320), seed=5))
    options = ("--n", "16", "--size", "320", "--test", "0.2", "--quiet")
    assert augpipe("build", folder, "--out", dataset, *options).code == 0
    code, out, err = augpipe("publish", dataset, "--to", "kaggle", "--id", REF, "--license", "other")
    assert (code, err) == (0, "")
    assert "audit      an audit just now" in out
    report = json.loads(server.datasets[REF].files["audit.json"])
    assert report["verdict"].startswith("CLEAN: no test sample shows tissue that was trained on; 16 of 16 samples")
    assert report["dataset_sha256"] == file_digest(dataset / "dataset.json")

    own_client(home).dataset_download_files(REF, path=str(download), unzip=True, quiet=True)
    assert digests(dataset).items() <= digests(download).items()
    assert augpipe("verify", download).code == 0
    assert augpipe("verify", download, "--replay", "--source", folder).code == 0

    from training import FitConfig, UNetConfig, fit

    network = UNetConfig(width=2, depth=1, outputs=1, padding="same", norm="batch")
    config = FitConfig(network=network, crop=64, turns=True, batch=2, optimizer="adamw", learning_rate=3e-3)
    small = {"schedule": "cosine", "stop_patience": 0, "steps": 2, "rounds": 1, "precision": "fp32"}
    monkeypatch.chdir(tmp_path)
    fit(download, tmp_path / "run", replace(config, device="cpu", threads=1, **small), pictures=False)
    assert json.loads((tmp_path / "run" / "config.json").read_bytes())
    assert (tmp_path / "run" / "network.pt").stat().st_size > 0
