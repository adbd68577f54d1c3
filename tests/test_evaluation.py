r"""How good a model is: estimates against a model whose evidence is known, and what is said beside each number.

The model is x = W z + s e, z ~ N(0, I), with p(x) = N(0, W W^T + s^2 I) and a q(z | x) that is deliberately wrong.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, MultivariateNormal

import variata
from variata import (
    Autoencoder,
    DataError,
    DataSpec,
    Density,
    DiagonalNormal,
    LatentVariable,
    Split,
    StandardNormal,
    Terms,
    Unsupported,
    rsample_and_kl,
)
from variata.estimates import EvaluationSettings
from variata.evaluation import evaluate_model

F64 = torch.float64
SPEC = DataSpec((4,), "real", low=-math.inf, high=math.inf, measure="lebesgue", transform="as given")
SMALL = {
    "model.latent": 2,
    "model.encoder.network.hidden": [8],
    "model.decoder.network.hidden": [8],
    "train.epochs": 1,
}


class Linear(LatentVariable):
    """The model above; q has the exact posterior's mean, and variances that are too large."""

    def __init__(self) -> None:
        super().__init__(SPEC)
        generator = torch.Generator().manual_seed(1)
        self.weights = nn.Parameter(torch.randn(4, 2, generator=generator, dtype=F64))
        self.scale = 0.8
        self.dropout = nn.Dropout()
        self.drawn: list[int] = []

    @property
    def evidence(self) -> MultivariateNormal:
        covariance = self.weights @ self.weights.T + self.scale**2 * torch.eye(4, dtype=F64)
        return MultivariateNormal(torch.zeros(4, dtype=F64), covariance)

    def posterior(self, x: Tensor) -> DiagonalNormal:
        precision = self.weights.T @ self.weights + self.scale**2 * torch.eye(2, dtype=F64)
        mean = x @ self.weights @ torch.linalg.inv(precision)
        return DiagonalNormal(mean, torch.full_like(mean, math.log(0.5)))

    def likelihood(self, z: Tensor) -> DiagonalNormal:
        mean = z @ self.weights.T
        return DiagonalNormal(mean, torch.full_like(mean, 2 * math.log(self.scale)))

    def terms(self, x: Tensor, y: Tensor | None = None, samples: int | None = None) -> Terms:
        self.drawn.append((samples or 1) * len(x))
        layer = rsample_and_kl(self.posterior(x), StandardNormal(torch.zeros(2, dtype=F64)), samples)
        return Terms([layer], self.likelihood(layer.z).log_prob(x), samples)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.posterior(x).mean

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.likelihood(z).mean

    def generate(self, n: int, condition: Tensor | None = None) -> Distribution:
        return self.likelihood(torch.randn(n, 2, dtype=F64))


class Exact(Density):
    """The same p(x), with its density."""

    def __init__(self, law: MultivariateNormal) -> None:
        super().__init__(SPEC)
        self.law = law

    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.law.log_prob(x)


@pytest.fixture
def linear() -> Linear:
    return Linear()


@pytest.fixture
def split(linear) -> Split:
    with torch.no_grad():
        x = linear.evidence.sample((200,))
    return Split(x, transform=lambda stored: stored)


def evidence(linear: Linear, split: Split) -> Tensor:
    """log p(x) of every example, exactly."""
    return linear.evidence.log_prob(split.x).detach()


def evaluated(model: Any, split: Split, progress: Any = lambda done: None, **settings: Any) -> dict[str, Any]:
    return evaluate_model(model, split, EvaluationSettings(**settings), progress)


# The estimates


def test_the_importance_estimate_comes_to_the_evidence(linear, split):
    truth = evidence(linear, split)
    metrics = evaluated(linear, split, samples=2000)
    assert metrics["nll"]["value"] == pytest.approx(-float(truth.mean()), abs=0.02)


def test_more_samples_come_closer_from_below(linear, split):
    truth = float(evidence(linear, split).mean())
    bounds = [-evaluated(linear, split, samples=samples)["nll"]["value"] for samples in (1, 4, 32, 512)]
    gaps = [truth - bound for bound in bounds]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] > 0.1
    assert abs(gaps[-1]) < 0.02


def test_one_sample_estimates_the_elbo(linear, split):
    """Of one sample the two differ by the KL alone, which the ELBO has in closed form: they agree within the noise."""
    metrics = evaluated(linear, split, samples=1)
    error = metrics["nll"]["standard_error"] + metrics["elbo"]["standard_error"]
    assert -metrics["nll"]["value"] == pytest.approx(metrics["elbo"]["value"], abs=4 * error)


def test_the_elbo_is_its_terms_and_below_the_evidence(linear, split):
    metrics = evaluated(linear, split, samples=10)
    value = {name: metric["value"] for name, metric in metrics.items()}
    assert value["elbo"] == pytest.approx(value["reconstruction"] - value["kl"], abs=1e-9)
    assert value["elbo"] < float(evidence(linear, split).mean())
    assert value["kl"] > 0


class SelfDrawing(Linear):
    """The same with the exact posterior, a distribution that draws for itself."""

    def terms(self, x: Tensor, y: Tensor | None = None, samples: int | None = None) -> Terms:
        self.drawn.append((samples or 1) * len(x))
        q = self.posterior(x)
        law = MultivariateNormal(q.mean, torch.diag_embed(q.variance))
        layer = rsample_and_kl(law, StandardNormal(torch.zeros(2, dtype=F64)), samples)
        return Terms([layer], self.likelihood(layer.z).log_prob(x), samples)


@pytest.mark.parametrize("model", [Linear(), SelfDrawing()], ids=["places", "blocks"])
def test_the_numbers_do_not_depend_on_the_size_of_batches_and_chunks(model, split, monkeypatch):
    found = []
    for size, rows in ((256, 16384), (7, 16384), (256, 2000), (1, 10)):
        monkeypatch.setattr("variata.latent._MOST_ROWS", rows)
        found.append(evaluated(model, split, samples=70, batch_size=size))
    assert found[0]["nll"]["value"] == pytest.approx(-float(evidence(model, split).mean()), abs=0.05)
    for other in found[1:]:
        for name, metric in found[0].items():
            assert other[name]["value"] == pytest.approx(metric["value"], rel=1e-9), name


def test_every_draw_of_an_example_differs(linear, split):
    seen: list[Tensor] = []

    class Keeping(Linear):
        def terms(self, x, y=None, samples=None):
            terms = super().terms(x, y, samples)
            seen.append(terms.layers[0].z)
            return terms

    evaluated(Keeping(), split, samples=300, batch_size=100)
    z = torch.cat([drawn for drawn in seen if drawn.shape[1] == 100])
    first, second = z[:300], z[300:]
    assert first.shape == second.shape == (300, 100, 2)
    noise = torch.cat([first - linear.posterior(split.x[:100]).mean, second - linear.posterior(split.x[100:]).mean])
    assert len(noise.reshape(-1, 2).unique(dim=0)) == noise.numel() // 2


def test_the_same_seed_gives_the_same_numbers(linear, split):
    one = evaluated(linear, split, samples=3, seed=4)
    assert evaluated(linear, split, samples=3, seed=4) == one
    assert evaluated(linear, split, samples=3, seed=5) != one


def test_standard_errors_are_those_of_a_mean(split):
    law = MultivariateNormal(torch.zeros(4, dtype=F64), torch.eye(4, dtype=F64))
    metric = evaluated(Exact(law), split, batch_size=7)["log_likelihood"]
    values = law.log_prob(split.x)
    assert metric["value"] == pytest.approx(float(values.mean()), rel=1e-12)
    assert metric["standard_error"] == pytest.approx(float(values.std()) / math.sqrt(200), rel=1e-12)
    assert metric["examples"] == 200


def test_a_single_example_has_no_standard_error(linear, split):
    metrics = evaluated(linear, Split(split.x[:1], transform=lambda stored: stored), samples=2)
    assert metrics["elbo"]["standard_error"] is None
    assert "NaN" not in json.dumps(metrics)


def test_memory_does_not_grow_with_the_samples(linear, split):
    evaluated(linear, split, samples=1000, batch_size=100)
    assert max(linear.drawn) <= 16384
    assert sum(linear.drawn) == 200 * 1000 + 1, "one draw finds out whether draws have a place"


def test_a_batch_larger_than_a_chunk_takes_one_sample_at_a_time(linear, split, monkeypatch):
    monkeypatch.setattr("variata.latent._MOST_ROWS", 150)
    metrics = evaluated(linear, split, samples=300, batch_size=200)
    assert max(linear.drawn) == 200
    assert metrics["nll"]["value"] == pytest.approx(-float(evidence(linear, split).mean()), abs=0.05)


# What is said beside a number


def test_every_bound_says_on_which_side_the_truth_lies(linear, split):
    metrics = evaluated(linear, split, samples=7)
    assert list(metrics)[:4] == ["elbo", "reconstruction", "kl", "nll"]
    assert metrics["elbo"]["kind"] == "lower_bound"
    assert metrics["nll"]["kind"] == "upper_bound"
    assert metrics["nll"]["samples"] == 7
    assert "importance" in metrics["nll"]["estimator"]
    assert "kind" not in metrics["kl"]
    assert metrics["nll"]["measure"] == metrics["elbo"]["measure"] == "lebesgue, as given"
    assert "measure" not in metrics["kl"]


def test_a_density_gives_the_likelihood_exactly(linear, split):
    with torch.no_grad():
        metrics = evaluated(Exact(linear.evidence), split)
    assert list(metrics) == ["log_likelihood", "nll"]
    assert metrics["log_likelihood"]["kind"] == "exact"
    assert metrics["log_likelihood"]["measure"] == "lebesgue, as given"
    assert metrics["log_likelihood"]["value"] == pytest.approx(float(evidence(linear, split).mean()))


def test_a_model_that_offers_no_likelihood_is_refused(split):
    class Plain(Autoencoder):
        def encode(self, x, y=None):
            return x

        def decode(self, z, y=None):
            return z

    with pytest.raises(Unsupported, match="Plain has neither a bound nor a density"):
        evaluated(Plain(SPEC), split)


def test_an_empty_split_is_refused(linear, split):
    with pytest.raises(DataError, match="the split has no examples to evaluate"):
        evaluated(linear, Split(split.x[:0]))


# What is left as it was


@pytest.mark.parametrize("mode", [True, False])
def test_the_models_mode_is_left_as_it_was(linear, split, mode):
    linear.train(mode)
    linear.dropout.train(not mode)
    evaluated(linear, split, samples=2)
    assert (linear.training, linear.dropout.training) == (mode, not mode)


def test_the_model_is_evaluated_in_evaluation_mode(split):
    class Watching(Exact):
        def log_prob(self, x, y=None):
            assert not self.training
            assert not torch.is_grad_enabled()
            return super().log_prob(x, y)

    evaluated(Watching(Linear().evidence), split)


def test_the_mode_is_left_as_it_was_where_a_model_fails(split):
    class Failing(Exact):
        def log_prob(self, x, y=None):
            raise ValueError("no")

    model = Failing(Linear().evidence)
    with pytest.raises(ValueError, match="no"):
        evaluated(model, split)
    assert model.training


def test_torchs_generator_is_left_as_it_was(linear, split):
    before = torch.get_rng_state()
    evaluated(linear, split, samples=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_progress_counts_examples(linear, split):
    done: list[int] = []
    evaluated(linear, split, samples=1, batch_size=64, progress=done.append)
    assert done == [64, 64, 64, 8]


# A run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return variata.train("vae", SMALL, run=tmp_path_factory.mktemp("runs") / "vae")


def test_evaluation_json_holds_every_setting_and_every_metric(run):
    metrics = variata.evaluate(run, split="validation", samples=3, seed=9, batch_size=50)
    written = json.loads((run.path / "evaluation.json").read_text())
    examples = len(run.data.split("validation"))
    assert written["settings"] == {
        "split": "validation",
        "samples": 3,
        "seed": 9,
        "batch_size": 50,
        "ais_steps": 5000,
        "ais_chains": 100,
        "examples": examples,
        "metrics": [],
    }
    assert written["metrics"] == metrics
    assert written["versions"]["torch"] == torch.__version__
    assert metrics["elbo"]["examples"] == examples


def test_settings_may_be_numbers_of_numpy(run):
    assert variata.evaluate(run, samples=np.int64(2)) == variata.evaluate(run, samples=2)


def test_a_folder_is_evaluated_like_the_run_in_it(run):
    assert variata.evaluate(run.path, samples=2) == variata.evaluate(run, samples=2)


def test_validation_reports_what_evaluation_reports(run):
    """The KL is in closed form and the same number; the reconstruction is drawn, and agrees within its noise."""
    row = [row for row in run.metrics if row["split"] == "validation"][-1]
    metrics = variata.evaluate(run, split="validation", samples=1)
    assert row["kl"] == pytest.approx(metrics["kl"]["value"], rel=1e-5)
    for name in ("elbo", "reconstruction"):
        assert row[name] == pytest.approx(metrics[name]["value"], abs=3 * metrics[name]["standard_error"])


def test_digits_have_a_positive_nll_of_a_counting_measure(run):
    metrics = variata.evaluate(run, samples=5)
    assert metrics["nll"]["value"] > 0
    assert metrics["nll"]["measure"] == "counting, dynamic binarisation"
    assert metrics["elbo"]["value"] < 0
    assert metrics["nll"]["value"] <= -metrics["elbo"]["value"] + 4 * metrics["elbo"]["standard_error"]


@pytest.mark.parametrize("option", [{"samples": 0}, {"split": "tset"}, {"batch_size": -1}, {"seed": 1 << 32}])
def test_wrong_settings_are_refused(run, option: dict[str, Any]):
    with pytest.raises(variata.ConfigError, match=next(iter(option))):
        variata.evaluate(run, **option)


def test_data_that_is_no_longer_what_the_model_was_trained_on_is_refused(tmp_path):
    file = tmp_path / "x.npy"
    np.save(file, np.arange(400).reshape(100, 4) % 3 == 0)
    settings = {**SMALL, "data": {"use": "array", "path": file}}
    trained = variata.train("vae", settings, run=tmp_path / "run")
    assert variata.evaluate(tmp_path / "run", samples=1)["nll"]["value"] > 0
    np.save(file, np.arange(500).reshape(100, 5) % 3 == 0)
    with pytest.raises(DataError, match=r"the data is \[5\], binary, and was \[4\], binary when the model was trained"):
        variata.evaluate(trained.path)
    with pytest.raises(DataError, match="when the model was trained"):
        variata.evaluate(variata.load(trained.path, data=torch.randn(50, 4)))
