"""The benchmark of leaks still makes what it says, and counts what an audit says of it."""

import numpy as np
import pytest
from leaks import peers, tables
from leaks.audits import audit
from leaks.clean_sets import PATTERNS, clean_sets
from leaks.kinds import KINDS, slug
from leaks.tissues import Tissue, phantom
from leaks.worlds import leak_file, leaking_world, named

BY_NAME = {kind.name: kind for kind in KINDS}


@pytest.fixture(scope="module")
def tissue() -> Tissue:
    return phantom(depth=2, side=256)


@pytest.mark.parametrize("layout", ["anywhere", "halves"])
def test_every_kind_is_a_picture_that_differs_from_training_pictures(tissue, layout):
    """All but the first are changed; none is blank, which would be a leak of nothing."""
    kinds = [kind for kind in KINDS if kind.layout == layout]
    world = leaking_world(tissue, kinds, size=128, n_train=2, n_leaks=1, n_honest=1, seed=0)
    known = {pixels.tobytes() for pixels in world.train.values()}
    for kind in kinds:
        leak = world.test[leak_file(kind, 0)]
        assert leak.ndim == 2
        assert leak.std() > 1.0, kind.name
        assert (leak.tobytes() in known) == (kind.name == "the same pixels"), kind.name


def test_a_kind_is_the_same_whatever_is_asked_for_beside_it(tissue):
    """Else a run of one kind alone would not repeat what a table says."""
    one, other = BY_NAME["mirrored"], BY_NAME["noise, 15 % of the range"]
    sizes = {"size": 96, "n_train": 2, "n_leaks": 1, "n_honest": 0, "seed": 3}
    alone, both = leaking_world(tissue, [other], **sizes), leaking_world(tissue, [one, other], **sizes)
    np.testing.assert_array_equal(alone.test[leak_file(other, 0)], both.test[leak_file(other, 0)])


def test_an_audit_names_the_leaks_and_not_the_honest_picture(tissue, tmp_path):
    kinds = [BY_NAME["the same pixels"], BY_NAME["turned by any angle, shifted"]]
    leaking_world(tissue, kinds, size=192, n_train=2, n_leaks=1, n_honest=1, seed=0).write(tmp_path)
    seen = audit(tmp_path / "train", tmp_path / "test", tmp_path / "source.tif", jobs=1)
    assert seen["verdict"] == "LEAKAGE"
    assert set().union(*seen["named"].values()) == {leak_file(kind, 0) for kind in kinds}


def test_clean_sets_have_names_of_their_own_and_share_no_picture(tissue):
    sets = [*PATTERNS, *clean_sets(tissue)]
    assert len({slug(each.name) for each in sets}) == len(sets)
    world = sets[-1].make(np.random.default_rng(0))
    train, test = ({pixels.tobytes() for pixels in each.values()} for each in (world.train, world.test))
    assert train.isdisjoint(test)


def test_peers_tell_the_same_picture_from_another():
    """The correlation alone needs no package of its own."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 96, 96)).astype(np.uint8)
    scores = peers.PEERS["correlation"].score(named(pixels[:2]), {"same.png": pixels[0], "other.png": pixels[2]})
    assert scores["same.png"] > 0.99
    assert scores["other.png"] < 0.5


def test_the_bound_of_a_rate_is_the_rule_of_three_where_nothing_was_found():
    assert tables.upper_bound(0, 3_000_000) == pytest.approx(1e-6, rel=0.01)
