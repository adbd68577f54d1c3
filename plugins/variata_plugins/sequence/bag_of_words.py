r"""A bound, and the words of the string told by z alone:

    minimise  -ELBO(x) - w E_q[ sum_t log p(x_t | z) ],   the same softmax(f(z)) at every place

What z must tell without the words before cannot be left to a decoder that knows them. The bag is no part of the bound:
elbo, reconstruction and kl are logged as they are, and the bag beside them.

Zhao, Zhao and Eskenazi (2017), Learning Discourse-level Diversity for Neural Dialog Models using Conditional
Variational Autoencoders, arXiv:1703.10960.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from variata import (
    END,
    UNKNOWN,
    Batch,
    ConfigError,
    DataSpec,
    Factory,
    LatentVariable,
    Loss,
    Now,
    Objective,
    OnePhaseLoss,
    Problem,
    Sequences,
    Term,
    default,
    make,
)
from variata_plugins.vae.elbo import ELBO

from .written import check_strings, vocabulary_size


class BagOfWords(OnePhaseLoss):
    """The bound `elbo` with any of its options, and the bag of words. What tells it belongs to the loss.

    Args:
        model: whose z tells the words.
        data: what an example is.
        bound: the bound that is maximised besides.
        weight: w.
        hidden: units of the layer between z and the words.

    Raises:
        ConfigError: the data is no strings; the bound is another one.
    """

    requires = LatentVariable
    gathers = True

    def __init__(
        self,
        model: Any,
        data: DataSpec,
        *,
        bound: Factory[Loss] = default("loss", "elbo"),
        weight: NonNegativeFloat = 1.0,
        hidden: PositiveInt = 128,
    ) -> None:
        super().__init__()
        check_strings(data, "bag_of_words tells the words of strings")
        if not isinstance(model, LatentVariable):
            raise ConfigError(
                Problem(f"bag_of_words needs a model that is a LatentVariable, not {type(model).__name__}")
            )
        self.bound, self.weight = make(bound, model=model, data=data), weight
        if not isinstance(self.bound, ELBO):
            raise ConfigError(Problem("the bound beside a bag of words is elbo, with any of its options", "loss.bound"))
        self.couples_batch = self.bound.couples_batch
        self.words = nn.Sequential(
            nn.Linear(_width_of_z(model, data), hidden), nn.Tanh(), nn.Linear(hidden, vocabulary_size(data) - UNKNOWN)
        )

    def forward(self, model: LatentVariable, batch: Batch, now: Now) -> Objective:
        terms = model.terms(batch.x, batch.y, None if self.bound.samples == 1 else self.bound.samples)
        objective = self.bound.of_terms(terms, now)
        z = torch.cat([layer.z.flatten(layer.z.ndim - len(layer.q.event_shape)) for layer in terms.layers], dim=-1)
        bag = terms.mean_over_samples(self.log_prob(z, batch.x))
        return Objective(
            {**objective.terms, "bag_of_words": Term(-bag, self.weight)}, {**objective.metrics, "bag": bag.detach()}
        )

    def log_prob(self, z: Tensor, x: Tensor) -> Tensor:
        """sum_t log p(x_t | z) over the words of x, the end left out, `[*samples, batch]`."""
        tokens = Sequences(x).tokens
        columns, is_word = (tokens - UNKNOWN).clamp(min=0), tokens >= UNKNOWN
        log_p = self.words(z).log_softmax(-1)
        columns = columns.expand(*log_p.shape[:-1], -1)
        return (log_p.gather(-1, columns) * is_word).sum(-1)


@torch.no_grad()
def _width_of_z(model: LatentVariable, data: DataSpec) -> int:
    """Of all layers together, from the model's own terms of the empty string."""
    x = torch.zeros(1, *data.shape)
    x[:, 0] = END
    with torch.random.fork_rng(devices=[]):
        return sum(layer.q.event_shape.numel() for layer in model.terms(x).layers)
