r"""z = f(x~), x~ ~ C(x~ | x), and the decoder's law of x given z for P(x | x~): the denoising autoencoder.

The point r(x~) with the least squared error is E[x | x~]. For normal noise of variance s^2 it tells the slope of the
log density q of the corrupted data, (r(x~) - x~) / s^2 = d log q(x~) / dx~, and for small s that of the data.

Vincent, Larochelle, Bengio and Manzagol (2008), Extracting and Composing Robust Features with Denoising Autoencoders.
Bengio, Yao, Alain and Vincent (2013), Generalized Denoising Auto-Encoders as Generative Models, arXiv:1305.6663
(sampling). Alain and Bengio (2014), What Regularized Auto-Encoders Learn from the Data-Generating Distribution,
arXiv:1211.4246.
"""

from __future__ import annotations

from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor
from torch.distributions import Distribution

from variata import Corruption, DataSpec, Decoder, Factory, Network, default, make

from .chain import DenoisingChain, IndependentElements, State
from .pair import Code, Pair


class DenoisingAutoencoder(Pair, DenoisingChain):
    """A denoising autoencoder.

    Args:
        data: what an example is.
        latent: dimensions of z.
        corruption: C.
        encoder: f.
        decoder: gives P(x | x~), or a point: then the chain goes from point to point, and only the corruption moves it.
        code: what is applied to f(x~).
        condition: let encoder and decoder depend on the data's labels (or condition vectors).
        burn_in, chains, thinning: as for every `Chain`, in steps.

    Raises:
        ConfigError: a condition is asked for and the data has none.
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        latent: PositiveInt,
        corruption: Factory[Corruption] = default("corruption", "masking"),
        encoder: Factory[Network] = default("network", "mlp"),
        decoder: Factory[Decoder] = default("decoder", "point"),
        code: Code = "linear",
        condition: bool = False,
        burn_in: NonNegativeInt = 100,
        chains: PositiveInt | None = None,
        thinning: PositiveInt = 10,
    ) -> None:
        super().__init__(data, latent, encoder, decoder, code, condition)
        self.corruption: Corruption = make(corruption, data=data)
        self.origin = IndependentElements(data)
        self.burn_in, self.chains, self.thinning = burn_in, chains, thinning

    def memory(self, n: int) -> State:
        return ()

    def restore(self, x: Tensor, memory: State, y: Tensor | None = None) -> tuple[Distribution, State]:
        return self.law(self.encode(self.corruption(x), y), y), ()
