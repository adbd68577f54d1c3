r"""p(x) = sum_c p(c) p(x | e_c), with an encoder that gives one string c for each x, and so no posterior.

    h = encoder(x) [positions, dimensions],   c_i = argmin_k |h_i - e_k|^2,   z_i = h_i + (e_(c_i) - h_i),

where the bracket is held constant: the decoder sees the codebook's vectors, and the encoder gets the gradient that
they get ("straight through").

van den Oord, Vinyals and Kavukcuoglu (2017), Neural Discrete Representation Learning, arXiv:1711.00937.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from variata import (
    Autoencoder,
    Batch,
    ConfigError,
    Data,
    DataSpec,
    Decoder,
    Density,
    Factory,
    Finishes,
    Model,
    Network,
    NotPrepared,
    Prepares,
    Problem,
    Sampler,
    Split,
    default,
    make,
    train,
)


class VQVAE(Sampler, Autoencoder, Prepares, Finishes):
    """An autoencoder with a codebook. `encode` gives the vectors, `[batch, positions, dimensions]`; `numbers` gives
    their numbers.

    Args:
        data: what an example is.
        codes: K, how many vectors there are.
        positions: how many of them an example is coded by.
        dimensions: of each.
        encoder: gives the vectors that are then replaced by their nearest ones.
        decoder: p(x | z); its law must be one of the data's kind of values.
        prior: p(c), a `Density` that samples. It is fitted after training, to the codes of the training examples.
        prior_epochs: how long.

    Raises:
        ConfigError: the prior is no density, or cannot sample.
    """

    fitted: Tensor

    def __init__(
        self,
        data: DataSpec,
        *,
        codes: Annotated[int, Field(ge=2)] = 128,
        positions: PositiveInt = 16,
        dimensions: PositiveInt = 16,
        encoder: Factory[Network] = default("network", "mlp"),
        decoder: Factory[Decoder],
        prior: Factory[Model] = default("model", "autoregressive"),
        prior_epochs: PositiveInt = 20,
    ) -> None:
        super().__init__(data)
        self.encoder: Network = make(encoder, input=data.shape, output=(positions, dimensions), condition=None)
        self.decoder: Decoder = make(decoder, data=data, latent=positions * dimensions, condition=None)
        self.codebook = nn.Parameter(torch.randn(codes, dimensions) / math.sqrt(dimensions))
        strings = DataSpec((positions,), "levels", levels=codes, high=codes - 1.0, transform="codes")
        self.prior = make(prior, data=strings).requires_grad_(False)
        if not (isinstance(self.prior, Density) and isinstance(self.prior, Sampler)):
            message = f"{type(self.prior).__name__} is no density that samples, and no law of codes"
            raise ConfigError(Problem(f"{message}: use autoregressive", "prior"))
        self.prior_epochs = prior_epochs
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    def nearest(self, h: Tensor) -> Tensor:
        """Numbers of the vectors nearest to h, `[*lead, dimensions]` -> `[*lead]`."""
        # |h|^2 is the same for all of them.
        scores = self.codebook.square().sum(-1) - 2 * h.flatten(0, -2) @ self.codebook.T
        return scores.argmin(-1).view(h.shape[:-1])

    def numbers(self, x: Tensor) -> Tensor:
        """c of each example, `[batch, positions]`."""
        return self.nearest(self.encoder(x))

    def likelihood(self, z: Tensor) -> Any:
        """p(x | z), of vectors `[*lead, positions, dimensions]`."""
        return self.decoder(z.flatten(-2))

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.codebook[self.numbers(x)]

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.likelihood(z).mean

    def sample(self, n: int, condition: Tensor | None = None) -> Tensor:
        if condition is not None:
            raise ConfigError(Problem("this model has no condition", "condition"))
        if not self.fitted:
            raise NotPrepared("no law of codes has been fitted yet: training to its end does it")
        return self.likelihood(self.codebook[self.prior.sample(n).long()]).sample()

    @torch.no_grad()
    def prepare(self, stream: Iterable[Batch]) -> None:
        """The codebook becomes what the untrained encoder gives for some examples."""
        found, wanted = [], len(self.codebook)
        for batch in stream:
            found.append(self.encoder(batch.x).flatten(0, 1))
            if sum(map(len, found)) >= 16 * wanted:
                break
        every = torch.cat(found)
        self.codebook.copy_(every[torch.arange(wanted, device=every.device) * len(every) // wanted])

    def finish(self, model: Any, stream: Iterable[Batch]) -> None:
        """Fits p(c) to the codes of the training examples, by their likelihood."""
        self.eval()
        with torch.no_grad():
            codes = torch.cat([self.numbers(batch.x).cpu() for batch in stream])
        options = {"epochs": self.prior_epochs, "batch_size": 100, "device": str(self.codebook.device)}
        options["optimizer"] = {"use": "adam", "lr": {"use": "cosine", "from": 3e-3, "to": 0.0}}
        self.prior.requires_grad_(True)
        with torch.enable_grad(), tempfile.TemporaryDirectory() as folder:
            config = {"loss": "nll", "train": options, "seed": 0}
            train(config, run=Path(folder) / "run", data=Strings(codes, self.prior.spec), model=self.prior)
        self.prior.requires_grad_(False)
        self.fitted.fill_(True)


class Strings(Data):
    """Codes of the training examples, `[n, positions]`, as examples of their own."""

    def __init__(self, codes: Tensor, spec: DataSpec) -> None:
        self.spec, self._codes = spec, codes

    def split(self, name: str) -> Split:
        return Split(self._codes if name == "train" else self._codes[:0])
