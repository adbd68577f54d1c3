r"""A combinator that is a small network of z~, u and their product, one for each feature.

    g(z~, u) = w0 + sum_k w_k act(b_k + c_k1 z~ + c_k2 u + c_k3 z~ u)

Pezeshki, Fan, Brakel, Courville and Bengio (2016), Deconstructing the Ladder Network Architecture, arXiv:1511.06430,
section 3 (the augmented MLP, "AMLP").
"""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from .combinator import Combinator


class AMLPCombinator(Combinator):
    """One hidden layer of leaky rectified units.

    Args:
        features: of the layer.
        hidden: units for each feature.
    """

    def __init__(self, features: int, *, hidden: PositiveInt = 4) -> None:
        super().__init__()
        inner = torch.randn(4, hidden, features) / 2  # of 1, z~, u and z~ u
        self.inner, self.outer = nn.Parameter(inner), nn.Parameter(torch.randn(hidden, features) / hidden)
        self.offset = nn.Parameter(torch.zeros(features))

    def forward(self, noisy: Tensor, above: Tensor) -> Tensor:
        z, u = noisy.unsqueeze(-2), above.unsqueeze(-2)
        one, of_z, of_u, of_both = self.inner
        units = leaky_relu(one + of_z * z + of_u * u + of_both * (z * u), 0.1)
        return (units * self.outer).sum(-2) + self.offset
