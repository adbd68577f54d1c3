r"""What a residual hierarchy is made of, of vectors or of images by the shapes:

    block(h) = [h +] layer(silu(layer(silu(h)) + a y))        with h where input and output have one shape

layer is linear, or a convolution of 3 x 3.

He, Zhang, Ren and Sun (2016), Identity Mappings in Deep Residual Networks, arXiv:1603.05027.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.functional import silu

from variata import ConfigError, Network, Problem, Shape


def layer_of(input: Shape, output: Shape, kernel: int = 3) -> nn.Module:
    """A convolution between images of one size, or a linear layer between vectors."""
    if len(input) == 3:
        return nn.Conv2d(input[0], output[0], kernel, padding=kernel // 2)
    return nn.Linear(input[0], output[0])


class Block(Network):
    """Two layers, `width` wide between them.

    Args:
        input, output: two vectors, or two images of one size.
        condition: shape of y, or None.
    """

    def __init__(self, input: Shape, output: Shape, condition: Shape | None = None, *, width: int = 32) -> None:
        super().__init__(input, output, condition)
        between = (width, *input[1:])
        self.first, self.last = layer_of(self.input, between), layer_of(between, self.output)
        self.given = None if condition is None else nn.Linear(math.prod(condition), width, bias=False)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = self.first(silu(x))
        if self.given is not None and y is not None:
            h = h + self.given(y.flatten(1)).view(len(h), -1, *[1] * (h.ndim - 2))
        h = self.last(silu(h))
        return x + h if self.input == self.output else h


class Projection(Network):
    """One layer without neighbours: a convolution of 1 x 1, or linear. It does not depend on y."""

    def __init__(self, input: Shape, output: Shape) -> None:
        super().__init__(input, output)
        self.layer = layer_of(input, output, kernel=1)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        return self.layer(x)


class Readout(Network):
    """The last layer of a decoder, from the state of a residual hierarchy, which is given as one vector: where that has
    a number of features at each pixel of the output, a convolution of 3 x 3, else linear.

    Args:
        input: `(features,)`.
        output, condition: any shapes.

    Raises:
        ConfigError: the input is no vector.
    """

    def __init__(self, input: Shape, output: Shape, condition: Shape | None = None) -> None:
        super().__init__(input, output, condition)
        if len(input) != 1:
            raise ConfigError(Problem(f"readout reads one vector, and its input has the shape {list(input)}"))
        self.image = len(output) == 3 and input[0] % math.prod(output[1:]) == 0
        sides = output[1:] if self.image else ()
        self.seen = (input[0] // math.prod(sides), *sides)
        self.layer = layer_of(self.seen, output if self.image else (math.prod(output),))
        self.given = None if condition is None else nn.Linear(math.prod(condition), self.seen[0], bias=False)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = x.unflatten(1, self.seen)
        if self.given is not None and y is not None:
            h = h + self.given(y.flatten(1)).view(len(h), -1, *[1] * (h.ndim - 2))
        return self.layer(silu(h)).reshape(len(h), *self.output)
