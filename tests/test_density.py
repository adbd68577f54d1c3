"""Exact densities are evaluated exactly: probabilistic PCA on MNIST, whose maximum likelihood is known in closed form.

Tipping and Bishop (1999), Probabilistic principal component analysis.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from variata import DataSpec, Density
from variata.data import Split
from variata.estimates import EvaluationSettings
from variata.evaluation import evaluate_model
from variata_plugins.datasets.mnist import MNIST

F64 = torch.float64


class PPCA(Density):
    """N(mean, W W^T + s^2 I) at its maximum likelihood: s^2 is the mean of the discarded eigenvalues."""

    def __init__(self, x: Tensor, k: int) -> None:
        super().__init__(DataSpec(tuple(x.shape[1:]), "real", measure="lebesgue", transform="x / 255"))
        self.centre = x.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov(x.T, correction=0))
        self.noise = values[:-k].mean()
        self.kept, self.directions = values[-k:], vectors[:, -k:]

    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        centred = x.to(F64) - self.centre
        inside = centred @ self.directions
        residual = (centred.square().sum(1) - inside.square().sum(1)) / self.noise
        d, k = centred.shape[1], len(self.kept)
        logdet = self.kept.log().sum() + (d - k) * self.noise.log()
        return -0.5 * (d * math.log(2 * math.pi) + logdet + (inside.square() / self.kept).sum(1) + residual)


def evaluated(model: Density, x: Tensor) -> dict:
    return evaluate_model(model, Split(x, transform=lambda rows: rows), EvaluationSettings(batch_size=1000))


def test_a_density_gives_its_likelihood_and_no_estimate_beside_it():
    x = torch.randn(200, 6, dtype=F64) @ torch.randn(6, 6, dtype=F64)
    model = PPCA(x, 3)
    covariance = (model.directions * (model.kept - model.noise)) @ model.directions.T
    reference = MultivariateNormal(model.centre, covariance + model.noise * torch.eye(6, dtype=F64)).log_prob(x)
    torch.testing.assert_close(model.log_prob(x), reference)
    found = evaluated(model, x)
    assert set(found) == {"log_likelihood", "nll"}
    assert {f["kind"] for f in found.values()} == {"exact"}
    assert found["log_likelihood"]["value"] == pytest.approx(float(reference.mean()))
    assert found["nll"]["value"] == -found["log_likelihood"]["value"]
    assert found["nll"]["standard_error"] == pytest.approx(float(reference.std()) / math.sqrt(200))
    assert "monte_carlo_error" not in found["nll"]


@pytest.mark.slow
def test_probabilistic_pca_on_mnist(data_root):
    data = MNIST(root=data_root)
    train, test = (
        torch.cat([batch.x.flatten(1) for batch in data.split(split).batches(10_000)]).to(F64)
        for split in ("train", "test")
    )
    expected = {2: (12.428, 14.360), 10: (182.155, 186.024), 20: (299.758, 306.549), 50: (507.905, 517.603)}
    for k, (on_train, on_test) in expected.items():
        model = PPCA(train, k)
        assert evaluated(model, train)["log_likelihood"]["value"] == pytest.approx(on_train, abs=1e-3)
        assert evaluated(model, test)["log_likelihood"]["value"] == pytest.approx(on_test, abs=1e-3)
        closed_form = -0.5 * (
            784 * (math.log(2 * math.pi) + 1) + model.kept.log().sum() + (784 - k) * model.noise.log()
        )
        assert float(closed_form) == pytest.approx(on_train, abs=1e-3)
