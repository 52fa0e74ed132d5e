"""Places are the pixels of what is looked for, each group as likely; samples that show one are spread evenly."""

from collections import Counter
from fractions import Fraction
from itertools import accumulate
from math import floor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_worlds import count_calls, small_config, small_source

from augment.seeding import Stream
from pipeline.plan.focusing import focus_samples
from pipeline.plan.places import find_places
from pipeline.plan.plan import make_plan
from pipeline.plan.split import SliceAddress
from pipeline.shards.config import Focus

LABEL = np.array([[0, 1, 1, 0, 9], [0, 0, 1, 0, 2], [1, 0, 0, 2, 2], [9, 2, 0, 1, 0]], np.uint8)
ROOT = [(0, 1), (0, 2), (1, 2)]  # of 1, whose other pixels are alone
GROUPS: dict[str, tuple[Focus, bool, list[list[tuple[int, int]]]]] = {
    "foreground": ("foreground", False, [[*ROOT, (2, 0), (3, 3), (1, 4), (2, 3), (2, 4), (3, 1)]]),
    "classes": ("class", False, [[*ROOT, (2, 0), (3, 3)], [(1, 4), (2, 3), (2, 4), (3, 1)]]),
    "regions": ("object", False, [ROOT, [(2, 0)], [(3, 3)], [(1, 4), (2, 3), (2, 4)], [(3, 1)]]),
    "instances": ("object", True, [[*ROOT, (2, 0), (3, 3)], [(1, 4), (2, 3), (2, 4), (3, 1)]]),
}


@pytest.mark.parametrize("case", GROUPS)
def test_every_group_is_as_likely_and_every_pixel_of_it(case: str) -> None:
    focus, instances, groups = GROUPS[case]
    places = find_places(LABEL, focus, instances=instances, ignore=9)
    n = 8_000
    drawn = Counter(places.draw(Stream(0, (k,))) for k in range(n))
    assert drawn.keys() == {pixel for group in groups for pixel in group}
    for group in groups:
        for pixel in group:
            expected = n / len(groups) / len(group)
            assert abs(drawn[pixel] - expected) < 5 * expected**0.5


@given(st.data(), st.sampled_from(["foreground", "class", "object"]), st.booleans())
def test_no_place_is_background_or_ignored(data: st.DataObject, focus: Any, instances: bool) -> None:
    height, width = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    values = data.draw(st.lists(st.sampled_from([0, 0, 1, 2, 255]), min_size=height * width, max_size=height * width))
    label = np.array(values, np.uint8).reshape(height, width)
    place = find_places(label, focus, instances=instances, ignore=255).draw(Stream(0, (data.draw(st.integers(0, 99)),)))
    assert (place is None) == (not np.isin(label, (1, 2)).any())
    assert place is None or label[place] in (1, 2)


def test_the_places_of_a_slice_are_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count_calls(monkeypatch, "pipeline.plan.places.find_places")
    plan = make_plan(small_source(), small_config(focus="class", focus_share=1, n=60))
    samples = [sample for shard in plan.shards() if shard.split == "train" for sample in plan.samples(shard)]
    assert all(plan.recipe(sample).place for sample in samples)
    assert (len(samples), len(calls)) == (45, 8)


@settings(max_examples=40)
@given(st.integers(1, 70), st.integers(1, 20), st.integers(1, 1000))
def test_the_share_holds_for_all_slices_each_slice_and_the_first_samples(n: int, replicates: int, part: int) -> None:
    share, slices = Fraction(part, 1000), tuple(SliceAddress(0, z) for z in range(n))
    focusing = focus_samples(part / 1000, slices)
    taken = [focusing.takes(slices[k % n], k // n) for k in range(n * replicates)]
    assert sum(taken) == floor(share * n * replicates)
    for z in range(n):
        assert abs(sum(taken[z::n]) - share * replicates) < 1
    for k, n_taken in enumerate(accumulate(taken), start=1):
        assert abs(n_taken - part / 1000 * k) < 5
    assert not focusing.takes(SliceAddress(1, 0), 0)
