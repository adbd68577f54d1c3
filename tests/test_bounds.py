r"""Multi-sample bounds and their gradients against the exact K-sample bound of a model in one dimension.

    z ~ N(0, 1), x ~ N(c z, 1), q(z | x) = N(m, exp l):    posterior N(c x / (1 + c^2), 1 / (1 + c^2))

The bound is an integral over K draws. One over a single draw is enough, since log S = int_0^inf (e^-t - e^-tS) dt/t:

    E log 1/K sum_k w_k = int (exp(-e^s) - phi(e^s)^K) ds - log K,    phi(t) = E_q[exp(-t w(z))]

Both integrands are smooth and vanish fast, so that sums over even grids give them to many digits, and autograd their
gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

import variata
from variata import (
    Batch,
    Clock,
    ConfigError,
    DataSpec,
    DiagonalNormal,
    Encoder,
    LatentVariable,
    Now,
    StandardNormal,
    Terms,
    Unsupported,
    rsample_and_kl,
)
from variata_plugins.bounds.ciwae import CIWAE
from variata_plugins.bounds.iwae import IWAE
from variata_plugins.bounds.miwae import MIWAE
from variata_plugins.bounds.piwae import PIWAE
from variata_plugins.bounds.weights import importance_weighted
from variata_plugins.optimization.schedules import Linear
from variata_plugins.posteriors.full import FullNormal
from variata_plugins.posteriors.low_rank import LowRankNormal

F64 = torch.float64
NOW = Now(Clock(0, 10, 100))
X = 1.0
DRAWS = 40_000


def as_diagonal(mean: Tensor, logvar: Tensor) -> DiagonalNormal:
    return DiagonalNormal(mean, logvar)


def as_full(mean: Tensor, logvar: Tensor) -> FullNormal:
    return FullNormal(mean, scale_tril=(0.5 * logvar).exp().unsqueeze(-1), validate_args=False)


def as_low_rank(mean: Tensor, logvar: Tensor) -> LowRankNormal:
    """Half of the variance from the factor, half from the diagonal."""
    half = 0.5 * logvar.exp()
    return LowRankNormal(mean, half.sqrt().unsqueeze(-1), half, validate_args=False)


class Line(LatentVariable):
    """The model above with parameters of its own for each of n examples, all of them x = 1: the gradients by a sum over
    the examples are n independent estimates. The prior's mean is `tie` m."""

    def __init__(
        self,
        n: int = 1,
        mean: float = 0.0,
        logvar: float = 0.0,
        slope: float = 1.0,
        tie: float = 0.0,
        law: Callable[[Tensor, Tensor], Distribution] = as_diagonal,
    ) -> None:
        super().__init__(DataSpec((1,), "real"))
        self.m = nn.Parameter(torch.full((n, 1), mean, dtype=F64))
        self.l = nn.Parameter(torch.full((n, 1), logvar, dtype=F64))
        self.c = nn.Parameter(torch.full((n, 1), slope, dtype=F64))
        self.tie, self.law = tie, law

    def terms(self, x, y=None, samples=None):
        q = self.law(self.m, self.l)
        p = DiagonalNormal(self.tie * self.m, torch.zeros_like(self.m)) if self.tie else StandardNormal(self.m)
        layer = rsample_and_kl(q, p, samples)
        return Terms([layer], DiagonalNormal(self.c * layer.z, torch.zeros_like(layer.z)).log_prob(x), samples)

    def encode(self, x, y=None):
        return self.m

    def decode(self, z, y=None):
        return self.c * z

    def generate(self, n, condition=None):
        raise AssertionError("not used")

    @property
    def batch(self) -> Batch:
        return Batch(torch.full((len(self.m), 1), X, dtype=F64))

    def gradients(self, loss: variata.OnePhaseLoss) -> list[Tensor]:
        """Of the bound with respect to m, l and c, `[n]` each."""
        total = loss(self, self.batch, NOW).total("sum")
        return [-gradient[:, 0] for gradient in torch.autograd.grad(total, (self.m, self.l, self.c))]


def exact_bound(samples: int, mean: Tensor, logvar: Tensor, slope: Tensor, tie: float = 0.0) -> Tensor:
    """The integral of the head of this file."""
    noise = torch.linspace(-9, 9, 1201, dtype=F64)
    density = torch.exp(-0.5 * noise.square())
    s = torch.linspace(-40, 45, 1701, dtype=F64)
    z = mean + (0.5 * logvar).exp() * noise
    prior = -0.5 * (z - tie * mean).square()
    likelihood = -0.5 * ((X - slope * z).square() + math.log(2 * math.pi))
    log_weights = prior + likelihood + 0.5 * (noise.square() + logvar)
    largest = log_weights.detach().max()
    phi = torch.exp(-s.exp()[:, None] * (log_weights - largest).exp()) @ (density / density.sum())
    integral = (torch.exp(-s.exp()) - phi**samples).sum() * (s[1] - s[0])
    return integral - math.log(samples) + largest


def exact_gradients(samples: int, mean: float, logvar: float, slope: float, tie: float = 0.0) -> list[Tensor]:
    point = [torch.tensor(value, dtype=F64, requires_grad=True) for value in (mean, logvar, slope)]
    return list(torch.autograd.grad(exact_bound(samples, *point, tie=tie), point))


def errors_away(estimates: Tensor, expected: Tensor) -> float:
    """How many standard errors the mean of independent estimates is away from `expected`."""
    return float((estimates.mean() - expected).abs() / (estimates.std() / math.sqrt(len(estimates))))


# The exact answers themselves


def test_the_exact_bound_has_its_known_values():
    point = [torch.tensor(value, dtype=F64) for value in (0.4, -0.3, 1.2)]
    evidence = -0.5 * (X**2 / (1 + 1.2**2) + math.log(2 * math.pi * (1 + 1.2**2)))
    # K = 1, in closed form; then any K at the exact posterior.
    distance = (X - 1.2 * 0.4) ** 2 + 1.2**2 * math.exp(-0.3)
    elbo = -0.5 * (distance + math.log(2 * math.pi)) - 0.5 * (0.4**2 + math.exp(-0.3) - 1 + 0.3)
    assert float(exact_bound(1, *point)) == pytest.approx(elbo, abs=1e-9)
    values = [float(exact_bound(samples, *point)) for samples in (1, 2, 5, 50)]
    assert values == sorted(values)
    assert values[-1] < evidence
    posterior = [torch.tensor(value, dtype=F64) for value in (1.2 / (1 + 1.2**2), -math.log(1 + 1.2**2), 1.2)]
    for samples in (1, 2, 5):
        assert float(exact_bound(samples, *posterior)) == pytest.approx(evidence, abs=1e-9)


# Gradients


@pytest.mark.parametrize("samples", [1, 5])
@pytest.mark.parametrize("gradient", ["total", "dreg"])
@pytest.mark.parametrize("law", [as_diagonal, as_full, as_low_rank])
def test_the_gradients_are_those_of_the_exact_bound(law, gradient, samples):
    model = Line(DRAWS, mean=0.0, logvar=0.3, slope=1.2, law=law)
    exact = exact_gradients(samples, 0.0, 0.3, 1.2)
    for estimates, expected in zip(model.gradients(IWAE(samples=samples, gradient=gradient)), exact, strict=True):
        assert errors_away(estimates, expected) < 4


def test_the_doubly_reparameterised_gradient_is_right_where_the_prior_shares_parameters_with_the_encoder():
    model = Line(DRAWS, mean=0.5, logvar=0.3, slope=1.2, tie=0.6)
    exact = exact_gradients(5, 0.5, 0.3, 1.2, tie=0.6)
    for estimates, expected in zip(model.gradients(IWAE(samples=5, gradient="dreg")), exact, strict=True):
        assert errors_away(estimates, expected) < 4


def test_sticking_the_landing_is_unbiased_for_one_sample_and_biased_for_five():
    exact = {samples: exact_gradients(samples, 0.0, 0.0, 1.0) for samples in (1, 5)}
    found = {samples: Line(DRAWS).gradients(IWAE(samples=samples, gradient="stl")) for samples in (1, 5)}
    for estimates, expected in zip(found[1], exact[1], strict=True):
        assert errors_away(estimates, expected) < 4
    by_mean, _, by_slope = found[5]
    assert float(exact[5][0]) == pytest.approx(0.111, abs=1e-3)
    assert float(by_mean.mean()) == pytest.approx(0.555, abs=5 * float(by_mean.std()) / math.sqrt(DRAWS) + 1e-3)
    assert errors_away(by_mean, exact[5][0]) > 50
    assert errors_away(by_slope, exact[5][2]) < 4  # the decoder's gradient has no bias


@pytest.mark.parametrize("law", [as_diagonal, as_full, as_low_rank])
@pytest.mark.parametrize("samples", [1, 5])
def test_at_the_exact_posterior_the_encoder_gradients_without_the_score_vanish(law, samples):
    slope = 1.2
    place = {"mean": slope * X / (1 + slope**2), "logvar": -math.log(1 + slope**2), "slope": slope}
    for gradient in ("stl", "dreg"):
        by_mean, by_logvar, by_slope = Line(50, **place, law=law).gradients(IWAE(samples=samples, gradient=gradient))
        assert by_mean.abs().max() < 1e-10
        assert by_logvar.abs().max() < 1e-10
        assert by_slope.abs().min() > 1e-10
    by_mean, by_logvar, by_slope = Line(50, **place, law=law).gradients(IWAE(samples=samples))
    assert by_mean.abs().median() > 1e-3
    assert by_logvar.abs().median() > 1e-3
    assert by_slope.abs().median() > 1e-3


def test_every_gradient_belongs_to_the_same_value():
    values = []
    for gradient in ("total", "stl", "dreg"):
        torch.manual_seed(3)
        model = Line(20, mean=0.3)
        values.append(float(IWAE(samples=4, gradient=gradient)(model, model.batch, NOW).total().detach()))
    assert values == pytest.approx([values[0]] * 3, abs=1e-12)


def test_no_gradient_is_needed_for_a_value():
    model = Line(20, mean=0.3)
    with torch.no_grad():
        assert IWAE(samples=4, gradient="dreg")(model, model.batch, NOW).total().isfinite()


class Uniform(torch.distributions.Uniform):
    """A law that does not say how its parameters could be held."""


def test_a_posterior_that_cannot_be_held_constant_is_refused():
    def law(mean: Tensor, logvar: Tensor) -> Distribution:
        return torch.distributions.Independent(Uniform(mean - logvar.exp(), mean + logvar.exp()), 1)

    model = Line(4, law=law)
    with pytest.raises(Unsupported, match="parameters held constant"):
        IWAE(samples=2, gradient="dreg")(model, model.batch, NOW)


# Groups


def value(loss: variata.OnePhaseLoss, seed: int = 0) -> float:
    torch.manual_seed(seed)
    model = Line(30, mean=0.3, logvar=-0.4)
    return float(loss(model, model.batch, NOW).total().detach())


@pytest.mark.parametrize("gradient", ["total", "dreg"])
def test_one_group_is_the_importance_weighted_bound(gradient):
    one, other = MIWAE(groups=1, samples=6, gradient=gradient), IWAE(samples=6, gradient=gradient)
    assert value(one) == value(other)
    gradients = []
    for loss in (one, other):
        torch.manual_seed(0)
        gradients.append(torch.stack(Line(30).gradients(loss)))
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


def test_groups_of_one_sample_are_the_mean_log_weight():
    torch.manual_seed(0)
    model = Line(30, mean=0.3, logvar=-0.4)
    expected = model.terms(model.batch.x, samples=6).log_weights().mean()
    assert value(MIWAE(groups=6, samples=1)) == pytest.approx(-float(expected.detach()), abs=1e-12)


@pytest.mark.parametrize("gradient", ["total", "dreg"])
def test_groups_have_the_expectation_and_the_gradient_of_one(gradient):
    model = Line(DRAWS // 4, mean=0.0, logvar=0.3, slope=1.2)
    loss = MIWAE(groups=4, samples=3, gradient=gradient)
    bound = loss(model, model.batch, NOW).metrics["miwae"].detach()
    point = [torch.tensor(v, dtype=F64) for v in (0.0, 0.3, 1.2)]
    assert errors_away(bound, exact_bound(3, *point)) < 4
    for estimates, expected in zip(model.gradients(loss), exact_gradients(3, 0.0, 0.3, 1.2), strict=True):
        assert errors_away(estimates, expected) < 4


class Learned(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor([0.3, -0.4], dtype=F64))

    def forward(self, x, y=None):
        mean, logvar = self.values.expand(len(x), 2).split(1, dim=-1)
        return DiagonalNormal(mean, logvar)


class WithEncoder(Line):
    """The same model; its posterior comes from an `Encoder`."""

    def __init__(self) -> None:
        super().__init__(30)
        self.m.requires_grad_(False)
        self.l.requires_grad_(False)
        self.encoder = Learned()

    def terms(self, x, y=None, samples=None):
        layer = rsample_and_kl(self.encoder(x), StandardNormal(self.m), samples)
        return Terms([layer], DiagonalNormal(self.c * layer.z, torch.zeros_like(layer.z)).log_prob(x), samples)


def phase_gradients(loss: variata.Loss, seed: int = 0) -> list[list[Tensor]]:
    model = WithEncoder()
    found = []
    for phase in loss.phases(model):
        torch.manual_seed(seed)
        objective = phase.loss(model, model.batch, NOW)
        found.append(list(torch.autograd.grad(objective.total(), list(phase.parameters))))
    return found


@pytest.mark.parametrize("gradient", ["total", "dreg"])
def test_the_encoder_follows_the_mean_bound_and_the_decoder_the_tight_one(gradient):
    model = WithEncoder()
    phases = PIWAE(groups=3, samples=2).phases(model)
    assert [[id(p) for p in phase.parameters] for phase in phases] == [[id(model.encoder.values)], [id(model.c)]]

    inner, outer = phase_gradients(PIWAE(groups=3, samples=2, gradient=gradient))
    torch.manual_seed(0)
    terms = model.terms(model.batch.x, samples=6)
    loss = -importance_weighted(terms, 3, gradient).mean()
    torch.testing.assert_close(inner, list(torch.autograd.grad(loss, [model.encoder.values])))
    torch.manual_seed(0)
    loss = -importance_weighted(model.terms(model.batch.x, samples=6)).mean()
    torch.testing.assert_close(outer, list(torch.autograd.grad(loss, [model.c])))


def test_one_group_moves_both_parts_by_the_importance_weighted_bound():
    inner, outer = phase_gradients(PIWAE(groups=1, samples=6))
    torch.manual_seed(0)
    model = WithEncoder()
    total = IWAE(samples=6)(model, model.batch, NOW).total()
    torch.testing.assert_close([*inner, *outer], list(torch.autograd.grad(total, [model.encoder.values, model.c])))


def test_a_model_without_an_encoder_is_refused():
    with pytest.raises(ConfigError, match="Line has none: use miwae"):
        PIWAE().phases(Line())


def test_the_mixture_of_bounds_and_its_limits():
    torch.manual_seed(0)
    model = Line(30, mean=0.3, logvar=-0.4)
    elbo = float(model.terms(model.batch.x, samples=6).elbo.mean().detach())
    assert value(CIWAE(beta=0.0, samples=6)) == value(IWAE(samples=6))
    assert value(CIWAE(beta=1.0, samples=6)) == pytest.approx(-elbo, abs=1e-12)
    expected = 0.3 * -elbo + 0.7 * value(IWAE(samples=6))
    assert value(CIWAE(beta=0.3, samples=6)) == pytest.approx(expected, abs=1e-12)
    assert value(CIWAE(beta=Linear(from_=1.0, to=0.0, steps=4), samples=6)) == pytest.approx(-elbo, abs=1e-6)


@pytest.mark.parametrize("beta", [-0.1, 1.1])
def test_a_share_outside_of_zero_to_one_is_refused(beta):
    with pytest.raises(ConfigError, match="share of the ELBO, between 0 and 1"):
        CIWAE(beta=beta)
