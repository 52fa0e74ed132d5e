"""One run: train, validate, log, save; killed anywhere, it goes on to the same bits."""

import json
import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from pipeline.files import storage_errors
from pipeline.shards import ConfigError, StorageError, open_dataset
from training.checkpoint import RunError, as_json, load, remove_remains, save, write_file
from training.config import FitConfig
from training.dataset import Division, ShardDataset, divide
from training.device import autocast, find_device, find_precision, repeatable
from training.loading import Batch, Batches, Normalisation, measure_gray, open_store
from training.losses import centre, weighted_cross_entropy
from training.schedules import Progress, learning_rate
from training.unet import UNet, count_parameters
from training.validation import DivergedError, Row, Watch

CONFIG_FILE, CHECKPOINT_FILE, NETWORK_FILE = "config.json", "checkpoint.pt", "network.pt"
ROWS_FILE, TABLE_FILE, TIMES_FILE = "metrics.jsonl", "metrics.csv", "times.jsonl"
_FILES = (
    CONFIG_FILE,
    CHECKPOINT_FILE,
    NETWORK_FILE,
    ROWS_FILE,
    TABLE_FILE,
    "curves.png",
    "samples.png",
    "thresholds.png",
)
RUN_SCHEMA = "augtrain/run/1"
_PROBED_STEPS, _UNTIMED_STEPS, _MARGIN = 8, 3, 0.95


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
        framework: `torch`, or `keras`, which keeps no checkpoints.
    """

    folder: Path
    dataset: Path
    config: FitConfig
    division: Division
    normalisation: Normalisation
    image_dtype: str
    framework: str = field(default="torch", compare=False)


@dataclass(slots=True)
class Listener:
    """Who is told how a run gets on."""

    on_step: Callable[[int, int], None] = field(default=lambda _done, _steps: None)
    on_round: Callable[[Row], None] = field(default=lambda _row: None)


def fit(
    dataset: Path, out: Path, config: FitConfig, *, minutes: float = 0.0, pictures: bool = True,
    listener: Listener | None = None,
) -> Run:  # fmt: skip
    """Train a network on a dataset and return the run.

    Args:
        dataset: folder of the dataset.
        out: folder of the run, which must not hold one yet.
        config: what to do.
        minutes: time a few steps first and take as many as fit in; 0: as many as the config says.
        pictures: draw curves and samples after every round.
        listener: is told about every step and round.

    Raises:
        ConfigError: the config does not fit the dataset or this machine, or there is a run in `out`.
        DatasetError: the dataset cannot be read, or leaks.
        DivergedError: the loss is no longer finite.
        StorageError: a file cannot be written.
    """
    if (out / CONFIG_FILE).exists():
        raise ConfigError(f"{out}: holds a run already; go on with augtrain resume {out}, or choose another --out")
    if minutes < 0 or not math.isfinite(minutes):
        raise ConfigError(f"--minutes: expected a time above 0, got {minutes}")
    division = divide(dataset, n_train=config.n_train, held_out=config.held_out)
    return fit_division(dataset, division, out, config, minutes=minutes, pictures=pictures, listener=listener)


def fit_division(
    dataset: Path, division: Division, out: Path, config: FitConfig, *, minutes: float = 0.0, pictures: bool = True,
    listener: Listener | None = None,
) -> Run:  # fmt: skip
    """Do what `fit` does, with samples that were divided elsewhere."""
    config = settle(config, dataset, len(division.train))
    with repeatable(config.threads):
        data = ShardDataset(dataset, "train", division.train, weights=config.loss_weights)
        run = Run(out, dataset, config, division, measure_gray(data), str(data.image_dtype))
        trainer = Trainer(run, data)
        if minutes:
            run = replace(run, config=replace(config, steps=trainer.steps_in(60 * minutes)))
            trainer = Trainer(run, data, trainer)
        _make_folder(out)
        write_file(out / CONFIG_FILE, as_json(_describe(run)))
        trainer.train(pictures=pictures, listener=listener or Listener())
    return run


def resume(
    folder: Path, *, dataset: Path | None = None, pictures: bool = True, listener: Listener | None = None
) -> Run:
    """Go on with a run where its last checkpoint left it.

    Raises:
        RunError: there is no run, or its checkpoint cannot be trusted.
        ConfigError: the dataset is another one, or the device of the run is not there.
        DivergedError: the loss is no longer finite.
    """
    run = read_run(folder, dataset=dataset)
    if run.framework != "torch":
        raise RunError(f"{folder}: was trained with {run.framework}, which keeps no checkpoint here; train again")
    found = open_dataset(run.dataset).record.sha256
    if found != run.division.digest:
        raise ConfigError(
            f"{run.dataset}: expected the dataset with digest {run.division.digest[:12]}, found {found[:12]}; "
            "name the right one with --dataset"
        )
    find_device(run.config.device)
    remove_remains(folder / name for name in _FILES)
    with repeatable(run.config.threads):
        trainer = Trainer(run, ShardDataset(run.dataset, "train", run.division.train, weights=run.config.loss_weights))
        trainer.restore()
        trainer.train(pictures=pictures, listener=listener or Listener())
    return run


def read_run(folder: Path, *, dataset: Path | None = None) -> Run:
    """Return the run in a folder.

    Raises:
        RunError: there is none, or its config.json is not one.
    """
    path = folder / CONFIG_FILE
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
            framework=values.get("framework", "torch"),
        )
    except FileNotFoundError as error:
        raise RunError(f"{folder}: no run of augtrain fit here ({CONFIG_FILE} is missing)") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ConfigError) as error:
        _refuse(path, f"{type(error).__name__}: {error}")


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
        raise RunError(f"{path}: not the network that {CONFIG_FILE} describes ({error!s:.80}); train again") from error
    return network.to(device).eval()


class Trainer:
    """A network, its optimiser, and all that a checkpoint must hold."""

    def __init__(self, run: Run, data: ShardDataset, before: "Trainer | None" = None) -> None:
        self.run, self.config = run, run.config
        config, self.device = run.config, torch.device(run.config.device)
        torch.manual_seed(config.seed)
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.network = UNet(config.network).to(self.device)
        self.network.to(memory_format=layout)  # type: ignore[call-overload]
        self.forward: nn.Module = torch.compile(self.network) if config.compile else self.network  # type: ignore[assignment]
        self.optimizer = _optimizer(config, self.network)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "fp16")
        self.progress = Progress(rate=config.learning_rate)
        self.rows: list[Row] = []
        store = before.batches.store if before else open_store(data, config.loader, self.device)
        self.batches: Batches = Batches(
            store, data.ids, data.window, batch=config.batch, crop=config.crop, turns=config.turns, seed=config.seed,
            normalisation=run.normalisation, device=self.device,
        )  # fmt: skip
        self.watch: Watch = (
            before.watch if before else Watch(run.dataset, run.division, config, run.normalisation, self.device)
        )

    def train(self, *, pictures: bool, listener: Listener) -> None:
        """Train from the round that comes next to the end."""
        ends = self._round_ends()
        for number in range(len(self.rows), self.config.rounds):
            if self.progress.is_over(self.config) and self.config.schedule == "plateau":
                break
            began = time.perf_counter()
            start, stop = ends[number], ends[number + 1]
            total, gradient = 0.0, 0.0
            for step, batch in enumerate(self.batches.stream(start, stop), start):
                loss, norm = self.step(step, batch)
                total, gradient = total + loss, max(gradient, norm) if math.isfinite(norm) else gradient
                listener.on_step(step + 1, self.config.steps)
            rate = self.optimizer.param_groups[0]["lr"]
            watched = self.watch.score(self.forward)
            row = Row(number + 1, stop, rate, total / (stop - start), gradient, **watched)
            self.rows.append(row)
            improved = row.val_loss < self.progress.best
            self.progress = self.progress.after(row.val_loss, self.config)
            self._save(improved=improved, seconds=time.perf_counter() - began)
            if pictures:
                self._draw()
            listener.on_round(row)

    def step(self, number: int, batch: Batch) -> tuple[float, float]:
        """Take one step; return the loss, and the norm of the gradient before it was clipped.

        Raises:
            DivergedError: the loss, or without a scaler its gradient, is not finite; no step was taken.
        """
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, number, config.steps, self.progress)
        self.network.train()
        loss = self._loss(batch)
        value = loss.item()
        _require_finite("loss", value, number, batch)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        limit = config.clip_norm or math.inf
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), limit).item()
        if not self.scaler.is_enabled():  # it skips such steps, and tries again with a smaller factor
            _require_finite("norm of the gradient", norm, number, batch)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return value, norm

    def steps_in(self, seconds: float) -> int:
        """Return how many steps fit into a time, with the validation of every round; this trainer is spent by it."""
        times = []
        for number in range(_PROBED_STEPS):
            began = time.perf_counter()
            self.step(number, self.batches[number])
            times.append(time.perf_counter() - began)
        began = time.perf_counter()
        self.watch.score(self.forward)
        watching = time.perf_counter() - began
        a_step = sorted(times[_UNTIMED_STEPS:])[len(times[_UNTIMED_STEPS:]) // 2]
        left = _MARGIN * seconds - self.config.rounds * watching - sum(times) - watching
        return max(self.config.rounds, int(left / a_step))

    def restore(self) -> None:
        """Go back to the checkpoint, or to the start where there is none yet."""
        path = self.run.folder / CHECKPOINT_FILE
        if not path.exists():
            return
        values = load(path)
        if values.get("digest") != self.run.division.digest:
            raise RunError(f"{path}: belongs to another dataset than {CONFIG_FILE} says; train again")
        try:
            self.network.load_state_dict(values["network"])
            self.optimizer.load_state_dict(values["optimizer"])
            self.scaler.load_state_dict(values["scaler"])
            self.progress = Progress(**values["progress"])
            self.rows = [Row(**row) for row in values["rows"]]
            torch.set_rng_state(values["random"]["cpu"])
            if self.device.type == "cuda":
                torch.cuda.set_rng_state_all(values["random"]["cuda"])
        except (LookupError, RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise RunError(f"{path}: not the checkpoint of this run ({error!s:.120}); train again") from error

    def _loss(self, batch: Batch) -> Tensor:
        with autocast(self.device, self.config.precision):
            layout = torch.channels_last if self.config.channels_last else torch.contiguous_format
            scores = self.forward(batch.image.contiguous(memory_format=layout))
        return weighted_cross_entropy(centre(scores, self.config.target), batch.label, batch.weight)

    def _round_ends(self) -> list[int]:
        return [number * self.config.steps // self.config.rounds for number in range(self.config.rounds + 1)]

    def _save(self, *, improved: bool, seconds: float) -> None:
        """Write all files of the round; the checkpoint last, so that a kill before it repeats the round."""
        folder, config = self.run.folder, self.config
        rows = [asdict(row) for row in self.rows]
        table = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        write_file(folder / TABLE_FILE, "".join(f"{line}\n" for line in table).encode())
        write_file(folder / ROWS_FILE, b"".join(as_json(row) for row in rows))
        with storage_errors(folder / TIMES_FILE), (folder / TIMES_FILE).open("a", encoding="utf-8") as times:
            times.write(json.dumps({"round": rows[-1]["round"], "seconds": round(seconds, 3)}) + "\n")
        weights = self.network.state_dict()
        if config.schedule == "cosine" or improved:
            save(folder / NETWORK_FILE, {"network": weights})
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state_all()  # type: ignore[assignment]
        save(
            folder / CHECKPOINT_FILE,
            {
                "digest": self.run.division.digest,
                "network": weights,
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "progress": asdict(self.progress),
                "rows": rows,
                "random": random,
            },
        )  # orders, places and turns of the batches have an address: their number, which is the last row's step

    def _draw(self) -> None:
        from training.plots import THRESHOLDS_FILE, draw_run, draw_thresholds

        draw_run(self.run.folder, self.rows, self.watch.examples(self.forward))
        draw_thresholds(self.run.folder / THRESHOLDS_FILE, self.watch.pixels)


def settle(config: FitConfig, dataset: Path, n_train: int) -> FitConfig:
    """Return the config with everything decided that was left to choose.

    Raises:
        ConfigError: it does not fit the dataset or this machine.
    """
    device = find_device(config.device)
    window = min(open_dataset(dataset).record.window)
    crop = config.crop or config.network.largest_input(window)
    config.network.output_side(crop)  # or says that it does not pass
    steps = config.steps or config.rounds * -(-n_train // config.batch)
    return replace(
        config,
        device=str(device),
        precision=find_precision(config.precision, device),
        threads=config.threads or len(os.sched_getaffinity(0)),
        crop=crop,
        steps=steps,
    )


def _require_finite(name: str, value: float, number: int, batch: Batch) -> None:
    if not math.isfinite(value):
        raise DivergedError(
            f"step {number + 1}: the {name} is {value}; the samples of the batch: {', '.join(batch.ids)}; the last "
            "checkpoint is kept; lower the learning rate or --set clip_norm"
        )


def _refuse(path: Path, reason: str) -> NoReturn:
    raise RunError(f"{path}: not the config of a run of this version ({reason}); train again")


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{out}: cannot be made ({error.strerror or error}); choose another --out") from error


def _optimizer(config: FitConfig, network: nn.Module) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), config.learning_rate, momentum=config.momentum)
    return torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)


def _describe(run: Run) -> dict[str, Any]:
    libraries = ("augpipe", "torch", "numpy", "h5py")
    return {
        "schema": RUN_SCHEMA,
        "config": run.config.as_dict(),
        "dataset": {
            "folder": str(run.dataset.resolve()),
            "name": open_dataset(run.dataset).name,
            "division": asdict(run.division),
        },
        "normalisation": asdict(run.normalisation),
        "image_dtype": run.image_dtype,
        "parameters": count_parameters(UNet(run.config.network)),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in libraries}},
    }
