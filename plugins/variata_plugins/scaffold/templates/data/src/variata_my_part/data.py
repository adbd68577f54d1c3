"""Points around a circle: x = (cos t, sin t) + noise, t uniform on [0, 2 pi)."""

from __future__ import annotations

import math

import torch
from pydantic import PositiveFloat, PositiveInt

from variata import Data, DataSpec, Seed, Split, SplitName, split_rows


class MyPart(Data):
    """A noisy circle in the plane. Which points there are, and which are held out, depends on `split_seed` alone.

    Args:
        noise: standard deviation of each coordinate.
        examples: all splits together; a tenth each is for validation and for test.
        split_seed: of the draw and of the permutation.
    """

    def __init__(self, *, noise: PositiveFloat = 0.05, examples: PositiveInt = 2000, split_seed: Seed = 0) -> None:
        self.spec = DataSpec((2,), "real", low=-math.inf, high=math.inf, measure="lebesgue", transform="a noisy circle")
        generator = torch.Generator().manual_seed(split_seed)
        angle = 2 * math.pi * torch.rand(examples, generator=generator)
        x = torch.stack([angle.cos(), angle.sin()], dim=1) + noise * torch.randn(examples, 2, generator=generator)
        rows = split_rows(examples, {"validation": 0.1, "test": 0.1}, split_seed)
        self._splits = {name: Split(x[index]) for name, index in rows.items()}

    def split(self, name: SplitName) -> Split:
        return self._splits[name]
