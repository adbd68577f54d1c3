r"""The regularised autoencoder: a VAE's noise, replaced by what it does for the decoder, which is to make it smooth.

    minimise  E_x[ L(x, g(z)) + beta/2 |z|^2 ] + lambda R,     z = f(x)

    gradient_penalty   R = 1/2 E_x ||dg/dz||_F^2              a decoder that changes little with z
    l2                 R = |theta|^2, of the decoder's weights
    none               R = 0

The norm is estimated in random directions (as in `contractive`). A density of the codes is fitted after training, the
model's prior, and so it samples.

Ghosh, Sajjadi, Vergari, Black and Schoelkopf (2020), From Variational to Deterministic Autoencoders, arXiv:1903.12436.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from variata import Batch, ConfigError, Now, Objective, OnePhaseLoss, Problem, Scheduled, Term
from variata_plugins.autoencoder.contractive import squared_jacobian
from variata_plugins.autoencoder.pair import Pair
from variata_plugins.autoencoder.point import error_metrics, error_of


class RAE(OnePhaseLoss):
    """The error of reconstruction, the size of the codes, and what is asked of the decoder.

    Args:
        beta: weight of half the squared norm of the codes.
        weight: lambda.
        penalty: which R.
        directions: how many random directions estimate the norm of the gradient; None computes it exactly, at the cost
            of a backward pass for each element of x.

    Raises:
        ConfigError: a negative weight.
    """

    requires = Pair

    def __init__(
        self,
        *,
        beta: Scheduled = 0.1,
        weight: Scheduled = 0.01,
        penalty: Literal["gradient_penalty", "l2", "none"] = "gradient_penalty",
        directions: PositiveInt | None = 1,
    ) -> None:
        super().__init__()
        for name, value in (("beta", beta), ("weight", weight)):
            if isinstance(value, float | int) and value < 0:
                raise ConfigError(Problem(f"{name} must not be negative (got {value:g})"))
        self.beta, self.weight, self.penalty, self.directions = beta, weight, penalty, directions

    def forward(self, model: Pair, batch: Batch, now: Now) -> Objective:
        with torch.enable_grad():  # in validation too
            z = model.encode(batch.x, batch.y)
            law = model.law(z, batch.y)
            regulariser = self._regulariser(model, law.mean, z)
        size = 0.5 * z.square().sum(1)
        terms = {"error": Term(error_of(law, batch.x)), "codes": Term(size, now(self.beta))}
        if regulariser is not None:
            terms["regulariser"] = Term(regulariser, now(self.weight))
        logged = {name: term.value.detach() for name, term in terms.items() if name != "error"}
        return Objective(terms, {**error_metrics(law, batch.x), **logged})

    def _regulariser(self, model: Pair, x: Tensor, z: Tensor) -> Tensor | None:
        """R, `[batch]` or 0-d."""
        if self.penalty == "gradient_penalty":
            return 0.5 * squared_jacobian(x.flatten(1), z, self.directions)
        if self.penalty == "l2":
            return torch.stack([p.square().sum() for p in model.decoder.parameters()]).sum()
        return None
