r"""The adversarial autoencoder: the aggregate of the codes is brought to the prior,

    model    minimise  E_x E_q(z|x)[-log p(x | z)] + weight * E_q(z)[game.generator(f(z))]
    critic   minimise  E_p(z)[game.real(f(z))] + E_q(z)[game.fake(f(z))],           q(z) = E_x q(z | x)

A decoder that was trained on codes of q(z) can then be given draws of p(z). For the model `autoencoder`, z = f(x) has
no density and there is no bound on log p(x); of a `vae`, q(z | x) is a density, and its ELBO, which is logged, is true
as ever, and not what is trained. The paper takes the two summands of the model in turn; in one step, they are the
WAE-GAN.

Makhzani, Shlens, Jaitly, Goodfellow and Frey (2016), Adversarial Autoencoders, arXiv:1511.05644. Tolstikhin, Bousquet,
Gelly and Schoelkopf (2018), Wasserstein Auto-Encoders, arXiv:1711.01558.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.distributions import Distribution

from variata import (
    Autoencoder,
    Batch,
    ConfigError,
    Factory,
    Finishes,
    LatentVariable,
    Loss,
    Network,
    Now,
    Objective,
    Optimizer,
    Phase,
    Prior,
    Problem,
    Scheduled,
    Term,
    default,
    given_condition,
    make,
)

from ..autoencoder.model import DeterministicAutoencoder
from ..autoencoder.point import error_metrics, error_of
from ..gan.game import Game
from ..gan.loss import couples_batch
from .critic import code_shape


class AdversarialAutoencoder(Loss):
    """The error of reconstruction, and the critic of codes.

    Args:
        model: an `autoencoder` with a prior of its own, or a model with a posterior.
        game: what critic and encoder play for.
        critic: f of one code.
        weight: of the encoder's part in the game.
        optimizer: of the critic; by default that of `train.optimizer`.

    Raises:
        ConfigError: the model has neither; its prior is one that is learned, during or after training.
    """

    requires = Autoencoder

    def __init__(
        self,
        model: Autoencoder,
        *,
        game: Game = default("game", "non_saturating"),
        critic: Factory[Network] = default("network", "mlp", activation="leaky_relu"),
        weight: Scheduled = 1.0,
        optimizer: Optimizer | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(model, LatentVariable | DeterministicAutoencoder):
            message = f"needs codes and a prior, as autoencoder and vae have; {type(model).__name__} has not both"
            raise ConfigError(Problem(message))
        prior = dict(model.named_children()).get("prior")
        if not isinstance(prior, Prior):
            raise ConfigError(Problem(f"codes are brought to the model's prior, and {type(model).__name__} has none"))
        if isinstance(prior, Finishes) or any(True for _ in prior.parameters()):
            message = "codes are brought to a prior that stays as it is: set model.prior=standard_normal"
            raise ConfigError(Problem(message))
        self.game, self.weight, self.optimizer = make(game), weight, optimizer
        condition = model.spec.condition_shape if model.conditional else None
        self.critic = make(critic, input=code_shape(model), output=(1,), condition=condition)
        self.couples_batch = couples_batch(model, self.critic)

    def phases(self, model: Autoencoder) -> Sequence[Phase]:
        critic = list(self.critic.parameters())
        return [
            Phase(name="critic", loss=self.play_critic, parameters=critic, optimizer=self.optimizer),
            Phase(name="model", loss=self.play_model, parameters=list(model.parameters())),
        ]

    def play_critic(self, model: Autoencoder, batch: Batch, now: Now) -> Objective:
        """What the critic minimises."""
        z, prior, _ = _encoded(model, batch)
        drawn = prior.sample() if prior.batch_shape else prior.sample((len(batch),))
        f_real, f_fake = self.value(drawn, batch.y), self.value(z.detach(), batch.y)
        terms = {"real": Term(self.game.real(f_real)), "fake": Term(self.game.fake(f_fake))}
        return Objective(terms, {"real": f_real.detach(), "fake": f_fake.detach()})

    def play_model(self, model: Autoencoder, batch: Batch, now: Now) -> Objective:
        """What encoder and decoder minimise."""
        z, _, objective = _encoded(model, batch)
        fools = Term(self.game.generator(self.value(z, batch.y)), now(self.weight))
        return Objective({**objective.terms, "game": fools}, objective.metrics)

    def value(self, z: Tensor, y: Tensor | None) -> Tensor:
        """f(z[, y]), `[batch]`."""
        return self.critic(z, y)[:, 0]


def _encoded(model: Autoencoder, batch: Batch) -> tuple[Tensor, Distribution, Objective]:
    """Codes with gradients, the law that they shall have, and the error of reconstruction."""
    if isinstance(model, LatentVariable):
        terms = model.terms(batch.x, batch.y)
        layer = terms.only_layer
        return layer.z, layer.p, Objective({"error": Term(-terms.reconstruction)}, terms.metrics())
    assert isinstance(model, DeterministicAutoencoder)
    z = model.encode(batch.x, batch.y)
    law = model.law(z, batch.y)
    objective = Objective({"error": Term(error_of(law, batch.x))}, error_metrics(law, batch.x))
    return z, model.prior(*given_condition(model, batch.y)), objective
