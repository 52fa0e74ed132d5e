"""When the learning rate falls and when a run stops: plain numbers in, plain numbers out, so that they can be saved."""

import math
from dataclasses import dataclass, replace

from training.config import FitConfig


@dataclass(frozen=True, slots=True)
class Progress:
    """What a plateau schedule remembers.

    Attributes:
        best: the lowest validation loss so far.
        waited: rounds since then, or since the rate was last lowered.
        stale: rounds since then.
        rate: the learning rate.
    """

    rate: float
    best: float = math.inf
    waited: int = 0
    stale: int = 0

    def after(self, loss: float, config: FitConfig) -> "Progress":
        """Return what is remembered after a round with this validation loss."""
        if loss < self.best:
            return replace(self, best=loss, waited=0, stale=0)
        if self.waited + 1 > config.plateau_patience:
            lowered = min(self.rate, max(self.rate * config.plateau_factor, config.lowest_rate))
            return replace(self, rate=lowered, waited=0, stale=self.stale + 1)
        return replace(self, waited=self.waited + 1, stale=self.stale + 1)

    def is_over(self, config: FitConfig) -> bool:
        """Tell whether the run should stop early."""
        return bool(config.stop_patience) and self.stale >= config.stop_patience


def learning_rate(config: FitConfig, step: int, steps: int, progress: Progress) -> float:
    """Return the learning rate of step `step` of `steps`, the first being 0.

    `cosine` rises linearly over the warm-up and then falls to 0 along half a cosine (Loshchilov and Hutter 2017,
    arXiv:1608.03983, without restarts).
    """
    if config.schedule == "plateau":
        return progress.rate
    warm_up = max(1, round(config.warm_up * steps))
    if step < warm_up:
        return config.learning_rate * (step + 1) / warm_up
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))
