r"""log cosh x, element by element, with the derivative tanh x.

    log cosh x = |x| + log(1 + exp(-2 |x|)) - log 2

which overflows nowhere. In plain torch (`eager.py`) on the CPU, and fused (`triton.py`) on a GPU where Triton is
installed, which is imported when it is first run there and not before; `VARIATA_KERNELS=torch` is plain torch
everywhere.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from variata_kernels import operator

# Qualified by the package, so that no other operator of that name is in its way.
NAME = "variata_my_part::log_cosh"
log_cosh = operator(NAME, "(Tensor x) -> Tensor", __name__, "forward")
log_cosh_backward = operator(f"{NAME}_backward", "(Tensor x, Tensor grad) -> Tensor", __name__, "backward")


@log_cosh.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


@log_cosh_backward.register_fake
def _(x: Tensor, grad: Tensor) -> Tensor:
    return x.new_empty(x.shape)


def _keep(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> Tensor:
    return log_cosh_backward(*ctx.saved_tensors, grad)


log_cosh.register_autograd(_backward, setup_context=_keep)
