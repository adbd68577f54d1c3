r"""The operator on the CPU, for noise that is given: the call of a custom operator costs as much as a small layer.

`Standard` is the layer of most models, one sample against N(0, I), with as few operations as it takes: in a tiny VAE
each of them shows. `General` is everything else.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from . import eager
from .reference import LOGVAR_BOUND, MEAN_BOUND

# A Python number is made into a tensor at each operation, which costs as much as the operation.
HALF = torch.tensor(0.5)


@cache
def _bounds(latent: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The lowest and the highest of each packed parameter, `[2 latent]`."""
    # Made outside of whatever mode the first caller is in: they serve every later one.
    with torch.inference_mode(False):
        highest = torch.tensor([MEAN_BOUND] * latent + [LOGVAR_BOUND] * latent, dtype=dtype)
        return -highest, highest


def is_standard(params: Tensor, prior_mean: Tensor | None, eps: Tensor, sampled: bool) -> bool:
    """Whether `Standard` computes it: sums over a longer row may leave float32, and are looked after in `General`."""
    return not sampled and prior_mean is None and params.dtype == eps.dtype and eps.shape[-1] <= eager.SHORT_ROW


class Final(torch.autograd.Function):
    """A gradient as it is, which refuses to be differentiated with respect to what it was made of."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, *sources: Tensor | None) -> Tensor:
        return grad.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise NotImplementedError("reparam_kl has no second derivative")


def _final(grads: tuple[Tensor | None, ...], sources: tuple[Tensor | None, ...]) -> tuple[Any, ...]:
    return tuple(None if grad is None else Final.apply(grad, *sources) for grad in grads)


class Standard(torch.autograd.Function):
    """(params, logvar, eps, per_dimension) -> z, KL."""

    @staticmethod
    def forward(
        ctx: Any, params: Tensor, logvar: Tensor | None, eps: Tensor, per_dimension: bool
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        if logvar is None:
            mean, log_variance = torch.clamp(params, *_bounds(eps.shape[-1], params.dtype)).chunk(2, -1)
        else:
            mean = params.clamp(-MEAN_BOUND, MEAN_BOUND)
            log_variance = logvar.clamp(-LOGVAR_BOUND, LOGVAR_BOUND)
        spread = torch.mul(log_variance, HALF).exp_().mul_(eps)
        wide = log_variance.double()
        growth = torch.expm1(wide)
        kl = (growth - wide).to(mean.dtype).addcmul_(mean, mean)
        kl = kl.mul_(HALF) if per_dimension else kl.sum(-1).mul_(HALF)
        ctx.save_for_backward(mean, spread, growth.to(mean.dtype), params, logvar)
        ctx.options = (logvar is None, per_dimension)
        return mean + spread, kl

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, Tensor | None, None, None]:
        if not torch.is_grad_enabled():
            return _backward(ctx, *grad_outputs)
        with torch.no_grad():
            grads = _backward(ctx, *grad_outputs)
        first, second, *_ = _final(grads, (*ctx.saved_tensors[3:], *grad_outputs))
        return first, second, None, None


def _backward(
    ctx: Any, grad_z: Tensor | None = None, grad_kl: Tensor | None = None
) -> tuple[Tensor | None, Tensor | None, None, None]:
    mean, spread, growth, *_ = ctx.saved_tensors
    packed, per_dimension = ctx.options
    by_mean, by_logvar = grad_z, None if grad_z is None else grad_z * spread
    if grad_kl is not None:
        weight = grad_kl if per_dimension else grad_kl.unsqueeze(-1)
        by_mean = weight * mean if by_mean is None else torch.addcmul(by_mean, weight, mean)
        by_logvar = weight * growth if by_logvar is None else by_logvar.addcmul_(weight, growth)
    if by_mean is None or by_logvar is None:
        return None, None, None, None
    by_logvar.mul_(HALF)
    if packed:
        return torch.cat([by_mean, by_logvar], -1), None, None, None
    return by_mean, by_logvar, None, None


# `Function.apply` without its unwrapping of what `torch.func` leaves behind, which has been refused before.
apply_standard = super(torch.autograd.Function, Standard).apply  # pyright: ignore[reportAttributeAccessIssue]


class General(torch.autograd.Function):
    """(params, logvar, prior_mean, prior_logvar, eps, sampled, per_dimension, path_only) -> z, KL, log weight."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        *inputs, sampled, per_dimension, path_only = arguments
        ctx.save_for_backward(*inputs)
        ctx.options = (sampled, per_dimension, path_only)
        ctx.set_materialize_grads(False)
        params, logvar, prior_mean, prior_logvar, eps = inputs
        return eager.forward_with(params, logvar, prior_mean, prior_logvar, eps, sampled, per_dimension)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        inputs = ctx.saved_tensors
        params, logvar, prior_mean, prior_logvar, eps = inputs
        grad_z, grad_kl, grad_weight = grads
        if not ctx.options[0]:
            grad_weight = None  # the empty tensor that stands for no weights
        with torch.no_grad():
            through = (grad_z, grad_kl, grad_weight)
            made = eager.backward_with(params, logvar, prior_mean, prior_logvar, eps, *through, *ctx.options)
        given = tuple(None if x is None else grad for x, grad in zip(inputs[:4], made, strict=True))
        if torch.is_grad_enabled():
            given = _final(given, (*inputs[:4], *grads))
        return (*given, None, None, None, None)
