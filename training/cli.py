"""`augtrain`: train, score and predict from the shell; every command parses, calls one function, and prints."""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from pipeline.errors import AugpipeError, ConfigError, exit_code

Command = TypeVar("Command", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)
_ONE_OR_MORE = click.IntRange(1)  # 0 is the config's own word for a choice that is left open
PRESET_NAMES = ("paper", "release", "report-keras", "report-pytorch", "small")
EXTRA_LIBRARIES = ("torch", "matplotlib")
INTERRUPTED = 130


def _checked(_context: click.Context, _parameter: click.Parameter, json_file: str | None) -> str | None:
    """Refuse a place for the report before hours of work, and not after them."""
    if json_file and json_file != "-":
        from training.report import require_report_place

        require_report_place(Path(json_file))
    return json_file


def _reporting(command: Command) -> Command:
    """Add what every command has: --quiet and --json."""
    command = click.option(
        "--json", "json_file", metavar="FILE", callback=_checked, help="Write a report; - for standard output."
    )(command)
    return click.option("--quiet", is_flag=True, help="Print nothing but errors.")(command)


_device = click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda or cuda:N.")
_tta = click.option("--tta", is_flag=True, help="Average over the eight ways that a slice can lie.")
_tile = click.option("--tile", default=512, show_default=True, metavar="PX", help="Side of the tiles of the result.")
_pictures = click.option("--pictures/--no-pictures", default=True, help="Draw curves and samples after every round.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="augpipe")
def cli() -> None:
    """Train a U-Net from the shards of a dataset, and score it as the ISBI 2012 challenge does.

    \b
    augtrain fit DATASET --out RUN --minutes 20   train
    augtrain resume RUN                           go on, to the same bits
    augtrain evaluate RUN DATASET --split test    score it on unseen slices
    augtrain predict RUN stack.tif out.tif        probability of cell
    augtrain score out.tif labels.tif             score any prediction
    augtrain bench DATASET                        samples/s, and what limits them
    """  # noqa: D301  # \b is the character by which click knows a table


@cli.command()
@click.argument("dataset", type=PATH)
@click.option("--out", type=PATH, required=True, help="Folder of the run.")
@click.option(
    "--preset", type=click.Choice(PRESET_NAMES), default="small", show_default=True, help="Network and schedule."
)
@click.option("--minutes", type=float, metavar="M", help="Time a few steps, then take as many as fit in.")
@click.option("--n-train", type=_ONE_OR_MORE, metavar="N", help="Only the first N training samples.")
@click.option("--rounds", type=int, metavar="N", help="How often to validate, log and save.")
@click.option("--steps", type=_ONE_OR_MORE, metavar="N", help="Steps in all.")
@click.option("--batch", type=int, metavar="N", help="Samples a step.")
@click.option("--seed", type=int, metavar="N", help="Of weights, order and crops.")
@click.option("--loss-weights", type=click.Choice(["none", "unet2015"]), help="Weight of each pixel.")
@click.option("--loader", type=click.Choice(["auto", "device", "host", "lazy"]), help="Where samples are kept.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), help="Of the network's arithmetic.")
@click.option("--channels-last/--channels-first", default=None, help="Memory order of the network.")
@click.option("--compile/--no-compile", default=None, help="Run the network through torch.compile.")
@click.option("--threads", type=_ONE_OR_MORE, metavar="N", help="Of torch on the CPU.")
@click.option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Any other setting of config.json.")
@click.option(
    "--framework", type=click.Choice(["torch", "keras"]), default="torch", show_default=True, help="Trains with it."
)
@_pictures
@_reporting
def fit(
    dataset: Path, out: Path, preset: str, minutes: float | None, settings: tuple[str, ...], framework: str,
    pictures: bool, quiet: bool, json_file: str | None, **flags: Any,
) -> None:  # fmt: skip
    """Train on DATASET; validation is its split val, or whole slices held out of train."""
    from training.config import preset as find_preset

    chosen, others = {name: value for name, value in flags.items() if value is not None}, _pairs(settings)
    if twice := sorted(set(chosen) & set(others)):
        raise ConfigError(f"{twice[0]}: given as an option and with --set; leave one of them out")
    given = chosen | others
    if minutes == 0:
        raise ConfigError("--minutes: expected a time above 0, got 0")
    minutes = minutes or 0.0
    if minutes and "steps" in given:
        raise ConfigError("--minutes and --steps: either decides how long to train; leave one of them out")
    config = find_preset(preset).changed({**({"steps": 0} if minutes else {}), **given})
    with _watched(quiet=quiet or json_file == "-") as listener:
        if framework == "keras":
            from training.keras_fit import fit_keras

            run = fit_keras(dataset, out, config, minutes=minutes, pictures=pictures, listener=listener)
        else:
            from training.fit import fit as fit_torch

            run = fit_torch(dataset, out, config, minutes=minutes, pictures=pictures, listener=listener)
    _tell_run(run, quiet=quiet, json_file=json_file)


@cli.command()
@click.argument("run", type=PATH)
@click.option("--dataset", type=PATH, help="Where the dataset lies now.")
@_pictures
@_reporting
def resume(run: Path, dataset: Path | None, pictures: bool, quiet: bool, json_file: str | None) -> None:
    """Go on with RUN where its last checkpoint left it."""
    from training.fit import resume as resume_run

    with _watched(quiet=quiet or json_file == "-") as listener:
        found = resume_run(run, dataset=dataset, pictures=pictures, listener=listener)
    _tell_run(found, quiet=quiet, json_file=json_file)


@cli.command()
@click.argument("run", type=PATH)
@click.argument("dataset", type=PATH)
@click.option("--split", default="test", show_default=True, help="Split to score.")
@click.option("--images", type=PATH, metavar="TIF", help="The stack: score its whole slices, not augmented ones.")
@click.option("--labels", type=PATH, metavar="TIF", help="The stack's labels.")
@_tta
@_tile
@_device
@_reporting
def evaluate(
    run: Path, dataset: Path, split: str, images: Path | None, labels: Path | None, tta: bool, tile: int, device: str,
    quiet: bool, json_file: str | None,
) -> None:  # fmt: skip
    """Score the network of RUN on a split of DATASET."""
    from training.evaluation import evaluate_samples, evaluate_slices
    from training.plots import draw_thresholds
    from training.predict import open_predictor
    from training.progress import telling
    from training.report import score_lines
    from training.run import read_run

    if (images is None) != (labels is None):
        raise ConfigError("--images and --labels belong together: the stack and its labels")
    predictor = open_predictor(read_run(run), device=device, tta=tta, tile=tile)
    with telling("scoring", "slices" if images else "samples", quiet=quiet) as told:
        if images is None or labels is None:
            result = evaluate_samples(predictor, dataset, split, told=told)
        else:
            result = evaluate_slices(predictor, dataset, split, images, labels, told=told)
    _tell(score_lines(result.as_dict()), result.as_dict(), quiet=quiet, json_file=json_file)
    draw_thresholds(run / f"thresholds-{split}-{'slices' if images else 'samples'}.png", result.scores)


@cli.command()
@click.argument("run", type=PATH)
@click.argument("stack", type=PATH)
@click.argument("out", type=PATH)
@click.option("--overwrite", is_flag=True, help="Replace OUT, once the new one is whole.")
@_tta
@_tile
@_device
@_reporting
def predict(
    run: Path, stack: Path, out: Path, overwrite: bool, tta: bool, tile: int, device: str, quiet: bool,
    json_file: str | None,
) -> None:  # fmt: skip
    """Write the probability of cell of a TIFF STACK, whole slices, as a float32 stack OUT."""
    from training.predict import open_predictor, predict_stack
    from training.progress import telling
    from training.run import read_run

    predictor = open_predictor(read_run(run), device=device, tta=tta, tile=tile)
    with telling("predicting", "slices", quiet=quiet) as told:
        shape = predict_stack(predictor, stack, out, overwrite=overwrite, told=told)
    report = {"out": str(out), "shape": list(shape), "tta": tta, "tile": tile}
    _tell(
        [f"predicted    {shape[0]} slices of {shape[1]} x {shape[2]} px: {out}"],
        report,
        quiet=quiet,
        json_file=json_file,
    )


@cli.command()
@click.argument("prediction", type=PATH)
@click.argument("labels", type=PATH)
@_reporting
def score(prediction: Path, labels: Path, quiet: bool, json_file: str | None) -> None:
    """Score a stack of cell probabilities against LABELS; no network needed."""
    from training.progress import telling
    from training.report import score_lines
    from training.scoring import score_files

    with telling("scoring", "slices", quiet=quiet) as told:
        scores, n_slices = score_files(prediction, labels, told=told)
    report = {**scores.as_dict(), "n": n_slices}
    _tell(score_lines(report), report, quiet=quiet, json_file=json_file)


@cli.command()
@click.argument("dataset", type=PATH)
@click.option("--preset", type=click.Choice(PRESET_NAMES), default="small", show_default=True, help="Network to train.")
@click.option("--steps", type=_ONE_OR_MORE, default=10, show_default=True, metavar="N", help="Steps to time.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Any setting of the preset.")
@_reporting
def bench(
    dataset: Path, preset: str, steps: int, settings: tuple[str, ...], quiet: bool, json_file: str | None
) -> None:
    """Measure samples a second with samples to load and without, and peak memory; say what limits training."""
    from training.bench import bench as run_bench
    from training.config import preset as find_preset
    from training.progress import telling
    from training.report import bench_lines

    config = find_preset(preset).changed(_pairs(settings))
    with telling("timing", "steps", quiet=quiet) as told:
        report = run_bench(dataset, config, steps=steps, told=told)
    _tell(bench_lines(report), report, quiet=quiet, json_file=json_file)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: as those of augpipe."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        cli.main(given or ["--help"], prog_name="augtrain", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:
        message, code = _explain(error, given[0] if given else "")
        if not message:
            raise
        click.echo(f"augtrain: {' '.join(message.split())}", err=True)
        return code
    return 0


def run() -> None:
    """Run as the installed command."""
    sys.exit(main())


@contextmanager
def _watched(*, quiet: bool) -> Iterator[Any]:
    """Lend who is told how a run gets on: a bar for the steps on a terminal, and a line for every round anywhere."""
    from training.progress import telling
    from training.trainer import Listener

    logging.getLogger("augtrain").setLevel(logging.WARNING if quiet else logging.INFO)

    def on_round(row: Any) -> None:
        if not quiet:
            click.echo(
                f"round {row.round:>4}   step {row.step:>6}   loss {row.loss:.4f}   val {row.val_loss:.4f}   "
                f"pixel error {row.val_pixel_error:.4f}   IoU of cells {row.val_iou_cell:.4f}"
            )

    with telling("training", "steps", quiet=quiet, lines=False) as told:
        yield Listener(told, on_round)


def _pairs(settings: Sequence[str]) -> dict[str, str]:
    """Return what --set gives, by name; the last one counts, as it does for options."""
    return dict(setting.partition("=")[::2] for setting in settings)


def _tell_run(run: Any, *, quiet: bool, json_file: str | None) -> None:
    from pipeline.shards import open_dataset

    report = {"run": str(run.folder), "config": run.config.as_dict(), "dataset": run.division.digest}
    lines = [f"run          {run.folder}"]
    if "test" in open_dataset(run.dataset).splits:
        lines.append(f"next         augtrain evaluate {run.folder} {run.dataset} --split test")
    _tell(lines, report, quiet=quiet, json_file=json_file)


def _tell(lines: Sequence[str], report: dict[str, Any], *, quiet: bool, json_file: str | None) -> None:
    if not quiet:
        for line in lines:
            click.echo(line, err=json_file == "-")
    if json_file:
        from pipeline.files import write_report
        from training.checkpoint import as_json
        from training.report import require_report_place

        if json_file == "-":
            click.echo(as_json(report), nl=False)
        else:
            require_report_place(Path(json_file))  # it may be what the command has made itself
            write_report(Path(json_file), as_json(report))


def _explain(error: BaseException, command: str) -> tuple[str, int]:
    """Return the line and the exit status that a command's failure means; no line for what is a mistake of ours."""
    message, code = "", 3
    match error:
        case click.exceptions.Abort() | KeyboardInterrupt():
            hint = "; a run goes on with augtrain resume" if command in ("fit", "resume") else ""
            message, code = f"interrupted{hint}", INTERRUPTED
        case AugpipeError():
            message, code = str(error), exit_code(error)
        case click.ClickException():
            path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "augtrain"
            message, code = f"{error.format_message()} ({path} --help tells more)", error.exit_code
        case ModuleNotFoundError() if error.name in EXTRA_LIBRARIES:
            message = f"{error.name} is missing; pip install 'augpipe[train]'"
        case OSError():
            message = f"{error.filename or 'augtrain'}: {error.strerror or error}"
        case MemoryError():
            message = "the memory is full; try a smaller --batch, crop or --tile"
        case RuntimeError() if "can't allocate memory" in str(error):  # torch says so on the CPU
            message = "the memory is full; try a smaller --batch, crop or --tile"
        case RuntimeError() if type(error).__name__ == "OutOfMemoryError":  # of torch, which this module does not load
            message = "the device's memory is full; try a smaller --batch, crop or --tile"
    return message, code


if __name__ == "__main__":
    run()
