r"""What it costs a critic f to be steep:

    gradient_penalty   (|grad f(x^)| - 1)^2,   x^ = e x + (1 - e) x~ between an example and a generated one, e ~ U(0, 1)
    r1                 |grad f(x)|^2 / 2       at examples x of the data

Gulrajani, Ahmed, Arjovsky, Dumoulin and Courville (2017), Improved Training of Wasserstein GANs, arXiv:1704.00028.
Mescheder, Geiger and Nowozin (2018), Which Training Methods for GANs do actually Converge?, arXiv:1801.04406.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from pydantic import PositiveFloat
from torch import Tensor

Critic = Callable[[Tensor], Tensor]


class Penalty(ABC):
    """A price on the slopes of a critic, of which the loss takes `weight` times."""

    weight: float

    @abstractmethod
    def __call__(self, critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
        """The price for each example, `[batch]`; x and x~ are `[batch, *event]`, f's values `[batch]`."""


class GradientPenalty(Penalty):
    """One for each distance of a slope from 1, on the lines between the laws, where the best critic's slope is 1.

    Args:
        weight: of the penalty, lambda in the paper.
    """

    def __init__(self, *, weight: PositiveFloat = 10.0) -> None:
        self.weight = weight

    def __call__(self, critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
        share = torch.rand(len(real), *[1] * (real.ndim - 1), dtype=real.dtype, device=real.device)
        return (slopes(critic, share * real + (1 - share) * fake).flatten(1).norm(dim=1) - 1).square()


class R1(Penalty):
    """Slopes of zero at the data, where a critic has nothing to say once the laws are equal.

    Args:
        weight: of the penalty, gamma in the paper.
    """

    def __init__(self, *, weight: PositiveFloat = 10.0) -> None:
        self.weight = weight

    def __call__(self, critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * slopes(critic, real).flatten(1).square().sum(1)


def slopes(critic: Critic, x: Tensor) -> Tensor:
    """grad f(x), of x's shape, itself differentiable; of a critic that takes each example by itself."""
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return slope
