r"""Autoregressive maps: dimension i is moved by a monotonic map whose parameters depend on the dimensions before it.

    T(x)_i = t(x_i; theta_i(x_1, ..., x_(i-1), context)),      log |det| = sum_i log t'(x_i)

All theta_i come from one pass of a masked network (Germain, Gregor, Murray and Larochelle, 2015, MADE: Masked
Autoencoder for Distribution Estimation, arXiv:1502.03509), so T costs one pass, and its inverse one for each dimension.
Each step takes the dimensions in the order opposite to that of the step before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Size, Tensor, nn

from .bijection import Bijection
from .library import LazyComposedTransform, MaskedAutoregressiveTransform


class MaskedSteps(nn.Module):
    """Some autoregressive steps, one after the other.

    Args:
        features, context, steps, hidden: sizes of z, of the context, and of each step's network.
        univariate: t, of its parameters.
        shapes: of these parameters, for one dimension.
    """

    def __init__(
        self,
        features: int,
        context: int,
        *,
        steps: int,
        hidden: Sequence[int],
        univariate: Callable[..., Any],
        shapes: Sequence[tuple[int, ...]],
    ) -> None:
        super().__init__()
        order: Any = torch.arange(features)
        transforms = [
            MaskedAutoregressiveTransform(
                features,
                context,
                order=order.flip(0) if step % 2 else order,
                univariate=univariate,
                shapes=[Size(shape) for shape in shapes],
                hidden_features=tuple(hidden),
            )
            for step in range(steps)
        ]
        for transform in transforms:
            _start_at_the_identity(transform)
        self.transform = LazyComposedTransform(*transforms)

    def forward(self, context: Tensor | None) -> Bijection:
        """The map that costs one pass of each network forward."""
        return _OfTransform(self.transform(context))


@torch.no_grad()
def _start_at_the_identity(transform: nn.Module) -> None:
    """Parameters of zero make affine maps and splines the identity: the last layer of the network that gives them."""
    layers = [module for module in transform.modules() if isinstance(module, nn.Linear)]
    for parameter in layers[-1].parameters() if layers else transform.parameters():
        parameter.zero_()


class _OfTransform(Bijection):
    """A transformation as zuko has them: it gives value and determinant together."""

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def forward(self, start: Tensor) -> tuple[Tensor, Tensor]:
        return self.transform.call_and_ladj(start)

    def inverse(self, end: Tensor) -> tuple[Tensor, Tensor]:
        return self.transform.inv.call_and_ladj(end)
