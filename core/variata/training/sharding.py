"""Weights in parts: each process holds its share of the networks' weights and of what the optimiser keeps for them, and
puts a network together when it runs (`train.strategy: sharded`, by torch's FSDP2). The numbers are those of replicated
training."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..interfaces import Network
from ..processes import World


def shard(module: nn.Module, device: torch.device, where: World) -> None:
    """Cuts the weights of every outermost network, in place: its parameters become distributed tensors. What belongs to
    no network (the parameters of a prior, say) stays whole in each process."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (where.size,))
    for network in _outermost(module):
        # Cut again after each run: what a run without gradients put together would be stale once weights have moved.
        cut: Any = fully_shard(network, mesh=mesh, reshard_after_forward=True)
        cut.set_gradient_divide_factor(1.0)  # sums: each process divides its loss by the global count already
        cut.set_force_sum_reduction_for_comms(True)


def _outermost(module: nn.Module) -> Iterable[nn.Module]:
    for child in module.children():
        if not isinstance(child, Network):
            yield from _outermost(child)
        elif any(parameter.requires_grad for parameter in child.parameters()):
            yield child


@contextmanager
def views_are_left_alone() -> Iterator[None]:
    """Networks may return views, which torch warns of for the case that somebody writes into them: nothing here
    does."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
        yield
