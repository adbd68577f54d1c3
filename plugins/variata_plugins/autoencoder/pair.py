r"""z = s(f(x[, y])),  and a law of x (or a point) given z[, y]."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import relu

from variata import Autoencoder, DataSpec, Decoder, Factory, Network, conditions_of, given_condition, make

Code = Literal["linear", "relu", "sigmoid", "tanh"]
_CODES = {"linear": lambda z: z, "relu": relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}


class Pair(Autoencoder):
    """An encoder and a decoder.

    Args:
        data: what an example is.
        latent: dimensions of z.
        encoder: f.
        decoder: gives a law of x, or a point.
        code: s.
        condition: let both depend on the data's labels (or condition vectors).
    """

    def __init__(
        self,
        data: DataSpec,
        latent: int,
        encoder: Factory[Network],
        decoder: Factory[Decoder],
        code: Code,
        condition: bool,
    ) -> None:
        super().__init__(data)
        self.conditional, self.conditions = condition, conditions_of(data, condition)
        shape = data.condition_shape if condition else None
        self.latent, self.code = latent, code
        self.encoder: Network = make(encoder, input=data.shape, output=(latent,), condition=shape)
        self.decoder: Decoder = make(decoder, data=data, latent=latent, condition=shape)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return _CODES[self.code](self.encoder(x, *given_condition(self, y)))

    def law(self, z: Tensor, y: Tensor | None = None) -> Distribution:
        """What the decoder gives, of batch shape `[*lead]`, for codes `[*lead, latent]`."""
        return self.decoder(z, *given_condition(self, y))

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.law(z, y).mean
