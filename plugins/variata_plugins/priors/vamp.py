r"""The variational mixture of posteriors,

    p(z) = 1/K sum_k q(z | u_k),

with the model's own encoder q and K pseudo-inputs u_k. If the u_k were all training examples, it would be the aggregate
posterior, which is the best prior there is for this encoder. With fewer, they are learned with everything else, or are
K training examples that stay as they are (exemplars); learned ones start at such examples, and stay within the range
of the data's values. Given y, each posterior is that of (u_k, y).

Tomczak and Welling (2018), VAE with a VampPrior, arXiv:1705.07120 ("VampPrior data" are the exemplars). Norouzi, Fleet
and Norouzi (2020), Exemplar VAE, arXiv:2004.04795.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, MixtureSameFamily

from variata import (
    Batch,
    ConfigError,
    DataError,
    DataSpec,
    DiagonalNormal,
    Encoder,
    NotPrepared,
    Prepares,
    Prior,
    Problem,
    Shared,
    Unsupported,
)

from .mixture import DiagonalMixture


class VampPrior(Prior, Prepares):
    """The mixture of the posteriors of K inputs.

    Args:
        data: what an example is, from the model.
        components: K.
        exemplars: the inputs are training examples and are not learned.
        encoder: the model's.

    Raises:
        ConfigError: the data is a table of mixed columns, or lacks values.
    """

    known: Tensor

    def __init__(
        self,
        data: DataSpec,
        *,
        components: PositiveInt = 500,
        exemplars: bool = False,
        encoder: Shared[Encoder],
    ) -> None:
        super().__init__()
        if not data.regular:
            what = f"the inputs of a VampPrior are examples that are learned, and the data is {data.describe()}"
            raise ConfigError(Problem(f"{what}: use another prior"))
        self.encoder, self.low, self.high = cast(Encoder, encoder), data.low, data.high
        self.inputs = nn.Parameter(torch.zeros(components, *data.shape), requires_grad=not exemplars)
        self.register_buffer("known", torch.zeros((), dtype=torch.bool))

    def forward(self, y: Tensor | None = None) -> Distribution:
        if not self.known:
            raise NotPrepared("the VampPrior has no inputs yet: call variata.prepare(model, data)")
        inputs = self.inputs.clamp(self.low, self.high)
        return _equal_mixture(self.encoder(inputs) if y is None else self._given(inputs, y), inputs)

    def prepare(self, stream: Iterable[Batch]) -> None:
        """K training examples, drawn without replacement (and again, where there are fewer than K)."""
        examples = sum(len(batch) for batch in stream)
        if not examples:
            raise DataError("there is no training example that the VampPrior could start from")
        rows = torch.randperm(examples, generator=torch.Generator().manual_seed(0))[: len(self.inputs)]
        drawn, start = [], 0
        for batch in stream:
            inside = rows[(rows >= start) & (rows < start + len(batch))]
            drawn.append(batch.x[(inside - start).to(batch.x.device)])
            start += len(batch)
        again = torch.arange(len(self.inputs)) % len(rows)
        with torch.no_grad():
            self.inputs.copy_(torch.cat(drawn)[again])
            self.known.fill_(True)

    def _given(self, inputs: Tensor, y: Tensor) -> Distribution:
        """The posteriors of all inputs for each y, batch shape `[batch, K]`; equal conditions are encoded once."""
        conditions, rows = y.unique(dim=0, return_inverse=True)
        pairs = inputs.repeat(len(conditions), *[1] * (inputs.ndim - 1)), conditions.repeat_interleave(len(inputs), 0)
        q = self.encoder(*pairs)
        if not isinstance(q, DiagonalNormal):
            raise Unsupported(f"a VampPrior given y needs a diagonal Gaussian posterior, and not a {type(q).__name__}")
        mean, logvar = (part.unflatten(0, (len(conditions), -1))[rows] for part in (q.mu, q.logvar))
        return DiagonalNormal(mean, logvar)


def _equal_mixture(components: Distribution, like: Tensor) -> Distribution:
    """Of batch shape `[*batch, K]`; `like` says on which device, and in which precision."""
    logits = like.new_zeros(components.batch_shape[-1])
    if isinstance(components, DiagonalNormal):
        return DiagonalMixture(components, logits.log_softmax(-1))
    return MixtureSameFamily(Categorical(logits=logits, validate_args=False), components, validate_args=False)
