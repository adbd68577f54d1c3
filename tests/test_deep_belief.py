"""Deep belief networks against enumeration, in float64, and how their layers are trained one after the other."""

from __future__ import annotations

import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli

import variata
from support import problems
from variata import Batch, Clock, DataSpec, EvaluationSettings, Now, Phase
from variata.checkpoint import own_state
from variata.data import Data, Split
from variata.training import Loop
from variata_plugins.rbm.belief import DeepBeliefNetwork
from variata_plugins.rbm.bound import DeepBeliefBound, ratios
from variata_plugins.rbm.greedy import Greedy
from variata_plugins.rbm.model import RBM

F64 = torch.float64
SMALL = {"model.hidden": [10, 64], "model.burn_in": 5, "train.epochs": 4, "loss.layer.chains": 20}


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def states(n: int) -> Tensor:
    return torch.tensor(list(product([0.0, 1.0], repeat=n)), dtype=F64)


def network(visible: int = 4, hidden: tuple[int, ...] = (3, 2), **options: int) -> DeepBeliefNetwork:
    """Weights far from zero."""
    made = DeepBeliefNetwork(DataSpec((visible,), "binary", levels=2), hidden=hidden, **options).double()
    for value in [*made.parameters(), *made.buffers()]:
        value.data = torch.randn_like(value)
    return made.requires_grad_(False)


def turned_over() -> DeepBeliefNetwork:
    """Two layers, the second of which is the first, turned over."""
    made = network(4, (3, 4))
    below, above = made.machines
    above.weight.data = below.weight.T.clone()
    above.units.bias.data, above.hidden_bias.data = below.hidden_bias.clone(), below.units.bias.clone()
    return made


def downwards(machine: RBM) -> Tensor:
    """log p(v | h), `[2^hidden, 2^visible]`."""
    v, h = states(machine.weight.shape[0]), states(machine.weight.shape[1])
    logits = machine.units.bias + h @ machine.weight.T
    return Bernoulli(logits=logits[:, None]).log_prob(v).sum(-1)


def upwards(machine: RBM) -> Tensor:
    """log q(h | v), `[2^visible, 2^hidden]`."""
    v, h = states(machine.weight.shape[0]), states(machine.weight.shape[1])
    return Bernoulli(logits=machine.logits(v)[:, None]).log_prob(h).sum(-1)


def exact(model: DeepBeliefNetwork) -> Tensor:
    """log p(x) of every x: the law of the last machine's visible units, sent down."""
    *below, top = model.machines
    log_p = torch.log_softmax(-top.free_energy(states(top.weight.shape[0])), 0)
    for machine in below[::-1]:
        log_p = torch.logsumexp(log_p[:, None] + downwards(machine), 0)
    return log_p


def exact_bound(model: DeepBeliefNetwork) -> Tensor:
    """The bound of every x, by the sum over all h."""
    *below, top = model.machines
    value = torch.log_softmax(-top.free_energy(states(top.weight.shape[0])), 0)
    for machine in below[::-1]:
        log_q = upwards(machine)
        value = (log_q.exp() * (downwards(machine).T + value - log_q)).sum(1)
    return value


class Every(Data):
    """Every binary x, as test examples."""

    def __init__(self, n: int) -> None:
        self.spec, self.x = DataSpec((n,), "binary", levels=2), states(n)

    def split(self, name: str) -> Split:
        return Split(self.x, transform=lambda rows: rows)


# The bound


@pytest.mark.parametrize("hidden", [(3, 2), (3, 3, 2)])
def test_the_bound_is_below_the_log_likelihood_and_what_is_measured_is_the_bound(hidden):
    model = network(4, hidden)
    log_p, bound = exact(model), exact_bound(model)
    close(log_p.exp().sum(), torch.ones((), dtype=F64))
    assert (bound <= log_p + 1e-12).all()
    assert (log_p - bound).max() > 0.01
    samples = 20_000
    drawn = ratios(model, states(4), samples) - model.top.log_partition()
    assert ((drawn.mean(0) - bound).abs() < 5 * drawn.std(0) / samples**0.5).all()
    together = drawn.logsumexp(0) - torch.tensor(float(samples), dtype=F64).log()
    close(together, log_p, 0.05)
    found = DeepBeliefBound().measure(model, Every(4), EvaluationSettings(samples=2000))
    figure = found["elbo"]
    assert (figure["kind"], found["nll"]["kind"], found["log_partition"]["kind"]) == (
        "lower_bound",
        "upper_bound",
        "exact",
    )
    assert abs(figure["value"] - float(bound.mean())) < 5 * figure["monte_carlo_error"]
    assert abs(found["nll"]["value"] + float(log_p.mean())) < 5 * found["nll"]["monte_carlo_error"] + 1e-3
    assert found["nll"]["value"] <= -figure["value"]


def test_a_layer_turned_over_leaves_the_law_and_makes_the_bound_tight():
    model, x = turned_over(), states(4)
    below = model.machines[0]
    alone = -below.free_energy(x) - below.log_partition()
    close(exact(model), alone)
    close(exact_bound(model), alone)
    close(model.log_ratio(x) - model.top.log_partition(), alone)  # each draw gives the same
    one = DeepBeliefBound().measure(model, Every(4), EvaluationSettings(samples=1))
    assert one["elbo"]["value"] == pytest.approx(float(alone.mean()), abs=1e-9)
    assert one["nll"]["value"] == pytest.approx(-float(alone.mean()), abs=1e-9)
    assert "monte_carlo_error" not in one["elbo"]


def test_a_bound_on_an_annealed_constant_says_that_it_is_biased():
    model = network(4, (21, 21))
    found = DeepBeliefBound().measure(model, Every(4), EvaluationSettings(samples=50, ais_steps=30, ais_chains=20))
    assert {found[name]["kind"] for name in ("elbo", "nll", "bits_per_dim", "log_partition")} == {"biased"}
    assert "biased upward" in found["elbo"]["note"]
    assert found["elbo"]["monte_carlo_error"] > found["log_partition"]["monte_carlo_error"]
    assert "annealing_gap" in found


# Samples and codes


def test_samples_have_the_frequencies_of_the_law():
    model, n = network(3, (2, 2), burn_in=30), 20_000
    share = torch.bincount((model.sample(n) @ torch.tensor([4.0, 2.0, 1.0], dtype=F64)).long(), minlength=8) / n
    law = exact(model).exp()
    assert ((share - law).abs() < 5 * (law * (1 - law) / n).sqrt()).all()


def test_codes_are_probabilities_passed_from_layer_to_layer():
    model, x = network(4, (3, 2)), states(4)
    first, second = model.machines
    h = (x @ first.weight + first.hidden_bias).sigmoid()
    code = (h @ second.weight + second.hidden_bias).sigmoid()
    close(model.encode(x), code)
    back = (code @ second.weight.T + second.units.bias).sigmoid()
    close(model.reconstruct(x), (back @ first.weight.T + first.units.bias).sigmoid())


def test_codes_tell_digits_apart(tmp_path, command, without_pictures):
    settings = SMALL | {"train.epochs": 10, "model.hidden": [50, 64]}
    variata.train("deep_belief_network", settings, run=tmp_path / "run", quiet=True)
    status, out, err = command("encode", tmp_path / "run", "--out", tmp_path / "codes.npz")
    assert (status, out.strip(), err) == (0, str(tmp_path / "codes.npz"), "")
    with np.load(tmp_path / "codes.npz") as arrays:
        assert arrays["z"].shape == (len(arrays["y"]), 64)
    (found,) = variata.evaluate(tmp_path / "run", metrics=["knn"]).values()
    assert found["value"] > 0.5  # of ten classes
    for name in ("filters.png", "filters_2.png"):
        assert (tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG")


# Training


def stepped(**settings: object) -> tuple[DeepBeliefNetwork, Loop, Batch]:
    assembly = variata.build("deep_belief_network", SMALL | {"train.steps": 10} | settings)
    for part in (assembly.model, assembly.loss):
        variata.prepare(part, assembly.data)
    train = assembly.data.split("train")
    loop = Loop(assembly.model, assembly.loss, assembly.training, train, train, seed=0)
    return assembly.model, loop, train.batch(torch.arange(100))


def test_layers_are_trained_one_after_the_other():
    model, loop, batch = stepped(**{"loss.parts": [3, 2]})
    rates = []
    for step in range(10):
        before = {name: value.clone() for name, value in own_state(model).items()}
        loop.step(batch)
        moved = {name.split(".")[1] for name, value in own_state(model).items() if not torch.equal(before[name], value)}
        assert moved == {"0" if step < 6 else "1"}
        rates.append(loop._row("train", {})["lr"])
    assert rates[:6] == pytest.approx([0.1 * (1 - step / 6) for step in range(6)])
    assert rates[6:] == pytest.approx([0.1 * (1 - step / 4) for step in range(4)])


def test_a_layer_starts_at_what_the_one_below_it_reached():
    model, loop, batch = stepped()
    for _ in range(5):
        loop.step(batch)
    below, above = model.machines
    loss = loop.loss
    assert torch.equal(loss.losses[1].chains.x, torch.zeros(20, 10))
    phase = loop.phases[1]
    assert phase.begin is not None
    phase.begin([batch])
    assert torch.equal(above.weight, below.weight.T)
    assert torch.equal(above.hidden_bias, below.units.bias)
    assert torch.equal(above.units.bias, below.hidden_bias)
    assert loss.losses[1].chains.x.unique(dim=0).shape[0] > 1
    rate = model.machines[0].encode(batch.x).mean(0)
    close(above.units.base_logits.sigmoid(), rate, 0.2)
    x = batch.x.double()
    model.double()
    close(model.log_ratio(x), -below.free_energy(x), 1e-8)
    narrow, other, batch = stepped(**{"model.hidden": [10, 12]})
    for _ in range(6):
        other.step(batch)
    assert narrow.machines[1].weight.abs().max() < 0.2


@pytest.mark.parametrize(("turned", "same"), [(True, False), (False, True)])
def test_turning_a_layer_over_is_an_option(turned, same):
    model, loop, batch = stepped(**{"loss.turned_over": turned})
    start = model.machines[1].weight.detach().clone()
    phase = loop.phases[1]
    assert phase.begin is not None
    phase.begin([batch])
    assert torch.equal(model.machines[1].weight, start) == same


def test_a_run_that_is_stopped_between_layers_goes_on_exactly(tmp_path, without_pictures):
    settings = SMALL | {"train.checkpoint_every": 26, "train.keep": 9}
    whole = variata.train("deep_belief_network", settings, run=tmp_path / "a", quiet=True)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / "checkpoints" / "step-26").is_dir()  # the second layer begins here
    shutil.rmtree(tmp_path / "b" / "checkpoints" / "step-52")
    again = variata.train(tmp_path / "b", run=tmp_path / "b", resume=True, quiet=True)
    for (name, value), other in zip(own_state(whole.model).items(), own_state(again.model).values(), strict=True):
        assert torch.equal(value, other), name


def test_the_part_of_training_of_a_phase():
    first = Phase(name="a", loss=Greedy.forward, parameters=[], during=(0.0, 0.3), every=2)
    last = Phase(name="b", loss=Greedy.forward, parameters=[], during=(0.3, 1.0))
    clocks = [Clock(step, 5, 10) for step in range(12)]
    assert [clock.step for clock in clocks if first.is_due(clock)] == [0, 2]
    assert [clock.step for clock in clocks if last.is_due(clock)] == [3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert last.own(clocks[4]) == Clock(1, 5, 7)
    assert Now(clocks[4]).epoch == 0


# What a user may get wrong

BAD = {
    "loss.parts: parts says how long 3 layers are trained, and there are 2": ["loss.parts=[1, 1, 1]"],
    "loss: greedy needs a model that is a DeepBeliefNetwork, and rbm is not": ["model={use: rbm, hidden: 5}"],
    "loss.layer: ELBO is no loss for a layer, which is a Boltzmann machine: use cd or pcd": ["loss.layer=elbo"],
    "a deep belief network has two or more layers of hidden units (got [5]); for one, use rbm": ["model.hidden=[5]"],
    "BinaryUnits take binary values": ["data.binarize=none"],
    "loss: cd needs a model that is a Energy, and deep_belief_network is not": ["loss=cd"],
}


@pytest.mark.parametrize("message", BAD)
def test_what_does_not_fit_is_said_in_one_line(message):
    (found,) = problems("deep_belief_network", BAD[message])
    assert message in found
    assert "\n" not in found


def test_the_bound_is_of_deep_belief_networks_alone(tmp_path, without_pictures):
    run = variata.train("rbm", {"train.epochs": 1, "model.hidden": 4}, run=Path(tmp_path) / "run", quiet=True)
    with pytest.raises(variata.Unsupported, match="needs a model that is a DeepBeliefNetwork, and RBM is not"):
        variata.evaluate(run, metrics=["deep_belief_bound"])
