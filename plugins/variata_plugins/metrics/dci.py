r"""Disentanglement, completeness and informativeness, from the importance R_jk of dimension j in predicting factor k:

    D = sum_j r_j (1 - H_K(R_j. / sum_k R_jk)),  r_j = sum_k R_jk / sum R   one factor for each dimension
    C = mean_k (1 - H_d(R_.k / sum_j R_jk))                                 one dimension for each factor
    I = held-out accuracy of the prediction, averaged over factors

with entropies in base K and d. The predictors are bagged trees that see every dimension; R is their
importance by impurity.

Eastwood and Williams (2018), A Framework for the Quantitative Evaluation of Disentangled Representations.
"""

from __future__ import annotations

import math

import torch
from pydantic import PositiveInt
from torch import Tensor

from variata import Autoencoder, Data, Estimate, EvaluationSettings, Metric, estimate, stage

from .codes import codes_and_factors


class DCI(Metric):
    """ "dci_disentanglement", "dci_completeness", "dci_informativeness"; 1 is best.

    Args:
        examples: random combinations of factors; three in ten are held out.
        trees: of the forest for each factor.
    """

    requires = Autoencoder

    def __init__(self, *, examples: PositiveInt = 10_000, trees: PositiveInt = 40) -> None:
        self.examples, self.trees = examples, trees

    def measure(self, model: Autoencoder, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        codes, values, factors = codes_and_factors(model, data, self.examples)
        importance, right = self._predicted(codes, values, settings.seed)
        notes = {"examples": self.examples, "trees": self.trees}
        of_factor = {factor.name: float(hits.mean()) for factor, hits in zip(factors, right, strict=True)}
        figures = {"disentanglement": disentanglement(importance), "completeness": completeness(importance)}
        found = {f"dci_{name}": {"value": v, "standard_error": None} | notes for name, v in figures.items()}
        return found | {"dci_informativeness": estimate(right.mean(0)) | notes | {"of_factor": of_factor}}

    def _predicted(self, codes: Tensor, values: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """R `[d, k]`, and whether each held-out value was told right, `[k, n]`."""
        from sklearn.ensemble import RandomForestClassifier

        start = round(0.7 * len(codes))
        importance, right, advance = [], [], stage("growing forests", values.shape[1])
        for v in values.T:
            forest = RandomForestClassifier(self.trees, max_features=1.0, random_state=seed)  # pyright: ignore[reportArgumentType]
            forest.fit(codes[:start].numpy(), v[:start].numpy())
            importance.append(torch.from_numpy(forest.feature_importances_))
            right.append((torch.from_numpy(forest.predict(codes[start:].numpy())) == v[start:]).double())
            advance(1)
        return torch.stack(importance, dim=1), torch.stack(right)


def disentanglement(importance: Tensor) -> float:
    """D of importances `[d, k]`."""
    share = importance.sum(1) / importance.sum().clamp(min=1e-300)
    return float((share * _concentration(importance)).sum())


def completeness(importance: Tensor) -> float:
    """C of importances `[d, k]`; a factor that nothing predicts counts 0."""
    return float(_concentration(importance.T).mean())


def _concentration(rows: Tensor) -> Tensor:
    """1 - entropy of each row as a law, in base of its length: 1 for one entry alone, 0 for equal ones, or none."""
    total = rows.sum(1, keepdim=True)
    law = rows / total.clamp(min=1e-300)
    concentration = 1 + torch.special.xlogy(law, law).sum(1) / math.log(max(rows.shape[1], 2))
    return torch.where(total[:, 0] > 0, concentration, torch.zeros_like(concentration))
