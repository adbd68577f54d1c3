"""Gaussian posteriors with covariances: divergences and densities against torch's, and the gap that they close."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal, kl_divergence

from test_identities import LinearGaussian
from variata import DataSpec, DiagonalNormal, StandardNormal, rsample_and_kl
from variata_plugins.posteriors.full import FullGaussianEncoder, FullNormal
from variata_plugins.posteriors.low_rank import LowRankGaussianEncoder, LowRankNormal
from variata_plugins.priors.mixture import DiagonalMixture

F64 = torch.float64


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=F64)


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def full(batch: int = 4, latent: int = 3) -> FullNormal:
    factor = normal(batch, latent, latent).tril(-1) + torch.diag_embed(normal(batch, latent).exp())
    return FullNormal(normal(batch, latent), scale_tril=factor, validate_args=False)


def low_rank(batch: int = 4, latent: int = 3) -> LowRankNormal:
    return LowRankNormal(normal(batch, latent), normal(batch, latent, 2), normal(batch, latent).exp())


def as_torch(q: Distribution) -> MultivariateNormal:
    if isinstance(q, DiagonalNormal):
        return MultivariateNormal(q.mean, torch.diag_embed(q.variance))
    return MultivariateNormal(q.mean, q.covariance_matrix)


@pytest.fixture(params=[full, low_rank])
def q(request):
    return request.param()


@pytest.mark.parametrize("standard", [True, False])
def test_the_divergence_from_a_diagonal_gaussian_is_that_of_torch(q, standard):
    p = StandardNormal(q.mean) if standard else DiagonalNormal(normal(4, 3), normal(4, 3))
    expected = kl_divergence(as_torch(q), as_torch(p))
    close(kl_divergence(q, p), expected)
    layer = rsample_and_kl(q, p, 5)
    assert layer.closed_form
    close(layer.kl, expected)


@pytest.mark.parametrize("samples", [None, 1, 5])
def test_a_draw_agrees_with_its_law(q, samples):
    layer = rsample_and_kl(q, StandardNormal(q.mean), samples)
    assert layer.z.shape == ((4, 3) if samples is None else (samples, 4, 3))
    close(layer.log_q(), as_torch(q).log_prob(layer.z))
    close(layer.log_q("parameters"), as_torch(q).log_prob(layer.z))
    close(layer.log_p, as_torch(StandardNormal(q.mean)).log_prob(layer.z))


def test_draws_have_the_mean_and_the_covariance_of_their_law(q):
    z = rsample_and_kl(q, StandardNormal(q.mean), 100_000).z
    assert (z.mean(0) - q.mean).abs().max() < 0.1
    deviation = z - z.mean(0)
    found = torch.einsum("sbi,sbj->bij", deviation, deviation) / len(z)
    assert (found - q.covariance_matrix).abs().max() < 0.03 * q.covariance_matrix.abs().max()


def test_the_divergence_from_a_mixture_is_taken_at_the_draw(q):
    p = DiagonalMixture(DiagonalNormal(normal(2, 3), normal(2, 3)), normal(2).log_softmax(-1))
    layer = rsample_and_kl(q, p, 5)
    assert not layer.closed_form
    close(layer.kl, as_torch(q).log_prob(layer.z) - p.log_prob(layer.z))


def test_constant_parameters_pass_gradients_to_z_alone(q):
    mean = q.mean.clone().requires_grad_()
    if isinstance(q, FullNormal):
        law = FullNormal(mean, scale_tril=q.scale_tril, validate_args=False)
    else:
        law = LowRankNormal(mean, q.cov_factor, q.cov_diag)
    layer = rsample_and_kl(law, StandardNormal(mean), None)
    path = torch.autograd.grad(layer.log_q("parameters").sum(), mean)[0]
    z = layer.z.detach().requires_grad_()
    close(path, torch.autograd.grad(as_torch(q).log_prob(z).sum(), z)[0])


def test_a_full_covariance_closes_the_gap_of_the_diagonal_one():
    model = LinearGaussian.random()
    exact = model.posterior
    q = FullNormal(exact.mean, scale_tril=exact.scale_tril, validate_args=False)
    elbo = model.exact(q).reconstruction - rsample_and_kl(q, model.prior).kl
    close(elbo, model.log_evidence)
    close(model.sampled(q, 6).log_weights(), model.log_evidence.expand(6, -1))
    assert (model.log_evidence - model.exact(model.best_diagonal()).elbo).min() > 1e-3


@pytest.mark.parametrize(("make", "numbers"), [(FullGaussianEncoder, 9), (LowRankGaussianEncoder, 18)])
def test_encoders_unpack_what_their_network_gives(make, numbers):
    encoder = make(DataSpec((5,), "real"), 3, None).to(F64)
    assert encoder.network.output == (numbers,)
    q = encoder(normal(7, 5))
    assert (q.batch_shape, q.event_shape) == ((7,), (3,))
    eigenvalues = torch.linalg.eigvalsh(q.covariance_matrix)
    assert eigenvalues.min() > 0
    off_diagonal = q.covariance_matrix - torch.diag_embed(q.variance)
    assert off_diagonal.abs().max() > 1e-6


def test_a_full_covariance_in_one_dimension():
    q = FullGaussianEncoder(DataSpec((5,), "real"), 1, None).to(F64)(normal(7, 5))
    assert rsample_and_kl(q, StandardNormal(q.mean), 3).z.shape == (3, 7, 1)
