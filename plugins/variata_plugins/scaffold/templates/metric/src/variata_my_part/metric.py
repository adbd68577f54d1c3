r"""D^2 = 1/d sum_i (E x~_i - E x_i)^2, between the means of samples x~ and of examples x, element by element.

It is zero for many laws that are not that of the data: a first look, and no more.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import PositiveInt

from variata import Data, Estimate, EvaluationSettings, Metric, Sampler


class MyPart(Metric):
    """The mean squared difference of means.

    Args:
        samples: how many are drawn of the model.
    """

    requires = Sampler

    def __init__(self, *, samples: PositiveInt = 1000) -> None:
        self.samples = samples

    def measure(self, model: Any, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        drawn = model.sample(self.samples).flatten(1).double().mean(0)
        split = data.split(settings.split)
        total = torch.zeros_like(drawn)
        for batch in split.batches(settings.batch_size):
            total += batch.x.to(drawn.device).flatten(1).double().sum(0)
        value = float((drawn - total / len(split)).square().mean())
        return {"my_part": {"value": value, "standard_error": None, "samples": self.samples}}
