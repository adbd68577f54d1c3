r"""The steps of Adam and of gradient descent as functions that can be traced into a graph. They move what
`torch.optim` keeps, in place and only where the step is accepted, so that both forms can take turns.

    m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2,   x <- x - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from variata import Update


def adam_update(optimizer: torch.optim.Optimizer, decoupled: bool) -> Update:
    """Of `torch.optim.Adam`, or, with weight decay decoupled from the gradient, of `AdamW`."""
    (group,) = optimizer.param_groups
    parameters, (first, second) = group["params"], group["betas"]
    eps, decay = group["eps"], group["weight_decay"]

    def update(gradients: Sequence[Tensor | None], lr: Tensor, accepted: Tensor) -> None:
        for x, g in zip(parameters, gradients, strict=True):
            if g is None:
                continue
            state = optimizer.state[x]
            t = state["step"].double() + 1  # as torch's own: 1 - b^t is small
            start = x
            if decay:
                start, g = (x * (1 - lr * decay), g) if decoupled else (x, g + decay * x)
            m = torch.lerp(state["exp_avg"], g, 1 - first)
            v = state["exp_avg_sq"] * second + (1 - second) * g * g
            size = lr / (1 - first**t)
            moved = start - size * m / ((v / (1 - second**t)).sqrt() + eps)
            _keep(accepted, (x, moved), (state["exp_avg"], m), (state["exp_avg_sq"], v), (state["step"], t))

    _begin(optimizer, "exp_avg", "exp_avg_sq", step=True)
    return update


def sgd_update(optimizer: torch.optim.Optimizer) -> Update:
    """Of `torch.optim.SGD`."""
    (group,) = optimizer.param_groups
    parameters, momentum, decay = group["params"], group["momentum"], group["weight_decay"]

    def update(gradients: Sequence[Tensor | None], lr: Tensor, accepted: Tensor) -> None:
        for x, g in zip(parameters, gradients, strict=True):
            if g is None:
                continue
            g = g + decay * x if decay else g
            if momentum:
                buffer = optimizer.state[x]["momentum_buffer"]
                velocity = momentum * buffer + g
                _keep(accepted, (buffer, velocity))
                g = g + momentum * velocity if group["nesterov"] else velocity
            _keep(accepted, (x, x - lr * g))

    if momentum:
        _begin(optimizer, "momentum_buffer")
    return update


def _keep(accepted: Tensor, *pairs: tuple[Tensor, Tensor]) -> None:
    for old, new in pairs:
        old.copy_(torch.where(accepted, new.to(old.dtype), old))


def _begin(optimizer: torch.optim.Optimizer, *names: str, step: bool = False) -> None:
    """Makes the state that torch would make at its first step: zero."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            for name in names:
                state[name] = torch.zeros_like(parameter)
            if step:
                state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
