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
    Loss,
    Model,
    Network,
    NotPrepared,
    Prepares,
    Problem,
    Sampler,
    Split,
    asked_condition,
    conditions_of,
    default,
    given_condition,
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
        prior_loss: what it is fitted by, a loss for that model: `nll`, or `em` of a circuit.
        prior_epochs: how long.
        condition: let encoder and decoder depend on the data's labels (or condition vectors). The prior does where its
            own option says so.

    Raises:
        ConfigError: the prior is no density, or cannot sample, or is none for its loss; or a condition is asked for and
            the data has none.
    """

    prepares_itself = ("prior",)
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
        prior_loss: Factory[Loss] = default("loss", "nll"),
        prior_epochs: PositiveInt = 20,
        condition: bool = False,
    ) -> None:
        super().__init__(data)
        self.conditional, self.conditions = condition, conditions_of(data, condition)
        shape = data.condition_shape if condition else None
        self.encoder: Network = make(encoder, input=data.shape, output=(positions, dimensions), condition=shape)
        self.decoder: Decoder = make(decoder, data=data, latent=positions * dimensions, condition=shape)
        self.codebook = nn.Parameter(torch.randn(codes, dimensions) / math.sqrt(dimensions))
        known = {"classes": data.classes, "condition": data.condition} if condition else {}
        strings = DataSpec((positions,), "levels", levels=codes, high=codes - 1.0, transform="codes", **known)
        self.prior = make(prior, data=strings).requires_grad_(False)
        if not (isinstance(self.prior, Density) and isinstance(self.prior, Sampler)):
            message = f"{type(self.prior).__name__} is no density that samples, and no law of codes"
            raise ConfigError(Problem(f"{message}: use autoregressive", "prior"))
        loss: Loss = make(prior_loss, model=self.prior, data=self.prior.spec)
        self._of_law = (loss,)  # in a tuple: what only the fit needs is no part of the model
        if not isinstance(self.prior, loss.requires):
            message = f"{type(loss).__name__} is no loss for {type(self.prior).__name__}: use nll"
            raise ConfigError(Problem(message, "prior_loss"))
        self.prior_epochs = prior_epochs
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    def nearest(self, h: Tensor) -> Tensor:
        """Numbers of the vectors nearest to h, `[*lead, dimensions]` -> `[*lead]`."""
        # |h|^2 is the same for all of them.
        scores = self.codebook.square().sum(-1) - 2 * h.flatten(0, -2) @ self.codebook.T
        return scores.argmin(-1).view(h.shape[:-1])

    def vectors(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """h of each example, `[batch, positions, dimensions]`."""
        return self.encoder(x, *given_condition(self, y))

    def numbers(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """c of each example, `[batch, positions]`."""
        return self.nearest(self.vectors(x, y))

    def likelihood(self, z: Tensor, y: Tensor | None = None) -> Any:
        """p(x | z), of vectors `[*lead, positions, dimensions]`."""
        return self.decoder(z.flatten(-2), *given_condition(self, y))

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.codebook[self.numbers(x, y)]

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.likelihood(z, y).mean

    def sample(self, n: int, condition: Tensor | None = None) -> Tensor:
        if not self.fitted:
            raise NotPrepared("no law of codes has been fitted yet: training to its end does it")
        y = asked_condition(self, n, condition)
        codes = self.prior.sample(n, y if self.prior.conditional else None)
        return self.likelihood(self.codebook[codes.long()], y).sample()

    @torch.no_grad()
    def prepare(self, stream: Iterable[Batch]) -> None:
        """The codebook becomes what the untrained encoder gives for some examples."""
        found, wanted = [], len(self.codebook)
        for batch in stream:
            found.append(self.vectors(batch.x, batch.y).flatten(0, 1))
            if sum(map(len, found)) >= 16 * wanted:
                break
        every = torch.cat(found)
        self.codebook.copy_(every[torch.arange(wanted, device=every.device) * len(every) // wanted])

    def finish(self, model: Any, stream: Iterable[Batch]) -> None:
        """Fits p(c) to the codes of the training examples, by their likelihood."""
        training = self.training
        self.eval()
        with torch.no_grad():
            pairs = [(self.numbers(batch.x, batch.y).cpu(), batch.y) for batch in stream]
        codes = torch.cat([code for code, _ in pairs])
        labels = torch.cat([y.cpu() for _, y in pairs if y is not None]) if self.prior.conditional else None
        options = {"epochs": self.prior_epochs, "batch_size": 100, "device": str(self.codebook.device)}
        options["optimizer"] = {"use": "adam", "lr": {"use": "cosine", "from": 3e-3, "to": 0.0}}
        self.prior.requires_grad_(True)
        with torch.enable_grad(), tempfile.TemporaryDirectory() as folder:
            strings = Strings(codes, labels, self.prior.spec)
            loss = self._of_law[0].to(self.codebook.device)
            train({"train": options, "seed": 0}, run=Path(folder) / "run", data=strings, model=self.prior, loss=loss)
        self.prior.requires_grad_(False)
        self.fitted.fill_(True)
        self.train(training)


class Strings(Data):
    """Codes of the training examples, `[n, positions]`, as examples of their own."""

    def __init__(self, codes: Tensor, labels: Tensor | None, spec: DataSpec) -> None:
        self.spec, self._codes, self._labels = spec, codes, labels

    def split(self, name: str) -> Split:
        rows = slice(None if name == "train" else 0)
        return Split(self._codes[rows], None if self._labels is None else self._labels[rows])
