r"""Checks of distributions, whatever they come from: does the density integrate to one, do draws follow it, is the
divergence the divergence. Each raises `AssertionError` with the number that was seen.

    sum_x p(x) = 1                                                      what can be enumerated
    int p(z) dz = 1                                                     one or two real dimensions, by quadrature
    E_r[p(z) / r(z)] = 1 = E_p[r(z) / p(z)]                             anything, by a `reference` r that is known
    E_p[f(z) d/dz_i log p(z) + d/dz_i f(z)] = 0 for bounded smooth f    many real dimensions (Stein, 1972)
    KL(q || p) = E_q[log q(z) - log p(z)] >= 0                          by draws of q

Statistical checks allow five standard errors, and seed torch's generator for themselves. Each law has batch shape `[]`
or `[1]` and events of any shape.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Transform, biject_to, constraints

from ..data import DataSpec
from ..distributions import rsample_and_kl
from ..sequences import END, PADDING

DRAWS = 20_000
_MOST_STATES = 4096
_ERRORS = 5.0


class NotApplicable(Exception):
    """A check that says nothing here, with the reason."""


def seeded(draw: Callable[[], Tensor], seed: int = 0) -> Tensor:
    """What is drawn with torch's generator seeded, which is afterwards what it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return draw()


def check_seeds(draw: Callable[[], Tensor]) -> None:
    """A seed repeats a draw, and another one gives another."""
    first, again, other = (seeded(draw, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again), "two draws with one seed differ: draw from torch's generator alone"
    assert not torch.equal(first, other), "two draws with two seeds are equal: the sampler ignores torch's seed"


def check_law(law: Distribution, spec: DataSpec | None = None, reference: Distribution | None = None) -> None:
    """The density is normalised, and draws follow it, as far as that can be told of this law.

    Args:
        spec: of what the law is, where it is one of examples.
        reference: a law on the same set whose density, with respect to the same measure, is known to be right.

    Raises:
        NotApplicable: it cannot be told: give a reference, or fewer dimensions.
    """
    states = None if reference is not None else _states(law, spec)
    counted = spec is not None and spec.measure == "counting"
    small = not counted and states is None and _dimensions(law) <= 2
    if reference is None and states is None and not small and (counted or not _is_real(law)):
        raise NotApplicable("neither enumerable, nor of one or two dimensions, nor real: give a `reference` law")
    with torch.no_grad():
        drawn = seeded(lambda: law.sample((DRAWS,)))
        assert drawn.isfinite().all(), "draws that are not finite"
        if reference is not None:
            _check_against(law, drawn, reference)
        elif states is not None:
            _check_states(law, drawn, states)
        elif small:
            _check_quadrature(law, drawn)
        else:
            _check_stein(law, drawn)


def check_divergence(q: Distribution, p: Distribution) -> None:
    """KL(q || p) as `rsample_and_kl` gives it agrees with draws of q, and is not negative; log q that is kept from the
    draw is that of `log_prob`. Of several batches, each."""
    with torch.no_grad():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            layer = rsample_and_kl(q, p, DRAWS // 5)
        log_q = q.log_prob(layer.z)
        kept = layer.log_q()
        assert torch.allclose(kept, log_q, atol=1e-2, rtol=1e-3), (
            f"log q kept from the draw is not that of log_prob (they differ by {(kept - log_q).abs().max():.3g})"
        )
        ratio = (log_q - p.log_prob(layer.z)).double()
        mean, error = ratio.mean(0), _ERRORS * ratio.std(0) / math.sqrt(len(ratio)) + 1e-3
        assert (mean > -error).all(), (
            f"E_q[log q - log p] is {mean.min():.3g}, and a divergence is not negative: is a density off by a constant?"
        )
        if layer.closed_form:
            kl = layer.kl.double().expand_as(mean)
            worst = int((kl - mean).abs().sub(error).flatten().argmax())
            said, seen = float(kl.flatten()[worst]), float(mean.flatten()[worst])
            assert (kl > -1e-4).all(), (
                f"KL(q || p) is {kl.min():.3g}, and a divergence is not negative: is its sign wrong?"
            )
            assert ((kl - mean).abs() < error + 1e-3 * mean.abs()).all(), (
                f"KL(q || p) in closed form is {said:.4g}, but {seen:.4g} by {len(ratio)} draws of q"
            )


def log_prob_of(law: Distribution, values: Tensor) -> Tensor:
    """log p of many values `[n, *event]`, `[n]`, of a law of batch shape `[]` or `[1]`."""
    return law.log_prob(values.unflatten(0, (len(values), *law.batch_shape))).reshape(-1)


def _states(law: Distribution, spec: DataSpec | None) -> Tensor | None:
    """Every value that the law can give, `[states, *event]`; None where there are too many to list, or no end."""
    if spec is not None and spec.measure == "counting" and spec.levels is not None:
        if spec.levels**spec.dimensions > _MOST_STATES:
            return None
        values = [spec.low + (spec.high - spec.low) * i / (spec.levels - 1) for i in range(spec.levels)]
        rows = list(itertools.product(values, repeat=spec.dimensions))
        if spec.support == "tokens":  # with one end, and nothing but padding after it
            rows = [row for row in rows if END in row and set(row[row.index(END) :]) <= {END, PADDING}]
            rows = [row for row in rows if row.count(END) == 1 and PADDING not in row[: row.index(END)]]
        return torch.tensor(rows, dtype=torch.get_default_dtype()).view(len(rows), *spec.shape)
    if spec is None and law.has_enumerate_support:
        return law.enumerate_support(expand=False).reshape(-1, *law.event_shape)
    base = _constraint(law)
    if spec is None and base is not None and base.is_discrete:
        drawn = seeded(lambda: law.sample((DRAWS,))).reshape(-1, *law.event_shape)
        seen = drawn.unique(dim=0)  # a law that gives another value now and then misses no more than its probability
        return seen if len(seen) <= _MOST_STATES else None
    return None


def _check_states(law: Distribution, drawn: Tensor, states: Tensor) -> None:
    p = log_prob_of(law, states).double().exp()
    total = float(p.sum())
    assert abs(total - 1) < 1e-3, f"probabilities of all {len(states)} values sum to {total:.4g}, and not to 1"
    flat, rows = drawn.reshape(len(drawn), 1, -1), states.reshape(1, len(states), -1)
    same = torch.cat([(part - rows).abs().amax(-1) < 1e-4 for part in flat.split(2000)])
    assert same.any(1).all(), f"draws that are none of the {len(states)} possible values"
    error = _ERRORS * (p * (1 - p) / len(drawn)).sqrt() + 2 / len(drawn)
    off = ((frequency := same.double().mean(0)) - p).abs() - error
    worst = int(off.argmax())
    assert off[worst] < 0, (
        f"of {len(drawn)} draws a share of {frequency[worst]:.4f} has a value whose probability is {p[worst]:.4f}: "
        "sample and log_prob are two laws"
    )


def _check_quadrature(law: Distribution, drawn: Tensor) -> None:
    """By the trapezoidal rule in t, z = T(m + s sinh t): accurate for smooth densities, also heavy-tailed ones."""
    transform: Any = _transform(law)
    flat = transform.inv(drawn.double()).reshape(len(drawn), -1)
    dimensions = flat.shape[1]
    middle = flat.median(0).values
    scale = (flat.quantile(0.84, dim=0) - flat.quantile(0.16, dim=0)).clamp(min=1e-6) / 2
    end, points = (math.asinh(1e4), 8001) if dimensions == 1 else (math.asinh(300.0), 501)
    t = torch.linspace(-end, end, points, dtype=torch.float64)
    axes = [middle[i] + scale[i] * t.sinh() for i in range(dimensions)]
    weights = [scale[i] * t.cosh() * (t[1] - t[0]) for i in range(dimensions)]
    grid = torch.cartesian_prod(*axes).reshape(-1, dimensions)
    log_weight = torch.stack(torch.meshgrid(*(w.log() for w in weights), indexing="ij")).sum(0).reshape(-1)
    u = grid.reshape(-1, *transform.inv(drawn[:1]).shape[1 + len(law.batch_shape) :])
    z = transform(u)
    log_volume = transform.log_abs_det_jacobian(u, z).reshape(len(u), -1).sum(1)
    rounded = z.to(drawn.dtype)
    inside = transform.inv(rounded.double()).isfinite().reshape(len(u), -1).all(1)  # not rounded onto the boundary
    log_p = torch.cat([log_prob_of(law, part) for part in rounded.split(65_536)]).double()
    mass = torch.where(inside, (log_p + log_volume + log_weight).exp(), 0.0)
    total = float(mass.sum())
    assert abs(total - 1) < 0.02, f"the density integrates to {total:.4g}, and not to 1"
    for direction in (torch.eye(dimensions), torch.ones(1, dimensions))[: dimensions or 1]:
        for row, frequency in itertools.product(direction.double(), (0.5, 1.0, 2.0)):
            wave = row / scale * frequency
            for name, function in (("cos", torch.cos), ("sin", torch.sin)):
                expected = float((mass * function((grid - middle) @ wave)).sum())
                seen = function((flat - middle) @ wave)
                error = _ERRORS * float(seen.std()) / math.sqrt(len(seen)) + 0.02 * 0.2
                assert abs(float(seen.mean()) - expected) < error, (
                    f"E[{name}(w'z)] is {expected:.4f} by the density and {seen.mean():.4f} by {len(seen)} draws: "
                    "sample and log_prob are two laws"
                )


def _check_against(law: Distribution, drawn: Tensor, reference: Distribution) -> None:
    from_reference = seeded(lambda: reference.sample((DRAWS,))).reshape(DRAWS, *law.event_shape)
    drawn = drawn.reshape(DRAWS, *law.event_shape)
    for values, above, below, what in (
        (from_reference, law, reference, "the density integrates to"),
        (drawn, reference, law, "draws, weighted by reference over density, add up to"),
    ):
        weight = (log_prob_of(above, values) - log_prob_of(below, values)).double().exp()
        mean, error = float(weight.mean()), _ERRORS * float(weight.std()) / math.sqrt(DRAWS) + 1e-3
        assert error < 0.5, f"the reference is too far from the law to say anything (standard error {error / 5:.2g})"
        assert abs(mean - 1) < error, f"{what} {mean:.4g} (by {DRAWS} draws), and not to 1"


def _check_stein(law: Distribution, drawn: Tensor) -> None:
    with torch.enable_grad():
        z = drawn.clone().requires_grad_()
        (score,) = torch.autograd.grad(law.log_prob(z).sum(), z)
    flat, score = drawn.reshape(len(drawn), -1).double(), score.reshape(len(drawn), -1).double()
    standard = (flat - flat.median(0).values) / flat.std(0).clamp(min=1e-6)
    f, slope = standard.tanh(), (1 - standard.tanh().square()) / flat.std(0).clamp(min=1e-6)
    for name, value in (("tanh(z)", f * score + slope), ("1", score)):
        mean, error = value.mean(0), _ERRORS * value.std(0) / math.sqrt(len(value)) + 1e-4
        worst = int((mean.abs() - error).argmax())
        assert (mean.abs() < error).all(), (
            f"E[f(z) d log p + d f] is {mean[worst]:.3g} for f = {name}, not 0: sample and log_prob are two laws"
        )


def _constraint(law: Distribution) -> constraints.Constraint | None:
    try:
        support = law.support
    except (NotImplementedError, AttributeError):
        return None
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support


def _is_real(law: Distribution) -> bool:
    return _constraint(law) in (None, constraints.real, constraints.real_vector)


def _dimensions(law: Distribution) -> float:
    """How many real numbers a value is made of; infinity where it is not."""
    if _is_real(law):
        return math.prod(law.event_shape)
    try:
        return math.prod(_transform(law).inverse_shape(law.event_shape))
    except (NotApplicable, NotImplementedError):
        return math.inf


def _transform(law: Distribution) -> Transform:
    """From real numbers to the law's support."""
    if _is_real(law):
        return torch.distributions.transforms.identity_transform
    try:
        return biject_to(law.support)
    except NotImplementedError as error:
        raise NotApplicable(
            f"{law.support} is no set that torch maps real numbers to: give a `reference` law"
        ) from error
