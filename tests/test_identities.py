r"""Exact answers, in float64, on models small enough to have them.

The model is x = W z + m + s e with z ~ N(0, I) (probabilistic PCA; Tipping and Bishop, 1999, Probabilistic principal
component analysis), whose posterior and evidence are Gaussians:

    p(z | x) = N(M^-1 W^T (x - m), s^2 M^-1),  M = W^T W + s^2 I,      p(x) = N(m, W W^T + s^2 I)

log p(x | z), log q(z) and log p(z) are quadratic in z, so that 2k points with the mean and the covariance of q give
their expectations exactly: no noise stands between `Terms` and the identity that it is held to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal, kl_divergence

from variata import DiagonalNormal, Layer, StandardNormal, Terms, Unsupported, rsample_and_kl

F64 = torch.float64


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=F64)


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def within_standard_errors(draws: Tensor, expected: Tensor, count: float = 5.0) -> None:
    """The mean of independent draws `[n, ...]` lies within `count` standard errors of its expectation."""
    error = draws.std(0) / math.sqrt(len(draws))
    distance = ((draws.mean(0) - expected).abs() / error).max()
    assert distance < count, f"{distance:.1f} standard errors"


@dataclass
class LinearGaussian:
    """The model above, with examples x drawn from it."""

    weights: Tensor
    offset: Tensor
    scale: float
    x: Tensor

    @classmethod
    def random(cls, *, orthogonal: bool = False, data: int = 5, latent: int = 3, batch: int = 4) -> LinearGaussian:
        weights, offset, scale = normal(data, latent), normal(data), 0.7
        if orthogonal:
            weights = torch.linalg.qr(weights).Q * torch.tensor([0.5, 1.0, 2.0], dtype=F64)
        x = normal(batch, latent) @ weights.T + offset + scale * normal(batch, data)
        return cls(weights, offset, scale, x)

    @property
    def precision(self) -> Tensor:
        """M, `[latent, latent]`: s^2 times the posterior's precision."""
        return self.weights.T @ self.weights + self.scale**2 * torch.eye(self.weights.shape[1], dtype=F64)

    @property
    def posterior(self) -> MultivariateNormal:
        inverse = torch.linalg.inv(self.precision)
        return MultivariateNormal((self.x - self.offset) @ self.weights @ inverse, self.scale**2 * inverse)

    @property
    def log_evidence(self) -> Tensor:
        covariance = self.weights @ self.weights.T + self.scale**2 * torch.eye(len(self.offset), dtype=F64)
        return MultivariateNormal(self.offset, covariance).log_prob(self.x)

    @property
    def prior(self) -> StandardNormal:
        return StandardNormal(torch.zeros(self.weights.shape[1], dtype=F64))

    def best_diagonal(self) -> DiagonalNormal:
        """The q with a diagonal covariance that is closest to the posterior: its mean, and variances s^2 / M_jj."""
        mean = self.posterior.mean
        return DiagonalNormal(mean, (self.scale**2 / self.precision.diagonal()).log().expand_as(mean))

    def log_likelihood(self, z: Tensor) -> Tensor:
        decoded = z @ self.weights.T + self.offset
        return DiagonalNormal(decoded, torch.full_like(decoded, 2 * math.log(self.scale))).log_prob(self.x)

    def sampled(self, q: Distribution, samples: int | None) -> Terms:
        layer = rsample_and_kl(q, self.prior, samples)
        return Terms([layer], self.log_likelihood(layer.z), samples)

    def exact(self, q: Distribution) -> Terms:
        """The terms at 2k points that have q's mean and covariance: expectations of quadratics are exact."""
        factor = q.scale_tril if isinstance(q, MultivariateNormal) else torch.diag_embed(q.stddev)
        latent = factor.shape[-1]
        steps = math.sqrt(latent) * factor.movedim(-1, 0)
        z = torch.cat([q.mean + steps, q.mean - steps])
        kl = kl_divergence(q, self.prior) if isinstance(q, DiagonalNormal) else None
        return Terms([Layer(z, q, self.prior, kl=kl)], self.log_likelihood(z), len(z))


def as_torch(q: DiagonalNormal) -> MultivariateNormal:
    return MultivariateNormal(q.mean, torch.diag_embed(q.variance))


@pytest.fixture
def model() -> LinearGaussian:
    return LinearGaussian.random()


# The identity and the bound


def test_the_elbo_of_the_exact_posterior_is_the_evidence(model):
    close(model.exact(model.posterior).elbo, model.log_evidence)
    close(model.sampled(model.posterior, 7).elbo, model.log_evidence)
    close(model.sampled(model.posterior, None).elbo, model.log_evidence)


def test_the_gap_of_the_elbo_is_the_divergence_to_the_posterior(model):
    diagonal = DiagonalNormal(normal(4, 3), normal(4, 3))
    close(model.exact(diagonal).elbo, model.log_evidence - kl_divergence(as_torch(diagonal), model.posterior))

    factor = normal(4, 3, 3).tril(-1) + torch.diag_embed(normal(4, 3).exp())
    full = MultivariateNormal(normal(4, 3), scale_tril=factor)
    close(model.exact(full).elbo, model.log_evidence - kl_divergence(full, model.posterior))


def test_the_best_diagonal_posterior_and_its_gap(model):
    mean = model.best_diagonal().mu.clone().requires_grad_()
    logvar = model.best_diagonal().logvar.clone().requires_grad_()
    elbo = model.exact(DiagonalNormal(mean, logvar)).elbo

    gap = 0.5 * (model.precision.diagonal().log().sum() - torch.linalg.slogdet(model.precision).logabsdet)
    assert gap > 1e-3
    close(model.log_evidence - elbo, gap.expand(4))
    for gradient in torch.autograd.grad(elbo.sum(), (mean, logvar)):
        close(gradient, torch.zeros_like(gradient))


def test_a_diagonal_posterior_has_no_gap_where_the_columns_are_orthogonal():
    """Lucas, Tucker, Grosse and Norouzi (2019), Don't Blame the ELBO!, arXiv:1911.02469."""
    model = LinearGaussian.random(orthogonal=True)
    close(model.exact(model.best_diagonal()).elbo, model.log_evidence)


def test_the_terms_add_up(model):
    terms = model.sampled(DiagonalNormal(normal(4, 3), normal(4, 3)), 6)
    close(terms.elbo, terms.reconstruction - terms.kl)
    close(terms.metrics()["elbo"], terms.elbo)
    close(terms.log_weights(), terms.log_likelihood + terms.layers[0].log_p - terms.layers[0].log_q())


@pytest.mark.parametrize("closed_form", [True, False], ids=["closed-form KL", "sampled KL"])
def test_the_sampled_elbo_is_unbiased(model, closed_form):
    q = DiagonalNormal(normal(4, 3), 0.5 * normal(4, 3))
    exact = model.exact(q).elbo
    draws = []
    for seed in range(500):
        torch.manual_seed(seed)
        terms = model.sampled(q if closed_form else as_torch(q), None)
        assert terms.layers[0].closed_form == closed_form
        draws.append(terms.elbo)
    within_standard_errors(torch.stack(draws), exact)


# Several samples


def importance_weighted(terms: Terms) -> Tensor:
    """log 1/K sum_k p(x, z_k) / q(z_k | x), `[batch]`."""
    weights = terms.log_weights()
    return weights.logsumexp(0) - math.log(len(weights))


def test_the_importance_weighted_bound_rises_with_k_and_stays_below_the_evidence():
    """Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders, arXiv:1509.00519, theorem 1."""
    model = LinearGaussian.random(batch=1)
    best = model.best_diagonal()
    q = DiagonalNormal(best.mu + 0.8 * best.stddev, best.logvar + 0.3)
    many = DiagonalNormal(q.mu.expand(20_000, -1), q.logvar.expand(20_000, -1))
    bounds = [importance_weighted(model.sampled(many, samples)) for samples in (1, 2, 5, 20, 100)]

    within_standard_errors(bounds[0], model.exact(q).elbo)
    errors = [bound.std() / math.sqrt(len(bound)) for bound in bounds]
    for i in range(len(bounds) - 1):
        rise = bounds[i + 1].mean() - bounds[i].mean()
        assert rise > 5 * (errors[i].square() + errors[i + 1].square()).sqrt()
    assert bounds[-1].mean() < model.log_evidence + 5 * errors[-1]
    within_standard_errors(bounds[0].exp(), model.log_evidence.exp())  # the weights' mean is p(x), without bias


@pytest.mark.parametrize("samples", [1, 2, 50])
def test_at_the_exact_posterior_every_weight_is_the_evidence(samples):
    model = LinearGaussian.random(orthogonal=True)
    for q in (model.posterior, model.best_diagonal()):
        terms = model.sampled(q, samples)
        close(terms.log_weights(), model.log_evidence.expand(samples, -1))
        close(importance_weighted(terms), model.log_evidence)


def test_at_the_exact_posterior_the_gradient_with_constant_parameters_is_zero():
    """Roeder, Wu and Duvenaud (2017), Sticking the Landing, arXiv:1703.09194."""
    model = LinearGaussian.random(orthogonal=True)
    best = model.best_diagonal()
    mean, logvar = best.mu.clone().requires_grad_(), best.logvar.clone().requires_grad_()
    terms = model.sampled(DiagonalNormal(mean, logvar), 5)
    for gradient in torch.autograd.grad(terms.log_weights(stop="parameters").sum(), (mean, logvar), retain_graph=True):
        close(gradient, torch.zeros_like(gradient))
    # With their score the total is still zero, since every weight is log p(x); the two parts are not.
    plain = torch.autograd.grad(terms.log_weights().sum(), (mean, logvar), retain_graph=True)
    score = torch.autograd.grad((terms.layers[0].log_q() - terms.layers[0].log_q("parameters")).sum(), (mean, logvar))
    for total, part in zip(plain, score, strict=True):
        close(total, -part)
        assert part.abs().min() > 1e-3


# Divergences of diagonal Gaussians


def test_the_closed_forms_agree_with_torch():
    q = DiagonalNormal(normal(6, 4), normal(6, 4))
    p = DiagonalNormal(normal(6, 4), normal(6, 4))
    reference = {law: Independent(Normal(law.mean, law.stddev), 1) for law in (q, p)}
    standard = Independent(Normal(torch.zeros(4, dtype=F64), torch.ones(4, dtype=F64)), 1)

    close(kl_divergence(q, p), kl_divergence(reference[q], reference[p]))
    close(kl_divergence(q, StandardNormal(q.mu)), kl_divergence(reference[q], standard))
    close(
        kl_divergence(q, DiagonalNormal(torch.zeros(4, dtype=F64), torch.zeros(4, dtype=F64))),
        kl_divergence(q, StandardNormal(q.mu)),
    )
    z = normal(6, 4)
    close(q.log_prob(z), reference[q].log_prob(z))
    close(StandardNormal(q.mu).log_prob(z), standard.log_prob(z))
    close(q.entropy(), reference[q].entropy())


@pytest.mark.parametrize("samples", [None, 1, 3])
@pytest.mark.parametrize("standard", [True, False])
def test_the_drawn_layer_agrees_with_its_distributions(samples, standard):
    q = DiagonalNormal(normal(6, 4), normal(6, 4))
    p = StandardNormal(q.mu) if standard else DiagonalNormal(normal(6, 4), normal(6, 4))
    layer = rsample_and_kl(q, p, samples)
    assert layer.z.shape == ((6, 4) if samples is None else (samples, 6, 4))
    assert layer.closed_form
    close(layer.kl, kl_divergence(q, p))
    close(layer.kl_per_dimension().sum(-1), layer.kl)
    close(layer.log_q(), q.log_prob(layer.z))
    close(layer.log_q("parameters"), q.log_prob(layer.z))
    close(layer.log_p, p.log_prob(layer.z))


def test_a_divergence_without_dimensions_says_so(model):
    with pytest.raises(Unsupported, match="MultivariateNormal"):
        model.sampled(model.posterior, None).layers[0].kl_per_dimension()


@pytest.mark.parametrize("standard", [True, False])
def test_the_closed_form_agrees_with_monte_carlo(standard):
    q = DiagonalNormal(normal(4), normal(4))
    p = StandardNormal(q.mu) if standard else DiagonalNormal(normal(4), normal(4))
    layer = rsample_and_kl(q, p, 100_000)
    within_standard_errors(layer.log_q() - layer.log_p, layer.kl)


def divergence(mean: Tensor, sigma: Tensor) -> Tensor:
    """KL(N(mean, sigma^2) || N(0, 1)) of each element."""
    q = DiagonalNormal(mean[..., None], 2 * sigma.log()[..., None])
    return kl_divergence(q, StandardNormal(q.mu))


def misprinted_divergence(mean: Tensor, sigma: Tensor) -> Tensor:
    """1/2 [sigma^2 + mean^2 - 1 - log sigma]: the logarithm of a standard deviation, where a variance belongs."""
    return 0.5 * (sigma.square() + mean.square() - 1 - sigma.log())


def test_the_divergence_is_zero_only_at_the_prior_and_positive_elsewhere():
    mean, sigma = torch.meshgrid(
        torch.linspace(-3, 3, 61, dtype=F64), torch.linspace(0.05, 4, 80, dtype=F64), indexing="ij"
    )
    at_prior = (mean.abs() < 1e-9) & ((sigma - 1).abs() < 1e-9)
    assert at_prior.sum() == 1
    assert divergence(mean, sigma)[at_prior].abs() < 1e-15
    assert (divergence(mean, sigma)[~at_prior] > 1e-4).all()

    one = torch.ones((), dtype=F64)
    zero = torch.zeros((), dtype=F64)
    gradient = torch.autograd.functional.jacobian(divergence, (zero, one))
    close(torch.stack(gradient), torch.zeros(2, dtype=F64))
    curvature = torch.autograd.functional.hessian(lambda m, s: divergence(m, s), (zero, one))
    close(torch.tensor(curvature, dtype=F64), torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=F64))


def test_the_misprinted_divergence_is_told_apart():
    zero = torch.zeros((), dtype=F64)
    sigma = torch.tensor(math.sqrt(0.5), dtype=F64)
    close(torch.autograd.functional.jacobian(lambda s: misprinted_divergence(zero, s), sigma), zero)
    lowest = 0.25 * math.log(2) - 0.25
    assert round(lowest, 4) == -0.0767
    close(misprinted_divergence(zero, sigma), torch.tensor(lowest, dtype=F64))

    assert divergence(zero, sigma) > 0.09
    mean, sigmas = normal(50), normal(50).exp()
    close(misprinted_divergence(mean, sigmas) - divergence(mean, sigmas), 0.5 * sigmas.log())


# The reparameterised sample


def draws(mean: Tensor, logvar: Tensor, samples: int | None) -> dict[str, Tensor]:
    shape = () if samples is None else (samples,)
    layer = rsample_and_kl(DiagonalNormal(mean, logvar), StandardNormal(mean), samples)
    return {"rsample": DiagonalNormal(mean, logvar).rsample(shape), "rsample_and_kl": layer.z}


def test_the_spread_of_a_sample_is_sigma_also_where_the_mean_is_zero():
    mean = torch.tensor([0.0, 0.0, 2.0], dtype=F64)
    sigma = torch.tensor([0.5, 3.0, 0.1], dtype=F64)
    for z in draws(mean, 2 * sigma.log(), 100_000).values():
        within_standard_errors(z, mean)
        within_standard_errors((z - mean).square(), sigma.square())


@pytest.mark.parametrize("samples", [None, 4])
def test_the_gradients_of_a_sample(samples):
    mean, logvar = normal(5, 3).requires_grad_(), normal(5, 3).requires_grad_()
    for z in draws(mean, logvar, samples).values():
        upstream = torch.randn_like(z)
        by_mean, by_logvar = torch.autograd.grad(z, (mean, logvar), upstream)
        noise = (z - mean) / (0.5 * logvar).exp()
        expected = upstream * 0.5 * (0.5 * logvar).exp() * noise
        close(by_mean, upstream if samples is None else upstream.sum(0))
        close(by_logvar, expected if samples is None else expected.sum(0))


def test_the_gradient_of_an_expectation_is_the_mean_gradient_of_samples():
    r"""d/d(mu, logvar) E[a z^2 + b z + c] = (2 a mu + b, a sigma^2)."""
    a, b, c = normal(3), normal(3), normal(3)
    mean, logvar = normal(3), normal(3)
    means, logvars = (value.expand(100_000, 3).clone().requires_grad_() for value in (mean, logvar))
    for z in draws(means, logvars, None).values():
        by_mean, by_logvar = torch.autograd.grad((a * z.square() + b * z + c).sum(), (means, logvars))
        within_standard_errors(by_mean, 2 * a * mean + b)
        within_standard_errors(by_logvar, a * logvar.exp())


# Whatever numbers a network gives


EXTREMES = (0.0, 1.0, -1.0, 80.0, -80.0, 1e30, -1e30, math.inf)  # inf stands for the largest finite number of the type


@pytest.mark.parametrize("standard", [True, False])
@pytest.mark.parametrize("samples", [None, 2])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_everything_is_finite_whatever_finite_numbers_a_network_gives(dtype, samples, standard):
    largest = torch.finfo(dtype).max
    values = torch.tensor(EXTREMES, dtype=F64).clamp(-largest, largest).to(dtype)
    # Each row pairs a mean and a log variance of q with a mean and a log variance of p.
    count = 2 if standard else 4
    rows = torch.cartesian_prod(*[values] * count)
    columns = [column[:, None].clone().requires_grad_() for column in rows.unbind(-1)]
    q = DiagonalNormal(columns[0], columns[1])
    p = StandardNormal(columns[0]) if standard else DiagonalNormal(columns[2], columns[3])

    layer = rsample_and_kl(q, p, samples)
    # A gradient beyond 65504 has no float16: there it is looked at in float32, before it is rounded on its way back.
    inputs = columns
    if dtype == torch.float16:
        inputs = [q.mu, q.logvar] if standard else [q.mu, q.logvar, p.mu, p.logvar]
    results = {
        "z": layer.z,
        "KL": layer.kl,
        "KL by torch's door": kl_divergence(q, p),
        "KL per dimension": layer.kl_per_dimension(),
        "log q": layer.log_q(),
        "log q with constant parameters": layer.log_q("parameters"),
        "log p": layer.log_p,
        "sample": q.rsample(),
        "entropy": q.entropy(),
        "standard deviation": q.stddev,
    }
    for name, result in results.items():
        assert result.isfinite().all(), name
        if result.requires_grad:
            gradients = torch.autograd.grad(result.sum(), inputs, retain_graph=True, allow_unused=True)
            assert all(gradient.isfinite().all() for gradient in gradients if gradient is not None), name
    assert (layer.kl >= 0).all()
