r"""What a struck body sounds like: modes that ring at frequencies of their own, and die away,

    x(t) = sum_{j=1}^{J} a_j e^{-t / tau_j} sin(2 pi f_j t) + sigma e(t),     t = 0, 1/n, ..., (n-1)/n,

    J ~ U{1, ..., modes},  a ~ U(1/2, 1),  f ~ U(1, n/8),  tau ~ U(0.1, 0.6),  e(t) ~ N(0, 1).

The law is N(., sigma^2) around a curve of 3 J numbers.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field, PositiveFloat, PositiveInt

from variata import Data, DataSpec, Seed, Share, Split, split_rows


class DampedOscillations(Data):
    """Signals of one channel; the label of one is its number of modes, from 0 for a single one.

    Args:
        length: n, samples of a signal.
        modes: the greatest J.
        noise: sigma, in units of x.
        examples: how many are drawn, all splits together.
        validation, test: signals that are held out, a number or a share.
        split_seed: of the draw and of the permutation that chooses them.
    """

    def __init__(
        self,
        *,
        length: Annotated[int, Field(ge=16)] = 64,
        modes: PositiveInt = 3,
        noise: PositiveFloat = 0.05,
        examples: PositiveInt = 5000,
        validation: Share = 0.1,
        test: Share = 0.1,
        split_seed: Seed = 0,
    ) -> None:
        self.spec = DataSpec(
            (1, length),
            "real",
            low=-math.inf,
            high=math.inf,
            measure="lebesgue",
            transform=f"sums of at most {modes} damped oscillations",
            classes=modes,
        )
        generator = torch.Generator().manual_seed(split_seed)
        y = torch.randint(modes, (examples,), generator=generator)
        a, f, tau = (
            low + (high - low) * torch.rand(examples, modes, 1, generator=generator)
            for low, high in ((0.5, 1.0), (1.0, length / 8), (0.1, 0.6))
        )
        t = torch.arange(length) / length
        rings = a * (-t / tau).exp() * (2 * math.pi * f * t).sin()
        there = torch.arange(modes) <= y[:, None]
        x = (rings * there[:, :, None]).sum(1, keepdim=True)
        x = x + noise * torch.randn(x.shape, generator=generator)
        rows = split_rows(examples, {"validation": validation, "test": test}, split_seed)
        self._splits = {name: Split(x[index], y[index]) for name, index in rows.items()}

    def split(self, name: str) -> Split:
        return self._splits[name]
