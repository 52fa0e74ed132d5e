"""The command `augpipe`: parses, calls one function of the library, prints."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from augment.errors import AugpipeError, ConfigError
from pipeline.options import PATH, GroupedCommand, WindowSize, option, report_options

if TYPE_CHECKING:
    from pipeline.source import Source

INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="augpipe")
def cli() -> None:
    r"""Turn a few annotated slices into a training set that anyone can rebuild bit for bit, and that does not leak.

    \b
    augpipe build --n 300 --seed 0     make a dataset
    augpipe verify DATASET --replay    prove that it is what it says
    """


@cli.command(cls=GroupedCommand)
@click.argument("source", type=PATH, required=False)
@option(
    "Source",
    "--images",
    type=PATH,
    help="TIFF stack of the slices, instead of SOURCE.",
)
@option("Source", "--labels", type=PATH, help="TIFF stack of their labels.")
@option("Source", "--name", help="What to call the dataset.  [default: as the source]")
@option("Dataset", "--n", type=int, default=300, show_default=True, help="Samples in all splits together.")
@option("Dataset", "--seed", type=int, default=0, show_default=True, help="Seed of every random number.")
@option(
    "Dataset",
    "--out",
    type=PATH,
    help="Folder to make.  [default: datasets/NAME-nN-seedSEED]",
)
@option("Dataset", "--size", type=WindowSize(), default="700", show_default=True, help="Sample size, 700 or HxW.")
@option("Dataset", "--shard-size", type=int, default=64, show_default=True, help="Samples in one HDF5 file.")
@option(
    "Split",
    "--split",
    type=click.Choice(["block", "random"]),
    default="block",
    show_default=True,
    help="Hold out the end of the stack, or single slices.",
)
@option(
    "Split", "--test", type=float, default=0.2, show_default=True, help="Fraction of slices and samples to test on."
)
@option("Split", "--val", type=float, default=0.0, show_default=True, help="Fraction to validate on.")
@option("Split", "--gap", type=int, default=3, show_default=True, help="Slices left out between two splits.")
@option(
    "Augmentation", "--rotate/--no-rotate", default=True, show_default="0 to 360 degrees", help="Rotate by any angle."
)
@option("Augmentation", "--flip", is_flag=True, help="Mirror every second sample, by chance.")
@option(
    "Augmentation",
    "--zoom",
    type=float,
    nargs=2,
    default=(1.0, 1.0),
    metavar="LOW HIGH",
    help="Magnify; above 1 shows less, larger.",
)
@option(
    "Augmentation",
    "--shift",
    type=float,
    metavar="PX",
    help="Shift by up to PX.  [default: to every corner of the slice]",
)
@option(
    "Augmentation", "--grid", type=int, default=3, show_default=True, help="Control points of the deformation a side."
)
@option(
    "Augmentation", "--sigma", type=float, default=10.0, show_default=True, help="Their displacement, in px (s.d.)."
)
@option(
    "Augmentation",
    "--extent",
    type=click.Choice(["window", "padded"]),
    default="window",
    show_default=True,
    help="What the grid spans; padded is milder.",
)
@option(
    "Running", "--jobs", type=int, default=-1, show_default=True, help="Threads; -1 for one a core. Changes no byte."
)
@option(
    "Running",
    "--engine",
    type=click.Choice(["fused", "staged"]),
    default="fused",
    show_default=True,
    help="staged: slow, by elasticdeform, to compare.",
)
@option("Running", "--overwrite", is_flag=True, help="Replace another dataset, or a damaged one.")
@option("Running", "--dry-run", is_flag=True, help="Say what would be made or reused, and why; write nothing.")
@report_options
def build(
    source: Path | None,
    images: Path | None,
    labels: Path | None,
    name: str | None,
    out: Path | None,
    jobs: int,
    overwrite: bool,
    dry_run: bool,
    quiet: bool,
    json_file: str | None,
    **options: Any,
) -> None:
    """Build a dataset from SOURCE, a folder with train-volume.tif and train-labels.tif.

    Without SOURCE: data/isbi2012 if it is there, else the built-in phantom, a synthetic stack.
    """
    from augment.ranges import AugmentRanges
    from pipeline.config import BuildConfig, require_jobs
    from pipeline.warmup import load_kernels_in_background

    ranges = AugmentRanges(
        rotate_deg=(0.0, 360.0) if options.pop("rotate") else (0.0, 0.0),
        flip=options.pop("flip"),
        zoom=options.pop("zoom"),
        shift_px=options.pop("shift"),
        grid_points=options.pop("grid"),
        sigma_px=options.pop("sigma"),
        extent=options.pop("extent"),
    )
    config = BuildConfig(ranges=ranges, **options)
    require_jobs(jobs)
    say = _Voice(quiet=quiet, json_file=json_file)
    kernels = None if dry_run else load_kernels_in_background()
    stack = _find_stack(source, images, labels, name, say)
    if kernels:
        kernels.join()

    from pipeline.build import build_dataset
    from pipeline.progress import choose_progress
    from pipeline.report import build_json, build_lines

    if name is not None and stack.name != name:
        say.line(f"name: {stack.name}, because these are its pixels; --name {name} is not used")
    result = build_dataset(
        stack,
        config,
        out=out,
        jobs=jobs,
        overwrite=overwrite,
        dry_run=dry_run,
        progress=choose_progress(quiet=quiet),
    )
    say.lines(build_lines(result, stack))
    say.json(build_json(result))


@cli.command(cls=GroupedCommand)
@click.argument("dataset", type=PATH)
@option("Replay", "--replay", is_flag=True, help="Render the samples again and compare every pixel.")
@option("Replay", "--sample", metavar="ID", help="With --replay: this sample alone.")
@option(
    "Replay",
    "--source",
    type=PATH,
    help="Folder of the source.  [default: as remembered]",
)
@option("Running", "--jobs", type=int, default=-1, show_default=True, help="Threads; -1 for one a core.")
@report_options
def verify(
    dataset: Path, replay: bool, sample: str | None, source: Path | None, jobs: int, quiet: bool, json_file: str | None
) -> None:
    """Check every byte and every digest of DATASET.

    Exit status: 0 all is well, 1 something is not as recorded, 3 it could not be checked.
    """
    from pipeline.report import verification_json, verification_lines
    from pipeline.verify import check_dataset

    if (sample or source) and not replay:
        raise ConfigError("verify: --sample and --source go with --replay")
    say = _Voice(quiet=quiet, json_file=json_file)
    verification = check_dataset(dataset, replay=replay, source_folder=source, sample_id=sample, jobs=jobs)
    for finding in verification.findings:
        say.always(finding)
    say.lines(verification_lines(verification))
    say.json(verification_json(verification))
    if verification.findings:
        raise click.exceptions.Exit(1)


@cli.command(cls=GroupedCommand)
@click.argument("out", type=PATH)
@report_options
def phantom(out: Path, quiet: bool, json_file: str | None) -> None:
    """Write the built-in phantom into the folder OUT, as train-volume.tif and train-labels.tif."""
    from pipeline.reading import write_phantom

    say = _Voice(quiet=quiet, json_file=json_file)
    paths = [str(path) for path in write_phantom(out)]
    say.lines(paths)
    say.json({"schema": "augpipe/phantom-report/1", "files": paths})


class _Voice:
    """Where a command's lines and its JSON report go."""

    def __init__(self, *, quiet: bool, json_file: str | None) -> None:
        self._quiet = quiet
        self._json_file = json_file

    def line(self, text: str) -> None:
        """Print a line; on standard error where standard output is for JSON."""
        if not self._quiet:
            self.always(text)

    def always(self, text: str) -> None:
        """Print a line even where it is to be quiet."""
        click.echo(_printable(text), err=self._json_file == "-")

    def lines(self, texts: Sequence[str]) -> None:
        """Print lines."""
        for text in texts:
            self.line(text)

    def json(self, report: dict[str, Any]) -> None:
        """Write the report where it was asked for."""
        from pipeline.digest import canonical_json
        from pipeline.files import write_report

        if self._json_file == "-":
            click.echo(canonical_json(report), nl=False)
        elif self._json_file:
            write_report(Path(self._json_file), canonical_json(report))


def _find_stack(
    folder: Path | None, images: Path | None, labels: Path | None, name: str | None, say: _Voice
) -> "Source":
    """Return the stack that the arguments name, saying first which one it is."""
    from pipeline.reading import DEFAULT_FOLDER, find_source, phantom_source, read_files, read_folder

    if (images is None) != (labels is None) or (images and folder):
        raise ConfigError("build: name either a SOURCE folder, or both --images and --labels")
    if images and labels:
        say.line(f"source: {images} with {labels}")
        return read_files(images, labels, name=name)
    found = find_source(folder)
    if found is None:
        say.line(
            f"source: the built-in phantom, a synthetic stack, because there is no {DEFAULT_FOLDER}. For a real one, "
            "name a folder with train-volume.tif and train-labels.tif, or --images and --labels (README: Data)"
        )
        return phantom_source(name=name)
    say.line(f"source: {found}")
    return read_folder(found, name=name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    try:
        code = cli.main(arguments, prog_name="augpipe", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except AugpipeError as error:
        return _fail(str(error), error.exit_code)
    except click.exceptions.Abort:
        return _fail("interrupted; the same command continues where it stopped", INTERRUPTED)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "augpipe"
        return _fail(f"{error.format_message()} ({command} --help tells more)", ConfigError.exit_code)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except OSError as error:
        return _fail(f"{error.filename or 'augpipe'}: {error.strerror or error}", AugpipeError.exit_code)


def _fail(message: str, code: int) -> int:
    click.echo(_printable(f"augpipe: {' '.join(message.split())}"), err=True)
    return code


def _printable(text: str) -> str:
    """Return the text with what no terminal can print replaced: a path may hold bytes that are no text."""
    return text.encode("utf-8", "replace").decode("utf-8")


def run() -> None:
    """Run as the installed command: nothing is left to tidy up at the end, so the interpreter does not try to."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
