r"""The variational bound of a deep belief network, and a closer estimate, from the same draws h ~ q(h | x):

    r_k = log p(x, h_k) - log q(h_k | x),      E[1/K sum_k r_k] = bound <= log p(x),      log 1/K sum_k exp(r_k)  closer

Both need log Z of the last machine: with an enumerated one the first is a lower bound, and the second on average; with
an annealed one, which is too low on average, both may come out above log p(x), and are marked as biased.

Salakhutdinov and Murray (2008), On the quantitative analysis of deep belief networks. Burda, Grosse and Salakhutdinov
(2016), Importance weighted autoencoders, arXiv:1509.00519 (the second is a bound on average).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from variata import (
    Data,
    DataError,
    Estimate,
    EvaluationSettings,
    LogPartition,
    Metric,
    bits_per_dimension,
    estimate,
    in_blocks,
    measure_of,
    stage,
)

from .belief import DeepBeliefNetwork

_BLOCK = 64
_AT_ONCE = 1 << 14


class DeepBeliefBound(Metric):
    """ "elbo", the bound on log p(x), and "nll", minus the estimate by all draws together; with "log_partition" of the
    last machine and, of an annealed one, "annealing_gap"."""

    requires = DeepBeliefNetwork

    def measure(self, model: DeepBeliefNetwork, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        split, samples = data.split(settings.split), settings.samples
        if not len(split):
            raise DataError(f"the split {settings.split} has no examples to bound log p(x) of")
        partition = LogPartition(model.top, settings, stage)
        device, advance = model.top.weight.device, stage("bound", len(split))

        def bounded(part: slice) -> dict[str, Tensor]:
            x = split.batch(torch.arange(part.start, part.stop)).x.to(device)
            found = ratios(model, x, samples)
            advance(len(x))
            return _read(found)

        columns = in_blocks(len(split), _BLOCK, settings.seed, "deep belief bound", bounded)
        said = {"samples": samples, "measure": measure_of(model.spec), **partition.notes}
        said |= {"estimator": f"draws of q(h | x), log Z of the last machine by {partition.estimator}"}
        kinds = ("lower_bound", "upper_bound") if partition.kind == "exact" else ("biased", "biased")
        elbo = estimate(columns["mean"] - partition.value, columns["variance"], kind=kinds[0], **said)
        nll = estimate(partition.value - columns["log_mean"], columns["log_mean_variance"], kind=kinds[1], **said)
        for figure in (elbo, nll):  # all examples share the error of log Z
            together = math.hypot(figure.pop("monte_carlo_error", math.nan), partition.error)
            figure |= {"monte_carlo_error": together} if math.isfinite(together) else {}
        return {"elbo": elbo, "nll": nll, **bits_per_dimension(nll, model.spec), **partition.figures()}


@torch.no_grad()
def ratios(model: DeepBeliefNetwork, x: Tensor, samples: int) -> Tensor:
    """`DeepBeliefNetwork.log_ratio` at several draws, `[samples, batch]` in float64."""
    size, found = max(1, _AT_ONCE // len(x)), []
    for start in range(0, samples, size):
        count = min(size, samples - start)
        found.append(model.log_ratio(x.repeat(count, *[1] * (x.ndim - 1))).double().unflatten(0, (count, len(x))))
    return torch.cat(found)


def _read(ratio: Tensor) -> dict[str, Tensor]:
    """The two estimates of each example less log Z, and their variances, from `[samples, batch]`. One draw has none."""
    samples = len(ratio)
    log_mean = ratio.logsumexp(0) - math.log(samples)
    variance = ratio.var(0) / samples if samples > 1 else torch.full_like(log_mean, math.nan)
    relative = (ratio - log_mean).exp()
    of_log_mean = relative.var(0) / samples if samples > 1 else variance
    return {"mean": ratio.mean(0), "variance": variance, "log_mean": log_mean, "log_mean_variance": of_log_mean}
