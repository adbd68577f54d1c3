r"""Tokens as vectors, with word dropout: each token that a decoder is told was written before becomes the unknown one
with some probability while it learns, so that it must rely on what it writes from.

Bowman, Vilnis, Vinyals, Dai, Jozefowicz and Bengio (2016), Generating Sentences from a Continuous Space,
arXiv:1511.06349.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from variata import END, UNKNOWN

Probability = Annotated[float, Field(ge=0, le=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]


class Embedding(nn.Module):
    """A vector for each token, padding included: it stands before the first token.

    Args:
        vocabulary: how many tokens there are.
        width: of a vector.
        dropout: of its elements.
        word_dropout: of whole tokens.
    """

    def __init__(self, vocabulary: int, width: int, dropout: float, word_dropout: float = 0.0) -> None:
        super().__init__()
        self.vectors, self.dropout, self.word_dropout = nn.Embedding(vocabulary, width), dropout, word_dropout

    def forward(self, tokens: Tensor) -> Tensor:
        """`[*lead]` -> `[*lead, width]`."""
        if self.training and self.word_dropout:
            dropped = (torch.rand(tokens.shape, device=tokens.device) < self.word_dropout) & (tokens > END)
            tokens = tokens.masked_fill(dropped, UNKNOWN)
        return nn.functional.dropout(self.vectors(tokens), self.dropout, self.training)
