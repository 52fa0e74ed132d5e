"""build-info.json tells what a build ran with."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.source.build_info import describe_build
from pipeline.source.combining import make_source
from pipeline.version import VERSION


@pytest.mark.parametrize(("module", "told"), [({"__version__": "7.5"}, "7.5"), ({}, None)])
def test_versions_are_those_of_what_is_loaded(
    module: dict[str, str], told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """elasticdeform does not tell its own: then the one that is installed is told, if any is."""
    monkeypatch.setitem(sys.modules, "elasticdeform", SimpleNamespace(**module))
    monkeypatch.delitem(sys.modules, "scipy", raising=False)
    source = make_source(np.ones((2, 8, 8), np.uint8), np.eye(8, dtype=np.uint8)[None].repeat(2, 0), name="small")
    versions = describe_build(source, jobs=1, seconds=0.5)["versions"]
    assert versions["augpipe"] == VERSION
    assert versions["numpy"] == np.__version__
    assert "scipy" not in versions
    assert versions["elasticdeform"] == told or not module
