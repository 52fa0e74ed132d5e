"""The options of `augpipe build`, each of which a config file can give as well.

Those that nobody gave are None where a preset or a strategy decides: the help then tells the default in words.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.options import PATH, Command, WindowSize, option

if TYPE_CHECKING:
    from pipeline.cli.config_file import ConfigFile


def use_config_file(context: click.Context, _parameter: click.Parameter, path: Path | None) -> "ConfigFile | None":
    """Make the options in a file the defaults of the command: the callback of an eager option."""
    from pipeline.cli.config_file import read_config_file

    if path is None or context.resilient_parsing:
        return None
    file = read_config_file(path, context.command)
    context.default_map = dict(file.options)
    return file


_SOURCE = (
    option(
        "Source",
        "--images",
        type=PATH,
        multiple=True,
        help="Slices, instead of SOURCE: a TIFF stack or a folder of TIFFs. Repeatable.",
    ),
    option(
        "Source",
        "--labels",
        type=PATH,
        multiple=True,
        help="Their labels, likewise; the k-th go with the k-th --images.",
    ),
    option(
        "Source",
        "--label-kind",
        type=click.Choice(["auto", "binary", "classes", "instances"]),
        default="auto",
        show_default=True,
        help="What the numbers in the labels are; auto looks at them.",
    ),
    option(
        "Source",
        "--independent/--no-independent",
        default=None,
        help="Slices are fields of view without neighbours, not sections.",
    ),
    option("Source", "--name", help="What to call the dataset.  [default: as the source]"),
)

_DATASET = (
    option("Dataset", "--n", type=int, default=300, show_default=True, help="Samples in all splits together."),
    option("Dataset", "--seed", type=int, default=0, show_default=True, help="Seed of every random number."),
    option("Dataset", "--out", type=PATH, help="Folder to make.  [default: datasets/NAME-nN-seedSEED]"),
    option("Dataset", "--size", type=WindowSize(), default="700", show_default=True, help="Sample size, 700 or HxW."),
    option("Dataset", "--shard-size", type=int, default=64, show_default=True, help="Samples in one HDF5 file."),
    option(
        "Dataset",
        "--weights",
        type=click.Choice(["none", "unet2015"]),
        default="none",
        show_default=True,
        metavar="KIND",
        help="Weights to store for the loss. unet2015: classes balanced, borders between cells emphasised.",
    ),
)

_SPLIT = (
    option(
        "Split",
        "--split",
        type=click.Choice(["block", "random", "kfold", "stack", "explicit"]),
        metavar="STRATEGY",
        help="Hold out for testing: the end of every stack (block), single slices (random), one block of several "
        "(kfold), whole stacks (stack), what a file says (explicit).  [default: block]",
    ),
    option("Split", "--test", type=float, help="Fraction of slices and samples to test on.  [default: 0.2]"),
    option("Split", "--val", type=float, help="Fraction to validate on.  [default: 0.0]"),
    option("Split", "--gap", type=int, help="Slices left out between two splits.  [default: 3]"),
    option("Split", "--folds", type=int, help="With kfold: how many blocks.  [default: 5]"),
    option(
        "Split",
        "--fold",
        type=int,
        help="With kfold or a splits_final.json: which one to hold out, from 0.  [default: 0]",
    ),
    option(
        "Split",
        "--split-file",
        type=PATH,
        help="With explicit: the split of every slice, or nnU-Net's splits_final.json.",
    ),
)

_AUGMENTATION = (
    option(
        "Augmentation",
        "--preset",
        type=click.Choice(["unet2015", "original", "strong"]),
        default="unet2015",
        show_default=True,
        metavar="NAME",
        help="Where the options below start from; their defaults are those of unet2015, rotation and a 3 x 3 grid over "
        "the sample. original: a 3 x 3 grid over the padded slice, no rotation. strong: unet2015 with flip, zoom, "
        "shift, gain and bias.",
    ),
    option(
        "Augmentation",
        "--rotate/--no-rotate",
        default=None,
        help="Rotate by any angle.  [default: 0 to 360 degrees]",
    ),
    option(
        "Augmentation",
        "--flip/--no-flip",
        default=None,
        help="Mirror every second sample, by chance.  [default: no-flip]",
    ),
    option(
        "Augmentation",
        "--zoom",
        type=float,
        nargs=2,
        metavar="LOW HIGH",
        help="Magnify; above 1 shows less, larger.  [default: 1 1]",
    ),
    option(
        "Augmentation",
        "--shift",
        type=float,
        metavar="PX",
        help="Shift by up to PX.  [default: to every corner of the slice]",
    ),
    option(
        "Augmentation",
        "--gain",
        type=float,
        nargs=2,
        metavar="LOW HIGH",
        help="Multiply the gray levels.  [default: 1 1]",
    ),
    option(
        "Augmentation",
        "--bias",
        type=float,
        nargs=2,
        metavar="LOW HIGH",
        help="Add to the gray levels.  [default: 0 0]",
    ),
    option("Augmentation", "--grid", type=int, help="Control points of the deformation a side.  [default: 3]"),
    option("Augmentation", "--sigma", type=float, help="Their displacement, in px (s.d.).  [default: 10.0]"),
    option(
        "Augmentation",
        "--extent",
        type=click.Choice(["window", "padded"]),
        help="What the grid spans; padded is milder.  [default: window]",
    ),
)

_RUNNING = (
    option(
        "Running",
        "--jobs",
        type=int,
        default=-1,
        show_default=True,
        help="Threads; -1 for one a core. Changes no byte.",
    ),
    option(
        "Running",
        "--engine",
        type=click.Choice(["fused", "staged"]),
        default="fused",
        show_default=True,
        help="staged: slow, by elasticdeform, to compare.",
    ),
    option("Running", "--overwrite", is_flag=True, help="Replace another dataset, or a damaged one."),
    option("Running", "--dry-run", is_flag=True, help="Say what would be made or reused, and why; write nothing."),
)

_CONFIG = option(
    "Config file",
    "--config",
    type=PATH,
    metavar="FILE",
    is_eager=True,
    callback=use_config_file,
    help="TOML: options by their long names, SOURCE as folder, and facts such as title and licence in a table "
    "[source]. Options given here win over the file.",
)


def build_options(command: Command) -> Command:
    """Add the options, in the order in which the help lists them."""
    add: Callable[[Any], Any]
    for add in reversed((*_SOURCE, *_DATASET, *_SPLIT, *_AUGMENTATION, *_RUNNING, _CONFIG)):
        command = add(command)
    return command
