r"""p(x | z) = prod_i softmax(a_i(z))[x_i]: a weight for each level of each element, with no notion of which are near.

van den Oord, Kalchbrenner and Kavukcuoglu (2016), Pixel Recurrent Neural Networks, arXiv:1601.06759 (section 3.4).
"""

from __future__ import annotations

import torch
from torch import Tensor

from variata import DataSpec, Decoder, Factory, Network, Shape, default, make

from .levels import LawOfLevels, Levels
from .parameters import packed_shape, unpacked


class CategoricalDecoder(Decoder):
    """Independent levels.

    Args:
        data, latent, condition: sizes, from the model.
        network: gives a logit for each level of each element.
    """

    models = ("levels",)

    def __init__(
        self,
        data: DataSpec,
        latent: int,
        condition: Shape | None,
        *,
        network: Factory[Network] = default("network", "mlp"),
    ) -> None:
        super().__init__(data)
        self.shape, self.levels = data.shape, Levels(data)
        output = packed_shape(data.shape, self.levels.count)
        self.network = make(network, input=(latent,), output=output, condition=condition)

    def forward(self, z: Tensor, y: Tensor | None = None) -> CategoricalLevels:
        logits = unpacked(self.network(z, y), self.shape, self.levels.count)
        return CategoricalLevels(self.levels, logits, len(self.shape))


class CategoricalLevels(LawOfLevels):
    """Independent categorical laws.

    Args:
        levels: the levels.
        logits: `[*batch, *event, levels]`.
        event_dims: how many axes are one event.
    """

    def __init__(self, levels: Levels, logits: Tensor, event_dims: int) -> None:
        super().__init__(levels, logits.shape[:-1], event_dims)
        self.log_weights = logits.log_softmax(-1)

    def log_prob_of_level(self, index: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(index.shape, self.log_weights.shape[:-1])
        weights = self.log_weights.expand(*shape, -1)
        return weights.gather(-1, index.long().expand(shape).unsqueeze(-1)).squeeze(-1)

    def sample_level(self, shape: torch.Size) -> Tensor:
        weights = self.log_weights.exp().expand(*shape, -1)
        drawn = torch.multinomial(weights.reshape(-1, self.levels.count), 1, replacement=True)
        return drawn.reshape(shape).to(self.log_weights.dtype)

    def mean_level(self) -> Tensor:
        index = torch.arange(self.levels.count, dtype=self.log_weights.dtype, device=self.log_weights.device)
        return self.log_weights.exp() @ index
