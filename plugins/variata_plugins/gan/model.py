r"""x = G(z[, y]),  z ~ N(0, I) or uniform in [-1, 1]: a sampler without a density.

G ends in a sigmoid that is stretched to the data's range, where it has one. Examples between levels are what the
critic sees; `sample` rounds them to the levels that the data has. Binary data is refused: a number between 0 and 1
gives itself away at once, and a rounded one has no gradient.

Goodfellow, Pouget-Abadie, Mirza, Xu, Warde-Farley, Ozair, Courville and Bengio (2014), Generative Adversarial Networks,
arXiv:1406.2661. Mirza and Osindero (2014), Conditional Generative Adversarial Nets, arXiv:1411.1784.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from variata import (
    ConfigError,
    DataSpec,
    Factory,
    Network,
    Problem,
    Sampler,
    asked_condition,
    conditions_of,
    default,
    given_condition,
    make,
)


class GAN(Sampler):
    """The generator.

    Args:
        data: what an example is.
        latent: dimensions of z.
        noise: the law of z.
        generator: G, less its last nonlinearity.
        condition: let G (and the critic) depend on the data's labels (or condition vectors).

    Raises:
        ConfigError: binary data; a condition is asked for and the data has none.
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        latent: PositiveInt = 100,
        noise: Literal["normal", "uniform"] = "normal",
        generator: Factory[Network] = default("network", "mlp"),
        condition: bool = False,
    ) -> None:
        super().__init__(data)
        if data.support == "binary":
            message = "a generator's examples are smooth in its weights, and binary data is not: set data.binarize=none"
            raise ConfigError(Problem(message))
        self.conditional, self.conditions = condition, conditions_of(data, condition)
        self.latent, self.noise = latent, noise
        shape = data.condition_shape if condition else None
        self.generator = make(generator, input=(latent,), output=data.shape, condition=shape)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """z `[*lead, latent]` -> x `[*lead, *event]`, with gradients."""
        h = self.generator(z, *given_condition(self, y))
        if self.spec.support == "real":
            return h
        return self.spec.low + (self.spec.high - self.spec.low) * h.sigmoid()

    def draw(self, n: int, y: Tensor | None = None) -> Tensor:
        """x `[n, *event]` of n draws of z, with gradients, as a critic sees them."""
        device = next(self.parameters()).device
        if self.noise == "normal":
            z = torch.randn(n, self.latent, device=device)
        else:
            z = 2 * torch.rand(n, self.latent, device=device) - 1
        return self(z, y)

    @torch.no_grad()
    def sample(self, n: int, condition: Tensor | None = None) -> Tensor:
        x, spec = self.draw(n, asked_condition(self, n, condition)), self.spec
        if spec.support != "levels" or spec.levels is None:
            return x
        step = (spec.high - spec.low) / (spec.levels - 1)
        return spec.low + ((x - spec.low) / step).round() * step
