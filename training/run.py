"""The folder of a run: what its files are, what config.json says, and the network that it keeps."""

import json
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import torch

from pipeline.errors import ConfigError, StorageError
from pipeline.files import write_atomically
from pipeline.shards import open_dataset
from training.checkpoint import RunError, as_json, load
from training.config import FitConfig
from training.dataset import Division
from training.loading import Normalisation
from training.unet import UNet, count_parameters
from training.validation import Row

CONFIG_FILE, CHECKPOINT_FILE, NETWORK_FILE = "config.json", "checkpoint.pt", "network.pt"
ROWS_FILE, TABLE_FILE, TIMES_FILE = "metrics.jsonl", "metrics.csv", "times.jsonl"
_UNBORN = f".{CONFIG_FILE}.tmp"  # what is left of config.json where a run was killed while it wrote it
RUN_SCHEMA = "augtrain/run/1"
_LIBRARIES = ("augpipe", "torch", "numpy", "h5py")


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
    """

    folder: Path
    dataset: Path
    config: FitConfig
    division: Division
    normalisation: Normalisation
    image_dtype: str
    framework: str = "torch"
    versions: tuple[tuple[str, str], ...] = ()


def find_versions(framework: str = "torch") -> tuple[tuple[str, str], ...]:
    """Return the versions of what computes, by name."""
    names = _LIBRARIES if framework == "torch" else (*_LIBRARIES, framework)
    return tuple(sorted({"python": platform.python_version(), **{name: version(name) for name in names}}.items()))


def write_run(run: Run) -> None:
    """Write config.json of a run into its folder.

    Raises:
        StorageError: it cannot be written.
    """
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
    }
    write_atomically(run.folder / CONFIG_FILE, [as_json(values)])


def require_free(out: Path) -> None:
    """Refuse a place where no new run can begin.

    A folder that is empty is such a place, and so is one that was left by a run that was killed before it wrote its
    config.json.

    Raises:
        ConfigError: there is a run in it, or something else, or it is no folder.
    """
    if (out / CONFIG_FILE).exists():
        raise ConfigError(f"{out}: holds a run already; go on with augtrain resume {out}, or choose another --out")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: expected a folder or nothing, found a file; choose another --out")
    foreign = sorted(entry.name for entry in out.iterdir() if entry.name != _UNBORN) if out.exists() else []
    if foreign:
        raise ConfigError(
            f"{out}: expected an empty folder or nothing, found {foreign[0]} in it; choose another --out, so that the "
            "run's files do not mix with others"
        )


def make_folder(out: Path) -> None:
    """Make the folder of a new run.

    Raises:
        StorageError: it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{out}: cannot be made ({error.strerror or error}); choose another --out") from error


def read_run(folder: Path, *, dataset: Path | None = None) -> Run:
    """Return the run in a folder.

    Args:
        folder: of the run.
        dataset: where its dataset lies now; None: where it was.

    Raises:
        RunError: there is none, or its config.json is not one.
    """
    path = folder / CONFIG_FILE
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: expected the folder of a run, found a file; name what augtrain fit got as --out")
    try:
        values = json.loads(path.read_bytes())
        if values["schema"] != RUN_SCHEMA:
            _refuse(path, f"schema {values['schema']!r:.40}, expected {RUN_SCHEMA}")
        return Run(
            folder=folder,
            dataset=dataset or Path(values["dataset"]["folder"]),
            config=FitConfig.from_dict(values["config"]),
            division=Division.from_dict(values["dataset"]["division"]),
            normalisation=Normalisation(**values["normalisation"]),
            image_dtype=values["image_dtype"],
            framework=values["framework"],
            versions=tuple(sorted(values["versions"].items())),
        )
    except FileNotFoundError as error:
        raise RunError(f"{folder}: no run of augtrain fit here ({CONFIG_FILE} is missing)") from error
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ConfigError as error:
        _refuse(path, str(error))
    except KeyError as error:
        _refuse(path, f"it does not say {error.args[0]!r:.40}")
    except json.JSONDecodeError as error:
        _refuse(path, f"no JSON from line {error.lineno} on")
    except (ValueError, LookupError, TypeError, AttributeError):
        _refuse(path, "its values are of other kinds")


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
        reason = " ".join(str(error).split())[:120]
        raise RunError(f"{path}: not the network that {CONFIG_FILE} describes ({reason}); train again") from error
    return network.to(device).eval()


def write_rows(folder: Path, rows: Sequence[Row], seconds: float) -> None:
    """Write the log of a run, and how long its last round took.

    Raises:
        StorageError: a file cannot be written.
    """
    values = [asdict(row) for row in rows]
    table = [",".join(values[0]), *(",".join(map(str, row.values())) for row in values)]
    write_atomically(folder / TABLE_FILE, [f"{line}\n".encode() for line in table])
    write_atomically(folder / ROWS_FILE, [as_json(row) for row in values])
    times = [*_read_times(folder / TIMES_FILE)[: len(rows) - 1], {"round": len(rows), "seconds": round(seconds, 3)}]
    write_atomically(folder / TIMES_FILE, [as_json(line) for line in times])


def count_rows(folder: Path) -> int:
    """Return how many rounds the log of a run tells of."""
    with suppress(OSError):
        return len((folder / ROWS_FILE).read_bytes().splitlines())
    return 0


def _read_times(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        return []


def _refuse(path: Path, reason: str) -> NoReturn:
    raise RunError(f"{path}: not the config of a run of this version ({reason}); train again")
