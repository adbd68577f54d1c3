r"""Estimates of latent-variable models, held to a model whose evidence is known: x = W z + m + s e, z ~ N(0, I)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal

from variata import DataSpec, DiagonalNormal, LatentVariable, StandardNormal, Terms, rsample_and_kl
from variata.data import Batch, Split
from variata.estimates import EvaluationSettings, Moments, bits_per_dimension, estimate
from variata.evaluation import evaluate_model
from variata.latent import LatentEstimates
from variata.layer_estimates import mutual_information

F64 = torch.float64


class LinearGaussian(LatentVariable):
    """Probabilistic PCA with orthogonal columns, whose posterior is diagonal; q is that, shifted and widened.

    Args:
        shift, widen: of q's mean in its standard deviations, and of its log variance; zero gives the posterior.
    """

    def __init__(self, shift: float = 0.0, widen: float = 0.0, scales: tuple[float, ...] = (0.5, 1.0, 2.0)) -> None:
        data = 5
        super().__init__(DataSpec((data,), "real", measure="lebesgue", transform="drawn"))
        generator = torch.Generator().manual_seed(0)
        basis = torch.linalg.qr(torch.randn(data, len(scales), dtype=F64, generator=generator)).Q
        self.weights, self.noise = basis * torch.tensor(scales, dtype=F64), 0.7
        self.shift, self.widen = shift, widen

    def posterior(self, x: Tensor) -> DiagonalNormal:
        precision = self.weights.square().sum(0) + self.noise**2
        mean, logvar = x @ self.weights / precision, (self.noise**2 / precision).log()
        mean = mean + self.shift * (0.5 * logvar).exp()
        return DiagonalNormal(mean, (logvar + self.widen).expand_as(mean))

    def law(self, z: Tensor) -> Independent:
        return Independent(Normal(z @ self.weights.T, self.noise), 1)

    def terms(self, x, y=None, samples=None):
        q = self.posterior(x)
        layer = rsample_and_kl(q, StandardNormal(q.mu), samples)
        return Terms([layer], self.law(layer.z).log_prob(x), samples)

    def encode(self, x, y=None):
        return self.posterior(x).mean

    def decode(self, z, y=None):
        return self.law(z).mean

    def generate(self, n, condition=None):
        return self.law(torch.randn(n, self.weights.shape[1], dtype=F64))

    def log_evidence(self, x: Tensor) -> Tensor:
        covariance = self.weights @ self.weights.T + self.noise**2 * torch.eye(len(self.weights), dtype=F64)
        return MultivariateNormal(torch.zeros(len(covariance), dtype=F64), covariance).log_prob(x)


def evaluated(model: LinearGaussian, x: Tensor, samples: int, batch_size: int = 100) -> dict:
    split = Split(x, transform=lambda rows: rows)
    return evaluate_model(model, split, EvaluationSettings(samples=samples, batch_size=batch_size))


@pytest.fixture
def x() -> Tensor:
    return LinearGaussian().generate(300).sample()


@pytest.mark.parametrize("samples", [1, 2, 50])
def test_at_the_exact_posterior_every_estimate_is_the_evidence_without_error(x, samples):
    model = LinearGaussian()
    found = evaluated(model, x, samples)
    assert found["nll"]["value"] == pytest.approx(-float(model.log_evidence(x).mean()), abs=1e-10)
    assert found["gap"]["value"] == pytest.approx(0, abs=1e-10)
    assert found["effective_samples"]["value"] == pytest.approx(samples)
    if samples > 1:
        assert found["nll"]["monte_carlo_error"] == pytest.approx(0, abs=1e-7)
    else:
        assert "monte_carlo_error" not in found["nll"]


def test_the_estimate_falls_with_more_samples_and_stays_above_the_truth(x):
    model = LinearGaussian(shift=0.8, widen=0.4)
    found = [evaluated(model, x, samples) for samples in (1, 5, 50, 500)]
    values = [f["nll"]["value"] for f in found]
    truth = -float(model.log_evidence(x).mean())
    assert values == sorted(values, reverse=True)
    assert values[-1] > truth - 4 * found[-1]["nll"]["monte_carlo_error"]
    assert values[-1] == pytest.approx(truth, abs=0.02)
    assert all(f["gap"]["value"] >= 0 for f in found)
    assert found[0]["gap"]["value"] == pytest.approx(0, abs=1e-10)


class Sampled(LinearGaussian):
    """The same q as a law whose KL to the prior has no closed form here."""

    def terms(self, x, y=None, samples=None):
        q = self.posterior(x)
        law = MultivariateNormal(q.mean, torch.diag_embed(q.variance))
        layer = rsample_and_kl(law, StandardNormal(q.mu), samples)
        assert not layer.closed_form
        return Terms([layer], self.law(layer.z).log_prob(x), samples)


@pytest.mark.parametrize(("kind", "names"), [(LinearGaussian, ["nll", "elbo"]), (Sampled, ["nll", "elbo", "kl"])])
def test_the_errors_are_those_of_the_estimate(x, kind, names):
    """Over seeds the estimates spread as the Monte-Carlo error says; over examples as the standard error says."""
    model = kind(shift=0.6, widen=0.3)
    split = Split(x, transform=lambda rows: rows)
    found = [evaluate_model(model, split, EvaluationSettings(samples=100, seed=seed)) for seed in range(40)]
    for name in names:
        values = torch.tensor([f[name]["value"] for f in found])
        said = sum(f[name]["monte_carlo_error"] for f in found) / len(found)
        assert 0.65 < float(values.std()) / said < 1.45, name
    assert ("monte_carlo_error" in found[0]["kl"]) == ("kl" in names)
    evidence = model.log_evidence(x)
    assert found[0]["nll"]["standard_error"] == pytest.approx(float(evidence.std()) / math.sqrt(len(x)), rel=0.05)


def test_the_bound_and_its_terms_add_up(x):
    found = evaluated(LinearGaussian(shift=0.5), x, 30)
    assert found["elbo"]["value"] == pytest.approx(found["reconstruction"]["value"] - found["kl"]["value"], abs=1e-10)
    assert sum(found["kl_per_dimension"]["value"]) == pytest.approx(found["kl"]["value"], abs=1e-10)
    assert found["elbo"]["value"] <= -found["nll"]["value"]


@pytest.mark.parametrize("samples", [1, 7, 250])
def test_the_number_of_samples_is_honoured_exactly_and_memory_does_not_grow_with_it(x, samples, monkeypatch):
    monkeypatch.setattr("variata.latent._MOST_ROWS", 1000)
    asked: list[int] = []

    class Counting(LinearGaussian):
        def terms(self, x, y=None, samples=None):
            assert samples is not None
            asked.append(samples)
            return super().terms(x, y, samples)

    found = evaluated(Counting(), x, samples, batch_size=100)
    assert sum(asked[1:]) == 3 * samples
    assert max(asked) <= 10
    assert found["nll"]["samples"] == samples


def test_active_units_are_those_whose_mean_moves(x):
    found = evaluated(LinearGaussian(scales=(1e-3, 1.0, 0.0)), x, 2)
    assert (found["active_units"]["value"], found["active_units"]["of"]) == (1, 3)
    variance = LinearGaussian().encode(x).var(0, unbiased=False)
    kept = LatentEstimates(LinearGaussian(), 1, 0)
    for start in range(0, 300, 70):
        kept.add(Batch(x[start : start + 70]))
    torch.testing.assert_close(kept._means.variance, variance)


def test_the_mutual_information_and_the_rest_of_the_divergence(x):
    found = evaluated(LinearGaussian(), x, 5)
    total = found["mutual_information"]["value"] + found["aggregate_kl"]["value"]
    assert total == pytest.approx(found["kl"]["value"], abs=1e-9)
    assert 0 < found["mutual_information"]["value"] < found["mutual_information"]["at_most"] == math.log(300)


def test_the_mutual_information_of_few_posteriors_by_quadrature():
    """I(x; z) = sum_i 1/N integral q_i log (q_i / mean q)."""
    mean, logvar = torch.tensor([[-1.0], [0.4], [2.5]], dtype=F64), torch.tensor([[-1.0], [0.3], [-0.5]], dtype=F64)
    z = torch.linspace(-12, 12, 200_001, dtype=F64)
    density = torch.stack([Normal(m, (0.5 * v).exp()).log_prob(z).exp() for m, v in zip(mean, logvar, strict=True)])
    mixed = density.mean(0)
    exact = torch.trapezoid((density * (density / mixed).clamp(min=1e-300).log()).mean(0), z)
    draws = [
        mutual_information(mean, logvar, mean + (0.5 * logvar).exp() * torch.randn(3, 1, dtype=F64))
        for _ in range(20_000)
    ]
    got = torch.stack(draws).mean(1)
    assert abs(float(got.mean() - exact)) < 5 * float(got.std()) / math.sqrt(len(got))


def test_a_perfect_code_carries_the_logarithm_of_the_number_of_examples():
    mean = torch.arange(50, dtype=F64)[:, None] * 100
    carried = mutual_information(mean, torch.zeros_like(mean), mean)
    torch.testing.assert_close(carried, torch.full((50,), math.log(50), dtype=F64))
    none = mutual_information(torch.zeros(50, 2), torch.zeros(50, 2), torch.randn(50, 2))
    assert none.abs().max() < 1e-9


# Units


def test_bits_per_dimension():
    nll = estimate(torch.tensor([100.0, 200.0]), torch.tensor([4.0, 4.0]))
    levels = DataSpec((5, 10), "levels", levels=256)
    bits = bits_per_dimension(nll, levels)["bits_per_dim"]
    assert bits["value"] == pytest.approx(150 / (50 * math.log(2)))
    assert bits["standard_error"] == pytest.approx(nll["standard_error"] / (50 * math.log(2)))
    assert bits["monte_carlo_error"] == pytest.approx(math.sqrt(8) / 2 / (50 * math.log(2)))
    density = DataSpec((5, 10), "interval", levels=256, measure="lebesgue")
    assert bits_per_dimension(nll, density)["bits_per_dim"]["value"] == pytest.approx(bits["value"] + 8)
    centred = DataSpec((5, 10), "interval", levels=256, measure="lebesgue", low=-1.0)
    assert bits_per_dimension(nll, centred)["bits_per_dim"]["value"] == pytest.approx(bits["value"] + 7)
    assert bits_per_dimension(nll, DataSpec((5,), "real", measure="lebesgue")) == {}


def test_dequantised_levels_cost_what_the_levels_cost():
    """A density that is constant on every level has the bits per dimension of the levels' probabilities."""
    spec = DataSpec((3,), "interval", levels=4, measure="lebesgue", low=-1.0, high=3.0)
    probability = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=F64)
    level = torch.tensor([[0, 1, 3], [2, 2, 1]])
    of_levels = -probability[level].log().sum(1)
    of_density = -(probability[level] / 1.0).log().sum(1)  # each level is 4 / 4 = 1 wide
    as_levels = bits_per_dimension(estimate(of_levels), DataSpec((3,), "levels", levels=4))
    as_density = bits_per_dimension(estimate(of_density), spec)
    assert as_density["bits_per_dim"]["value"] == pytest.approx(as_levels["bits_per_dim"]["value"])


def test_moments_do_not_depend_on_batches():
    rows = torch.randn(101, 3, dtype=F64) + 1e6
    whole, parts = Moments(), Moments()
    whole.add(rows)
    for part in rows.split(13):
        parts.add(part)
    torch.testing.assert_close(parts.mean, whole.mean)
    torch.testing.assert_close(parts.variance, rows.var(0, unbiased=False), rtol=1e-9, atol=0)
    torch.testing.assert_close(parts.standard_error, rows.std(0) / math.sqrt(101), rtol=1e-9, atol=0)
