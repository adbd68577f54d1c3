r"""The way down: u_l = N(V_l z^_(l+1)) and z^_l = g_l(z~_l, u_l), from the classes at the top.

V mirrors the encoder's W: of a linear layer it is a linear layer, of a convolution its transpose.
"""

from __future__ import annotations

from torch import Tensor, nn

from variata import Factory, make

from .combinator import Combinator
from .model import LadderNetwork, Path
from .stage import EPS, Stage, normalized, raised


class Mirror(nn.Module):
    """V, from the shape that a stage gives to the one that it reads, without a bias."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        layer, self.shape = stage.layer, stage.input
        if isinstance(layer, nn.Linear):
            self.map = nn.Linear(layer.out_features, layer.in_features, bias=False)
        else:
            assert isinstance(layer, nn.Conv2d)
            self.map = nn.ConvTranspose2d(
                layer.out_channels,
                layer.in_channels,
                layer.kernel_size,  # pyright: ignore[reportArgumentType]
                layer.stride,  # pyright: ignore[reportArgumentType]
                layer.padding,  # pyright: ignore[reportArgumentType]
                groups=layer.groups,
                bias=False,
                dilation=layer.dilation,  # pyright: ignore[reportArgumentType]
            )

    def forward(self, z: Tensor) -> Tensor:
        if isinstance(self.map, nn.Linear):
            return raised(self.map(z)).unflatten(1, self.shape)
        return raised(self.map(z, output_size=list(self.shape[1:])))


class LadderDecoder(nn.Module):
    """Combinators from the top down to the lowest layer that is asked for, and the maps between them.

    Args:
        model: what it is the decoder of.
        lowest: number of the lowest layer whose estimate is asked for; 0 is the input.
        combinator: g, made anew for each layer.
    """

    def __init__(self, model: LadderNetwork, lowest: int, combinator: Factory[Combinator]) -> None:
        super().__init__()
        shapes = model.shapes
        self.levels = range(len(shapes) - 1, lowest - 1, -1)
        self.combinators = nn.ModuleList(make(combinator, features=shapes[level][0]) for level in self.levels)
        mirrors = [Mirror(stage) for stage in model.layers[lowest:]]
        self.mirrors = nn.ModuleList(reversed(mirrors))

    def forward(self, corrupted: Path) -> dict[int, Tensor]:
        """z^ of each level, the top first."""
        estimates: dict[int, Tensor] = {}
        above = corrupted.log_p.exp()
        for number, level in enumerate(self.levels):
            if number:
                above = self.mirrors[number - 1](estimates[level + 1])
            noisy = corrupted.z[level].movedim(1, -1)
            estimate = self.combinators[number](noisy, normalized(above).movedim(1, -1))
            estimates[level] = estimate.movedim(-1, 1)
        return estimates


def squared_error(estimate: Tensor, clean: Path, level: int) -> Tensor:
    """|z - (z^ - mu) / sigma|^2 / m of each example, `[n]`: the estimate, normalised as z was on the clean path, beside
    z; m is the number of elements. Of the input, which is not normalised, |x - x^|^2 / m."""
    if level:
        mean, variance = clean.moments[level - 1]
        estimate = (estimate - mean) * (variance + EPS).rsqrt()
    return (clean.z[level] - estimate).square().flatten(1).mean(1)
