r"""E_x[ L(x, g(f(x))) ]."""

from __future__ import annotations

from variata import Batch, Now, Objective, OnePhaseLoss, Term

from .pair import Pair
from .point import error_metrics, error_of


class Reconstruction(OnePhaseLoss):
    """The error of reconstruction alone."""

    requires = Pair

    def forward(self, model: Pair, batch: Batch, now: Now) -> Objective:
        law = model.law(model.encode(batch.x, batch.y), batch.y)
        return Objective({"error": Term(error_of(law, batch.x))}, error_metrics(law, batch.x))
