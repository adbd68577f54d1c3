r"""A sum-product network: a density whose every marginal, conditional and draw is exact, each in one or two passes.

    log p(x_O) = log S_0(x) with log p_l,k(x_v) = 0 for every leaf of an unobserved variable v
    p(x_rest | x_O) by one pass up with the evidence and one draw down (layers.py)
    expected counts n(w) = d log p(x) / d log w

Poon and Domingos (2011), Sum-product networks, arXiv:1202.3732. Choi, Vergari and Van den Broeck (2020), Probabilistic
circuits: a unifying framework for tractable probabilistic models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from variata import (
    Batch,
    ConfigError,
    DataError,
    DataSpec,
    Factory,
    Marginals,
    NotPrepared,
    Prepares,
    Problem,
    Sampler,
    Unsupported,
    default,
    make,
)

from .graph import Graph
from .layers import Layers, log_matmul_max
from .leaves import Indicator, Leaf
from .structure import Structure, Weighted

_ROWS = 256
_SPREAD = 3.0
"""Of the first log weights: units that mix few of those below them part sooner than units that mix all alike."""


Fill = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""From evidence and its mask to its log-probability `[batch]`, and the unit that each leaf is left with (-1: none) and
its value, `[leaves, batch]`."""


class Counts(NamedTuple):
    """How often a draw that explains the examples is expected to come by each weight and each leaf.

    Attributes:
        weights: for each tensor of weights, of its shape `[regions, products * units, units above]`.
        leaves: `[leaves, units]`.
    """

    weights: list[Tensor]
    leaves: Tensor


class Circuit(Marginals, Sampler, Prepares):
    """A circuit over the elements of an example.

    Args:
        data: what an example is.
        structure: which regions there are, and how they are cut.
        leaves: the laws of single elements; they must be laws of the data's kind of values.

    Raises:
        ConfigError: the structure is not smooth or not decomposable, or needs other leaves.
    """

    tables = True  # what is missing is not observed; whether columns may be of several kinds, the leaves say

    variable: Tensor
    owner: Tensor
    product: Tensor
    child: Tensor
    prepared: Tensor

    def __init__(
        self,
        data: DataSpec,
        *,
        structure: Factory[Structure] = default("structure", "hclt"),
        leaves: Factory[Leaf] = default("leaf", "bernoulli"),
    ) -> None:
        super().__init__(data)
        self.structure: Structure = make(structure, data=data)
        graph = self._checked(self.structure.graph())
        self.units = self.structure.units
        self.leaves: Leaf = make(leaves, data=data, leaves=graph.leaves, units=self.units)
        if self.structure.selective and not isinstance(self.leaves, Indicator):
            raise ConfigError(Problem(f"{type(self.structure).__name__} needs leaves: indicator"))
        for name in ("variable", "owner", "product", "child"):
            self.register_buffer(name, getattr(graph, name))
        self.register_buffer("prepared", torch.tensor(not self.structure.learned))
        self._layers = Layers(graph)
        self._made_of: Sequence[tuple[Tensor | None, int]] = [(None, 0)] * 4
        self.weights = nn.ParameterList(
            (_SPREAD * torch.randn(regions, products * self.units, 1 if is_root else self.units)).log_softmax(1)
            for regions, products, is_root in self._layers.groups
        )

    def _checked(self, graph: Graph) -> Graph:
        graph.check(self.spec.dimensions)
        return graph.ordered()

    @torch.no_grad()
    def prepare(self, stream: Iterable[Batch]) -> None:
        """Learns the structure where it depends on the data, and lets the leaves set out from the data."""
        if self.structure.learned:
            graph = self._checked(self.structure.graph(stream))
            for name in ("variable", "owner", "product", "child"):
                getattr(self, name).copy_(getattr(graph, name))
            if isinstance(self.structure, Weighted):
                for weights, known in zip(self.weights, self.structure.log_weights(), strict=True):
                    weights.copy_(known)
            self.prepared.fill_(True)
        self.leaves.start(stream, self.variable)

    @torch.no_grad()
    def normalise_(self) -> None:
        """Brings every parameter that stands for log-probabilities to them; p is not changed."""
        for weights in self.weights:
            weights.copy_(weights.log_softmax(1))
        self.leaves.normalise_()

    def layers(self) -> Layers:
        """The structure in layers, made again whenever its arrays were written to; while tracing, as it was before.

        Raises:
            NotPrepared: the structure is to be learned from data, and was not.
        """
        arrays = self.variable, self.owner, self.product, self.child
        made_of = [(array, array._version) for array in arrays]
        if torch.compiler.is_compiling() and self._layers is not None:
            return self._layers
        if not all(old is new and then == now for (old, then), (new, now) in zip(self._made_of, made_of, strict=True)):
            if not self.prepared:
                raise NotPrepared("this circuit's structure is not known yet: call variata.prepare(model, data)")
            self._layers = Layers(Graph(*(array.cpu() for array in arrays)), self.variable.device)
            self._made_of = made_of
        return self._layers

    def log_weights(self, normalise: bool = True) -> list[Tensor]:
        """The weights of each layer, `[regions, products * units, units above]`."""
        return self.layers().split([w.log_softmax(1) if normalise else w for w in self.weights])

    def log_density(self, x: Tensor, observed: Tensor | None = None, normalise: bool = True) -> Tensor:
        """log p(x_observed), `[batch]`; NaN counts as unobserved. Mixed precision is not for sums of many logarithms.

        Args:
            observed: a mask of x's shape; None for everything.
            normalise: as in `Leaf.forward`.
        """
        layers = self.layers()
        with torch.autocast(x.device.type, enabled=False):
            flat, seen = self._evidence(x, observed)
            if normalise:  # within expectation maximisation, the data has been checked
                self.leaves.check(flat, seen)
            values = self._leaf_values(flat, seen, normalise)
            return layers.upward(values, self.log_weights(normalise))[0]

    def log_root(self, values: Tensor) -> Tensor:
        """What the root comes to, `[batch]`, from a logarithm for each unit of each leaf, `[leaves, batch, units]`."""
        return self.layers().upward(values, self.log_weights())[0]

    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.log_density(x)

    def log_marginal(self, x: Tensor, observed: Tensor) -> Tensor:
        return self.log_density(x, observed)

    def log_conditional(self, x: Tensor, query: Tensor, given: Tensor) -> Tensor:
        """log p(x_query | x_given), `[batch]`; both are masks of x's shape."""
        return self.log_density(x, query | given) - self.log_density(x, given)

    def sample(self, n: int, condition: Tensor | None = None) -> Tensor:
        if condition is not None:
            raise Unsupported("a circuit has no condition")
        device = self.variable.device
        x = torch.zeros(n, *self.spec.shape, device=device)
        return self.sample_given(x, torch.zeros(x.shape, dtype=torch.bool, device=device))

    @torch.no_grad()
    def sample_given(self, x: Tensor, observed: Tensor) -> Tensor:
        return self._filled(x, observed, self._draw)

    @torch.no_grad()
    def most_probable(self, x: Tensor, observed: Tensor) -> Tensor:
        r"""Fills what is not observed with the x of the most probable explanation, `[batch, *event]`:

            max over x_rest and all choices on the way down, log p(x_rest, choices, x_observed).

        Choices are not summed out. Where an example has one way down (`chow_liu`) this is the most probable x_rest;
        elsewhere that is NP-hard to find, and this x may be less probable than another one.
        """
        return self._filled(x, observed, self._maximise)

    def _filled(self, x: Tensor, observed: Tensor, fill: Fill) -> Tensor:
        observed, parts = observed.expand_as(x), []
        for start in range(0, len(x), _ROWS):
            flat, seen = self._evidence(x[start : start + _ROWS], observed[start : start + _ROWS])
            assert seen is not None
            self.leaves.check(flat, seen)
            root, unit, values = fill(flat, seen)
            if (impossible := ~root.isfinite()).any():
                row = start + int(impossible.nonzero()[0])
                raise DataError(
                    f"what is observed of example {row} has probability zero: nothing can be drawn given it"
                )
            values = values.masked_fill(unit < 0, 0.0)
            filled = torch.zeros_like(flat.T).index_add(0, self.variable, values).T
            parts.append(torch.where(seen, flat, filled).view(-1, *self.spec.shape))
        return torch.cat(parts) if parts else x.clone()

    def _draw(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        layers, weights = self.layers(), self.log_weights()
        root, inputs = x.new_zeros(len(x)), None
        if observed.any():
            root, inputs = layers.upward(self._leaf_values(x, observed), weights)
        unit = layers.downward(weights, inputs, len(x), self.units)
        return root, unit, self.leaves.draw(unit.clamp(min=0)).to(x)

    def _maximise(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        layers, weights = self.layers(), self.log_weights()
        mode, log_mode = self.leaves.modes()
        seen = observed.T[self.variable][..., None]
        values = torch.where(seen, self._leaf_values(x, observed), log_mode[:, None])
        root, inputs = layers.upward(values, weights, log_matmul_max)
        unit = layers.downward(weights, inputs, len(x), self.units, draw=False)
        return root, unit, mode.gather(1, unit.clamp(min=0)).to(x)

    @torch.enable_grad()
    def expected_counts(self, x: Tensor, observed: Tensor | None = None) -> Counts:
        """The expected counts of all examples together: d sum log p(x) / d log w."""
        weights = [w.detach().log_softmax(1).requires_grad_() for w in self.weights]
        values = self._leaf_values(*self._evidence(x, observed)).detach().requires_grad_()
        layers = self.layers()
        total = layers.upward(values, layers.split(weights))[0].sum()
        *of_weights, of_leaves = torch.autograd.grad(total, [*weights, values])
        return Counts(of_weights, of_leaves.sum(1))

    @torch.no_grad()
    def entropy_bounds(self) -> tuple[Tensor, Tensor]:
        r"""H(x | z) <= H(x) <= H(x, z) in nats, with z all choices on the way down; 0-d each.

        Of a selective circuit (`chow_liu`) the second one is the entropy, since x says what z is.
        """
        layers, weights = self.layers(), self.log_weights()
        of_leaves = self.leaves.entropy()[:, None]
        bounds = []
        for of_choice in (0.0, 1.0):

            def add(below: Tensor, w: Tensor, share: float = of_choice) -> Tensor:
                return below @ w.exp() + share * torch.special.entr(w.exp()).sum(1, keepdim=True)

            bounds.append(layers.upward(of_leaves, weights, add)[0].squeeze(0))
        return bounds[0], bounds[1]

    def _evidence(self, x: Tensor, observed: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """x and its mask, `[batch, variables]` each; the mask None where everything is observed.

        Raises:
            DataError: x is of another shape, or has values that the leaves are no laws of; or the mask is none of x.
        """
        if tuple(x.shape[1:]) != self.spec.shape:
            raise DataError(
                f"x is {list(x.shape)}, and this circuit is over [n, {', '.join(map(str, self.spec.shape))}]"
            )
        if observed is not None and observed.dtype != torch.bool:
            raise DataError(
                f"observed is a mask of true and false, and this is of {observed.dtype}: use observed.bool()"
            )
        flat = x.flatten(1)
        missing = flat.isnan()
        if observed is not None:
            seen = observed.expand_as(x).flatten(1) & ~missing
        elif torch.compiler.is_compiling() or missing.any():  # a graph has to do for both
            seen = ~missing
        else:
            return flat, None
        return flat.masked_fill(~seen, 0.0), seen

    def _leaf_values(self, x: Tensor, observed: Tensor | None, normalise: bool = True) -> Tensor:
        values = self.leaves(x.T[self.variable], normalise)
        return values if observed is None else values.masked_fill(~observed.T[self.variable][..., None], 0.0)
