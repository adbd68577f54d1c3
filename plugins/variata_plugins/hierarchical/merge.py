r"""The product of two Gaussians, normalised: what two independent messages say together,

    N(z; m, s^2) N(z; u, v^2) / integral  =  N(z; mu, sigma^2),

    1 / sigma^2 = 1 / s^2 + 1 / v^2,
    mu = (m / s^2 + u / v^2) sigma^2 = u + w (m - u),      w = sigmoid(log v^2 - log s^2),

in logarithms, so that neither a sharp law nor a wide one overflows.
"""

from __future__ import annotations

import torch

from variata import DiagonalNormal


def merged(first: DiagonalNormal, second: DiagonalNormal) -> DiagonalNormal:
    """The normalised product of two diagonal Gaussians over the same values."""
    share = (second.logvar - first.logvar).sigmoid()
    logvar = -torch.logaddexp(-first.logvar, -second.logvar)
    return DiagonalNormal(torch.lerp(second.mu, first.mu, share), logvar, first.event_dims)
