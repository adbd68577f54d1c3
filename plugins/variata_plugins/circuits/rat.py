r"""Random regions: the variables are cut in two at random, again and again, and all of that several times.

Peharz et al. (2020), Random sum-product networks: a simple and effective approach to probabilistic deep learning,
arXiv:1806.01910. Products go over equal units of their children, P_k = S_left,k S_right,k, instead of over all pairs
of units: Liu, Ahmed and Van den Broeck (2024), Scaling tractable probabilistic circuits: a systems perspective,
arXiv:2406.00766.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import NonNegativeInt, PositiveInt

from variata import Batch, DataSpec

from .graph import Graph
from .structure import Structure


class RAT(Structure):
    """A root over several random trees of regions. A region that is cut no further is a mixture of independent laws of
    its variables.

    Args:
        data: what an example is.
        units: K.
        depth: how often the variables are cut in two.
        repetitions: random trees.
        structure_seed: of the cuts.
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        units: PositiveInt = 16,
        depth: PositiveInt = 3,
        repetitions: PositiveInt = 8,
        structure_seed: NonNegativeInt = 0,
    ) -> None:
        self.variables, self.units, self.depth, self.repetitions = data.dimensions, units, depth, repetitions
        self.seed = structure_seed

    def graph(self, stream: Iterable[Batch] | None = None) -> Graph:
        generator = torch.Generator().manual_seed(self.seed)
        leaves = self.variables * self.repetitions
        products: list[tuple[int, list[int]]] = []
        regions, variable = 1, []
        for _ in range(self.repetitions):
            places = len(variable) + torch.randperm(self.variables, generator=generator)
            cuts: list[tuple[int, torch.Tensor, int]] = [(0, places, self.depth)]
            for region, whole, left in cuts:
                if left == 0 or len(whole) < 2:
                    products.append((region, whole.tolist()))
                    continue
                children = []
                for half in whole.tensor_split(2):
                    if len(half) == 1:
                        children += half.tolist()
                    else:
                        children.append(leaves + regions)
                        cuts.append((regions, half, left - 1))
                        regions += 1
                products.append((region, children))
            variable += range(self.variables)
        return Graph.of(variable, products)
