r"""Layer by layer: each layer of a deep belief network is trained as a machine of its own, by draws of the layer below,
while those below stay as they are.

    phase l, in its part of training:    minimise  -log p_l(h_(l-1)),   h_(l-1) ~ q(h_(l-1) | x),   over layer l alone

At its start the layer learns its base law from such draws, and its chains start at them. Where it is as wide as what
lies two layers below it, it begins as the layer below turned over,

    W_l = W_(l-1)',   b_l = c_(l-1),   c_l = b_(l-1),

where the bound on log p(x) is what the layer below reached; what it learns by the likelihood raises it from there.

Hinton, Osindero and Teh (2006), A fast learning algorithm for deep belief nets (section 4: the bound). Bengio, Lamblin,
Popovici and Larochelle (2007), Greedy layer-wise training of deep networks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from pydantic import PositiveFloat
from torch import nn

from variata import (
    Batch,
    ConfigError,
    Factory,
    Loss,
    Now,
    Objective,
    Phase,
    Prepares,
    Problem,
    default,
    make,
    prepare,
)

from .belief import DeepBeliefNetwork
from .units import BinaryUnits


class DrawnUp:
    """The batches of a stream as layer l sees them: h_(l-1) ~ q, drawn afresh each time."""

    def __init__(self, model: DeepBeliefNetwork, layer: int, stream: Iterable[Batch]) -> None:
        self.model, self.layer, self.stream = model, layer, stream

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.stream:
            yield Batch(self.model.draw_up(batch.x, self.layer))


class Greedy(Loss, Prepares):
    """Trains the layers one after the other, each by a loss of its own.

    Args:
        model: gives the layers.
        layer: what each of them minimises: cd, pcd or pt_pcd.
        parts: how long each layer is trained, in parts of the whole; equally long where nothing is said.
        turned_over: start a layer at the one below it, turned over, where it is as wide as what that one reads.

    Raises:
        ConfigError: the model has no such layers, or parts are not one for each; or the loss is not for machines.
    """

    requires = DeepBeliefNetwork
    prepares_itself = ("losses",)

    def __init__(
        self,
        model: Any,
        *,
        layer: Factory[Loss] = default("loss", "cd"),
        parts: tuple[PositiveFloat, ...] | None = None,
        turned_over: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(model, DeepBeliefNetwork):
            raise ConfigError(Problem(f"greedy trains the layers of a deep_belief_network, not {type(model).__name__}"))
        machines = model.machines
        parts = parts or (1.0,) * len(machines)
        if len(parts) != len(machines):
            message = f"parts says how long {len(parts)} layers are trained, and there are {len(machines)}"
            raise ConfigError(Problem(message, "loss.parts"))
        self.losses = nn.ModuleList(make(layer, model=machine, data=machine.spec) for machine in machines)
        for loss, machine in zip(self.losses, machines, strict=True):
            if not isinstance(loss, Loss) or not isinstance(machine, loss.requires):
                message = f"{type(loss).__name__} is no loss for a layer, which is a Boltzmann machine: use cd or pcd"
                raise ConfigError(Problem(message, "loss.layer"))
        ends = [end / sum(parts) for end in accumulate(parts)]
        self.spans = list(zip([0.0, *ends[:-1]], [*ends[:-1], 1.0], strict=True))
        self.turned_over = turned_over

    def prepare(self, stream: Iterable[Batch]) -> None:
        """The first layer's loss; those of the others wait for what their layers learn from."""
        prepare(self.losses[0], stream)

    def phases(self, model: DeepBeliefNetwork) -> Sequence[Phase]:
        found: list[Phase] = []
        for place, (loss, machine, span) in enumerate(zip(self.losses, model.machines, self.spans, strict=True)):
            assert isinstance(loss, Loss)
            begin = partial(self.begin, model, place) if place else None
            for phase in loss.phases(machine):
                name, seen = f"layer_{place + 1}", self._seen(place, phase.loss)
                found.append(dataclasses.replace(phase, name=name, loss=seen, during=span, begin=begin))
        return found

    def _seen(self, place: int, loss: Callable[[Any, Batch, Now], Objective]) -> Callable[[Any, Batch, Now], Objective]:
        """A layer's loss, of the draws that the layers below give it."""

        def seen(model: DeepBeliefNetwork, batch: Batch, now: Now) -> Objective:
            return loss(model.layers[place], Batch(model.draw_up(batch.x, place)), now)

        return seen

    @torch.no_grad()
    def begin(self, model: DeepBeliefNetwork, place: int, stream: Iterable[Batch]) -> None:
        """Starts a layer above the first."""
        below, machine, drawn = model.machines[place - 1], model.machines[place], DrawnUp(model, place, stream)
        prepare(machine, drawn)
        if self.turned_over and machine.weight.shape == below.weight.T.shape and isinstance(below.units, BinaryUnits):
            assert isinstance(machine.units, BinaryUnits)
            machine.weight.copy_(below.weight.T)
            machine.units.bias.copy_(below.hidden_bias)
            machine.hidden_bias.copy_(below.units.bias)
        prepare(self.losses[place], drawn)
