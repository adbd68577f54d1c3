"""The nonlinearities that networks offer by name."""

from __future__ import annotations

from typing import Literal

from torch import nn

Activation = Literal["elu", "gelu", "leaky_relu", "relu", "silu", "tanh"]

_CLASSES: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def activation_of(name: Activation) -> nn.Module:
    """The module of that name, with torch's defaults.

    >>> activation_of("tanh")
    Tanh()
    """
    return _CLASSES[name]()
