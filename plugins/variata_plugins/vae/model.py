r"""p(x) = integral p(x | z) p(z) dz, with q(z | x) for the posterior; everything may depend on a condition y.

Kingma and Welling (2014), Auto-Encoding Variational Bayes, arXiv:1312.6114.
Sohn, Lee and Yan (2015), Learning Structured Output Representation using Deep Conditional Generative Models
(conditions).
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.distributions import Distribution

from variata import (
    ConditionVectors,
    ConfigError,
    DataSpec,
    Decoder,
    Encoder,
    Factory,
    LabelFrequencies,
    LatentVariable,
    Prior,
    Problem,
    Terms,
    default,
    make,
    rsample_and_kl,
)


class VAE(LatentVariable):
    """A variational autoencoder.

    Args:
        data: what an example is.
        latent: dimensions of z.
        encoder: q(z | x[, y]).
        prior: p(z[ | y]).
        decoder: p(x | z[, y]); its law must be one of the data's kind of values.
        condition: let encoder, prior and decoder depend on the data's labels (or condition vectors).

    Raises:
        ConfigError: a condition is asked for and the data has none.
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        latent: PositiveInt,
        encoder: Factory[Encoder] = default("encoder", "gaussian"),
        prior: Factory[Prior] = default("prior", "standard_normal"),
        decoder: Factory[Decoder],
        condition: bool = False,
    ) -> None:
        super().__init__(data)
        shape = data.condition_shape if condition else None
        if condition and shape is None:
            raise ConfigError(Problem("condition: true needs labels, and this data has none"))
        given: dict[str, Any] = {"data": data, "latent": latent, "condition": shape}
        self.conditional = condition
        self.encoder = make(encoder, **given)
        self.decoder = make(decoder, **given)
        self.prior = make(prior, **given)
        self.conditions = None
        if shape is not None:
            self.conditions = LabelFrequencies(data.classes) if data.classes else ConditionVectors(shape)

    def terms(self, x: Tensor, y: Tensor | None = None, samples: int | None = None) -> Terms:
        given = self._given(y)
        layer = rsample_and_kl(self.encoder(x, *given), self.prior(*given), samples)
        likelihood = self.decoder(layer.z, *given)
        return Terms([layer], likelihood.log_prob(x), samples, likelihood)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.encoder(x, *self._given(y)).mean

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.decoder(z, *self._given(y)).mean

    def generate(self, n: int, condition: Tensor | None = None) -> Distribution:
        given = self._given(self._asked(n, condition))
        prior = self.prior(*given)
        return self.decoder(prior.sample() if prior.batch_shape else prior.sample((n,)), *given)

    def _given(self, y: Tensor | None) -> tuple[Tensor, ...]:
        """y as further argument of the parts, where the model is conditional."""
        if not self.conditional:
            return ()
        if y is None:
            raise ValueError("this model is conditional: it needs y")
        if not self.training and self.conditions is not None:
            self.conditions.warn(y)
        return (y,)

    def _asked(self, n: int, condition: Tensor | None) -> Tensor | None:
        """y of n samples: one condition for each, one for all, or drawn."""
        if self.conditions is None:
            if condition is not None:
                raise ConfigError(
                    Problem("this model has no condition: train one with model.condition=true", "condition")
                )
            return None
        if condition is None:
            return self.conditions.draw(n)
        device = next((p.device for p in self.parameters()), torch.device("cpu"))
        y = torch.as_tensor(condition, device=device)
        own = 0 if self.spec.classes else len(self.spec.condition_shape or ())
        y = y.expand(n, *y.shape) if y.ndim == own else y
        if len(y) != n:
            raise ConfigError(Problem(f"{n} samples need {n} conditions, or one for all (got {len(y)})", "condition"))
        self.conditions.check(y)
        return y
