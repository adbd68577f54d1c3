r"""How near imputed values come to those that were hidden, beside what is imputed without a model:

    rmse      root of the mean squared error of numbers and counts, each in standard deviations of its training column
    error     share of levels that are wrong

by the model, by the column's training mean (and its most frequent level), and by the mean of the five nearest training
rows, with levels as one-hot numbers (Troyanskaya et al., 2001, Missing value estimation methods for DNA microarrays).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from variata import (
    Column,
    Data,
    DataError,
    Estimate,
    EvaluationSettings,
    Metric,
    Model,
    TableData,
    Unsupported,
    with_every_label,
)

from .imputation import columns_of, impute

_NEAREST = 5


class Imputation(Metric):
    """ "imputation_rmse" and "imputation_error", and the same with [mean] and [knn].

    Args:
        share: of the values of the split that are hidden, where the data itself hides none (`data.hide`).
        neighbours: take the training rows' imputation by nearest neighbours as well; it needs all of them in memory.
        samples: importance samples for each row.
    """

    tables = True

    def __init__(
        self,
        *,
        share: Annotated[float, Field(gt=0, lt=1)] = 0.2,
        neighbours: bool = True,
        samples: PositiveInt = 1000,
    ) -> None:
        self.share, self.neighbours, self.samples = share, neighbours, samples

    def measure(self, model: Model, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        data = with_every_label(data)
        if not isinstance(data, TableData):
            raise Unsupported("imputation is measured on a table, and the data is none")
        columns, split = columns_of(model), data.split(settings.split)
        if not len(split):
            raise DataError(f"the split {settings.split} has no rows")
        batch = split.batch(torch.arange(len(split)))
        truth = data.complete(settings.split).to(batch.x.dtype)
        hidden = batch.x.isnan() & ~truth.isnan()
        if not hidden.any():
            hidden = ~truth.isnan() & (torch.rand(truth.shape) < self.share)
        x = batch.x.masked_fill(hidden, torch.nan)
        device = next((p.device for p in model.parameters()), x.device)
        y = None if batch.y is None or not model.conditional else batch.y.to(device)
        train = data.split("train").batch(torch.arange(len(data.split("train")))).x
        guesses = {
            "": impute(model, x.to(device), y, samples=self.samples).x.cpu(),
            "[mean]": by_column(x, train, columns),
        }
        if self.neighbours:
            guesses["[knn]"] = by_neighbours(x, train, columns)
        common = {"split": settings.split, "hidden": int(hidden.sum())}
        found: dict[str, Estimate] = {}
        for how, guess in guesses.items():
            for name, figure in _errors(guess, truth, hidden, columns):
                found[f"imputation_{name}{how}"] = figure | common
        return found


def _errors(guess: Tensor, truth: Tensor, hidden: Tensor, columns: Sequence[Column]) -> Iterator[tuple[str, Estimate]]:
    """The errors over all hidden values, with their standard errors."""
    coded = torch.tensor([column.kind == "categorical" for column in columns])
    scale = torch.tensor([column.std if column.kind == "count" else 1.0 for column in columns], dtype=torch.float64)
    squares = ((guess - truth).double() / scale).square()[hidden & ~coded]
    if len(squares):
        rmse = float(squares.mean().sqrt())
        spread = float(squares.std() / len(squares) ** 0.5 / (2 * rmse)) if len(squares) > 1 and rmse else None
        yield "rmse", {"value": rmse, "standard_error": spread, "values": len(squares)}
    wrong = (guess != truth).double()[hidden & coded]
    if len(wrong):
        spread = float(wrong.std() / len(wrong) ** 0.5) if len(wrong) > 1 else None
        yield "error", {"value": float(wrong.mean()), "standard_error": spread, "values": len(wrong)}


def by_column(x: Tensor, train: Tensor, columns: Sequence[Column]) -> Tensor:
    """The training mean, and the most frequent level."""
    best = [
        values.mode().values if column.kind == "categorical" else values.mean()
        for column, values in ((c, v[~v.isnan()]) for c, v in zip(columns, train.T, strict=True))
    ]
    return torch.where(x.isnan(), torch.stack(best), x)


def by_neighbours(x: Tensor, train: Tensor, columns: Sequence[Column]) -> Tensor:
    """The mean of the nearest training rows that have the value."""
    from sklearn.impute import KNNImputer

    imputer = KNNImputer(n_neighbors=_NEAREST, keep_empty_features=True).fit(_numbers(train, columns).numpy())
    filled = torch.from_numpy(imputer.transform(_numbers(x, columns).numpy())).to(x.dtype)
    parts = filled.split([len(column.levels) or 1 for column in columns], dim=1)
    found = [
        part.argmax(1).to(x.dtype) if column.levels else part[:, 0] * (column.std if column.kind == "count" else 1.0)
        for part, column in zip(parts, columns, strict=True)
    ]
    return torch.where(x.isnan(), torch.stack(found, dim=1), x)


def _numbers(x: Tensor, columns: Sequence[Column]) -> Tensor:
    """Numbers and counts in standard deviations, levels one-hot; NaN where one is missing."""
    parts = []
    for values, column in zip(x.double().T, columns, strict=True):
        if column.levels:
            hot = torch.nn.functional.one_hot(values.nan_to_num(0.0).long(), len(column.levels)).double()
            parts.append(hot.masked_fill(values.isnan()[:, None], torch.nan))
        else:
            parts.append(values[:, None] / (column.std if column.kind == "count" else 1.0))
    return torch.cat(parts, dim=1)
