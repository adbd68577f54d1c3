r"""Uncertainty of two kinds, kept apart.

Over seeds: m runs of one model differ by where they started, and the interval of their mean is Student's,

    mean +- t_{0.975, m - 1} s / sqrt(m),

which says how far other seeds would lie and nothing of other test sets. Over examples: two models are compared by the
differences d_i = a_i - b_i of what each says of the *same* example i (the mean over its seeds), whose standard error
s_d / sqrt(n) leaves out how much harder one example is than another for both.

Student (1908), The probable error of a mean. Bouthillier et al. (2021), Accounting for variance in machine learning
benchmarks, arXiv:2103.03098 (why seeds).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LEVEL = 0.95


def student_t(probability: float, freedom: int) -> float:
    """The quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def half_width(values: Sequence[float]) -> float | None:
    """Of the 95 % interval of the mean over seeds; None of fewer than two."""
    if len(values) < 2:
        return None
    spread = float(torch.tensor(values, dtype=torch.float64).std())
    return student_t((1 + LEVEL) / 2, len(values) - 1) * spread / math.sqrt(len(values))


def paired(a: Sequence[Tensor], b: Sequence[Tensor]) -> tuple[float, float | None, float | None]:
    """Mean of a - b, its standard error over examples, and the half-width of its interval over seeds.

    Args:
        a, b: of each seed, one value for each example, `[examples]`; seeds in the same order.
    """
    seeds = min(len(a), len(b))
    differences = torch.stack([x - y for x, y in zip(a[:seeds], b[:seeds], strict=True)]).double()
    each = differences.mean(0)
    error = float(each.std()) / math.sqrt(len(each)) if len(each) > 1 else None
    return float(each.mean()), error, half_width(differences.mean(1).tolist())
