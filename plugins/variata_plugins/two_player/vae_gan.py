r"""VAE-GAN: reconstructions are compared in the features F of a critic f = head(F(x)), which they play against,

    model    minimise  KL(q(z | x) || p(z)) + |F(x) - F(x~)|^2 / 2 + weight * [g(f(x~)) + g(f(x_p))] / 2
    critic   minimise  E_data[game.real(f(x))] + [game.fake(f(x~)) + game.fake(f(x_p))] / 2

with x~ the decoder's mean at z ~ q(z | x), x_p that at z ~ p(z), and g = game.generator, whose gradient stops at z: the
encoder does not play. The second summand is -log N(F(x); F(x~), I) less its constant, in place of -log p(x | z): what
is minimised is no bound on log p(x). The model's own ELBO under its decoder's law is logged, true of that law, and not
what is trained.

Larsen, Sonderby, Larochelle and Winther (2016), Autoencoding beyond pixels using a learned similarity metric,
arXiv:1512.09300, where gamma is 1 / weight.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import PositiveInt
from torch import Tensor

from variata import (
    Batch,
    ConfigError,
    Factory,
    LatentVariable,
    Loss,
    Network,
    Now,
    Objective,
    Optimizer,
    Phase,
    Problem,
    Scheduled,
    Term,
    default,
    make,
)

from ..gan.game import Game
from ..gan.loss import couples_batch


class VAEGAN(Loss):
    """The critic with its features, and what the players minimise.

    Args:
        model: gives the sizes.
        game: what critic and decoder play for.
        features: F, from examples to `size` numbers.
        head: from these to the critic's value.
        size: how many features examples are compared by.
        weight: of the decoder's part in the game.
        optimizer: of the critic; by default that of `train.optimizer`.

    Raises:
        ConfigError: the data is binary.
    """

    requires = LatentVariable

    def __init__(
        self,
        model: LatentVariable,
        *,
        game: Game = default("game", "non_saturating"),
        features: Factory[Network] = default("network", "mlp", activation="leaky_relu"),
        head: Factory[Network] = default("network", "mlp", hidden=[100], activation="leaky_relu"),
        size: PositiveInt = 100,
        weight: Scheduled = 1.0,
        optimizer: Optimizer | None = None,
    ) -> None:
        super().__init__()
        if model.spec.support == "binary":
            message = "the critic tells a decoder's mean from binary data at once: set data.binarize=none"
            raise ConfigError(Problem(message))
        if not model.spec.regular:
            raise ConfigError(Problem(f"the critic reads examples, and the data is {model.spec.describe()}: use elbo"))
        self.game, self.weight, self.optimizer = make(game), weight, optimizer
        condition = model.spec.condition_shape if model.conditional else None
        self.features = make(features, input=model.spec.shape, output=(size,), condition=condition)
        self.head = make(head, input=(size,), output=(1,), condition=condition)
        self.couples_batch = couples_batch(model, self.features, self.head)

    def phases(self, model: LatentVariable) -> Sequence[Phase]:
        critic = [*self.features.parameters(), *self.head.parameters()]
        return [
            Phase(name="critic", loss=self.play_critic, parameters=critic, optimizer=self.optimizer),
            Phase(name="model", loss=self.play_model, parameters=list(model.parameters())),
        ]

    def play_critic(self, model: LatentVariable, batch: Batch, now: Now) -> Objective:
        """What the critic minimises."""
        z = model.terms(batch.x, batch.y).only_layer.z
        decoded, drawn = model.decode(z, batch.y).detach(), drawn_mean(model, batch).detach()
        f_real, f_decoded, f_drawn = (self.value(x, batch.y) for x in (batch.x, decoded, drawn))
        terms = {
            "real": Term(self.game.real(f_real)),
            "decoded": Term(self.game.fake(f_decoded), 0.5),
            "drawn": Term(self.game.fake(f_drawn), 0.5),
        }
        return Objective(terms, {"real": f_real.detach(), "fake": f_drawn.detach()})

    def play_model(self, model: LatentVariable, batch: Batch, now: Now) -> Objective:
        """What encoder and decoder minimise."""
        terms = model.terms(batch.x, batch.y)
        z, weight = terms.only_layer.z, now(self.weight)
        wanted, found = self.features(batch.x, batch.y).detach(), self.features(model.decode(z, batch.y), batch.y)
        decoded, drawn = model.decode(z.detach(), batch.y), drawn_mean(model, batch)
        parts = {
            "rate": Term(terms.kl),
            "similarity": Term((wanted - found).square().sum(1), 0.5),
            "decoded": Term(self.game.generator(self.value(decoded, batch.y)), 0.5 * weight),
            "drawn": Term(self.game.generator(self.value(drawn, batch.y)), 0.5 * weight),
        }
        return Objective(parts, terms.metrics())

    def value(self, x: Tensor, y: Tensor | None) -> Tensor:
        """f(x[, y]), `[batch]`."""
        return self.head(self.features(x, y), y)[:, 0]


def drawn_mean(model: LatentVariable, batch: Batch) -> Tensor:
    """The decoder's mean at a draw z ~ p(z) for each example, with gradients."""
    return model.generate(len(batch), batch.y if model.conditional else None).mean
