"""Machine code runs without numba, is compiled once, and is kept only where nobody else could have put it."""

import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import augment
from augment import native
from augment.native import Kernel, cache_folders, own_folder

MODULE = """
import numpy as np

def scale(values, factor, offset, scaled):
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            scaled[i, j] = values[i, j] * factor + offset

def count(mask, limit):
    n = 0
    for i in range(mask.size):
        n += mask[i] > limit
    return n

def allocate(values):
    values[0] = np.zeros(int(values[1])).sum()
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of plain functions, and an empty folder for their machine code."""
    name = f"planted_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    native._source_digest.cache_clear()
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what has been compiled."""
    names: list[str] = []
    compile_function = native._compile

    def noting(module: str, name: str, kinds: Any, **options: Any) -> Any:
        names.append(name)
        return compile_function(module, name, kinds, **options)

    monkeypatch.setattr(native, "_compile", noting)
    return names


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def scaled(module: str, dtype: str = "float32") -> list[list[float]]:
    values, result = np.arange(6, dtype=dtype).reshape(2, 3), np.zeros((2, 3), dtype)
    Kernel(module, "scale")(values, 2.0, 1, result)
    found: list[list[float]] = result.tolist()
    return found


EXPECTED = [[1, 3, 5], [7, 9, 11]]


def test_a_function_is_called_as_if_it_were_python_s(module: str) -> None:
    assert scaled(module) == EXPECTED
    assert Kernel(module, "count", returns_int=True)(np.array([1, 5, 7], np.int32), 4) == 2


def test_each_dtype_has_machine_code_of_its_own(module: str, compiled: list[str]) -> None:
    assert scaled(module, "float32") == scaled(module, "uint16") == EXPECTED
    assert compiled == ["scale", "scale"]


def test_what_is_kept_is_not_compiled_again(module: str, compiled: list[str]) -> None:
    kernel, arguments = Kernel(module, "count", returns_int=True), (np.zeros(3, np.int32), 4)
    kernel(*arguments)
    Kernel(module, "count", returns_int=True)(*arguments)
    assert compiled == ["count"]


def test_who_listens_is_told_before_something_is_compiled(
    module: str, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    monkeypatch.setattr(native, "told_of_compiling", [lambda: told.append(len(compiled))])
    assert scaled(module) == scaled(module) == EXPECTED
    assert told == [0]


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda _: b""]
)
def test_damaged_machine_code_is_not_run(module: str, compiled: list[str], damage: Callable[[bytes], bytes]) -> None:
    assert scaled(module) == EXPECTED
    (kept,) = next(cache_folders()).glob("*.o")
    kept.write_bytes(damage(kept.read_bytes()))
    assert scaled(module) == EXPECTED
    assert compiled == ["scale", "scale"]


def test_another_source_is_compiled_anew(module: str, compiled: list[str], tmp_path: Path) -> None:
    assert scaled(module) == EXPECTED
    (tmp_path / f"{module}.py").write_text(MODULE.replace("* factor", "- factor"))
    native._source_digest.cache_clear()
    sys.modules.pop(module)
    assert scaled(module) == [[-1, 0, 1], [2, 3, 4]]
    assert compiled == ["scale", "scale"]


@pytest.mark.parametrize("setting", ["NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"])
def test_another_cpu_is_another_key(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    native._machine_key.cache_clear()
    before = native._machine_key()
    monkeypatch.setenv(setting, "generic" if setting == "NUMBA_CPU_NAME" else "")
    native._machine_key.cache_clear()
    assert native._machine_key() != before
    monkeypatch.undo()
    native._machine_key.cache_clear()


def test_constants_of_other_modules_are_part_of_the_source() -> None:
    """The kernel takes its block's size from `augment.spline`, and numba would bake the old one in."""
    assert native._IMPORTS.findall((Path(augment.__file__).parent / "kernel.py").read_text()) == [
        "augment.compiled",
        "augment.spline",
    ]


def test_what_needs_numba_to_run_is_refused(module: str) -> None:
    with pytest.raises(TypeError, match=r"planted_.*allocate: needs NRT_\w+.*cannot run without numba"):
        Kernel(module, "allocate")(np.zeros(2))


def test_an_array_with_gaps_is_refused_rather_than_misread(module: str) -> None:
    with pytest.raises(ValueError, match="count: expected arrays in C order"):
        Kernel(module, "count", returns_int=True)(np.zeros(6, np.int32)[::2], 0)


def test_where_no_folder_can_be_written_every_process_compiles(
    module: str, compiled: list[str], tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("in the way")
    assert scaled(module) == scaled(module) == EXPECTED
    assert compiled == ["scale", "scale"]


def test_the_next_folder_is_taken_where_the_best_cannot_be_written(
    module: str, compiled: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is for an installed package, and for who has no home."""
    (tmp_path / "in the way").touch()
    folders = [tmp_path / "in the way", tmp_path / "in the way" / "below", tmp_path / "own"]
    monkeypatch.setattr(native, "cache_folders", lambda: iter(folders))
    assert scaled(module) == scaled(module) == EXPECTED
    assert compiled == ["scale"]
    assert len(list(folders[2].iterdir())) == 1


def test_nothing_half_written_is_left(module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", refuse)
    assert scaled(module) == EXPECTED
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_best_folder_is_the_one_beside_the_source(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(temporary / "of the user"))
    beside, users, own = cache_folders()
    assert beside == Path(augment.__file__).with_name("__pycache__")
    assert users == temporary / "of the user" / "augpipe"
    assert own.parent == temporary
    assert own.stat().st_mode & 0o777 == 0o700


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


def test_what_others_compile_with_numba_runs_beside_it() -> None:
    """Its code refers to numba's own library by the same names, and does call it: for memory, and for exceptions."""
    program = """
        import numba, numpy as np
        from augment.renderer import load_kernels

        @numba.njit
        def fill(n):
            if n > 5:
                raise ValueError("too many")
            return np.ones(n).sum()

        print(fill(2))
        load_kernels(np.dtype("uint8"), np.dtype("uint8"))
        print(fill(3), numba.njit(lambda n: np.ones(n).sum())(4))
        try:
            fill(6)
        except ValueError as error:
            print(error)
    """
    environment = os.environ | {"PYTHONPATH": str(Path(augment.__file__).parents[1])}
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["2.0", "3.0 4.0", "too many"]


def test_rendering_needs_no_numba_once_it_is_compiled() -> None:
    """Importing it would take longer than all else that a build needs to start."""
    program = """
        import sys
        import numpy as np
        from augment.renderer import load_kernels
        load_kernels(np.dtype("uint8"), np.dtype("uint8"))
        print("numba" in sys.modules)
    """
    environment = os.environ | {"PYTHONPATH": str(Path(augment.__file__).parents[1])}
    printed = [
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(2)
    ]
    assert printed[1] == "False\n"
