r"""Exponential moving averages of weights, with which a model is evaluated and sampled:

    average <- d average + (1 - d) weights,     d = min(decay, (1 + t) / (10 + t)) after t steps

so that the first averages are not those of the initial weights. Polyak and Juditsky (1992), Acceleration of stochastic
approximation by averaging. The bound on d is that of `tf.train.ExponentialMovingAverage`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..processes import local


class Averages:
    """The averages of a model's parameters.

    Attributes:
        values: by the parameter's name; those that training never moves are left out. Of weights that are cut, each
            process averages its part.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._parameters = {name: local(p).detach() for name, p in model.named_parameters() if p.requires_grad}
        self.values: dict[str, Tensor] = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After the step of this number, from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
            list(self.values.values()), list(self._parameters.values()), 1 - decay
        )

    @torch.no_grad()
    def copy_to_model(self) -> None:
        """Makes the averages the model's weights."""
        for name, parameter in self._parameters.items():
            parameter.copy_(self.values[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it the model has the averages; afterwards its own weights again."""
        own = {name: p.detach().clone() for name, p in self._parameters.items()}
        self.copy_to_model()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self._parameters.items():
                    parameter.copy_(own[name])
