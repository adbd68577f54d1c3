r"""The chain is walked k steps away from an example x, which is to be restored from every state on the way:

    minimise  1/k sum_{t=1..k} L(x, P_t),    (P_t, h_t) = f(x~_{t-1}, h_{t-1}),   x_t ~ P_t,   x_0 = x.

k = 1 is the denoising criterion. More steps corrupt an example by what the model itself does wrong: modes to which its
chain wanders off are pushed down. Gradients pass through the memory h, not through the draws x_t.

Vincent, Larochelle, Bengio and Manzagol (2008), Extracting and Composing Robust Features with Denoising Autoencoders
(k = 1). Bengio, Yao, Alain and Vincent (2013), arXiv:1305.6663, section 4 (walkback; there k is random, here fixed as
in Bengio, Thibodeau-Laufer, Alain and Yosinski, 2014, arXiv:1306.1091).
"""

from __future__ import annotations

from pydantic import PositiveInt
from torch import Tensor

from variata import Batch, ConfigError, Now, Objective, OnePhaseLoss, Problem, Term

from .chain import DenoisingChain
from .point import error_metrics, error_of


class Denoising(OnePhaseLoss):
    """The error of restoring.

    Args:
        model: says how many steps its memory needs.
        walkback: k.

    Raises:
        ConfigError: fewer steps, which would leave a part of the model untrained.
    """

    requires = DenoisingChain

    def __init__(self, model: DenoisingChain, *, walkback: PositiveInt = 1) -> None:
        super().__init__()
        if isinstance(model, DenoisingChain) and walkback < model.reach:
            message = f"a walk of {walkback} never reaches the upper layers: set walkback to {model.reach} or more"
            raise ConfigError(Problem(message))
        self.walkback = walkback

    def forward(self, model: DenoisingChain, batch: Batch, now: Now) -> Objective:
        x, memory = batch.x, model.memory(len(batch))
        errors: list[Tensor] = []
        metrics: dict[str, Tensor] = {}
        for _ in range(self.walkback):
            law, memory = model.restore(x, memory, batch.y)
            errors.append(error_of(law, batch.x))
            metrics = metrics or error_metrics(law, batch.x)
            x = law.sample()
        first, *rest = errors
        return Objective({"error": Term(sum(rest, first) / self.walkback)}, metrics)
