"""However many threads an audit has, large pictures are looked at in a few of them, and small ones in all."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.audit.search.features import find_features
from pipeline.audit.search.large_pictures import LARGE_PX, N_THREADS, few_at_a_time
from pipeline.audit.search.likeness import compare
from pipeline.audit.search.registration import fit_warp, match_features

SMALL, LARGE = np.zeros((512, 512), np.uint8), np.zeros((512, 513), np.uint8)
N_JOBS = 12


def test_large_pictures_are_looked_at_in_few_threads() -> None:
    seen: set[int] = set()
    look = few_at_a_time(lambda _: seen.add(threading.get_ident()))
    with ThreadPoolExecutor(N_JOBS) as jobs:
        assert len(list(jobs.map(look, [LARGE] * 100))) == 100
    assert 1 <= len(seen) <= N_THREADS


def test_small_pictures_are_looked_at_in_every_thread() -> None:
    """All of them at once: each waits for the last."""
    together = threading.Barrier(N_JOBS)
    look = few_at_a_time(lambda _: together.wait(10))
    with ThreadPoolExecutor(N_JOBS) as jobs:
        assert sorted(jobs.map(look, [SMALL] * N_JOBS)) == list(range(N_JOBS))


def test_the_largest_of_several_pictures_decides() -> None:
    thread = few_at_a_time(lambda *_: threading.get_ident())
    assert thread(SMALL, SMALL) == threading.get_ident()
    assert thread(SMALL, LARGE) != threading.get_ident()
    assert SMALL.size == LARGE_PX < LARGE.size


def test_what_fails_there_fails_here() -> None:
    def look(_: NDArray[Any]) -> None:
        raise ValueError("planted")

    with pytest.raises(ValueError, match="planted"):
        few_at_a_time(look)(LARGE)


def test_features_and_comparison_keep_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """These two need most: 250 and 100 MB for 2048 x 2048 pixels."""
    threads: list[str] = []

    def note(*_: Any) -> Any:
        threads.append(threading.current_thread().name)
        raise LookupError

    picture = np.random.default_rng(0).integers(0, 255, (128, 128), np.uint8)
    own = find_features(picture)
    warp = fit_warp(own, own, match_features(own, own))
    monkeypatch.setattr("pipeline.audit.search.features.to_gray8", note)
    monkeypatch.setattr("pipeline.audit.search.likeness.to_gray8", note)
    for call in (lambda: find_features(LARGE), lambda: compare(LARGE, LARGE, warp)):
        with pytest.raises(LookupError):
            call()
    assert [name.startswith("large pictures") for name in threads] == [True, True]
