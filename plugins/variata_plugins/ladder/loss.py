r"""-log p~(y | x) of what is labelled, and the squared errors of every layer's restoration.

    -log p~(y | x) + sum_l lambda_l / m_l |z_l - (z^_l - mu_l) / sigma_l|^2

The first is averaged over the labelled examples, which are normalised by themselves; the second over the others, with
a clean path beside the corrupted one. Where all are labelled, all take part in both. Gradients go through the clean
path as well.

Rasmus, Valpola, Honkala, Berglund and Raiko (2015), arXiv:1507.02672, equations 1 and 3 and algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import NonNegativeFloat
from torch import Tensor, nn

from variata import Batch, ConfigError, Factory, Now, Objective, OnePhaseLoss, Problem, Term, default
from variata_plugins.graphs.graph import Drawn, Graph

from .combinator import Combinator
from .decoder import LadderDecoder, squared_error
from .model import LadderNetwork, Path

_PUBLISHED = (1000.0, 10.0, 0.1)


class LadderLoss(OnePhaseLoss, Drawn):
    """The cost of a ladder network; it owns the decoder, which only training needs.

    The metrics denoising_0, denoising_1, ... are the squared errors of layers whose multiplier is not zero, for an
    element each. Cross entropy is in nats; the errors are in units of the normalised layers. In validation, accuracy is
    that of the model without noise.

    Args:
        model: a `ladder`.
        noise: standard deviation of what is added to the input and to every normalised layer.
        multipliers: lambda of the input and of each layer, the top last: all zero leaves a network trained with noise,
            zero but at the top is the Gamma model. null: 1000, 10, then 0.1, as published for 100 labels.
        combinator: g, a new one for each layer.

    Raises:
        ConfigError: another model; not as many multipliers as there are layers and one.
    """

    requires = LadderNetwork
    couples_batch = True

    def __init__(
        self,
        model: LadderNetwork,
        *,
        noise: NonNegativeFloat = 0.3,
        multipliers: Sequence[NonNegativeFloat] | None = None,
        combinator: Factory[Combinator] = default("combinator", "gaussian"),
    ) -> None:
        super().__init__()
        if not isinstance(model, LadderNetwork):
            raise ConfigError(Problem(f"trains a ladder, and the model is {type(model).__name__}: use model=ladder"))
        if isinstance(combinator, nn.Module):
            raise ConfigError(Problem("each layer has a combinator of its own: pass its class"))
        layers = len(model.shapes)
        if multipliers is None:
            multipliers = [*_PUBLISHED, *[_PUBLISHED[-1]] * layers][:layers]
        if len(multipliers) != layers:
            message = f"multipliers takes {layers} numbers, of the input and of {layers - 1} layers"
            raise ConfigError(Problem(f"{message} (got {len(multipliers)})"))
        self.noise, self.multipliers = noise, tuple(multipliers)
        costly = [level for level, weight in enumerate(multipliers) if weight]
        self.decoder = LadderDecoder(model, costly[0], combinator) if costly else None

    def forward(self, model: LadderNetwork, batch: Batch, now: Now) -> Objective:
        known, rest = _rows(batch)
        supervised, corrupted, clean = self._paths(model, batch.x[known], batch.x[rest], apart=known is not rest)
        assert batch.y is not None
        y = batch.y[known].long()
        nll = -supervised.log_p[: len(known)].gather(1, y[:, None])[:, 0]  # of none, where no label is known
        terms = {"cross_entropy": _averaged(nll, known, len(batch))}
        metrics: dict[str, Tensor] = {}
        if not self.training and len(known):
            metrics["accuracy"] = (model.classify(batch.x[known]).argmax(-1) == y).to(nll.dtype)
        estimates = {} if self.decoder is None else self.decoder(corrupted)
        for level, multiplier in enumerate(self.multipliers):
            if multiplier:
                error = squared_error(estimates[level], clean, level)
                terms[f"denoising_{level}"] = _averaged(error, rest, len(batch), multiplier)
                metrics[f"denoising_{level}"] = error.detach()
        return Objective(terms, metrics, model.updates(clean))

    def draw(self, graph: Graph) -> None:
        panel, data = graph.training, graph.training.nodes["x"].detail
        panel.clear()
        panel.node("x", "x", data)
        panel.node("corrupted", "z~", "noise on every layer", kind="noise", extra=True, column=1)
        panel.node("output", "p~(y|x)", kind="law", extra=True, column=2)
        panel.arrow("x", "corrupted", extra=True)
        panel.arrow("corrupted", "output", extra=True)
        graph.place("cross_entropy", "output", "output")
        if self.decoder is None:
            return
        panel.node("clean", "z", "the same layers without it", extra=True, column=1, row=1)
        panel.node("decoder", "decoder", "from the top down", kind="part", extra=True, column=3)
        panel.node("restored", "z^", "every layer restored", extra=True, column=4)
        for source, target in (
            ("x", "clean"),
            ("corrupted", "decoder"),
            ("output", "decoder"),
            ("decoder", "restored"),
        ):
            panel.arrow(source, target, extra=True)
        for level in range(len(self.multipliers)):
            graph.place(f"denoising_{level}", "clean", "restored")

    def _paths(self, model: LadderNetwork, known: Tensor, rest: Tensor, apart: bool) -> tuple[Path, Path, Path]:
        """That of the labelled examples, and those of the rest, with noise and without."""
        own = [known] if apart and len(known) else []
        if self.decoder is None:  # then the clean path only tells the model its statistics
            (supervised,) = model.paths(own or [rest], [self.noise])
            with torch.no_grad():
                (clean,) = model.paths([rest], [0.0])
            return supervised, supervised, clean
        corrupted, clean, *first = model.paths([rest, rest, *own], [self.noise, 0.0, *[self.noise] * len(own)])
        return (first[0] if first else corrupted), corrupted, clean


def _rows(batch: Batch) -> tuple[Tensor, Tensor]:
    """Which examples are labelled, and which are to be restored: the others, or all where all are labelled."""
    if batch.labelled is None or bool(batch.labelled.all()):
        every = torch.arange(len(batch), device=batch.x.device)
        return every, every
    return batch.labelled.nonzero()[:, 0], (~batch.labelled).nonzero()[:, 0]


def _averaged(value: Tensor, rows: Tensor, examples: int, scale: float = 1.0) -> Term:
    """A term of some of the examples alone."""
    if len(rows) == examples:
        return Term(value, scale)
    value, weight = (value.new_zeros(examples).index_put((rows,), v) for v in (value, torch.ones_like(value)))
    return Term(value, scale, weight)
