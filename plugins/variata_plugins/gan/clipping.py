"""Projected gradient descent onto a box: after each step of another optimiser, every weight is cut to [-bound, bound].
A critic with such weights has a bounded slope, of which nobody knows the bound.

Arjovsky, Chintala and Bottou (2017), Wasserstein GAN, arXiv:1701.07875, with RMSprop at 5e-5 and a bound of 0.01.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import PositiveFloat
from torch import nn

from variata import Default, Optimizer, default, make


class Clipped(Optimizer):
    """Another optimiser, followed by the projection.

    Args:
        bound: the greatest absolute value of a weight.
        step: the optimiser that moves the weights.
    """

    def __init__(
        self,
        *,
        bound: PositiveFloat = 0.01,
        step: Optimizer = default("optimizer", "rmsprop", lr=5e-5),
    ) -> None:
        self.bound, self.step = bound, make(step) if isinstance(step, Default) else step
        self.lr = self.step.lr

    def build(self, parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        optimizer = self.step.build(parameters, lr)
        optimizer.register_step_post_hook(self._project)
        return optimizer

    @torch.no_grad()
    def _project(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.clamp_(-self.bound, self.bound)
