r"""Residual blocks, whose kind follows from the shapes:

    block(h) = shortcut(h) + layer(act(film(norm(layer(act(norm(h)))))))

    image -> anything       convolutions; each stage but the first halves both sides (rounding up) by averaging
    anything -> image       the same sizes backwards, by repeating pixels
    anything -> anything    linear layers

He, Zhang, Ren and Sun (2016), Identity Mappings in Deep Residual Networks, arXiv:1603.05027 (the order within a block).
Gulrajani, Ahmed, Arjovsky, Dumoulin and Courville (2017), Improved Training of Wasserstein GANs, arXiv:1704.00028
(from and to images). Gorishniy, Rubachev, Khrulkov and Babenko (2021), Revisiting Deep Learning Models for Tabular
Data, arXiv:2106.11959 (of vectors).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from variata import Network, Shape

from .activations import Activation, activation_of
from .conditioning import Conditioning, FiLM, added_features
from .normalization import Norm, Rate, constrained, norm_of

Side = tuple[int, int]
Layer = Callable[[int, int, bool], nn.Module]


class ResNet(Network):
    """Residual blocks between a first and a last layer.

    Args:
        input, output, condition: shapes. Images are `(channels, height, width)`.
        channels: features of each stage, in the order from the data: for an output that is an image the last one
            belongs to the smallest image.
        blocks: of each stage.
        activation, conditioning, norm, dropout, spectral_norm: as for `mlp`.
    """

    def __init__(
        self,
        input: Shape,
        output: Shape,
        condition: Shape | None = None,
        *,
        channels: Annotated[Sequence[PositiveInt], Field(min_length=1)] = (64, 64, 64),
        blocks: PositiveInt = 1,
        activation: Activation = "relu",
        conditioning: Conditioning = "concatenate",
        norm: Norm = "none",
        dropout: Rate = 0.0,
        spectral_norm: bool = False,
    ) -> None:
        super().__init__(input, output, condition)
        makes = len(output) == 3
        reads = len(input) == 3 and not makes
        self.couples_batch, self.concatenates = norm == "batch", added_features(condition, conditioning) > 0
        self.reads, modulated = reads, condition if conditioning == "film" else None
        widths = [*channels][::-1] if makes else [*channels]
        sides = _sides(input if reads else output, len(channels)) if reads or makes else [(1, 1)] * len(channels)
        sides = sides[::-1] if makes else sides
        self.start = (widths[0], *sides[0]) if makes else (widths[0],)

        def dense(before: int, after: int, bias: bool = True) -> nn.Module:
            return constrained(nn.Linear(before, after, bias), spectral_norm)

        def convolution(before: int, after: int, bias: bool = True, kernel: int = 3) -> nn.Module:
            return constrained(nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=bias), spectral_norm)

        layer: Layer = convolution if reads or makes else dense
        first = added_features(condition, conditioning) + (input[0] if reads else math.prod(input))
        self.first = convolution(first, widths[0]) if reads else dense(first, math.prod(self.start))
        self.blocks = nn.ModuleList()
        places = zip([widths[0], *widths], widths, [sides[0], *sides], sides, strict=False)
        for before, after, side, new in places:
            for i in range(blocks):
                width, resize = (after, None) if i else (before, None if side == new else new)
                shortcut = None
                if width != after:
                    shortcut = convolution(width, after, kernel=1) if reads or makes else dense(width, after)
                layers = layer(width, after, norm != "batch"), layer(after, after, True)
                norms = norm_of(norm, width), norm_of(norm, after)
                film = FiLM(after, modulated)
                self.blocks.append(_Block(layers, norms, film, shortcut, resize, activation_of(activation), dropout))
        self.norm, self.activation = norm_of(norm, widths[-1]), activation_of(activation)
        self.last = convolution(widths[-1], output[0]) if makes else dense(widths[-1], math.prod(output))

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = x if self.reads else x.flatten(1)
        if self.concatenates and y is not None:
            added = y.flatten(1)
            h = torch.cat([h, added[:, :, None, None].expand(-1, -1, *h.shape[2:]) if self.reads else added], dim=1)
        h = self.first(h)
        h = h if self.reads else h.unflatten(1, self.start)
        for block in self.blocks:
            h = block(h, y)
        h = self.activation(self.norm(h))
        h = self.last(h.mean((2, 3)) if self.reads else h)
        return h if len(self.output) == 3 else h.unflatten(1, self.output)


class _Block(nn.Module):
    """One residual block; `resize` gives the sides of the images that it makes."""

    def __init__(
        self,
        layers: tuple[nn.Module, nn.Module],
        norms: tuple[nn.Module, nn.Module],
        film: FiLM,
        shortcut: nn.Module | None,
        resize: Side | None,
        activation: nn.Module,
        dropout: float,
    ) -> None:
        super().__init__()
        self.layers, self.norms, self.film = nn.ModuleList(layers), nn.ModuleList(norms), film
        self.shortcut, self.resize, self.activation = shortcut, resize, activation
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, h: Tensor, y: Tensor | None) -> Tensor:
        grows = self.resize is not None and self.resize[0] * self.resize[1] > h.shape[2] * h.shape[3]
        inner = self.activation(self.norms[0](h))
        if grows:
            inner, h = self._resized(inner), self._resized(h)
        inner = self.activation(self.film(self.norms[1](self.layers[0](inner)), y))
        inner = self.layers[1](self.dropout(inner))
        if self.resize is not None and not grows:
            inner, h = self._resized(inner), self._resized(h)
        return inner + (h if self.shortcut is None else self.shortcut(h))

    def _resized(self, h: Tensor) -> Tensor:
        assert self.resize is not None
        if self.resize[0] * self.resize[1] > h.shape[2] * h.shape[3]:
            return interpolate(h, size=self.resize, mode="nearest")
        return avg_pool2d(h, 2, ceil_mode=True)


def _sides(shape: Shape, stages: int) -> list[Side]:
    """(height, width) of an image in each stage: the first has the image's own."""
    sides = [(shape[1], shape[2])]
    for _ in range(stages - 1):
        sides.append((math.ceil(sides[-1][0] / 2), math.ceil(sides[-1][1] / 2)))
    return sides
