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
_SURE_INLIERS, _SURE_SHARE, _SURE_NCC = 8, 0.5, 0.8  # one of these, too


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
        nm away, has groups of up to 13, and up to 10 % of the area agrees. Straight bars over other tissue have groups
        of up to 7, and agree in up to 38 % of the area without straight edges, but correlate by less than 0.77.
        """
        agreement, inliers = self.agreement, self.group.inliers
        if inliers >= FOUND_INLIERS and agreement.area_px >= FOUND_AREA_PX:
            return True
        large = agreement.detailed_px >= max(FOUND_SHARE_PX, FOUND_SHARE * agreement.inside_px)
        larger = agreement.detailed_px >= _SURE_SHARE * agreement.inside_px
        return large and (larger or inliers >= _SURE_INLIERS or self.ncc >= _SURE_NCC)

    @property
    def measures(self) -> Measures:
        """The numbers that support it."""
        return {
            "inliers": self.group.inliers,
            "angle_deg": self.group.angle_deg,
            "scale": round(1.0 / self.group.scale, 3),
            "mirrored": self.candidate.variant.mirrored,
            "inverted": self.candidate.variant.inverted,
            "area_px": self.agreement.area_px,
            "ncc": round(self.ncc, 4),
        }
