r"""Models of strings of tokens.

    language model         p(x) = prod_t p(x_t | x_1 ... x_(t-1))
    sequence to sequence   p(x | y),  y read by an encoder, and looked at by an attention
    sentence VAE           p(x) = integral p(x | z) p(z) dz,  p(x | z) by a decoder that begins from z

Each writes a string token by token, so its law is exact given what it is written from: all places of a known string in
one pass, a pass for each token where it is drawn. Probabilities of all strings of at most T tokens sum to one.

Here: what reads and writes strings (`parts.py`; `recurrent.py`, `transformer.py`, with `embedding.py` and
`attention.py`), the law of a string (`law.py`) and how one is written (`decoding.py`), the models (`written.py`,
`language_model.py`, `seq2seq.py`), training on own draws (`scheduled_sampling.py`), what was written beside what was
asked for (`metrics.py`, `bleu.py`), the command `generate` (`command.py`, `writing.py`) and `attention_maps.py`. The
sentence VAE is the model `vae` with an encoder and a decoder of strings (`sentence.py`), to which belong a loss
(`bag_of_words.py`), a metric (`permuted_codes.py`) and what stands between two sentences (`interpolation.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from variata import Command, Component, Kind, hookimpl

if TYPE_CHECKING:
    from variata import EvaluationContext, RunContext

_HERE = "variata_plugins.sequence"


@hookimpl
def variata_kinds() -> list[Kind]:
    """What reads strings, what writes them, and how the one looks at the other."""
    return [
        Kind("sequence_encoder", f"{_HERE}.parts:SequenceEncoder", "Reads strings of tokens"),
        Kind("sequence_decoder", f"{_HERE}.parts:SequenceDecoder", "Writes strings of tokens"),
        Kind("attention", f"{_HERE}.parts:Attention", "How a decoder looks at what an encoder read"),
    ]


@hookimpl
def variata_components() -> list[Component]:
    """Parts, models, losses."""
    return [
        Component("sequence_encoder", "gru", f"{_HERE}.recurrent:GRUEncoder", "Gated recurrent units, both directions"),
        Component("sequence_encoder", "lstm", f"{_HERE}.recurrent:LSTMEncoder", "Long short-term memory, likewise"),
        Component("sequence_encoder", "transformer", f"{_HERE}.transformer:TransformerEncoder", "Self-attention"),
        Component("sequence_decoder", "gru", f"{_HERE}.recurrent:GRUDecoder", "Gated recurrent units"),
        Component("sequence_decoder", "lstm", f"{_HERE}.recurrent:LSTMDecoder", "Long short-term memory"),
        Component(
            "sequence_decoder", "transformer", f"{_HERE}.transformer:TransformerDecoder", "Causal self-attention"
        ),
        Component("attention", "additive", f"{_HERE}.attention:AdditiveAttention", "v^T tanh(W q + U h)"),
        Component("attention", "multiplicative", f"{_HERE}.attention:MultiplicativeAttention", "q^T W h, scaled"),
        Component("model", "language_model", f"{_HERE}.language_model:LanguageModel", "Strings, token after token"),
        Component("model", "seq2seq", f"{_HERE}.seq2seq:Seq2Seq", "Targets written from sources, with attention"),
        Component("encoder", "sentence", f"{_HERE}.sentence:SentenceEncoder", "Diagonal Gaussian posterior of strings"),
        Component("decoder", "sentence", f"{_HERE}.sentence:SentenceDecoder", "Strings that are written from z"),
        Component("loss", "bag_of_words", f"{_HERE}.bag_of_words:BagOfWords", "A bound, and the words told by z alone"),
        Component("metric", "permuted_codes", f"{_HERE}.permuted_codes:PermutedCodes", "What another's z costs"),
        Component("metric", "sequence_accuracy", f"{_HERE}.metrics:SequenceAccuracy", "Strings that are all right"),
        Component("metric", "bleu", f"{_HERE}.metrics:BLEU", "N-grams that stand in the references, as sacrebleu's"),
        Component("loss", "scheduled_sampling", f"{_HERE}.scheduled_sampling:ScheduledSampling", "NLL after own draws"),
    ]


@hookimpl
def variata_commands() -> list[Command]:
    """The commands `generate` and `interpolate`."""
    return [
        Command("generate", f"{_HERE}.command:generate", "Write a line for each line of a file."),
        Command("interpolate", f"{_HERE}.interpolation:interpolate", "Write what stands between two sentences."),
    ]


@hookimpl
def variata_run_ended(context: RunContext) -> None:
    """Leaves attention.png in the run of a model that looks at a source."""
    from .attention_maps import of_run

    of_run(context)


@hookimpl
def variata_evaluated(context: EvaluationContext) -> None:
    """Leaves attention.png, likewise, and interpolation.txt of an autoencoder of strings."""
    from . import attention_maps, interpolation

    attention_maps.of_evaluation(context)
    interpolation.of_evaluation(context)


@hookimpl
def variata_presets() -> Path:
    """language_model, seq2seq, sentence_vae and others."""
    return Path(__file__).parent / "presets"
