r"""The first form of the combinator: linear, and a sigmoid, each with the product of both inputs.

    g(z~, u) = l(z~, u; b) + c sigmoid(l(z~, u; w)),     l(z~, u; b) = b0 + b1 z~ + b2 u + b3 z~ u

Pezeshki, Fan, Brakel, Courville and Bengio (2016), Deconstructing the Ladder Network Architecture, arXiv:1511.06430,
section 3 ("vanilla").
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .combinator import Combinator


class VanillaCombinator(Combinator):
    """Nine numbers for each feature.

    Args:
        features: of the layer.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        start = torch.tensor([0.0, 1.0, 0.0, 0.0])[:, None].repeat(1, features)
        self.linear, self.inner = nn.Parameter(start.clone()), nn.Parameter(start.clone())
        self.outer = nn.Parameter(torch.zeros(features))

    def forward(self, noisy: Tensor, above: Tensor) -> Tensor:
        return _linear(self.linear, noisy, above) + self.outer * torch.sigmoid(_linear(self.inner, noisy, above))


def _linear(b: Tensor, z: Tensor, u: Tensor) -> Tensor:
    return b[0] + b[1] * z + b[2] * u + b[3] * z * u
