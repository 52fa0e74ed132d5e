"""`augtrain`: train, score and predict from the shell; every command parses, calls one function, and prints."""

import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

import training
from pipeline.errors import INTERRUPTED, AugpipeError, ConfigError, exit_code
from pipeline.process import explain, print_error, run_process
from training.config import BENCH_STEPS, PRESETS, TILE_PX, FitConfig, Framework, Loader, Precision, Weights

Command = TypeVar("Command", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)
_ONE_OR_MORE = click.IntRange(1)  # 0 is the config's own word for a choice that is left open
_DEVICES = "auto, cpu, cuda or cuda:N."
_MEMORY = "memory is full; try a smaller --batch, --set crop=N or --tile"
EXTRA_LIBRARIES = ("torch", "matplotlib")


def _require_report_place(path: Path) -> None:
    """Refuse to write a report over a file that is not a report; pipes, devices and earlier reports are fine.

    Raises:
        ConfigError: it is a folder, or holds anything else, or its folder is missing.
    """
    if not path.parent.is_dir():
        raise ConfigError(f"--json: {path.parent} is no folder; name another file for the report")
    if path.is_dir():
        raise ConfigError(f"--json: {path} is a folder; name a file for the report")
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            if file.read(1) != b"{":
                raise ConfigError(f"--json: {path} is there already and is no report; name another file")


def _checked(_context: click.Context, _parameter: click.Parameter, json_file: str | None) -> str | None:
    """Refuse a place for the report before hours of work, and not after them."""
    if json_file and json_file != "-":
        _require_report_place(Path(json_file))
    return json_file


def _reporting(command: Command) -> Command:
    """Add what every command has: --quiet and --json."""
    command = click.option(
        "--json", "json_file", metavar="FILE", callback=_checked, help="Write a report; - for standard output."
    )(command)
    return click.option("--quiet", is_flag=True, help="Print nothing but errors.")(command)


def _preset(text: str) -> Callable[[Command], Command]:
    """Return the option that chooses a preset."""
    return click.option("--preset", type=click.Choice(tuple(PRESETS)), default="small", show_default=True, help=text)


def _choice(flag: str, choices: Any, text: str) -> Callable[[Command], Command]:
    """Return the option of a setting with a few values; one that is not given stays as the preset has it."""
    return click.option(flag, type=click.Choice(get_args(choices)), help=text)


def _number(flag: str, kind: Any, text: str, **more: Any) -> Callable[[Command], Command]:
    """Return the option of a setting that is a number; one that is not given stays as the preset has it."""
    return click.option(flag, type=kind, metavar="N", help=text, **more)


def _settings(text: str) -> Callable[[Command], Command]:
    return click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help=text)


def _predicting(command: Command) -> Command:
    """Add what commands have that predict: --tta, --tile and --device."""
    device = FitConfig().device
    command = click.option("--device", default=device, show_default=True, metavar="NAME", help=_DEVICES)(command)
    command = click.option(
        "--tile", default=TILE_PX, show_default=True, metavar="PX", help="Side of the tiles of the result."
    )(command)
    return click.option("--tta", is_flag=True, help="Average over the eight ways that a slice can lie.")(command)


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
@_preset("Network and schedule.")
@click.option("--minutes", type=float, metavar="M", help="Time a few steps, then take as many as fit in.")
@_number("--n-train", _ONE_OR_MORE, "Only the first N training samples.")
@click.option(
    "--fold", metavar="K/N", help="Validate with block K, from 0, of N blocks of the training slices; gaps left out."
)
@_number("--rounds", int, "How often to validate, log and save.")
@_number("--steps", _ONE_OR_MORE, "Steps in all.")
@_number("--batch", int, "Samples a step.")
@_number("--seed", int, "Of weights, order and crops.")
@_choice("--loss-weights", Weights, "Weight of each pixel.")
@_choice("--loader", Loader, "Where samples are kept.")
@_choice("--precision", Precision, "Of the network's arithmetic.")
@click.option("--channels-last/--channels-first", default=None, help="Memory order of the network.")
@click.option("--compile/--no-compile", default=None, help="Run the network through torch.compile.")
@_number("--threads", _ONE_OR_MORE, "Of torch on the CPU.")
@click.option("--device", metavar="NAME", help=_DEVICES)
@_settings("Any other setting of config.json.")
@click.option(
    "--framework", type=click.Choice(get_args(Framework)), default="torch", show_default=True, help="Trains with it."
)
@_pictures
@_reporting
def fit(
    dataset: Path, out: Path, preset: str, minutes: float | None, settings: tuple[str, ...], framework: Framework,
    pictures: bool, quiet: bool, json_file: str | None, **flags: Any,
) -> None:  # fmt: skip
    """Train on DATASET; validation is its split val, or whole slices held out of train."""
    chosen, others = {name: value for name, value in flags.items() if value is not None}, _pairs(settings)
    if "fold" in chosen:
        chosen |= _fold(chosen["fold"])
    if twice := sorted(set(chosen) & set(others)):
        raise ConfigError(f"{twice[0]}: given as an option and with --set; leave one of them out")
    given = chosen | others
    if minutes == 0:
        raise ConfigError("--minutes: expected a time above 0, got 0")
    if minutes and "steps" in given:
        raise ConfigError("--minutes and --steps: either decides how long to train; leave one of them out")
    config = training.preset(preset).changed({"steps": 0, **given} if minutes else given)
    watched = _watched(quiet=quiet, json_file=json_file)
    run = training.fit(dataset, out, config, framework=framework, minutes=minutes or 0.0, pictures=pictures, **watched)
    _print_run(run, quiet=quiet, json_file=json_file)


def _fold(text: str) -> dict[str, int]:
    """Return the settings that `--fold K/N` stands for."""
    number, slash, folds = text.partition("/")
    if not (slash and number.isdecimal() and folds.isdecimal() and int(number) < int(folds) > 1):
        raise ConfigError(f"--fold: expected K/N with K from 0 to N - 1 and N of 2 or more, such as 0/5, got {text!r}")
    return {"fold": int(number), "folds": int(folds)}


@cli.command()
@click.argument("run", type=PATH)
@click.option("--dataset", type=PATH, help="Where the dataset lies now.")
@_pictures
@_reporting
def resume(run: Path, dataset: Path | None, pictures: bool, quiet: bool, json_file: str | None) -> None:
    """Go on with RUN where its last checkpoint left it."""
    found = training.resume(run, dataset=dataset, pictures=pictures, **_watched(quiet=quiet, json_file=json_file))
    _print_run(found, quiet=quiet, json_file=json_file)


@cli.command()
@click.argument("run", type=PATH)
@click.argument("dataset", type=PATH)
@click.option("--split", default="test", show_default=True, help="Split to score.")
@click.option("--images", type=PATH, metavar="TIF", help="The stack: score its whole slices, not augmented ones.")
@click.option("--labels", type=PATH, metavar="TIF", help="The stack's labels.")
@_predicting
@_reporting
def evaluate(run: Path, dataset: Path, split: str, quiet: bool, json_file: str | None, **choices: Any) -> None:
    """Score the network of RUN on a split of DATASET."""
    found = training.evaluate(run, dataset, split, progress=_progress(quiet=quiet), **choices)
    _print_scores(found.as_dict(), quiet=quiet, json_file=json_file)
    found.draw(run)


@cli.command()
@click.argument("run", type=PATH)
@click.argument("stack", type=PATH)
@click.argument("out", type=PATH)
@click.option("--overwrite", is_flag=True, help="Replace OUT, once the new one is whole.")
@_predicting
@_reporting
def predict(
    run: Path, stack: Path, out: Path, overwrite: bool, tta: bool, tile: int, device: str, quiet: bool,
    json_file: str | None,
) -> None:  # fmt: skip
    """Write the probability of cell of a TIFF STACK, whole slices, as a float32 stack OUT."""
    progress = _progress(quiet=quiet)
    shape = training.predict(run, stack, out, overwrite=overwrite, tta=tta, tile=tile, device=device, progress=progress)
    report = {"out": str(out), "shape": list(shape), "tta": tta, "tile": tile}
    line = f"predicted    {shape[0]} slices of {shape[1]} x {shape[2]} px: {out}"
    _print([line], report, quiet=quiet, json_file=json_file)


@cli.command()
@click.argument("prediction", type=PATH)
@click.argument("labels", type=PATH)
@click.option("--ignore", type=int, multiple=True, metavar="VALUE", help="Label value to leave out. Repeatable.")
@_reporting
def score(prediction: Path, labels: Path, ignore: tuple[int, ...], quiet: bool, json_file: str | None) -> None:
    """Score a stack of cell probabilities against LABELS; no network needed."""
    found = training.score(prediction, labels, ignore=ignore, progress=_progress(quiet=quiet))
    _print_scores(found.as_dict(), quiet=quiet, json_file=json_file)


@cli.command()
@click.argument("dataset", type=PATH)
@_preset("Network to train.")
@_number("--steps", _ONE_OR_MORE, "Steps to time.", default=BENCH_STEPS, show_default=True)
@_settings("Any setting of the preset.")
@_reporting
def bench(
    dataset: Path, preset: str, steps: int, settings: tuple[str, ...], quiet: bool, json_file: str | None
) -> None:
    """Measure samples a second with samples to load and without, and peak memory; say what limits training."""
    from training.fitting import bench_lines

    config = training.preset(preset).changed(_pairs(settings))
    report = training.bench(dataset, config, steps=steps, progress=_progress(quiet=quiet))
    _print(bench_lines(report), report, quiet=quiet, json_file=json_file)


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
        print_error("augtrain", message)
        return code
    return 0


def _progress(*, quiet: bool, lines: bool = True) -> Any:
    from pipeline.shards.progress import choose_progress

    return choose_progress(quiet=quiet, lines=lines)


def _watched(*, quiet: bool, json_file: str | None) -> dict[str, Any]:
    """Return the callbacks of a run: on a terminal a bar for its steps, and anywhere a line for every round."""
    quiet = quiet or json_file == "-"
    logging.getLogger("augtrain").setLevel(logging.WARNING if quiet else logging.INFO)

    def on_round(row: Any) -> None:
        if not quiet:
            click.echo(
                f"round {row.round:>4}   step {row.step:>6}   loss {row.loss:.4f}   val {row.val_loss:.4f}   "
                f"pixel error {row.val_pixel_error:.4f}   IoU of cells {row.val_iou_cell:.4f}"
            )

    return {"progress": _progress(quiet=quiet, lines=False), "on_round": on_round}


def _pairs(settings: Sequence[str]) -> dict[str, str]:
    """Return what --set gives, by name; the last one counts, as it does for options."""
    return dict(setting.partition("=")[::2] for setting in settings)


def _print_run(run: Any, *, quiet: bool, json_file: str | None) -> None:
    from pipeline.shards import open_dataset

    report = {"run": str(run.folder), "config": run.config.as_dict(), "dataset": run.division.digest}
    lines = [f"run          {run.folder}"]
    if "test" in open_dataset(run.dataset).splits:
        folders = shlex.join(map(str, (run.folder, run.dataset)))
        lines.append(f"next         augtrain evaluate {folders} --split test")
    _print(lines, report, quiet=quiet, json_file=json_file)


def _print_scores(report: dict[str, Any], *, quiet: bool, json_file: str | None) -> None:
    from training.metrics import score_lines

    _print(score_lines(report), report, quiet=quiet, json_file=json_file)


def _print(lines: Sequence[str], report: dict[str, Any], *, quiet: bool, json_file: str | None) -> None:
    if not quiet:
        for line in lines:
            click.echo(line, err=json_file == "-")
    if json_file:
        from pipeline.files import write_report
        from pipeline.shards.digest import canonical_json

        if json_file == "-":
            click.echo(canonical_json(report), nl=False)
        else:
            _require_report_place(Path(json_file))  # it may be what the command has made itself
            write_report(Path(json_file), canonical_json(report))


def _explain(error: BaseException, command: str) -> tuple[str, int]:
    """Return the line and the exit status of a command's failure; no line for a bug, which keeps its traceback."""
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
            message = f"{error.name} is missing; run pip install '.[train]' in the checkout of augpipe"
        case MemoryError():
            message = f"the {_MEMORY}"
        case RuntimeError() if "can't allocate memory" in str(error):  # torch says so on the CPU
            message = f"the {_MEMORY}"
        case RuntimeError() if type(error).__name__ == "OutOfMemoryError":  # of torch, which this module does not load
            message = f"the device's {_MEMORY}"
        case _:
            message = explain(error)
    return message, code


if __name__ == "__main__":
    run_process("augtrain", main)
