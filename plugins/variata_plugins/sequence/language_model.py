r"""p(x) = prod_t p(x_t | x_1 ... x_(t-1)), a law of strings by themselves.

Mikolov, Karafiat, Burget, Cernocky and Khudanpur (2010), Recurrent neural network based language model.
"""

from __future__ import annotations

from torch import Tensor

from variata import DataSpec, Factory, asked_condition, default, make

from .law import StringLaw
from .parts import Context, SequenceDecoder
from .written import WritingModel, vocabulary_size


class LanguageModel(WritingModel):
    """An exact law of strings; a source, where the data has one, is not read.

    Args:
        data: what an example is.
        decoder: gives the scores of each next token.

    Raises:
        ConfigError: the data is no strings.
    """

    def __init__(
        self, data: DataSpec, *, decoder: Factory[SequenceDecoder] = default("sequence_decoder", "lstm")
    ) -> None:
        super().__init__(data)
        self.decoder = make(decoder, vocabulary=vocabulary_size(data), start=None, memory=None)

    def law(self, n: int, y: Tensor | None = None) -> StringLaw:
        return StringLaw(self.decoder, Context(), (n,), self.spec.shape[0])

    def sample(self, n: int, condition: Tensor | None = None) -> Tensor:
        asked_condition(self, n, condition)
        return self.law(n).sample()
