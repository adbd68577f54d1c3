r"""The deep belief network: the upper layer is a restricted Boltzmann machine, those below it are directed.

    p(x, h_1, ..., h_L) = p(x | h_1) p(h_1 | h_2) ... p(h_(L-2) | h_(L-1)) p(h_(L-1), h_L),      the last one a machine

Layer l is a machine between h_(l-1) and h_l (h_0 = x) that gives both directions, p(h_(l-1) | h_l) and
q(h_l | h_(l-1)). For layers below the last one, q is an approximation of the posterior, so that

    log p(x) >= E_q[ sum_l log p(h_(l-1) | h_l) - log q(h_l | h_(l-1)) - F(h_(L-1)) ] - log Z,

with F and Z of the last machine. If that is the one below it, turned over, then q is exact, the bound is tight, and p
is what the machine below was by itself: what it learns beyond that raises the bound.

Hinton, Osindero and Teh (2006), A fast learning algorithm for deep belief nets. Salakhutdinov and Murray (2008), On the
quantitative analysis of deep belief networks (the bound, with Z by annealing).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from variata import Autoencoder, Batch, Chain, ConfigError, DataSpec, Factory, Prepares, Problem, default, prepare

from ..graphs.graph import Drawn, Graph
from .model import RBM
from .units import VisibleUnits, coin


class DeepBeliefNetwork(Chain, Autoencoder, Prepares, Drawn):
    """A deep belief network. Its chains are those of the last machine; an example is drawn down from their state. Its
    codes are the probabilities of the last layer's units, with those of each layer given to the next.

    Args:
        data: what an example is.
        hidden: how many units each layer has, from the one above the data; at least two layers.
        visible: what the visible units are; they must suit the data's kind of values.
        burn_in: sweeps of the last machine before a sample is taken.
        chains: how many chains `sample` runs side by side; by default one for each sample.
        thinning: sweeps between two samples of one chain.

    Raises:
        ConfigError: there is one layer alone.
    """

    prepares_itself = ("layers",)

    def __init__(
        self,
        data: DataSpec,
        *,
        hidden: tuple[PositiveInt, ...],
        visible: Factory[VisibleUnits] = default("units", "binary"),
        burn_in: NonNegativeInt = 200,
        chains: PositiveInt | None = None,
        thinning: PositiveInt = 100,
    ) -> None:
        super().__init__(data)
        if len(hidden) < 2:
            message = f"a deep belief network has two or more layers of hidden units (got {list(hidden)})"
            raise ConfigError(Problem(f"{message}; for one, use rbm"))
        first = RBM(data, hidden=hidden[0], visible=visible)
        above = (RBM(_units(below), hidden=size) for below, size in pairwise(hidden))
        self.layers = nn.ModuleList([first, *above])
        self.burn_in, self.chains, self.thinning = burn_in, chains, thinning

    def prepare(self, stream: Iterable[Batch]) -> None:
        """The first layer alone: what the others are to learn from is not there before it is trained."""
        prepare(self.layers[0], stream)

    @property
    def machines(self) -> list[RBM]:
        """The layers, from the one above the data."""
        return [layer for layer in self.layers if isinstance(layer, RBM)]

    @property
    def top(self) -> RBM:
        """The last machine."""
        return self.machines[-1]

    @torch.no_grad()
    def draw_up(self, x: Tensor, layers: int) -> Tensor:
        """h ~ q(h | x) of a layer, `[batch, units]`; x itself for 0 layers."""
        for machine in self.machines[:layers]:
            x = coin(machine.logits(x))
        return x

    @torch.no_grad()
    def draw_down(self, h: Tensor) -> Tensor:
        """x ~ p(x | h), from visible states h of the last machine, `[n, *event]`."""
        for machine in self.machines[-2::-1]:
            h = machine.units.sample(h @ machine.weight.T)
        return h.reshape(-1, *self.spec.shape)

    def log_ratio(self, x: Tensor) -> Tensor:
        """log p(x, h) + log Z - log q(h | x) at a draw h ~ q(h | x), `[batch]`: of the mean, what is above is its bound
        on log p(x) once log Z is taken off."""
        v, total = x.flatten(1), x.new_zeros(len(x))
        for machine in self.machines[:-1]:
            logits = machine.logits(v)
            h = coin(logits)
            log_q = -binary_cross_entropy_with_logits(logits, h, reduction="none").sum(-1)
            total = total + machine.units.log_prob(v, h @ machine.weight.T) - log_q
            v = h
        return total - self.top.free_energy(v)

    def draw(self, graph: Graph) -> None:
        """x and the layers, up by q while it trains; down by p from the last machine to sample."""
        training, inference, depth = graph.training, graph.inference, len(self.machines)
        seen = training.nodes["x"]
        for panel in (training, inference):
            panel.clear()
        training.node("x", seen.label, seen.detail)
        for layer, machine in enumerate(self.machines, start=1):
            below = "x" if layer == 1 else f"h_{layer - 1}"
            training.node(f"h_{layer}", f"h{layer}", f"{machine.weight.shape[1]} units", extra=True, column=layer)
            training.arrow(below, f"h_{layer}", f"q, layer {layer}", extra=True)
            for term in ("data", "model", "sparsity"):
                graph.place(term, below, f"h_{layer}", phase=f"layer_{layer}")
        inference.node("start", "start", "the base law", kind="noise", extra=True)
        sweep = f"h{depth - 1}, h{depth}"
        inference.node("step", "Gibbs sweep", sweep, kind="part", extra=True, column=1)
        inference.arrow("start", "step", extra=True)
        inference.arrow("step", "step", "many times", extra=True)
        above = "step"
        for column, layer in enumerate(range(depth - 1, -1, -1), start=2):
            name, label = (f"h_{layer}", f"h{layer}") if layer else ("x", seen.label)
            inference.node(name, label, "" if layer else seen.detail, extra=layer > 0, column=column)
            inference.arrow(above, name, "" if above == "step" else f"p, layer {layer + 1}", extra=True)
            above = name

    def start(self, n: int, condition: Tensor | None = None) -> tuple[Tensor, ...]:
        return self.top.start(n)

    def step(self, state: tuple[Tensor, ...], condition: Tensor | None = None) -> tuple[Tensor, ...]:
        return self.top.step(state)

    def visible(self, state: tuple[Tensor, ...]) -> Tensor:
        return self.draw_down(state[0])

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        for machine in self.machines:
            x = machine.encode(x)
        return x

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        for machine in self.machines[::-1]:
            z = machine.decode(z)
        return z


def _units(count: int) -> DataSpec:
    """Hidden units as what the layer above them sees."""
    return DataSpec((count,), "binary", levels=2, transform="hidden units")
