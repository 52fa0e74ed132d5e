"""What supports that one picture shows another, and when that is certain."""

from dataclasses import dataclass
from typing import NamedTuple

from pipeline.audit.report import Measures
from pipeline.audit.search.features import Variant
from pipeline.audit.search.likeness import Agreement
from pipeline.audit.search.registration import Match, Warp

FOUND_INLIERS = 16
FOUND_AREA_PX = 2000
FOUND_SHARE, FOUND_SHARE_PX = 0.22, 1000  # of what both show: where so much agrees, fewer features need to


class Candidate(NamedTuple):
    """A picture of the index that a sample may show, and how the sample is to be changed before."""

    key: int
    variant: Variant


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """A picture that a sample shows, or shows a part of.

    Attributes:
        candidate: which picture, and whether mirrored or inverted.
        group: the matches that support each other; points of a mirrored sample are those of its mirror image.
        warp: the field from the (mirrored) sample to the picture.
        agreement: of the pixels.
        ncc: correlation of all that both show.
    """

    candidate: Candidate
    group: Match
    warp: Warp
    agreement: Agreement
    ncc: float

    @property
    def is_certain(self) -> bool:
        """Whether so many features and so large an area agree that no chance does it.

        Measured on ISBI 2012, 384 px: pictures of other tissue have no group of five. The next section of the stack, 50
        nm away, has groups of up to 13, and up to 10 % of the area agrees.
        """
        area = self.agreement.area_px
        if self.group.inliers >= FOUND_INLIERS and area >= FOUND_AREA_PX:
            return True
        return area >= max(FOUND_SHARE_PX, FOUND_SHARE * self.agreement.inside_px)

    @property
    def measures(self) -> Measures:
        """The numbers that support it."""
        return {
            "inliers": self.group.inliers,
            "angle_deg": round(self.group.angle_deg, 1),
            "scale": round(1.0 / self.group.scale, 3),
            "mirrored": self.candidate.variant.mirrored,
            "inverted": self.candidate.variant.inverted,
            "area_px": self.agreement.area_px,
            "ncc": round(self.ncc, 4),
        }
