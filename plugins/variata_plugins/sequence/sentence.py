r"""The two ends of a sentence VAE,

    q(z | x) = N(mu(h), diag(sigma(h)^2)),  h the summary of x      p(x | z) = prod_t p(x_t | x_1 ... x_(t-1), z)

The model `vae` is made of them, with any prior and any bound. A decoder that is told every token before needs no z, and
the posterior collapses onto the prior: against that stand word dropout (an option of the writer), a weight of the KL
term that rises (`beta`), free bits, and a bag of words that z alone must tell (`bag_of_words.py`).

Bowman, Vilnis, Vinyals, Dai, Jozefowicz and Bengio (2016), Generating Sentences from a Continuous Space,
arXiv:1511.06349.
"""

from __future__ import annotations

from torch import Tensor, nn

from variata import (
    ConfigError,
    DataSpec,
    Decoder,
    DiagonalNormal,
    Encoder,
    Factory,
    Problem,
    Sequences,
    Shape,
    default,
    make,
)

from .law import StringLaw
from .parts import Context, SequenceDecoder, SequenceEncoder
from .written import check_strings, vocabulary_size


class SentenceEncoder(Encoder):
    """A diagonal Gaussian posterior of strings.

    Args:
        data, latent, condition: sizes, from the model.
        reader: reads the string.

    Raises:
        ConfigError: the data is no strings; or a condition, which it does not read.
    """

    sequences = True

    def __init__(
        self,
        data: DataSpec,
        latent: int,
        condition: Shape | None,
        *,
        reader: Factory[SequenceEncoder] = default("sequence_encoder", "gru"),
    ) -> None:
        super().__init__()
        check_strings(data, "the encoder sentence reads strings of tokens")
        _check_unconditional(condition)
        self.reader = make(reader, vocabulary=vocabulary_size(data))
        self.head = nn.Linear(self.reader.width, 2 * latent)

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiagonalNormal:
        return DiagonalNormal.packed(self.head(self.reader(Sequences(x)).summary))


class SentenceDecoder(Decoder):
    """The law of a string that is written from z.

    Args:
        data, latent, condition: sizes, from the model.
        writer: gives the scores of each next token.

    Raises:
        ConfigError: the data is no strings; or a condition, which it does not read.
    """

    models = ("tokens",)

    def __init__(
        self,
        data: DataSpec,
        latent: int,
        condition: Shape | None,
        *,
        writer: Factory[SequenceDecoder] = default("sequence_decoder", "gru"),
    ) -> None:
        super().__init__(data)
        _check_unconditional(condition)
        self.longest = data.shape[0]
        self.writer = make(writer, vocabulary=vocabulary_size(data), start=latent, memory=None)

    def forward(self, z: Tensor, y: Tensor | None = None) -> StringLaw:
        return StringLaw(self.writer, Context(z.reshape(-1, z.shape[-1])), z.shape[:-1], self.longest)


def _check_unconditional(condition: Shape | None) -> None:
    if condition is not None:
        message = "a sentence VAE reads no condition: remove condition, or use the model seq2seq for sources"
        raise ConfigError(Problem(message))
