r"""p(x, z) = p(z_L) prod_l p(z_l | z_(l+1)) p(x | z_1),   p(z_l | z_(l+1)) = N(mu(z_(l+1)), diag sigma(z_(l+1))^2).

With one layer it is the VAE. Everything may depend on a condition y.

Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders, arXiv:1509.00519. Sonderby, Raiko, Maaloe,
Sonderby and Winther (2016), Ladder Variational Autoencoders, arXiv:1602.02282.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from variata import DataSpec, Decoder, DiagonalNormal, Factory, Features, Network, Prior, default, make

from .hierarchy import Draw, Hierarchy, one_for_each
from .inference import Inference, Widths


class HierarchicalVAE(Hierarchy):
    """Several layers of Gaussians. Lists are in the order of generation.

    Args:
        data: what an example is.
        latent: dimensions of each layer, the top first.
        encoder: how the layers are inferred.
        prior: p(z_L[ | y]), of the top layer.
        downward: gives mu and log sigma^2 of p(z_l | z_(l+1)[, y]), packed; one for each layer but the
            top, or one for all.
        decoder: p(x | z_1[, y]); its law must be one of the data's kind of values.
        condition: let all of these depend on the data's labels (or condition vectors).

    Raises:
        ConfigError: a condition is asked for and the data has none, or a list has another length than the layers need.
    """

    tables = True

    def __init__(
        self,
        data: DataSpec,
        *,
        latent: Widths,
        encoder: Factory[Inference] = default("inference", "ladder"),
        prior: Factory[Prior] = default("prior", "standard_normal"),
        downward: Sequence[Factory[Network]] = (default("network", "mlp"),),
        decoder: Factory[Decoder],
        condition: bool = False,
    ) -> None:
        super().__init__(data, [(size,) for size in latent], condition)
        shape = data.condition_shape if condition else None
        given: dict[str, Any] = {"data": data, "condition": shape}
        self.features = Features(data)
        self.encoder = make(encoder, **{**given, "data": self.features.spec, "latents": tuple(latent)})
        self.decoder = make(decoder, latent=latent[-1], **given)
        self.prior = make(prior, latent=latent[0], **given)
        self.downward = nn.ModuleList(
            make(network, input=(above,), output=(2 * size,), condition=shape)
            for network, above, size in zip(
                one_for_each(downward, len(latent) - 1, "downward"), latent, latent[1:], strict=False
            )
        )

    def read(self, x: Tensor, y: tuple[Tensor, ...], draw: Draw) -> Sequence[Any]:
        return self.encoder.read(self.features(x), *(y or (None,)), draw)

    def begin(self, lead: torch.Size) -> None:
        return None

    def prior_of(self, layer: int, state: Tensor | None, y: tuple[Tensor, ...]) -> Distribution:
        if state is None:
            return self.prior(*y)
        return DiagonalNormal.packed(self.downward[layer - 1](state, *y))

    def posterior_of(
        self, layer: int, seen: Any, state: Tensor | None, p: Distribution, y: tuple[Tensor, ...]
    ) -> DiagonalNormal:
        return self.encoder.law(layer, seen, state, p, *(y or (None,)))

    def below(self, layer: int, state: Tensor | None, z: Tensor, y: tuple[Tensor, ...]) -> Tensor:
        return z

    def likelihood(self, state: Tensor, y: tuple[Tensor, ...]) -> Distribution:
        return self.decoder(state, *y)
