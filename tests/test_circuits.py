r"""Circuits against enumeration, in float64: every query of every structure, on as many values as can be listed.

The circuits below are over at most 6 variables, so p(x) of all x is a table, and marginals, conditionals, counts,
entropies and most probable values are sums and maxima over it.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from variata import Batch, ConfigError, DataError, DataSpec, NotPrepared, Unsupported
from variata_plugins.circuits import leaves
from variata_plugins.circuits.gaussian import Gaussian
from variata_plugins.circuits.graph import Graph
from variata_plugins.circuits.model import Circuit
from variata_plugins.circuits.poon_domingos import PoonDomingos
from variata_plugins.circuits.rat import RAT
from variata_plugins.circuits.structure import Mixture, Structure
from variata_plugins.circuits.trees import HCLT, ChowLiu, spanning_tree

F64 = torch.float64
INF = float("inf")


def binary(*shape: int) -> DataSpec:
    return DataSpec(shape, "binary", levels=2)


def levels(count: int, *shape: int) -> DataSpec:
    return DataSpec(shape, "levels", levels=count, low=-1.0, high=1.0)


MAKE = {
    "chow_liu": lambda: Circuit(binary(5), structure=part(ChowLiu, alpha=0.5), leaves=leaves.Indicator),
    "chow_liu of levels": lambda: Circuit(levels(3, 4), structure=part(ChowLiu, alpha=0.5), leaves=leaves.Indicator),
    "hclt": lambda: Circuit(binary(6), structure=part(HCLT, units=3), leaves=leaves.Bernoulli),
    "hclt of levels": lambda: Circuit(levels(3, 4), structure=part(HCLT, units=2), leaves=leaves.Categorical),
    "mixture": lambda: Circuit(binary(5), structure=part(Mixture, units=4), leaves=leaves.Bernoulli),
    "one variable": lambda: Circuit(binary(1), structure=part(HCLT, units=2), leaves=leaves.Bernoulli),
    "poon_domingos": lambda: Circuit(
        binary(1, 2, 3), structure=part(PoonDomingos, units=2, delta=1), leaves=leaves.Bernoulli
    ),
    "poon_domingos of cells": lambda: Circuit(
        binary(2, 1, 3), structure=part(PoonDomingos, units=3, delta=2), leaves=leaves.Bernoulli
    ),
    "rat": lambda: Circuit(levels(3, 5), structure=part(RAT, units=2, depth=2, repetitions=3), leaves=leaves.Binomial),
}


def part(kind: type, **options: object) -> object:
    """The structure as a factory."""
    return lambda data: kind(data, **options)


def everything(spec: DataSpec) -> Tensor:
    """Every x that there is, `[count, *event]`."""
    assert spec.levels is not None
    values = torch.linspace(spec.low, spec.high, spec.levels, dtype=F64)
    return torch.cartesian_prod(*[values] * spec.dimensions).reshape(-1, *spec.shape)


def training_data(spec: DataSpec, n: int = 40) -> list[Batch]:
    """Examples whose elements depend on one another, in two batches."""
    x = everything(spec)
    weights = torch.rand(len(x), dtype=F64) ** 3
    return [Batch(x[torch.multinomial(weights, n, replacement=True)]) for _ in range(2)]


@pytest.fixture(params=MAKE)
def circuit(request) -> Circuit:
    model = MAKE[request.param]().double()
    model.prepare(training_data(model.spec))
    return model


def masks(spec: DataSpec, count: int = 6) -> Tensor:
    """All or nothing observed, and some of it."""
    some = torch.rand(count, *spec.shape) < 0.5
    return torch.cat([some, torch.zeros(1, *spec.shape).bool(), torch.ones(1, *spec.shape).bool()])


def agrees(x: Tensor, other: Tensor, observed: Tensor) -> Tensor:
    """Which of all x have the observed values of one."""
    return ((x == other) | ~observed).flatten(1).all(1)


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def check_frequencies(draws: Tensor, x: Tensor, p: Tensor) -> None:
    """A chi-square test of draws against the table p(x), six standard deviations wide; rare x are taken together."""
    index = (draws.flatten(1)[:, None] == x.flatten(1)).all(2).double()
    assert (index.sum(1) == 1).all(), "a draw that is no value"
    seen, expected = index.sum(0), p * len(draws)
    rare = expected < 5
    seen = torch.cat([seen[~rare], seen[rare].sum()[None]])
    expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    keep = expected > 1e-9
    assert seen[~keep].sum() == 0, "a draw of probability zero"
    statistic = float(((seen - expected)[keep].square() / expected[keep]).sum())
    free = int(keep.sum()) - 1
    assert statistic < free + 6 * math.sqrt(2 * max(free, 1)), (
        f"chi-square {statistic:.1f} of {free} degrees of freedom"
    )


def test_it_sums_to_one(circuit):
    close(circuit.log_prob(everything(circuit.spec)).exp().sum(), torch.tensor(1.0, dtype=F64))


def test_no_example_has_no_value(circuit):
    none = everything(circuit.spec)[:0]
    assert circuit.log_prob(none).shape == (0,)
    assert circuit.sample_given(none, none.bool()).shape == none.shape


def test_marginals_and_conditionals_are_sums_over_the_table(circuit):
    x = everything(circuit.spec)
    p = circuit.log_prob(x).exp()
    for observed, query in zip(masks(circuit.spec), masks(circuit.spec), strict=True):
        one = x[torch.randint(len(x), (1,))]
        expected = p[agrees(x, one, observed)].sum()
        close(circuit.log_marginal(one, observed).exp(), expected[None])
        close(circuit.log_prob(one.masked_fill(~observed, float("nan"))).exp(), expected[None])
        both = p[agrees(x, one, observed | query)].sum()
        close(
            circuit.log_conditional(one, query.expand_as(one), observed.expand_as(one)).exp(), (both / expected)[None]
        )
    none = torch.zeros_like(x[:1]).bool()
    close(circuit.log_marginal(x[:1], none), torch.zeros(1, dtype=F64))


def test_draws_have_the_frequencies_of_the_table(circuit):
    x = everything(circuit.spec)
    p = circuit.log_prob(x).exp().detach()
    check_frequencies(circuit.sample(4000).double(), x, p)
    one, observed = x[len(x) // 3][None], masks(circuit.spec, 1)[0]
    given = circuit.sample_given(one.expand(4000, *one.shape[1:]), observed.expand(4000, *observed.shape))
    assert given.dtype == F64
    inside = agrees(x, one, observed)
    check_frequencies(given, x, torch.where(inside, p, 0) / p[inside].sum())


def test_expected_counts_add_up_from_the_root_to_the_leaves(circuit):
    x = training_data(circuit.spec)[0].x
    counts, layers = circuit.expected_counts(x), circuit.layers()
    graph = Graph(circuit.variable, circuit.owner, circuit.product, circuit.child)
    below, into = [], []
    for layer in layers.split(counts.weights):
        below += layer.sum(2).reshape(-1, circuit.units)
        into += layer.sum(1)
    close(into[0], torch.tensor([float(len(x))], dtype=F64))
    reached = torch.zeros(graph.leaves + graph.regions, circuit.units, dtype=F64)
    reached.index_add_(0, graph.child, torch.stack(below)[graph.product])
    close(counts.leaves, reached[: graph.leaves])
    for region in range(1, graph.regions):
        close(into[region], reached[graph.leaves + region])
    of_variables = torch.zeros(circuit.spec.dimensions, dtype=F64).index_add(0, circuit.variable, counts.leaves.sum(1))
    close(of_variables, torch.full_like(of_variables, len(x)))
    hidden = torch.zeros(x.shape).bool()
    close(sum(w.sum() for w in circuit.expected_counts(x, hidden).weights[:1]), torch.tensor(len(x), dtype=F64))


def test_counts_of_a_mixture_are_responsibilities():
    model = MAKE["mixture"]().double()
    x = training_data(model.spec)[0].x
    theta = model.leaves.log_probabilities()
    log_joint = model.log_weights()[0][0, :, 0] + (x[:, :, None] * theta[:, 1] + (1 - x[:, :, None]) * theta[:, 0]).sum(
        1
    )
    close(model.log_prob(x), log_joint.logsumexp(1))
    close(model.expected_counts(x).weights[0][0, :, 0], log_joint.softmax(1).sum(0).detach())


def test_entropy_lies_between_its_bounds(circuit):
    log_p = circuit.log_prob(everything(circuit.spec))
    entropy = -(log_p.exp() * log_p).sum()
    low, high = circuit.entropy_bounds()
    assert low <= entropy + 1e-12
    assert entropy <= high + 1e-12
    if circuit.structure.selective:
        close(high, entropy.detach())


@pytest.mark.parametrize("name", ["chow_liu", "chow_liu of levels"])
def test_the_most_probable_explanation_of_a_selective_circuit_is_the_most_probable_x(name):
    model = MAKE[name]().double()
    model.prepare(training_data(model.spec))
    x = everything(model.spec)
    p = model.log_prob(x)
    for observed in masks(model.spec):
        one = x[torch.randint(len(x), (1,))]
        found = model.most_probable(one, observed)
        assert agrees(found, one, observed).all()
        close(model.log_prob(found), p[agrees(x, one, observed)].max()[None])


def test_the_most_probable_explanation_of_others_maximises_over_choices_too():
    model = MAKE["mixture"]().double()
    theta, weights = model.leaves.table().detach(), model.log_weights()[0].detach()
    best = []
    x = everything(model.spec)[:1]
    observed = torch.tensor([True, False, False, True, False])[None]
    for unit in range(4):
        values = torch.where(observed[0], x[0], theta[:, :, unit].argmax(1).double())
        score = theta[range(5), values.long(), unit].sum() + weights[0, unit, 0]
        best.append((float(score), values.tolist()))
    assert model.most_probable(x, observed)[0].tolist() == max(best)[1]


def test_gaussian_leaves_are_torchs_mixture_of_gaussians():
    spec = DataSpec((2,), "real", low=-INF, high=INF, measure="lebesgue")
    model = Circuit(spec, structure=part(Mixture, units=3), leaves=Gaussian).double()
    model.prepare([Batch(torch.randn(20, 2, dtype=F64))])
    mean, scale = model.leaves.mean.detach(), model.leaves.scale.detach()
    choice = Categorical(logits=model.log_weights()[0][0, :, 0].detach())
    expected = MixtureSameFamily(choice, Independent(Normal(mean.T, scale.T), 1))
    x = torch.randn(50, 2, dtype=F64)
    close(model.log_prob(x).detach(), expected.log_prob(x))
    first = torch.tensor([True, False]).expand_as(x)
    close(model.log_marginal(x, first).detach(), MixtureSameFamily(choice, Normal(mean[0], scale[0])).log_prob(x[:, 0]))
    draws = model.sample(4000).double()
    error = (draws.mean(0) - expected.mean) / (expected.stddev / math.sqrt(4000))
    assert error.abs().max() < 5
    low, high = model.entropy_bounds()
    entropy = -model.log_prob(draws).mean()
    assert low - 0.1 < entropy < high + 0.1
    with torch.no_grad():
        model.leaves.theta[:, 2].copy_(torch.tensor([[-1e4, 1e4, 0.0]] * 2))
    close(model.leaves.scale[0].detach(), torch.tensor([0.01, 1.0, 0.505], dtype=F64))


def test_units_far_apart_keep_their_sums():
    model = MAKE["mixture"]().double()
    with torch.no_grad():
        model.weights[0].copy_(torch.tensor([0.0, -2000.0, -INF, -INF], dtype=F64)[None, :, None])
        model.leaves.theta.zero_()
        model.leaves.theta[:, 1, 0] = -3000.0
    x = torch.ones(1, 5, dtype=F64)
    close(model.log_prob(x), torch.tensor([-2000.0 - 5 * math.log(2)], dtype=F64))
    (gradient,) = torch.autograd.grad(model.log_prob(x).sum(), model.weights[0])
    close(gradient.flatten()[:2], torch.tensor([-1.0, 1.0], dtype=F64), 1e-6)


def test_a_long_chain_neither_overflows_nor_vanishes():
    model = Circuit(binary(400), structure=part(HCLT, units=2), leaves=leaves.Bernoulli)
    model.prepare([Batch((torch.rand(50, 1).expand(50, 400) + 0.1 * torch.randn(50, 400) > 0.5).float())])
    log_p = model.log_prob(torch.rand(4, 400).round())
    assert log_p.isfinite().all()
    assert log_p.max() < -100
    close(log_p, model.double().log_prob(torch.rand(4, 400).round().double()).float(), INF)


BROKEN = {
    "region 1 is not smooth: its products 1 and 2 differ in variable 2": (
        [0, 1, 2],
        [(0, [3 + 1, 2]), (1, [0, 1]), (1, [0, 1, 2])],
    ),
    "product 0 of region 0 is not decomposable: its children leaf 0 and region 1 share variable 0": (
        [0, 0, 1],
        [(0, [0, 3 + 1]), (1, [1, 2])],
    ),
    "leaf 2 is the child of no product": ([0, 1, 1], [(0, [0, 1])]),
    "region 1 is the child of no product": ([0, 1], [(0, [0, 1]), (1, [0])]),
    "region 1 has no product": ([0, 1], [(0, [0, 2 + 1]), (2, [1])]),
    "region 1 lies below itself": ([0, 1], [(0, [0, 2 + 1]), (1, [2 + 2]), (2, [1, 2 + 1])]),
    "product 1 has no children": ([0, 1], [(0, [0, 1]), (0, [])]),
    "product 0 has the child 9, and there are 3 leaves and regions": ([0, 1], [(0, [0, 1, 9])]),
    "leaf 1 is over variable 7, and there are 2": ([0, 7], [(0, [0, 1])]),
    "the root, region 0, is not over variable 1": ([0], [(0, [0])]),
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_structure_is_refused_naming_the_node(message):
    variable, products = BROKEN[message]

    class Broken(Structure):
        units = 2

        def graph(self, stream: object = None) -> Graph:
            return Graph.of(variable, products)

    dimensions = 3 if "variable 2" in message else 2
    with pytest.raises(ConfigError, match=message) as caught:
        Circuit(binary(dimensions), structure=lambda data: Broken(), leaves=leaves.Bernoulli)
    assert str(caught.value).count("\n") == 0


def test_the_tree_is_the_best_of_all_trees_and_hangs_by_its_centre():
    for n in range(2, 6):
        information = torch.rand(n, n, dtype=F64)
        information = information + information.T
        order, parent = spanning_tree(information)
        assert sorted(order) == list(range(n))
        found = sum(float(information[order[i], order[parent[i]]]) for i in range(1, n))
        pairs = list(itertools.combinations(range(n), 2))
        trees = [edges for edges in itertools.combinations(pairs, n - 1) if spans(edges, n)]
        assert len(trees) == n ** (n - 2)
        assert found == pytest.approx(max(sum(float(information[i, j]) for i, j in edges) for edges in trees))
    chain = -(torch.arange(7)[:, None] - torch.arange(7)).abs().double()
    assert spanning_tree(chain)[0][0] == 3


def spans(edges: tuple[tuple[int, int], ...], n: int) -> bool:
    reached = {0}
    for _ in range(n):
        reached |= {v for edge in edges if reached & set(edge) for v in edge}
    return len(reached) == n


def test_what_cannot_be_is_refused(circuit):
    with pytest.raises(Unsupported, match="a circuit has no condition"):
        circuit.sample(2, torch.zeros(2))


def test_a_learned_structure_has_to_be_prepared():
    model = MAKE["hclt"]()
    for ask in (lambda: model.log_prob(torch.zeros(1, 6)), lambda: model.sample(1), model.entropy_bounds):
        with pytest.raises(NotPrepared, match=r"call variata\.prepare"):
            ask()


def test_what_is_no_example_is_refused():
    model, wide = MAKE["mixture"](), MAKE["rat"]()
    x = torch.zeros(2, 5)
    for ask, said in (
        (lambda: model.log_prob(x[:, :4]), r"x is \[2, 4\], and this circuit is over \[n, 5\]"),
        (
            lambda: model.log_marginal(x, torch.ones(2, 5)),
            r"observed is a mask of true and false.*use observed\.bool\(\)",
        ),
        (lambda: model.log_prob(x + 0.4), "x holds 0.4, which is none of the 2 levels from 0 to 1"),
        (lambda: model.sample_given(x + 2, x.bool().logical_not()), "x holds 2, which is none of the 2 levels"),
        (lambda: wide.log_prob(torch.full((1, 5), 3.0)), "x holds 3, which is none of the 3 levels from -1 to 1"),
    ):
        with pytest.raises(DataError, match=said) as caught:
            ask()
        assert str(caught.value).count("\n") == 0
    hidden = torch.tensor([True, True, True, True, False]).expand(2, 5)
    assert model.log_marginal(x.masked_fill(~hidden, 7.0), hidden).isfinite().all()


def test_evidence_that_cannot_be_is_refused():
    model = Circuit(binary(2), structure=part(ChowLiu, alpha=0.0), leaves=leaves.Indicator)
    model.prepare([Batch(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))])
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    assert model.log_prob(x).tolist() == [pytest.approx(math.log(0.5)), -INF]
    with pytest.raises(DataError, match="what is observed of example 300 has probability zero"):
        model.sample_given(x[[0] * 300 + [1]], torch.ones(1, 2).bool())
    with pytest.raises(DataError, match="what is observed of example 1 has probability zero"):
        model.most_probable(x, torch.ones(1, 2).bool())
