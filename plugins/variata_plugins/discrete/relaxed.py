r"""q(z | x) and p(z) of codes inside the simplex: the relaxed model, with densities throughout.

    log p(x) >= E_q[log p(x | z)] - KL(q(z | x) || p(z)),     both laws Concrete (`concrete.py`), the KL by the draw

The two have temperatures of their own. This p(x) is an integral over the simplex, and no p(x) of one-hot codes; at a
low temperature they are close.

Maddison, Mnih and Teh (2017), The Concrete Distribution, arXiv:1611.00712 (section 3 and appendix C.2: 2/3 and 1/2 for
the temperatures of posterior and prior).
"""

from __future__ import annotations

import torch
from pydantic import PositiveFloat
from torch import Tensor

from variata import DataSpec, Encoder, Factory, Network, Shape, Shared, default

from .categorical import ClassEncoder, Classes, ClassPrior
from .concrete import Concrete


class RelaxedEncoder(ClassEncoder):
    """A Concrete posterior. The codes of `encode` are the probabilities of the classes.

    Args:
        data, latent, condition: sizes, from the model.
        classes: K, of each variable; there are latent / K variables.
        temperature: of the posterior, and so a part of the model. `annealed` may move it.
        network: gives the logits.
    """

    def __init__(
        self,
        data: DataSpec,
        latent: int,
        condition: Shape | None,
        *,
        classes: Classes = 10,
        temperature: PositiveFloat = 2 / 3,
        network: Factory[Network] = default("network", "mlp"),
    ) -> None:
        super().__init__(data, latent, condition, classes, temperature, network)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Concrete:
        return Concrete(self.network(x, y), self.temperature)


class RelaxedPrior(ClassPrior):
    """A Concrete prior; it does not depend on y.

    Args:
        encoder: the model's.
        temperature: of the prior, which stays as it is.
        learned: learn the probabilities of the classes; otherwise they are equal.
    """

    temperature: Tensor

    def __init__(self, *, encoder: Shared[Encoder], temperature: PositiveFloat = 0.5, learned: bool = False) -> None:
        super().__init__(encoder, RelaxedEncoder, learned)
        self.register_buffer("temperature", torch.tensor(float(temperature)))

    def forward(self, y: Tensor | None = None) -> Concrete:
        return Concrete(self.given(y), self.temperature)
