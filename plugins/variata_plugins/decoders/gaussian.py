r"""p(x | z) = N(x; mu(z), diag(s^2)), a density of real x, with

    s^2 = exp(l) + floor^2,

where exp(l) is fixed, one learned number, or the network's for each element. Without a floor the likelihood has no
upper bound: where a mean meets its x exactly, s -> 0 sends the density to infinity (Mattei and Frellsen, 2018,
Leveraging the Exact Likelihood of Deep Latent Variable Models, arXiv:1802.04826). A scale that the floor decides is
reported after training.

Rybkin, Daniilidis and Levine (2021), Simple and Effective VAE Training with Calibrated Decoders, arXiv:2006.13202 (the
shared scale).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any, Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn

from variata import (
    Autoencoder,
    Batch,
    ConfigError,
    DataSpec,
    Decoder,
    DiagonalNormal,
    Factory,
    Finishes,
    Network,
    Problem,
    Shape,
    VariataWarning,
    default,
    make,
)

from .parameters import packed_shape, unpacked


class GaussianDecoder(Decoder, Finishes):
    """Independent real numbers.

    Args:
        data, latent, condition: sizes, from the model.
        scale: a number fixes s, in units of the data; "shared" learns one for all elements, "per_output" lets the
            network give one for each element.
        floor: the least scale that is learned, in units of the data.
        network: gives mu, and the scales where they are per output.

    Raises:
        ConfigError: the scale that is fixed lies below the floor.
    """

    models = ("real", "interval")
    at_floor: Tensor

    def __init__(
        self,
        data: DataSpec,
        latent: int,
        condition: Shape | None,
        *,
        scale: PositiveFloat | Literal["shared", "per_output"] = "shared",
        floor: PositiveFloat = 1e-3,
        network: Factory[Network] = default("network", "mlp"),
    ) -> None:
        super().__init__(data)
        if isinstance(scale, float | int) and scale < floor:
            raise ConfigError(Problem(f"the scale {scale:g} lies below the floor {floor:g}: lower the floor as well"))
        self.shape, self.scale, self.log_floor = data.shape, scale, 2 * math.log(floor)
        self.count = 2 if scale == "per_output" else 1
        output = packed_shape(data.shape, self.count)
        self.network = make(network, input=(latent,), output=output, condition=condition)
        self.logvar = nn.Parameter(torch.zeros(())) if scale == "shared" else None
        self.register_buffer("at_floor", torch.zeros((), dtype=torch.bool), persistent=False)
        self._watching = False

    def forward(self, z: Tensor, y: Tensor | None = None) -> DiagonalNormal:
        mean, *learned = unpacked(self.network(z, y), self.shape, self.count).unbind(-1)
        if isinstance(self.scale, float | int):
            return DiagonalNormal(mean, torch.full_like(mean, 2 * math.log(self.scale)), len(self.shape))
        logvar = learned[0] if self.logvar is None else self.logvar
        if self._watching or (self.training and self.logvar is not None):
            self._watch(logvar)
        logvar = torch.logaddexp(logvar, torch.full_like(logvar, self.log_floor))
        return DiagonalNormal(mean, logvar.expand_as(mean), len(self.shape))

    @torch.no_grad()
    def _watch(self, logvar: Tensor) -> None:
        """Notes, without reading it, whether the floor is the greater part of any variance."""
        found = (logvar < self.log_floor).any()
        self.at_floor.copy_(found | self.at_floor if self._watching else found)

    @torch.no_grad()
    def finish(self, model: Any, stream: Iterable[Batch]) -> None:
        """Says so where the floor decides a scale at the end of training: the shared one, or, of those that the network
        gives, any at the code of any training example."""
        if self.scale == "per_output" and isinstance(model, Autoencoder):
            training, self._watching = model.training, True
            model.eval()
            for batch in stream:
                model.reconstruct(batch.x, batch.y)
            model.train(training)
            self._watching = False
        if self.at_floor:
            floor = math.exp(self.log_floor / 2)
            message = (
                f"a scale of the Gaussian decoder reached its floor ({floor:g}): the likelihood is what the floor "
                "makes it; check the data for constant elements or for levels (data.dequantize), or choose the floor"
            )
            warnings.warn(message, VariataWarning, stacklevel=2)
