r"""What is missing of a row, from what is there.

    E[x_M | x_O] ~ sum_k v_k E[x_M | z_k],  v_k = w_k / sum_k w_k,  w_k = p(x_O, z_k) / q(z_k | x_O),  z_k ~ q(z | x_O)

for numbers and counts; of a categorical column the level of the greatest sum_k v_k p(x_M | z_k). A draw of x_M given
x_O takes z_k with probability v_k, and x_M ~ p(x_M | z_k) (sampling importance resampling); both are exact as the
number of samples grows. A model whose conditionals are exact draws x_M from them instead.

Mattei and Frellsen (2019), MIWAE: deep generative modelling and imputation of incomplete data sets, arXiv:1812.02633
(equations 10 and 13).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from variata import Column, LatentVariable, Marginals, Model, Unsupported

from .law import RowLaw

_AT_ONCE = 1 << 16


class Imputed(NamedTuple):
    """`x`: rows without gaps, `[rows, columns]`. `effective`: of how many samples the estimates are worth, between one
    and all of them, `[rows]`; None where they are draws from the exact conditional."""

    x: Tensor
    effective: Tensor | None


@torch.no_grad()
def impute(model: Model, x: Tensor, y: Tensor | None = None, *, samples: int = 1000, draw: bool = False) -> Imputed:
    """Fills NaN, and nothing else.

    Args:
        model: trained, in evaluation mode.
        x: `[rows, columns]`.
        y: of each row, where the model is conditional.
        samples: K, for each row.
        draw: a draw from p(x_M | x_O) instead of its mean (of a categorical column, its most probable level).

    Raises:
        Unsupported: the model can neither leave out what is missing nor draw it, or was never shown a gap.
    """
    if isinstance(model, Marginals):
        return Imputed(_by_conditionals(model, x, 1 if draw else samples), None)
    if not isinstance(model, LatentVariable):
        raise Unsupported(f"{type(model).__name__} has neither exact conditionals nor a latent variable to impute by")
    if model.spec.regular and model.spec.columns:
        message = (
            "the model was trained on rows without gaps, and its encoder cannot read any: train with data.hide=0.2"
        )
        raise Unsupported(message)
    size = max(1, _AT_ONCE // samples)
    found, effective = [], []
    for start in range(0, len(x), size):
        part = slice(start, start + size)
        terms = model.terms(x[part], None if y is None else y[part], samples)
        law = terms.likelihood
        if not isinstance(law, RowLaw):
            raise Unsupported(
                "imputation needs a likelihood that leaves out what is missing: train with decoder: table"
            )
        weights = terms.log_weights().double().softmax(0)
        found.append(_drawn(law, weights) if draw else law.mixed(weights.to(x.dtype)))
        effective.append(1 / weights.square().sum(0))
    guess = torch.cat(found).to(x.dtype) if found else x
    return Imputed(torch.where(x.isnan(), guess, x), torch.cat(effective) if effective else x.new_zeros(0))


def _drawn(law: RowLaw, weights: Tensor) -> Tensor:
    """One draw for each row, of the law at one of the draws of z, which is chosen by its weight."""
    chosen = torch.multinomial(weights.T, 1)[:, 0]
    return law.sample()[chosen, torch.arange(len(chosen), device=chosen.device)]


def _by_conditionals(model: Marginals, x: Tensor, samples: int) -> Tensor:
    """Mean of draws; of a column of levels, the most frequent one."""
    observed = ~x.isnan()
    drawn = torch.stack([model.sample_given(x, observed) for _ in range(samples)])
    coded = [column.kind == "categorical" for column in columns_of(model)]
    modes = torch.where(torch.tensor(coded, device=x.device), drawn.mode(0).values, drawn.mean(0))
    return torch.where(observed, x, modes)


def columns_of(model: Model) -> tuple[Column, ...]:
    """The columns that a model was trained on.

    Raises:
        Unsupported: it was trained on no table.
    """
    if not model.spec.columns:
        raise Unsupported(f"this {type(model).__name__} was not trained on a table, so its data has no columns to fill")
    return model.spec.columns
