r"""What the stochastic layers of a model carry, each for itself, from draws of their posteriors.

    I(x; z_l) >= E_i [ log f(x_i, z_i) - log 1/N sum_n f(x_n, z_i) ],      z_i ~ q(z_l | x_i),      <= log N
    active       dimensions j with Var_x E_q(z_l|x)[z_lj] > 0.01

The bound holds for any f that knows nothing of z_i but what x_i says, and is best at f = q(z_l | x). Where that is a
diagonal Gaussian, f is it. Where it depends on other draws, as below the top of a hierarchy, it is a mixture that
cannot be evaluated, and f a power of the diagonal Gaussian that has its mean and variances, as other draws than z_i
tell them; the power, which makes up for what such a Gaussian is too sure of, is chosen on every second example, and the
bound taken on the rest. The variance of means is freed of what their finite number of draws adds to it.

Van den Oord, Li and Vinyals (2018), Representation Learning with Contrastive Predictive Coding, arXiv:1807.03748, and
Poole, Ozair, van den Oord, Alemi and Tucker (2019), On Variational Bounds of Mutual Information, arXiv:1905.06922 (the
bound). Hoffman and Johnson (2016), ELBO surgery (of one layer). Burda, Grosse and Salakhutdinov (2016), Importance
Weighted Autoencoders, arXiv:1509.00519 (active units).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from .distributions import LOG_2PI, DiagonalNormal, Layer
from .estimates import Columns, Estimate, Moments
from .terms import Terms

ACTIVE = 0.01
_AGGREGATE = 2048
_FEWEST = 8
_NARROWEST = 1e-6
_POWERS = tuple(0.5**k for k in range(9))


class LayerEstimates:
    """Posteriors of some examples with a draw of each, and the mean of each layer for all of them."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._stored, self._centres, self._noise = Columns(), Moments(), Moments()

    def begin(self, terms: Terms) -> None:
        """Learns how many dimensions each layer has."""
        self.sizes = [layer.q.event_shape.numel() for layer in terms.layers]

    def keep(self, terms: Terms) -> None:
        """Some posteriors, with the first draw of each."""
        self.begin(terms)
        for i, layer in enumerate(terms.layers):
            if self._stored.count(f"z {i}") >= _AGGREGATE:
                continue
            if (found := _moments(layer, len(terms.layers) > 1)) is not None:
                *moments, exact = found
                for name, values in zip(("mean", "logvar"), moments, strict=True):
                    self._stored.add(f"{name} {i}", values.flatten(1))
                self._stored.add(f"z {i}", layer.z[0].flatten(1))
                self._stored.add(f"exact {i}", torch.full((layer.z.shape[1],), exact))

    def add(self, centres: Tensor, variance: Tensor) -> None:
        """E[z_l | x] of a batch, as draws estimate it, and the variance of that, `[batch, dimensions]`, all layers side
        by side."""
        self._centres.add(centres)
        self._noise.add(variance)

    def active(self) -> list[int]:
        """How many dimensions of each layer are active."""
        spread = self._centres.gathered().variance - self._noise.gathered().mean
        return [int((part > ACTIVE).sum()) for part in spread.split(self.sizes)]

    def information(self) -> list[Tensor | None]:
        """The summands of the bound on I(x; z_l) of each layer, `[examples]`; None where it is not known."""
        stored = self._stored.gathered()
        found: list[Tensor | None] = []
        for i in range(len(self.sizes)):
            names = [f"{name} {i}" for name in ("mean", "logvar", "z", "exact")]
            if any(name not in stored for name in names):
                found.append(None)
                continue
            mean, logvar, z, exact = (stored[name][:_AGGREGATE] for name in names)
            found.append(mutual_information(mean, logvar, z) if exact.all() else contrasted(mean, logvar, z))
        return found

    def result(self) -> dict[str, Estimate]:
        """The figures of several layers, a list each, in the order of `Terms.layers`."""
        notes: Estimate = {"of": self.sizes, "threshold": ACTIVE}
        found = {"active_units_per_layer": {"value": self.active(), "standard_error": None} | notes}
        carried = [rows if rows is not None and len(rows) > 1 else None for rows in self.information()]
        if any(rows is not None for rows in carried):
            stored = self._stored.gathered()
            examples = max(len(stored[f"z {i}"][:_AGGREGATE]) for i, rows in enumerate(carried) if rows is not None)
            errors = [None if rows is None else float(rows.std() / math.sqrt(len(rows))) for rows in carried]
            found["mutual_information_per_layer"] = {
                "value": [None if rows is None else float(rows.mean()) for rows in carried],
                "standard_error": errors,
                "examples": examples,
                "kind": "lower_bound",
                "at_most": math.log(examples),
                "estimator": "contrasted with these examples, by Gaussians of the posteriors' moments",
            }
        return found


def centres_of(terms: Terms) -> Tensor:
    """The mean of each layer's posterior, or the draws where it has none, `[samples, batch, dimensions]`, all layers
    side by side."""
    return torch.cat([_centre(layer) for layer in terms.layers], dim=-1)


def _centre(layer: Layer) -> Tensor:
    try:
        mean = layer.q.mean
    except NotImplementedError:  # how torch says that there is none
        mean = layer.z
    return mean.expand(layer.z.shape).flatten(2)


def _moments(layer: Layer, by_draws: bool) -> tuple[Tensor, Tensor, bool] | None:
    """Mean and log variance of each dimension of q(z_l | x), `[batch, *latent]`, and whether they are all of it. Where
    they follow from draws, the first of these is left out; None where there are too few, or draws are not to be
    asked."""
    found = _gaussian(layer.q)
    if found is not None and found[0].ndim == len(layer.q.event_shape) + 1:
        return *found, True
    if not by_draws or len(layer.z) <= (1 if found else _FEWEST):
        return None
    centres, within = (layer.z[1:], 0.0) if found is None else (found[0][1:], found[1][1:].double().exp().mean(0))
    variance = centres.double().var(0, unbiased=found is None) + within
    return centres.mean(0), variance.clamp(min=_NARROWEST).log(), False


def _gaussian(q: Distribution) -> tuple[Tensor, Tensor] | None:
    """mu and log sigma^2 of a diagonal Gaussian."""
    if isinstance(q, DiagonalNormal):
        return q.mu, q.logvar
    if isinstance(q, Independent) and isinstance(q.base_dist, Normal):
        return q.base_dist.loc, 2 * q.base_dist.scale.log()
    return None


def mutual_information(mean: Tensor, logvar: Tensor, z: Tensor) -> Tensor:
    r"""log f(x_i, z_i) - log 1/N sum_n f(x_n, z_i), `[N]`: where f is q, its mean is I(x; z) if these N examples are
    all there are.

    Args:
        mean, logvar: of each example's diagonal Gaussian f, `[N, latent]`.
        z: one draw of each posterior, `[N, latent]`.
    """
    return _contrast(_log_densities(mean, logvar, z))


def contrasted(mean: Tensor, logvar: Tensor, z: Tensor) -> Tensor:
    """The same of the best power of f, for every second example, `[N // 2]`; which power is best the others say."""
    log_f = _log_densities(mean, logvar, z)
    chosen = max(_POWERS, key=lambda power: float(_contrast(power * log_f)[::2].mean()))
    return _contrast(chosen * log_f)[1::2]


def _log_densities(mean: Tensor, logvar: Tensor, z: Tensor) -> Tensor:
    """log f(x_n, z_i), `[i, n]`."""
    mean, logvar, z = mean.double(), logvar.double(), z.double()
    precision = (-logvar).exp()
    constant = (mean.square() * precision + logvar + LOG_2PI).sum(1)
    return z @ (mean * precision).T - 0.5 * (z.square() @ precision.T + constant)


def _contrast(log_f: Tensor) -> Tensor:
    return log_f.diagonal() - (log_f.logsumexp(1) - math.log(len(log_f)))
