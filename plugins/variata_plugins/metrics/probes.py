r"""What the codes know of the labels: the accuracy of a classifier that sees nothing but z.

    linear_probe  multinomial logistic regression on standardised codes
    knn           the most frequent label among the k nearest codes

Alain and Bengio (2016), Understanding intermediate layers using linear classifier probes, arXiv:1610.01644. The codes
of a conditional model were computed with the label at hand, and say less of what they know by themselves.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from variata import Autoencoder, Data, Estimate, EvaluationSettings, Metric, estimate

from .codes import probe_data


class LinearProbe(Metric):
    """Accuracy of logistic regression, "accuracy[linear_probe]".

    Args:
        examples: training examples that it learns from, the first ones, at most.
        strength: of the data against the penalty on the weights (scikit-learn's C).
    """

    requires = Autoencoder

    def __init__(self, *, examples: PositiveInt = 10_000, strength: PositiveFloat = 1.0) -> None:
        self.examples, self.strength = examples, strength

    def measure(self, model: Autoencoder, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        learned, told = probe_data(model, data, settings, self.examples)
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=self.strength, max_iter=2000))
        notes = {"strength": self.strength, "split": settings.split}
        return {"accuracy[linear_probe]": _accuracy(probe, learned, told) | notes}


class KNN(Metric):
    """Accuracy by nearest neighbours among the training examples' codes, "accuracy[knn5]" for five of them.

    Args:
        neighbours: k.
        examples: training examples that it looks among, the first ones, at most.
    """

    requires = Autoencoder

    def __init__(self, *, neighbours: PositiveInt = 5, examples: PositiveInt = 10_000) -> None:
        self.neighbours, self.examples = neighbours, examples

    def measure(self, model: Autoencoder, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        from sklearn.neighbors import KNeighborsClassifier

        learned, told = probe_data(model, data, settings, self.examples)
        neighbours = min(self.neighbours, len(learned[0]))
        found = _accuracy(KNeighborsClassifier(neighbours), learned, told)
        return {f"accuracy[knn{neighbours}]": found | {"split": settings.split}}


def _accuracy(probe: Any, learned: tuple[Tensor, Tensor], told: tuple[Tensor, Tensor]) -> Estimate:
    probe.fit(*(part.numpy() for part in learned))
    said = torch.from_numpy(probe.predict(told[0].numpy()))
    return estimate((said == told[1]).double(), learned_from=len(learned[0]))
