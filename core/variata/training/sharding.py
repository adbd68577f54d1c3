"""Weights in parts: each process holds its share of the networks' weights and of what the optimiser keeps for them, and
puts a network together when it runs (`train.strategy: sharded`, by torch's FSDP2). The numbers are those of replicated
training."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..interfaces import Network
from ..processes import World, is_cut


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


def reduce_whole(parameters: Sequence[nn.Parameter], where: World) -> None:
    """Sums the gradients of what is not cut over processes; those of what is cut are summed already."""
    plain = [parameter for parameter in parameters if not is_cut(parameter)]
    if not plain:
        return
    parts = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in plain]
    there = torch.tensor([float(p.grad is not None) for p in plain], device=parts[0].device, dtype=parts[0].dtype)
    flat = where.sum(torch.cat([*parts, there]))
    *summed, there = flat.split([*(part.numel() for part in parts), len(plain)])
    for parameter, gradient, known in zip(plain, summed, there.tolist(), strict=True):
        parameter.grad = gradient.view_as(parameter) if known else None


@contextmanager
def views_are_left_alone() -> Iterator[None]:
    """Networks may return views, which torch warns of for the case that somebody writes into them: nothing here
    does."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
        yield
