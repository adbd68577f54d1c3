r"""M2: p(x, y, z) = p(y) p(z) p(x | y, z), with every class equally likely; q(y, z | x) = q(y | x) q(z | x, y).

Kingma, Rezende, Mohamed and Welling (2014), arXiv:1406.5298, section 3 ("generative semi-supervised model").
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.distributions import Distribution, OneHotCategorical, OneHotCategoricalStraightThrough
from torch.nn.functional import one_hot

from variata import (
    Classifier,
    ConfigError,
    DataSpec,
    Decoder,
    Encoder,
    Factory,
    LatentVariable,
    Network,
    Prior,
    Problem,
    Terms,
    default,
    make,
    rsample_and_kl,
)
from variata_plugins.graphs.graph import Drawn, Graph


class M2(LatentVariable, Classifier, Drawn):
    """A VAE whose latent variables are the class y and z. No y is needed of an example: q(y | x) tells it, as
    `classify`. Codes are the probabilities of the classes, and the mean of z given the likeliest.

    As a `LatentVariable` it draws y from q(y | x), with a gradient that goes straight through; the loss `m2` sums it
    out.

    Args:
        data: what an example is.
        latent: dimensions of z.
        classifier: q(y | x), from x to a number for each class.
        encoder: q(z | x, y).
        prior: p(z).
        decoder: p(x | y, z); its law must be one of the data's kind of values.

    Raises:
        ConfigError: the data has no classes.
    """

    by_class = True

    def __init__(
        self,
        data: DataSpec,
        *,
        latent: PositiveInt,
        classifier: Factory[Network] = default("network", "mlp"),
        encoder: Factory[Encoder] = default("encoder", "gaussian"),
        prior: Factory[Prior] = default("prior", "standard_normal"),
        decoder: Factory[Decoder],
    ) -> None:
        super().__init__(data)
        if data.classes is None:
            raise ConfigError(Problem("m2 needs data with classes, and this data has none"))
        self.classes = data.classes
        given: dict[str, Any] = {"data": data, "latent": latent, "condition": (data.classes,)}
        self.classifier = make(classifier, input=data.shape, output=(data.classes,), condition=None)
        self.encoder, self.decoder = make(encoder, **given), make(decoder, **given)
        self.prior = make(prior, **{**given, "condition": None})

    @property
    def log_class(self) -> float:
        """log p(y)."""
        return -math.log(self.classes)

    def classify(self, x: Tensor) -> Tensor:
        return self.classifier(x).log_softmax(-1)

    def given_class(self, x: Tensor, y: Tensor) -> Terms:
        """The terms of log p(x | y), of x `[*lead, *event]` and y `[*lead, classes]`: E[log p(x | y, z)] and the KL of
        z."""
        layer = rsample_and_kl(self.encoder(x, y), self.prior())
        likelihood = self.decoder(layer.z, y)
        return Terms([layer], likelihood.log_prob(x), None, likelihood)

    def known(self, x: Tensor, y: Tensor) -> Tensor:
        """-L(x, y) <= log p(x, y), `[batch]`; y `[batch]` labels."""
        return self.given_class(x, one_hot(y.long(), self.classes).to(x.dtype)).elbo + self.log_class

    def of_each_class(self, x: Tensor) -> Tensor:
        """-L(x, y) of every y, `[batch, classes]`."""
        rows = x.repeat_interleave(self.classes, dim=0)
        y = torch.arange(self.classes, device=x.device).repeat(len(x))
        return self.known(rows, y).unflatten(0, (len(x), self.classes))

    def unknown(self, x: Tensor) -> Tensor:
        """-U(x) <= log p(x), `[batch]`, with y summed out."""
        log_q = self.classify(x)
        return (log_q.exp() * (self.of_each_class(x) - log_q)).sum(-1)

    def terms(self, x: Tensor, y: Tensor | None = None, samples: int | None = None) -> Terms:
        log_q = self.classify(x)
        q = OneHotCategoricalStraightThrough(logits=log_q, validate_args=False)
        p = OneHotCategorical(logits=torch.zeros_like(log_q), validate_args=False)
        drawn = rsample_and_kl(q, p, samples)
        below = self.given_class(x.expand(*drawn.z.shape[:-1], *self.spec.shape), drawn.z)
        return Terms([drawn, *below.layers], below.log_likelihood, samples, below.likelihood)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        log_q = self.classify(x)
        likeliest = one_hot(log_q.argmax(-1), self.classes).to(x.dtype)
        return torch.cat([log_q.exp(), self.encoder(x, likeliest).mean], dim=-1)

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.decoder(z[..., self.classes :], z[..., : self.classes]).mean

    def generate(self, n: int, condition: Tensor | None = None) -> Distribution:
        z = self.prior().sample((n,))
        y = torch.randint(self.classes, (n,), device=z.device) if condition is None else self._asked(n, condition)
        return self.decoder(z, y.to(z.device))

    def _asked(self, n: int, condition: Tensor) -> Tensor:
        """A label for each of n samples, or one for all."""
        y = torch.as_tensor(condition)
        y = y.expand(n) if y.ndim == 0 else y
        if y.shape != (n,):
            raise ConfigError(
                Problem(f"{n} samples need {n} labels, or one for all (got {list(y.shape)})", "condition")
            )
        if y.is_floating_point() or y.min() < 0 or y.max() >= self.classes:
            raise ConfigError(Problem(f"the classes are 0..{self.classes - 1} (got {y.tolist()})", "condition"))
        return y

    def draw(self, graph: Graph) -> None:
        training, inference, data = graph.training, graph.inference, graph.training.nodes["x"].detail
        for panel, start in ((training, 3), (inference, 0)):
            panel.clear()
            panel.node("prior", "p(z)", kind="law", extra=True, column=start, row=1)
            panel.node("z", "z", extra=True, column=start + 1)
            panel.node("decoder", "decoder", kind="part", column=start + 2)
            panel.node("output", "p(x|y, z)", kind="law", column=start + 3)
        training.node("x", "x", data)
        training.node("classifier", "classifier", kind="part", extra=True, column=1, row=-1)
        training.node("y", "q(y|x)", "where y is not known", kind="law", extra=True, column=2, row=-1)
        training.node("encoder", "encoder", kind="part", column=2)
        training.node("posterior", "q(z|x, y)", kind="law", extra=True, column=3)
        inference.node("y", "y ~ p(y)", "or as asked", extra=True, column=1, row=-1)
        inference.node("x", "x", data, column=4)
        used = [("x", "classifier"), ("classifier", "y"), ("x", "encoder"), ("y", "encoder"), ("encoder", "posterior")]
        for source, target in [*used, ("posterior", "z"), ("z", "decoder"), ("y", "decoder"), ("decoder", "output")]:
            training.arrow(source, target, extra=source not in ("x", "decoder"))
        for source, target in (
            ("prior", "z"),
            ("z", "decoder"),
            ("y", "decoder"),
            ("decoder", "output"),
            ("output", "x"),
        ):
            inference.arrow(source, target, extra=source in ("prior", "y"))
