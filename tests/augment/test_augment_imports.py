"""Rendering loads the compiler and no more: scipy's filters take a quarter of a second to load."""

from pathlib import Path

from small_worlds import run_python


def test_the_renderer_leaves_scipy_s_filters_to_the_reference_engine(tmp_path: Path) -> None:
    for module, loaded in (("augment.renderer", "False"), ("augment.staged", "True")):
        code = f"import sys, {module}\nprint('scipy.ndimage' in sys.modules)"
        assert run_python(code, cwd=tmp_path).stdout.strip() == loaded
