r"""-log p(y | x), in nats, averaged over the examples whose label is known."""

from __future__ import annotations

import torch

from variata import Batch, Classifier, Now, Objective, OnePhaseLoss, Term


class CrossEntropy(OnePhaseLoss):
    """The negative log-likelihood of the labels. Examples without a label are not looked at; the metric accuracy is the
    share of the others for which the model is right."""

    requires = Classifier

    def forward(self, model: Classifier, batch: Batch, now: Now) -> Objective:
        known = batch.labelled_part()
        assert known.y is not None
        log_p = model.classify(known.x)
        value = -log_p.gather(1, known.y.long()[:, None])[:, 0]
        right = (log_p.argmax(-1) == known.y).to(value.dtype)
        return Objective({"cross_entropy": Term(value, weight=torch.ones_like(value))}, {"accuracy": right.detach()})
