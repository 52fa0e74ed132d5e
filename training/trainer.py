"""The loop: one step after another, validation and a checkpoint after every round; killed anywhere, it goes on."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.errors import AugpipeError
from pipeline.shards.progress import Progress, SilentProgress
from training.config import FitConfig
from training.dataset import ShardDataset
from training.device import autocast
from training.loading import Batch, Batches, normalise, open_store, without_ignored
from training.metrics import count_pixels, pixel_scores
from training.plots import UNKNOWN, Example, draw_run
from training.run_folder import (
    CHECKPOINT_FILE,
    CONFIG_FILE,
    NETWORK_FILE,
    Row,
    Run,
    RunError,
    count_rows,
    load,
    save,
    summary,
    write_rows,
)
from training.unet import UNet, cell_logits, centre, weighted_cross_entropy

OnRound = Callable[[Row], None]
_MAX_SKIPPED = 100  # steps in a row that fp16's scaler may skip while it looks for a factor


class DivergedError(AugpipeError):
    """The loss is no longer a finite number."""


# Not torch's ReduceLROnPlateau, which gives the same rates: it refuses a factor of 1, has no early stop, and its state
# is not the one that checkpoints hold. Its schedules with cosines multiply up from step to step, and round otherwise.
@dataclass(frozen=True, slots=True)
class Plateau:
    """What validation has led to: the learning rate of a plateau schedule, and how long nothing has improved.

    Attributes:
        rate: the learning rate.
        best: the lowest validation loss so far.
        waited: rounds since then, or since the rate was last lowered.
        stale: rounds since then.
    """

    rate: float
    best: float = math.inf
    waited: int = 0
    stale: int = 0

    def after(self, loss: float, config: FitConfig) -> "Plateau":
        """Return the record after a round with this validation loss."""
        if loss < self.best:
            return replace(self, best=loss, waited=0, stale=0)
        if self.waited + 1 > config.plateau_patience:
            lowered = min(self.rate, max(self.rate * config.plateau_factor, config.lowest_rate))
            return replace(self, rate=lowered, waited=0, stale=self.stale + 1)
        return replace(self, waited=self.waited + 1, stale=self.stale + 1)

    def is_over(self, config: FitConfig) -> bool:
        """Return whether the run should stop early."""
        return bool(config.stop_patience) and self.stale >= config.stop_patience


def learning_rate(config: FitConfig, step: int, steps: int, plateau: Plateau) -> float:
    """Return the learning rate of step `step` of `steps`, the first being 0.

    `cosine` rises linearly over the warm-up and then falls to 0 along half a cosine (Loshchilov and Hutter 2017,
    arXiv:1608.03983, without restarts).
    """
    if config.schedule == "plateau":
        return plateau.rate
    warm_up = max(1, round(config.warm_up * steps))
    if step < warm_up:
        return config.learning_rate * (step + 1) / warm_up
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


class Validation:
    """The validation samples, whole, as far as the network takes them."""

    def __init__(self, run: Run, device: torch.device) -> None:
        config, division = run.config, run.division
        self._data = ShardDataset(run.dataset, division.watched_split, division.watched, weights=config.loss_weights)
        self._store = open_store(self._data, config.loader, device)
        self._config, self._normalisation, self._device = config, run.normalisation, device
        self._side = config.network.largest_input(min(self._data.window))

    def score(self, network: nn.Module, on_sample: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Return the columns of a row that begin with val_.

        Args:
            network: image (B, inputs, Y, X) in, scores out.
            on_sample: is called after every sample, and may raise what ends it.

        Raises:
            DivergedError: a loss is not finite.
        """
        losses, counts = [], np.zeros(1, np.int64)
        for index in range(len(self._data)):
            probability, label, loss = self._run(network, index)
            if not math.isfinite(loss):
                raise DivergedError(
                    f"validation: the loss of sample {self._data.ids[index]} is {loss}; the last checkpoint is kept; "
                    "lower the learning rate or --set clip_norm"
                )
            if not np.ma.getmaskarray(label).all():
                losses.append(loss)
            counts = counts + count_pixels(probability, label)
            on_sample()
        self.pixels = scores = pixel_scores(counts)
        names = ("pixel_error", "misclassified", "iou_cell", "iou_membrane")
        return {"val_loss": float(np.mean(losses)), **{f"val_{name}": getattr(scores, name) for name in names}}

    def examples(self, network: nn.Module, n: int = 3) -> list[Example]:
        """Return the first sample of each of the first `n` slices."""
        found = []
        for index in self._data.firsts[:n]:
            probability, label, _ = self._run(network, index)
            image = centre(self._store.read(index)["image"], label.shape[-1]).float().cpu().numpy()
            image = image if image.ndim == 2 else image[self._data.own_channels].mean(axis=0)  # only to be looked at
            found.append(Example(self._data.ids[index], image, np.ma.filled(label, UNKNOWN), probability))
        return found

    def draw(self, folder: Path, rows: Sequence[Row], network: nn.Module) -> None:
        """Draw curves, samples and thresholds of a run, as its last round left them.

        Raises:
            StorageError: a file cannot be written.
        """
        draw_run(folder, rows, self.examples(network), self.pixels)

    def _run(self, network: nn.Module, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
        """Return the probabilities, the label, masked where it is ignored, and the loss."""
        parts = {name: centre(part, self._side).to(self._device) for name, part in self._store.read(index).items()}
        image = normalise(parts["image"], self._normalisation)[None]
        weights = parts["weights"][None] if "weights" in parts else None
        label, weights = without_ignored(parts["label"][None], weights, self._data.ignore)
        network.eval()
        with torch.inference_mode():
            with autocast(self._device, self._config.precision):
                scores = centre(network(image), self._config.target)
            loss = weighted_cross_entropy(scores, label, weights)
            probability = torch.sigmoid(cell_logits(scores).float())[0]
        side = scores.shape[-1]
        truth = centre(label, side)[0].cpu().numpy()
        if self._data.ignore is not None:
            ignored = centre(parts["label"], side) == self._data.ignore
            truth = np.ma.array(truth, mask=ignored.cpu().numpy())
        return probability.cpu().numpy(), truth, loss.item()


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
        self.plateau = Plateau(rate=config.learning_rate)
        self.rows: list[Row] = []
        self._skipped = 0  # steps in a row whose gradient was not finite; fp16's scaler takes none of them
        store = before.batches.store if before else open_store(data, config.loader, self.device)
        self.batches: Batches = Batches(store, data, config, run.normalisation, self.device)
        self.validation: Validation = before.validation if before else Validation(run, self.device)

    @property
    def is_finished(self) -> bool:
        """Whether no round is to come: all are done, or validation no longer improved."""
        stopped = self.plateau.is_over(self.config) and self.config.schedule == "plateau"
        return stopped or len(self.rows) >= self.config.rounds

    def train(self, *, pictures: bool, progress: Progress | None = None, on_round: OnRound | None = None) -> None:
        """Train from the round that comes next to the end."""
        progress = progress or SilentProgress()
        ends = [number * self.config.steps // self.config.rounds for number in range(self.config.rounds + 1)]
        drawn = False
        progress.start("training", self.config.steps, unit="steps", done=ends[len(self.rows)])
        try:
            while not self.is_finished:
                self._round(ends[len(self.rows)], ends[len(self.rows) + 1], progress)
                if pictures:
                    self.validation.draw(self.run.folder, self.rows, self.forward)
                    drawn = True
                if on_round is not None:
                    on_round(self.rows[-1])
        finally:
            progress.stop()
        if pictures and not drawn:  # killed after its last checkpoint
            self.validation.score(self.forward)
            self.validation.draw(self.run.folder, self.rows, self.forward)

    def step(self, number: int, batch: Batch) -> tuple[float, float]:
        """Take one step; return the loss, and the norm of the gradient before it was clipped.

        Raises:
            DivergedError: the loss, or without a scaler its gradient, is not finite; no step was taken.
        """
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(config, number, config.steps, self.plateau)
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
        if not self.scaler.is_enabled() or self._skipped > _MAX_SKIPPED:
            require_finite("norm of the gradient", norm, number, batch)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return value, norm

    def take(self, number: int) -> None:
        """Take the step of a number, to see how long it takes."""
        self.step(number, self.batches[number])

    def validate(self, on_sample: Callable[[], None]) -> None:
        """Validate once, to see how long it takes."""
        self.validation.score(self.forward, on_sample)

    def restore(self) -> None:
        """Go back to the checkpoint, or to the start if there is no checkpoint yet.

        Raises:
            RunError: it is missing though rounds are done, belongs to another run, or is damaged.
        """
        path = self.run.folder / CHECKPOINT_FILE
        if not path.exists():
            if count_rows(self.run.folder) > 1:
                raise RunError(f"{path} is missing, so the run cannot go on; train again elsewhere")
            return
        values = load(path)
        digest, settings = ("digest", self.run.division.digest), ("config", self.config.as_dict())
        for (key, expected), owner in ((digest, "another dataset"), (settings, "a run of other settings")):
            if values.get(key) != expected:
                raise RunError(f"{path}: belongs to {owner} than {CONFIG_FILE} says; train again")
        try:
            self.network.load_state_dict(values["network"])
            self.optimizer.load_state_dict(values["optimizer"])
            self.scaler.load_state_dict(values["scaler"])
            self.plateau = Plateau(**values["progress"])
            self.rows = [Row(**row) for row in values["rows"]]
            torch.set_rng_state(values["random"]["cpu"])
            if self.device.type == "cuda":
                torch.cuda.set_rng_state_all(values["random"]["cuda"])
        except (LookupError, RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise RunError(f"{path}: not the checkpoint of this run ({summary(error)}); train again") from error

    def _round(self, start: int, stop: int, progress: Progress) -> None:
        """Take the steps of a round, validate, and save."""
        began = time.perf_counter()
        total, gradient = 0.0, 0.0
        for step, batch in enumerate(self.batches.stream(start, stop), start):
            loss, norm = self.step(step, batch)
            total, gradient = total + loss, max(gradient, norm) if math.isfinite(norm) else gradient
            progress.advance()
        rate = self.optimizer.param_groups[0]["lr"]
        watched = self.validation.score(self.forward)
        row = Row(len(self.rows) + 1, stop, rate, total / (stop - start), gradient, **watched)
        self.rows.append(row)
        improved = row.val_loss < self.plateau.best
        self.plateau = self.plateau.after(row.val_loss, self.config)
        self._save(improved=improved, seconds=time.perf_counter() - began)

    def _loss(self, batch: Batch) -> Tensor:
        with autocast(self.device, self.config.precision):
            layout = torch.channels_last if self.config.channels_last else torch.contiguous_format
            scores = self.forward(batch.image.contiguous(memory_format=layout))
        return weighted_cross_entropy(centre(scores, self.config.target), batch.label, batch.weights)

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
                "progress": asdict(self.plateau),
                "rows": [asdict(row) for row in self.rows],
                "random": random,
            },
        )  # orders, places and turns of the batches have an address: their number, which is the last row's step


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
