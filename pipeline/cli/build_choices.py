"""What the options of `augpipe build` ask for: a source, a split, ranges, and the configuration of them all."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from augment.ranges import preset_ranges
from pipeline.cli.build_options import DEFAULTS, PRESET_OPTIONS
from pipeline.cli.label_types import ClassNames
from pipeline.cli.options import file_key
from pipeline.cli.output import Output
from pipeline.errors import ConfigError
from pipeline.shards.config import CHANNELS, DEFAULT_REGION_GAP_PX, BuildConfig
from pipeline.source.pages.address import file_of

if TYPE_CHECKING:
    from pipeline.cli.config_file import ConfigFile
    from pipeline.plan.grouping import Grouping
    from pipeline.source.labels import LabelOptions
    from pipeline.source.regions import Regions
    from pipeline.source.stacks import Source

_NAMES_A_SOURCE = frozenset({"source", "images", "labels", "ctc"})

_UNKNOWN_PICTURE = ("T",)  # in the place of an explicit split until the source is read

# Which strategies an option goes with, and why not with another, where that needs to be said.
_STRATEGIES = {
    "folds": ("kfold",),
    "fold": ("kfold", "explicit"),
    "test": ("block", "random", "stack"),
    "val": ("block", "random", "kfold", "stack"),
    "gap": ("block", "random", "kfold"),
}
_WHY_NOT = {
    ("test", "kfold"): "kfold tests on one fold, which is 1 / folds of the slices",
    ("test", "explicit"): "the split file says which slices to test on",
    ("val", "explicit"): "the split file says which slices to validate on",
    ("gap", "explicit"): "the split file says which slices are left out",
    ("gap", "stack"): "different stacks are no neighbours",
}
_MIN = {"folds": 2, "fold": 0}

# The field of `AugmentRanges` that an option sets; --rotate sets rotate_deg.
_RANGE_FIELDS = {name: name for name in ("flip", "zoom", "gain", "bias", "per_channel", "extent")}
_RANGE_FIELDS |= {"shift": "shift_px", "grid": "grid_points", "sigma": "sigma_px"}


@dataclass(frozen=True, slots=True)
class UserOptions:
    """The options that a user set, on the command line or in a config file; not those left to their defaults.

    Attributes:
        values: what they were set to, by the parameter's name.
        keys: what each parameter is called in a config file.
        flags: the names of those that were set on the command line.
        file: where the others were set.
    """

    values: Mapping[str, Any]
    keys: Mapping[str, str]
    flags: frozenset[str]
    file: Path | None = None

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of an option that was set, else the default."""
        return self.values.get(name, default)

    def only(self, *names: str) -> dict[str, Any]:
        """Return the values of these, as far as they were set."""
        return {name: self.values[name] for name in names if name in self.values}

    def where(self, name: str) -> str:
        """Return what to call an option in a message, so that the user finds it."""
        key = self.keys[name]
        return f"--{key}" if name in self.flags or self.file is None else f"{self.file}: {key}"

    def without_file(self, *names: str) -> "UserOptions":
        """Return all but what the file says of these: the command line has overruled it."""
        overruled = {name for name in names if name not in self.flags}
        return replace(self, values={name: value for name, value in self.values.items() if name not in overruled})


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What is to be built.

    Attributes:
        source: what to read.
        split: how its slices are to be assigned.
        config: all options that decide a byte, as far as they are known before the source is read.
        preset: which ranges to start from.
        ranges: what to change in them.
        margin_given: whether the margin was asked for, and not left to the kind of the labels.
    """

    source: "SourceChoice"
    split: "SplitChoice"
    config: BuildConfig
    preset: str
    ranges: Mapping[str, Any]
    margin_given: bool

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
        height, width = config.size
        covered = all(stack.slice_size[0] <= height and stack.slice_size[1] <= width for stack in source.stacks)
        span = source.gray_span() if self.preset == "strong" else 0.0  # no other measures anything in it
        ranges = preset_ranges(self.preset, gray_span=span, covered=covered)
        config = replace(config, picture=picture, ranges=replace(ranges, **self.ranges))
        has_own = source.coding.kind == "instances" and not source.coding.full
        if not self.margin_given and has_own and config.engine != "staged":
            config = replace(config, margin="own")
        return config

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


def read_request(context: click.Context, file: "ConfigFile | None") -> BuildRequest:
    """Return what the user asks for, so that mistakes are found before a large stack is read.

    Args:
        context: of the command that is being run, with its options.
        file: the config file.

    Raises:
        ConfigError: options that do not go together, or are out of range.
    """
    user = _read_user_options(context, file)
    preset: str = context.params["preset"]
    options = {**context.params, **PRESET_OPTIONS.get(preset, {}), **user.only("size", "weights")}
    source, split = choose_source(user, file, options["size"]), choose_split(user)
    ranges: dict[str, Any] = {field: user.get(name) for name, field in _RANGE_FIELDS.items() if name in user}
    if "rotate" in user:
        ranges["rotate_deg"] = DEFAULTS.ranges.rotate_deg if user.get("rotate") else (0.0, 0.0)
    config = BuildConfig(
        **{name: options[name] for name in ("n", "seed", "size", "shard_size", "weights", "engine")},
        **split.options,
        **user.only("margin"),
        independent=bool(options["independent"]),
        picture=_UNKNOWN_PICTURE if split.file else (),
        ranges=replace(preset_ranges(preset), **ranges),
    )
    return BuildRequest(source, split, config, preset, ranges, "margin" in user)


@dataclass(frozen=True, slots=True)
class SourceChoice:
    """What to read.

    Attributes:
        folder: one with train-volume.tif and train-labels.tif, or with folders of images and labels, or a set of the
            Cell Tracking Challenge.
        pairs: images and labels, stack by stack, instead of a folder.
        options: for `read_folder` and `read_pairs`.
        grouping: where the group of every slice is said; None where slices are in none.
        notes: what the user should know of the choice.
    """

    folder: Path | None
    pairs: tuple[tuple[Path, Path], ...]
    options: Mapping[str, Any]
    grouping: "Grouping | None" = None
    notes: tuple[str, ...] = ()

    @property
    def exists(self) -> bool:
        """Whether all files and folders that are named exist; what is in them shows when they are read."""
        named = [self.folder or Path(), *(file_of(path) for pair in self.pairs for path in pair)]
        return all(path.exists() for path in named)


def choose_source(user: UserOptions, file: "ConfigFile | None", window: tuple[int, int]) -> SourceChoice:
    """Return the source that was asked for; one on the command line overrules one in a file.

    Args:
        user: what was asked for.
        file: the config file.
        window: (height, width) of a sample, in pixels.

    Raises:
        ConfigError: a folder and files, images without labels, or strips between regions that are not asked for.
    """
    if named := user.flags & _NAMES_A_SOURCE:
        together = {"images", "labels"} if named & {"images", "labels"} else named
        user = user.without_file(*(_NAMES_A_SOURCE - together))
        user = user if "ctc" in named else user.without_file("silver")
    folder, images, labels = user.get("source"), user.get("images", ()), user.get("labels", ())
    ctc = user.get("ctc")
    where = "build" if file is None or user.flags & _NAMES_A_SOURCE else str(file.path)
    if bool(images) != bool(labels) or sum(map(bool, (images, folder, ctc))) > 1:
        raise ConfigError(f"{where}: name either a SOURCE folder, or both --images and --labels, or --ctc")
    if user.get("silver") and not ctc:
        raise ConfigError(f"{user.where('silver')}: it goes with --ctc, a set of the Cell Tracking Challenge")
    n_channels = _n_joined(user, where, len(images), len(labels))
    pairs = tuple((path, labels[place // n_channels]) for place, path in enumerate(images))
    options = {
        **user.only("name", "label_kind", "independent", "channels_are_slices", "channel"),
        **(user.only("join") if images else {}),
        **_choose_scaling(user),
        **_choose_pixel_size(user),
        **({"ctc": True, **user.only("silver")} if ctc else {}),
        "regions": choose_regions(user, window),
        "label_options": _label_options(user),
        "facts": dict(file.facts) if file else None,
    }
    return SourceChoice(ctc or folder, pairs, options, choose_grouping(user), _source_notes(user, file))


def _choose_scaling(user: UserOptions) -> dict[str, Any]:
    """Return how gray levels are to be scaled, if they are.

    Raises:
        ConfigError: bits without percentiles, or percentiles that do not rise.
    """
    bits: Any = user.get("gray_bits")
    if "scale_gray" not in user:
        if bits is not None:
            raise ConfigError(f"{user.where('gray_bits')}: says to how many bits --scale-gray scales; give that, too")
        return {}
    from pipeline.source.gray_levels import ScaleGray

    low, high = user.get("scale_gray")
    return {"scale_gray": ScaleGray((low, high), 16 if bits is None else 8 if bits == "8" else 16)}


def _choose_pixel_size(user: UserOptions) -> dict[str, Any]:
    """Return how large pixels are to be, if stacks are to be resampled.

    Raises:
        ConfigError: no size to resample to, or one that is no positive number.
    """
    sizes = user.get("pixel_size_of", ())
    if "pixel_size" not in user:
        if sizes:
            raise ConfigError(
                f"{user.where('pixel_size_of')}: says how large pixels are, but no --pixel-size to be made"
            )
        return {}
    from pipeline.source.resampling import PixelSize

    return {"pixel_size": PixelSize(user.get("pixel_size"), tuple(sizes))}


def choose_regions(user: UserOptions, window: tuple[int, int]) -> "Regions | None":
    """Return how large slices are to be cut, if they are.

    Raises:
        ConfigError: strips between boxes are asked for, but no boxes, or strips of less than 0 px.
    """
    gap_px = user.get("region_gap", DEFAULT_REGION_GAP_PX)
    if not user.get("regions"):
        if "region_gap" in user:
            raise ConfigError(f"{user.where('region_gap')}: it goes with --regions; add that, or leave this out")
        return None
    if gap_px < 0:
        raise ConfigError(f"{user.where('region_gap')}: expected 0 or more pixels, got {gap_px}")
    from pipeline.source.regions import Regions

    return Regions(window, gap_px)


def choose_grouping(user: UserOptions) -> "Grouping | None":
    """Return where groups are said; one on the command line overrules one in a file.

    Raises:
        ConfigError: it is said twice, there is no such file, or the expression is none.
    """
    if user.flags & {"groups", "group_by"}:
        user = user.without_file("groups", "group_by")
    said = user.only("groups", "group_by")
    if not said:
        return None
    if len(said) > 1:
        raise ConfigError(f"{user.where('groups')}: {user.where('group_by')} says it, too; leave out one of them")
    from pipeline.plan.grouping import Grouping

    return Grouping(said.get("groups"), said.get("group_by", ""), user.where(*said))


def _n_joined(user: UserOptions, where: str, n_images: int, n_labels: int) -> int:
    """Return how many images go with the same labels.

    Raises:
        ConfigError: images without labels, or the other way round, or channels of nothing.
    """
    if user.get("join") != CHANNELS:
        if n_images != n_labels:
            may_join = n_images > n_labels and n_images % n_labels == 0
            advice = "; if these images are the channels of one stack, say --join channels" if may_join else ""
            raise ConfigError(
                f"{where}: expected one --labels for every --images, in the same order, got {n_images} --images and "
                f"{n_labels} --labels{advice}"
            )
        return 1
    if not n_labels or n_images % n_labels or n_images == n_labels:
        raise ConfigError(
            f"{user.where('join')}: expected the --images of each channel for every --labels, 2 or more, got "
            f"{n_images} --images and {n_labels} --labels"
        )
    return n_images // n_labels


def _label_options(user: UserOptions) -> "LabelOptions":
    from pipeline.source.labels import LabelOptions

    said, colors = user.get("classes", ClassNames(())), user.get("label_colors")
    if colors is not None:
        if said.values or (said.names and colors.names):
            raise ConfigError(
                f"{user.where('classes')}: {user.where('label_colors')} says it, too; leave out one of them"
            )
        said = ClassNames(said.names or colors.names, colors.values)
    return LabelOptions(
        ignore=tuple(value for values in user.get("ignore", ()) for value in values),
        names=said.names,
        values=said.values,
        are_colors=colors is not None,
        skip_unlabelled=bool(user.get("skip_unlabelled")),
    )


def read_source(choice: SourceChoice, output: Output) -> "Source":
    """Return the source, after printing which one it is; then print what there is to know about it.

    Raises:
        ConfigError: a file is missing, or what was said about the source does not fit it.
        SourceError: a file cannot be read.
    """
    from pipeline.source.readers import IMAGES_FILE, find_source, read_folder, read_pairs, source_pairs

    output.lines(choice.notes)
    if choice.pairs:
        output.lines(f"source: {images} with {labels}" for images, labels in choice.pairs)
        source = read_pairs(choice.pairs, **choice.options)
    elif (folder := find_source(choice.folder)) is not None:
        output.line(f"source: {folder}")
        layout = {name: value for name, value in choice.options.items() if name in ("ctc", "silver")}
        output.lines(
            f"source: {images} for images, {labels} for labels"
            for images, labels in source_pairs(folder, **layout)
            if images not in (folder, folder / IMAGES_FILE)
        )
        source = read_folder(folder, **choice.options)
    else:
        source = _read_phantom(choice, output)
    if choice.grouping:
        from pipeline.plan.grouping import group_slices

        source = group_slices(source, choice.grouping)
    name = choice.options.get("name")
    if name is not None and source.name != name:
        output.line(f"name: {source.name}, because these are its pixels; the name {name} is not used")
    output.lines(source.notes)
    return source


@dataclass(frozen=True, slots=True)
class SplitChoice:
    """How slices are to be assigned.

    Attributes:
        options: those of `BuildConfig`, as far as they were set.
        file: what assigns every slice; for the strategy `explicit` alone.
        fold: which one of the file's folds.
        chosen: whether a strategy was asked for; else the default may be another one, by what the source is.
    """

    options: Mapping[str, Any]
    file: Path | None = None
    fold: int = 0
    chosen: bool = False


def choose_split(user: UserOptions) -> SplitChoice:
    """Return the split that was asked for.

    A strategy on the command line overrules what a file says that does not go with it.

    Raises:
        ConfigError: an option does not go with the strategy, or one that the strategy needs is missing.
    """
    by_flag = bool(user.flags & {"split", "split_file"})
    user = _with_one_strategy(user)
    file = user.get("split_file")
    strategy = "explicit" if file else user.get("split", DEFAULTS.split)
    if strategy == "explicit" and not file:
        raise ConfigError(f"{user.where('split')}: explicit needs a --split-file that says where every slice goes")
    if by_flag:
        user = user.without_file(*(name for name, strategies in _STRATEGIES.items() if strategy not in strategies))
    if "independent" in user.flags and user.get("independent"):
        user = user.without_file("gap")
    _require_used(user, strategy)
    if file and not file.exists():  # it is read when the source is there to compare it with
        raise ConfigError(
            f"{user.where('split_file')}: expected a file that says where every slice goes, found no {file}"
        )
    names = ("gap", "val") if strategy == "explicit" else tuple(_STRATEGIES)
    chosen = bool(file) or "split" in user
    return SplitChoice({"split": strategy, **user.only(*names)}, file, user.get("fold", 0), chosen)


def _read_user_options(context: click.Context, file: "ConfigFile | None") -> UserOptions:
    """Return what the user set for the command that is being run."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    by_user = (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)
    return UserOptions(
        values={name: context.params[name] for name, source in sources.items() if source in by_user},
        keys={parameter.name: file_key(parameter) for parameter in context.command.params if parameter.name},
        flags=frozenset(name for name, source in sources.items() if source is ParameterSource.COMMANDLINE),
        file=file.path if file else None,
    )


def _source_notes(user: UserOptions, file: "ConfigFile | None") -> tuple[str, ...]:
    """Return which file is used, and a warning where its facts may not belong to the pixels."""
    if file is None:
        return ()
    note = f"config: {file.path}"
    if file.facts and _NAMES_A_SOURCE & file.options.keys() and _NAMES_A_SOURCE & user.flags:
        note += "; its facts about the source are recorded, though the command line names another source than it does"
    return (note,)


def _read_phantom(choice: SourceChoice, output: Output) -> "Source":
    from pipeline.source.labels import DEFAULT_OPTIONS
    from pipeline.source.readers import DEFAULT_FOLDER, phantom_source

    output.line(
        f"source: the built-in phantom, a synthetic stack, because there is no {DEFAULT_FOLDER}. For a real one, "
        "name a folder with train-volume.tif and train-labels.tif, or --images and --labels (README: Data)"
    )
    if choice.options.get("regions"):
        raise ConfigError("regions: the slices of the built-in phantom are not cut; leave it out")
    if choice.options.get("independent"):
        raise ConfigError("independent: the slices of the built-in phantom are neighbours; leave it out")
    if (kind := choice.options.get("label_kind", "auto")) not in ("auto", "binary"):
        raise ConfigError(f"label-kind: the labels of the built-in phantom are binary, not {kind}; leave it out")
    if choice.options.get("channel"):
        raise ConfigError("channel: the built-in phantom has one channel; leave it out")
    if "scale_gray" in choice.options:
        raise ConfigError("scale-gray: the gray levels of the built-in phantom have 8 bits; leave it out")
    if "pixel_size" in choice.options:
        raise ConfigError("pixel-size: the built-in phantom is no picture of anything, of any size; leave it out")
    if choice.options["label_options"] != DEFAULT_OPTIONS:
        raise ConfigError(
            "labels: those of the built-in phantom have names, and all are annotated; leave their options out"
        )
    if choice.options["facts"]:
        output.line("facts: the built-in phantom has its own; those in [source] of the config file are not used")
    return phantom_source(name=choice.options.get("name"))


def _with_one_strategy(user: UserOptions) -> UserOptions:
    """Return the options without the file's strategy, where the command line has another."""
    if "split" in user.flags and user.get("split") != "explicit":
        user = user.without_file("split_file")
    elif "split_file" in user.flags:
        user = user.without_file("split")
    split = user.get("split", "explicit")
    if "split_file" in user and split != "explicit":
        raise ConfigError(
            f"{user.where('split_file')}: it says where every slice goes, which is split explicit, not {split}; "
            f"leave out {user.where('split')}"
        )
    return user


def _require_used(user: UserOptions, strategy: str) -> None:
    """Refuse an option that would be ignored."""
    for name, value in user.only(*_STRATEGIES).items():
        strategies = _STRATEGIES[name]
        changes_nothing = name in ("gap", "val") and value == 0
        if strategy not in strategies and not changes_nothing:
            why = _WHY_NOT.get((name, strategy), f"add --split {strategies[0]}")
            listed = " or ".join(filter(None, (", ".join(strategies[:-1]), strategies[-1])))
            raise ConfigError(f"{user.where(name)}: it goes with split {listed}, not with {strategy}: {why}")
        if name in _MIN and value < _MIN[name]:
            raise ConfigError(f"{user.where(name)}: expected {_MIN[name]} or more, got {value}")
    if user.get("independent") and user.get("gap"):
        raise ConfigError(
            f"{user.where('gap')}: slices that are independent have no neighbours to leave out; leave out this "
            f"option, or {user.where('independent')}"
        )
