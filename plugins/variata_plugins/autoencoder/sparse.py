r"""E_x[ L(x, g(f(x))) ] + lambda R, where codes are rarely on:

    kl   R = sum_j [ r log(r / q_j) + (1 - r) log((1 - r) / (1 - q_j)) ],   q_j = mean of z_j over the batch, in (0, 1)
    l1   R = sum_j |z_j|, of each example

Ng (2011), Sparse autoencoder, CS294A lecture notes (kl). Olshausen and Field (1996), Emergence of simple-cell receptive
field properties by learning a sparse code for natural images (l1).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from variata import Batch, ConfigError, Now, Objective, OnePhaseLoss, Problem, Scheduled, Term

from .pair import Pair
from .point import error_metrics, error_of

_LEAST = 1e-6


class Sparse(OnePhaseLoss):
    """The error of reconstruction, and the penalty.

    Args:
        model: says whether its codes lie between 0 and 1.
        penalty: which R.
        weight: lambda.
        target: r, the mean that each z_j is to have, of `kl`.

    Raises:
        ConfigError: `kl` of codes that are no probabilities.
    """

    requires = Pair

    def __init__(
        self,
        model: Pair,
        *,
        penalty: Literal["kl", "l1"] = "kl",
        weight: Scheduled = 1.0,
        target: Annotated[float, Field(gt=0, lt=1)] = 0.05,
    ) -> None:
        super().__init__()
        if penalty == "kl" and isinstance(model, Pair) and model.code != "sigmoid":
            message = f"kl needs codes in [0, 1], and these are {model.code}: set model.code=sigmoid or penalty=l1"
            raise ConfigError(Problem(message))
        self.penalty, self.weight, self.target = penalty, weight, target
        self.couples_batch = penalty == "kl"

    def forward(self, model: Pair, batch: Batch, now: Now) -> Objective:
        z = model.encode(batch.x, batch.y)
        law = model.law(z, batch.y)
        penalty = divergence(z.mean(0), self.target) if self.penalty == "kl" else z.abs().sum(1)
        terms = {"error": Term(error_of(law, batch.x)), "sparsity": Term(penalty, now(self.weight))}
        return Objective(terms, {**error_metrics(law, batch.x), "mean_code": z.detach().abs().mean(1)})


def divergence(q: Tensor, r: float) -> Tensor:
    """sum_j KL(Bernoulli(r) || Bernoulli(q_j)), in nats."""
    q = q.clamp(_LEAST, 1 - _LEAST)
    return (r * (r / q).log() + (1 - r) * ((1 - r) / (1 - q)).log()).sum()
