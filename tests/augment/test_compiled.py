"""Machine code is kept in a folder that can be written, and in no folder that others could write in."""

import tempfile
from pathlib import Path
from typing import Any

import numba
import pytest

from augment.compiled import compiled, own_folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(numba.config, "CACHE_DIR", numba.config.CACHE_DIR)
    return tmp_path


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, str]]:
    """What numba is asked for; it knows of no folder but the one that it is told."""
    asked: list[tuple[bool, str]] = []

    def njit(*, cache: bool, **_: Any) -> Any:
        asked.append((cache, numba.config.CACHE_DIR))
        if cache and not numba.config.CACHE_DIR:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(numba, "njit", njit)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    return asked


def test_a_function_is_compiled_and_gives_the_same() -> None:
    assert compiled(lambda x: x * x + 1)(3) == 10


def test_where_nothing_else_can_be_written_the_code_goes_among_the_temporary_files(
    temporary: Path, tried: list[tuple[bool, str]]
) -> None:
    compiled(len)
    assert [cache for cache, _ in tried] == [True, True]
    folder = Path(tried[1][1])
    assert folder.parent == temporary
    assert folder.stat().st_mode & 0o777 == 0o700


def test_where_not_even_those_can_be_written_nothing_is_kept(
    temporary: Path, tried: list[tuple[bool, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "not there"))
    compiled(len)
    assert [cache for cache, _ in tried] == [True, False]


@pytest.mark.parametrize("planted", ["open to all", "a link", "a file"])
def test_a_folder_that_others_could_have_made_is_not_used(temporary: Path, planted: str) -> None:
    """Machine code from it would be run."""
    folder = own_folder()
    assert folder is not None
    if planted == "open to all":
        folder.chmod(0o777)
    else:
        folder.rmdir()
        if planted == "a link":
            (temporary / "elsewhere").mkdir(mode=0o700)
            folder.symlink_to(temporary / "elsewhere")
        else:
            folder.touch()
    assert own_folder() is None
