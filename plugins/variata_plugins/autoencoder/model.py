r"""z = f(x), x' = g(z); to sample, z is drawn from a density that is fitted to the codes after training.

Bourlard and Kamp (1988), Auto-association by multilayer perceptrons and singular value decomposition. Hinton and
Salakhutdinov (2006), Reducing the Dimensionality of Data with Neural Networks. Ghosh, Sajjadi, Vergari, Black and
Schoelkopf (2020), From Variational to Deterministic Autoencoders, arXiv:1903.12436 (ex-post density).
"""

from __future__ import annotations

from pydantic import PositiveInt
from torch import Tensor

from variata import DataSpec, Decoder, Factory, Network, Prior, Sampler, asked_condition, default, given_condition, make

from .pair import Code, Pair


class DeterministicAutoencoder(Pair, Sampler):
    """An autoencoder.

    Args:
        data: what an example is.
        latent: dimensions of z.
        encoder: f.
        decoder: gives a law of x, or a point.
        code: what is applied to f(x).
        prior: what z is drawn from; those that are fitted after training are the ones that suit the codes.
        condition: let all of them depend on the data's labels (or condition vectors).

    Raises:
        ConfigError: a condition is asked for and the data has none.
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        latent: PositiveInt,
        encoder: Factory[Network] = default("network", "mlp"),
        decoder: Factory[Decoder] = default("decoder", "point"),
        code: Code = "linear",
        prior: Factory[Prior] = default("prior", "ex_post_gaussian"),
        condition: bool = False,
    ) -> None:
        super().__init__(data, latent, encoder, decoder, code, condition)
        shape = data.condition_shape if condition else None
        self.prior: Prior = make(prior, data=data, latent=latent, condition=shape)

    def sample(self, n: int, condition: Tensor | None = None) -> Tensor:
        """x ~ p(x | z), or the nearest point that the data may have; z ~ the prior.

        Raises:
            NotPrepared: the prior is fitted after training, and has not been.
        """
        y = asked_condition(self, n, condition)
        prior = self.prior(*given_condition(self, y))
        z = prior.sample() if prior.batch_shape else prior.sample((n,))
        return self.law(z, y).sample()
