"""What the tests of autoencoders are built from: data in float64, networks, and the decoder that is no law."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from variata import DataSpec
from variata_plugins.autoencoder.point import PointDecoder
from variata_plugins.networks.mlp import MLP

F64 = torch.float64
REAL = DataSpec((6,), "real")


def close(actual: Any, expected: Any, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def network(*hidden: int) -> functools.partial[MLP]:
    return functools.partial(MLP, hidden=hidden, activation="tanh")


def point(*hidden: int, **options: Any) -> functools.partial[PointDecoder]:
    return functools.partial(PointDecoder, network=network(*hidden), **options)


def correlated(n: int, dimensions: int = 6) -> Tensor:
    mixing = torch.randn(dimensions, dimensions, dtype=F64) * torch.linspace(0.2, 2, dimensions, dtype=F64)
    x = torch.randn(n, dimensions, dtype=F64) @ mixing.T
    return x - x.mean(0)
