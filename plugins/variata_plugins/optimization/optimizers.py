"""torch's optimisers, each with the options that its paper names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat
from torch import nn

from variata import Optimizer, Scheduled, Update

from .updates import adam_update, sgd_update

Decay = Annotated[float, Field(ge=0, lt=1)]


def can_fuse(parameters: Sequence[nn.Parameter]) -> bool:
    """Whether torch has a fused implementation for all of them."""
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)


class Adam(Optimizer):
    """Kingma and Ba (2015), Adam: A Method for Stochastic Optimization, arXiv:1412.6980."""

    def __init__(
        self,
        *,
        lr: Scheduled = 1e-3,
        betas: tuple[Decay, Decay] = (0.9, 0.999),
        eps: NonNegativeFloat = 1e-8,
        weight_decay: NonNegativeFloat = 0.0,
    ) -> None:
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay

    def build(self, parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        options = {"betas": self.betas, "eps": self.eps, "weight_decay": self.weight_decay}
        return torch.optim.Adam(parameters, lr, fused=can_fuse(parameters), **options)

    def functional(self, optimizer: torch.optim.Optimizer) -> Update:
        return adam_update(optimizer, decoupled=False)


class AdamW(Optimizer):
    """Loshchilov and Hutter (2019), Decoupled Weight Decay Regularization, arXiv:1711.05101."""

    def __init__(
        self,
        *,
        lr: Scheduled = 1e-3,
        betas: tuple[Decay, Decay] = (0.9, 0.999),
        eps: NonNegativeFloat = 1e-8,
        weight_decay: NonNegativeFloat = 0.01,
    ) -> None:
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay

    def build(self, parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        options = {"betas": self.betas, "eps": self.eps, "weight_decay": self.weight_decay}
        return torch.optim.AdamW(parameters, lr, fused=can_fuse(parameters), **options)

    def functional(self, optimizer: torch.optim.Optimizer) -> Update:
        return adam_update(optimizer, decoupled=True)


class RMSprop(Optimizer):
    """Tieleman and Hinton (2012), Lecture 6.5: RMSprop."""

    def __init__(
        self,
        *,
        lr: Scheduled = 1e-3,
        alpha: Decay = 0.99,
        eps: NonNegativeFloat = 1e-8,
        momentum: Decay = 0.0,
        weight_decay: NonNegativeFloat = 0.0,
    ) -> None:
        self.lr, self.alpha, self.eps, self.momentum, self.weight_decay = lr, alpha, eps, momentum, weight_decay

    def build(self, parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(parameters, lr, self.alpha, self.eps, self.weight_decay, self.momentum)


class SGD(Optimizer):
    """Stochastic gradient descent; Sutskever et al. (2013) on momentum."""

    def __init__(
        self,
        *,
        lr: Scheduled = 1e-2,
        momentum: Decay = 0.0,
        nesterov: bool = False,
        weight_decay: NonNegativeFloat = 0.0,
    ) -> None:
        self.lr, self.momentum, self.nesterov, self.weight_decay = lr, momentum, nesterov, weight_decay

    def build(self, parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        options = {"momentum": self.momentum, "nesterov": self.nesterov, "weight_decay": self.weight_decay}
        return torch.optim.SGD(parameters, lr, fused=can_fuse(parameters), **options)

    def functional(self, optimizer: torch.optim.Optimizer) -> Update:
        return sgd_update(optimizer)
