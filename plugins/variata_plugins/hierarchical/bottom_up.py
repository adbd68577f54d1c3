r"""Inference from below, each layer from the one under it:

    q(z | x) = q(z_1 | x) q(z_2 | z_1) ... q(z_L | z_(L-1)),      each Gaussian, from a network

z_1 is drawn before the z_2 that its prior depends on, so that KL_1 is log q(z_1 | x) - log p(z_1 | z_2) at the draw: of
the top layer alone the divergence has a closed form, whose mean over the draws below it is that of its KL.

Rezende, Mohamed and Wierstra (2014), Stochastic Backpropagation, arXiv:1401.4082. Burda, Grosse and Salakhutdinov
(2016), Importance Weighted Autoencoders, arXiv:1509.00519 (two layers).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.distributions import Distribution

from variata import (
    DataSpec,
    DiagonalNormal,
    Factory,
    Layer,
    Network,
    Shape,
    Unsupported,
    default,
    make,
    register_rsample_and_kl,
)

from .hierarchy import Draw, one_for_each
from .inference import Inference


class BottomUp(Inference):
    """Each layer from the one below it.

    Args:
        data, latents, condition: from the model.
        upward: gives mu and log sigma^2 of each layer, packed; one for each, or one for all.
    """

    def __init__(
        self,
        data: DataSpec,
        latents: Sequence[int],
        condition: Shape | None,
        *,
        upward: Sequence[Factory[Network]] = (default("network", "mlp"),),
    ) -> None:
        super().__init__()
        shapes = [*((size,) for size in latents[1:]), data.shape]
        self.networks = nn.ModuleList(
            make(network, input=shape, output=(2 * size,), condition=condition)
            for network, shape, size in zip(one_for_each(upward, len(latents), "upward"), shapes, latents, strict=True)
        )

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiagonalNormal:
        if len(self.networks) > 1:
            raise Unsupported(
                "inference from below has no law of the top layer given x alone, only of the lowest: use top_down or "
                "ladder for what asks for one (a vamp prior)"
            )
        return DiagonalNormal.packed(self.networks[0](x, y))

    def read(self, x: Tensor, y: Tensor | None, draw: Draw) -> Sequence[DiagonalNormal]:
        laws: list[DiagonalNormal] = []
        value = x
        for network in list(self.networks)[:0:-1]:
            law = DiagonalNormal.packed(network(value, y))
            value = draw(law)
            laws.insert(0, DrawnNormal(law, value))
        return [DiagonalNormal.packed(self.networks[0](value, y)), *laws]

    def law(
        self, layer: int, seen: DiagonalNormal, above: Tensor | None, p: Distribution, y: Tensor | None
    ) -> DiagonalNormal:
        return seen


class DrawnNormal(DiagonalNormal):
    """A Gaussian that was drawn from before its prior was known: the door gives it this value.

    Args:
        law: q.
        z: the draw, `[*samples, *batch, latent]`.
    """

    def __init__(self, law: DiagonalNormal, z: Tensor) -> None:
        super().__init__(law.mu, law.logvar, law.event_dims)
        self.z = z


@register_rsample_and_kl(DrawnNormal, Distribution)
def _drawn(q: DrawnNormal, p: Distribution, samples: int | None) -> Layer:
    return Layer(q.z, q, p)
