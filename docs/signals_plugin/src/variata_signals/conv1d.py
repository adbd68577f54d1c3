r"""Strided convolutions of a signal, then one linear layer: a stage takes n samples to ceil(n / 2)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import torch
from pydantic import AfterValidator, Field, PositiveInt
from torch import Tensor, nn

from variata import ConfigError, Network, Problem, Shape


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("must be odd, so that a stage halves a signal whatever its length")
    return value


class Conv1d(Network):
    """Convolutions with a GELU after each.

    Args:
        input: `(channels, length)`.
        output, condition: any shapes; y joins what the convolutions found.
        channels: of each stage.
        kernel: samples that a convolution sees, odd.

    Raises:
        ConfigError: the input is no signal.
    """

    def __init__(
        self,
        input: Shape,
        output: Shape,
        condition: Shape | None = None,
        *,
        channels: Annotated[Sequence[PositiveInt], Field(min_length=1)] = (16, 32, 32),
        kernel: Annotated[PositiveInt, AfterValidator(_odd)] = 5,
    ) -> None:
        super().__init__(input, output, condition)
        if len(input) != 2:
            raise ConfigError(Problem(f"conv1d reads signals (channels, length), and its input is {list(input)}"))
        length = input[1]
        self.stages = nn.ModuleList()
        for before, after in pairwise([input[0], *channels]):
            self.stages.append(nn.Conv1d(before, after, kernel, stride=2, padding=kernel // 2))
            length = (length + 1) // 2
        found = channels[-1] * length + (0 if condition is None else torch.Size(condition).numel())
        self.last = nn.Linear(found, torch.Size(output).numel())

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        for stage in self.stages:
            x = nn.functional.gelu(stage(x))
        h = x.flatten(1) if y is None else torch.cat([x.flatten(1), y.flatten(1)], 1)
        return self.last(h).unflatten(1, self.output)
