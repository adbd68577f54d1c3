r"""FactorVAE: the ELBO, and a price on what the dimensions of the codes say of one another,

    model    maximise  ELBO - gamma TC(q(z)),        TC(q(z)) = KL(q(z) || prod_j q(z_j)) ~ E_q(z)[f(z)]
    critic   minimise  E_q(z)[-log s(f(z))] + E_qbar(z)[-log(1 - s(f(z)))],          qbar(z) = prod_j q(z_j)

The best f is log q(z) / qbar(z), whose mean under q(z) is TC: as good as f is, and of either sign, since f is not the
best. Draws of qbar are codes of the batch, each dimension of which is permuted over the examples by itself; so every
example's loss depends on its batch. The model stays a latent-variable model: its ELBO and NLL are what they are.

Kim and Mnih (2018), Disentangling by Factorising, arXiv:1802.05983.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from variata import (
    Batch,
    Factory,
    LatentVariable,
    Loss,
    Network,
    Now,
    Objective,
    Optimizer,
    Phase,
    Scheduled,
    Term,
    Terms,
    default,
    make,
)

from ..gan.game import NonSaturating
from .critic import code_shape


class FactorVAE(Loss):
    """The negative ELBO, and gamma times the total correlation of the codes. The metrics elbo, reconstruction and kl
    are those of the bound itself.

    Args:
        model: gives the size of a code.
        gamma: weight of the total correlation.
        critic: f of one code, which is made one vector of.
        optimizer: of the critic; by default that of `train.optimizer`.
    """

    requires = LatentVariable
    couples_batch = True

    def __init__(
        self,
        model: LatentVariable,
        *,
        gamma: Scheduled = 10.0,
        critic: Factory[Network] = default("network", "mlp", activation="leaky_relu"),
        optimizer: Optimizer | None = None,
    ) -> None:
        super().__init__()
        self.gamma, self.optimizer, self.game = gamma, optimizer, NonSaturating()
        self.critic = make(critic, input=(math.prod(code_shape(model)),), output=(1,), condition=None)

    def phases(self, model: LatentVariable) -> Sequence[Phase]:
        critic = list(self.critic.parameters())
        return [
            Phase(name="model", loss=self.play_model, parameters=list(model.parameters())),
            Phase(name="critic", loss=self.play_critic, parameters=critic, optimizer=self.optimizer),
        ]

    def play_model(self, model: LatentVariable, batch: Batch, now: Now) -> Objective:
        """The negative ELBO and the total correlation."""
        terms = model.terms(batch.x, batch.y)
        correlation = self.critic(_codes(terms))[:, 0]
        parts = {
            "distortion": Term(-terms.reconstruction),
            "rate": Term(terms.kl),
            "total_correlation": Term(correlation, now(self.gamma)),
        }
        return Objective(parts, {**terms.metrics(), "total_correlation": correlation.detach()})

    def play_critic(self, model: LatentVariable, batch: Batch, now: Now) -> Objective:
        """Codes against codes whose dimensions are independent."""
        with torch.no_grad():
            z = _codes(model.terms(batch.x, batch.y))
        joint, product = self.critic(z)[:, 0], self.critic(permute_dims(z))[:, 0]
        return Objective({"joint": Term(self.game.real(joint)), "product": Term(self.game.fake(product))})


def permute_dims(z: Tensor) -> Tensor:
    """z `[batch, latent]` with each column in an order of its own: the same values of each dimension, and none that go
    together but by chance."""
    return z.gather(0, torch.rand_like(z).argsort(0))


def _codes(terms: Terms) -> Tensor:
    """z, `[batch, latent]`."""
    return terms.only_layer.z.flatten(1)
