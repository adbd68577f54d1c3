r"""log p(x) of a latent-variable model by annealed importance sampling from p(z) to p(z | x), without a word from q.

    f_t(z) = p(z) p(x | z)^beta_t,  0 = beta_0 < ... < beta_T = 1
    log w  = sum_t (beta_(t+1) - beta_t) log p(x | z_t),   z_0 ~ p(z),  z_t by a Hamiltonian step that leaves f_t alone

Forwards E[w] = p(x), so that log mean w is a lower bound of log p(x) on average. Backwards, from an exact draw of
p(z | x), the same sum has E[1 / w] = p(x)^-1, so that -log mean (1 / w) is an upper bound. Such a draw is at hand for
data that the model itself made, (z, x) ~ p(z) p(x | z): there both bounds are taken, and what lies between them says
how far annealing with these settings can be off (bidirectional Monte Carlo).

beta runs as a sigmoid, slowest at both ends.

Wu, Burda, Salakhutdinov and Grosse (2017), On the quantitative analysis of decoder-based generative models,
arXiv:1611.04273. Grosse, Ghahramani and Adams (2015), Sandwiching the marginal likelihood using bidirectional Monte
Carlo, arXiv:1511.02543. Neal (2001), Annealed importance sampling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from variata import Batch, LatentVariable, Unsupported, ancestral, joint

from .hmc import Evaluate, Point, transition

_STEEPNESS = 4.0

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Annealing:
    """How it is done: `betas` `[T + 1]` from 0 to 1, the size of the Hamiltonian steps at each of those between
    `[T - 1]`, and how many leapfrog steps each takes."""

    betas: Sequence[float]
    sizes: Sequence[float]
    leapfrog: int


class NoLikelihood(Unsupported):
    """The model's `Terms` do not say p(x | z), so that no x can be drawn together with its z."""


def sigmoid_schedule(steps: int) -> Tensor:
    """`[steps + 1]` values from 0 to 1, (s(u) - s(-d)) / (s(d) - s(-d)) for evenly spaced u from -d to d = 4."""
    ends = torch.linspace(-_STEEPNESS, _STEEPNESS, steps + 1, dtype=torch.float64).sigmoid()
    return (ends - ends[0]) / (ends[-1] - ends[0])


def part_of(batch: Batch, part: slice) -> Batch:
    """Some rows of a batch."""
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
