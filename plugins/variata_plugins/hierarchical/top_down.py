r"""Inference in the order of generation, each layer from the one above it and from what is seen of x:

    d_l = relu(network_l(d_(l-1))),  d_0 = x                 a deterministic path upwards
    q(z_L | x) from d_(L-1),    q(z_l | z_(l+1), x) from a network of [d_l | z_(l+1)]

Given the layer above, every KL has a closed form.

Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling (2016), Improving Variational Inference with Inverse
Autoregressive Flow, arXiv:1606.04934 (section 5, bidirectional inference).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.distributions import Distribution

from variata import DataSpec, DiagonalNormal, Factory, Network, Shape, default, make

from .hierarchy import Draw, beside, one_for_each
from .inference import Inference, UpwardPath, Widths


class TopDown(Inference):
    """Each layer from the one above it and from x.

    Args:
        data, latents, condition: from the model.
        features: size of d_l, for each layer but the top, or one for all.
        upward: the deterministic path's networks, one for each layer, or one for all.
        together: reads [d_l | z_(l+1)], and gives mu and log sigma^2 of q, packed; one for each layer but the
            top, or one for all.
    """

    def __init__(
        self,
        data: DataSpec,
        latents: Sequence[int],
        condition: Shape | None,
        *,
        features: Widths = (200,),
        upward: Sequence[Factory[Network]] = (default("network", "mlp"),),
        together: Sequence[Factory[Network]] = (default("network", "mlp"),),
    ) -> None:
        super().__init__()
        lower = latents[1:]
        self.path = UpwardPath(data, latents, condition, features, upward, [0] * len(lower))
        self.together = nn.ModuleList(
            make(network, input=(width + above,), output=(2 * size,), condition=condition)
            for network, width, above, size in zip(
                one_for_each(together, len(lower), "together"), self.path.features, latents, lower, strict=False
            )
        )

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiagonalNormal:
        return DiagonalNormal.packed(self.path(x, y)[0])

    def read(self, x: Tensor, y: Tensor | None, draw: Draw) -> Sequence[Tensor]:
        top, lower = self.path(x, y)
        return [top, *(features for features, _ in lower)]

    def law(self, layer: int, seen: Tensor, above: Tensor | None, p: Distribution, y: Tensor | None) -> DiagonalNormal:
        if above is None:
            return DiagonalNormal.packed(seen)
        return DiagonalNormal.packed(self.together[layer - 1](beside(seen, above, 1), y))
