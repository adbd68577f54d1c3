r"""Convolutions of images of any size and any number of channels, and their transpose.

A stage halves both sides of the image, rounding up: n -> ceil(n / 2). The transpose goes through the same sizes
backwards, so that each stage maps between exactly the shapes that its convolution does. Residual blocks (He, Zhang,
Ren and Sun, 2016, Deep Residual Learning for Image Recognition, arXiv:1512.03385; Identity Mappings in Deep Residual
Networks, arXiv:1603.05027, for the order within a block) may follow each stage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import torch
from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from variata import ConfigError, Network, Problem, Shape

from .activations import Activation, activation_of
from .conditioning import Conditioning, FiLM, added_features


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("must be odd, so that a stage halves the image whatever its size")
    return value


Channels = Annotated[Sequence[PositiveInt], Field(min_length=1)]
Kernel = Annotated[PositiveInt, AfterValidator(_odd)]


class Conv(Network):
    """Strided convolutions, then one linear layer to the output's shape.

    Args:
        input: `(channels, height, width)`.
        output, condition: any shapes.
        channels: of each stage.
        kernel: side of the kernel, odd.
        activation: after each stage.
        residual: how many residual blocks follow each stage.
        conditioning: how y enters (`conditioning.py`).

    Raises:
        ConfigError: the input is no image.
    """

    def __init__(
        self,
        input: Shape,
        output: Shape,
        condition: Shape | None = None,
        *,
        channels: Channels = (32, 64),
        kernel: Kernel = 3,
        activation: Activation = "relu",
        residual: NonNegativeInt = 0,
        conditioning: Conditioning = "concatenate",
    ) -> None:
        super().__init__(input, output, condition)
        sides = _sides(input, len(channels), "conv reads", "input")
        modulated = condition if conditioning == "film" else None
        self.concatenates = added_features(condition, conditioning) > 0
        widths = [input[0] + added_features(condition, conditioning), *channels]
        self.stages = nn.ModuleList()
        for before, after in pairwise(widths):
            layer = nn.Conv2d(before, after, kernel, stride=2, padding=kernel // 2)
            self.stages.append(_Stage(layer, after, activation, residual, modulated))
        self.last = nn.Linear(channels[-1] * math.prod(sides[-1]), math.prod(output))

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = x
        if self.concatenates and y is not None:
            planes = y.flatten(1)[:, :, None, None].expand(-1, -1, *x.shape[2:])
            h = torch.cat([h, planes], dim=1)
        for stage in self.stages:
            h = stage(h, y)
        return self.last(h.flatten(1)).unflatten(1, self.output)


class ConvTranspose(Network):
    """One linear layer to a small image, then the stages of `Conv` transposed, the last one without a nonlinearity.

    Args:
        input, condition: any shapes.
        output: `(channels, height, width)`.
        channels: as for `Conv`, in the same order: the last one belongs to the smallest image.
        kernel, activation, residual, conditioning: as for `Conv`.

    Raises:
        ConfigError: the output is no image.
    """

    def __init__(
        self,
        input: Shape,
        output: Shape,
        condition: Shape | None = None,
        *,
        channels: Channels = (32, 64),
        kernel: Kernel = 3,
        activation: Activation = "relu",
        residual: NonNegativeInt = 0,
        conditioning: Conditioning = "concatenate",
    ) -> None:
        super().__init__(input, output, condition)
        sides = _sides(output, len(channels), "conv_transpose makes", "output")[::-1]
        modulated = condition if conditioning == "film" else None
        self.concatenates = added_features(condition, conditioning) > 0
        self.smallest = (channels[-1], *sides[0])
        features = math.prod(input) + added_features(condition, conditioning)
        self.first, self.film = nn.Linear(features, math.prod(self.smallest)), FiLM(channels[-1], modulated)
        self.activation = activation_of(activation)
        layers = [
            _transposed(before, after, kernel, small, large)
            for before, after, small, large in zip(
                channels[::-1], [*channels[-2::-1], output[0]], sides[:-1], sides[1:], strict=True
            )
        ]
        stages = [_Stage(layer, layer.out_channels, activation, residual, modulated) for layer in layers[:-1]]
        self.stages, self.last = nn.ModuleList(stages), layers[-1]

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = x.flatten(1)
        if self.concatenates and y is not None:
            h = torch.cat([h, y.flatten(1)], dim=1)
        h = self.activation(self.film(self.first(h).unflatten(1, self.smallest), y))
        for stage in self.stages:
            h = stage(h, y)
        return self.last(h)


class _Stage(nn.Module):
    """A layer, FiLM, the nonlinearity, and residual blocks."""

    def __init__(
        self, layer: nn.Module, features: int, activation: Activation, residual: int, modulated: Shape | None
    ) -> None:
        super().__init__()
        self.layer, self.film, self.activation = layer, FiLM(features, modulated), activation_of(activation)
        self.blocks = nn.ModuleList(_Residual(features, activation, modulated) for _ in range(residual))

    def forward(self, h: Tensor, y: Tensor | None) -> Tensor:
        h = self.activation(self.film(self.layer(h), y))
        for block in self.blocks:
            h = block(h, y)
        return h


class _Residual(nn.Module):
    """h + conv(act(film(conv(act(h)))))."""

    def __init__(self, channels: int, activation: Activation, modulated: Shape | None) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.film, self.activation = FiLM(channels, modulated), activation_of(activation)

    def forward(self, h: Tensor, y: Tensor | None) -> Tensor:
        inner = self.film(self.first(self.activation(h)), y)
        return h + self.second(self.activation(inner))


def _sides(shape: Shape, stages: int, what: str, role: str) -> list[tuple[int, int]]:
    """(height, width) of an image before each stage and after the last."""
    if len(shape) != 3:
        raise ConfigError(
            Problem(f"{what} images (channels, height, width), and its {role} has the shape {list(shape)}: use mlp")
        )
    sides = [(shape[1], shape[2])]
    for _ in range(stages):
        sides.append((math.ceil(sides[-1][0] / 2), math.ceil(sides[-1][1] / 2)))
    return sides


def _transposed(
    before: int, after: int, kernel: int, small: tuple[int, int], large: tuple[int, int]
) -> nn.ConvTranspose2d:
    """The transpose of the strided convolution that maps an image of sides `large` to one of sides `small`."""
    missing = (large[0] - (2 * small[0] - 1), large[1] - (2 * small[1] - 1))
    return nn.ConvTranspose2d(before, after, kernel, stride=2, padding=kernel // 2, output_padding=missing)
