r"""A structure cut into layers, and what passes through them: sums upwards, choices downwards.

Every value is a logarithm, a layer is one tensor `[regions, batch, units]`. With a_rk the log of product (p, k) of
region r and theta the log weights, a layer of sums is

    log S_ru = log sum_k exp(a_rk + theta_rku)        `log_matmul_exp`, batched over regions

and a draw goes down from the root: at a region of which unit u was chosen, product and unit (p, k) with probability
proportional to exp(a_rk + theta_rku), until every variable has a leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from variata_kernels import log_matmul_exp

from .graph import Graph

_ELEMENTS = 1 << 24


@dataclass(frozen=True)
class Read:
    """What a layer of products takes from one tensor below it.

    Attributes:
        source: which tensor: chunk b of the leaves is b, layer b of sums is layers + b.
        rows: rows of it, `[edges]`; None for all in their order.
        target: the product that each row goes into, `[edges]`; None for each product in its order.
    """

    source: int
    rows: Tensor | None
    target: Tensor | None


@dataclass(frozen=True)
class Layer:
    """Regions of one depth that have equally many products.

    Attributes:
        regions, products: how many regions, and products of each.
        group: which tensor of weights they have, and `reads` what their products are made of.
    """

    regions: int
    products: int
    group: int
    reads: Sequence[Read]


class Layers:
    """The layers of an `ordered` graph, from the root down.

    Attributes:
        groups: for each tensor of weights (regions, products, whether it is the root's).
        chunks: how many leaves each layer is the first to read; they stand in that order.
        rows: for each tensor of weights, how many regions of it each of its layers has.
    """

    def __init__(self, graph: Graph, device: torch.device | str = "cpu") -> None:
        counts = [len(own) for own in graph.products()]
        depths = graph.depths()
        keys = [(depth, count) for depth, count in zip(depths, counts, strict=True)]
        spans = [len(list(run)) for _, run in groupby(keys)]
        starts = [sum(spans[:i]) for i in range(len(spans))]
        kinds = [(counts[start], start == 0) for start in starts]
        groups = sorted(set(kinds), key=lambda kind: (not kind[1], kind[0]))
        self.groups = [(sum(n for n, k in zip(spans, kinds, strict=True) if k == kind), *kind) for kind in groups]
        self.rows = [[n for n, k in zip(spans, kinds, strict=True) if k == kind] for kind in groups]
        layer_of = torch.repeat_interleave(torch.arange(len(spans)), torch.tensor(spans))
        edge_layer = layer_of[graph.owner[graph.product]]
        is_leaf = graph.child < graph.leaves
        first = torch.full((graph.leaves,), len(spans)).scatter_reduce(
            0, graph.child[is_leaf], edge_layer[is_leaf], "amin"
        )
        self.chunks = torch.bincount(first, minlength=len(spans)).tolist()
        source_of = torch.cat([first, layer_of + len(spans)])
        sizes = [*self.chunks, *spans]
        offsets = [sum(self.chunks[:i]) for i in range(len(spans))] + [graph.leaves + start for start in starts]
        first_product = [0]
        for n, (count, _) in zip(spans, kinds, strict=True):
            first_product.append(first_product[-1] + n * count)
        self.layers = []
        for b, (n, kind) in enumerate(zip(spans, kinds, strict=True)):
            edges = (edge_layer == b).nonzero().flatten()
            reads = []
            for source in sorted(set(source_of[graph.child[edges]].tolist())):
                those = edges[source_of[graph.child[edges]] == source]
                rows = graph.child[those] - offsets[source]
                target = graph.product[those] - first_product[b]
                every = _unless_all(rows, sizes[source], device), _unless_all(target, n * kind[0], device)
                reads.append(Read(source, *every))
            reads.sort(key=lambda read: read.target is not None)
            self.layers.append(Layer(n, kind[0], groups.index(kind), reads))

    def split(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """The weights of each layer, `[regions, products * units, units above]`."""
        parts = [iter(w.split(rows)) for w, rows in zip(weights, self.rows, strict=True)]
        return [next(parts[layer.group]) for layer in self.layers]

    def upward(
        self, leaves: Tensor, weights: Sequence[Tensor], add: Callable[[Tensor, Tensor], Tensor] = log_matmul_exp
    ) -> tuple[Tensor, list[Tensor]]:
        """The root, `[batch]`, and what each layer of sums was given, `[regions, batch, products * units]`.

        Args:
            leaves: `[leaves, batch, units]`.
            weights: of each layer.
            add: how a layer of sums goes from its input and its weights to its output.
        """
        values: dict[int, Tensor] = dict(enumerate(leaves.split(self.chunks)))
        inputs: list[Tensor] = []
        for b in reversed(range(len(self.layers))):
            given = self._products(self.layers[b], values)
            inputs.append(given)
            values[len(self.layers) + b] = add(given, weights[b])
        return values[len(self.layers)][0, :, 0], inputs[::-1]

    def _products(self, layer: Layer, values: dict[int, Tensor]) -> Tensor:
        total: Tensor | None = None
        for read in layer.reads:
            part = values[read.source]
            part = part if read.rows is None else part.index_select(0, read.rows)
            if read.target is not None:
                empty = part.new_zeros(layer.regions * layer.products, *part.shape[1:])
                total = (empty if total is None else total).index_add(0, read.target, part)
            else:
                total = part if total is None else total + part
        assert total is not None, "a product has children"
        if layer.products == 1:
            return total
        _, batch, units = total.shape
        total = total.reshape(layer.regions, layer.products, batch, units)
        return total.transpose(1, 2).reshape(layer.regions, batch, layer.products * units)

    def downward(
        self, weights: Sequence[Tensor], inputs: Sequence[Tensor] | None, batch: int, units: int, draw: bool = True
    ) -> Tensor:
        """The unit of each leaf that a draw ends in (or, without `draw`, the most probable choice), `[leaves, batch]`;
        -1 where it comes by no unit of that leaf.

        Args:
            weights, inputs: of each layer; inputs None for those of evidence on nothing.
        """
        device = weights[0].device
        last = len(self.layers)
        sizes = [*self.chunks, *(layer.regions for layer in self.layers)]
        chosen = [torch.full((n, batch), -1, device=device) for n in sizes]
        chosen[last] = torch.zeros(1, batch, dtype=torch.long, device=device)
        for b, layer in enumerate(self.layers):
            unit = chosen[last + b]
            row = torch.arange(layer.regions, device=device)[:, None]
            logits = weights[b].transpose(1, 2)[row, unit.clamp(min=0)]
            logits = logits if inputs is None else logits + inputs[b]
            if draw:
                logits = logits - torch.empty_like(logits).exponential_().log_()
            choice = logits.argmax(-1)
            product, below = choice // units, choice % units
            mine = product[:, None] == torch.arange(layer.products, device=device)[:, None]
            taken = torch.where(mine & (unit >= 0)[:, None], below[:, None], -1).flatten(0, 1)
            for read in layer.reads:
                value = taken if read.target is None else taken.index_select(0, read.target)
                into = chosen[read.source]
                if read.rows is None:
                    chosen[read.source] = torch.maximum(into, value)
                else:
                    chosen[read.source] = into.scatter_reduce(0, read.rows[:, None].expand_as(value), value, "amax")
        return torch.cat(chosen[:last])


def log_matmul_max(a: Tensor, b: Tensor) -> Tensor:
    """max_k (a_ik + b_kj), over leading axes, by parts of the batch that keep memory bounded."""
    rows = max(1, _ELEMENTS // max(1, b.numel()))
    parts = [(part[..., :, None] + b[..., None, :, :]).amax(-2) for part in a.split(rows, dim=-2)]
    return torch.cat(parts, dim=-2)


def _unless_all(index: Tensor, size: int, device: torch.device | str) -> Tensor | None:
    return None if len(index) == size and bool((index == torch.arange(size)).all()) else index.to(device)
