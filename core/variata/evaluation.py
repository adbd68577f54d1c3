r"""How good a model of p(x) is, in nats, with standard errors.

    ELBO(x)   = E_q[log p(x|z)] - KL(q(z|x) || p(z))                             <= log p(x)
    IWAE_K(x) = log 1/K sum_k p(x, z_k) / q(z_k | x),  z_k ~ q,  E[IWAE_K]       <= log p(x), and rising with K

Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders, arXiv:1509.00519.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .data import DataSpec, Split, on_device
from .errors import DataError, Unsupported
from .interfaces import Density, LatentVariable

Metric = dict[str, Any]
_MOST_ROWS = 16384


@torch.no_grad()
def evaluate_model(
    model: Any,
    split: Split,
    *,
    samples: int = 500,
    seed: int = 0,
    batch_size: int = 256,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Metric]:
    """Every metric that follows from what the model can do, by name: `{"value": ..., "standard_error": ...}`.

    The model and torch's generator are left as they were; the same seed gives the same numbers.

    Args:
        samples: importance samples for each example.
        progress: called with the number of examples done.

    Raises:
        DataError: the split is empty.
        Unsupported: the model offers nothing that can be evaluated here.
    """
    if not len(split):
        raise DataError("the split has no examples to evaluate")
    modes = [(module, module.training) for module in model.modules()]
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    columns: dict[str, list[Tensor]] = {}
    model.eval()
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for batch in split.batches(batch_size):
                placed = on_device(batch, device)
                for name, values in _per_example(model, placed.x, placed.y, samples).items():
                    columns.setdefault(name, []).append(values.double().cpu())
                progress(len(batch))
    finally:
        for module, training in modes:
            module.training = training
    return _summary({name: torch.cat(values) for name, values in columns.items()}, model.spec, samples)


def _per_example(model: Any, x: Tensor, y: Tensor | None, samples: int) -> dict[str, Tensor]:
    if isinstance(model, Density):
        return {"log_likelihood": model.log_prob(x, y)}
    if isinstance(model, LatentVariable):
        terms = model.terms(x, y).metrics()
        reconstruction, kl = terms["reconstruction"].double(), terms["kl"].double()
        bound = {"elbo": reconstruction - kl, "reconstruction": reconstruction, "kl": kl}
        return bound | {"nll": -importance_estimate(model, x, y, samples)}
    raise Unsupported(
        f"{type(model).__name__} has neither a bound nor a density, so there is no likelihood to evaluate"
    )


def importance_estimate(model: LatentVariable, x: Tensor, y: Tensor | None, samples: int) -> Tensor:
    """The K-sample importance estimate of log p(x), `[batch]`, by a running logsumexp: memory does not grow with K."""
    chunk = max(1, min(samples, _MOST_ROWS // len(x)))
    total = torch.full((len(x),), -math.inf, dtype=torch.float64, device=x.device)
    done = 0
    while done < samples:
        size = min(chunk, samples - done)
        weights = model.terms(x, y, samples=size).log_weights().double()
        total = torch.logaddexp(total, weights.logsumexp(0))
        done += size
    return total - math.log(samples)


_KINDS = {"elbo": "lower_bound", "nll": "upper_bound", "log_likelihood": "exact"}


def _summary(columns: dict[str, Tensor], spec: DataSpec, samples: int) -> dict[str, Metric]:
    metrics: dict[str, Metric] = {}
    for name, values in columns.items():
        error = float(values.std() / math.sqrt(len(values))) if len(values) > 1 else None
        metrics[name] = {"value": float(values.mean()), "standard_error": error, "examples": len(values)}
        if name in _KINDS:
            metrics[name]["kind"] = _KINDS[name]
    if "nll" in metrics:
        metrics["nll"] |= {"samples": samples, "estimator": "importance sampling from q(z | x)"}
    for name in ("elbo", "nll", "log_likelihood"):
        if name in metrics:
            metrics[name]["measure"] = f"{spec.measure}, {spec.transform}"
    return metrics
