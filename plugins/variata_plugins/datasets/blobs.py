"""Points in the plane around the corners of a ring or a grid: mixtures of Gaussians whose modes can be counted.

Metz, Poole, Pfau and Sohl-Dickstein (2017), Unrolled Generative Adversarial Networks, arXiv:1611.02163 (the ring).
Srivastava, Valkov, Russell, Gutmann and Sutton (2017), VEEGAN, arXiv:1705.07761 (the grid).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from variata import ConfigError, Data, DataSpec, Problem, Seed, Share, Split, split_rows


class Blobs(Data):
    """Equally likely Gaussians of one spread; the label of a point is its blob.

    Args:
        layout: "ring" of radius 2 around the origin, or a square "grid" with distances of 2 around it.
        modes: how many blobs; a square number for a grid.
        std: standard deviation of each coordinate within a blob.
        examples: how many points are drawn, all splits together.
        validation, test: points that are held out, a number or a share.
        split_seed: of the draw and of the permutation that chooses them.

    Raises:
        ConfigError: a grid whose number of modes is no square.
    """

    def __init__(
        self,
        *,
        layout: Literal["ring", "grid"] = "ring",
        modes: PositiveInt = 8,
        std: PositiveFloat = 0.1,
        examples: PositiveInt = 10_000,
        validation: Share = 0.1,
        test: Share = 0.1,
        split_seed: Seed = 0,
    ) -> None:
        self.centres, self.std = _centres(layout, modes), std
        limits = {"low": -math.inf, "high": math.inf, "measure": "lebesgue"}
        self.spec = DataSpec((2,), "real", transform=f"{layout} of {modes} Gaussian blobs", classes=modes, **limits)
        generator = torch.Generator().manual_seed(split_seed)
        y = torch.randint(modes, (examples,), generator=generator)
        x = self.centres[y] + std * torch.randn(examples, 2, generator=generator)
        rows = split_rows(examples, {"validation": validation, "test": test}, split_seed)
        self._splits = {name: Split(x[index], y[index]) for name, index in rows.items()}

    def split(self, name: str) -> Split:
        return self._splits[name]


def _centres(layout: str, modes: int) -> Tensor:
    """`[modes, 2]`."""
    if layout == "ring":
        angle = 2 * math.pi * torch.arange(modes) / modes
        return 2 * torch.stack([angle.cos(), angle.sin()], dim=1)
    side = math.isqrt(modes)
    if side * side != modes:
        raise ConfigError(
            Problem(f"a grid needs a square number of modes: {side**2} or {(side + 1) ** 2} (got {modes})")
        )
    place = 2.0 * torch.arange(side) - (side - 1)
    return torch.cartesian_prod(place, place)
