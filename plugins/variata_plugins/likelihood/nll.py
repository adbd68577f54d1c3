r"""-log p(x[ | y]), the negative log-likelihood of a model with an exact density."""

from __future__ import annotations

from variata import Batch, Density, Now, Objective, OnePhaseLoss, Term


class NLL(OnePhaseLoss):
    """Maximum likelihood by gradients. The metric is log_likelihood, in nats."""

    requires = Density

    def forward(self, model: Density, batch: Batch, now: Now) -> Objective:
        log_p = model.log_prob(batch.x, batch.y)
        return Objective({"nll": Term(-log_p)}, {"log_likelihood": log_p})
