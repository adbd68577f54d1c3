r"""Trees over the variables that are learned from data.

Chow and Liu (1968), Approximating discrete probability distributions with dependence trees: of all trees, the maximum
spanning tree of the mutual information

    I(i, j) = sum_ab p(a, b) log [ p(a, b) / (p(a) p(b)) ],    p(a, b) = (n_ab + alpha) / (n + alpha V^2),

has the highest likelihood, with p(x) = p(x_root) prod_i p(x_i | x_parent(i)). As a circuit: a region for each
variable but the root, whose unit u stands for "the parent has value u", and whose weights are p(x_i = k | x_parent =
u).

Liu and Van den Broeck (2021), Tractable regularization of probabilistic circuits, arXiv:2106.02264: the hidden
Chow-Liu tree puts a hidden variable of K states in the place of each variable, and x_i below its own.

    p(x) = sum_z p(z_root) prod_i p(x_i | z_i) p(z_i | z_parent(i))
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from variata import Batch, ConfigError, DataSpec, Problem

from .graph import Graph
from .structure import Structure, Weighted

MOST_LEVELS, MOST_COUNTED = 32, 2048
"""Up to so many levels of a variable, or of all variables together, mutual information is counted; beyond, and for real
numbers, it is that of Gaussians."""


class ChowLiu(Weighted):
    """The tree with the highest likelihood, and the probabilities that give it that: exact after `prepare`.

    Args:
        data: what an example is: binary, or at most 32 levels.
        alpha: added to the count of every pair of values.

    Raises:
        ConfigError: the data has too many levels to count pairs, or is continuous.
    """

    learned, selective = True, True

    def __init__(self, data: DataSpec, *, alpha: NonNegativeFloat = 0.1) -> None:
        if data.support not in ("binary", "levels") or (data.levels or 0) > MOST_LEVELS:
            message = f"chow_liu counts pairs of values, up to {MOST_LEVELS} levels; use hclt for this data"
            raise ConfigError(Problem(message))
        self.data, self.alpha = data, alpha
        self.units = data.levels or 0
        self._joint: Tensor | None = None
        self._order: list[int] = []
        self._parent: list[int] = []

    def graph(self, stream: Iterable[Batch] | None = None) -> Graph:
        if stream is None:
            return tree_graph(*_chain(self.data.dimensions))
        self._joint = joint(stream, self.data, self.alpha)
        self._order, self._parent = spanning_tree(mutual_information(self._joint))
        return tree_graph(self._order, self._parent)

    def log_weights(self) -> list[Tensor]:
        assert self._joint is not None, "the tree is learned first"
        order = torch.tensor(self._order)
        above = torch.tensor([self._order[p] for p in self._parent[1:]], dtype=torch.long)
        marginal = self._joint[order[0], order[0]].diagonal()
        pairs = self._joint[order[1:], above]
        conditional = pairs / pairs.sum(1, keepdim=True)
        return [marginal.log()[None, :, None], *([conditional.nan_to_num(1 / self.units).log()] if len(above) else [])]


class HCLT(Structure):
    """The hidden Chow-Liu tree.

    Args:
        data: what an example is.
        units: K, the states of each hidden variable.
        alpha: added to the count of every pair of values when the tree is chosen.
    """

    learned = True

    def __init__(self, data: DataSpec, *, units: PositiveInt = 16, alpha: NonNegativeFloat = 0.1) -> None:
        self.data, self.units, self.alpha = data, units, alpha

    def graph(self, stream: Iterable[Batch] | None = None) -> Graph:
        if stream is None:
            return tree_graph(*_chain(self.data.dimensions))
        levels = self.data.levels or 0
        counted = levels <= MOST_LEVELS or levels * self.data.dimensions <= MOST_COUNTED
        counted = counted and self.data.levels is not None and self.data.measure == "counting"
        information = (
            mutual_information(joint(stream, self.data, self.alpha)) if counted else gaussian_information(stream)
        )
        return tree_graph(*spanning_tree(information))


def joint(stream: Iterable[Batch], data: DataSpec, alpha: float) -> Tensor:
    """p(x_i = a, x_j = b) with alpha added to each count, `[variables, variables, levels, levels]`, among the examples
    that have both; for i = j the diagonal is the marginal."""
    levels = data.levels or 0
    counts: Tensor | None = None
    step = (data.high - data.low) / (levels - 1)
    for batch in stream:
        x = batch.x.flatten(1)
        there = ~x.isnan()
        level = ((x.masked_fill(~there, data.low) - data.low) / step).round().long()
        seen = (torch.nn.functional.one_hot(level, levels) * there[..., None]).flatten(1).float()
        part = (seen.T @ seen).double()
        counts = part if counts is None else counts + part
    assert counts is not None, "there are training examples"
    counts = counts.view(data.dimensions, levels, data.dimensions, levels).transpose(1, 2)
    smooth = torch.full((levels, levels), alpha, dtype=torch.float64, device=counts.device)
    own = torch.eye(levels, dtype=torch.float64, device=counts.device) * alpha * levels
    added = smooth.expand(data.dimensions, data.dimensions, -1, -1).clone()
    added[range(data.dimensions), range(data.dimensions)] = own
    counts = counts + added
    return (counts / counts.sum((2, 3), keepdim=True)).cpu()


def mutual_information(of_pairs: Tensor) -> Tensor:
    """I(i, j) in nats, `[variables, variables]`, from what `joint` gives."""
    marginal = of_pairs.diagonal(dim1=0, dim2=1).permute(2, 0, 1).diagonal(dim1=1, dim2=2)
    independent = marginal[:, None, :, None] * marginal[None, :, None, :]
    return torch.special.xlogy(of_pairs, of_pairs / independent).nan_to_num(0.0).sum((2, 3))


def gaussian_information(stream: Iterable[Batch]) -> Tensor:
    """I(i, j) = -1/2 log(1 - rho_ij^2) in nats, `[variables, variables]`, among the examples that have both: exact
    where the variables are Gaussian."""
    total: Tensor | None = None
    for batch in stream:
        x = batch.x.flatten(1).double()
        there = (~x.isnan()).double()
        x = x.nan_to_num(0.0)
        if there.all():  # then the sums over pairs are those of single columns
            sums = [there.sum(0), x.sum(0), x.square().sum(0)]
            part = torch.stack([*(row[:, None].expand(-1, len(row)) for row in sums), x.T @ x])
        else:
            part = torch.stack([there.T @ there, x.T @ there, x.square().T @ there, x.T @ x])
        total = part if total is None else total + part
    assert total is not None, "there are training examples"
    n, first, second, both = total.cpu()
    mean = first / n.clamp(min=1)  # [i, j] of x_i, where x_j is there too
    covariance = both / n.clamp(min=1) - mean * mean.T
    scale = (second / n.clamp(min=1) - mean.square()).clamp(min=1e-12).sqrt()
    correlation = (covariance / scale / scale.T).clamp(-1 + 1e-9, 1 - 1e-9)
    return -0.5 * torch.log1p(-correlation.square())


def spanning_tree(information: Tensor) -> tuple[list[int], list[int]]:
    """The maximum spanning tree (Prim, 1957), hung up by its centre.

    Returns:
        The variables from the root down, and for each the place of its parent among them (-1 for the root).
    """
    n = len(information)
    near: list[list[int]] = [[] for _ in range(n)]
    best, closest = information[0].clone(), [0] * n
    inside = torch.zeros(n, dtype=torch.bool)
    inside[0] = True
    for _ in range(n - 1):
        new = int(best.masked_fill(inside, -torch.inf).argmax())
        near[new].append(closest[new])
        near[closest[new]].append(new)
        inside[new] = True
        for other in (information[new] > best).nonzero().flatten().tolist():
            best[other], closest[other] = information[new, other], new
    first, _ = _breadth_first(near, 0)
    order, parent = _breadth_first(near, first[-1])
    place, path = len(order) - 1, []
    while place >= 0:
        path.append(order[place])
        place = parent[place]
    return _breadth_first(near, path[len(path) // 2])


def _breadth_first(near: list[list[int]], root: int) -> tuple[list[int], list[int]]:
    order, parent = [root], [-1]
    seen = {root}
    for place, variable in enumerate(order):
        for other in sorted(set(near[variable]) - seen):
            seen.add(other)
            order.append(other)
            parent.append(place)
    return order, parent


def _chain(variables: int) -> tuple[list[int], list[int]]:
    return list(range(variables)), [place - 1 for place in range(variables)]


def tree_graph(order: list[int], parent: list[int]) -> Graph:
    """Variable i and the subtree below it are region i: one product, of the leaf of i and the regions of its
    children."""
    children: list[list[int]] = [[place] for place in range(len(order))]
    for place, above in enumerate(parent):
        if above >= 0:
            children[above].append(len(order) + place)
    return Graph.of(order, list(enumerate(children)))
