"""A finding rests on many features, or on an area so large and so alike that a few suffice."""

import numpy as np
import pytest

from pipeline.audit.search.features import Features, Variant
from pipeline.audit.search.likeness import Agreement, compare
from pipeline.audit.search.registration import NO_MATCH, Match, Warp
from pipeline.audit.search.sighting import Candidate, Sighting

SIDE = 100
WARP = Warp(lambda points: points, Match(np.zeros((1, 2), np.float32), np.zeros((1, 2), np.float32), np.eye(2, 3)))


def sighting(*, inliers: int, share: float, detailed: float, ncc: float) -> Sighting:
    """Return one of `inliers` features, in which these shares of 10,000 pixels agree, and have details."""
    places = np.stack([np.arange(inliers) * 5.0, np.zeros(inliers)], axis=1).astype(np.float32)
    rank = np.arange(SIDE * SIDE).reshape(SIDE, SIDE) / (SIDE * SIDE)
    agreement = Agreement(
        ncc=np.where(rank < share, np.float32(0.9), np.float32(0.1)).astype(np.float32),
        inside=np.ones((SIDE, SIDE), np.bool_),
        detailed=np.asarray(rank < detailed),
        step=1,
    )
    return Sighting(Candidate(0, Variant()), Match(places, places, np.eye(2, 3)), WARP, agreement, ncc)


@pytest.mark.parametrize(
    ("inliers", "share", "detailed", "ncc", "certain"),
    [
        (40, 0.25, 0.0, 0.1, True),  # many features
        (40, 0.15, 0.15, 0.1, False),  # in too small an area
        (15, 0.30, 0.30, 0.9, True),
        (9, 0.30, 0.30, 0.5, True),
        (5, 0.30, 0.30, 0.5, False),  # straight bars over other tissue: 4 to 7 features, NCC below 0.77
        (5, 0.30, 0.30, 0.9, True),
        (5, 0.60, 0.60, 0.5, True),
        (9, 0.90, 0.10, 0.95, False),  # nothing but straight edges agrees
        (15, 0.20, 0.20, 0.9, False),
    ],
)
def test_few_features_need_more_than_an_area(
    inliers: int, share: float, detailed: float, ncc: float, certain: bool
) -> None:
    assert sighting(inliers=inliers, share=share, detailed=detailed, ncc=ncc).is_certain == certain


def test_an_angle_is_below_360_deg() -> None:
    turn = np.radians(359.97)
    transform = np.array([[np.cos(turn), -np.sin(turn), 0.0], [np.sin(turn), np.cos(turn), 0.0]])
    seen = sighting(inliers=5, share=0.3, detailed=0.3, ncc=0.9)
    turned = Sighting(
        seen.candidate, Match(NO_MATCH.sample_points, NO_MATCH.other_points, transform), WARP, seen.agreement, 0.9
    )
    assert turned.measures["angle_deg"] == 0.0


def test_a_straight_edge_has_no_details() -> None:
    """A corner and a spot have."""
    picture = np.zeros((120, 120), np.uint8)
    picture[:, 60:] = 200
    picture[90:110, 20:40] = 200
    agreement, _ = compare(picture, picture, WARP)
    assert agreement.area_px > agreement.detailed_px > 0
    assert not agreement.detailed[20:70, 60].any()
    assert agreement.detailed[100, 30]


def test_features_in_one_line_lie_in_few_cells() -> None:
    def features(points: list[tuple[float, float]]) -> Features:
        n = len(points)
        none = np.zeros(n, np.float32)
        return Features(np.array(points, np.float32).reshape(n, 2), none, none, np.zeros((n, 128), np.uint8), (80, 160))

    assert features([(x, 5.0) for x in range(160)]).n_cells == 8
    assert features([(x, y) for x in range(0, 160, 20) for y in range(0, 80, 10)]).n_cells == 64
    assert features([]).n_cells == 0
