r"""Another loss, at a temperature that changes during training.

    temperature of the encoder  :=  t(step)

The temperature is state of the encoder, which a step leaves behind like an optimiser's (`Objective.updates`): the next
step works with it, and so does the trained model. Jang, Gu and Poole (2017), arXiv:1611.01144, let it fall slowly to a
half; Maddison, Mnih and Teh (2017), arXiv:1611.00712, keep it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from variata import (
    Batch,
    Clock,
    ConfigError,
    DataSpec,
    Factory,
    LatentVariable,
    Loss,
    Now,
    Objective,
    Phase,
    Problem,
    Scheduled,
    default,
    make,
)

from .categorical import ClassEncoder


class Annealed(Loss):
    """Minimises another loss, and moves the temperature of the encoder. It is logged as `temperature`.

    Args:
        model: whose encoder has one.
        data: what an example is.
        temperature: a number, or a schedule.
        loss: what is minimised.

    Raises:
        ConfigError: nothing in the model has a temperature, or it would not be positive; or the loss is not for it.
    """

    requires = LatentVariable

    def __init__(
        self,
        model: nn.Module,
        data: DataSpec,
        *,
        temperature: Scheduled,
        loss: Factory[Loss] = default("loss", "elbo"),
    ) -> None:
        super().__init__()
        for moment in (Now(Clock(0, 1, 1)), Now.at_end()):
            if not moment(temperature) > 0:
                raise ConfigError(Problem(f"temperature must be positive (got {float(moment(temperature)):g})"))
        if not _tempered(model):
            message = "no encoder of this model has a temperature"
            raise ConfigError(
                Problem(f"{message}: use the encoder categorical or relaxed_categorical, or the loss itself")
            )
        self.temperature, self.loss = temperature, make(loss, model=model, data=data)
        if not isinstance(model, self.loss.requires):
            needed = self.loss.requires.__name__
            raise ConfigError(Problem(f"the loss that is annealed needs a model that is a {needed}, which this is not"))
        self.couples_batch = self.loss.couples_batch

    def phases(self, model: Any) -> Sequence[Phase]:
        inner: Sequence[Phase] = self.loss.phases(model)
        return [dataclasses.replace(phase, loss=self._annealed(phase.loss)) for phase in inner]

    def _annealed(self, loss: Callable[[Any, Batch, Now], Objective]) -> Callable[[Any, Batch, Now], Objective]:
        def annealed(model: Any, batch: Batch, now: Now) -> Objective:
            objective = loss(model, batch, now)
            value = torch.as_tensor(now(self.temperature))
            held = [encoder.temperature for encoder in _tempered(model)]
            updates = [*objective.updates, *((temperature, value) for temperature in held)]
            return dataclasses.replace(
                objective, metrics={**objective.metrics, "temperature": held[0].detach().clone()}, updates=updates
            )

        return annealed


def _tempered(model: nn.Module) -> list[ClassEncoder]:
    return [module for module in model.modules() if isinstance(module, ClassEncoder)]
