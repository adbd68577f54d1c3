r"""KL(N(mu, s^2) || Laplace(0, b)), element by element, from mu, log s^2 and log b, with its derivatives

    d/dmu = erf(r) / b,    d/dlog s^2 = s e^{-r^2} / (b sqrt 2 pi) - 1/2,    d/dlog b = 1 - E|z| / b,
    r = mu / (s sqrt 2).

Written out, the formula takes a dozen passes over memory, and keeps what each of them made for the backward. Here it is
one pass in each direction that keeps the inputs alone: in Triton on a GPU (`triton.py`), else in plain torch
(`eager.py`); `VARIATA_KERNELS=torch` is plain torch everywhere.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from variata_kernels import operator

NAME = "variata_sparse::gaussian_laplace_kl"
SCHEMA = "(Tensor mean, Tensor logvar, Tensor log_scale) -> Tensor"
BACKWARD = "(Tensor mean, Tensor logvar, Tensor log_scale, Tensor grad) -> (Tensor, Tensor, Tensor)"

gaussian_laplace_kl = operator(NAME, SCHEMA, __name__, "forward")
_backward_operator = operator(f"{NAME}_backward", BACKWARD, __name__, "backward")


@gaussian_laplace_kl.register_fake
def _(mean: Tensor, logvar: Tensor, log_scale: Tensor) -> Tensor:
    return mean.new_empty(mean.shape)


@_backward_operator.register_fake
def _(mean: Tensor, logvar: Tensor, log_scale: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return mean.new_empty(mean.shape), mean.new_empty(mean.shape), mean.new_empty(mean.shape)


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _backward_operator(*ctx.saved_tensors, grad)


gaussian_laplace_kl.register_autograd(_backward, setup_context=_keep)
