"""Which files of a folder are the channels of one slice, by what their names end with."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.shards.inputs import MAX_CHANNELS
from pipeline.source.pages.partners import natural_key

# What names of channels look like, after a separator: those of nnU-Net, numbers as microscopes write them, and stains.
_STAINS = (
    *("dapi", "hoechst", "gfp", "egfp", "yfp", "cfp", "rfp", "mcherry", "tdtomato", "fitc", "tritc", "texasred"),
    *("cy3", "cy5", "cy7", "alexa405", "alexa488", "alexa555", "alexa568", "alexa594", "alexa647"),
    *("bf", "brightfield", "dic", "phase", "red", "green", "blue", "t1", "t1ce", "t1gd", "t2", "flair"),
)
_ENDS = tuple(
    re.compile(rf"(?P<slice>.*[^-_. ])[-_. ]+(?P<channel>{end})", re.IGNORECASE | re.DOTALL)
    for end in (r"[0-9]{4}", r"(?:c|ch|channel|w)[0-9]{1,2}", "|".join(_STAINS))
)


class ChannelFiles(NamedTuple):
    """The files of a folder as the channels of slices.

    Attributes:
        slices: what the slices are called.
        channels: what the channels are called.
        files: for each channel, which of the files it is of each slice.
    """

    slices: tuple[str, ...]
    channels: tuple[str, ...]
    files: tuple[tuple[int, ...], ...]


def channel_files(stems: Sequence[str]) -> ChannelFiles | None:
    """Return which files are the channels of which slices: each slice has the same 2 to 32 of them; None if none are.

    Four digits are channels where they are 0000, 0001 and so on, as nnU-Net numbers them.

    Args:
        stems: names without their endings.
    """
    for end in _ENDS:
        found = [end.fullmatch(stem) for stem in stems]
        places = {(each["slice"], each["channel"]): place for place, each in enumerate(found) if each}
        slices = sorted({name for name, _ in places}, key=natural_key)
        channels = sorted({name for _, name in places}, key=natural_key)
        is_whole = len(places) == len(stems) == len(slices) * len(channels)
        is_numbered = (
            not channels or not channels[0].isdecimal() or channels == [f"{k:04}" for k in range(len(channels))]
        )
        if is_whole and is_numbered and 2 <= len(channels) <= MAX_CHANNELS:
            files = tuple(tuple(places[name, channel] for name in slices) for channel in channels)
            return ChannelFiles(tuple(slices), tuple(channels), files)
    return None
