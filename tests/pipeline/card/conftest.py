"""Fixtures of the card's tests."""

import shutil
from pathlib import Path

import pytest

from pipeline.card.folder import write_card


@pytest.fixture(scope="session")
def carded(tmp_path_factory: pytest.TempPathFactory, built: Path) -> Path:
    """The small dataset with its card; tests only read it. Its samples are too small for their slices to be found."""
    dataset = Path(shutil.copytree(built, tmp_path_factory.mktemp("carded") / "dataset"))
    write_card(dataset, gap=1, allow_unknown=True, jobs=1)
    return dataset
