r"""The ladder: what x says of a layer, merged with what the layer above says of it,

    d_l = relu(network_l(d_(l-1))),  d_0 = x,      mu^_l, sigma^_l from the same network
    q(z_L | x) = N(mu^_L, sigma^_L^2),      q(z_l | z_(l+1), x)  ~  N(z_l; mu^_l, sigma^_l^2) p(z_l | z_(l+1)),

the last normalised (`merge.py`): the posterior that a Gaussian message about z_l has under this prior. Generation and
inference share p, so that a layer about which x says nothing has no KL, and costs nothing.

Sonderby, Raiko, Maaloe, Sonderby and Winther (2016), Ladder Variational Autoencoders, arXiv:1602.02282. They train it
with batch normalisation and a warm-up of beta.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.distributions import Distribution

from variata import DataSpec, DiagonalNormal, Factory, Network, Shape, default

from .hierarchy import Draw
from .inference import Inference, UpwardPath, Widths
from .merge import merged


class Ladder(Inference):
    """Precision-weighted inference.

    Args:
        data, latents, condition: from the model.
        features: size of d_l, for each layer but the top, or one for all.
        upward: the deterministic path's networks, one for each layer, or one for all.
    """

    def __init__(
        self,
        data: DataSpec,
        latents: Sequence[int],
        condition: Shape | None,
        *,
        features: Widths = (200,),
        upward: Sequence[Factory[Network]] = (default("network", "mlp"),),
    ) -> None:
        super().__init__()
        self.path = UpwardPath(data, latents, condition, features, upward, [2 * size for size in latents[1:]])

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiagonalNormal:
        return DiagonalNormal.packed(self.path(x, y)[0])

    def read(self, x: Tensor, y: Tensor | None, draw: Draw) -> Sequence[DiagonalNormal]:
        top, lower = self.path(x, y)
        return [DiagonalNormal.packed(values) for values in (top, *(message for _, message in lower))]

    def law(
        self, layer: int, seen: DiagonalNormal, above: Tensor | None, p: Distribution, y: Tensor | None
    ) -> DiagonalNormal:
        if above is None:
            return seen
        assert isinstance(p, DiagonalNormal)
        return merged(seen, p)
