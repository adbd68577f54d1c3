r"""Fidelity and diversity of samples y against data x, by balls B(x) that reach to the k-th nearest neighbour of x:

    precision  share of samples in some B(x_i)          density   1/(k m) sum_j #{i: y_j in B(x_i)}
    recall     share of examples in some B(y_j)         coverage  share of B(x_i) that hold some sample

Kynkaanniemi, Karras, Laine, Lehtinen and Aila (2019), Improved Precision and Recall Metric for Assessing Generative
Models, arXiv:1904.06991. Naeem, Oh, Uh, Choi and Yoo (2020), Reliable Fidelity and Diversity Metrics for Generative
Models, arXiv:2002.09797. Balls are open, as in the latter's code, so that a set has density 1 against itself.
"""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor

from variata import ConfigError, Data, Estimate, EvaluationSettings, Metric, Problem, Sampler, default, estimate

from .extractor import Extractor, as_extractor
from .samples import compare

_ROWS = 500


class PRDC(Metric):
    """Precision, recall, density and coverage of features, "precision[lenet]" and so on; 1 is best. Each standard error
    holds the balls fixed.

    Args:
        neighbours: k.
        extractor: of the features; in Python, any module as well.
        samples: how many are drawn; every example of the split is compared with them.
        mean: the mean of p(x | z) instead of a draw from it.
    """

    requires = Sampler

    def __init__(
        self,
        *,
        neighbours: PositiveInt = 5,
        extractor: Extractor = default("extractor", "lenet"),
        samples: PositiveInt = 10_000,
        mean: bool = False,
    ) -> None:
        self.neighbours = neighbours
        self.extractor, self.samples, self.mean = as_extractor(extractor), samples, mean

    def measure(self, model: Sampler, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        found = compare(model, data, settings, self.extractor, self.samples, self.mean)
        values = precision_recall_density_coverage(found.real, found.drawn, self.neighbours)
        notes = {"neighbours": self.neighbours} | found.notes
        return {f"{name}[{found.label}]": estimate(value) | notes for name, value in values.items()}


def precision_recall_density_coverage(x: Tensor, y: Tensor, neighbours: int) -> dict[str, Tensor]:
    """One value for each sample (precision, density) or example (recall, coverage), whose means are the figures.

    Raises:
        ConfigError: not as many neighbours as are asked for.
    """
    if neighbours >= min(len(x), len(y)):
        most = min(len(x), len(y)) - 1
        raise ConfigError(
            Problem(f"there are at most {most} neighbours (got {neighbours}): ask for fewer, or more samples")
        )
    x, y = x.double(), y.double()
    reach_x, reach_y = _reach(x, neighbours), _reach(y, neighbours)
    held = torch.zeros(len(y), dtype=x.dtype)
    recalled, covered = [], []
    for part, reach in zip(x.split(_ROWS), reach_x.split(_ROWS), strict=True):
        distance = _squared_distance(part, y)
        inside = distance < reach[:, None]
        held += inside.sum(0)
        covered.append(inside.any(1))
        recalled.append((distance < reach_y).any(1))
    return {
        "precision": (held > 0).double(),
        "recall": torch.cat(recalled).double(),
        "density": held / neighbours,
        "coverage": torch.cat(covered).double(),
    }


def _squared_distance(x: Tensor, y: Tensor) -> Tensor:
    return (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T).clamp_(min=0)


def _reach(x: Tensor, neighbours: int) -> Tensor:
    """Squared distance of each point to its k-th nearest other point, `[n]`."""
    reach = []
    for start in range(0, len(x), _ROWS):
        distance = _squared_distance(x[start : start + _ROWS], x)
        rows = torch.arange(len(distance))
        distance[rows, start + rows] = torch.inf
        reach.append(distance.kthvalue(neighbours, dim=1).values)
    return torch.cat(reach)
