"""Which files of a folder are the channels of one slice, by what their names say."""

import re
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from pipeline.shards.inputs import MAX_CHANNELS
from pipeline.source.pages.partners import natural_key

# What names of channels look like, beside a separator: those of nnU-Net, numbers as microscopes write them, and stains.
_STAINS = (
    *("dapi", "hoechst", "gfp", "egfp", "yfp", "cfp", "rfp", "mcherry", "tdtomato", "fitc", "tritc", "texasred"),
    *("cy3", "cy5", "cy7", "alexa405", "alexa488", "alexa555", "alexa568", "alexa594", "alexa647"),
    *(
        "bf",
        "brightfield",
        "dic",
        "phase",
        "phalloidin",
        "actin",
        "tubulin",
        "dna",
        "nuclei",
        "membrane",
        "red",
        "green",
        "blue",
        "t1",
        "t1ce",
        "t1gd",
        "t2",
        "flair",
    ),
)
_NUMBERED = r"(?:c|ch|channel|w)[0-9]{1,2}"
_WAVE = r"w[0-9]{1,2}[a-z][^-_]*"  # MetaMorph writes w1DAPI, and w2Cy 5
_END = r"(?P<slice>.*[^-_. ])[-_. ]+(?P<channel>{})(?P<rest>)"
_PLACES = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), place)
    for pattern, place in (
        (_END.format(r"[0-9]{4}"), "end in"),
        (_END.format(f"{_NUMBERED}|{_WAVE}"), "end in"),
        (_END.format("|".join(_STAINS)), "end in"),
        (rf"(?P<slice>)(?P<channel>{_NUMBERED}|{_WAVE})[-_. ]+(?P<rest>.+)", "begin with"),  # ImageJ writes C1-NAME
        (rf"(?P<slice>.*[^-_. ])[-_. ]+(?P<channel>{_NUMBERED}|{_WAVE})(?P<rest>[-_. ].+)", "hold"),
    )
)
_ANY_END = re.compile(_END.format(r"[^-_. ]+"), re.DOTALL)


class ChannelFiles(NamedTuple):
    """The files of a folder as the channels of slices.

    Attributes:
        slices: what the slices are called.
        channels: what the channels are called.
        files: for each channel, which of the files it is of each slice.
        place: where in names channels are: they end in them, begin with them, or hold them.
    """

    slices: tuple[str, ...]
    channels: tuple[str, ...]
    files: tuple[tuple[int, ...], ...]
    place: str = "end in"


class _Named(NamedTuple):
    """Which file is which channel of which slice, where all names say it."""

    places: dict[tuple[str, str], int]
    slices: list[str]
    channels: list[str]

    @property
    def missing(self) -> list[tuple[str, str]]:
        """The channels of slices that have no file."""
        return [each for each in product(self.slices, self.channels) if each not in self.places]


def channel_files(stems: Sequence[str]) -> ChannelFiles | None:
    """Return which files are the channels of which slices: each slice has the same 2 to 32 of them; None if none are.

    Four digits are channels where they are 0000, 0001 and so on, as nnU-Net numbers them.

    Args:
        stems: names without their endings.
    """
    for pattern, place in _PLACES:
        named = _read_names(stems, pattern)
        if named and not named.missing:
            files = tuple(tuple(named.places[name, channel] for name in named.slices) for channel in named.channels)
            return ChannelFiles(tuple(named.slices), tuple(named.channels), files, place)
    return None


def missing_channel(stems: Sequence[str]) -> tuple[tuple[str, ...], str, str] | None:
    """Return the slices whose channels are nearly all in files of their own, one of them, and a channel that it lacks.

    Args:
        stems: names without their endings.
    """
    for pattern, _ in _PLACES:
        named = _read_names(stems, pattern)
        if named and named.missing and len(named.missing) < len(named.slices):
            return (tuple(named.slices), *named.missing[0])
    return None


def perhaps_channels(stems: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return the slices and the channels that files may be whose names end in a few words, whatever these are."""
    named = _read_names(stems, _ANY_END)
    return (tuple(named.slices), tuple(named.channels)) if named and not named.missing else None


def _read_names(stems: Sequence[str], pattern: re.Pattern[str]) -> _Named | None:
    """Return what a pattern finds in all names; None where they tell fewer than 2 channels, or more than 32."""
    found = [each for stem in stems if (each := pattern.fullmatch(stem))]
    if len(found) < len(stems):
        return None
    names = [each["slice"] + each["rest"] for each in found]
    places = {(name, each["channel"]): place for place, (name, each) in enumerate(zip(names, found, strict=True))}
    slices, channels = (sorted(set(each), key=natural_key) for each in zip(*places, strict=True))
    is_numbered = not channels[0].isdecimal() or channels == [f"{k:04}" for k in range(len(channels))]
    if len(places) < len(stems) or not is_numbered or not 2 <= len(channels) <= MAX_CHANNELS:
        return None
    return _Named(places, slices, channels)
