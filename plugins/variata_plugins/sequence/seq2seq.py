r"""p(x | y) = prod_t p(x_t | x_1 ... x_(t-1), y): the target x is written from what was read of the source y.

    h_1 ... h_S, summary = encoder(y),    p(x_t | ...) = decoder(x_1 ... x_(t-1); summary, h)

The density is exact: all places of a target in one pass. Writing takes a pass for each token.

Sutskever, Vinyals and Le (2014), Sequence to Sequence Learning with Neural Networks, arXiv:1409.3215. Bahdanau, Cho and
Bengio (2015), Neural Machine Translation by Jointly Learning to Align and Translate, arXiv:1409.0473.
"""

from __future__ import annotations

from torch import Tensor

from variata import (
    ConfigError,
    DataSpec,
    Factory,
    Problem,
    Sequences,
    asked_condition,
    conditions_of,
    default,
    given_condition,
    make,
)

from .law import StringLaw
from .parts import Context, Memory, SequenceDecoder, SequenceEncoder
from .written import WritingModel, vocabulary_size


class Seq2Seq(WritingModel):
    """An exact law of targets given their sources. A sample draws a source of training where none is given.

    Args:
        data: what an example is.
        encoder: reads the source.
        decoder: writes the target.

    Raises:
        ConfigError: the data is no strings, or they have no source.
    """

    conditional = True

    def __init__(
        self,
        data: DataSpec,
        *,
        encoder: Factory[SequenceEncoder] = default("sequence_encoder", "gru"),
        decoder: Factory[SequenceDecoder] = default("sequence_decoder", "gru"),
    ) -> None:
        super().__init__(data)
        if data.source is None:
            raise ConfigError(Problem("seq2seq reads a source, and this data has none: use pairs, reversal or copy"))
        self.encoder = make(encoder, vocabulary=len(data.source))
        width = self.encoder.width
        self.decoder = make(decoder, vocabulary=vocabulary_size(data), start=width, memory=width)
        self.conditions = conditions_of(data, True)

    def read(self, y: Tensor) -> Memory:
        """What the encoder makes of sources `[n, width]`."""
        return self.encoder(Sequences(y))

    def law(self, n: int, y: Tensor | None = None) -> StringLaw:
        memory = self.read(*given_condition(self, y))
        return StringLaw(self.decoder, Context(memory.summary, memory), (n,), self.spec.shape[0])

    def sample(self, n: int, condition: Tensor | None = None) -> Tensor:
        return self.law(n, asked_condition(self, n, condition)).sample()

    def looks(self, x: Tensor, y: Tensor) -> Tensor | None:
        """How much of each place of the source each place of the target takes, `[n, places of x, places of y]`; None
        where the decoder does not look."""
        memory = self.read(y)
        return self.decoder.looks(Sequences(x).before(), Context(memory.summary, memory))
