r"""What samples are like beside data, without an extractor: for models that say nothing but samples.

    sample_mean_distance   sqrt 1/D sum_j (mean y_j - mean x_j)^2, in units of the data
    sample_variance_ratio  sum_j Var y_j / sum_j Var x_j; below 1, samples differ less than data does
    sample_distinct        the share of samples that are no repetition of an earlier one, beside that of the data

Each is necessary for a good model and none is sufficient: independent draws of each element's own values pass the first
two.
"""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor

from variata import Data, DataError, Estimate, EvaluationSettings, Metric, Sampler

from .samples import described, draws, examples


class SampleStatistics(Metric):
    """ "sample_mean_distance", "sample_variance_ratio" and "sample_distinct".

    Args:
        samples: how many are drawn; every example of the split is compared with them.
        mean: the mean of p(x | z) instead of a draw from it.
    """

    requires = Sampler

    def __init__(self, *, samples: PositiveInt = 10_000, mean: bool = False) -> None:
        self.samples, self.mean = samples, mean

    def measure(self, model: Sampler, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        drawn = torch.cat([y.cpu().flatten(1) for y in draws(model, self.samples, self.mean)]).double()
        real = torch.cat([x.flatten(1) for x in examples(data.split(settings.split))] or [torch.empty(0, 1)]).double()
        if min(len(real), len(drawn)) < 2:
            raise DataError(f"two examples and two samples at least are compared ({len(real)} and {len(drawn)} here)")
        difference = drawn.mean(0) - real.mean(0)
        notes = {"examples": len(real), "samples": self.samples, "draws": described(model, self.mean)}
        # The variance of each mean, of which squared distances of equal laws are made.
        expected = (drawn.var(0) / len(drawn) + real.var(0) / len(real)).mean().sqrt()
        of_data, chance = distinct(real), float(expected)
        figures: dict[str, Estimate] = {
            "sample_mean_distance": {
                "value": float(difference.square().mean().sqrt()),
                "by_chance": chance,
                "note": f"of equal laws it would be about {chance:.4g}",
            },
            "sample_variance_ratio": {"value": float(drawn.var(0).sum() / real.var(0).sum())},
            "sample_distinct": {
                "value": distinct(drawn),
                "of_data": of_data,
                "note": f"of the {len(real)} examples it is {of_data:.4f}",
            },
        }
        return {name: figure | {"standard_error": None} | notes for name, figure in figures.items()}


def distinct(rows: Tensor) -> float:
    """The share of rows `[n, d]` that differ from all before them."""
    return len(rows.unique(dim=0)) / len(rows)
