r"""Mutual information between codes and factors, of counts: each code dimension cut into bins of one width.

    I(z_j; v_k) = sum p(z_j, v_k) log p(z_j, v_k) / (p(z_j) p(v_k)),  in nats

Metrics that rest on it:

    MIG         mean_k (I(z_(1); v_k) - I(z_(2); v_k)) / H(v_k), the two dimensions that know most of v_k
    modularity  mean_j 1 - sum_{k != k*} I(z_j; v_k)^2 / (I(z_j; v_k*)^2 (K - 1)), k* the factor that z_j knows most of

Chen, Li, Grosse and Duvenaud (2018), Isolating Sources of Disentanglement in VAEs, arXiv:1802.04942 (MIG; there by the
posterior's density, here by bins, as in Locatello et al., 2019, arXiv:1811.12359). Ridgeway and Mozer (2018), Learning
Deep Disentangled Embeddings with the F-Statistic Loss, arXiv:1802.05312 (modularity).
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from variata import Autoencoder, Data, Estimate, EvaluationSettings, Metric

from .codes import codes_and_factors

Bins = Annotated[int, Field(ge=2)]


class MIG(Metric):
    """Mutual information gap, "mig": 1 where each factor is one dimension's and no other's.

    Args:
        examples: random combinations of factors.
        bins: for each dimension; a factor of more values than bins cannot reach 1.
    """

    requires = Autoencoder

    def __init__(self, *, examples: PositiveInt = 10_000, bins: Bins = 20) -> None:
        self.examples, self.bins = examples, bins

    def measure(self, model: Autoencoder, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        codes, values, factors = codes_and_factors(model, data, self.examples)
        gaps = information_gap(codes, values, self.bins)
        of_factor = {factor.name: float(gap) for factor, gap in zip(factors, gaps, strict=True)}
        notes = {"examples": self.examples, "bins": self.bins, "of_factor": of_factor}
        return {"mig": {"value": float(gaps.mean()), "standard_error": None} | notes}


class Modularity(Metric):
    """ "modularity": 1 where each dimension knows of one factor alone. Dimensions that know nothing count 0.

    Args:
        examples: random combinations of factors.
        bins: for each dimension.
    """

    requires = Autoencoder

    def __init__(self, *, examples: PositiveInt = 10_000, bins: Bins = 20) -> None:
        self.examples, self.bins = examples, bins

    def measure(self, model: Autoencoder, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        codes, values, _ = codes_and_factors(model, data, self.examples)
        scores = modularity(mutual_information(codes, values, self.bins))
        notes = {"examples": self.examples, "bins": self.bins, "of_dimension": scores.tolist()}
        return {"modularity": {"value": float(scores.mean()), "standard_error": None} | notes}


def mutual_information(codes: Tensor, values: Tensor, bins: int) -> Tensor:
    """`[d, k]` of codes `[n, d]` and factor values `[n, k]`, in nats."""
    cut = _binned(codes, bins)
    return torch.stack([torch.stack([_information(z, v) for v in values.T]) for z in cut.T])


def information_gap(codes: Tensor, values: Tensor, bins: int) -> Tensor:
    """MIG of each factor, `[k]`."""
    information = mutual_information(codes, values, bins)
    information = torch.cat(
        [information, torch.zeros_like(information[:1])]
    )  # one dimension alone has a gap to nothing
    first, second = information.topk(2, dim=0).values
    entropy = torch.stack([_information(v, v) for v in values.T])
    return (first - second) / entropy


def modularity(information: Tensor) -> Tensor:
    """Of each dimension, `[d]`, from mutual information `[d, k]`."""
    squares = information.square()
    most = squares.max(1).values
    rest = (squares.sum(1) - most) / (most * max(squares.shape[1] - 1, 1))
    return torch.where(most > 0, 1 - rest, torch.zeros_like(most))


def _binned(codes: Tensor, bins: int) -> Tensor:
    low, high = codes.min(0).values, codes.max(0).values
    width = torch.where(high > low, high - low, torch.ones_like(low))
    return ((codes - low) / width * bins).long().clamp(max=bins - 1)


def _information(z: Tensor, v: Tensor) -> Tensor:
    """Of two columns of integers from 0; of a column and itself, its entropy."""
    shape = (int(z.max()) + 1, int(v.max()) + 1)
    joint = torch.bincount(z * shape[1] + v, minlength=shape[0] * shape[1]).reshape(shape).double() / len(z)
    independent = joint.sum(1, keepdim=True) * joint.sum(0)
    return torch.special.xlogy(joint, joint / independent.clamp(min=1e-300)).sum().clamp(min=0)
