r"""The Gaussians of a VAE, and the one door through which a latent layer is drawn: `rsample_and_kl`.

Everything else a model needs as a distribution comes from `torch.distributions` or a library that returns its objects.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints, kl_divergence, register_kl

from variata_kernels import GaussianDraw, gaussian_kl, reparam_kl

from .errors import Unsupported
from .joint_law import current_replay
from .noise import current_place

LOG_2PI = math.log(2 * math.pi)
MEAN_BOUND = 1e9
LOGVAR_BOUND = 30.0


class DiagonalNormal(Distribution):
    r"""N(mu, diag(sigma^2)) over the last `event_dims` axes, parametrised by mu and logvar = log sigma^2.

    log N(z; mu, sigma^2) = -1/2 sum_j [ (z_j - mu_j)^2 / sigma_j^2 + logvar_j + log 2 pi ]

    mu is bounded by 1e9 and logvar by 30 in absolute value (sigma between 3e-7 and 3e6), so that samples, log
    densities, divergences between two such laws, and all their gradients are finite in float32 whatever finite
    numbers a network gives; half precision is raised to float32.

    Args:
        mean, logvar: `[*batch, *event]`, of one shape.
        event_dims: how many of the last axes are one event.
    """

    has_rsample = True

    def __init__(self, mean: Tensor, logvar: Tensor, event_dims: int = 1) -> None:
        if mean.dtype in (torch.float16, torch.bfloat16):
            mean, logvar = mean.float(), logvar.float()
        self.mu = mean.clamp(-MEAN_BOUND, MEAN_BOUND)
        self.logvar = logvar.clamp(-LOGVAR_BOUND, LOGVAR_BOUND)
        self.event_dims = event_dims
        split = mean.ndim - event_dims
        super().__init__(mean.shape[:split], mean.shape[split:], validate_args=False)

    @classmethod
    def packed(cls, parameters: Tensor) -> DiagonalNormal:
        """From `[mu | logvar]`, packed on the last axis `[*batch, 2 * latent]`."""
        mean, logvar = parameters.chunk(2, dim=-1)
        return cls(mean, logvar)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        return {}

    @property
    def mean(self) -> Tensor:
        return self.mu

    @property
    def mode(self) -> Tensor:
        return self.mu

    @property
    def stddev(self) -> Tensor:
        return (0.5 * self.logvar).exp()

    @property
    def variance(self) -> Tensor:
        return self.logvar.exp()

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, self.event_dims)

    def expand(self, batch_shape: Any, _instance: Any = None) -> DiagonalNormal:
        shape = torch.Size(batch_shape) + self.event_shape
        return DiagonalNormal(self.mu.expand(shape), self.logvar.expand(shape), self.event_dims)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = torch.Size(sample_shape)
        if not shape.numel():
            return self.mu.expand(self._extended_shape(shape))
        if place := current_place():
            place.kept = False
        return reparam_kl(self._flat(), samples=shape.numel() if shape else None).z.view(self._extended_shape(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        squared = (value - self.mu).square() * (-self.logvar).exp()
        return -0.5 * self._sum(squared + self.logvar + LOG_2PI)

    def entropy(self) -> Tensor:
        return 0.5 * self._sum(self.logvar + 1 + LOG_2PI)

    def detached(self) -> DiagonalNormal:
        """The same law, with parameters that receive no gradient."""
        return DiagonalNormal(self.mu.detach(), self.logvar.detach(), self.event_dims)

    def _flat(self) -> tuple[Tensor, Tensor]:
        """(mu, logvar), each `[*batch, latent]`."""
        start = self.mu.ndim - self.event_dims
        return self.mu.flatten(start), self.logvar.flatten(start)

    def _sum(self, values: Tensor) -> Tensor:
        return values.flatten(values.ndim - self.event_dims).sum(-1)

    def log_prob_per_dimension(self, value: Tensor) -> Tensor:
        """The summands of `log_prob`, of the shape of `value`."""
        return -0.5 * ((value - self.mu).square() * (-self.logvar).exp() + self.logvar + LOG_2PI)


class StandardNormal(DiagonalNormal):
    """N(0, I), of the shape and device of `like`, whose values are not read; half precision is raised to float32."""

    def __init__(self, like: Tensor, event_dims: int = 1) -> None:
        half = like.dtype in (torch.float16, torch.bfloat16)
        zeros = torch.zeros_like(like, dtype=torch.float32 if half else like.dtype)
        self.mu, self.logvar, self.event_dims = zeros, zeros, event_dims
        split = like.ndim - event_dims
        Distribution.__init__(self, like.shape[:split], like.shape[split:], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> StandardNormal:
        return StandardNormal(self.mu.expand(torch.Size(batch_shape) + self.event_shape), self.event_dims)

    def log_prob(self, value: Tensor) -> Tensor:
        return -0.5 * self._sum(value.square() + LOG_2PI)

    def detached(self) -> StandardNormal:
        return self


class Layer:
    r"""One stochastic layer, drawn: z ~ q, and what a bound needs to know of it.

    Attributes:
        z: `[batch, *latent]`, or `[samples, batch, *latent]`; gradients reach q's parameters through it.
        q, p: posterior and prior of the layer.
        kl: KL(q || p) in nats: `[batch]` in closed form (`closed_form` is true), else log q(z) - log p(z) at the
            sample.
    """

    def __init__(
        self, z: Tensor, q: Distribution, p: Distribution, *, kl: Tensor | None = None, log_q: Tensor | None = None
    ) -> None:
        self.z, self.q, self.p = z, q, p
        self.closed_form = kl is not None
        self._kl, self._log_q, self._log_p = kl, log_q, None

    @property
    def log_p(self) -> Tensor:
        """log p(z), `[*samples, batch]`."""
        if self._log_p is None:
            self._log_p = self.p.log_prob(self.z)
        return self._log_p

    def log_q(self, stop: str | None = None) -> Tensor:
        """log q(z | x), `[*samples, batch]`, kept from the draw. With `stop="parameters"` q's parameters are constants
        and z is not: what sticking-the-landing and doubly-reparameterised gradients need.

        Raises:
            Unsupported: `stop="parameters"` for a q whose parameters cannot be detached.
        """
        if stop == "parameters":
            return detached(self.q).log_prob(self.z)
        if self._log_q is None:
            self._log_q = self.q.log_prob(self.z)
        return self._log_q

    def log_ratio(self, stop: str | None = None) -> Tensor:
        """log p(z) - log q(z | x), `[*samples, batch]`; `stop` as in `log_q`."""
        return self.log_p - self.log_q(stop)

    @property
    def kl(self) -> Tensor:
        if self._kl is None:
            self._kl = self.log_q() - self.log_p
        return self._kl

    def kl_per_dimension(self) -> Tensor:
        """KL of each latent dimension, `[*samples, batch, *latent]`, in nats, whose sum is `kl`; without the samples
        axis where it is in closed form.

        Raises:
            Unsupported: where q or p does not factorise over dimensions.
        """
        q, p = self.q, self.p
        if not self.closed_form and isinstance(q, DiagonalNormal) and isinstance(p, DiagonalNormal):
            # p depends on the draw (inference from below): the divergence at it would be that of other laws.
            return q.log_prob_per_dimension(self.z) - p.log_prob_per_dimension(self.z)
        if isinstance(q, DiagonalNormal) and isinstance(p, StandardNormal):
            return gaussian_kl(q.mu, q.logvar)
        if isinstance(q, DiagonalNormal) and isinstance(p, DiagonalNormal):
            return gaussian_kl(q.mu, q.logvar, p.mu, p.logvar)
        raise Unsupported(f"KL({type(q).__name__} || {type(p).__name__}) has no value for each dimension")


def detached(q: Distribution) -> Distribution:
    """The same law with constant parameters.

    Raises:
        Unsupported: for a distribution that has no `detached()` of its own.
    """
    own = getattr(q, "detached", None)
    if own is None:
        raise Unsupported(f"{type(q).__name__} cannot be evaluated with its parameters held constant (no `detached`)")
    return own()


_WRAP = "wrap it in torch.distributions.Independent(law, 1)"

Draw = Callable[[Any, Any, "int | None"], Layer]
_draws: dict[tuple[type, type], Draw] = {}


def register_rsample_and_kl(q: type[Distribution], p: type[Distribution]) -> Callable[[Draw], Draw]:
    """Registers a fused `draw(q, p, samples) -> Layer` for a pair of distribution classes and their subclasses."""

    def register(draw: Draw) -> Draw:
        _draws[q, p] = draw
        return draw

    return register


def rsample_and_kl(q: Distribution, p: Distribution, samples: int | None = None) -> Layer:
    r"""Draws z ~ q with reparameterisation, together with KL(q || p): the one place where a latent layer is sampled.

    The pair of types decides, as in `torch.distributions.register_kl`: a fused operator; a registered closed form; else
    log q - log p at the sample, with log q from the draw itself where q offers `rsample_and_log_prob`.

    Args:
        samples: None gives z `[batch, *latent]`; an integer, 1 included, gives `[samples, batch, *latent]`.

    Raises:
        Unsupported: q has no reparameterised sample. Second derivatives through a Gaussian layer raise as well.
    """
    if not isinstance(q, Distribution):
        raise Unsupported(f"an encoder returns a distribution, as DiagonalNormal is, and not a {type(q).__name__}")
    if not q.event_shape:
        raise Unsupported(f"{type(q).__name__} makes of each latent dimension an example: {_WRAP}")
    if replay := current_replay():
        return Layer(replay.next_value(q, p, samples), q, p)
    for q_type in type(q).__mro__:
        for p_type in type(p).__mro__:
            if draw := _draws.get((q_type, p_type)):
                return _placed(draw, q, p, samples)
    if place := current_place():
        place.kept = False
    if not q.has_rsample:
        raise Unsupported(f"{type(q).__name__} has no reparameterised sample, so no gradient can pass through it")
    shape = () if samples is None else (samples,)
    if (kl := _closed_form(q, p)) is not None:
        return Layer(q.rsample(shape), q, p, kl=kl)
    joint = getattr(q, "rsample_and_log_prob", None)
    z, log_q = joint(shape) if joint else (q.rsample(shape), None)
    return Layer(z, q, p, log_q=log_q)


def _placed(draw: Draw, q: Distribution, p: Distribution, samples: int | None) -> Layer:
    """What a registered draw gives. If it has not asked for the place of its noise, there is none."""
    place = current_place()
    before = None if place is None else place.layers
    layer = draw(q, p, samples)
    if place is not None and place.layers == before:
        place.kept = False
    return layer


def _closed_form(q: Distribution, p: Distribution) -> Tensor | None:
    """KL(q || p), where one is registered for the pair."""
    try:
        return kl_divergence(q, p)
    except NotImplementedError:  # how torch says that there is none
        return None


@register_rsample_and_kl(DiagonalNormal, Distribution)
def _any_prior(q: DiagonalNormal, p: Distribution, samples: int | None) -> Layer:
    """A mixture, a flow: the noise has its place, and log q follows from it, whatever the prior is."""
    return _GaussianLayer(_draw(q, samples), q, p, _closed_form(q, p))


@register_rsample_and_kl(DiagonalNormal, StandardNormal)
def _standard(q: DiagonalNormal, p: StandardNormal, samples: int | None) -> Layer:
    draw = _draw(q, samples)
    return _GaussianLayer(draw, q, p, draw.kl, draw.log_weight)


@register_rsample_and_kl(DiagonalNormal, DiagonalNormal)
def _diagonal(q: DiagonalNormal, p: DiagonalNormal, samples: int | None) -> Layer:
    if torch.broadcast_shapes(q.mu.shape, p.mu.shape) == q.mu.shape and p.mu.dtype == q.mu.dtype:
        start = q.mu.ndim - q.event_dims
        prior = (p.mu.expand(q.mu.shape).flatten(start), p.logvar.expand(q.mu.shape).flatten(start))
        draw = _draw(q, samples, prior)
        return _GaussianLayer(draw, q, p, draw.kl, draw.log_weight)
    # One draw meets several priors.
    return _GaussianLayer(_draw(q, samples), q, p, kl_divergence(q, p))


def _draw(q: DiagonalNormal, samples: int | None, prior: tuple[Tensor, Tensor] | None = None) -> GaussianDraw:
    """One pass of the operator, at the current place where there is one."""
    place = current_place()
    if place is None or len(q.batch_shape) != 1:
        if place is not None:
            place.kept = False
        return reparam_kl(q._flat(), samples=samples, prior=prior)
    return reparam_kl(q._flat(), place.seed, samples, place.row, place.sample, place.next_layer(), prior=prior)


class _GaussianLayer(Layer):
    """A layer whose log q follows from the noise: (z - mu) / sigma would cancel where sigma is small beside mu."""

    def __init__(
        self,
        draw: GaussianDraw,
        q: DiagonalNormal,
        p: Distribution,
        kl: Tensor | None,
        log_ratio: Tensor | None = None,
    ) -> None:
        z = draw.z
        super().__init__(z.view(*z.shape[:-1], *q.event_shape), q, p, kl=kl)
        self._gaussian, self._draw, self._log_ratio = q, draw, log_ratio

    def log_ratio(self, stop: str | None = None) -> Tensor:
        if stop is None and self._log_ratio is not None:  # the pass that drew z gave it
            return self._log_ratio
        return super().log_ratio(stop)

    def log_q(self, stop: str | None = None) -> Tensor:
        if stop is None and self._log_q is not None:
            return self._log_q
        _, logvar = self._gaussian._flat()
        noise = self._draw.noise().to(logvar.dtype)
        if stop == "parameters":
            logvar, z = logvar.detach(), self.z.flatten(self.z.ndim - len(self.q.event_shape))
            # The difference is zero, and carries the gradient of z.
            noise = noise + (z - z.detach()) * (-0.5 * logvar).exp()
        log_q = -0.5 * (noise.square() + logvar + LOG_2PI).sum(-1)
        if stop is None:
            self._log_q = log_q
        return log_q


@register_kl(DiagonalNormal, DiagonalNormal)
def _kl_diagonal(q: DiagonalNormal, p: DiagonalNormal) -> Tensor:
    return q._sum(gaussian_kl(q.mu, q.logvar, p.mu, p.logvar))


@register_kl(DiagonalNormal, StandardNormal)
def _kl_standard(q: DiagonalNormal, p: StandardNormal) -> Tensor:
    return q._sum(gaussian_kl(q.mu, q.logvar))
