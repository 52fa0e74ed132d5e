"""`augpipe build`, `rebuild` and `phantom`: what makes datasets, and a stack to make one of."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.build_choices import read_request
from pipeline.cli.build_options import add_build_options
from pipeline.cli.options import PATH, Command, jobs_option, option
from pipeline.cli.output import Output
from pipeline.cli.source_choice import read_source
from pipeline.errors import ConfigError
from pipeline.shards.config import DEFAULT_WINDOW, require_jobs

if TYPE_CHECKING:
    from pipeline.cli.config_file import ConfigFile


@click.command("build", cls=Command)
@click.argument("source", type=PATH, required=False)
@add_build_options
@click.pass_context
def build(
    context: click.Context, /, output: Output, config: "ConfigFile | None", jobs: int, dry_run: bool, **options: Any
) -> None:
    """Build a dataset from SOURCE, a folder with train-volume.tif and train-labels.tif, or laid out otherwise.

    Without SOURCE: data/isbi2012 if it is there, else the built-in phantom, a synthetic stack.

    \b
    augpipe build FOLDER --n 500                      a stack of yours
    augpipe build --images raw.tif --labels seg.tif   the same in two files
    augpipe build FOLDER --preset strong --val 0.1    augment more, and validate
    augpipe build FOLDER --split kfold --fold 2       the third of five folds
    augpipe build --config set.toml --seed 1          options from a file
    """  # noqa: D301  # \b is the character by which click knows a table
    from pipeline.render.kernels import loading_kernels

    request = read_request(context, config)
    require_jobs(jobs)
    progress = output.progress()
    if dry_run or not request.source.exists:  # a mistyped name must not wait for them
        source = read_source(request.source, output)
        build_config = request.config_for(source)
    else:
        with loading_kernels(progress, then=_import_build) as load_rest:
            source = read_source(request.source, output)
            build_config = request.config_for(source)
            load_rest(source, build_config)

    from pipeline.build.builder import build_dataset
    from pipeline.cli.build_report import build_json, build_lines, pair_lines, size_line
    from pipeline.plan.foreground import foreground_notes

    if dry_run:
        output.lines(pair_lines(source))
    if not request.size_given and build_config.size != DEFAULT_WINDOW:
        output.line(size_line(source, build_config.size))
    output.lines(foreground_notes(source, build_config))
    result = build_dataset(
        source,
        build_config,
        out=options["out"],
        jobs=jobs,
        overwrite=options["overwrite"],
        dry_run=dry_run,
        progress=progress,
    )
    output.lines(build_lines(result, source))
    output.report(build_json(result))


@click.command("rebuild", cls=Command)
@click.argument("lock_folder", type=PATH, metavar="LOCK-FOLDER")
@option("Source", "--source", type=PATH, help="Folder of the stack; the phantom needs none.")
@option("Source", "--images", type=PATH, multiple=True, help="Or: a stack's images; again for each further stack.")
@option("Source", "--labels", type=PATH, multiple=True, help="Their labels, in the same order.")
@option("Running", "--out", type=PATH, help="Folder to make.  [default: datasets/<name of LOCK-FOLDER>]")
@jobs_option
def rebuild(
    lock_folder: Path,
    source: Path | None,
    images: tuple[Path, ...],
    labels: tuple[Path, ...],
    out: Path | None,
    jobs: int,
    output: Output,
) -> None:
    """Make the dataset that LOCK-FOLDER records, byte for byte, or nothing.

    LOCK-FOLDER holds its dataset.json and manifest.jsonl. Exit status: 0 every byte is as recorded, 1 it is not.
    """
    from pipeline.build.rebuild import rebuild_dataset
    from pipeline.cli.build_report import build_json, rebuild_lines

    n_channels, rest = divmod(len(images), max(1, len(labels)))  # several --images of one --labels are channels
    if bool(images) != bool(labels) or rest or (source and images):
        raise ConfigError("rebuild: name either --source, or one --labels for each --images, or for all its channels")
    pairs = tuple((path, labels[place // n_channels]) for place, path in enumerate(images))
    result = rebuild_dataset(lock_folder, out, source_folder=source, pairs=pairs, jobs=jobs, progress=output.progress())
    output.lines(rebuild_lines(result, lock_folder))
    output.report({**build_json(result), "schema": "augpipe/rebuild-report/1", "lock": str(lock_folder)})


@click.command("phantom", cls=Command)
@click.argument("out", type=PATH)
def phantom(out: Path, output: Output) -> None:
    """Write the built-in phantom into the folder OUT, as train-volume.tif and train-labels.tif."""
    from pipeline.source.readers import write_phantom

    files = [str(path) for path in write_phantom(out)]
    output.lines(files)
    output.report({"schema": "augpipe/phantom-report/1", "files": files})


def _import_build() -> None:
    """Import what builds, so that it is there when the source has been read."""
    import pipeline.build.builder  # noqa: F401
