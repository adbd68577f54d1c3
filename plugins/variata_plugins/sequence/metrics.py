"""What a model writes from the sources of a split, beside the targets: how often it is all right, and BLEU."""

from __future__ import annotations

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from variata import Data, DataError, Estimate, EvaluationSettings, Metric, Sequences, estimate, stage

from .bleu import bleu
from .seq2seq import Seq2Seq
from .writing import Strategy, Writing


class SequenceAccuracy(Metric):
    """ "sequence_accuracy": the share of strings that are right to the last token.

    Args:
        strategy: greedy, beam or sample.
        width, length_normalisation: of the beam.
    """

    requires = Seq2Seq
    sequences = True

    def __init__(
        self,
        *,
        strategy: Strategy = "greedy",
        width: PositiveInt = 5,
        length_normalisation: NonNegativeFloat = 1.0,
    ) -> None:
        self.writing = Writing(strategy, width, length_normalisation)

    def measure(self, model: Seq2Seq, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        right = [(_tokens(w, x) == _tokens(x, x)).all(1) for w, x in _written(model, data, settings, self.writing)]
        found = estimate(torch.cat(right).double(), split=settings.split, strategy=self.writing.strategy)
        return {"sequence_accuracy": found}


class BLEU(Metric):
    """ "bleu", from 0 to 100, over all strings of a split together. References are targets as the vocabulary writes
    them, so that a word which it has not is the unknown one in both.

    Args:
        strategy: greedy, beam or sample.
        width, length_normalisation: of the beam.
    """

    requires = Seq2Seq
    sequences = True

    def __init__(
        self,
        *,
        strategy: Strategy = "beam",
        width: PositiveInt = 5,
        length_normalisation: NonNegativeFloat = 1.0,
    ) -> None:
        self.writing = Writing(strategy, width, length_normalisation)

    def measure(self, model: Seq2Seq, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        vocabulary = model.spec.vocabulary
        assert vocabulary is not None
        texts, references = list[str](), list[str]()
        for written, x in _written(model, data, settings, self.writing):
            texts += [vocabulary.decode(row) for row in written.tolist()]
            references += [vocabulary.decode(row) for row in x.tolist()]
        notes = {"examples": len(texts), "split": settings.split, "strategy": self.writing.strategy}
        return {"bleu": {"value": bleu(texts, references), "standard_error": None} | notes}


def _tokens(strings: Tensor, like: Tensor) -> Tensor:
    """Of the same width as others, padding after the end."""
    tokens = Sequences(strings).tokens
    return torch.nn.functional.pad(tokens, (0, like.shape[1] - tokens.shape[1]))


def _written(model: Seq2Seq, data: Data, settings: EvaluationSettings, writing: Writing) -> list[tuple[Tensor, Tensor]]:
    """What is written from the sources of each batch, and its targets."""
    split, found = data.split(settings.split), list[tuple[Tensor, Tensor]]()
    if not len(split):
        raise DataError(f"the split {settings.split} has no examples")
    device, advance = next(model.parameters()).device, stage("writing", len(split))
    for batch in split.batches(settings.batch_size):
        y = None if batch.y is None else batch.y.to(device)
        found.append((writing(model.law(len(batch), y)).cpu(), batch.x))
        advance(len(batch))
    return found
