"""Ladder networks: against networks and algorithms written out by hand in float64, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import variata
from support import problems
from variata import Batch, Component, Layered, Now
from variata_plugins.ladder.amlp import AMLPCombinator
from variata_plugins.ladder.decoder import Mirror
from variata_plugins.ladder.gaussian import GaussianCombinator
from variata_plugins.ladder.loss import LadderLoss
from variata_plugins.ladder.stage import EPS, Stage
from variata_plugins.ladder.vanilla import VanillaCombinator

COMBINATORS = [GaussianCombinator, VanillaCombinator, AMLPCombinator]


def built(preset="ladder", **overrides):
    """Model and loss in float64, whose parameters are no longer where they start."""
    keys = {name.replace("__", "."): value for name, value in overrides.items()}
    assembly = variata.build(preset, {"model.network": {"use": "mlp", "hidden": [7, 5], "activation": "relu"}} | keys)
    model, loss = assembly.model.double(), assembly.loss.double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in [*model.parameters(), *loss.parameters()]:
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model, loss


def batch_of(known=9, others=11):
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(known + others, 1, 8, 8, generator=generator, dtype=torch.float64)
    y = torch.randint(10, (known + others,), generator=generator)
    labelled = torch.arange(len(y)) < known
    return Batch(x, torch.where(labelled, y, -1), labelled=labelled)


def plain_network(model):
    """The same weights in torch's own linear layers and batch normalisation."""
    layers: list[nn.Module] = [nn.Flatten()]
    for stage in model.stages:
        linear = nn.Linear(stage.layer.in_features, stage.layer.out_features, bias=False)
        norm = nn.BatchNorm1d(stage.layer.out_features, eps=EPS)
        linear.weight, norm.bias = stage.layer.weight, stage.layer.bias
        if stage.scale is not None:
            norm.weight = stage.scale
        layers += [linear, norm, stage.activation]
    network = nn.Sequential(*layers).double()
    for stage, norm in zip(model.stages, [m for m in network if isinstance(m, nn.BatchNorm1d)], strict=True):
        norm.running_mean.copy_(stage.mean)
        norm.running_var.copy_(stage.variance)
    return network


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_without_noise_and_costs_it_is_a_plain_network_with_batch_normalisation(activation):
    options = {"model__network__activation": activation, "loss__noise": 0.0, "loss__multipliers": [0.0] * 4}
    model, loss = built(**options)
    batch = batch_of()
    known = batch.labelled_part()
    objective = loss(model, batch, Now.at_end())
    network = plain_network(model).train()
    expected = cross_entropy(network(known.x), known.y)
    torch.testing.assert_close(objective.total(), expected, rtol=0, atol=1e-12)
    found = torch.autograd.grad(objective.total(), list(model.network.parameters()))
    weights = [p for stage in model.stages for p in (stage.layer.weight, stage.layer.bias)]
    names = {id(p): i for i, p in enumerate(model.network.parameters())}
    for weight, gradient in zip(weights, torch.autograd.grad(expected, weights), strict=True):
        torch.testing.assert_close(found[names[id(weight)]], gradient, rtol=0, atol=1e-12)
    (path,) = model.paths([known.x], [0.0])
    torch.testing.assert_close(path.log_p, network(known.x).log_softmax(-1), rtol=0, atol=1e-12)


def test_what_it_says_of_an_example_is_that_network_s_word_by_the_statistics_of_training():
    model, loss = built(loss__noise=0.0)
    for seed in range(3):
        batch = batch_of()
        batch.x = batch.x + seed
        for buffer, value in loss(model, batch, Now.at_end()).updates:
            buffer.copy_(value)
    x = torch.rand(6, 1, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(model.classify(x), plain_network(model).eval()(x).log_softmax(-1), rtol=0, atol=1e-12)
    torch.testing.assert_close(model.classify(x)[:1], model.classify(x[:1]), rtol=0, atol=1e-12)
    inputs = batch_of().x[9:].flatten(1) + torch.tensor([0.0, 1.0, 2.0])[:, None, None]
    others = inputs @ model.stages[0].layer.weight.T
    torch.testing.assert_close(model.stages[0].mean, others.mean((0, 1)), rtol=0, atol=1e-12)
    torch.testing.assert_close(model.stages[0].variance, others.var(1, correction=0).mean(0), rtol=0, atol=1e-12)


def noise_of(shape, dtype=torch.float64):
    """Numbers that look like noise and are a function of the shape."""
    return (7.3 * torch.arange(torch.Size(shape).numel(), dtype=dtype)).sin().view(shape)


def by_hand(model, loss, x, y_known, x_known):
    """Algorithm 1 of Rasmus et al. (2015), as printed."""
    noise = loss.noise

    def batchnorm(h):
        return (h - h.mean(0)) / (h.var(0, correction=0) + EPS).sqrt()

    def path(x, noise):
        z, mean, variance = [x.flatten(1) + noise * noise_of(x.shape).flatten(1)], [], []
        h = z[0]
        for stage in model.stages:
            pre = h @ stage.layer.weight.T
            mean, variance = [*mean, pre.mean(0)], [*variance, pre.var(0, correction=0)]
            z.append(batchnorm(pre) + noise * noise_of(pre.shape))
            h = z[-1] if stage.scale is None else stage.scale * z[-1]
            h = stage.activation(h + stage.layer.bias)
        return z, mean, variance, h.softmax(1)

    supervised = -path(x_known, noise)[3].log()[torch.arange(len(y_known)), y_known].mean()
    noisy, _, _, p = path(x, noise)
    clean, mean, variance, _ = path(x, 0.0)
    costs, u = {}, batchnorm(p)
    for number, level in enumerate(range(3, -1, -1)):
        if level < 3:
            u = batchnorm(estimate @ loss.decoder.mirrors[number - 1].map.weight.T)  # noqa: F821
        a, b = loss.decoder.combinators[number].mean, loss.decoder.combinators[number].gain
        mu = a[0] * torch.sigmoid(a[1] * u + a[2]) + a[3] * u + a[4]
        v = b[0] * torch.sigmoid(b[1] * u + b[2]) + b[3] * u + b[4]
        estimate = (noisy[level] - mu) * v + mu
        compared = estimate if level == 0 else (estimate - mean[level - 1]) / (variance[level - 1] + EPS).sqrt()
        costs[level] = (clean[level] - compared).square().sum(1).mean() / clean[level].shape[1]
    return supervised + sum(weight * costs[level] for level, weight in enumerate(loss.multipliers)), costs


def test_the_objective_is_that_of_the_printed_algorithm(monkeypatch):
    model, loss = built(loss__multipliers=[3.0, 2.0, 0.7, 0.4], model__network__activation="tanh")
    monkeypatch.setattr(torch, "randn_like", lambda like: noise_of(like.shape))
    batch = batch_of()
    objective = loss(model, batch, Now.at_end())
    expected, costs = by_hand(model, loss, batch.x[9:], batch.y[:9], batch.x[:9])
    torch.testing.assert_close(objective.total(), expected, rtol=0, atol=1e-11)
    for level, cost in costs.items():
        torch.testing.assert_close(objective.metrics[f"denoising_{level}"].mean(), cost, rtol=0, atol=1e-11)
    everything = [*model.parameters(), *loss.parameters()]
    found = torch.autograd.grad(objective.total(), everything)
    for gradient, other in zip(found, torch.autograd.grad(expected, everything), strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-9, atol=1e-10)


def test_where_all_are_labelled_all_take_part_in_both(monkeypatch):
    model, loss = built(loss__multipliers=[3.0, 2.0, 0.7, 0.4])
    monkeypatch.setattr(torch, "randn_like", lambda like: noise_of(like.shape))
    x, y = batch_of().x, torch.arange(20) % 10
    expected, _ = by_hand(model, loss, x, y, x)
    for batch in (Batch(x, y), Batch(x, y, labelled=torch.ones(20, dtype=torch.bool))):
        torch.testing.assert_close(loss(model, batch, Now.at_end()).total(), expected, rtol=0, atol=1e-11)


def test_labelled_and_other_examples_have_statistics_of_their_own_and_unknown_labels_are_not_read():
    model, loss = built(loss__noise=0.0)
    batch = batch_of()
    terms = {name: term.value for name, term in loss(model, batch, Now.at_end()).terms.items()}
    other = Batch(batch.x.clone(), batch.y.clone(), labelled=batch.labelled)
    other.x[9:] += 1.7 * torch.rand_like(other.x[9:])
    other.y[9:] = 3
    again = {name: term.value for name, term in loss(model, other, Now.at_end()).terms.items()}
    assert torch.equal(terms["cross_entropy"], again["cross_entropy"])
    assert not torch.equal(terms["denoising_1"], again["denoising_1"])
    other = Batch(batch.x.clone(), torch.where(batch.labelled, batch.y, 5), labelled=batch.labelled)
    other.x[:9] *= 2.0
    again = {name: term.value for name, term in loss(model, other, Now.at_end()).terms.items()}
    assert not torch.equal(terms["cross_entropy"], again["cross_entropy"])
    for name in ("denoising_0", "denoising_1", "denoising_2", "denoising_3"):
        torch.testing.assert_close(terms[name], again[name], rtol=0, atol=1e-12)


def test_a_batch_with_one_label_is_fine_and_one_without_has_the_costs_alone():
    model, loss = built()
    assert loss(model, batch_of(known=1, others=1), Now.at_end()).total().isfinite()
    batch = batch_of(known=0, others=8)
    objective = loss(model, batch, Now.at_end())
    costs = sum(t.value.mean() * t.scale for name, t in objective.terms.items() if name.startswith("denoising"))
    torch.testing.assert_close(objective.total(), costs)
    model, loss = built(loss__multipliers=[0.0] * 4)
    total = loss(model, batch, Now.at_end()).total()
    assert total == 0
    assert all((g == 0).all() for g in torch.autograd.grad(total, list(model.parameters())))


@pytest.mark.parametrize("combinator", COMBINATORS)
def test_a_combinator_can_be_the_optimal_denoiser_of_a_gaussian(combinator):
    """z ~ N(c u + d, s^2) given u, z~ = z + N(0, t^2): E[z | z~, u] = v z~ + (1 - v)(c u + d), v = s^2/(s^2 + t^2)."""
    c, d, v = torch.tensor([0.5, -2.0]), torch.tensor([0.3, 1.0]), torch.tensor([0.8, 0.25])
    torch.manual_seed(0)
    g = combinator(2).double()
    with torch.no_grad():
        for parameter in g.parameters():
            parameter.zero_()
        if isinstance(g, GaussianCombinator):
            g.mean[3], g.mean[4], g.gain[4] = c, d, v
        elif isinstance(g, VanillaCombinator):
            g.linear[0], g.linear[1], g.linear[2] = (1 - v) * d, v, (1 - v) * c
        else:  # a(h) - a(-h) = 1.1 h for a leaky unit of slope 0.1
            for unit, sign in ((0, 1.0), (1, -1.0)):
                g.inner[1, unit], g.inner[2, unit], g.outer[unit] = sign * v, sign * (1 - v) * c, sign / 1.1
            g.offset.copy_((1 - v) * d)
    noisy, above = torch.randn(3, 50, 2, dtype=torch.float64), torch.randn(3, 50, 2, dtype=torch.float64)
    torch.testing.assert_close(g(noisy, above), v * noisy + (1 - v) * (c * above + d), rtol=0, atol=1e-6)


def test_the_gaussian_combinator_is_optimal_for_a_mean_and_a_spread_that_depend_on_what_is_above():
    """Two classes told by u = +-1 with means +-3 and spreads 0.5 and 2: no linear map of z~ and u denoises both."""
    mean, spread, noise = torch.tensor([3.0, -3.0]), torch.tensor([0.5, 2.0]), 0.7
    gain = spread**2 / (spread**2 + noise**2)
    g = GaussianCombinator(1).double()
    with torch.no_grad():
        g.mean[3], g.gain[0:3] = 3.0, torch.tensor([[0.0], [1.0], [0.0]])
        g.gain[3], g.gain[4] = (gain[0] - gain[1]) / 2, (gain[0] + gain[1]) / 2
    z = torch.linspace(-4, 4, 9, dtype=torch.float64)[:, None]
    for k, u in enumerate((1.0, -1.0)):
        expected = mean[k] + gain[k] * (z - mean[k])
        torch.testing.assert_close(g(z, torch.full_like(z, u)), expected.double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", [7, 8])
@pytest.mark.parametrize("kind", ["strided", "grouped", "linear"])
def test_the_way_down_mirrors_the_way_up(kind, side):
    """With the same weights the map down is the adjoint: <W h, z> = <h, V z>."""
    shape = (3, side, side)
    layer = {
        "strided": nn.Conv2d(3, 4, 3, stride=2, padding=1),
        "grouped": nn.Conv2d(3, 6, 5, groups=3),
        "linear": nn.Linear(3 * side * side, 5),
    }[kind]
    stage = Stage(layer, nn.ReLU(), shape, last=False).double()
    mirror = Mirror(stage).double()
    weight = layer.weight.T if isinstance(layer, nn.Linear) else layer.weight
    assert mirror.map.weight.shape == weight.shape
    mirror.map.weight = nn.Parameter(weight)
    h = torch.randn(2, *shape, dtype=torch.float64)
    z = torch.randn(2, *stage.output, dtype=torch.float64)
    torch.testing.assert_close((stage.preactivation(h) * z).sum(), (h * mirror(z)).sum(), rtol=1e-12, atol=1e-12)


def test_only_what_is_asked_for_has_a_decoder():
    maps = {}
    for multipliers in ([0.0, 0.0, 0.0, 0.5], [0.0, 0.0, 1.0, 0.0], [5000.0, 0.0, 0.0, 0.0]):
        _, loss = built(loss__multipliers=multipliers)
        maps[multipliers.index(max(multipliers))] = len(loss.decoder.mirrors), len(loss.decoder.combinators)
    assert maps == {3: (0, 1), 2: (1, 2), 0: (3, 4)}
    assert built(loss__multipliers=[0.0] * 4)[1].decoder is None
    assert built("ladder", loss__multipliers=None)[1].multipliers == (1000.0, 10.0, 0.1, 0.1)


class Reversed(Layered):
    """A network of somebody else's."""

    def __init__(self, input, output, condition=None):
        super().__init__(input, output, condition)
        self.first, self.last = nn.Conv2d(1, 2, 3, bias=False), nn.Linear(2 * 36, 10)

    def forward(self, x, y):
        return self.last(self.first(x).sin().flatten(1))

    def chain(self):
        return [(self.first, Sine()), (self.last, nn.Identity())]


class Sine(nn.Module):
    def forward(self, h):
        return h.sin()


def test_any_chain_of_layers_is_a_ladder():
    with variata.plugin([Component("network", "reversed", Reversed)]):
        model, loss = built(model__network="reversed", loss__multipliers=[1.0, 1.0, 1.0])
        objective = loss(model, batch_of(), Now.at_end())
        gradients = torch.autograd.grad(objective.total(), [*model.parameters(), *loss.parameters()])
        assert all(gradient.abs().sum() > 0 for gradient in gradients)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"loss.multipliers": [1.0, 1.0]}, ["loss", "multipliers", "takes 4 numbers", "got 2"]),
        ({"loss.multipliers": [1.0, -1.0, 1.0, 1.0]}, ["loss.multipliers", "greater than or equal to 0"]),
        ({"loss.noise": -0.1}, ["loss.noise"]),
        ({"model.network": {"use": "mlp", "norm": "batch"}}, ["norm", "leave that out"]),
        ({"model.network": {"use": "conv", "residual": 1}}, ["residual"]),
        ({"model.network": "resnet"}, ["ResNet", "mlp, conv"]),
        ({"model": "classifier"}, ["ladder", "LadderNetwork"]),
        ({"loss.combinator": "relu"}, ["combinator"]),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(overrides, said):
    (problem,) = problems("ladder", overrides)
    assert all(words in problem for words in said), problem
    assert "\n" not in problem


def test_data_without_classes_and_parts_that_cannot_be_are_refused():
    assert "classes" in problems("ladder", data=torch.rand(50, 4))[0]
    with pytest.raises(variata.ConfigError, match="of its own"):
        LadderLoss(variata.build("ladder").model, combinator=GaussianCombinator(3))
    with pytest.raises(variata.ConfigError, match="model=ladder"):
        LadderLoss(variata.build("classifier").model)


@pytest.mark.usefixtures("without_pictures")
def test_a_run_goes_on_exactly_and_keeps_a_plain_classifier(tmp_path):
    short = {"train.epochs": 4, "train.optimizer.lr": 2e-3, "model.network.hidden": [20, 10]}
    whole = variata.train("ladder", short, run=tmp_path / "whole")
    variata.train("ladder", short | {"train.epochs": 2}, run=tmp_path / "cut")
    cut = variata.train(tmp_path / "cut", {"train.epochs": 4}, resume=True)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, cut.model.state_dict()[name]), name
    assert not any("decoder" in name or "combinator" in name for name in whole.model.state_dict())
    assert whole.model.stages[0].seen == 4 * 13
    found = variata.evaluate(variata.load(tmp_path / "whole"))
    assert found["error"] == variata.evaluate(cut)["error"]


@pytest.mark.parametrize("preset", ["ladder", "conv_ladder"])
def test_in_half_precision_its_normalised_layers_are_single(preset):
    assembly = variata.build(preset)
    x = torch.rand(20, 1, 8, 8)
    labelled = torch.arange(20) < 10
    batch = Batch(x, torch.where(labelled, torch.arange(20) % 10, -1), labelled=labelled)
    with torch.autocast("cpu", torch.bfloat16):
        objective = assembly.loss(assembly.model, batch, Now.at_end())
        assert assembly.model.classify(x).dtype == torch.float32
    assert all(term.value.dtype == torch.float32 for term in objective.terms.values())
    assert all(value.dtype == buffer.dtype for buffer, value in objective.updates)


@pytest.mark.usefixtures("without_pictures")
def test_its_batches_are_not_cut(tmp_path):
    with pytest.raises(variata.ConfigError, match="couples the examples"):
        variata.train("ladder", {"train.accumulate": 2}, run=tmp_path / "run")
