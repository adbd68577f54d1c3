r"""log Z of an energy model: exact where it can be enumerated, else by annealed importance sampling.

Along a schedule 0 = beta_0 < ... < beta_T = 1, each chain starts at x_0 ~ base, and alternates between a weight and a
sweep that leaves the law at beta_t invariant:

    log w = sum_t [ F(x_t; beta_t) - F(x_t; beta_{t+1}) ],      x_t ~ sweep at beta_t from x_{t-1}

Then E[w] = Z / Z_0 for every schedule, Z_0 being that of the base law. By Jensen's inequality E[log mean w] is at
most log Z / Z_0: what is estimated is too low, and the log-likelihood -F(x) - log Z too high, the more so the shorter
the schedule. A shorter one run beside it shows by how much.

Neal (2001), Annealed importance sampling. Salakhutdinov and Murray (2008), On the quantitative analysis of deep
belief networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .data import Batch
from .errors import PluginError, Unsupported
from .estimates import Columns, Estimate, EvaluationSettings, bits_per_dimension, estimate, measure_of
from .interfaces import Energy

Stage = Callable[[str, int], Callable[[int], None]]

BIASED_UPWARD = (
    "annealed importance sampling estimates log Z too low on average, so its log-likelihoods are biased upward"
)
_SHORTER = 10
_EXACT = ("exact", "enumeration")


@dataclass(frozen=True)
class Annealed:
    """log Z by annealed importance sampling.

    Attributes:
        value: log Z_0 plus the log of the mean weight.
        error: its Monte-Carlo standard error, that of the mean weight relative to it.
        effective_sample_size: (sum w)^2 / sum w^2, between 1 and the number of chains.
        steps, chains: temperatures after the first, and independent weights.
    """

    value: float
    error: float
    effective_sample_size: float
    steps: int
    chains: int


def silent(title: str, total: int) -> Callable[[int], None]:
    """Says nothing of how far work has come."""
    return lambda done: None


def even_schedule(steps: int) -> Tensor:
    """`[steps + 1]` equally spaced values from 0 to 1. From a base law that is close to the data this needs no denser
    end."""
    return torch.linspace(0, 1, steps + 1, dtype=torch.float64)


@torch.no_grad()
def log_weights(
    model: Energy, schedule: Tensor, chains: int, advance: Callable[[int], None] = lambda done: None
) -> Tensor:
    """log Z_0 + log w of each chain, `[chains]` in float64.

    Args:
        schedule: rising values from 0 to 1.
        advance: called with the number of steps done.

    Raises:
        PluginError: the model's free energy at beta = 0 is not that of its base law.
    """
    betas = schedule.tolist()
    if len(betas) < 2 or betas[0] != 0 or betas[-1] != 1 or any(a >= b for a, b in pairwise(betas)):
        raise ValueError("a schedule rises from 0 to 1")
    base = model.base()
    x = base.sample((chains,))
    energy = model.free_energy(x, 0.0).double()
    constant = -energy - base.log_prob(x).double()
    if (constant - constant.mean()).abs().max() > 1e-3 + 1e-5 * energy.abs().max():  # what float32 may do
        raise PluginError(f"{type(model).__name__}: its free energy at beta = 0 differs from -log of its base law")
    total = constant.mean().expand(chains)
    for last, beta in pairwise(betas):
        if last > 0:
            x = model.gibbs(x, last)
        total = total + (model.free_energy(x, last).double() - model.free_energy(x, beta).double())
        advance(1)
    return total


def anneal(
    model: Energy, schedule: Tensor, chains: int, advance: Callable[[int], None] = lambda done: None
) -> Annealed:
    """log Z by annealed importance sampling along a schedule. Arguments as for `log_weights`."""
    weights = log_weights(model, schedule, chains, advance)
    mean = float(weights.logsumexp(0)) - math.log(chains)
    relative = (weights - mean).exp()
    error = float(relative.std()) / math.sqrt(chains) if chains > 1 else math.nan
    size = float(relative.sum().square() / relative.square().sum())
    return Annealed(mean, error, size, len(schedule) - 1, chains)


def exact_log_partition(model: Energy) -> float | None:
    """log Z, or None where it cannot be enumerated."""
    try:
        return float(model.log_partition())
    except Unsupported:
        return None


class LogPartition:
    """log Z of an `Energy`: enumerated where that is possible, else annealed, by as many steps as asked for and by a
    tenth of them.

    Attributes:
        value: log Z.
        error: its Monte-Carlo error; 0 where it is exact, NaN where it is not known.
        kind: "exact", or "biased": too low on average.
        estimator: in words.

    Args:
        model: in evaluation mode.
        settings: steps and chains of annealing, where it is needed.
        stage: called with the title and the size of the annealing; gives what is called with the number of steps done.
    """

    def __init__(self, model: Energy, settings: EvaluationSettings, stage: Stage = silent) -> None:
        exact = exact_log_partition(model)
        self._annealed: list[Annealed] = []
        if exact is None:
            lengths = [max(1, settings.ais_steps // _SHORTER), settings.ais_steps]
            advance = stage("annealing", sum(lengths))
            self._annealed = [anneal(model, even_schedule(n), settings.ais_chains, advance) for n in lengths]
        self.value, self.error = (exact, 0.0) if exact is not None else (self._longer.value, self._longer.error)
        self.kind, self.estimator = ("biased", "annealed importance sampling") if self._annealed else _EXACT

    @property
    def _longer(self) -> Annealed:
        return self._annealed[-1]

    @property
    def notes(self) -> dict[str, Any]:
        """What a log-likelihood that rests on it has to say."""
        return {"note": BIASED_UPWARD} if self._annealed else {}

    def figures(self) -> dict[str, Estimate]:
        """log Z, and of an annealed one how far it is from a shorter annealing, by name."""
        value = {"value": self.value, "standard_error": None}
        if not self._annealed:
            return {"log_partition": value | {"kind": self.kind, "estimator": self.estimator}}
        shorter, longer = self._annealed
        together = math.hypot(shorter.error, longer.error)
        said = {"ais_steps": longer.steps, "ais_chains": longer.chains, "estimator": self.estimator}
        value |= {**_error(longer.error), "kind": self.kind, **said}
        gap = {"value": longer.value - shorter.value, "standard_error": None, **_error(together)}
        few = f"log Z by {longer.steps} steps less log Z by {shorter.steps}; far from 0, both are too few"
        effective = {"effective_samples": longer.effective_sample_size}
        return {"log_partition": value | effective, "annealing_gap": gap | {"note": few}}


class EnergyEstimates:
    """log p(x) = -F(x) - log Z of an `Energy`. The error of an annealed log Z, which all examples share, is the
    Monte-Carlo error. Arguments as for `LogPartition`."""

    def __init__(self, model: Energy, settings: EvaluationSettings, stage: Stage = silent) -> None:
        self.model = model
        self._columns = Columns()
        self._partition = LogPartition(model, settings, stage)

    def batch_size(self, first: Batch, asked: int) -> int:
        """Examples at a time: as asked, since nothing is drawn for them."""
        return asked

    def add(self, batch: Batch) -> None:
        """Takes in a batch of examples."""
        self._columns.add("energy", self.model.free_energy(batch.x).double())

    def log_likelihoods(self) -> Tensor:
        """-F(x) - log Z, `[examples]`."""
        return -self._columns.gathered()["energy"] - self._partition.value

    def result(self) -> dict[str, Estimate]:
        """Every estimate by name."""
        figures = self._partition.figures()
        log_partition = figures["log_partition"]
        nll, spec = -self.log_likelihoods(), self.model.spec
        notes = {key: log_partition[key] for key in ("monte_carlo_error", "kind") if key in log_partition}
        notes |= {"estimator": f"-F(x) - log Z, log Z by {self._partition.estimator}", "measure": measure_of(spec)}
        notes |= self._partition.notes
        found = {"log_likelihood": estimate(-nll) | notes, "nll": estimate(nll) | notes}
        return found | bits_per_dimension(found["nll"], spec) | figures


def _error(error: float) -> dict[str, float]:
    """A Monte-Carlo error, where it is known: one chain has none."""
    return {"monte_carlo_error": error} if math.isfinite(error) else {}
