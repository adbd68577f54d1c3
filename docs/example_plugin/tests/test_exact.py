"""The divergence is the integral that it stands for."""

from itertools import pairwise

import pytest
import torch
from torch.distributions import Laplace, Normal
from variata_sparse.laplace import FactorisedLaplace

from variata import DiagonalNormal, rsample_and_kl


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("s", [0.05, 1.0, 3.0])
@pytest.mark.parametrize("mean", [0.0, 0.3, -4.0])
def test_the_divergence_of_a_gaussian_from_a_laplace_law(mean, s, scale):
    mean, s, scale = (torch.tensor(value, dtype=torch.float64) for value in (mean, s, scale))
    # Simpson's rule on both sides of the corner at zero, where log p has no derivative.
    ends = sorted({float(mean - 12 * s), 0.0, float(mean + 12 * s)})
    expected = 0.0
    for low, high in pairwise(ends):
        z = torch.linspace(low, high, 4001, dtype=torch.float64)
        log_q = Normal(mean, s).log_prob(z)
        value = log_q.exp() * (log_q - Laplace(0 * scale, scale).log_prob(z))
        expected += float((value[0] + 4 * value[1::2].sum() + 2 * value[2:-1:2].sum() + value[-1]) * (z[1] - z[0]) / 3)
    q = DiagonalNormal(mean[None, None], 2 * s.log()[None, None])
    layer = rsample_and_kl(q, FactorisedLaplace(scale.log()[None]))
    assert layer.closed_form
    assert float(layer.kl) == pytest.approx(expected, rel=1e-8, abs=1e-9)
