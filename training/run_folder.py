"""The folder of a run: config.json, the log, and the files that hold tensors."""

import io
import json
import platform
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import torch

from pipeline.errors import AugpipeError, ConfigError
from pipeline.files import storage_errors, write_atomically
from pipeline.shards import open_dataset
from pipeline.shards.digest import canonical_json, parse_json
from pipeline.shards.inputs import SourceReading
from training.config import FitConfig, Framework
from training.division import Division
from training.loading import Normalisation
from training.unet import UNet, count_parameters

CONFIG_FILE, CHECKPOINT_FILE, NETWORK_FILE = "config.json", "checkpoint.pt", "network.pt"
ROWS_FILE, TABLE_FILE, TIMES_FILE = "metrics.jsonl", "metrics.csv", "times.jsonl"
_UNFINISHED = f".{CONFIG_FILE}.tmp"  # what is left of config.json where a run was killed while it wrote it
RUN_SCHEMA = "augtrain/run/1"
_LIBRARIES = ("augpipe", "torch", "numpy", "h5py")


class RunError(AugpipeError):
    """The folder of a run that cannot be read, or is not what it should be."""


@dataclass(frozen=True, slots=True)
class Row:
    """One round of a run, as the log has it.

    Attributes:
        round: its number, from 1.
        step: steps so far.
        rate: the last learning rate.
        loss: mean over the round's batches, while they were trained on.
        gradient: largest norm of a gradient, before it was clipped.
        val_loss: mean over the validation samples.
        val_pixel_error: 1 - best F-score of cell pixels over the thresholds, pooled over the samples.
        val_misclassified: share of wrong pixels at 0.5.
        val_iou_cell: of the cells' pixels at 0.5, pooled.
        val_iou_membrane: of the membranes' pixels at 0.5, pooled.
        val_mean_dice: mean over the foreground classes of their Dice coefficients, pooled; None of two sides alone. All
            others are then of the foreground, which is all of them together.
    """

    round: int
    step: int
    rate: float
    loss: float
    gradient: float
    val_loss: float
    val_pixel_error: float
    val_misclassified: float
    val_iou_cell: float
    val_iou_membrane: float
    val_mean_dice: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for the log; what is not there has no column."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Run:
    """What config.json of a run says.

    Attributes:
        folder: of the run.
        dataset: folder of the dataset.
        config: nothing in it is left to choose: `auto` and 0 have become what they stand for.
        division: the samples on each side.
        normalisation: of the gray levels.
        image_dtype: of the images.
        framework: `torch` or `keras`.
        versions: of the libraries that began it.
        channels: what those of a slice are called; empty for gray.
        reading: what was done to the pixels of the files that they were made from.
        context: how many neighbours of a slice the images show on either side of it.
        class_values: what the source's labels have for each class, in the order of their indices; empty for ids, and
            where that was not recorded.
        class_names: what they are called; of ids, background and the objects; empty where that is not known.
    """

    folder: Path
    dataset: Path
    config: FitConfig
    division: Division
    normalisation: Normalisation
    image_dtype: str
    framework: Framework = "torch"
    versions: tuple[tuple[str, str], ...] = ()
    channels: tuple[str, ...] = ()
    reading: SourceReading | None = None
    context: int = 0
    class_values: tuple[int, ...] = ()
    class_names: tuple[str, ...] = ()

    @property
    def map_names(self) -> tuple[str, ...]:
        """What the maps of probabilities are called that its network predicts."""
        learn, names = self.config.learn, self.class_names
        if learn == "classes":
            values = self.class_values or tuple(range(self.config.n_maps))
            return names or tuple(f"class {value}" for value in values)
        background, cell = (
            names if len(names) == 2 else ("background", "cell" if learn != "foreground" else "foreground")
        )
        return (background, cell, "border") if learn == "border" else (cell,)


def find_versions(framework: Framework = "torch") -> tuple[tuple[str, str], ...]:
    """Return the versions of what computes, by name."""
    names = _LIBRARIES if framework == "torch" else (*_LIBRARIES, framework)
    return tuple(sorted({"python": platform.python_version(), **{name: version(name) for name in names}}.items()))


def write_run(run: Run) -> None:
    """Make the folder of a run, and write its config.json there.

    Raises:
        StorageError: they cannot be made.
    """
    with storage_errors(run.folder):
        run.folder.mkdir(parents=True, exist_ok=True)
    with torch.device("meta"):  # draws no weights, and so leaves torch's generator where a resume finds it
        n_parameters = count_parameters(UNet(run.config.network))
    values = {
        "schema": RUN_SCHEMA,
        "framework": run.framework,
        "config": run.config.as_dict(),
        "dataset": {
            "folder": str(run.dataset.resolve()),
            "name": open_dataset(run.dataset).name,
            "division": asdict(run.division),
        },
        "normalisation": asdict(run.normalisation),
        "image_dtype": run.image_dtype,
        "parameters": n_parameters,
        "versions": dict(run.versions),
        **({"channels": list(run.channels)} if run.channels else {}),
        **({"reading": run.reading.to_json()} if run.reading else {}),
        **({"context": run.context} if run.context else {}),
        **({"class_values": list(run.class_values)} if run.class_values else {}),
        **({"class_names": list(run.class_names)} if run.class_names else {}),
    }
    write_atomically(run.folder / CONFIG_FILE, [canonical_json(values)])


def require_free(out: Path) -> None:
    """Refuse a place where no new run can begin.

    A folder that is empty is such a place, and so is one that was left by a run that was killed before it wrote its
    config.json.

    Raises:
        ConfigError: there is a run in it, or something else, or it is no folder.
    """
    if (out / CONFIG_FILE).exists():
        raise ConfigError(
            f"{out}: holds a run already; go on with augtrain resume {shlex.quote(str(out))}, or choose another --out"
        )
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: expected a folder or nothing, found a file; choose another --out")
    foreign = sorted(entry.name for entry in out.iterdir() if entry.name != _UNFINISHED) if out.exists() else []
    if foreign:
        raise ConfigError(
            f"{out}: expected an empty folder or nothing, found {foreign[0]} in it; choose another --out, so that the "
            "run's files do not mix with others"
        )


def read_run(folder: Path, *, dataset: Path | None = None) -> Run:
    """Return the run in a folder.

    Args:
        folder: of the run.
        dataset: where its dataset lies now; None: where it was.

    Raises:
        RunError: there is no run, or its config.json is damaged.
    """
    path = folder / CONFIG_FILE
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: expected the folder of a run, found a file; name what augtrain fit got as --out")
    try:
        values = parse_json(path.read_bytes())
        if values["schema"] != RUN_SCHEMA:
            raise ConfigError(f"schema {values['schema']!r:.40}, expected {RUN_SCHEMA}")  # noqa: TRY301  as any other
        return Run(
            folder=folder,
            dataset=dataset or Path(values["dataset"]["folder"]),
            config=FitConfig.from_dict(values["config"]),
            division=msgspec.convert(values["dataset"]["division"], Division),
            normalisation=msgspec.convert(values["normalisation"], Normalisation),
            image_dtype=values["image_dtype"],
            framework=values["framework"],
            versions=tuple(sorted(values["versions"].items())),
            channels=tuple(map(str, values.get("channels", ()))),
            reading=msgspec.convert(values.get("reading"), SourceReading | None),
            context=msgspec.convert(values.get("context", 0), int),
            class_values=tuple(map(int, values.get("class_values", ()))),
            class_names=tuple(map(str, values.get("class_names", ()))),
        )
    except FileNotFoundError as error:
        raise RunError(f"{folder}: no run of augtrain fit here ({CONFIG_FILE} is missing)") from error
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ConfigError, ValueError, LookupError, TypeError, AttributeError) as error:
        match error:
            case ConfigError() | msgspec.ValidationError():
                reason = str(error)
            case KeyError():
                reason = f"it does not say {error.args[0]!r:.40}"
            case json.JSONDecodeError():
                reason = f"no JSON from line {error.lineno} on"
            case _:
                reason = "its values are of other kinds"
        raise RunError(f"{path}: not the config of a run of this version ({reason}); train again") from error


def read_network(run: Run, device: torch.device) -> UNet:
    """Return the network that a run keeps, ready to predict: the last one, or the best where the schedule is plateau.

    Raises:
        RunError: it is missing or damaged.
    """
    path = run.folder / NETWORK_FILE
    network = UNet(run.config.network)
    try:
        network.load_state_dict(load(path)["network"])
    except (LookupError, RuntimeError, TypeError) as error:
        reason = f"not the network that {CONFIG_FILE} describes ({summary(error)})"
        raise RunError(f"{path}: {reason}; train again") from error
    return network.to(device).eval()


def save(path: Path, values: dict[str, Any]) -> None:
    """Write tensors and plain values into a file, which appears whole or not at all."""
    buffer = io.BytesIO()
    torch.save(values, buffer)
    write_atomically(path, [buffer.getvalue()])


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Return what `save` wrote; nothing in the file is ever run.

    Raises:
        RunError: the file is missing, damaged, or holds more than tensors and plain values.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise RunError(f"{path}: not there; is this the folder of a run of augtrain fit?") from error
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        values = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds on damaged files
        raise RunError(f"{path}: not a checkpoint that can be trusted ({summary(error)}); train again") from error
    if not isinstance(values, dict):
        raise RunError(f"{path}: expected a checkpoint, found {type(values).__name__}; train again")
    return values


def summary(error: Exception) -> str:
    """Return the beginning of what torch says of a file, on one line."""
    return " ".join(str(error).split())[:120]


def write_rows(folder: Path, rows: Sequence[Row], seconds: float) -> None:
    """Write the log of a run, and how long its last round took.

    Raises:
        StorageError: a file cannot be written.
    """
    values = [row.as_dict() for row in rows]
    table = [",".join(values[0]), *(",".join(map(str, row.values())) for row in values)]
    write_atomically(folder / TABLE_FILE, [f"{line}\n".encode() for line in table])
    write_atomically(folder / ROWS_FILE, [canonical_json(row) for row in values])
    times = [*_read_times(folder / TIMES_FILE)[: len(rows) - 1], {"round": len(rows), "seconds": round(seconds, 3)}]
    write_atomically(folder / TIMES_FILE, [canonical_json(line) for line in times])


def count_rows(folder: Path) -> int:
    """Return how many rounds are in the log of a run."""
    with suppress(OSError):
        return len((folder / ROWS_FILE).read_bytes().splitlines())
    return 0


def _read_times(path: Path) -> list[dict[str, Any]]:
    try:
        return [parse_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        return []
