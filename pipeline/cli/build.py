"""`augpipe build`: from annotated slices to a dataset."""

from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.build_options import build_options
from pipeline.cli.options import PATH, GroupedCommand, report_options
from pipeline.cli.voice import Voice

if TYPE_CHECKING:
    from pipeline.cli.config_file import ConfigFile
    from pipeline.cli.given import Given
    from pipeline.cli.split import SplitChoice
    from pipeline.shards.config import BuildConfig
    from pipeline.source.stacks import Source

_UNKNOWN_PICTURE = ("T",)  # in the place of an explicit split until the source is read


@click.command(cls=GroupedCommand)
@click.argument("source", type=PATH, required=False)
@build_options
@report_options
@click.pass_context
def build(
    context: click.Context,
    /,
    config: "ConfigFile | None",
    jobs: int,
    dry_run: bool,
    quiet: bool,
    json_file: str | None,
    **options: Any,
) -> None:
    """Build a dataset from SOURCE, a folder with train-volume.tif and train-labels.tif.

    Without SOURCE: data/isbi2012 if it is there, else the built-in phantom, a synthetic stack.

    \b
    augpipe build FOLDER --n 500                      a stack of yours
    augpipe build --images raw.tif --labels seg.tif   the same in two files
    augpipe build FOLDER --preset strong --val 0.1    augment more, and validate
    augpipe build FOLDER --split kfold --fold 2       the third of five folds
    augpipe build --config set.toml --seed 1          options from a file
    """  # noqa: D301  # \b is the character by which click knows a table
    from pipeline.cli.given import read_given
    from pipeline.cli.source import choose_source, read_source
    from pipeline.cli.split import choose_split
    from pipeline.render.kernels import load_kernels_in_background
    from pipeline.shards.config import require_jobs
    from pipeline.shards.progress import choose_progress

    given = read_given(context, config.path if config else None)
    choice, split = choose_source(given, config), choose_split(given)
    asked = _ask(given, split, options)
    require_jobs(jobs)
    say = Voice(quiet=quiet, json_file=json_file)
    progress = choose_progress(quiet=quiet)
    kernels = None if dry_run else load_kernels_in_background(progress, then=_import_build)
    source = read_source(choice, say)
    if kernels:
        kernels.join()

    from pipeline.build.builder import build_dataset
    from pipeline.cli.closing_lines import build_json, build_lines

    result = build_dataset(
        source,
        _settle(asked, given, split, source),
        out=options["out"],
        jobs=jobs,
        overwrite=options["overwrite"],
        dry_run=dry_run,
        progress=progress,
    )
    say.lines(build_lines(result, source))
    say.json(build_json(result))


def _import_build() -> None:
    """Import what builds, so that it is there when the source has been read."""
    import pipeline.build.builder
    import pipeline.cli.closing_lines  # noqa: F401


def _ask(given: "Given", split: "SplitChoice", options: dict[str, Any]) -> "BuildConfig":
    """Return what is asked for, so that what cannot be had is refused before a large stack is read."""
    from pipeline.cli.ranges import choose_ranges
    from pipeline.shards.config import BuildConfig

    return BuildConfig(
        **{name: options[name] for name in ("n", "seed", "size", "shard_size", "weights", "engine")},
        **split.options,
        independent=bool(options["independent"]),
        picture=_UNKNOWN_PICTURE if split.file else (),
        ranges=choose_ranges(given),
    )


def _settle(asked: "BuildConfig", given: "Given", split: "SplitChoice", source: "Source") -> "BuildConfig":
    """Return what is asked for with all that only the source can tell."""
    from dataclasses import replace

    from pipeline.cli.ranges import choose_ranges, is_covered
    from pipeline.plan.split_file import read_split_file

    picture = read_split_file(split.file, source, fold=split.fold) if split.file else ()
    ranges = choose_ranges(given, gray_span=source.gray_span, covered=is_covered(source, asked.size))
    return replace(asked, picture=picture, ranges=ranges)
