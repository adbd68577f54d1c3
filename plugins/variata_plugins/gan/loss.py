r"""Two players in turn, each with a phase of its own:

    critic      minimise  E_data[game.real(f(x))] + E_G[game.fake(f(x~))] + weight * penalty       over f's parameters
    generator   minimise  E_G[game.generator(f(x~))]                        every `critic_steps`, over G's parameters

f belongs to the loss: nothing of it is needed to sample.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from variata import (
    Batch,
    ConfigError,
    Factory,
    Loss,
    Network,
    Now,
    Objective,
    Optimizer,
    Phase,
    Problem,
    Term,
    default,
    make,
)

from .clipping import Clipped
from .game import Game
from .model import GAN
from .penalty import Penalty


class AdversarialLoss(Loss):
    """The critic, and what both players minimise. Logged beside it are f at the data and at the generator's examples.

    Args:
        model: gives the sizes.
        game: what the players minimise.
        critic: f.
        critic_steps: steps of the critic for one of the generator.
        penalty: keeps f smooth.
        optimizer: of the critic; by default that of `train.optimizer`, which the generator has.

    Raises:
        ConfigError: the game needs a smooth critic and nothing keeps it so; a penalty on a critic whose examples
            depend on each other.
    """

    requires = GAN

    def __init__(
        self,
        model: GAN,
        *,
        game: Game = default("game", "non_saturating"),
        critic: Factory[Network] = default("network", "mlp", activation="leaky_relu"),
        critic_steps: PositiveInt = 1,
        penalty: Penalty | None = None,
        optimizer: Optimizer | None = None,
    ) -> None:
        super().__init__()
        self.game, self.penalty = make(game), penalty
        self.critic_steps, self.optimizer = critic_steps, optimizer
        shape = model.spec.condition_shape if model.conditional else None
        self.critic = make(critic, input=model.spec.shape, output=(1,), condition=shape)
        self.couples_batch = couples_batch(model, self.critic)
        smooth = (
            penalty is not None or isinstance(optimizer, Clipped) or any(map(is_parametrized, self.critic.modules()))
        )
        if self.game.lipschitz and not smooth:
            message = (
                f"{type(self.game).__name__.lower()} needs a smooth critic: set penalty=gradient_penalty, "
                "optimizer=clipped, or critic.spectral_norm=true"
            )
            raise ConfigError(Problem(message))
        if penalty is not None:
            check_penalty(self.critic)

    def phases(self, model: GAN) -> Sequence[Phase]:
        critic = list(self.critic.parameters())
        return [
            Phase(
                name="critic",
                loss=self.play_critic,
                parameters=critic,
                optimizer=self.optimizer,
                needs_gradients=self.penalty is not None,
            ),
            Phase(
                name="generator",
                loss=self.play_generator,
                parameters=list(model.parameters()),
                every=self.critic_steps,
            ),
        ]

    def play_critic(self, model: GAN, batch: Batch, now: Now) -> Objective:
        """What the critic minimises."""
        fake = model.draw(len(batch), batch.y).detach()
        f_real, f_fake = self.value(batch.x, batch.y), self.value(fake, batch.y)
        terms = {"real": Term(self.game.real(f_real)), "fake": Term(self.game.fake(f_fake))}
        if self.penalty is not None:
            slope = self.penalty(lambda x: self.value(x, batch.y), batch.x, fake)
            terms["penalty"] = Term(slope, self.penalty.weight)
        return Objective(terms, {"real": f_real.detach(), "fake": f_fake.detach()})

    def play_generator(self, model: GAN, batch: Batch, now: Now) -> Objective:
        """What the generator minimises."""
        f = self.value(model.draw(len(batch), batch.y), batch.y)
        return Objective({"generator": Term(self.game.generator(f))})

    def value(self, x: Tensor, y: Tensor | None) -> Tensor:
        """f(x[, y]), `[batch]`."""
        return self.critic(x, y)[:, 0]


def couples_batch(*modules: nn.Module) -> bool:
    """Whether a network among these makes an example depend on the others of its batch."""
    return any(part.couples_batch for module in modules for part in module.modules() if isinstance(part, Network))


def check_penalty(critic: nn.Module) -> None:
    """Refuses a critic whose slope at an example is not that example's own.

    Raises:
        ConfigError: with the remedy.
    """
    if couples_batch(critic):
        message = "a penalty is on the slope at each example, which batch normalisation mixes: set critic.norm=layer"
        raise ConfigError(Problem(message))
