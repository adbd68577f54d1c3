"""How the layers of a hierarchy are inferred: a kind of component."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.distributions import Distribution

from variata import DataSpec, DiagonalNormal, Encoder, Factory, Network, Shape, make

from .hierarchy import Draw, one_for_each

Widths = Annotated[Sequence[PositiveInt], Field(min_length=1)]


class Inference(Encoder):
    """q(z_L ... z_1 | x[, y]), layer by layer, the top first. As an `Encoder` it gives q(z_L | x[, y]).

    Given: `data`, `latents` (dimensions of each layer, the top first) and `condition`.
    """

    @abstractmethod
    def read(self, x: Tensor, y: Tensor | None, draw: Draw) -> Sequence[Any]:
        """What it sees of x before the layers are drawn, a piece for each. What infers a layer before those above it
        takes its value by `draw` here."""

    @abstractmethod
    def law(self, layer: int, seen: Any, above: Tensor | None, p: Distribution, y: Tensor | None) -> DiagonalNormal:
        """q of a layer, from its piece, the layer above (None for the top) and its prior."""


class UpwardPath(nn.Module):
    r"""d_l = relu(network_l(d_(l-1))), d_0 = x, and at the top [mu | log sigma^2] of q(z_L | x).

    Args:
        data, latents, condition: as for an `Inference`.
        features: size of d_l, for each layer but the top, or one for all.
        networks: one for each layer, or one for all.
        beside: how many numbers more each network but the top's gives.
    """

    def __init__(
        self,
        data: DataSpec,
        latents: Sequence[int],
        condition: Shape | None,
        features: Sequence[int],
        networks: Sequence[Factory[Network]],
        beside: Sequence[int],
    ) -> None:
        super().__init__()
        below_top = len(latents) - 1
        self.features = one_for_each(features, below_top, "features")
        inputs = [*((width,) for width in self.features), data.shape]  # of each network, the top's first
        outputs = [2 * latents[0], *(width + more for width, more in zip(self.features, beside, strict=True))]
        chosen = one_for_each(networks, len(latents), "upward")
        self.networks = nn.ModuleList(
            make(network, input=shape, output=(size,), condition=condition)
            for network, shape, size in zip(chosen, inputs, outputs, strict=True)
        )

    def forward(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """What the top's network gives, and of each other layer d_l with what its network gives beside it, the upper
        ones first."""
        found: list[tuple[Tensor, Tensor]] = []
        for network, width in zip(list(self.networks)[:0:-1], self.features[::-1], strict=True):
            values = network(x, y)
            x = values[..., :width].relu()
            found.insert(0, (x, values[..., width:]))
        return self.networks[0](x, y), found
