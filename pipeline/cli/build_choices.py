"""What the options of `augpipe build` ask for: a source, a split, ranges, and the configuration of them all."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from augment.operations import OPERATIONS
from augment.presets import MEASURE_GRAY, preset_ranges
from augment.ranges import AugmentRanges
from pipeline.cli.build_options import DEFAULTS, PRESET_OPTIONS
from pipeline.cli.source_choice import SourceChoice, choose_source
from pipeline.cli.split_choice import SplitChoice, choose_split
from pipeline.cli.user_options import read_user_options
from pipeline.errors import ConfigError
from pipeline.shards.config import PLAIN_SPLITS, SPLIT_LETTERS, BuildConfig

if TYPE_CHECKING:
    from pipeline.cli.config_file import ConfigFile
    from pipeline.source.stacks import Source

_UNKNOWN_PICTURE = ("T",)  # in the place of an explicit split until the source is read

# The field of `AugmentRanges` that an option sets; --rotate sets rotate_deg.
_RANGE_FIELDS = {name: name for name in ("flip", "zoom", "gain", "bias", "per_channel", "extent")}
_RANGE_FIELDS |= {"shift": "shift_px", "grid": "grid_points", "sigma": "sigma_px"}
_RANGE_FIELDS |= dict(zip(OPERATIONS, OPERATIONS, strict=True))


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What is to be built.

    Attributes:
        source: what to read.
        split: how its slices are to be assigned.
        config: all options that decide a byte, as far as they are known before the source is read.
        preset: which ranges to start from.
        ranges: what to change in them.
        size_given: whether the size of samples was asked for, and not left to that of the slices.
        margin_given: whether the margin was asked for, and not left to the kind of the labels.
        plain_given: the splits that were asked to be plain, not by the preset.
    """

    source: SourceChoice
    split: SplitChoice
    config: BuildConfig
    preset: str
    ranges: Mapping[str, Any]
    size_given: bool
    margin_given: bool
    plain_given: frozenset[str]

    def config_for(self, source: "Source") -> BuildConfig:
        """Return the configuration with all that depends on the source.

        Raises:
            ConfigError: the split file does not fit the source.
        """
        picture: tuple[str, ...] = ()
        if self.split.file:
            from pipeline.plan.split_file import read_split_file

            picture = read_split_file(self.split.file, source, fold=self.split.fold)
        config = self._with_layout(source)
        if not self.size_given:
            from pipeline.source.known_stacks import default_window

            config = replace(config, size=default_window(source.inputs))
        height, width = config.size
        covered = all(stack.slice_size[0] <= height and stack.slice_size[1] <= width for stack in source.stacks)
        span = source.gray_span() if self.preset in MEASURE_GRAY else 0.0
        ranges = preset_ranges(self.preset, gray_span=span, covered=covered, n_channels=sum(source.channel_axis) or 1)
        config = replace(config, picture=picture, ranges=_change_ranges(ranges, self.ranges))
        has_own = source.coding.kind == "instances" and not source.coding.full
        if not self.margin_given and has_own and config.engine != "staged":
            config = replace(config, margin="own")
        plain = tuple(split for split in config.plain if split in self.plain_given or holds_out(config, split))
        return replace(config, plain=plain)

    def _with_layout(self, source: "Source") -> BuildConfig:
        """Return the configuration with what the layout of the files shows, where nothing else was asked for.

        Raises:
            ConfigError: slices without neighbours and a gap between them.
        """
        asked = self.split.options
        if source.independent and not self.config.independent:
            if asked.get("gap"):
                raise ConfigError(
                    "gap: the slices are taken for fields of view, which have no neighbours; leave out --gap, or say "
                    "--no-independent"
                )
            return replace(self.config, independent=True)
        by_stack = source.films and len(source.stacks) > 1 and not {"gap", "folds", "fold"} & asked.keys()
        return replace(self.config, split="stack") if by_stack and not self.split.chosen else self.config


def holds_out(config: BuildConfig, split: str) -> bool:
    """Return whether a configuration holds slices out for a split, `val` or `test`."""
    if config.split == "explicit":
        return any(SPLIT_LETTERS[letter] == split for letter in "".join(config.picture))
    return bool(getattr(config, split))


def read_request(context: click.Context, file: "ConfigFile | None") -> BuildRequest:
    """Return what the user asks for, so that mistakes are found before a large stack is read.

    Args:
        context: of the command that is being run, with its options.
        file: the config file.

    Raises:
        ConfigError: options that do not go together, or are out of range.
    """
    user = read_user_options(context, file)
    preset: str = context.params["preset"]
    of_preset = PRESET_OPTIONS.get(preset, {})
    options = {**context.params, **of_preset, **user.only(*of_preset)}
    size: tuple[int, int] | None = options.pop("size")
    source, split = choose_source(user, file, size), choose_split(user)
    ranges: dict[str, Any] = {field: user.get(name) for name, field in _RANGE_FIELDS.items() if name in user}
    if "probability" in user:
        ranges["probability"] = user.get("probability")
    if "rotate" in user:
        ranges["rotate_deg"] = DEFAULTS.ranges.rotate_deg if user.get("rotate") else (0.0, 0.0)
    config = BuildConfig(
        **{name: options[name] for name in ("n", "seed", "shard_size", "weights", "engine")},
        size=size or DEFAULTS.size,
        **split.options,
        **user.only("margin", "focus", "focus_share", "min_foreground", "context"),
        plain=tuple(split for split in PLAIN_SPLITS if options[f"plain_{split}"]),
        independent=bool(options["independent"]),
        picture=_UNKNOWN_PICTURE if split.file else (),
        ranges=_change_ranges(preset_ranges(preset), ranges),
    )
    plain_given = frozenset(split for split in PLAIN_SPLITS if user.get(f"plain_{split}"))
    return BuildRequest(source, split, config, preset, ranges, size is not None, "margin" in user, plain_given)


def _change_ranges(ranges: AugmentRanges, asked: Mapping[str, Any]) -> AugmentRanges:
    """Return the ranges of a preset with what the user asked for; what is switched off has no share any more.

    Raises:
        ConfigError: a share of what is off, two shares of one, or a range that is none.
    """
    named = asked.get("probability", ())
    shares = dict(named)
    if len(shares) < len(named):
        raise ConfigError(f"probability: expected each name once, got {', '.join(name for name, _ in named)}")
    without = replace(ranges, probability={}, **{name: value for name, value in asked.items() if name != "probability"})
    kept = {name: share for name, share in ranges.probability.items() if name in without.optional}
    return replace(without, probability={**kept, **shares})
