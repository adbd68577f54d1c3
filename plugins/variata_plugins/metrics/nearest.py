r"""Memorisation: how far samples are from the nearest training example, beside how far other examples of the data are,

    r = mean_j min_i |y_j - x_i|  /  mean_k min_i |t_k - x_i|,

with samples y, training examples x and examples t of the split. Of a model that repeats what it was trained on, r is 0;
of new draws from the data's own law it is about 1. It is blind to a model that copies with small changes and to one
whose samples are far from everything, which a distance of features (FID) sees.

Meehan, Chaudhuri and Dasgupta (2020), A Non-Parametric Test to Detect Data-Copying in Generative Models,
arXiv:2004.05675 (which tests the same two distances).
"""

from __future__ import annotations

import math

import torch
from pydantic import PositiveInt
from torch import Tensor

from variata import ConfigError, Data, DataError, Estimate, EvaluationSettings, Metric, Problem, Sampler

from .samples import described, draws, examples

_PAIRS = 4_000_000


class NearestTraining(Metric):
    """ "nearest_training_ratio", r above; 0 is memorised, 1 is as far as new examples are.

    Args:
        samples: how many are drawn; they are compared with every training example.
        mean: the mean of p(x | z) instead of a draw from it.
    """

    requires = Sampler

    def __init__(self, *, samples: PositiveInt = 1000, mean: bool = False) -> None:
        self.samples, self.mean = samples, mean

    def measure(self, model: Sampler, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        if settings.split == "train":
            message = "nearest_training holds samples against training examples: evaluate another split"
            raise ConfigError(Problem(message))
        parts = {name: list(examples(data.split(name))) for name in ("train", settings.split)}
        if not all(parts.values()):
            raise DataError(f"nearest_training needs training examples and those of the split {settings.split}")
        train, others = (torch.cat(found) for found in parts.values())
        drawn = torch.cat([x.cpu() for x in draws(model, self.samples, self.mean)])
        near, usual = (nearest(x, train)[0] for x in (drawn, others))
        ratio = float(near.mean() / usual.mean()) if float(usual.mean()) > 0 else math.inf
        if not math.isfinite(ratio):
            raise DataError("every example of the split is a training example, so there is nothing to hold samples to")
        # The delta method, with both means independent.
        spread = sum(
            float(x.var()) / len(x) / float(x.mean()) ** 2 for x in (near, usual) if len(x) > 1 and x.mean() > 0
        )
        notes = {"examples": len(others), "samples": self.samples, "draws": described(model, self.mean)}
        notes |= {"of_samples": float(near.mean()), "of_examples": float(usual.mean()), "split": settings.split}
        note = "below 1 samples are nearer to training examples than new examples are; 0 is a copy"
        figure: Estimate = {"value": ratio, "standard_error": ratio * math.sqrt(spread) if len(near) > 1 else None}
        return {"nearest_training_ratio": figure | notes | {"note": note}}


def nearest(x: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Euclidean distance of each `[n, *event]` to the nearest of `[m, *event]`, and its row there; `[n]` each."""
    x, centres = x.flatten(1).double(), centres.flatten(1).double()
    distances, rows, squares = [], [], centres.square().sum(1)
    for part in x.split(max(1, _PAIRS // len(centres))):
        found = (part.square().sum(1)[:, None] + squares - 2 * part @ centres.T).min(1)
        distances.append(found.values.clamp(min=0).sqrt())
        rows.append(found.indices)
    return torch.cat(distances), torch.cat(rows)
