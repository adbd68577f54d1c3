r"""The joint of a latent-variable model at any z, and draws (z, x) from it, without a word from q.

Every latent layer is drawn through one door, `rsample_and_kl`. Within `joint` that door gives the values that it is
told to give, and within `ancestral` a draw from the layer's own prior, so that the model's `terms` comes to

    log p(z) = sum_l log p(z_l | z_1 ... z_(l-1)),      log p(x | z)

at these z, of a hierarchy as of one layer. What anneals from prior to posterior needs nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.distributions import Distribution

from .errors import Unsupported

if TYPE_CHECKING:
    from .interfaces import LatentVariable


class Replay:
    """What latent layers are given in place of draws from q, one after the other.

    Args:
        values: of each layer, `[samples, batch, *latent]`; None draws each from its prior.
    """

    def __init__(self, values: Sequence[Tensor] | None) -> None:
        self.values = values
        self.given: list[Tensor] = []

    def next_value(self, q: Distribution, p: Distribution, samples: int | None) -> Tensor:
        """z of the layer that is asked for now."""
        if self.values is None:
            lead = torch.Size([*([] if samples is None else [samples]), *q.batch_shape])
            split = len(lead) - len(p.batch_shape)
            law = p if p.batch_shape == lead[split:] else p.expand(lead[split:])
            self.given.append(law.sample(lead[:split]))
        elif len(self.given) < len(self.values):
            self.given.append(self.values[len(self.given)])
        else:
            raise Unsupported(f"the model draws more latent layers than the {len(self.values)} whose values are given")
        return self.given[-1]


_replay: ContextVar[Replay | None] = ContextVar("replay", default=None)


def current_replay() -> Replay | None:
    """What layers are given now; None where they are drawn from q, as always in a compiled graph."""
    return None if torch.compiler.is_compiling() else _replay.get()


@dataclass(frozen=True)
class Joint:
    """p(x, z) at some z.

    Attributes:
        z: of each layer, `[samples, batch, *latent]`.
        log_prior: log p(z) of all layers, `[samples, batch]`.
        log_likelihood: log p(x | z), `[samples, batch]`.
        priors: p of each layer, given those before it.
        likelihood: p(x | z), batch shape `[samples, batch]`, where the model's `Terms` say it.
    """

    z: tuple[Tensor, ...]
    log_prior: Tensor
    log_likelihood: Tensor
    priors: tuple[Distribution, ...]
    likelihood: Distribution | None


def joint(model: LatentVariable, x: Tensor, y: Tensor | None, z: Sequence[Tensor]) -> Joint:
    """p(x, z) at values of every layer, `[samples, batch, *latent]` each; gradients reach them.

    Raises:
        Unsupported: the model draws its layers elsewhere than in `rsample_and_kl`.
    """
    return _replayed(model, x, y, len(z[0]), z)


def ancestral(model: LatentVariable, x: Tensor, y: Tensor | None, samples: int) -> Joint:
    """p(x, z) at draws z ~ p(z), layer after layer; of x `[batch, *event]` their number is what matters.

    Raises:
        Unsupported: the model draws its layers elsewhere than in `rsample_and_kl`.
    """
    return _replayed(model, x, y, samples, None)


def _replayed(
    model: LatentVariable, x: Tensor, y: Tensor | None, samples: int, values: Sequence[Tensor] | None
) -> Joint:
    replay = Replay(values)
    token = _replay.set(replay)
    try:
        terms = model.terms(x, y, samples)
    finally:
        _replay.reset(token)
    given, layers = replay.given, terms.layers
    if len(given) != len(layers) or any(layer.z is not z for layer, z in zip(layers, given, strict=True)):
        raise Unsupported(f"{type(model).__name__} draws its latents elsewhere than in variata.rsample_and_kl")
    first, *rest = (layer.log_p for layer in layers)
    priors = tuple(layer.p for layer in layers)
    return Joint(tuple(given), sum(rest, first), terms.log_likelihood, priors, terms.likelihood)
