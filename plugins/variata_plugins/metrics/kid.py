r"""The squared maximum mean discrepancy between features of data and samples, by its unbiased estimate,

    KID = 1/(n (n-1)) sum_{i != j} k(x_i, x_j) + 1/(m (m-1)) sum_{i != j} k(y_i, y_j) - 2/(n m) sum_{i,j} k(x_i, y_j),
    k(x, y) = (x . y / d + 1)^3,

over all pairs, which may be negative. Its standard error is the jackknife's, over examples and samples, which is too
large rather than too small in the mean (Efron and Stein, 1981, The jackknife estimate of variance).

Binkowski, Sutherland, Arbel and Gretton (2018), Demystifying MMD GANs, arXiv:1801.01401 (an
average over subsets there).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from pydantic import PositiveInt
from torch import Tensor

from variata import Data, DataError, Estimate, EvaluationSettings, Metric, Sampler, default

from .extractor import Extractor, as_extractor
from .samples import compare

_ROWS = 1000


class KID(Metric):
    """Kernel distance of features, "kid[lenet]"; 0 in the mean where samples and data have one law.

    Args:
        extractor: of the features; in Python, any module as well.
        samples: how many are drawn; every example of the split is compared with them.
        mean: the mean of p(x | z) instead of a draw from it.
    """

    requires = Sampler

    def __init__(
        self,
        *,
        extractor: Extractor = default("extractor", "lenet"),
        samples: PositiveInt = 10_000,
        mean: bool = False,
    ) -> None:
        self.extractor, self.samples, self.mean = as_extractor(extractor), samples, mean

    def measure(self, model: Sampler, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        found = compare(model, data, settings, self.extractor, self.samples, self.mean)
        value, error = kernel_distance(found.real, found.drawn)
        return {f"kid[{found.label}]": {"value": value, "standard_error": error} | found.notes}


def kernel_distance(x: Tensor, y: Tensor) -> tuple[float, float]:
    """The estimate and its standard error, for features `[n, d]` and `[m, d]`.

    Raises:
        DataError: fewer than three of either, of which there is no jackknife.
    """
    n, m = len(x), len(y)
    if min(n, m) < 3:
        raise DataError(f"three examples and three samples at least have a KID ({n} and {m} here)")
    x, y = x.double(), y.double()
    within, drawn, between = _sums(x, x), _sums(y, y), _sums(x, y)
    own_x, own_y = within.rows - _kernel_of_itself(x), drawn.rows - _kernel_of_itself(y)
    sum_x, sum_y, sum_xy = own_x.sum(), own_y.sum(), between.rows.sum()

    def u(sum_x: Tensor, n: int, sum_y: Tensor, m: int, sum_xy: Tensor) -> Tensor:
        return sum_x / (n * (n - 1)) + sum_y / (m * (m - 1)) - 2 * sum_xy / (n * m)

    without_x = u(sum_x - 2 * own_x, n - 1, sum_y, m, sum_xy - between.rows)
    without_y = u(sum_x, n, sum_y - 2 * own_y, m - 1, sum_xy - between.columns)
    variance = sum((len(v) - 1) * v.var(unbiased=False) for v in (without_x, without_y))
    return float(u(sum_x, n, sum_y, m, sum_xy)), math.sqrt(float(variance))


@dataclass(frozen=True)
class _Sums:
    """Of a kernel matrix `[n, m]`, over columns `[n]` and over rows `[m]`."""

    rows: Tensor
    columns: Tensor


def _sums(x: Tensor, y: Tensor) -> _Sums:
    rows, columns = [], torch.zeros(len(y), dtype=x.dtype)
    for part in x.split(_ROWS):
        kernel = (part @ y.T / x.shape[1] + 1).pow_(3)
        rows.append(kernel.sum(1))
        columns += kernel.sum(0)
    return _Sums(torch.cat(rows), columns)


def _kernel_of_itself(x: Tensor) -> Tensor:
    return (x.square().sum(1) / x.shape[1] + 1).pow(3)
