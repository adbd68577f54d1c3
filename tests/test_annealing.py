"""log Z by annealed importance sampling: its weights enumerated path by path, and models of other people."""

from __future__ import annotations

import json
import math
from itertools import pairwise, product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent

import variata
from variata import ConfigError, DataSpec, Energy, PluginError, Split, Unsupported
from variata.annealing import BIASED_UPWARD, anneal, even_schedule, log_weights
from variata.estimates import EvaluationSettings
from variata.evaluation import evaluate_model
from variata_plugins.rbm.model import RBM
from variata_plugins.rbm.units import BinaryUnits, GaussianUnits

F64 = torch.float64


def machine(visible: int, hidden: int, kind: type = BinaryUnits, scale: float = 0.8) -> RBM:
    support = "binary" if kind is BinaryUnits else "real"
    made = RBM(DataSpec((visible,), support), hidden=hidden, visible=kind).double().requires_grad_(False)
    for value in [*made.parameters(), *made.buffers()]:
        value.copy_(scale * torch.randn_like(value))
    return made


class Wrapped(Energy):
    """An energy model without an exact partition function."""

    def __init__(self, inner: Energy) -> None:
        super().__init__(inner.spec)
        self.inner = inner

    def free_energy(self, x, beta=1.0):
        return self.inner.free_energy(x, beta)

    def gibbs(self, x, beta=1.0):
        return self.inner.gibbs(x, beta)

    def base(self):
        return self.inner.base()

    def log_partition(self):
        raise Unsupported("hidden from the test")


class Scripted(Wrapped):
    """The same model, whose draws are read from a script `[steps, chains, *event]`."""

    def __init__(self, inner: Energy, script: Tensor) -> None:
        super().__init__(inner)
        self.script, self.betas = list(script), [0.0]

    def base(self):
        law = self.inner.base()
        law.sample = lambda shape: self.script.pop(0)
        return law

    def gibbs(self, x, beta=1.0):
        self.betas.append(beta)
        return self.script.pop(0)


class Ising(Energy):
    """A ring of spins, F = -beta coupling sum_i s_i s_(i+1): a foreign model, updated spin by spin, whose partition
    function is known in closed form."""

    def __init__(self, spins: int, coupling: float) -> None:
        super().__init__(DataSpec((spins,), "binary", levels=2))
        self.spins = spins
        self.coupling = nn.Parameter(torch.tensor(coupling, dtype=F64))

    def free_energy(self, x, beta=1.0):
        s = 2 * x.double() - 1
        return -beta * self.coupling * (s * s.roll(1, 1)).sum(1)

    def gibbs(self, x, beta=1.0):
        x = x.clone()
        for i in range(self.spins):
            field = (2 * x[:, i - 1] - 1) + (2 * x[:, (i + 1) % self.spins] - 1)
            x[:, i] = torch.bernoulli((2 * beta * self.coupling.detach() * field).sigmoid())
        return x

    def base(self):
        return Independent(Bernoulli(probs=torch.full((self.spins,), 0.5, dtype=F64)), 1)

    def log_partition(self):
        raise Unsupported("for the test")

    @property
    def exact(self) -> float:
        coupling = float(self.coupling.detach())
        return math.log((2 * math.cosh(coupling)) ** self.spins + (2 * math.sinh(coupling)) ** self.spins)


def states(n: int) -> Tensor:
    return torch.tensor(list(product([0.0, 1.0], repeat=n)), dtype=F64)


def transition(m: RBM, beta: float) -> Tensor:
    """p(v' | v) of a sweep at beta."""
    v, h = states(m.weight.shape[0]), states(m.weight.shape[1])
    up = Bernoulli(logits=beta * (v @ m.weight + m.hidden_bias)[:, None]).log_prob(h.expand(len(v), -1, -1)).sum(-1)
    logits = (1 - beta) * m.units.base_logits + beta * (m.units.bias + h @ m.weight.T)
    down = Bernoulli(logits=logits[:, None]).log_prob(v.expand(len(h), -1, -1)).sum(-1)
    return up.exp() @ down.exp()


@pytest.mark.parametrize("schedule", [[0, 1], [0, 0.5, 1], [0, 0.1, 0.15, 1], [0, 0.9, 0.95, 1]], ids=str)
def test_the_mean_weight_over_all_paths_is_the_partition_function(schedule):
    """Every path of states goes through the code once; its weight is summed with its probability."""
    m = machine(2, 3)
    schedule = torch.tensor(schedule, dtype=F64)
    paths = torch.tensor(list(product(range(4), repeat=len(schedule) - 1)))
    scripted = Scripted(m, states(2)[paths.T])
    weights = log_weights(scripted, schedule, len(paths))
    log_probability = torch.softmax(-m.free_energy(states(2), 0.0), 0)[paths[:, 0]].log()
    for i, beta in enumerate(schedule[1:-1].tolist()):
        log_probability += transition(m, beta)[paths[:, i], paths[:, i + 1]].log()
    torch.testing.assert_close(log_probability.logsumexp(0), torch.zeros((), dtype=F64), atol=1e-12, rtol=0)
    torch.testing.assert_close((weights + log_probability).logsumexp(0), m.log_partition(), atol=1e-10, rtol=0)
    assert scripted.script == []
    assert scripted.betas == schedule[:-1].tolist()


def test_a_model_that_is_its_base_law_has_equal_weights():
    m = machine(5, 4)
    m.weight.zero_()
    m.hidden_bias.zero_()
    m.units.bias.copy_(m.units.base_logits)
    found = anneal(m, even_schedule(7), 13)
    assert found.value == pytest.approx(float(m.log_partition()), abs=1e-12)
    assert found.error == pytest.approx(0, abs=1e-12)
    assert found.effective_sample_size == pytest.approx(13, abs=1e-9)
    assert (found.steps, found.chains) == (7, 13)


def test_error_and_effective_sample_size_are_those_of_the_mean_weight():
    m = machine(5, 4)
    torch.manual_seed(0)
    w = log_weights(m, even_schedule(3), 50).exp()
    torch.manual_seed(0)
    found = anneal(m, even_schedule(3), 50)
    assert found.value == pytest.approx(float(w.mean().log()), abs=1e-10)
    assert found.error == pytest.approx(float(w.std() / w.mean() / math.sqrt(50)), abs=1e-10)
    assert found.effective_sample_size == pytest.approx(float(w.sum() ** 2 / w.square().sum()), abs=1e-8)


@pytest.mark.parametrize(("visible", "hidden", "kind"), [(12, 8, BinaryUnits), (4, 6, GaussianUnits)])
def test_annealing_agrees_with_enumeration(visible, hidden, kind):
    m = machine(visible, hidden, kind)
    found = anneal(m, even_schedule(1000), 200)
    assert found.error < 0.1
    assert abs(found.value - float(m.log_partition())) < 4 * found.error


def test_the_estimate_is_too_low_on_average_and_less_so_by_more_steps():
    m = machine(8, 8, scale=1.5)
    bias = []
    for steps in (1, 10, 100):
        each = log_weights(m, even_schedule(steps), 2000) - m.log_partition()
        bias.append((float(each.mean()), float(each.std()) / math.sqrt(2000)))
    for (mean, error), (better, other) in pairwise(bias):
        assert mean < -5 * error
        assert better - mean > 5 * math.hypot(error, other)


@pytest.mark.parametrize("schedule", [[0.0], [0.1, 1.0], [0.0, 0.9], [0.0, 0.5, 0.5, 1.0]], ids=str)
def test_a_schedule_rises_from_0_to_1(schedule):
    with pytest.raises(ValueError, match="a schedule rises from 0 to 1"):
        log_weights(machine(2, 2), torch.tensor(schedule), 3)


def test_a_base_law_that_does_not_fit_the_energy_is_refused():
    class Wrong(Wrapped):
        def base(self):
            return Independent(Bernoulli(logits=torch.ones(6, dtype=F64)), 1)

    with pytest.raises(PluginError, match="Wrong: its free energy at beta = 0 differs"):
        log_weights(Wrong(machine(6, 3)), even_schedule(2), 20)


# Evaluation


def evaluated(model: Energy, x: Tensor, **settings: int) -> dict[str, Any]:
    split = Split(x, transform=lambda stored: stored)
    return evaluate_model(model, split, EvaluationSettings(**settings))


def test_an_energy_model_of_another_plugin_is_evaluated_through_the_interface():
    model, x = Ising(10, 0.6), torch.bernoulli(torch.full((40, 10), 0.5, dtype=F64))
    found = evaluated(model, x, ais_steps=300, ais_chains=300)
    partition, likelihood = found["log_partition"], found["log_likelihood"]
    error = partition["monte_carlo_error"]
    assert abs(partition["value"] - model.exact) < 4 * error < 0.2
    energies = -model.free_energy(x).detach()
    assert likelihood["value"] == pytest.approx(float(energies.mean()) - partition["value"], abs=1e-9)
    assert likelihood["standard_error"] == pytest.approx(float(energies.std()) / math.sqrt(40), abs=1e-9)
    assert likelihood["monte_carlo_error"] == error > 0
    assert (likelihood["kind"], likelihood["note"]) == ("biased", BIASED_UPWARD)
    assert found["nll"]["value"] == pytest.approx(-likelihood["value"], abs=1e-9)
    bits = found["bits_per_dim"]
    assert bits["value"] == pytest.approx(found["nll"]["value"] / (10 * math.log(2)), abs=1e-9)
    assert bits["monte_carlo_error"] == pytest.approx(error / (10 * math.log(2)), abs=1e-9)
    assert 1 <= partition["effective_samples"] <= 300
    assert (partition["ais_steps"], partition["ais_chains"], partition["standard_error"]) == (300, 300, None)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shorter = anneal(model, even_schedule(30), 300)
    gap = found["annealing_gap"]
    assert gap["value"] == pytest.approx(partition["value"] - shorter.value, abs=1e-9)
    assert gap["monte_carlo_error"] == pytest.approx(math.hypot(error, shorter.error), abs=1e-9)
    assert "log Z by 300 steps less log Z by 30" in gap["note"]


def test_one_chain_has_no_error():
    found = evaluated(Wrapped(machine(6, 4)), states(6), ais_steps=1, ais_chains=1)
    assert "monte_carlo_error" not in found["log_partition"]
    assert "monte_carlo_error" not in found["log_likelihood"]
    assert math.isfinite(found["log_likelihood"]["value"])


def test_where_it_can_be_enumerated_the_likelihood_is_exact_and_nothing_is_estimated():
    m, x = machine(6, 4), states(6)
    found = evaluated(m, x)
    assert set(found) == {"log_likelihood", "nll", "log_partition"}
    exact = float((-m.free_energy(x) - m.log_partition()).mean())
    assert found["log_likelihood"]["value"] == pytest.approx(exact, abs=1e-9)
    assert {estimate["kind"] for estimate in found.values()} == {"exact"}
    assert not any("note" in estimate or "monte_carlo_error" in estimate for estimate in found.values())


def test_a_seed_gives_the_same_numbers_and_nothing_else_changes():
    model = Wrapped(machine(6, 4))
    model.train()
    settings = {"ais_steps": 20, "ais_chains": 5}
    before = torch.get_rng_state()
    found = [evaluated(model, states(6), batch_size=size, seed=3, **settings) for size in (7, 64)]
    assert found[0]["log_partition"] == found[1]["log_partition"]
    assert found[0]["log_likelihood"]["value"] == pytest.approx(found[1]["log_likelihood"]["value"], rel=1e-12)
    assert evaluated(model, states(6), seed=4, **settings)["log_partition"] != found[0]["log_partition"]
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert model.inner.training


def test_progress_counts_every_step_and_example():
    seen: dict[str, list[int]] = {}

    def stage(title: str, total: int) -> Any:
        seen[title] = [total]
        return seen[title].append

    examples: list[int] = []
    split = Split(states(6), transform=lambda stored: stored)
    evaluate_model(Wrapped(machine(6, 4)), split, EvaluationSettings(ais_steps=20), examples.append, stage)
    assert seen == {"annealing": [22, *[1] * 22]}
    assert examples == [64]


def test_the_command_line_says_what_is_biased(tmp_path, command):
    small = {"train.epochs": 1, "model.hidden": 30, "model.burn_in": 1}
    run = variata.train("rbm", small, run=tmp_path / "run")
    status, out, _ = command("evaluate", run.path, "ais_steps=20", "ais_chains=10", "plots=false")
    assert status == 0
    assert f"log_likelihood, nll, bits_per_dim: {BIASED_UPWARD}" in out
    row = next(line for line in out.splitlines() if line.startswith("log_likelihood\t")).split("\t")
    saved = json.loads((run.path / "evaluation.json").read_text())
    likelihood = saved["metrics"]["log_likelihood"]
    errors = (likelihood["standard_error"], likelihood["monte_carlo_error"])
    assert row[2:5] == [*(f"{error:.4f}" for error in errors), "~"]
    assert (saved["settings"]["ais_steps"], saved["settings"]["ais_chains"]) == (20, 10)
    assert saved["metrics"]["log_partition"]["ais_steps"] == 20
    with pytest.raises(ConfigError, match="ais_chains: must be greater than 0"):
        variata.evaluate(run, ais_chains=0)
