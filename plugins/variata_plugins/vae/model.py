r"""p(x) = integral p(x | z) p(z) dz, with q(z | x) for the posterior; everything may depend on a condition y.

Kingma and Welling (2014), Auto-Encoding Variational Bayes, arXiv:1312.6114.
Sohn, Lee and Yan (2015), Learning Structured Output Representation using Deep Conditional Generative Models
(conditions).
"""

from __future__ import annotations

from typing import Any

from pydantic import PositiveInt
from torch import Tensor
from torch.distributions import Distribution

from variata import (
    ConfigError,
    DataSpec,
    Decoder,
    Encoder,
    Factory,
    Features,
    LatentVariable,
    Prior,
    Problem,
    Terms,
    asked_condition,
    conditions_of,
    default,
    given_condition,
    make,
    registry,
    rsample_and_kl,
)


class VAE(LatentVariable):
    """A variational autoencoder. The encoder reads the features of an example (`variata.Features`): the example itself,
    or, of the row of a table, what networks can see of it. Strings are for encoders that say that they read them.

    Args:
        data: what an example is.
        latent: dimensions of z.
        encoder: q(z | x[, y]).
        prior: p(z[ | y]).
        decoder: p(x | z[, y]); its law must be one of the data's kind of values.
        condition: let encoder, prior and decoder depend on the data's labels (or condition vectors).

    Raises:
        ConfigError: a condition is asked for and the data has none; or it is strings, which the encoder cannot read.
    """

    tables = True
    sequences = True

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
        self.conditional, conditions = condition, conditions_of(data, condition)
        shape = data.condition_shape if condition else None
        given: dict[str, Any] = {"data": data, "latent": latent, "condition": shape}
        self.features = Features(data)
        self.encoder = make(encoder, **{**given, "data": self.features.spec})
        if data.support == "tokens" and not getattr(self.encoder, "sequences", False):
            takers = ", ".join(registry().able("encoder", "sequences"))
            remedy = f"use an encoder for it ({takers})" if takers else "choose other data"
            message = f"{type(self.encoder).__name__} reads numbers, and the data is {data.describe()}: {remedy}"
            raise ConfigError(Problem(message, "model.encoder"))
        self.decoder = make(decoder, **given)
        self.prior = make(prior, **given)
        self.conditions = conditions

    def terms(self, x: Tensor, y: Tensor | None = None, samples: int | None = None) -> Terms:
        given = given_condition(self, y)
        layer = rsample_and_kl(self.encoder(self.features(x), *given), self.prior(*given), samples)
        likelihood = self.decoder(layer.z, *given)
        return Terms([layer], likelihood.log_prob(x), samples, likelihood)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.encoder(self.features(x), *given_condition(self, y)).mean

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.decoder(z, *given_condition(self, y)).mean

    def generate(self, n: int, condition: Tensor | None = None) -> Distribution:
        given = given_condition(self, asked_condition(self, n, condition))
        prior = self.prior(*given)
        return self.decoder(prior.sample() if prior.batch_shape else prior.sample((n,)), *given)
