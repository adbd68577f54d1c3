r"""The partition function by enumeration: over the hidden states, or over the visible ones where they are fewer.

Z = sum_h exp(c' h) integral exp(-energy(v) + drive(v)' W h) dv  =  sum_v exp(-F(v))
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from variata import Unsupported

if TYPE_CHECKING:
    from .model import RBM

MOST_UNITS = 20
_CHUNK = 1 << 8


def log_partition(model: RBM) -> Tensor:
    """log Z in float64, from the side with fewer states.

    Raises:
        Unsupported: each side has more than 20 binary units.
    """
    visible, hidden = model.weight.shape
    if model.units.states == 2 and visible < min(hidden, MOST_UNITS + 1):
        return over_visible(model)
    if hidden <= MOST_UNITS:
        return over_hidden(model)
    raise Unsupported(
        f"log Z of {visible} visible and {hidden} hidden units is beyond enumeration "
        f"(at most {MOST_UNITS} binary units on one side): estimate it by annealing"
    )


def over_hidden(model: RBM) -> Tensor:
    """log sum_h exp(c' h + log integral)."""
    weight, bias = model.weight.double(), model.hidden_bias.double()
    return _log_sum(h @ bias + model.units.log_integral(h @ weight.T) for h in _states(weight.shape[1], weight))


def over_visible(model: RBM) -> Tensor:
    """log sum_v exp(-F(v))."""
    weight = model.weight.double()
    return _log_sum(-model.free_energy(v) for v in _states(weight.shape[0], weight))


def _states(units: int, like: Tensor) -> Iterator[Tensor]:
    """All 2^units binary vectors, in chunks `[n, units]`."""
    place = torch.arange(units, device=like.device)
    for start in range(0, 2**units, _CHUNK):
        number = torch.arange(start, min(start + _CHUNK, 2**units), device=like.device)
        yield (number[:, None] >> place & 1).to(like.dtype)


def _log_sum(chunks: Iterator[Tensor]) -> Tensor:
    return torch.stack([chunk.logsumexp(0) for chunk in chunks]).logsumexp(0)
