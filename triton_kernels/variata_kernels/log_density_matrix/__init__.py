r"""The density of each point under each posterior of the batch, reduced over posteriors: for total correlations.

README.md beside this file derives the backward, counts the bytes, and says when not to use it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..backend import operator, refuse_transforms

SCHEMA = "(Tensor z, Tensor mean, Tensor logvar) -> (Tensor, Tensor)"
BACKWARD_SCHEMA = (
    "(Tensor z, Tensor mean, Tensor logvar, Tensor joint, Tensor marginal, Tensor? grad_joint, Tensor? grad_marginal)"
    " -> (Tensor, Tensor, Tensor)"
)

log_density_matrix_operator = operator("log_density_matrix", SCHEMA, __name__, "forward")
backward_operator = operator("log_density_matrix_backward", BACKWARD_SCHEMA, __name__, "backward")


@log_density_matrix_operator.register_fake
def _(z: Tensor, mean: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    wide = torch.promote_types(z.dtype, torch.float32)
    return z.new_empty(z.shape[:1], dtype=wide), z.new_empty(z.shape, dtype=wide)


@backward_operator.register_fake
def _(z: Tensor, mean: Tensor, logvar: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    return z.new_empty(z.shape), mean.new_empty(mean.shape), logvar.new_empty(logvar.shape)


def _setup(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, *output)
    # An output that was not used has no gradient, rather than one made of zeros.
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad_joint: Tensor | None, grad_marginal: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    return backward_operator(*ctx.saved_tensors, grad_joint, grad_marginal)


log_density_matrix_operator.register_autograd(_backward, setup_context=_setup)


def log_density_matrix(z: Tensor, mean: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    r"""log sum_j q(z_i | x_j) over all dimensions and for each, where q(. | x_j) = N(mu_j, diag exp logvar_j).

        joint_i     = log sum_j prod_d N(z_id; mu_jd, exp logvar_jd)
        marginal_id = log sum_j N(z_id; mu_jd, exp logvar_jd)

    The total correlation of the aggregate posterior, by minibatch-weighted sampling with N examples in the data, is the
    mean of joint_i - log(N M) - sum_d (marginal_id - log(N M)) for a batch of M. Means and z are bounded by 1e9, log
    variances by 30 in absolute value. Results are in nats, in float32 whatever the input (float64 for float64).

    >>> joint, marginal = log_density_matrix(torch.zeros(2, 3), torch.zeros(1, 3), torch.zeros(1, 3))
    >>> joint
    tensor([-2.7568, -2.7568])

    Chen, Li, Grosse and Duvenaud (2018), Isolating Sources of Disentanglement in VAEs, arXiv:1802.04942.

    Args:
        z: `[points, latent]`; usually a sample of each of the laws.
        mean, logvar: `[laws, latent]`.

    Returns:
        joint `[points]` and marginal `[points, latent]`.

    Raises:
        ValueError: shapes or types that do not fit.
        NotImplementedError: under vmap or a forward-mode derivative. A second derivative raises too.
    """
    fits = z.ndim == mean.ndim == 2 and mean.shape == logvar.shape and z.shape[1] == mean.shape[1]
    if not fits or not z.is_floating_point() or not z.dtype == mean.dtype == logvar.dtype:
        raise ValueError(
            f"log_density_matrix takes [points, latent] and twice [laws, latent] of one real type, not {z.dtype} "
            f"{tuple(z.shape)}, {mean.dtype} {tuple(mean.shape)} and {logvar.dtype} {tuple(logvar.shape)}"
        )
    if not torch.compiler.is_compiling():
        refuse_transforms("log_density_matrix", z, mean, logvar)
    return log_density_matrix_operator(z, mean, logvar)
