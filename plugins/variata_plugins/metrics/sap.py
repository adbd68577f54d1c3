r"""Separated attribute predictability: how much better the best dimension predicts a factor than the second best,

    SAP = mean_k S_(1)k - S_(2)k,   S_jk = R^2 of v_k on z_j                       for factors with an order
                                           balanced accuracy of thresholds on z_j  for others, on held-out examples

so an unordered factor of C values can reach 1 - 1/C, since the second dimension guesses right once in C.

Kumar, Sattigeri and Balakrishnan (2018), Variational Inference of Disentangled Latent Concepts from Unlabeled
Observations, arXiv:1711.00848.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import PositiveInt
from torch import Tensor

from variata import Autoencoder, Data, Estimate, EvaluationSettings, Factor, Metric

from .codes import codes_and_factors


class SAP(Metric):
    """Separated attribute predictability, "sap".

    Args:
        examples: random combinations of factors; half of them are held out where thresholds are learned.
    """

    requires = Autoencoder

    def __init__(self, *, examples: PositiveInt = 10_000) -> None:
        self.examples = examples

    def measure(self, model: Autoencoder, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        codes, values, factors = codes_and_factors(model, data, self.examples)
        gaps = predictability_gap(codes, values, factors)
        of_factor = {factor.name: float(gap) for factor, gap in zip(factors, gaps, strict=True)}
        figure = {"value": float(gaps.mean()), "standard_error": None}
        return {"sap": figure | {"examples": self.examples, "of_factor": of_factor}}


def predictability_gap(codes: Tensor, values: Tensor, factors: Sequence[Factor]) -> Tensor:
    """SAP of each factor, `[k]`, from codes `[n, d]` and values `[n, k]`."""
    gaps = []
    for v, factor in zip(values.T, factors, strict=True):
        scores = _determination(codes, v.double()) if factor.ordered else _threshold_accuracy(codes, v)
        nothing = torch.tensor([0.0 if factor.ordered else 1 / factor.values], dtype=scores.dtype)
        first, second = torch.cat([scores, nothing]).topk(2).values
        gaps.append(first - second)
    return torch.stack(gaps)


def _determination(codes: Tensor, v: Tensor) -> Tensor:
    """R^2 of v on each dimension, `[d]`; 0 for a dimension that does not vary."""
    codes, v = codes - codes.mean(0), v - v.mean()
    both = codes.square().sum(0) * v.square().sum()
    return torch.where(both > 0, (codes * v[:, None]).sum(0).square() / both.clamp(min=1e-300), torch.zeros_like(both))


def _threshold_accuracy(codes: Tensor, v: Tensor) -> Tensor:
    """Held-out balanced accuracy of a tree of thresholds on each dimension, `[d]`."""
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.tree import DecisionTreeClassifier

    half, leaves = len(codes) // 2, 2 * (int(v.max()) + 1)
    found = []
    for z in codes.T:
        tree = DecisionTreeClassifier(max_leaf_nodes=leaves, class_weight="balanced", random_state=0)
        tree.fit(z[:half, None].numpy(), v[:half].numpy())
        found.append(balanced_accuracy_score(v[half:].numpy(), tree.predict(z[half:, None].numpy())))
    return torch.tensor(found, dtype=codes.dtype)
