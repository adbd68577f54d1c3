r"""log p(x) of a latent-variable model by annealing (`latent_annealing.py`), and how far off that can be.

Step sizes of the Hamiltonian steps, one for each temperature, are found beforehand by chains of their own, towards an
acceptance of 0.65, and then held, so that no draw of an estimate has moved them.

Wu, Burda, Salakhutdinov and Grosse (2017), On the quantitative analysis of decoder-based generative models,
arXiv:1611.04273.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from variata import (
    Batch,
    Data,
    DataError,
    Estimate,
    EvaluationSettings,
    LatentVariable,
    Metric,
    Split,
    bits_per_dimension,
    estimate,
    in_blocks,
    log_likelihoods,
    measure_of,
    stage,
)

from .hmc import transition
from .latent_annealing import (
    Advance,
    Annealing,
    NoLikelihood,
    forward_bounds,
    part_of,
    sigmoid_schedule,
    simulate,
    start,
    upper_bounds,
)
from .samples import device_of

_BLOCK = 32
_PILOT, _PILOT_CHAINS, _TRIES = 16, 4, 4
_ACCEPTED, _RATE, _FIRST_SIZE = 0.65, 1.0, 0.1


class LatentAIS(Metric):
    """ "log_likelihood[ais]" (a lower bound) and "nll[ais]" (an upper bound) of some examples, chosen by the seed, and
    "ais_gap": what lies between the bounds from both sides on data that the model made.

    Args:
        steps: T, temperatures after the first.
        chains: weights of each example.
        leapfrog: steps of each transition.
        examples: of the split, at most.
        simulated: examples to make and bound from both sides; 0 for none.
    """

    requires = LatentVariable

    def __init__(
        self,
        *,
        steps: PositiveInt = 500,
        chains: PositiveInt = 8,
        leapfrog: PositiveInt = 10,
        examples: PositiveInt = 100,
        simulated: NonNegativeInt = 50,
    ) -> None:
        self.steps, self.chains, self.leapfrog = steps, chains, leapfrog
        self.examples, self.simulated = examples, simulated

    def measure(self, model: LatentVariable, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        split, device, seed = data.split(settings.split), device_of(model), settings.seed
        if not len(split):
            raise DataError(f"the split {settings.split} has no examples to anneal for")
        order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))
        rows = order[: self.examples].sort().values
        batch = split.batch(rows)
        batch = Batch(batch.x.to(device), None if batch.y is None else batch.y.to(device))
        betas = sigmoid_schedule(self.steps).tolist()
        advance = stage("annealing: step sizes", max(0, self.steps - 1))
        sizes = in_blocks(1, 1, seed, "ais sizes", lambda _: self._sizes(model, batch, betas, advance))["sizes"]
        how = Annealing(betas, sizes[0].tolist(), self.leapfrog)

        n = len(batch)
        advance = stage("annealing", self.steps * -(-n // _BLOCK))

        def forwards(part: slice) -> dict[str, Tensor]:
            return forward_bounds(model, part_of(batch, part), how, self.chains, advance)

        found = in_blocks(n, _BLOCK, seed, "ais", forwards)
        kept = Split(batch.x, batch.y, lambda stored: stored)
        sampled = log_likelihoods(model, kept, settings)
        notes = {
            "estimator": "annealed importance sampling from p(z), Hamiltonian steps",
            "measure": measure_of(model.spec),
            "index_set": f"{n} of {len(split)} {settings.split} examples, by torch.randperm of seed {seed}",
            "steps": self.steps,
            "chains": self.chains,
            "leapfrog": self.leapfrog,
            "acceptance": float(found["acceptance"].mean()),
            "effective_samples": float(found["effective_samples"].mean()),
        }
        lower = found["log_likelihood"]
        nll = estimate(-lower, found["variance"], kind="upper_bound", **notes)
        nll["by_importance_sampling"] = -float(sampled.mean())
        nll["note"] = (
            f"importance sampling from q gives {nll['by_importance_sampling']:.4f} nats on the same {n} examples"
        )
        likelihood = estimate(lower, found["variance"], kind="lower_bound", **notes)
        bits = {f"{name}[ais]": figure for name, figure in bits_per_dimension(nll, model.spec).items()}
        figures = {"log_likelihood[ais]": likelihood, "nll[ais]": nll, **bits}
        return figures | (self._gap(model, batch, how, seed) if self.simulated else {})

    def _sizes(
        self, model: LatentVariable, batch: Batch, betas: Sequence[float], advance: Advance
    ) -> dict[str, Tensor]:
        """A step size for each temperature between the first and the last, `[1, steps - 1]`."""
        batch = part_of(batch, slice(0, _PILOT))
        point, evaluate = start(model, batch, _PILOT_CHAINS)
        size, sizes = _FIRST_SIZE, []
        for beta in betas[1:-1]:
            for _ in range(_TRIES):
                point, probability = transition(evaluate, point, beta, size, self.leapfrog)
                size *= math.exp(_RATE * (float(probability.mean()) - _ACCEPTED))
            sizes.append(size)
            advance(1)
        return {"sizes": torch.tensor([sizes], dtype=torch.float64)}

    def _gap(self, model: LatentVariable, batch: Batch, how: Annealing, seed: int) -> dict[str, Estimate]:
        n = self.simulated
        y = None if batch.y is None else batch.y[torch.arange(n) % len(batch)]
        like = Batch(batch.x[torch.arange(n) % len(batch)], y)
        advance = stage("annealing: both ways", 2 * self.steps * -(-n // _BLOCK))

        def both(part: slice) -> dict[str, Tensor]:
            z, made = simulate(model, part_of(like, part))
            lower = forward_bounds(model, made, how, self.chains, advance)["log_likelihood"]
            return {"lower": lower, "upper": upper_bounds(model, made, z, how, self.chains, advance)}

        try:
            found = in_blocks(n, _BLOCK, seed, "ais both ways", both)
        except NoLikelihood as reason:
            return {"ais_gap": {"value": None, "standard_error": None, "note": str(reason)}}
        lower, upper = found["lower"], found["upper"]
        note = (
            f"on {n} examples that the model made, log p(x) lies between {float(lower.mean()):.4f} and "
            f"{float(upper.mean()):.4f} on average: so far can annealing like this be off, on data like the model's own"
        )
        ends = {"lower_bound": float(lower.mean()), "upper_bound": float(upper.mean()), "note": note}
        return {"ais_gap": estimate(upper - lower) | ends}
