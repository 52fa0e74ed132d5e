"""How well two labels agree: the F1 score of the rarer class, over what means something in both."""

import numpy as np
import pytest

from pipeline.audit.search.likeness import label_agreement

SIDE = 40
WHERE = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1).astype(np.float32)
LABEL = np.zeros((SIDE, SIDE), np.uint8)
LABEL[10:20, 5:35] = 1
MOVED = np.roll(LABEL, 5, axis=0)  # half of the rows are the same


@pytest.mark.parametrize("ignore", [None, 255])
def test_the_f1_score_is_that_of_the_rarer_class(ignore: int | None) -> None:
    assert label_agreement(LABEL, LABEL, WHERE, 1, ignore) == 1.0
    assert label_agreement(LABEL, MOVED, WHERE, 1, ignore) == pytest.approx(0.5)
    assert label_agreement(1 - LABEL, 1 - MOVED, WHERE, 1, ignore) == pytest.approx(0.5)


def test_what_is_ignored_in_one_of_the_two_is_no_agreement_and_no_fault() -> None:
    """A large region that nobody annotated would hide that the labels are of different slices."""
    one, other = LABEL.copy(), MOVED.copy()
    one[26:], other[:4] = 255, 255
    assert label_agreement(one, other, WHERE, 1, 255) == pytest.approx(0.5)
    assert label_agreement(one, other, WHERE, 1) != pytest.approx(0.5)
    other = LABEL.copy()
    other[15:20] = 255
    assert label_agreement(LABEL, other, WHERE, 1, 255) == 1.0
    assert label_agreement(LABEL, np.full_like(LABEL, 255), WHERE, 1, 255) is None
