r"""Annealing in the latent space, held to linear-Gaussian models: log p(x), the posterior and every law on the path are
known there."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal, OneHotCategorical

import variata
from test_latent import LinearGaussian
from variata import (
    Batch,
    DataSpec,
    DiagonalNormal,
    LatentVariable,
    Split,
    StandardNormal,
    Terms,
    Unsupported,
    ancestral,
    in_blocks,
    joint,
    rsample_and_kl,
)
from variata.data import Data
from variata.estimates import EvaluationSettings
from variata.evaluation import evaluate_model, measure
from variata.progress import Reporter
from variata_plugins.metrics.ais import _BLOCK, LatentAIS
from variata_plugins.metrics.hmc import Evaluate, Point, leapfrog, transition
from variata_plugins.metrics.latent_annealing import (
    Annealing,
    log_weights,
    reverse_log_weights,
    sigmoid_schedule,
    simulate,
    start,
)

F64 = torch.float64


class PPCA(LinearGaussian):
    """Probabilistic PCA whose Terms say p(x | z); q is far from the posterior."""

    def __init__(self) -> None:
        super().__init__(shift=2.0, widen=1.0)

    def terms(self, x: Tensor, y: Tensor | None = None, samples: int | None = None) -> Terms:
        q = self.posterior(x)
        layer = rsample_and_kl(q, StandardNormal(q.mu), samples)
        return Terms([layer], self.law(layer.z).log_prob(x), samples, self.law(layer.z))

    def exact_posterior(self, x: Tensor, beta: float = 1.0) -> MultivariateNormal:
        """The law proportional to p(z) p(x | z)^beta."""
        precision = torch.eye(3, dtype=F64) + beta * self.weights.T @ self.weights / self.noise**2
        mean = beta * torch.linalg.solve(precision, self.weights.T @ x.T / self.noise**2).T
        return MultivariateNormal(mean, precision_matrix=precision)


@pytest.fixture
def model() -> PPCA:
    return PPCA()


@pytest.fixture
def x(model) -> Tensor:
    return model.generate(2).sample()


SCHEDULES = {
    "one step": [0, 1],
    "two": [0, 0.5, 1],
    "uneven": [0, 0.02, 0.3, 0.31, 1],
    "sigmoid": sigmoid_schedule(6).tolist(),
}


@pytest.mark.parametrize("betas", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("size", [0.2, 0.7])
def test_the_mean_weight_is_the_evidence_for_any_schedule_and_step_size(model, x, betas, size):
    chains = 40_000
    how = Annealing(betas, [size] * (len(betas) - 2), 3)
    point, evaluate = start(model, Batch(x), chains)
    weights, _ = log_weights(evaluate, point, how)
    relative = (weights - model.log_evidence(x)).exp()
    error = relative.std(0) / math.sqrt(chains)
    assert (error < 0.15).all()
    assert ((relative.mean(0) - 1).abs() < 4 * error).all()


@pytest.mark.parametrize("betas", [sigmoid_schedule(6).tolist(), torch.linspace(0, 1, 11).tolist()])
def test_backwards_from_the_posterior_the_mean_inverse_weight_is_the_inverse_evidence(model, x, betas):
    """Of data with much noise, so that the inverse weights have a variance, which at the last step need not be."""
    chains, model.noise = 40_000, 2.0
    how = Annealing(betas, [0.5] * (len(betas) - 2), 3)
    _, evaluate = start(model, Batch(x), 1)
    begin = evaluate(model.exact_posterior(x).sample((chains,)))
    relative = (model.log_evidence(x) - reverse_log_weights(evaluate, begin, how)).exp()
    error = relative.std(0) / math.sqrt(chains)
    assert ((relative.mean(0) - 1).abs() < 4 * error).all()


class Rows(Data):
    """The same examples in every split."""

    def __init__(self, spec: DataSpec, x: Tensor) -> None:
        self.spec, self.x = spec, x

    def split(self, name):
        return Split(self.x, transform=lambda stored: stored)


def measured(model: LatentVariable, x: Tensor, batch_size: int = 100, seed: int = 0, **options: int) -> dict:
    settings = EvaluationSettings(batch_size=batch_size, seed=seed, samples=50)
    return measure(model, Rows(model.spec, x), [LatentAIS(**options)], settings)


def test_the_bounds_enclose_the_evidence_and_come_closer_with_more_steps(model):
    x = model.generate(300).sample()
    truth, gaps = float(model.log_evidence(x).mean()), []
    for steps in (3, 20, 100):
        found = measured(model, x, steps=steps, chains=4, leapfrog=3, examples=300, simulated=300)
        gap, likelihood = found["ais_gap"], found["log_likelihood[ais]"]
        exact = model.log_evidence(made_again(model, x, 300)).mean()
        assert gap["lower_bound"] < exact < gap["upper_bound"]
        assert gap["value"] == pytest.approx(gap["upper_bound"] - gap["lower_bound"], abs=1e-9)
        assert likelihood["value"] < truth + 4 * likelihood["monte_carlo_error"]
        assert found["nll[ais]"]["value"] == -likelihood["value"]
        gaps.append(gap["value"])
    assert gaps[0] > 2 * gaps[1] > 6 * gaps[2] > 0
    assert likelihood["value"] == pytest.approx(truth, abs=0.1)


def made_again(model: PPCA, x: Tensor, n: int) -> Tensor:
    """The examples that the metric simulates: of the evaluation's seed, in the metric's blocks."""

    def make(part: slice) -> dict[str, Tensor]:
        return {"x": simulate(model, Batch(x[part]))[1].x}

    return in_blocks(n, _BLOCK, 0, "ais both ways", make)["x"]


def test_a_wrong_posterior_leaves_annealing_where_it_was():
    """The estimate rests on p alone: another q gives the same number to the last bit."""
    x = PPCA().generate(20).sample()
    other = PPCA()
    other.shift = -3.0
    figures = [measured(m, x, steps=10, simulated=0)["nll[ais]"]["value"] for m in (PPCA(), other)]
    assert figures[0] == figures[1]


def test_kinds_settings_and_errors_stand_beside_the_figures(model):
    x = model.generate(70).sample()
    found = measured(model, x, steps=20, chains=3, leapfrog=2, examples=50, simulated=10)
    assert list(found) == ["log_likelihood[ais]", "nll[ais]", "ais_gap"]
    likelihood, nll = found["log_likelihood[ais]"], found["nll[ais]"]
    assert (likelihood["kind"], nll["kind"]) == ("lower_bound", "upper_bound")
    assert (nll["steps"], nll["chains"], nll["leapfrog"], nll["examples"]) == (20, 3, 2, 50)
    assert nll["index_set"] == "50 of 70 test examples, by torch.randperm of seed 0"
    assert nll["measure"] == "lebesgue, drawn"
    assert 0.5 < nll["acceptance"] < 0.8
    assert 1 <= nll["effective_samples"] <= 3
    assert nll["monte_carlo_error"] > 0
    assert "importance sampling from q gives" in nll["note"]
    assert "monte_carlo_error" not in measured(model, x, steps=2, chains=1, simulated=0)["nll[ais]"]


def test_the_numbers_depend_on_the_seed_alone(model):
    x = model.generate(70).sample()
    options = {"steps": 5, "chains": 2, "simulated": 40}
    first = measured(model, x, batch_size=7, **options)
    torch.manual_seed(17)
    second = measured(model, x, batch_size=256, **options)
    for name, figure in first.items():
        assert figure["value"] == second[name]["value"], name
    assert measured(model, x, seed=1, **options)["nll[ais]"]["value"] != first["nll[ais]"]["value"]


def test_progress_is_counted(model, monkeypatch):
    seen: dict[str, list[int]] = {}

    def stage(self: Reporter, title: str, total: int) -> Callable[[int], None]:
        seen[title] = [total]
        return seen[title].append

    monkeypatch.setattr(Reporter, "stage", stage)
    with Reporter("evaluate", 1, quiet=True):
        measured(model, model.generate(70).sample(), steps=4, chains=2, examples=70, simulated=40)
    assert {title: (counts[0], sum(counts[1:])) for title, counts in seen.items()} == {
        "annealing: step sizes": (3, 3),
        "annealing": (12, 12),
        "annealing: both ways": (16, 16),
    }


# The Hamiltonian steps


def gaussian(precision: Tensor) -> Evaluate:
    """Of f = N(0, precision^-1), all of it in log p(z)."""

    def evaluate(z: Tensor) -> Point:
        zero = torch.zeros(z.shape[:-1], dtype=z.dtype)
        return Point(z, -0.5 * ((z @ precision) * z).sum(-1), zero, -z @ precision, torch.zeros_like(z))

    return evaluate


def quartic(z: Tensor) -> Point:
    """log f = -sum z^4 / 4 - sum z^2 / 2, in two parts."""
    return Point(z, -0.5 * z.square().sum(-1), -0.25 * z.pow(4).sum(-1), -z, -z.pow(3))


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_leapfrog_turned_round_comes_back(beta):
    z, momentum = torch.randn(2, 50, 4, dtype=F64)
    begin = quartic(z)
    end, turned, lost = leapfrog(quartic, begin, momentum, beta, 0.11, 13)
    back, again, _ = leapfrog(quartic, end, -turned, beta, 0.11, 13)
    assert (end.z - z).abs().min() > 1e-5
    assert not lost.any()
    torch.testing.assert_close(back.z, z, atol=1e-10, rtol=0)
    torch.testing.assert_close(again, -momentum, atol=1e-10, rtol=0)


def test_leapfrog_preserves_volume():
    """Of a Gaussian the map is linear, and its matrix is its value at the unit vectors."""
    root = torch.randn(3, 3, dtype=F64)
    evaluate = gaussian(root @ root.T + torch.eye(3, dtype=F64))
    unit = torch.eye(6, dtype=F64)
    end, momentum, _ = leapfrog(evaluate, evaluate(unit[:, :3]), unit[:, 3:], 1.0, 0.3, 7)
    matrix = torch.cat([end.z, momentum], dim=1)
    assert float(torch.linalg.det(matrix)) == pytest.approx(1, abs=1e-10)
    assert (matrix - unit).abs().max() > 0.5


def test_leapfrog_keeps_the_energy_better_by_the_square_of_its_step():
    z, momentum = torch.randn(2, 200, 4, dtype=F64)
    errors = []
    for size in (0.1, 0.05, 0.025):
        end, turned, _ = leapfrog(quartic, quartic(z), momentum, 1.0, size, round(1 / size))
        before = quartic(z).log_density(1.0) - 0.5 * momentum.square().sum(-1)
        errors.append(float((end.log_density(1.0) - 0.5 * turned.square().sum(-1) - before).abs().mean()))
    for larger, smaller in pairwise(errors):
        assert 3.3 < larger / smaller < 4.7


@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("size", [0.3, 0.6])
def test_a_transition_leaves_its_law_as_it_was(model, x, beta, size):
    """Chains that start in the law are in it after three steps: mean and covariance, within five standard errors."""
    chains, law = 40_000, model.exact_posterior(x[:1], beta)
    _, evaluate = start(model, Batch(x[:1]), 1)
    point = evaluate(law.sample((chains,)))
    for _ in range(3):
        point, probability = transition(evaluate, point, beta, size, 3)
    assert 0.05 < float(probability.mean()) < 1
    centred = (point.z - law.mean).flatten(0, 1)
    covariance = law.covariance_matrix[0]
    deviation = covariance.diagonal().sqrt()
    assert (centred.mean(0).abs() < 5 * deviation / math.sqrt(chains)).all()
    products = centred[:, :, None] * centred[:, None, :]
    error = products.std(0) / math.sqrt(chains)
    assert ((products.mean(0) - covariance).abs() < 5 * error).all()


def test_without_refusals_the_law_would_not_stay():
    """What the test above would see if every end were accepted."""
    evaluate = gaussian(torch.eye(2, dtype=F64))
    z = torch.randn(40_000, 2, dtype=F64)
    for _ in range(3):
        end, _, _ = leapfrog(evaluate, evaluate(z), torch.randn_like(z), 1.0, 1.3, 3)
        z = end.z
    assert abs(float(z.var()) - 1) > 0.1


def test_a_trajectory_that_is_lost_is_refused_and_stays_finite():
    evaluate = gaussian(1e4 * torch.eye(2, dtype=F64))
    begin = evaluate(torch.randn(10, 2, dtype=F64))
    point, probability = transition(evaluate, begin, 1.0, 10.0, 20)
    assert torch.equal(point.z, begin.z)
    assert (probability == 0).all()


# Any z through the one door


class TwoLayers(LatentVariable):
    """z_1 ~ N(0, I), z_2 ~ N(A z_1, I / 4), x ~ N(B z_2, s^2 I), with a q that is wrong in both layers."""

    def __init__(self) -> None:
        super().__init__(DataSpec((4,), "real", measure="lebesgue", transform="drawn"))
        generator = torch.Generator().manual_seed(3)
        self.up = torch.randn(3, 2, dtype=F64, generator=generator)
        self.out = torch.randn(4, 3, dtype=F64, generator=generator)

    def terms(self, x, y=None, samples=None):
        zero = torch.zeros(len(x), 2, dtype=F64)
        top = rsample_and_kl(DiagonalNormal(zero + x[:, :2], zero), StandardNormal(zero), samples)
        mean = top.z @ self.up.T
        wide = torch.full_like(mean, math.log(0.25))
        below = rsample_and_kl(DiagonalNormal(mean + 1, wide), DiagonalNormal(mean, wide))
        law = Independent(Normal(below.z @ self.out.T, 0.6), 1)
        return Terms([top, below], law.log_prob(x), samples, law)

    def encode(self, x, y=None):
        return x[:, :2]

    def decode(self, z, y=None):
        return z @ self.up.T @ self.out.T

    def generate(self, n, condition=None):
        raise NotImplementedError

    def evidence(self) -> MultivariateNormal:
        below = self.up @ self.up.T + 0.25 * torch.eye(3, dtype=F64)
        covariance = self.out @ below @ self.out.T + 0.36 * torch.eye(4, dtype=F64)
        return MultivariateNormal(torch.zeros(4, dtype=F64), covariance)


def test_a_hierarchy_is_annealed_layer_by_layer():
    model = TwoLayers()
    x = model.evidence().sample((60,))
    found = measured(model, x, steps=100, chains=8, leapfrog=5, simulated=30)
    truth = float(model.evidence().log_prob(x).mean())
    assert found["log_likelihood[ais]"]["value"] == pytest.approx(truth, abs=0.15)
    assert 0 < found["ais_gap"]["value"] < 0.5


def test_what_is_said_of_a_hierarchy_depends_neither_on_batches_nor_on_chunks(monkeypatch):
    model = TwoLayers()
    split = Split(model.evidence().sample((60,)), transform=lambda stored: stored)
    found = []
    for size, rows in ((256, 60 * 500), (7, 16384), (60, 60 * 10)):
        monkeypatch.setattr("variata.latent._MOST_ROWS", rows)
        found.append(evaluate_model(model, split, EvaluationSettings(samples=500, batch_size=size)))
    for other in found[1:]:
        for name, figure in found[0].items():
            assert other[name]["value"] == pytest.approx(figure["value"], rel=1e-9), name
    of_layers, of_dimensions = found[0]["kl_per_layer"], found[0]["kl_per_dimension"]
    assert sum(of_layers["value"]) == pytest.approx(found[0]["kl"]["value"])
    assert of_layers["value"] == pytest.approx([sum(of_dimensions["value"][:2]), sum(of_dimensions["value"][2:])])
    assert of_layers["value"][1] == pytest.approx(3 / 2 / 0.25)
    assert sum(of_layers["standard_error"]) > 0


def test_the_joint_at_a_value_is_the_sum_of_its_parts():
    model, x = TwoLayers(), torch.randn(5, 4, dtype=F64)
    z = [torch.randn(7, 5, 2, dtype=F64), torch.randn(7, 5, 3, dtype=F64)]
    found = joint(model, x, None, z)
    prior = Normal(0, 1).log_prob(z[0]).sum(-1) + Normal(z[0] @ model.up.T, 0.5).log_prob(z[1]).sum(-1)
    torch.testing.assert_close(found.log_prior, prior)
    torch.testing.assert_close(found.log_likelihood, Normal(z[1] @ model.out.T, 0.6).log_prob(x).sum(-1))
    assert found.z[0] is z[0]


def test_ancestors_are_drawn_from_the_prior_and_none_is_drawn_twice():
    model, n = TwoLayers(), 20_000
    found = ancestral(model, torch.zeros(2, 4, dtype=F64), None, n)
    assert [tuple(z.shape) for z in found.z] == [(n, 2, 2), (n, 2, 3)]
    assert found.likelihood is not None
    x = found.likelihood.sample().flatten(0, 1)
    products = x[:, :, None] * x[:, None, :]
    error = products.std(0) / math.sqrt(len(x))
    assert ((products.mean(0) - model.evidence().covariance_matrix).abs() < 5 * error).all()
    assert len(found.z[1].flatten(0, 1).unique(dim=0)) == 2 * n


def test_outside_it_layers_are_drawn_from_q_again(model, x):
    joint(model, x, None, [torch.zeros(1, 2, 3, dtype=F64)])
    assert not model.terms(x, samples=1).layers[0].z.eq(0).any()


class Aside(PPCA):
    """Draws its latents without the door."""

    def terms(self, x, y=None, samples=None):
        layer = variata.Layer(
            self.posterior(x).rsample((samples or 1,)), self.posterior(x), StandardNormal(self.posterior(x).mu)
        )
        return Terms([layer], self.law(layer.z).log_prob(x), samples)


class Discrete(PPCA):
    """With a prior over categories."""

    def terms(self, x, y=None, samples=None):
        law = OneHotCategorical(logits=torch.zeros(len(x), 3, dtype=F64))
        layer = rsample_and_kl(law, law, samples)
        return Terms([layer], self.law(layer.z).log_prob(x), samples)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Aside, "Aside draws its latents elsewhere than in variata.rsample_and_kl"),
        (Discrete, "Hamiltonian steps move through real latents, and OneHotCategorical has values of another kind"),
    ],
)
def test_models_that_cannot_be_annealed_are_told_why(kind, message, x):
    with pytest.raises(Unsupported, match=message):
        measured(kind(), x, steps=2)


def test_a_model_that_does_not_say_its_likelihood_has_no_gap():
    model = LinearGaussian()
    found = measured(model, model.generate(10).sample(), steps=3)
    assert found["ais_gap"]["value"] is None
    assert "gives its Terms no likelihood to draw x from" in found["ais_gap"]["note"]


def test_a_trained_model_is_annealed_by_name(tmp_path, without_pictures):
    run = variata.train("vae", {"train.epochs": 20, "model.latent": 2}, run=tmp_path / "run")
    asked = [{"use": "latent_ais", "steps": 50, "examples": 32, "simulated": 10}]
    found = variata.evaluate(run, samples=500, metrics=asked)
    nll, gap = found["nll[ais]"], found["ais_gap"]
    assert nll["value"] == pytest.approx(nll["by_importance_sampling"], abs=0.5)
    assert 0 < gap["value"] < 1
    assert found["bits_per_dim[ais]"]["value"] == pytest.approx(nll["value"] / 64 / math.log(2))
