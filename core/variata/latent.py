r"""How well a latent-variable model models data, from importance samples that are never kept.

    w_k     = p(x, z_k) / q(z_k | x),  z_k ~ q(z | x)
    ELBO    = E_q[log p(x|z)] - KL(q(z|x) || p(z))                      <= log p(x)
    IWAE_K  = log 1/K sum_k w_k,  E[IWAE_K] rises with K                <= log p(x)
    ESS     = (sum_k w_k)^2 / sum_k w_k^2,  between 1 and K
    I(x; z) = E_x KL(q(z|x) || q(z)),  q(z) = 1/N sum_n q(z | x_n)      <= log N
    KL(q(z) || p(z)) = E_x KL(q(z|x) || p(z)) - I(x; z)

A dimension j is active where Var_x E_q[z_j] > 0.01. What each of several layers carries is estimated in
`layer_estimates.py`.

Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders, arXiv:1509.00519 (the bound, active units).
Hoffman and Johnson (2016), ELBO surgery (the decomposition).
"""

from __future__ import annotations

import contextlib
import math

import torch
from torch import Tensor

from .data import Batch
from .errors import Unsupported
from .estimates import Columns, Estimate, Moments, bits_per_dimension, estimate, measure_of, per_token, tokens_of
from .interfaces import LatentVariable
from .layer_estimates import ACTIVE, LayerEstimates, centres_of
from .noise import placed
from .terms import Terms

_MOST_ROWS = 16384
_BLOCK = 64


class LatentEstimates:
    """Estimates of a `LatentVariable`'s likelihood and of what its latents carry, batch by batch.

    Args:
        model: in evaluation mode.
        samples: importance samples of each example, taken in chunks: memory does not grow with their number.
        seed: of every draw. The numbers do not depend on the size of batches and chunks: each draw has its place
            (`noise.py`), and where a model's distributions draw for themselves, batches and chunks are of one size.
    """

    def __init__(self, model: LatentVariable, samples: int, seed: int) -> None:
        self.model, self.samples, self.seed = model, samples, seed
        self._row, self._block = 0, None
        self._columns, self._carried = Columns(), LayerEstimates()
        self._means, self._layers, self._dimensions = Moments(), Moments(), Moments()

    def batch_size(self, first: Batch, asked: int) -> int:
        """How many examples to take at a time: `asked`, or a block where draws have no place of their own."""
        y = None if first.y is None else first.y[:1]
        with placed(self.seed) as place:
            self._carried.begin(self.model.terms(first.x[:1], y, samples=1))
        self._block = None if place.kept else _BLOCK
        return self._block or asked

    def add(self, batch: Batch) -> None:
        """Takes in a batch of examples."""
        weights, done = _Weights(), 0
        divergences: dict[str, Tensor] = {}
        centres: _Sums | None = None
        row = self._row if batch.index is None else int(batch.index[0])
        while done < self.samples:
            size = min(self.samples - done, self._block or max(1, _MOST_ROWS // len(batch)))
            with placed(self.seed, row, done):
                terms = self.model.terms(batch.x, batch.y, samples=size)
            weights.add(terms)
            for name, rows in _divergences(terms).items():
                divergences[name] = divergences.get(name, 0.0) + rows.double() * (size / self.samples)
            if not done:
                self._carried.keep(terms)
            if len(terms.layers) > 1:
                centres = centres or _Sums()
                centres.add(centres_of(terms).double())
            done += size
        self._row = row + len(batch)
        for name, values in weights.read(self.samples).items():
            self._columns.add(name, values)
        self._columns.add("tokens", tokens_of(batch.x, self.model.spec))
        if centres:
            unknown = torch.zeros_like(centres.mean)  # of one draw
            self._carried.add(centres.mean, centres.variance if self.samples > 1 else unknown)
        else:
            self._means.add(self.model.encode(batch.x, batch.y).flatten(1))
        for name, moments in (("layers", self._layers), ("dimensions", self._dimensions)):
            if name in divergences:
                moments.add(divergences[name])

    def log_likelihoods(self) -> Tensor:
        """The estimate of log p(x) of each example, `[examples]`."""
        return self._columns.gathered()["log_mean"]

    def result(self) -> dict[str, Estimate]:
        """Every estimate by name."""
        columns = self._columns.gathered()
        spec, samples = self.model.spec, self.samples
        common = {"measure": measure_of(spec), "samples": samples}
        metrics = {
            "elbo": estimate(columns["elbo"], columns["elbo_variance"], kind="lower_bound", **common),
            "reconstruction": estimate(columns["reconstruction"], columns["reconstruction_variance"], **common),
            "kl": estimate(columns["kl"], columns.get("kl_variance")),
            "nll": estimate(
                -columns["log_mean"],
                columns["log_mean_variance"],
                kind="upper_bound",
                estimator="importance sampling from q(z | x)",
                **common,
            ),
            "gap": estimate(columns["gap"], estimator="log mean weight - mean log weight", samples=samples),
            "effective_samples": estimate(columns["effective_samples"], samples=samples),
        }
        metrics |= bits_per_dimension(metrics["nll"], spec)
        metrics |= per_token(-columns["log_mean"], columns["tokens"], spec, kind="upper_bound", samples=samples)
        return metrics | self._latents(columns["kl"])

    def _latents(self, kl: Tensor) -> dict[str, Estimate]:
        several = len(self._carried.sizes) > 1
        if several:
            active, of = sum(self._carried.active()), sum(self._carried.sizes)
        else:
            spread = self._means.gathered().variance
            active, of = int((spread > ACTIVE).sum()), len(spread)
        figure: Estimate = {"value": active, "standard_error": None, "of": of, "threshold": ACTIVE}
        if not active:
            figure["note"] = "the posterior has collapsed onto the prior: no latent dimension says anything about x"
        metrics = {"active_units": figure}
        for name, moments in (("kl_per_layer", self._layers), ("kl_per_dimension", self._dimensions)):
            found = moments.gathered()
            if found.count:
                means, errors = found.mean.tolist(), found.standard_error.tolist()
                metrics[name] = {"value": means, "standard_error": errors}
        if several:
            return metrics | self._carried.result()
        (carried,) = self._carried.information()
        if carried is not None:
            note = {"kind": "biased", "at_most": math.log(len(carried)), "estimator": "q(z) of these examples alone"}
            metrics["mutual_information"] = estimate(carried, **note)
            metrics["aggregate_kl"] = estimate(kl[: len(carried)] - carried, **note)
        return metrics


def _divergences(terms: Terms) -> dict[str, Tensor]:
    """KL of each layer of several, `[batch, layers]`, and of each dimension, `[batch, dimensions]`, where there is one:
    the mean over the draws where it is not in closed form."""
    found: dict[str, Tensor] = {}
    if len(terms.layers) > 1:
        found["layers"] = torch.stack([terms.mean_over_samples(layer.kl) for layer in terms.layers], dim=1)
    with contextlib.suppress(Unsupported):
        rows = [
            terms.mean_over_samples(layer.kl_per_dimension().flatten(-len(layer.q.event_shape)), 1)
            for layer in terms.layers
        ]
        found["dimensions"] = torch.cat(rows, dim=1)
    return found


class _Weights:
    """Running sums over the samples of a batch's examples, `[batch]` each, in float64."""

    def __init__(self) -> None:
        self._total = self._squares = torch.tensor(-math.inf)
        self._logs = torch.zeros(())
        self._likelihood, self._kl, self._elbo = _Sums(), _Sums(), _Sums()

    def add(self, terms: Terms) -> None:
        log_weights, likelihood = terms.log_weights().double(), terms.log_likelihood.double()
        self._total = torch.logaddexp(self._total, log_weights.logsumexp(0))
        self._squares = torch.logaddexp(self._squares, (2 * log_weights).logsumexp(0))
        self._logs = self._logs + log_weights.sum(0)
        kl = sum((layer.kl.double() for layer in terms.layers), torch.zeros_like(likelihood))
        self._likelihood.add(likelihood)
        self._kl.add(kl)
        self._elbo.add(likelihood - kl)
        self._closed_form = all(layer.closed_form and layer.kl.ndim == 1 for layer in terms.layers)

    def read(self, samples: int) -> dict[str, Tensor]:
        """What they come to, by name."""
        log_mean = self._total - math.log(samples)
        effective = (2 * self._total - self._squares).exp()
        found = {
            "elbo": self._likelihood.mean - self._kl.mean,
            "elbo_variance": self._elbo.variance,
            "reconstruction": self._likelihood.mean,
            "reconstruction_variance": self._likelihood.variance,
            "kl": self._kl.mean,
            "log_mean": log_mean,
            "gap": log_mean - self._logs / samples,
            "effective_samples": effective,
            # By the delta method: the relative variance of the mean weight is 1 / ESS - 1 / K, here without its bias.
            "log_mean_variance": _unbiased(1 / effective - 1 / samples, samples),
        }
        return found if self._closed_form else found | {"kl_variance": self._kl.variance}


class _Sums:
    """Mean over draws, and its variance, of one value for each draw and example."""

    def __init__(self) -> None:
        self._count, self._sum, self._squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, values: Tensor) -> None:
        """`[samples, batch]`."""
        self._count += len(values)
        self._sum = self._sum + values.sum(0)
        self._squares = self._squares + values.square().sum(0)

    @property
    def mean(self) -> Tensor:
        return self._sum / self._count

    @property
    def variance(self) -> Tensor:
        """Of the mean."""
        spread = self._squares / self._count - self.mean.square()
        return _unbiased(spread / self._count, self._count)


def _unbiased(value: Tensor, samples: int) -> Tensor:
    """A variance that was taken around the samples' own mean; of one sample it is not known."""
    return value.clamp(min=0) * (samples / (samples - 1) if samples > 1 else math.inf)
