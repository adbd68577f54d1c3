r"""The Parzen-window log-likelihood: a Gaussian around each of n samples y_i stands in for the model's density,

    log p(x) ~ log 1/n sum_i N(x; y_i, s^2 I) = log sum_i exp(-|x - y_i|^2 / 2 s^2) - log n - D/2 log(2 pi s^2),

with the bandwidth s that is best on validation examples (training examples where there is no validation split).

Parzen (1962), On estimation of a probability density function and mode; Breuleux, Bengio and Vincent (2011), Quickly
generating representative samples from an RBM-derived process. It is a poor estimator: Theis, van den Oord and Bethge
(2016), A note on the evaluation of generative models, arXiv:1511.01844, where it ranks k-means above the truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from variata import Data, DataError, Estimate, EvaluationSettings, Metric, Sampler, SplitName, estimate, stage

from .samples import described, draws, examples

_PAIRS = 4_000_000
_NOTE = (
    "a poor estimator: it ranks memorisers above the truth (Theis et al., 2016); use it beside published figures alone"
)


class Parzen(Metric):
    """Log-likelihood of the split under Gaussians around samples, in nats, "parzen".

    Args:
        samples: how many are drawn.
        mean: the mean of p(x | z) instead of a draw from it, as papers often do without saying so.
        bandwidths: what s is chosen from, in units of the data.
        held_out: validation examples that it is chosen by, at most.
    """

    requires = Sampler

    def __init__(
        self,
        *,
        samples: PositiveInt = 10_000,
        mean: bool = False,
        bandwidths: Sequence[PositiveFloat] = (0.05, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 0.25, 0.3, 0.4, 0.6, 1.0),
        held_out: PositiveInt = 1000,
    ) -> None:
        self.samples, self.mean, self.bandwidths, self.held_out = samples, mean, sorted(bandwidths), held_out

    def measure(self, model: Sampler, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        centres = torch.cat([x.cpu() for x in draws(model, self.samples, self.mean)])
        by = chosen_by(data)
        if by == settings.split or not len(data.split(by)) or not len(data.split(settings.split)):
            raise DataError(
                f"parzen chooses its bandwidth on {by} examples and measures others: evaluate another split"
            )
        held_out = torch.cat(list(examples(data.split(by), self.held_out)))
        found = parzen_log_likelihood(held_out, centres, self.bandwidths).mean(1)
        best = int(found.argmax())
        x = torch.cat(list(examples(data.split(settings.split))))
        values = parzen_log_likelihood(x, centres, self.bandwidths[best : best + 1])[0]
        note = _NOTE
        if best in (0, len(self.bandwidths) - 1):
            note += f"; the bandwidth {self.bandwidths[best]:g} is the last of those tried, so try others beyond it"
        spec = data.spec
        measure = f"lebesgue, values as numbers ({spec.describe()}; {spec.transform})"
        notes = {"samples": self.samples, "draws": described(model, self.mean), "bandwidth": self.bandwidths[best]}
        notes |= {"bandwidth_chosen_on": f"{len(held_out)} {by} examples", "split": settings.split, "note": note}
        return {"parzen": estimate(values, kind="biased", measure=measure, **notes)}


def chosen_by(data: Data) -> SplitName:
    """The split whose examples choose the bandwidth, and which is therefore not measured."""
    return "validation" if len(data.split("validation")) else "train"


def parzen_log_likelihood(x: Tensor, centres: Tensor, bandwidths: Sequence[float]) -> Tensor:
    """For each bandwidth and example, `[bandwidths, n]`, in nats and float64; memory does not grow with n.

    Args:
        x, centres: `[n, *event]` and `[m, *event]`.
    """
    x, centres = x.flatten(1).double(), centres.flatten(1).double()
    m, dimensions = centres.shape
    squares = centres.square().sum(1)
    parts, advance = [], stage("parzen windows", len(x))
    for part in x.split(max(1, _PAIRS // m)):
        distance = (part.square().sum(1)[:, None] + squares - 2 * part @ centres.T).clamp_(min=0)
        parts.append(torch.stack([(distance / (-2 * s * s)).logsumexp(1) for s in bandwidths]))
        advance(len(part))
    constants = [math.log(m) + dimensions / 2 * math.log(2 * math.pi * s * s) for s in bandwidths]
    return torch.cat(parts, dim=1) - torch.tensor(constants, dtype=x.dtype)[:, None]
