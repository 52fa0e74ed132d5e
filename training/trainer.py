"""The loop: one step after another, validation and a checkpoint after every round; killed anywhere, it goes on."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import ConfigError
from training.checkpoint import RunError, load, save
from training.config import FitConfig
from training.dataset import ShardDataset
from training.device import autocast
from training.loading import Batch, Batches, open_store
from training.losses import centre, weighted_cross_entropy
from training.run import CHECKPOINT_FILE, CONFIG_FILE, NETWORK_FILE, Run, write_rows
from training.schedules import Progress, learning_rate
from training.unet import UNet
from training.validation import DivergedError, Row, Watch

PROBED_STEPS = 8
_UNTIMED_STEPS, _MARGIN = 3, 0.95
_MOST_SKIPPED = 100  # steps in a row that fp16's scaler may skip while it looks for a factor


@dataclass(slots=True)
class Listener:
    """Who is told how a run gets on."""

    on_step: Callable[[int, int], None] = field(default=lambda _done, _steps: None)
    on_round: Callable[[Row], None] = field(default=lambda _row: None)


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
        self._skipped = 0  # steps in a row whose gradient was not finite; fp16's scaler takes none of them
        store = before.batches.store if before else open_store(data, config.loader, self.device)
        self.batches: Batches = Batches(
            store, data.ids, data.window, batch=config.batch, crop=config.crop, turns=config.turns, seed=config.seed,
            normalisation=run.normalisation, device=self.device,
        )  # fmt: skip
        self.watch: Watch = (
            before.watch if before else Watch(run.dataset, run.division, config, run.normalisation, self.device)
        )

    @property
    def is_finished(self) -> bool:
        """Whether no round is to come: all are done, or validation no longer improved."""
        stopped = self.progress.is_over(self.config) and self.config.schedule == "plateau"
        return stopped or len(self.rows) >= self.config.rounds

    def train(self, *, pictures: bool, listener: Listener) -> None:
        """Train from the round that comes next to the end."""
        ends = [number * self.config.steps // self.config.rounds for number in range(self.config.rounds + 1)]
        drawn = False
        for number in range(len(self.rows), self.config.rounds):
            if self.is_finished:
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
                drawn = True
            listener.on_round(row)
        if pictures and not drawn:  # killed after its last checkpoint
            self.watch.score(self.forward)
            self._draw()

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
        require_finite("loss", value, number, batch)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        limit = config.clip_norm or math.inf
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), limit).item()
        self._skipped = 0 if math.isfinite(norm) else self._skipped + 1
        if not self.scaler.is_enabled() or self._skipped > _MOST_SKIPPED:
            require_finite("norm of the gradient", norm, number, batch)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return value, norm

    def steps_in(self, seconds: float) -> int:
        """Return how many steps fit into a time, with the validation of every round; this trainer is spent by it.

        Raises:
            ConfigError: not one a round.
        """

        def step(number: int) -> None:
            self.step(number, self.batches[number])

        def validate(on_sample: Callable[[], None]) -> None:
            self.watch.score(self.forward, on_sample)

        return count_steps(seconds, self.config.rounds, step, validate)

    def restore(self) -> None:
        """Go back to the checkpoint, or to the start where there is none yet."""
        path = self.run.folder / CHECKPOINT_FILE
        if not path.exists():
            return
        values = load(path)
        if values.get("digest") != self.run.division.digest:
            raise RunError(f"{path}: belongs to another dataset than {CONFIG_FILE} says; train again")
        if values.get("config") != self.config.as_dict():
            raise RunError(f"{path}: belongs to a run of other settings than {CONFIG_FILE} says; train again")
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
            reason = " ".join(str(error).split())[:120]
            raise RunError(f"{path}: not the checkpoint of this run ({reason}); train again") from error

    def _loss(self, batch: Batch) -> Tensor:
        with autocast(self.device, self.config.precision):
            layout = torch.channels_last if self.config.channels_last else torch.contiguous_format
            scores = self.forward(batch.image.contiguous(memory_format=layout))
        return weighted_cross_entropy(centre(scores, self.config.target), batch.label, batch.weight)

    def _save(self, *, improved: bool, seconds: float) -> None:
        """Write all files of the round; the checkpoint last, so that a kill before it repeats the round."""
        folder = self.run.folder
        write_rows(folder, self.rows, seconds)
        weights = self.network.state_dict()
        if self.config.schedule == "cosine" or improved:
            save(folder / NETWORK_FILE, {"network": weights})
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state_all()  # type: ignore[assignment]
        save(
            folder / CHECKPOINT_FILE,
            {
                "digest": self.run.division.digest,
                "config": self.config.as_dict(),
                "network": weights,
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "progress": asdict(self.progress),
                "rows": [asdict(row) for row in self.rows],
                "random": random,
            },
        )  # orders, places and turns of the batches have an address: their number, which is the last row's step

    def _draw(self) -> None:
        from training.plots import draw_round

        draw_round(self.run.folder, self.rows, self.watch, self.forward)


def count_steps(
    seconds: float, rounds: int, step: Callable[[int], Any], validate: Callable[[Callable[[], None]], Any]
) -> int:
    """Return how many steps fit into a time, with a validation a round, after trying a few of them.

    Trying ends with the first step or validated sample after which the time is over.

    Args:
        seconds: the time.
        rounds: how many validations have to fit in.
        step: takes the step of a number.
        validate: validates once, and calls what it is given after every sample.

    Raises:
        ConfigError: not one a round.
    """
    began = time.perf_counter()
    times: list[float] = []

    def require_time(now: float, then: str = "") -> None:
        if now - began > seconds:
            raise ConfigError(
                f"--minutes: {seconds / 60:g} minutes were over after {len(times)} steps to try{then}; give more "
                "minutes, or take a smaller --batch or network"
            )

    for number in range(PROBED_STEPS):
        before = time.perf_counter()
        step(number)
        now = time.perf_counter()
        times.append(now - before)
        require_time(now)
    before = time.perf_counter()
    validate(lambda: require_time(time.perf_counter(), " and a part of the validation"))
    now = time.perf_counter()
    a_step = sorted(times[_UNTIMED_STEPS:])[len(times[_UNTIMED_STEPS:]) // 2]
    steps = int((_MARGIN * seconds - (now - began) - rounds * (now - before)) / a_step)
    if steps < rounds:
        raise ConfigError(
            f"--minutes: a step takes {a_step:.2g} s and validation {now - before:.2g} s, so that {rounds} rounds do "
            f"not fit into {seconds / 60:g} minutes; give more minutes, or fewer --rounds"
        )
    return steps


def require_finite(name: str, value: float, number: int, batch: Batch) -> None:
    """Refuse a number that is not one.

    Raises:
        DivergedError: with the ids of the batch.
    """
    if not math.isfinite(value):
        raise DivergedError(
            f"step {number + 1}: the {name} is {value}; the samples of the batch: {', '.join(batch.ids)}; what was "
            "saved last is kept; lower the learning rate or --set clip_norm"
        )


def _optimizer(config: FitConfig, network: nn.Module) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), config.learning_rate, momentum=config.momentum)
    return torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
