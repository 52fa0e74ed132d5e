"""What the options of `augpipe build` want to be read, and the source that is read so."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.label_types import ClassNames, Color
from pipeline.cli.output import Output
from pipeline.cli.user_options import UserOptions
from pipeline.errors import ConfigError
from pipeline.shards.config import CHANNELS, DEFAULT_REGION_GAP_PX
from pipeline.source.pages.address import file_of

if TYPE_CHECKING:
    from pipeline.cli.config_file import ConfigFile
    from pipeline.plan.grouping import Grouping
    from pipeline.source.labels import LabelOptions
    from pipeline.source.regions import Regions
    from pipeline.source.stacks import Source

_NAMES_A_SOURCE = frozenset({"source", "images", "labels", "ctc"})


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


def choose_source(user: UserOptions, file: "ConfigFile | None", window: tuple[int, int] | None) -> SourceChoice:
    """Return the source that was asked for; one on the command line overrules one in a file.

    Args:
        user: what was asked for.
        file: the config file.
        window: (height, width) of a sample, in pixels; None where it is left to the source.

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
    ignore = tuple(value for values in user.get("ignore", ()) for value in values)
    if odd := [value for value in ignore if isinstance(value, Color) is (colors is None)]:
        raise ConfigError(
            f"{user.where('ignore')}: {f'#{odd[0]:06x}' if colors is None else odd[0]} "
            + (
                "is a colour, which goes with --label-colors; say the number that these pixels have"
                if colors is None
                else "is no colour, as labels have with --label-colors; say #ffffff for white"
            )
        )
    return LabelOptions(
        ignore=tuple(map(int, ignore)),
        names=said.names,
        values=said.values,
        are_colors=colors is not None,
        skip_unlabelled=bool(user.get("skip_unlabelled")),
    )


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


def choose_regions(user: UserOptions, window: tuple[int, int] | None) -> "Regions | None":
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
