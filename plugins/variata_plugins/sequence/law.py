r"""The law of a string that is written a token at a time,

    log p(x) = sum_t log p(x_t | x_1 ... x_(t-1), context),    t = 1 ... L, x_L the end,

of strings of at most T tokens with their end: at place T nothing but the end is left, so the probabilities of all
strings sum to one. What is padding adds nothing.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from variata import Sequences

from .decoding import beam, drawn, greedy
from .parts import Context, SequenceDecoder

_MOST = 1 << 24  # scores at a time, where no gradient keeps them all anyway


class StringLaw(Distribution):
    """p(x | context), for each of some contexts.

    Args:
        decoder: gives the scores of each next token.
        context: of each string; its batch axis is the flattened batch shape.
        batch_shape: of the law.
        longest: T.
    """

    def __init__(self, decoder: SequenceDecoder, context: Context, batch_shape: Any, longest: int) -> None:
        self.decoder, self.context, self.longest = decoder, context, longest
        super().__init__(torch.Size(batch_shape), torch.Size([longest]), validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        return {}

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_prob_of_tokens(value).sum(-1)

    def log_prob_of_tokens(self, value: Tensor) -> Tensor:
        """log p of each token given those before it, zero where there is none, `[*batch, longest of these]`."""
        strings = Sequences(value)
        lead = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        length = strings.tokens.shape[-1]
        tokens, before = (part.expand(*lead, length).reshape(-1, length) for part in (strings.tokens, strings.before()))
        rows, step = torch.arange(math.prod(self.batch_shape), device=value.device), len(tokens)
        rows = rows.view(self.batch_shape).expand(lead).flatten()
        if not torch.is_grad_enabled():
            step = max(1, _MOST // (max(length, 1) * self.decoder.vocabulary))
        parts = [
            self._log_probs(tokens[i : i + step], before[i : i + step], rows[i : i + step])
            for i in range(0, len(tokens), step)
        ]
        found = torch.cat(parts) if parts else tokens.new_zeros(tokens.shape, dtype=torch.get_default_dtype())
        return found.view(*lead, length) * strings.mask

    def _log_probs(self, tokens: Tensor, before: Tensor, rows: Tensor) -> Tensor:
        whole = len(rows) == math.prod(self.batch_shape)
        free = min(tokens.shape[1], self.longest - 1)  # what is at the last place is sure
        scores = self.decoder(before[:, :free], self.context if whole else self.context.take(rows))
        columns = (tokens[:, :free] - 1).clamp(min=0)  # padding has no score; it is masked afterwards
        found = torch.nn.functional.cross_entropy(scores.flatten(0, 1), columns.flatten(), reduction="none")
        return torch.nn.functional.pad(-found.view(columns.shape), (0, tokens.shape[1] - free))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.drawn(sample_shape=sample_shape)

    def drawn(self, temperature: float = 1.0, sample_shape: Any = ()) -> Tensor:
        """Draws at a temperature, `[*sample, *batch, T]`."""
        shape = torch.Size(sample_shape) + self.batch_shape
        rows = torch.arange(math.prod(self.batch_shape), device=self._like.device)
        context = self.context.take(rows.repeat(math.prod(sample_shape)))
        found = drawn(self.decoder, context, math.prod(shape), self.longest, temperature)
        return found.to(self._like.dtype).view(*shape, self.longest)

    @property
    def mean(self) -> Tensor:
        """The best guess of a string: the most probable token each time."""
        found = greedy(self.decoder, self.context, math.prod(self.batch_shape), self.longest)
        return found.to(self._like.dtype).view(*self.batch_shape, self.longest)

    def best(self, width: int, normalisation: float = 0.0) -> Tensor:
        """The best string that a beam finds (`decoding.py`), `[*batch, T]`."""
        n = math.prod(self.batch_shape)
        found, _ = beam(self.decoder, self.context, n, self.longest, width, normalisation)
        return found[:, 0].to(self._like.dtype).view(*self.batch_shape, self.longest)

    @property
    def _like(self) -> Tensor:
        return next(self.decoder.parameters())
