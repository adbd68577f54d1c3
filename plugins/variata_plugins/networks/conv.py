r"""Convolutions of images of any size and any number of channels, and their transpose.

A stage halves both sides of the image, rounding up: n -> ceil(n / 2). The transpose goes through the same sizes
backwards, so that each stage maps between exactly the shapes that its convolution does. Residual blocks (He, Zhang,
Ren and Sun, 2016, Deep Residual Learning for Image Recognition, arXiv:1512.03385; Identity Mappings in Deep Residual
Networks, arXiv:1603.05027, for the order within a block) may follow each stage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import torch
from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from variata import ConfigError, Layered, Network, Problem, Shape

from .activations import Activation, activation_of
from .conditioning import Conditioning, FiLM, added_features
from .normalization import Norm, Rate, check_bare, constrained, norm_of


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("must be odd, so that a stage halves the image whatever its size")
    return value


Channels = Annotated[Sequence[PositiveInt], Field(min_length=1)]
Kernel = Annotated[PositiveInt, AfterValidator(_odd)]


class Conv(Layered):
    """Strided convolutions, then one linear layer to the output's shape.

    Args:
        input: `(channels, height, width)`.
        output, condition: any shapes.
        channels: of each stage.
        kernel: side of the kernel, odd.
        activation: after each stage.
        residual: how many residual blocks follow each stage.
        conditioning: how y enters (`conditioning.py`).
        norm: between each layer and its nonlinearity (`normalization.py`).
        dropout: share of a stage's channels that are left out in training.
        spectral_norm: hold the spectral norm of every layer at 1.

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
        norm: Norm = "none",
        dropout: Rate = 0.0,
        spectral_norm: bool = False,
    ) -> None:
        super().__init__(input, output, condition)
        self.couples_batch = norm == "batch"
        sides = _sides(input, len(channels), "conv reads", "input")
        between = _Between(activation, condition if conditioning == "film" else None, norm, dropout, spectral_norm)
        self.concatenates = added_features(condition, conditioning) > 0
        widths = [input[0] + added_features(condition, conditioning), *channels]
        self.beside = {"norm": norm != "none", "dropout": dropout, "residual": residual, "condition": condition}
        self.stages = nn.ModuleList()
        for before, after in pairwise(widths):
            layer = nn.Conv2d(before, after, kernel, stride=2, padding=kernel // 2, bias=between.bias)
            self.stages.append(_Stage(layer, after, residual, between))
        self.last = constrained(nn.Linear(channels[-1] * math.prod(sides[-1]), math.prod(output)), spectral_norm)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = x
        if self.concatenates and y is not None:
            planes = y.flatten(1)[:, :, None, None].expand(-1, -1, *x.shape[2:])
            h = torch.cat([h, planes], dim=1)
        for stage in self.stages:
            h = stage(h, y)
        return self.last(h.flatten(1)).unflatten(1, self.output)

    def chain(self) -> Sequence[tuple[nn.Module, nn.Module]]:
        check_bare(self, self.beside)
        stages = [stage for stage in self.stages if isinstance(stage, _Stage)]
        return [*((stage.layer, stage.between.activation) for stage in stages), (self.last, nn.Identity())]


class ConvTranspose(Network):
    """One linear layer to a small image, then the stages of `Conv` transposed, the last one without a nonlinearity.

    Args:
        input, condition: any shapes.
        output: `(channels, height, width)`.
        channels: as for `Conv`, in the same order: the last one belongs to the smallest image.
        kernel, activation, residual, conditioning, norm, dropout, spectral_norm: as for `Conv`.

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
        norm: Norm = "none",
        dropout: Rate = 0.0,
        spectral_norm: bool = False,
    ) -> None:
        super().__init__(input, output, condition)
        self.couples_batch = norm == "batch"
        sides = _sides(output, len(channels), "conv_transpose makes", "output")[::-1]
        between = _Between(activation, condition if conditioning == "film" else None, norm, dropout, spectral_norm)
        self.concatenates = added_features(condition, conditioning) > 0
        self.smallest = (channels[-1], *sides[0])
        features = math.prod(input) + added_features(condition, conditioning)
        first = nn.Linear(features, math.prod(self.smallest), bias=between.bias)
        self.first, self.between = constrained(first, spectral_norm), between.build(channels[-1])
        widths = [*channels[-2::-1], output[0]]
        layers = [
            _transposed(before, after, kernel, small, large, bias=between.bias or i == len(channels) - 1)
            for i, (before, after, small, large) in enumerate(
                zip(channels[::-1], widths, sides[:-1], sides[1:], strict=True)
            )
        ]
        stages = [_Stage(layer, width, residual, between) for layer, width in zip(layers, widths[:-1], strict=False)]
        self.stages, self.last = nn.ModuleList(stages), constrained(layers[-1], spectral_norm)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = x.flatten(1)
        if self.concatenates and y is not None:
            h = torch.cat([h, y.flatten(1)], dim=1)
        h = self.between(self.first(h).unflatten(1, self.smallest), y)
        for stage in self.stages:
            h = stage(h, y)
        return self.last(h)


@dataclass(frozen=True)
class _Between:
    """What stands after each layer: options of a network, and the module that they make for some channels."""

    activation: Activation
    modulated: Shape | None
    norm: Norm
    dropout: float
    spectral: bool

    @property
    def bias(self) -> bool:
        """Whether a layer before it needs a bias: batch normalisation takes it away, and has its own."""
        return self.norm != "batch"

    def build(self, channels: int, dropout: bool = True) -> _Nonlinearity:
        return _Nonlinearity(
            norm_of(self.norm, channels),
            FiLM(channels, self.modulated),
            activation_of(self.activation),
            nn.Dropout2d(self.dropout) if dropout and self.dropout else nn.Identity(),
        )


class _Nonlinearity(nn.Module):
    """dropout(act(film(norm(h))))."""

    def __init__(self, norm: nn.Module, film: FiLM, activation: nn.Module, dropout: nn.Module) -> None:
        super().__init__()
        self.norm, self.film, self.activation, self.dropout = norm, film, activation, dropout

    def forward(self, h: Tensor, y: Tensor | None) -> Tensor:
        return self.dropout(self.activation(self.film(self.norm(h), y)))


class _Stage(nn.Module):
    """A layer, what stands after it, and residual blocks."""

    def __init__(self, layer: nn.Module, channels: int, residual: int, between: _Between) -> None:
        super().__init__()
        self.layer, self.between = constrained(layer, between.spectral), between.build(channels)
        self.blocks = nn.ModuleList(_Residual(channels, between) for _ in range(residual))

    def forward(self, h: Tensor, y: Tensor | None) -> Tensor:
        h = self.between(self.layer(h), y)
        for block in self.blocks:
            h = block(h, y)
        return h


class _Residual(nn.Module):
    """h + conv(act(film(norm(conv(act(h))))))."""

    def __init__(self, channels: int, between: _Between) -> None:
        super().__init__()
        first = nn.Conv2d(channels, channels, 3, padding=1, bias=between.bias)
        self.first = constrained(first, between.spectral)
        self.second = constrained(nn.Conv2d(channels, channels, 3, padding=1), between.spectral)
        self.between, self.activation = between.build(channels, dropout=False), activation_of(between.activation)

    def forward(self, h: Tensor, y: Tensor | None) -> Tensor:
        return h + self.second(self.between(self.first(self.activation(h)), y))


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
    before: int, after: int, kernel: int, small: tuple[int, int], large: tuple[int, int], bias: bool
) -> nn.ConvTranspose2d:
    """The transpose of the strided convolution that maps an image of sides `large` to one of sides `small`."""
    missing = (large[0] - (2 * small[0] - 1), large[1] - (2 * small[1] - 1))
    padding = kernel // 2
    return nn.ConvTranspose2d(before, after, kernel, stride=2, padding=padding, output_padding=missing, bias=bias)
