r"""-log p(y | x), in nats, averaged over the examples whose label is known."""

from __future__ import annotations

from variata import Batch, Classifier, Now, Objective, OnePhaseLoss, Term


class CrossEntropy(OnePhaseLoss):
    """The negative log-likelihood of the labels. Examples without a label are not looked at; the metric accuracy is the
    share of the others for which the model is right."""

    requires = Classifier

    def forward(self, model: Classifier, batch: Batch, now: Now) -> Objective:
        known, labelled = batch.labelled_part(), batch.labelled
        assert known.y is not None
        log_p = model.classify(known.x)
        value, weight = -log_p.gather(1, known.y.long()[:, None])[:, 0], None
        right = (log_p.argmax(-1) == known.y).to(value.dtype)
        if labelled is not None:  # a value for each example, of no weight where the label is not known
            value = value.new_zeros(len(batch)).index_put((labelled.nonzero()[:, 0],), value)
            weight = labelled.to(value.dtype)
        return Objective({"cross_entropy": Term(value, weight=weight)}, {"accuracy": right.detach()})
