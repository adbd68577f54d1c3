r"""The structure of a circuit as data: leaves, products and sums.

    region r    a set of variables. Its K sum units mix the products that belong to it:
                S_r,u(x) = sum over products p of r and units k of w_pku P_p,k(x),   sum over (p, k) of w_pku = 1
    product p   P_p,k(x) = prod over its children c of S_c,k(x), a child being a region or a leaf
    leaf l      the K laws p_l,k(x_v) of one variable v

Region 0 is the root, with one unit: p(x) = S_0(x). This is a density whose every marginal is exact, if the circuit is

    smooth         the products of a region are over the same variables
    decomposable   the children of a product are over variables that are not shared

Poon and Domingos (2011), Sum-product networks: a new deep architecture, arXiv:1202.3732. Darwiche (2003), A
differential approach to inference in Bayesian networks (both properties).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from variata import ConfigError, Problem


@dataclass(frozen=True)
class Graph:
    """A structure, as four arrays of integers.

    Attributes:
        variable: `[leaves]`, the variable of each leaf.
        owner: `[products]`, the region that each product belongs to.
        product, child: `[edges]`, the product and the child of each edge; leaf l is the child l, region r the child
            leaves + r.
    """

    variable: Tensor
    owner: Tensor
    product: Tensor
    child: Tensor

    @classmethod
    def of(cls, variable: Sequence[int], products: Iterable[tuple[int, Sequence[int]]]) -> Graph:
        """From the variable of each leaf, and a pair (region, children) for each product."""
        listed = list(products)
        edges = [(p, child) for p, (_, children) in enumerate(listed) for child in children]
        return cls(
            torch.tensor(variable, dtype=torch.long),
            torch.tensor([region for region, _ in listed], dtype=torch.long),
            torch.tensor([p for p, _ in edges], dtype=torch.long),
            torch.tensor([child for _, child in edges], dtype=torch.long),
        )

    @property
    def leaves(self) -> int:
        return len(self.variable)

    @property
    def regions(self) -> int:
        return int(self.owner.max()) + 1 if len(self.owner) else 0

    def children(self) -> list[list[int]]:
        """The children of each product."""
        found: list[list[int]] = [[] for _ in range(len(self.owner))]
        for p, child in zip(self.product.tolist(), self.child.tolist(), strict=True):
            found[p].append(child)
        return found

    def products(self) -> list[list[int]]:
        """The products of each region."""
        found: list[list[int]] = [[] for _ in range(self.regions)]
        for p, region in enumerate(self.owner.tolist()):
            found[region].append(p)
        return found

    def name(self, child: int) -> str:
        """A child in words."""
        return f"leaf {child}" if child < self.leaves else f"region {child - self.leaves}"

    def bottom_up(self) -> list[int]:
        """The regions, each after those below it.

        Raises:
            ConfigError: a region lies below itself.
        """
        children, products = self.children(), self.products()
        below = [
            {c - self.leaves for p in products[r] for c in children[p] if c >= self.leaves} for r in range(self.regions)
        ]
        above: list[list[int]] = [[] for _ in range(self.regions)]
        for region, under in enumerate(below):
            for other in under:
                above[other].append(region)
        waiting = [len(under) for under in below]
        order = [region for region, count in enumerate(waiting) if not count]
        for region in order:
            for other in above[region]:
                waiting[other] -= 1
                if not waiting[other]:
                    order.append(other)
        if len(order) < self.regions:
            walk = [next(r for r, count in enumerate(waiting) if count)]
            while (under := min(r for r in below[walk[-1]] if waiting[r])) not in walk:
                walk.append(under)
            raise _broken(f"region {under} lies below itself")
        return order

    def depths(self) -> list[int]:
        """Length of the longest way from the root to each region."""
        children, products = self.children(), self.products()
        depth = [0] * self.regions
        for region in reversed(self.bottom_up()):
            for p in products[region]:
                for child in children[p]:
                    if child >= self.leaves:
                        depth[child - self.leaves] = max(depth[child - self.leaves], depth[region] + 1)
        return depth

    def check(self, variables: int) -> None:
        """Refuses a structure that is no density over all `variables`.

        Raises:
            ConfigError: naming the node that is not smooth, not decomposable, without children, or of no use.
        """
        children, products = self.children(), self.products()
        last = self.leaves + self.regions
        for p, under in enumerate(children):
            if not under:
                raise _broken(f"product {p} has no children")
            unknown = [child for child in under if not 0 <= child < last]
            if unknown:
                raise _broken(f"product {p} has the child {unknown[0]}, and there are {last} leaves and regions")
        for region, own in enumerate(products):
            if not own:
                raise _broken(f"region {region} has no product")
        for leaf, v in enumerate(self.variable.tolist()):
            if not 0 <= v < variables:
                raise _broken(f"leaf {leaf} is over variable {v}, and there are {variables}")
        unused = set(range(last)) - {self.leaves} - set(self.child.tolist())
        if unused:
            raise _broken(f"{self.name(min(unused))} is the child of no product")
        scope = self._scopes(children, products)
        if missing := ~scope[self.leaves] & ((1 << variables) - 1):
            raise _broken(f"the root, region 0, is not over variable {_first(missing)}")

    def _scopes(self, children: list[list[int]], products: list[list[int]]) -> list[int]:
        """The variables of every child as bits, checked on the way up."""
        scope = [1 << v for v in self.variable.tolist()] + [0] * self.regions
        for region in self.bottom_up():
            whole = None
            for p in products[region]:
                seen = 0
                for child in children[p]:
                    if shared := seen & scope[child]:
                        other = next(self.name(c) for c in children[p] if scope[c] & shared)
                        raise _broken(
                            f"product {p} of region {region} is not decomposable: its children {other} and "
                            f"{self.name(child)} share variable {_first(shared)}"
                        )
                    seen |= scope[child]
                if whole is not None and seen != whole:
                    raise _broken(
                        f"region {region} is not smooth: its products {products[region][0]} and {p} differ in "
                        f"variable {_first(seen ^ whole)}"
                    )
                whole = seen
            scope[self.leaves + region] = whole or 0
        return scope

    def ordered(self) -> Graph:
        """The same structure, numbered from the root down: regions by depth and number of products, products by their
        region, leaves by the first product that reads them. Then a layer of the circuit is a slice."""
        depth, products, children = self.depths(), self.products(), self.children()
        regions = sorted(range(self.regions), key=lambda r: (depth[r], len(products[r])))
        listed = [(place, children[p]) for place, region in enumerate(regions) for p in products[region]]
        leaves = list(dict.fromkeys(c for _, under in listed for c in under if c < self.leaves))
        renamed = {leaf: place for place, leaf in enumerate(leaves)}
        renamed |= {self.leaves + region: self.leaves + place for place, region in enumerate(regions)}
        variable = self.variable.tolist()
        return Graph.of(
            [variable[leaf] for leaf in leaves],
            [(place, sorted(renamed[child] for child in under)) for place, under in listed],
        )


def _first(bits: int) -> int:
    """The lowest bit that is set."""
    return (bits & -bits).bit_length() - 1


def _broken(message: str) -> ConfigError:
    return ConfigError(Problem(f"the structure is no circuit: {message}"))
