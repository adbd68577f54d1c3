r"""Each part of the model by the bound that suits it, from M K samples: two phases.

    encoder          1/M sum_m log 1/K sum_k w_mk      MIWAE: a gradient with more signal
    everything else      log 1/(M K) sum_mk w_mk       IWAE of all samples: the tightest bound

The second phase draws anew from the encoder that the first has moved. Parameters that prior and encoder share (a
VampPrior's) are the encoder's.

Rainforth, Kosiorek, Le, Maddison, Igl, Wood and Teh (2018), Tighter Variational Bounds are Not Necessarily Better,
arXiv:1802.04537.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pydantic import PositiveInt
from torch import nn

from variata import Batch, ConfigError, Encoder, LatentVariable, Loss, Now, Objective, Phase, Problem, Term

from .weights import Gradient, importance_weighted


class PIWAE(Loss):
    """The two negative bounds.

    Args:
        groups: M.
        samples: K, of each group.
        gradient: how the encoder's gradient is estimated (`weights.py`).

    Raises:
        ConfigError: the model's posterior is no `Encoder`, so that its parameters cannot be told from the others.
    """

    requires = LatentVariable

    def __init__(self, *, groups: PositiveInt = 8, samples: PositiveInt = 8, gradient: Gradient = "total") -> None:
        super().__init__()
        self.groups, self.samples = groups, samples
        self.gradient: Gradient = gradient

    def phases(self, model: LatentVariable) -> Sequence[Phase]:
        encoders = nn.ModuleList(module for module in model.modules() if isinstance(module, Encoder))
        inner = [p for p in encoders.parameters() if p.requires_grad]
        if not inner:
            message = f"piwae gives the encoder a bound of its own, and {type(model).__name__} has none: use miwae"
            raise ConfigError(Problem(message, "loss"))
        known = set(inner)
        outer = [p for p in model.parameters() if p.requires_grad and p not in known]
        return [
            Phase(name="encoder", loss=partial(self._bound, self.groups, self.gradient), parameters=inner),
            Phase(name="decoder", loss=partial(self._bound, 1, "total"), parameters=outer),
        ]

    def _bound(self, groups: int, gradient: Gradient, model: LatentVariable, batch: Batch, now: Now) -> Objective:
        terms = model.terms(batch.x, batch.y, self.groups * self.samples)
        bound = importance_weighted(terms, groups, gradient)
        return Objective({"bound": Term(-bound)}, {"bound": bound, **terms.metrics()})
