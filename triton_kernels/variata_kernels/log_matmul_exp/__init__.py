r"""log(exp(a) @ exp(b)), the sum layer of a probabilistic circuit and the step of a hidden Markov model.

README.md beside this file derives the backward, counts the bytes, and says when not to use it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..backend import exporting, operator, refuse_transforms
from . import reference

SCHEMA = "(Tensor a, Tensor b) -> Tensor"
BACKWARD_SCHEMA = "(Tensor a, Tensor b, Tensor out, Tensor grad) -> (Tensor, Tensor)"

log_matmul_exp_operator = operator("log_matmul_exp", SCHEMA, __name__, "forward")
backward_operator = operator("log_matmul_exp_backward", BACKWARD_SCHEMA, __name__, "backward")


@log_matmul_exp_operator.register_fake
def _(a: Tensor, b: Tensor) -> Tensor:
    wide = torch.promote_types(a.dtype, torch.float32)
    return a.new_empty((*a.shape[:-1], b.shape[-1]), dtype=wide)


@backward_operator.register_fake
def _(a: Tensor, b: Tensor, out: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    return a.new_empty(a.shape), b.new_empty(b.shape)


def _setup(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs, output)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
    return backward_operator(*ctx.saved_tensors, grad)


log_matmul_exp_operator.register_autograd(_backward, setup_context=_setup)


def log_matmul_exp(a: Tensor, b: Tensor) -> Tensor:
    r"""c_mn = log sum_k exp(a_mk + b_kn), in float32 whatever the input (float64 for float64).

    Entries may be -inf: a sum of nothing but zeros is -inf, and sends no gradient back. Exact also where rows and
    columns have their maxima at different k, however far below them the sum lies.

    >>> log_matmul_exp(torch.zeros(2, 3), torch.zeros(3, 4)).exp().round(decimals=3)
    tensor([[3., 3., 3., 3.],
            [3., 3., 3., 3.]])

    Peharz et al. (2020), Einsum Networks, arXiv:2004.06231; Liu, Ahmed and Van den Broeck (2024), Scaling Tractable
    Probabilistic Circuits, arXiv:2406.00766.

    Args:
        a: `[*batch, m, k]`, natural logarithms.
        b: `[*batch, k, n]`, of a's type; batch axes broadcast.

    Returns:
        `[*batch, m, n]`.

    In torch.export the formula itself stands in the graph, in `m * k * n` memory.

    Raises:
        ValueError: shapes or types that do not fit.
        NotImplementedError: under vmap or a forward-mode derivative. A second derivative raises too.
    """
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2] or a.dtype != b.dtype or not a.is_floating_point():
        raise ValueError(
            f"log_matmul_exp takes [*batch, m, k] and [*batch, k, n] of one real type, not {a.dtype} {tuple(a.shape)} "
            f"and {b.dtype} {tuple(b.shape)}"
        )
    if exporting():
        return reference.log_matmul_exp(a, b)
    if not torch.compiler.is_compiling():
        refuse_transforms("log_matmul_exp", a, b)
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    flat = [x.expand(*batch, *x.shape[-2:]).reshape(batch.numel(), *x.shape[-2:]) for x in (a, b)]
    return log_matmul_exp_operator(*flat).view(*batch, a.shape[-2], b.shape[-1])
