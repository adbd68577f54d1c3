r"""Shapes in a square, of known scale, orientation and position, rendered when they are asked for.

A pixel at p is white where its place in the shape's own frame, u = R(-angle) (p - centre) / radius, is inside:

    square  max |u_i| <= 1        ellipse  (u_1 / 1.25)^2 + (u_2 / 0.7)^2 <= 1
    heart   (w_1^2 + w_2^2 - 1)^3 <= w_1^2 w_2^3,  w = 1.1 u

Matthey, Higgins, Hassabis and Lerchner (2017), dSprites: Disentanglement testing Sprites dataset, whose factors these
are. Orientations here stay below a quarter turn, so that no two of them look alike, as a square's would.
"""

from __future__ import annotations

import math

import torch
from pydantic import PositiveInt
from torch import Tensor

from variata import Batch, ConfigError, DataSpec, Factor, FactorData, Problem, Seed, Share, Split, split_rows

_SHAPES = 3
_MARGIN, _SMALLEST, _GREATEST = 0.22, 0.07, 0.14


class Sprites(FactorData):
    """Binary images `[1, size, size]`; the label of an example is its shape.

    Args:
        size: of the square, in pixels.
        scales, orientations, positions: how many values these factors have; positions are those of x, and of y.
        examples: how many of the combinations are drawn, without repetition; null takes all of them.
        validation, test: examples that are held out, a number or a share.
        split_seed: of the permutation that chooses them.

    Raises:
        ConfigError: more examples than there are combinations.
    """

    def __init__(
        self,
        *,
        size: PositiveInt = 64,
        scales: PositiveInt = 6,
        orientations: PositiveInt = 10,
        positions: PositiveInt = 16,
        examples: PositiveInt | None = None,
        validation: Share = 0.1,
        test: Share = 0.1,
        split_seed: Seed = 0,
    ) -> None:
        self.size = size
        counts = (_SHAPES, scales, orientations, positions, positions)
        names = ("shape", "scale", "orientation", "x", "y")
        self.factors = tuple(Factor(name, count, name != "shape") for name, count in zip(names, counts, strict=True))
        every = math.prod(counts)
        if examples is not None and examples > every:
            raise ConfigError(
                Problem(f"there are {every} combinations (got {examples}): ask for fewer, or null for all")
            )
        chosen = torch.randperm(every, generator=torch.Generator().manual_seed(split_seed))[:examples]
        values = torch.stack(torch.unravel_index(chosen, counts), dim=1)
        self.spec = DataSpec((1, size, size), "binary", levels=2, transform="rendered", classes=_SHAPES)
        rows = split_rows(len(values), {"validation": validation, "test": test}, split_seed)
        self._splits = {name: Split(values[at], values[at, 0], self._images) for name, at in rows.items()}

    def split(self, name: str) -> Split:
        return self._splits[name]

    def render(self, values: Tensor) -> Batch:
        return Batch(self._images(values), values[:, 0])

    def _images(self, values: Tensor) -> Tensor:
        """`[n, 1, size, size]` of `[n, 5]` factor values."""
        dtype = torch.get_default_dtype()
        shape, *rest = values.long().T
        counts = [factor.values for factor in self.factors[1:]]
        shares = [value.to(dtype) / max(count - 1, 1) for value, count in zip(rest, counts, strict=True)]
        radius = _SMALLEST + (_GREATEST - _SMALLEST) * shares[0]
        angle = math.pi / 2 * rest[1].to(dtype) / counts[1]
        centre = [_MARGIN + (1 - 2 * _MARGIN) * share for share in shares[2:]]
        place = (torch.arange(self.size, device=values.device, dtype=dtype) + 0.5) / self.size
        x = (place - centre[0][:, None])[:, None, :]
        y = (centre[1][:, None] - place)[:, :, None]
        cos, sin, radius = (v[:, None, None] for v in (angle.cos(), angle.sin(), radius))
        u, v = (cos * x + sin * y) / radius, (cos * y - sin * x) / radius
        inside = torch.zeros(len(values), self.size, self.size, dtype=torch.bool, device=values.device)
        for number, test in enumerate((_in_square, _in_ellipse, _in_heart)):
            rows = shape == number
            inside[rows] = test(u[rows], v[rows])
        return inside[:, None].to(dtype)


def _in_square(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(u.abs(), v.abs()) <= 1


def _in_ellipse(u: Tensor, v: Tensor) -> Tensor:
    return (u / 1.25).square() + (v / 0.7).square() <= 1


def _in_heart(u: Tensor, v: Tensor) -> Tensor:
    u, v = (1.1 * u).square(), 1.1 * v
    return (u + v.square() - 1).pow(3) <= u * v.pow(3)
