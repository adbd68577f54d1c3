"""Parameters of a law that may depend on a vector: constants, or an affine function of it. Flows use them, too."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from variata import Shape


def as_vector(y: Tensor, condition: Shape) -> Tensor:
    """Labels `[batch]` or conditions `[batch, *condition]` as vectors `[batch, size]`.

    >>> as_vector(torch.tensor([2]), (3,))
    tensor([[0., 0., 1.]])
    """
    if y.is_floating_point():
        return y.flatten(1)
    return nn.functional.one_hot(y.long(), condition[0]).to(torch.get_default_dtype())


class Parameters(nn.Module):
    """Several tensors of parameters: `c + W h` for a vector h of features, `c` where there is none.

    Args:
        start: c of each tensor at the start.
        features: size of h; 0 for none.
        spread: standard deviation of W at the start.
    """

    def __init__(self, start: Sequence[Tensor], features: int = 0, *, spread: float = 0.0) -> None:
        super().__init__()
        self.shapes = [value.shape for value in start]
        constant = torch.cat([value.flatten() for value in start])
        self.constant = nn.Parameter(constant)
        self.weight = nn.Parameter(spread * torch.randn(len(constant), features)) if features else None

    def forward(self, h: Tensor | None = None) -> list[Tensor]:
        """h `[*lead, features]` -> a tensor `[*lead, *shape]` for each; without lead where there are no features."""
        values = self.constant
        if self.weight is not None:
            assert h is not None, "these parameters depend on a vector"
            values = nn.functional.linear(h.to(values.dtype), self.weight, values)
        parts = values.split([math.prod(shape) for shape in self.shapes], dim=-1)
        return [
            part.unflatten(-1, shape) if shape else part[..., 0] for part, shape in zip(parts, self.shapes, strict=True)
        ]
