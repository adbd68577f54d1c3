r"""What networks see of an example. Where its elements are numbers of one kind, and none is missing, the example
itself; so too a string of tokens. Of the row of a table, for each column

    numeric       its standardised value
    categorical   a one for its level among zeros
    count         log(1 + value) - log(1 + mean)

with zeros where it is missing, and, where values may be missing, a one for each column that is there. So nothing that a
network sees depends on what stands in the place of a missing value.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from .data import DataSpec


class Features(nn.Module):
    """The features of some data.

    Args:
        data: what an example is.

    Attributes:
        spec: what the features of one example are: `data` itself, or `(features,)` real numbers.
    """

    start: Tensor
    coded: Tensor
    counted: Tensor
    centre: Tensor

    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        self.spec, self._same, self._mask = data, data.regular or data.support == "tokens", data.missing
        if self._same:
            return
        widths = [len(column.levels) or 1 for column in data.columns]
        columns = len(widths)
        self._width = sum(widths)
        kinds = [column.kind for column in data.columns]
        for name, value in {
            "start": torch.tensor([sum(widths[:i]) for i in range(columns)]),
            "coded": torch.tensor([kind == "categorical" for kind in kinds]),
            "counted": torch.tensor([kind == "count" for kind in kinds]),
            "centre": torch.tensor([math.log1p(column.mean) * (column.kind == "count") for column in data.columns]),
        }.items():
            self.register_buffer(name, value, persistent=False)
        shape = (self._width + columns * self._mask,)
        limits = {"low": -math.inf, "high": math.inf, "levels": None, "measure": "lebesgue"}
        self.spec = replace(data, shape=shape, support="real", columns=(), missing=False, **limits)

    def forward(self, x: Tensor) -> Tensor:
        """`[*lead, *event]` -> `[*lead, *features]`."""
        if self._same:
            return x
        seen = ~x.isnan()
        x = x.masked_fill(~seen, 0.0)
        place = self.start + torch.where(self.coded, x, torch.zeros_like(x)).long()
        value = torch.where(self.counted, x.clamp(min=0).log1p() - self.centre.to(x.dtype), x)
        value = torch.where(self.coded, torch.ones_like(x), value) * seen
        features = x.new_zeros(*x.shape[:-1], self._width).scatter(-1, place, value)
        return torch.cat([features, seen.to(x.dtype)], dim=-1) if self._mask else features
