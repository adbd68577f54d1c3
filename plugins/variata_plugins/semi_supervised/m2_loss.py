r"""The objective of M2, with y summed out where it is not known.

    mean L(x, y) of what is labelled + mean U(x) of the others + alpha mean -log q(y | x) of what is labelled

The last term is there since q(y | x) is in U alone and would not learn from labels. In the paper's units, sums over N
examples of which n are labelled, its weight is 0.1 N: here, alpha = 0.1 beside the mean of U. The labelled bounds weigh
as much as the others, whichever n is.

Kingma, Rezende, Mohamed and Welling (2014), arXiv:1406.5298, equations 6 to 9.
"""

from __future__ import annotations

from torch import Tensor

from variata import Batch, ConfigError, Now, Objective, OnePhaseLoss, Problem, Scheduled, Term
from variata_plugins.graphs.graph import Drawn, Graph

from .m2 import M2


class M2Loss(OnePhaseLoss, Drawn):
    """Bounds of labelled and other examples. The metric elbo is -U(x), a bound of log p(x); accuracy is the share of
    what is labelled of which q(y | x) is right.

    Args:
        alpha: weight of -log q(y | x).
    """

    requires = M2

    def __init__(self, *, alpha: Scheduled = 1.0) -> None:
        super().__init__()
        if isinstance(alpha, float | int) and alpha < 0:
            raise ConfigError(Problem(f"alpha must not be negative (got {alpha:g})"))
        self.alpha = alpha

    def forward(self, model: M2, batch: Batch, now: Now) -> Objective:
        terms: dict[str, Term] = {}
        metrics: dict[str, Tensor] = {}
        known = batch.labelled_part()
        if len(known):
            assert known.y is not None
            log_q = model.classify(known.x)
            right = (log_q.argmax(-1) == known.y).to(log_q.dtype)
            nll = -log_q.gather(1, known.y.long()[:, None])[:, 0]
            terms["labelled"] = _of(batch.labelled, -model.known(known.x, known.y))
            terms["classes"] = _of(batch.labelled, nll, now(self.alpha))
            metrics["accuracy"] = right
        others = None if batch.labelled is None else ~batch.labelled
        if others is not None and others.any():
            bound = model.unknown(batch.x[others])
            terms["unlabelled"] = _of(others, -bound)
            metrics["elbo"] = bound.detach()
        elif not self.training:
            metrics["elbo"] = model.unknown(batch.x)
        return Objective(terms, metrics)

    def draw(self, graph: Graph) -> None:
        for term in ("labelled", "unlabelled"):
            graph.place(term, "x", "output")
        graph.place("classes", "y", "y")


def _of(rows: Tensor | None, value: Tensor, scale: float | Tensor = 1.0) -> Term:
    """A term of some of the examples, which are all where nothing is said."""
    if rows is None:
        return Term(value, scale)
    spread = value.new_zeros(len(rows)).index_put((rows.nonzero()[:, 0],), value)
    return Term(spread, scale, rows.to(value.dtype))
