r"""The optimal denoiser of a Gaussian, whose mean and gain depend on what is above.

    g(z~, u) = (z~ - m(u)) v(u) + m(u),     m(u) = a1 sigmoid(a2 u + a3) + a4 u + a5, and v(u) alike

If z ~ N(m, s^2) given u, and z~ = z + noise N(0, t^2), then E[z | z~, u] is this with v = s^2 / (s^2 + t^2).

Rasmus, Valpola, Honkala, Berglund and Raiko (2015), arXiv:1507.02672, equation 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .combinator import Combinator


class GaussianCombinator(Combinator):
    """Ten numbers for each feature. It starts at zero, so that what is above is asked first.

    Args:
        features: of the layer.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        start = torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0])[:, None].repeat(1, features)
        self.mean, self.gain = nn.Parameter(start.clone()), nn.Parameter(start.clone())

    def forward(self, noisy: Tensor, above: Tensor) -> Tensor:
        mean = _curve(self.mean, above)
        return (noisy - mean) * _curve(self.gain, above) + mean


def _curve(a: Tensor, u: Tensor) -> Tensor:
    """a1 sigmoid(a2 u + a3) + a4 u + a5."""
    return torch.addcmul(a[4], a[3], u) + a[0] * torch.sigmoid(torch.addcmul(a[2], a[1], u))
