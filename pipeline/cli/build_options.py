"""The options of `augpipe build`, each of which a config file can give as well.

Their defaults and choices are those of the library's own configuration. An option that the user leaves out is decided
by the preset or by the strategy; the help shows what they decide by default.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from augment.presets import PLAIN_TEST, PRESETS
from augment.ranges import Extent
from pipeline.cli.label_types import ColorsOfClasses, LabelValues, NamesOfClasses
from pipeline.cli.options import PATH, Function, ShareOfSamples, WindowSize, option
from pipeline.shards.config import (
    DEFAULT_FOLDS,
    DEFAULT_REGION_GAP_PX,
    ENGINES,
    FOCUSES,
    JOINS,
    LABEL_KINDS,
    MARGINS,
    STRATEGIES,
    WEIGHTS,
    BuildConfig,
)

if TYPE_CHECKING:
    from pipeline.cli.config_file import ConfigFile

DEFAULTS = BuildConfig()
_RANGES = DEFAULTS.ranges
# What a preset decides beside the ranges: the size of the set's images, (height, width), weights, and whether the
# samples of test are plain.
PRESET_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "ctc-phc-u373": {"size": (520, 696), "weights": "unet2015"},
    "ctc-dic-hela": {"size": (512, 512), "weights": "unet2015"},
    **{preset: {"plain_test": True} for preset in PLAIN_TEST},
}


def use_config_file(context: click.Context, _parameter: click.Parameter, path: Path | None) -> "ConfigFile | None":
    """Make the options in a file the defaults of the command: the callback of an eager option."""
    if path is None or context.resilient_parsing:
        return None
    from pipeline.cli.config_file import read_config_file

    file = read_config_file(path, context.command)
    context.default_map = dict(file.options)
    return file


def _low_high(pair: tuple[float, float]) -> str:
    return "{:g} {:g}".format(*pair)


_source = partial(option, "Source")
_dataset = partial(option, "Dataset")
_split = partial(option, "Split")
_augmentation = partial(option, "Augmentation")
_range = partial(option, "Augmentation", type=float, nargs=2, metavar="LOW HIGH")
_running = partial(option, "Running")

_OPTIONS = (
    _source(
        "--images",
        type=PATH,
        multiple=True,
        help="Slices, instead of SOURCE: a TIFF, a folder of pages, a.h5:/raw, a.zarr. Repeatable.",
    ),
    _source("--labels", type=PATH, multiple=True, help="Their labels, likewise; the k-th go with the k-th --images."),
    _source(
        "--ctc",
        type=PATH,
        help="Set of the Cell Tracking Challenge (01, 01_GT, ...), instead of SOURCE.",
    ),
    _source("--silver/--no-silver", default=None, help="With --ctc: the computed annotations, 01_ST."),
    _source(
        "--label-kind",
        type=click.Choice(["auto", *LABEL_KINDS]),
        default="auto",
        help="What the numbers in the labels are; auto looks at them.",
    ),
    _source(
        "--ignore",
        type=LabelValues(),
        multiple=True,
        help="Label value of pixels that mean nothing, such as -1 or 255. Repeatable.",
    ),
    _source("--classes", type=NamesOfClasses(), help="Names of the classes: background,cell or 0=background,255=cell."),
    _source(
        "--label-colors",
        type=ColorsOfClasses(),
        help="Labels are colours: background=#000000,cell=#00ff00 in the order of the classes, or found.",
    ),
    _source(
        "--skip-unlabelled/--no-skip-unlabelled",
        default=None,
        help="Leave out of every split slices in which nothing is annotated.",
    ),
    _source(
        "--independent/--no-independent",
        default=None,
        help="Slices are fields of view without neighbours, not sections.  [default: as folders show]",
    ),
    _source(
        "--channels-are-slices/--no-channels-are-slices",
        default=None,
        help="What the image file calls channels are the slices of a stack; no: the channels of one slice.",
    ),
    _source(
        "--channel",
        multiple=True,
        metavar="NAMES",
        help="Channels to keep, in that order, by name or number: red or 0,2. Repeatable.",
    ),
    _source(
        "--join",
        type=click.Choice(JOINS),
        default=JOINS[0],
        help="What several --images are: stacks, or, with fewer --labels, the channels of one.",
    ),
    _source(
        "--scale-gray",
        type=float,
        nargs=2,
        metavar="P_LOW P_HIGH",
        help="Scale gray levels: these percentiles of all pixels become black and white.",
    ),
    _source(
        "--gray-bits",
        type=click.Choice(["8", "16"]),
        help="Bits that gray levels are scaled to, with --scale-gray.  [default: 16]",
    ),
    _source(
        "--pixel-size",
        type=float,
        metavar="NM",
        help="Resample all stacks to pixels of so many nanometres.",
    ),
    _source(
        "--pixel-size-of",
        type=float,
        multiple=True,
        metavar="NM",
        help="How large they are, for each --images in order.  [default: as files say]",
    ),
    _source(
        "--regions/--no-regions",
        default=None,
        help="Cut slices larger than four samples into boxes, each a slice of its own.",
    ),
    _source(
        "--region-gap",
        type=int,
        metavar="PX",
        help=f"With --regions: strips between boxes that are in none.  [default: {DEFAULT_REGION_GAP_PX}]",
    ),
    _source("--name", help="What to call the dataset.  [default: as the source]"),
    _dataset("--n", type=int, default=DEFAULTS.n, help="Samples in all splits together."),
    _dataset("--seed", type=int, default=DEFAULTS.seed, help="Seed of every random number."),
    _dataset("--out", type=PATH, help="Folder to make.  [default: datasets/NAME-nN-seedSEED]"),
    _dataset(
        "--size",
        type=WindowSize(),
        help="Sample size, 512 or HxW.  [default: the multiple of 16 that fits all slices, 704 at most; 700 for the "
        "phantom and ISBI 2012]",
    ),
    _dataset("--shard-size", type=int, default=DEFAULTS.shard_size, help="Samples in one HDF5 file."),
    _dataset(
        "--margin",
        type=click.Choice(MARGINS),
        metavar="LABELS",
        help="Labels where samples show mirror images of the slice: an object's id (shared), one for each of its "
        "images (own), the ignore value (ignore), an object's id and a mask that tells where (mask).  [default: own "
        "for instances, else shared]",
    ),
    _dataset(
        "--context",
        type=int,
        default=DEFAULTS.context,
        metavar="N",
        help="Show N neighbours on either side of a slice, too, as more channels; the gap counts from the outermost.",
    ),
    _dataset(
        "--weights",
        type=click.Choice(WEIGHTS),
        default=DEFAULTS.weights,
        metavar="KIND",
        help="Weights to store for the loss. unet2015: classes balanced, borders between cells emphasised.",
    ),
    _split(
        "--split",
        type=click.Choice(STRATEGIES),
        default=DEFAULTS.split,
        metavar="STRATEGY",
        help="Hold out for testing: the end of every stack (block), single slices (random), one block of several "
        "(kfold), whole stacks (stack), what a file says (explicit).",
    ),
    _split("--test", type=float, default=DEFAULTS.test, help="Fraction of slices and samples to test on."),
    _split("--val", type=float, default=DEFAULTS.val, help="Fraction to validate on."),
    _split(
        "--plain-test/--no-plain-test",
        default=None,
        help="Test on the slices' own pixels, not augmented: in tiles that hold each of them, whatever --n is.  "
        f"[default: with the presets {', '.join(PLAIN_TEST)}]",
    ),
    _split("--plain-val/--no-plain-val", default=None, help="The same for validation.  [default: no]"),
    _split("--gap", type=int, default=DEFAULTS.gap, help="Slices left out between two splits."),
    _split("--folds", type=int, default=DEFAULT_FOLDS, help="With kfold: how many blocks."),
    _split(
        "--fold",
        type=int,
        default=DEFAULTS.fold,
        help="With kfold or a splits_final.json: which one to hold out, from 0.",
    ),
    _split(
        "--split-file",
        type=PATH,
        help="With explicit: the split of every slice or file, or nnU-Net's splits_final.json.",
    ),
    _split(
        "--groups",
        type=PATH,
        help="CSV of file-or-slice,group: no group, such as a patient, is in two splits.",
    ),
    _split(
        "--group-by",
        metavar="REGEX",
        help="The same from the names of files: its first (...), or all that it finds, is the group.",
    ),
    _augmentation(
        "--preset",
        type=click.Choice(PRESETS),
        default=PRESETS[0],
        metavar="NAME",
        help="Where the options below start from; their defaults are those of unet2015, rotation and a 3 x 3 grid over "
        "the sample. original: a 3 x 3 grid over the padded slice, no rotation. strong: unet2015 with flip, zoom, "
        "shift, gain and bias. nnunet2d: what nnU-Net does by default. fluorescence: uneven light, blur, noise, "
        "exposure and gamma in some samples. em-defects: strong with --defects. he-stain: unet2015 with flip, zoom and "
        "--stain. ctc-phc-u373, ctc-dic-hela: unet2015 with the image size of these sets and --weights unet2015.",
    ),
    _augmentation(
        "--rotate/--no-rotate",
        default=None,
        help="Rotate by any angle.  [default: {:g} to {:g} degrees]".format(*_RANGES.rotate_deg),
    ),
    _augmentation("--flip/--no-flip", default=_RANGES.flip, help="Mirror every second sample, by chance."),
    _range("--zoom", help=f"Magnify; above 1 shows less, larger.  [default: {_low_high(_RANGES.zoom)}]"),
    _augmentation(
        "--shift",
        type=float,
        metavar="PX",
        help="Shift by up to PX.  [default: to every corner of the slice]",
    ),
    _augmentation(
        "--focus",
        type=click.Choice(FOCUSES),
        default=DEFAULTS.focus,
        metavar="PLACES",
        help="Centre some training samples on a pixel of any foreground (foreground), of a class or an object, each of "
        "the slice's as likely (class, object); uniform: on none.",
    ),
    _augmentation("--focus-share", type=float, default=DEFAULTS.focus_share, help="How many of them, with --focus."),
    _augmentation(
        "--min-foreground",
        type=float,
        default=DEFAULTS.min_foreground,
        help="Draw training samples with a smaller share of foreground again.",
    ),
    _range("--gain", help=f"Multiply the gray levels.  [default: {_low_high(_RANGES.gain)}]"),
    _range("--bias", help=f"Add to the gray levels.  [default: {_low_high(_RANGES.bias)}]"),
    _augmentation(
        "--per-channel/--no-per-channel",
        default=_RANGES.per_channel,
        help="Draw gain, bias and what follows for each channel, not one for all.",
    ),
    _range(
        "--defects",
        help="Faults of EM sections, so many px in size: a part missing, a dark spot, a fold, or a jump. Labels are "
        "ignored where nothing is seen.  [default: none]",
    ),
    _range("--shading", help="Multiply by a smooth field, up to so much above and below 1.  [default: none]"),
    _range(
        "--stain",
        help="Of H&E in RGB, change the amount of each dye by up to such a share, and add up to so much.  "
        "[default: none]",
    ),
    _range(
        "--color",
        help="Of RGB, change the saturation by up to such a share, and turn hues by up to so many half turns.  "
        "[default: none]",
    ),
    _range("--blur", help="Blur by a Gaussian of so many px (s.d.).  [default: none]"),
    _range("--noise", help="Add normal noise of so many gray levels (s.d.).  [default: none]"),
    _range("--low-resolution", help="Keep so large a share of the pixels along an axis, 0.05 to 1.  [default: none]"),
    _range("--contrast", help="Multiply the distances from the mean gray level.  [default: none]"),
    _range("--gamma", help="Raise the gray levels to a power, and restore mean and s.d.  [default: none]"),
    _augmentation(
        "--probability",
        type=ShareOfSamples(),
        multiple=True,
        metavar="NAME=FRACTION",
        help="How many samples get one of these, or rotate, zoom, gain or bias: noise=0.2. Repeatable.  [default: all, "
        "or as the preset has it]",
    ),
    _augmentation("--grid", type=int, default=_RANGES.grid_points, help="Control points of the deformation a side."),
    _augmentation("--sigma", type=float, default=_RANGES.sigma_px, help="Their displacement, in px (s.d.)."),
    _augmentation(
        "--extent",
        type=click.Choice(get_args(Extent)),
        default=_RANGES.extent,
        help="What the grid spans; padded is milder.",
    ),
    _running("--jobs", type=int, default=-1, help="Threads; -1 for one a core. Changes no byte."),
    _running(
        "--engine",
        type=click.Choice(ENGINES),
        default=DEFAULTS.engine,
        help="staged: slow, by elasticdeform, to compare.",
    ),
    _running("--overwrite", is_flag=True, help="Replace another dataset, or a damaged one."),
    _running("--dry-run", is_flag=True, help="Say what would be made or reused, and why; write nothing."),
    option(
        "Config file",
        "--config",
        type=PATH,
        metavar="FILE",
        is_eager=True,
        callback=use_config_file,
        help="TOML: options by their long names, SOURCE as folder, and facts such as title and licence in a table "
        "[source]. Options given here win over the file.",
    ),
)


def add_build_options(function: Function) -> Function:
    """Add the options, in the order in which the help lists them."""
    for add in reversed(_OPTIONS):
        function = add(function)
    return function
