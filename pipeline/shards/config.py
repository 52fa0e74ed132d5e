"""What a build is asked to make: every option that can change a byte of the dataset."""

import operator
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, Literal, TypeAlias, get_args

from augment.operations import OPERATIONS
from augment.ranges import AugmentRanges
from pipeline.errors import ConfigError

SplitStrategy: TypeAlias = Literal["block", "random", "kfold", "stack", "explicit"]
Engine: TypeAlias = Literal["fused", "staged"]
Weights: TypeAlias = Literal["none", "unet2015"]
LabelKind: TypeAlias = Literal["binary", "classes", "instances"]  # decided by the labels unless it is asked for
Margin: TypeAlias = Literal["shared", "own", "ignore", "mask"]
Focus: TypeAlias = Literal["uniform", "foreground", "class", "object"]
JOINS = STACKS, CHANNELS = "stacks", "channels"  # what several images with the same labels are
STRATEGIES, ENGINES, WEIGHTS = get_args(SplitStrategy), get_args(Engine), get_args(Weights)
MARGINS: tuple[Margin, ...] = get_args(Margin)
FOCUSES: tuple[Focus, ...] = get_args(Focus)
PLAIN_SPLITS = ("val", "test")
LABEL_KINDS: tuple[LabelKind, ...] = get_args(LabelKind)

RENDERER_VERSION = 1  # raised whenever the samples that a seed yields change
MAX_WINDOW_PX = 16384
DEFAULT_GAP = 3  # copying the label of the third next section scores little better than chance (README: Building)
REGION_WINDOWS = 4  # slices that are not larger than so many samples are not cut into regions
DEFAULT_REGION_GAP_PX = 32  # textures look alike within some tens of pixels; wider strips cost a picture too much
DEFAULT_FOLDS = 5
DEFAULT_WINDOW = (700, 700)
_MAX_FITTING_PX, _FITTING_STEP_PX = 704, 16  # networks halve a picture about four times
DEFAULT_FOCUS_SHARE = 0.33  # as nnU-Net has it
_MAX_FOLDS = 10**5
MAX_CONTEXT = 8  # 17 slices in a sample: more than any network of two dimensions is given
_LIMITS: Mapping[str, tuple[int, int]] = {
    "n": (1, 10**9),
    "seed": (0, 2**128 - 1),
    "gap": (0, 10**6),
    "shard_size": (1, 10**5),
    "folds": (0, _MAX_FOLDS),
    "fold": (0, _MAX_FOLDS),
    "context": (0, MAX_CONTEXT),
}
SPLIT_LETTERS: Mapping[str, str | None] = {"T": "train", "V": "val", "E": "test", ".": None}


@dataclass(frozen=True, slots=True)
class BuildConfig:
    """The options of one build.

    Attributes:
        n: samples in all splits together.
        seed: of every random number; 0 or more.
        size: (height, width) of a sample, in pixels.
        split: how slices are assigned. `block` holds out the end of every stack, `random` single slices, `kfold`
            one of several blocks, `stack` whole stacks, `explicit` what `picture` says.
        gap: slices left out between two splits of a stack; 0 where slices have no neighbours, or are not assigned
            one by one (`independent`, `stack`, `explicit`).
        test: fraction of the slices, and of the samples, that are held out for testing; 0 for none. `kfold` holds
            out 1 / folds, `explicit` what its picture says.
        val: fraction that is held out for validation; 0 for none.
        folds: how many blocks `kfold` cuts every stack into; 0 for the other strategies.
        fold: which of them is held out for testing, counted from 0.
        independent: the slices of a stack are fields of view without neighbours, not sections of one specimen.
        picture: for `explicit`, one text a stack and one character a slice: T train, V val, E test, a dot for none.
        ranges: what the recipes may draw.
        engine: `fused` is the one to use; `staged` renders stage by stage, for comparison.
        shard_size: samples in one HDF5 file.
        weights: what is stored for every pixel beside its label: `unet2015`, its weight in the loss
            (`augment.weight_map`), or `none`.
        margin: what labels show beyond the edge of the slice, where it goes on as its mirror image: `shared`, what the
            slice shows; `own`, the same, but every mirrored object has an id of its own; `ignore`, nothing at all;
            `mask`, the same as `shared`, and a mask is stored that tells where.
        focus: what the window's centre pixel shows in `focus_share` of the training samples: `foreground`, any pixel
            that is neither background nor ignored; `class`, one of a class, every class of the slice being as likely;
            `object`, one of an object, likewise. `uniform`: windows lie where `ranges` say, wherever that is.
        focus_share: above 0, up to 1; as it is where `focus` is uniform.
        min_foreground: share of a training sample's pixels, from 0 to below 1, that are neither background nor ignored;
            a sample that shows less is drawn again.
        plain: the splits, `val` or `test`, whose samples are the slices' own pixels in tiles, whatever `n` is; it fixes
            those of the others, as if these were like them.
        context: how many neighbours on either side a sample shows beside its slice, as more channels; the gap then
            counts from the outermost slices that are shown.

    Raises:
        ConfigError: a value is out of range.
    """

    n: int = 300
    seed: int = 0
    size: tuple[int, int] = DEFAULT_WINDOW
    split: SplitStrategy = "block"
    gap: int = DEFAULT_GAP
    test: float = 0.2
    val: float = 0.0
    folds: int = 0
    fold: int = 0
    independent: bool = False
    picture: tuple[str, ...] = ()
    ranges: AugmentRanges = field(default_factory=AugmentRanges)
    engine: Engine = "fused"
    shard_size: int = 64
    weights: Weights = "none"
    margin: Margin = "shared"
    focus: Focus = "uniform"
    focus_share: float = DEFAULT_FOCUS_SHARE
    min_foreground: float = 0.0
    plain: tuple[str, ...] = ()
    context: int = 0

    def __post_init__(self) -> None:
        if len(self.size) != 2:
            raise ConfigError(f"size: expected height and width, got {self.size!r}")
        object.__setattr__(self, "size", tuple(map(_whole, self.size)))
        for side in self.size:
            _require("size", side, 2, MAX_WINDOW_PX)
        for name, (low, high) in _LIMITS.items():
            object.__setattr__(self, name, _whole(getattr(self, name)))
            _require(name.replace("_", "-"), getattr(self, name), low, high)
        for name, choices in {
            "split": STRATEGIES,
            "engine": ENGINES,
            "weights": WEIGHTS,
            "margin": MARGINS,
            "focus": FOCUSES,
        }.items():
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name}: expected one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if type(self.independent) is not bool:
            raise ConfigError(f"independent: expected true or false, got {self.independent!r}")
        if self.independent and self.context:
            raise ConfigError(
                f"context {self.context}: the slices are fields of view, which have no neighbours to show; leave out "
                "--context, or say --no-independent"
            )
        self._settle_split()
        self._settle_focus()
        if strange := set(self.plain) - set(PLAIN_SPLITS):
            raise ConfigError(f"plain: expected the splits {' and '.join(PLAIN_SPLITS)}, got {min(map(repr, strange))}")
        object.__setattr__(self, "plain", tuple(split for split in PLAIN_SPLITS if split in self.plain))
        for name in ("test", "val", "min_foreground"):
            fraction = float(getattr(self, name))
            object.__setattr__(self, name, fraction)
            if not 0 <= fraction < 1:
                where = name.replace("_", "-")
                raise ConfigError(f"{where}: expected a fraction from 0 to below 1, got {fraction:g}")
        if Fraction(repr(self.test)) + Fraction(repr(self.val)) >= 1:
            raise ConfigError(
                f"test and val: {self.test:g} + {self.val:g} leaves nothing to train on; together below 1"
            )

    def _settle_split(self) -> None:
        """Give options that the strategy decides the one value that they can have, so that equal builds are equal."""
        settled: dict[str, Any] = {}
        if self.split == "kfold":
            settled["folds"] = self.folds or DEFAULT_FOLDS
            _require("folds", settled["folds"], 2, _MAX_FOLDS)
            _require("fold", self.fold, 0, settled["folds"] - 1)
            settled["test"] = 1 / settled["folds"]
        elif self.folds or self.fold:
            raise ConfigError(f"folds and fold: they go with split kfold, not with {self.split}")
        if self.split == "explicit":
            settled |= {"test": 0.0, "val": 0.0}
            self._require_picture()
        elif self.picture:
            raise ConfigError(f"picture: it goes with split explicit, not with {self.split}")
        if self.independent or self.split in ("stack", "explicit"):
            settled["gap"] = 0
        for name, value in settled.items():
            object.__setattr__(self, name, value)

    def _settle_focus(self) -> None:
        object.__setattr__(self, "focus_share", float(self.focus_share))
        if not 0 < self.focus_share <= 1:
            raise ConfigError(f"focus-share: expected a fraction above 0, up to 1, got {self.focus_share:g}")
        if self.focus == "uniform" and self.focus_share != DEFAULT_FOCUS_SHARE:
            raise ConfigError("focus-share: it goes with focus foreground, class or object, not with uniform")

    def _require_picture(self) -> None:
        texts = type(self.picture) is tuple and all(isinstance(stack, str) and stack for stack in self.picture)
        if not self.picture or not texts:
            raise ConfigError("picture: split explicit needs the split of every slice, such as TTTT...EEE")
        if strange := set("".join(self.picture)) - set(SPLIT_LETTERS):
            raise ConfigError(f"picture: expected the letters {' '.join(SPLIT_LETTERS)}, got {min(strange)!r}")

    @property
    def weighted(self) -> bool:
        """Whether weights are stored."""
        return self.weights != "none"

    def has_masks(self, split: str) -> bool:
        """Return whether a mask is stored for every sample of a split: which of its pixels count."""
        return self.margin == "mask" or split in self.plain

    @property
    def own_gap(self) -> int:
        """Slices between those of two splits: the gap, and what samples on either side of it show beyond their own."""
        return self.gap + 2 * self.context

    @property
    def looks_at_labels(self) -> bool:
        """Whether what labels show decides where some training samples lie."""
        return self.focus != "uniform" or self.min_foreground > 0

    @property
    def marks_ignored(self) -> bool:
        """Whether label pixels may get the value for what is ignored, beside those that the source ignores."""
        return self.margin == "ignore" or self.ranges.defects is not None

    @property
    def takes_highest(self) -> str:
        """The option that needs the labels' highest value for itself; empty where none does."""
        return f"margin {self.margin}" if self.margin in ("own", "ignore") else "defects" if self.marks_ignored else ""

    def to_json(self) -> dict[str, Any]:
        """Return the options as plain JSON values, the same for 0 and 0.0.

        What was added later has no key where it changes nothing, so that a dataset without it keeps its fingerprint.
        """
        values = asdict(self)
        if not self.weighted:
            del values["weights"]
        if self.margin == "shared":
            del values["margin"]
        if self.focus == "uniform":
            del values["focus"], values["focus_share"]
        if not self.min_foreground:
            del values["min_foreground"]
        values["plain"] = list(self.plain)
        if not self.plain:
            del values["plain"]
        if not self.context:
            del values["context"]
        ranges = {name: _plain(value) for name, value in values["ranges"].items()}
        ranges["grid_points"] = self.ranges.grid_points
        absent: dict[str, Any] = {"per_channel": False, "probability": {}, **dict.fromkeys(OPERATIONS)}
        ranges = {name: value for name, value in ranges.items() if name not in absent or value != absent[name]}
        return {**values, "size": list(self.size), "picture": list(self.picture), "ranges": ranges}


def fitting_window(slice_sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Return the (height, width) of samples where nothing is said of it: squares that show no mirror image unturned.

    Args:
        slice_sizes: (height, width) of slices, in pixels.

    Returns:
        The largest multiple of 16 px within the shortest side of all, 704 at most and 16 at least.
    """
    shortest = min(min(size) for size in slice_sizes)
    side = max(_FITTING_STEP_PX, min(shortest // _FITTING_STEP_PX * _FITTING_STEP_PX, _MAX_FITTING_PX))
    return side, side


def require_jobs(jobs: int) -> None:
    """Refuse a number of threads that means nothing.

    Raises:
        ConfigError: neither 1 or more, nor a negative number counting down from all cores.
    """
    if jobs == 0:
        raise ConfigError("jobs: expected 1 or more, or -1 for one a core, got 0")


def _whole(value: Any) -> Any:
    """Return NumPy's whole numbers as Python's, and anything else as it is, to be refused by name."""
    return value if isinstance(value, bool) or not hasattr(value, "__index__") else operator.index(value)


def _plain(value: Any) -> Any:
    """Return numbers as floats and pairs as lists, so that equal ranges are equal JSON."""
    if isinstance(value, tuple):
        return [float(part) for part in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _require(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{name}: expected a whole number from {low} to {high}, got {value!r}")
