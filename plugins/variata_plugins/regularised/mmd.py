r"""The squared maximum mean discrepancy between two laws, from n draws of each, without bias:

    MMD^2 = E k(z, z') - 2 E k(z, w) + E k(w, w')

    = 1/(n (n-1)) sum_(i != j) [ k(z_i, z_j) + k(w_i, w_j) ]  -  2/n^2 sum_ij k(z_i, w_j)

It is zero on average where the laws are equal, so that an estimate may be negative. With r = |z - w| and c = 2 d s, the
mean squared distance of two draws of N(0, s I) in d dimensions, the kernels are sums over the scales s of

    imq    c / (c + r^2)                    heavy tails: codes far away are still pulled
    rbf    exp(-r^2 / c)

Gretton, Borgwardt, Rasch, Schoelkopf and Smola (2012), A Kernel Two-Sample Test, JMLR 13 (lemma 6). Tolstikhin,
Bousquet, Gelly and Schoelkopf (2018), Wasserstein Auto-Encoders, arXiv:1711.01558 (the kernel imq and its c).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor
from torch.distributions import Distribution

Kernel = Literal["imq", "rbf"]
Scales = Annotated[Sequence[PositiveFloat], Field(min_length=1)]
SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def kernel_matrix(z: Tensor, w: Tensor, kernel: Kernel, scales: Sequence[float]) -> Tensor:
    """k(z_i, w_j), `[n, d]` and `[m, d]` -> `[n, m]`."""
    squared = (z.square().sum(1)[:, None] + w.square().sum(1) - 2 * z @ w.T).clamp(min=0)
    spread = 2.0 * z.shape[1]
    if kernel == "imq":
        return torch.stack([spread * s / (spread * s + squared) for s in scales]).sum(0)
    return torch.stack([(-squared / (spread * s)).exp() for s in scales]).sum(0)


def squared_mmd(z: Tensor, w: Tensor, kernel: Kernel, scales: Sequence[float]) -> Tensor:
    """The estimate above, a 0-d tensor, of draws `[n, d]` each. Of one draw there is none, and it is 0."""
    n = len(z)
    if n < 2:
        return (z * 0).sum()
    within = [kernel_matrix(v, v, kernel, scales) for v in (z, w)]
    apart = sum((k.sum() - k.diagonal().sum() for k in within), torch.zeros_like(z[0, 0])) / (n * (n - 1))
    return apart - 2 * kernel_matrix(z, w, kernel, scales).mean()


def prior_draws(p: Distribution, n: int) -> Tensor:
    """n draws of a prior, or one of each of its n laws, `[n, d]`; with gradients where it has parameters."""
    shape = () if p.batch_shape else (n,)
    return (p.rsample(shape) if p.has_rsample else p.sample(shape)).reshape(n, -1)
