r"""log p(x) of a latent-variable model by annealed importance sampling from p(z) to p(z | x), without a word from q.

    f_t(z) = p(z) p(x | z)^beta_t,  0 = beta_0 < ... < beta_T = 1
    log w  = sum_t (beta_(t+1) - beta_t) log p(x | z_t),   z_0 ~ p(z),  z_t by a Hamiltonian step that leaves f_t alone

Forwards E[w] = p(x), so that log mean w is a lower bound of log p(x) on average. Backwards, from an exact draw of
p(z | x), the same sum has E[1 / w] = p(x)^-1, so that -log mean (1 / w) is an upper bound. Such a draw is at hand for
data that the model itself made, (z, x) ~ p(z) p(x | z): there both bounds are taken, and what lies between them says
how far annealing with these settings can be off (bidirectional Monte Carlo).

Step sizes, one for each temperature, are found beforehand by chains of their own, towards an acceptance of 0.65, and
then held, so that no draw of an estimate has moved them. beta runs as a sigmoid, slowest at both ends.

Wu, Burda, Salakhutdinov and Grosse (2017), On the quantitative analysis of decoder-based generative models,
arXiv:1611.04273. Grosse, Ghahramani and Adams (2015), Sandwiching the marginal likelihood using bidirectional Monte
Carlo, arXiv:1511.02543. Neal (2001), Annealed importance sampling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor
from torch.distributions import Distribution, constraints

from variata import (
    Batch,
    Data,
    DataError,
    Estimate,
    EvaluationSettings,
    LatentVariable,
    Metric,
    Split,
    Unsupported,
    ancestral,
    bits_per_dimension,
    estimate,
    in_blocks,
    joint,
    log_likelihoods,
    measure_of,
    stage,
)

from .hmc import Evaluate, Point, transition
from .samples import device_of

_BLOCK = 32
_PILOT, _PILOT_CHAINS, _TRIES = 16, 4, 4
_ACCEPTED, _RATE, _FIRST_SIZE = 0.65, 1.0, 0.1
_STEEPNESS = 4.0

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Annealing:
    """How it is done: `betas` `[T + 1]` from 0 to 1, the size of the Hamiltonian steps at each of those between
    `[T - 1]`, and how many leapfrog steps each takes."""

    betas: Sequence[float]
    sizes: Sequence[float]
    leapfrog: int


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
            return forward_bounds(model, _part(batch, part), how, self.chains, advance)

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
        batch = _part(batch, slice(0, _PILOT))
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
            z, made = simulate(model, _part(like, part))
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


class NoLikelihood(Unsupported):
    """The model's `Terms` do not say p(x | z), so that no x can be drawn together with its z."""


def sigmoid_schedule(steps: int) -> Tensor:
    """`[steps + 1]` values from 0 to 1, (s(u) - s(-d)) / (s(d) - s(-d)) for evenly spaced u from -d to d = 4."""
    ends = torch.linspace(-_STEEPNESS, _STEEPNESS, steps + 1, dtype=torch.float64).sigmoid()
    return (ends - ends[0]) / (ends[-1] - ends[0])


def _part(batch: Batch, part: slice) -> Batch:
    return Batch(batch.x[part], None if batch.y is None else batch.y[part])


def is_real(law: Distribution) -> bool:
    """Whether every real vector is a value of it."""
    support = law.support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support in (constraints.real, constraints.real_vector)


def start(model: LatentVariable, batch: Batch, chains: int) -> tuple[Point, Evaluate]:
    """Chains at draws from p(z), `[chains, batch, latent]` with all layers side by side, and what evaluates others.

    Raises:
        Unsupported: a layer's values are no real vectors, so that there is no slope to follow.
    """
    first = ancestral(model, batch.x, batch.y, chains)
    for law in first.priors:
        if not is_real(law):
            raise Unsupported(
                f"Hamiltonian steps move through real latents, and {type(law).__name__} has values of another kind"
            )
    shapes = [z.shape[2:] for z in first.z]
    widths = [shape.numel() for shape in shapes]

    @torch.enable_grad()
    def evaluate(z: Tensor) -> Point:
        z = z.detach().requires_grad_()
        layers = [part.unflatten(-1, shape) for part, shape in zip(z.split(widths, dim=-1), shapes, strict=True)]
        found = joint(model, batch.x, batch.y, layers)
        (prior,) = torch.autograd.grad(found.log_prior.sum(), z, retain_graph=True)
        (likelihood,) = torch.autograd.grad(found.log_likelihood.sum(), z)
        return Point(z.detach(), found.log_prior.detach(), found.log_likelihood.detach(), prior, likelihood)

    return evaluate(torch.cat([z.flatten(2) for z in first.z], dim=-1)), evaluate


def log_weights(
    evaluate: Evaluate, point: Point, how: Annealing, advance: Advance = lambda done: None
) -> tuple[Tensor, Tensor]:
    """log w of each chain from a start at p(z), and the mean probability of acceptance, `[chains, batch]` each."""
    total, accepted = torch.zeros_like(point.log_likelihood, dtype=torch.float64), 0.0
    for t, (now, then) in enumerate(zip(how.betas[:-1], how.betas[1:], strict=True)):
        total = total + (then - now) * point.log_likelihood.double()
        if t < len(how.sizes):
            point, probability = transition(evaluate, point, then, how.sizes[t], how.leapfrog)
            accepted = accepted + probability / len(how.sizes)
        advance(1)
    return total, torch.zeros_like(total) + (accepted if how.sizes else 1.0)


def reverse_log_weights(
    evaluate: Evaluate, point: Point, how: Annealing, advance: Advance = lambda done: None
) -> Tensor:
    """log w of each chain from a start at p(z | x): the same path, gone the other way, `[chains, batch]`."""
    total = torch.zeros_like(point.log_likelihood, dtype=torch.float64)
    for t in reversed(range(len(how.betas) - 1)):
        total = total + (how.betas[t + 1] - how.betas[t]) * point.log_likelihood.double()
        if t:
            point, _ = transition(evaluate, point, how.betas[t], how.sizes[t - 1], how.leapfrog)
        advance(1)
    return total


def forward_bounds(
    model: LatentVariable, batch: Batch, how: Annealing, chains: int, advance: Advance
) -> dict[str, Tensor]:
    """log mean w of each example, its variance by the delta method, and what became of its chains, `[batch]` each."""
    point, evaluate = start(model, batch, chains)
    weights, accepted = log_weights(evaluate, point, how, advance)
    effective = (2 * weights.logsumexp(0) - (2 * weights).logsumexp(0)).exp()
    spread = (1 / effective - 1 / chains).clamp(min=0) * (chains / (chains - 1) if chains > 1 else math.inf)
    return {
        "log_likelihood": weights.logsumexp(0) - math.log(chains),
        "variance": spread,
        "effective_samples": effective,
        "acceptance": accepted.mean(0),
    }


def upper_bounds(
    model: LatentVariable, batch: Batch, z: Sequence[Tensor], how: Annealing, chains: int, advance: Advance
) -> Tensor:
    """-log mean (1 / w) of each example, `[batch]`, from the z that it was made of, `[1, batch, *latent]` a layer."""
    _, evaluate = start(model, batch, 1)
    flat = torch.cat([layer.flatten(2) for layer in z], dim=-1)
    weights = reverse_log_weights(evaluate, evaluate(flat.repeat(chains, 1, 1)), how, advance)
    return math.log(chains) - (-weights).logsumexp(0)


def simulate(model: LatentVariable, like: Batch) -> tuple[tuple[Tensor, ...], Batch]:
    """(z, x) ~ p(z) p(x | z), as many as `like` has examples and given its y.

    Raises:
        NoLikelihood: the model does not say p(x | z).
    """
    made = ancestral(model, like.x, like.y, 1)
    if made.likelihood is None:
        raise NoLikelihood(f"{type(model).__name__} gives its Terms no likelihood to draw x from, so nothing was made")
    return made.z, Batch(made.likelihood.sample()[0], like.y)
