r"""Reparameterised sampling of a diagonal Gaussian, its KL divergence, and its importance weights, in one pass.

README.md beside this file derives the backward, counts the bytes, and says when not to use it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..backend import DEFAULTS, operator, refuse_transforms, switches, unwatched
from ..philox import as_offset, as_seed, draw_seed, noise_operator
from . import eager, inline, reference

_INPUTS = (
    "Tensor params, Tensor? logvar, Tensor? prior_mean, Tensor? prior_logvar, "
    "Tensor seed, Tensor? row_offset, Tensor? sample_offset"
)
_OPTIONS = "int stream, SymInt? samples, bool per_dimension, bool path_only"
SCHEMA = f"({_INPUTS}, {_OPTIONS}) -> (Tensor, Tensor, Tensor)"
BACKWARD_SCHEMA = (
    f"({_INPUTS}, Tensor? grad_z, Tensor? grad_kl, Tensor? grad_weight, {_OPTIONS}) -> (Tensor, Tensor, Tensor, Tensor)"
)

reparam_kl_operator = operator("reparam_kl", SCHEMA, __name__, "forward")
backward_operator = operator("reparam_kl_backward", BACKWARD_SCHEMA, __name__, "backward")


@reparam_kl_operator.register_fake
def _(
    params: Tensor,
    logvar: Tensor | None,
    prior_mean: Tensor | None,
    prior_logvar: Tensor | None,
    seed: Tensor,
    row_offset: Tensor | None,
    sample_offset: Tensor | None,
    stream: int,
    samples: int | None,
    per_dimension: bool,
    path_only: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    rows, width = params.shape
    columns = width if logvar is not None else width // 2
    wide = torch.float64 if params.dtype == torch.float64 else torch.float32
    leading = () if samples is None else (samples,)
    return (
        params.new_empty((*leading, rows, columns)),
        params.new_empty((rows, columns) if per_dimension else (rows,), dtype=wide),
        params.new_empty((0,) if samples is None else (samples, rows), dtype=wide),
    )


@backward_operator.register_fake
def _(
    params: Tensor, logvar: Tensor | None, prior_mean: Tensor | None, prior_logvar: Tensor | None, *rest: Any
) -> tuple[Tensor, ...]:
    like = (params, logvar, prior_mean, prior_logvar)
    return tuple(params.new_empty((0,) if x is None else x.shape) for x in like)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:7])
    ctx.options = inputs[7:]
    # An output that was not used has no gradient, rather than one made of zeros.
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad_z: Tensor | None, grad_kl: Tensor | None, grad_weight: Tensor | None) -> tuple[Any, ...]:
    inputs = ctx.saved_tensors
    if ctx.options[1] is None:
        grad_weight = None  # the empty tensor that stands for no weights
    grads = backward_operator(*inputs, grad_z, grad_kl, grad_weight, *ctx.options)
    given = (None if x is None else grad for x, grad in zip(inputs[:4], grads, strict=True))
    return (*given, None, None, None, None, None, None, None)


reparam_kl_operator.register_autograd(_backward, setup_context=_setup)


_NO_OFFSET = 0


class GaussianDraw(NamedTuple):
    r"""What one pass gives.

    Attributes:
        z: mu + sigma eps, `[*samples, *batch, latent]`, of the input's type.
        kl: KL(q || p) in nats, `[*batch]`, or `[*batch, latent]` per dimension; float32, float64 for float64.
        log_weight: log p(z) - log q(z | x) in nats, `[samples, *batch]`, of kl's type; None without samples.
        noise: gives eps of the draw, of z's shape and kl's type or float32: kept on the CPU, else drawn again.
    """

    z: Tensor
    kl: Tensor
    log_weight: Tensor | None
    noise: Callable[[], Tensor]


def reparam_kl(
    params: Tensor | tuple[Tensor, Tensor],
    seed: int | Tensor | None = None,
    samples: int | None = None,
    row_offset: int | Tensor = 0,
    sample_offset: int | Tensor = 0,
    stream: int = 0,
    *,
    prior: Tensor | tuple[Tensor, Tensor] | None = None,
    per_dimension: bool = False,
    path_only: bool = False,
) -> GaussianDraw:
    r"""Draws z ~ q = N(mu, diag exp logvar), with KL(q || p) and, for several samples, log p(z) - log q(z | x).

        z    = mu + exp(logvar / 2) eps
        KL   = 1/2 sum_j [ mu_j^2 + exp(logvar_j) - 1 - logvar_j ]                 for p = N(0, I)

    Sums are in float32 whatever the input, the KL exact near collapse. Means are bounded by 1e15 and log variances by
    80 in absolute value, so that the KL, the weights and all gradients are finite in float32 for any finite input.

    >>> z, kl, log_weight, noise = reparam_kl(torch.zeros(5, 6), seed=1, samples=2)
    >>> z.shape, kl.tolist(), log_weight.shape
    (torch.Size([2, 5, 3]), [0.0, 0.0, 0.0, 0.0, 0.0], torch.Size([2, 5]))

    Args:
        params: `[mu | logvar]` packed on the last axis, `[*batch, 2 latent]`, or the pair (mu, logvar), each
            `[*batch, latent]`.
        seed: an int, or a tensor of one int64: eps is then `variata_kernels.noise`, on every device. None draws
            afresh: on the CPU from torch's generator; elsewhere, and with `VARIATA_NOISE=portable`, from a seed that
            is drawn from it.
        samples: None gives z `[*batch, latent]`; an integer, 1 included, `[samples, *batch, latent]`.
        row_offset, sample_offset: the place of the first example and sample in the noise of the seed; an int, or a
            tensor of one int64 (which a captured graph reads at each replay). The batch axes are rows, in order.
        stream: tells layers apart that share a seed.
        prior: p's parameters, packed or a pair, of q's shape; None for N(0, I).
        per_dimension: the KL of each dimension.
        path_only: in log q(z | x), q's parameters are constant and z is not: the gradients of sticking the landing
            (Roeder, Wu and Duvenaud, 2017, arXiv:1703.09194) and DReG (Tucker et al., 2019, arXiv:1810.04152).

    Raises:
        ValueError: shapes or types that do not fit; an offset or a stream without a seed.
        NotImplementedError: under vmap or a forward-mode derivative. A second derivative raises too.
    """
    mean, logvar = params if isinstance(params, tuple) else (params, None)
    plain = seed is None and samples is None and prior is None and not stream and _is_plain(mean, logvar)
    if plain and row_offset is _NO_OFFSET and sample_offset is _NO_OFFSET and switches() is DEFAULTS and unwatched():
        # The layer of most models, on the CPU. Every check below holds here; in a tiny model they cost 3% of a step.
        *batch, width = mean.shape
        eps = torch.randn((*batch, width // 2 if logvar is None else width))
        z, kl = inline.apply_standard(mean, logvar, eps, per_dimension)
        return GaussianDraw(z, kl, None, eps.detach)

    prior_mean = prior_logvar = None
    if prior is not None:
        prior_mean, prior_logvar = prior if isinstance(prior, tuple) else prior.chunk(2, dim=-1)
    shape = _latent_shape(mean, logvar, prior_mean, prior_logvar)
    if samples is not None:
        if samples < 1:
            raise ValueError(f"samples={samples}: None, or at least one")
        shape = (samples, *shape)
    compiling = torch.compiler.is_compiling()
    if not compiling:
        refuse_transforms("reparam_kl", mean, logvar, prior_mean, prior_logvar)

    chosen, source = switches()
    device, dtype = mean.device, torch.float64 if mean.dtype == torch.float64 else torch.float32
    inline_here = device.type == "cpu" and chosen != "triton" and not (compiling and _exporting())
    if seed is None:
        if (
            not (isinstance(row_offset, int) and isinstance(sample_offset, int))
            or row_offset
            or sample_offset
            or stream
        ):
            raise ValueError("row_offset, sample_offset and stream are places in the noise of a seed: give one")
        if inline_here and source == "torch":
            eps = torch.randn(shape, dtype=dtype)
            return _inline(mean, logvar, prior_mean, prior_logvar, eps, samples, per_dimension, path_only, compiling)
        seed = draw_seed(device, portable=source == "portable")

    place = as_seed(seed, device)
    at = (as_offset(row_offset, device), as_offset(sample_offset, device), stream)
    if inline_here:
        eps = _drawn(shape, samples, place, *at).to(dtype)
        return _inline(mean, logvar, prior_mean, prior_logvar, eps, samples, per_dimension, path_only, compiling)

    flat = [None if x is None else x.reshape(-1, x.shape[-1]) for x in (mean, logvar, prior_mean, prior_logvar)]
    z, kl, log_weight = reparam_kl_operator(*flat, place, *at, samples, per_dimension, path_only)
    batch = mean.shape[:-1]
    return GaussianDraw(
        z.view(shape),
        kl.view(*batch, shape[-1]) if per_dimension else kl.view(batch),
        None if samples is None else log_weight.view(samples, *batch),
        partial(_drawn, shape, samples, place, *at),
    )


def _is_plain(mean: Tensor, logvar: Tensor | None) -> bool:
    """Whether these are ordinary float32 tensors on the CPU, of fitting shapes and moderate width."""
    if not (type(mean) is Tensor and mean.is_cpu and mean.dtype is torch.float32 and mean.ndim):
        return False
    if logvar is None:
        return not mean.shape[-1] % 2 and mean.shape[-1] <= 2 * eager.SHORT_ROW
    fits = type(logvar) is Tensor and logvar.is_cpu and logvar.dtype is torch.float32 and logvar.shape == mean.shape
    return fits and mean.shape[-1] <= eager.SHORT_ROW


def _exporting() -> bool:
    # New in torch 2.7; before, an exported CPU program holds the formula.
    exporting = getattr(torch.compiler, "is_exporting", None)
    return exporting is not None and exporting()


def _latent_shape(
    mean: Tensor, logvar: Tensor | None, prior_mean: Tensor | None, prior_logvar: Tensor | None
) -> tuple[int, ...]:
    """`[*batch, latent]`, where everything fits together."""
    if not mean.is_floating_point() or mean.ndim == 0:
        raise ValueError(f"parameters are real numbers with a last axis, not {mean.dtype} of shape {tuple(mean.shape)}")
    *batch, width = mean.shape
    if logvar is None and width % 2:
        raise ValueError(f"packed [mu | logvar] has an even last axis, not {width}")
    shape = (*batch, width if logvar is not None else width // 2)
    if logvar is not None or prior_mean is not None:
        for name, x in (("logvar", logvar), ("the prior's mean", prior_mean), ("the prior's logvar", prior_logvar)):
            if x is not None and (x.shape != shape or x.dtype != mean.dtype):
                raise ValueError(f"{name} is {x.dtype} {tuple(x.shape)}, and not {mean.dtype} {tuple(shape)} as mu is")
    return shape


def _drawn(
    shape: tuple[int, ...],
    samples: int | None,
    seed: Tensor,
    row_offset: Tensor | None,
    sample_offset: Tensor | None,
    stream: int,
) -> Tensor:
    """eps `[*samples, *batch, latent]` of a seed, in float32."""
    batch = shape[:-1] if samples is None else shape[1:-1]
    rows = 1
    for size in batch:
        rows *= size
    draw = noise_operator if torch.compiler.is_compiling() else _plain_noise
    return draw(seed, samples or 1, rows, shape[-1], row_offset, sample_offset, stream).view(shape)


def _plain_noise(seed: Tensor, *arguments: Any) -> Tensor:
    """The noise without the cost of a custom operator, where that costs as much as a small layer."""
    if seed.device.type == "cpu" and switches()[0] != "triton":
        return eager.noise(seed, *arguments)
    return noise_operator(seed, *arguments)


def _inline(
    mean: Tensor,
    logvar: Tensor | None,
    prior_mean: Tensor | None,
    prior_logvar: Tensor | None,
    eps: Tensor,
    samples: int | None,
    per_dimension: bool,
    path_only: bool,
    compiling: bool,
) -> GaussianDraw:
    if compiling:
        # The compiler fuses the formula with what stands around it; an opaque operator would be a wall.
        separate = eager.halves(mean, logvar)
        z, kl, log_weight = reference.reparam_kl(
            *separate, prior_mean, prior_logvar, eps, per_dimension=per_dimension, path_only=path_only
        )
    elif inline.is_standard(mean, prior_mean, eps, samples is not None):
        (z, kl), log_weight = inline.Standard.apply(mean, logvar, eps, per_dimension), None
    else:
        inputs = (mean, logvar, prior_mean, prior_logvar, eps)
        z, kl, log_weight = inline.General.apply(*inputs, samples is not None, per_dimension, path_only)
    return GaussianDraw(z, kl, None if samples is None else log_weight, eps.detach)
