r"""q(z | x) and p(z) of one-hot codes: L = latent / K variables of K classes each.

    log p(x) >= E_q[log p(x | z)] - sum_l KL(q(z_l | x) || p(z_l)),    KL = sum_k q_k log q_k / p_k, in closed form

Jang, Gu and Poole (2017), Categorical Reparameterization with Gumbel-Softmax, arXiv:1611.01144 (the straight-through
estimator, section 2.2).
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from variata import (
    ConfigError,
    DataSpec,
    Encoder,
    Factory,
    Network,
    Prior,
    Problem,
    Shape,
    Shared,
    default,
    make,
)

from .one_hot import Gradient, OneHot

Classes = Annotated[int, Field(ge=2)]


class ClassEncoder(Encoder):
    """What the encoders of classes share: logits `[batch, latent / classes, classes]` from one network, and a
    temperature, which is state: a loss may move it.

    Args:
        data, latent, condition: sizes, from the model.
        classes: K, of each variable.
        temperature: where it starts.
        network: gives the logits.

    Raises:
        ConfigError: the latent dimensions are no multiple of K.
    """

    temperature: Tensor

    def __init__(
        self,
        data: DataSpec,
        latent: int,
        condition: Shape | None,
        classes: int,
        temperature: float,
        network: Factory[Network],
    ) -> None:
        super().__init__()
        if latent % classes:
            problem = f"latent dimensions {latent} are no multiple of {classes} classes"
            raise ConfigError(Problem(f"{problem}: set model.latent={(latent // classes + 1) * classes}"))
        self.shape = (latent // classes, classes)
        self.network = make(network, input=data.shape, output=self.shape, condition=condition)
        self.register_buffer("temperature", torch.tensor(float(temperature)))


class CategoricalEncoder(ClassEncoder):
    """A posterior of one-hot codes. The codes of `encode` are the probabilities of the classes.

    Args:
        data, latent, condition: sizes, from the model.
        classes: K, of each variable; there are latent / K variables.
        temperature: of the relaxed draw whose gradient is taken; it changes no value. `annealed` may move it.
        gradient: "gumbel" or "probabilities" (`one_hot.py`).
        network: gives the logits.
    """

    def __init__(
        self,
        data: DataSpec,
        latent: int,
        condition: Shape | None,
        *,
        classes: Classes = 10,
        temperature: PositiveFloat = 1.0,
        gradient: Gradient = "gumbel",
        network: Factory[Network] = default("network", "mlp"),
    ) -> None:
        super().__init__(data, latent, condition, classes, temperature, network)
        self.gradient: Gradient = gradient

    def forward(self, x: Tensor, y: Tensor | None = None) -> OneHot:
        return OneHot(self.network(x, y), self.temperature, self.gradient)


class ClassPrior(Prior):
    """What the priors of classes share: logits, of the shape that the encoder has.

    Raises:
        ConfigError: the encoder is of another kind.
    """

    logits: Tensor

    def __init__(self, encoder: Any, kind: type[ClassEncoder], learned: bool) -> None:
        super().__init__()
        if not isinstance(encoder, kind):
            message = f"this prior is one of the codes of {kind.__name__}, and the encoder is {type(encoder).__name__}"
            raise ConfigError(Problem(f"{message}: use the prior that has the encoder's name"))
        self.logits = nn.Parameter(torch.zeros(encoder.shape), requires_grad=learned)

    def given(self, y: Tensor | None) -> Tensor:
        """The logits, for each of the conditions where there are some."""
        return self.logits if y is None else self.logits.expand(len(y), *self.logits.shape)


class CategoricalPrior(ClassPrior):
    """p(z) of one-hot codes; it does not depend on y.

    Args:
        encoder: the model's.
        learned: learn the probabilities of the classes; otherwise they are equal.
    """

    def __init__(self, *, encoder: Shared[Encoder], learned: bool = False) -> None:
        super().__init__(encoder, CategoricalEncoder, learned)

    def forward(self, y: Tensor | None = None) -> OneHot:
        return OneHot(self.given(y))
