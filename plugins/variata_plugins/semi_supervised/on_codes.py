r"""Models of the codes of a VAE: M1, whose codes a classifier reads, and M1+M2, where they are the data of an M2.

The codes are the means of q(z | x), and nothing of what reads them moves the VAE.

Kingma, Rezende, Mohamed and Welling (2014), arXiv:1406.5298, sections 2 and 3 ("latent-feature discriminative model",
"stacked generative semi-supervised model"). There the VAE is trained first; here both are trained side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from variata import (
    Classifier,
    ConfigError,
    DataSpec,
    Factory,
    LatentVariable,
    Model,
    Problem,
    Sampler,
    Terms,
    default,
    joint,
    make,
)
from variata_plugins.graphs.graph import Drawn, Graph


class OnCodes(Classifier, Drawn):
    """What both are: a model of x with codes, `vae`, and a model of these codes that tells the class, `classifier`.

    Raises:
        ConfigError: the data has no classes; parts that cannot do that.
    """

    vae: Any
    classifier: Any

    def put_together(self, vae: Factory[Model], classifier: Factory[Model], can: Sequence[type]) -> None:
        """Builds both; the second must be of each of the classes `can`."""
        data = self.spec
        if data.classes is None:
            raise ConfigError(Problem("needs data with classes, and this data has none"))
        self.vae = make(vae, data=data)
        if not isinstance(self.vae, LatentVariable) or self.vae.conditional:
            message = "vae must be a model with a posterior, as vae is, that depends on no y"
            raise ConfigError(Problem(f"{message}, and {type(self.vae).__name__} is none"))
        self.classifier = make(classifier, data=_spec_of_codes(self.vae, data))
        if missing := [kind.__name__ for kind in can if not isinstance(self.classifier, kind)]:
            message = f"classifier must be a {' and a '.join(missing)}, and {type(self.classifier).__name__} is not"
            raise ConfigError(Problem(message))

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        """What the classifier reads, `[batch, latent]`; no gradient goes through it."""
        return self.vae.encode(x).flatten(1)

    def classify(self, x: Tensor) -> Tensor:
        return self.classifier.classify(self.codes(x))

    def draw(self, graph: Graph) -> None:
        vae, reader = (type(part).__name__ for part in (self.vae, self.classifier))
        data = next(panel.nodes["x"].detail for panel in (graph.training, graph.inference) if "x" in panel.nodes)
        for panel in (graph.training, graph.inference):
            panel.clear()
            panel.node("x", "x", data)
            panel.node("vae", "vae", vae, kind="part", column=1)
            panel.node("codes", "E_q[z|x]", "the codes", column=2)
            panel.node("classifier", "classifier", reader, kind="part", extra=True, column=3)
            panel.node("output", "p(y|x)", kind="law", extra=True, column=4)
            for source, target in (("x", "vae"), ("vae", "codes"), ("codes", "classifier"), ("classifier", "output")):
                panel.arrow(source, target, extra=target in ("classifier", "output"))
        for _, term in graph.weights:
            graph.place(term, *(("x", "vae") if term.startswith("vae_") else ("codes", "output")))


class M1(OnCodes, LatentVariable):
    """A VAE of x, and a classifier of its codes.

    Args:
        data: what an example is.
        vae: any model with a posterior and without a condition.
        classifier: any classifier; its data are the codes.
    """

    def __init__(
        self, data: DataSpec, *, vae: Factory[Model], classifier: Factory[Model] = default("model", "classifier")
    ) -> None:
        super().__init__(data)
        self.put_together(vae, classifier, [Classifier])

    def terms(self, x: Tensor, y: Tensor | None = None, samples: int | None = None) -> Terms:
        return self.vae.terms(x, None, samples)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.vae.encode(x)

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.vae.decode(z)

    def generate(self, n: int, condition: Tensor | None = None) -> Distribution:
        if condition is not None:
            raise ConfigError(Problem("m1 makes no examples of a class: use m2 or m1_m2", "condition"))
        return self.vae.generate(n)


class M1M2(OnCodes, Sampler):
    """A VAE of x, and an M2 of its codes: x is drawn from p(x | z1) at z1 that the M2 draws, of a class where asked.

    Args:
        data: what an example is.
        vae: as for `m1`; its codes have to be vectors.
        classifier: a model of the codes that can draw them by class.
    """

    by_class = True

    def __init__(self, data: DataSpec, *, vae: Factory[Model], classifier: Factory[Model]) -> None:
        super().__init__(data)
        self.put_together(vae, classifier, [Classifier, Sampler])

    @torch.no_grad()
    def sample(self, n: int, condition: Tensor | None = None) -> Tensor:
        codes = self.classifier.sample(n, condition)
        anything = torch.zeros(n, *self.spec.shape, device=codes.device, dtype=codes.dtype)
        likelihood = joint(self.vae, anything, None, [codes[None]]).likelihood
        if likelihood is None:
            raise ConfigError(Problem(f"{type(self.vae).__name__} does not say its p(x | z), so x cannot be drawn"))
        return likelihood.sample()[0]


def _spec_of_codes(vae: Any, data: DataSpec) -> DataSpec:
    """The codes as data: vectors of real numbers with the labels of their examples."""
    parameter = next(vae.parameters(), torch.empty(0))
    x = torch.zeros(1, *data.shape, device=parameter.device, dtype=parameter.dtype)
    training = {module: module.training for module in vae.modules() if isinstance(module, nn.Module)}
    vae.eval()
    with torch.no_grad():
        latent = vae.encode(x).flatten(1).shape[1]
    for module, was in training.items():
        module.training = was
    bounds = {"low": -math.inf, "high": math.inf, "measure": "lebesgue"}
    return DataSpec((latent,), "real", classes=data.classes, labelled=data.labelled, transform="codes", **bounds)
