"""What every metric promises: its name, the same number for one seed, a model and a generator left as they were."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import torch

import variata
from variata import registry
from variata.api import evaluation_options


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    settings = {"data.size": 16, "data.examples": 2000, "train.epochs": 2}
    return variata.train("sprites_vae", settings, run=tmp_path_factory.mktemp("sprites") / "run")


OPTIONS = {
    **{name: {"samples": 100, "extractor": {"use": "lenet", "steps": 20}} for name in ("fid", "kid", "prdc")},
    **{name: {"examples": 500} for name in ("mig", "modularity", "sap", "dci")},
    **{name: {"votes": 20, "batch": 8} for name in ("factor_vae_score", "beta_vae_score")},
    "parzen": {"samples": 100},
    "sample_statistics": {"samples": 100},
    "nearest_training": {"samples": 100},
    "latent_ais": {"steps": 4, "chains": 2, "examples": 40, "simulated": 10},
    "classes": {"samples": 100, "steps": 20},
}
GUIDE = (Path(__file__).parents[1] / "docs" / "evaluation.md").read_text(encoding="utf-8")
METRICS = [e.component.name for e in registry().entries("metric") if e.plugin.name == "metrics"]


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_measures_by_its_name_the_same_for_one_seed_and_leaves_torch_alone(
    run, name, tmp_path, monkeypatch
):
    monkeypatch.setenv("VARIATA_CACHE", str(tmp_path))
    asked = [{"use": name, **OPTIONS.get(name, {})}]
    state, weights = torch.get_rng_state(), {key: value.clone() for key, value in run.model.state_dict().items()}
    found = variata.evaluate(run, samples=1, metrics=asked)
    again = variata.evaluate(run, samples=1, metrics=asked, batch_size=37)
    own = set(found) - set(variata.evaluate(run, samples=1))
    assert own
    for metric in own:
        assert found[metric]["value"] == pytest.approx(again[metric]["value"], rel=1e-5)
        assert isinstance(found[metric]["value"], float)
        assert "standard_error" in found[metric]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, weights[key]) for key, value in run.model.state_dict().items())
    assert not run.model.training
    json.dumps(found, allow_nan=False)


def test_a_model_without_a_likelihood_is_measured_by_what_is_asked_for(tmp_path):
    class Noise(variata.Sampler):
        def sample(self, n, condition=None):
            return torch.rand(n, *self.spec.shape)

    class Blind(variata.Model):
        pass

    run = variata.train("vae", {"train.epochs": 1}, run=tmp_path / "run")
    run.model = Noise(run.data.spec)
    assert list(variata.evaluate(run, metrics=[{"use": "fid", "extractor": "pixels", "samples": 50}])) == [
        "fid[pixels]"
    ]
    statistics = {"sample_mean_distance", "sample_variance_ratio", "sample_distinct"}
    assert set(variata.evaluate(run)) == {*statistics, "parzen"}
    by_validation = variata.evaluate(run, split="validation")  # which chooses parzen's bandwidth
    assert set(by_validation) == statistics
    run.model = Blind(run.data.spec)
    with pytest.raises(variata.Unsupported, match=r"no likelihood to evaluate.*name metrics"):
        variata.evaluate(run)


def test_a_plugin_says_what_is_measured_of_its_models_and_one_that_fails_loses_nobody_elses(tmp_path):
    class Silent(variata.Model):
        pass

    class Answer(variata.Metric):
        def measure(self, model, data, settings):
            return {"answer": {"value": 42.0, "standard_error": None}}

    class Helpful:
        @variata.hookimpl
        def variata_components(self):
            return [variata.Component("metric", "answer", Answer)]

        @variata.hookimpl
        def variata_default_metrics(self, context):
            return ["answer"] if isinstance(context.model, Silent) else []

    class Broken:
        @variata.hookimpl
        def variata_default_metrics(self, context):
            raise ValueError("out of ideas")

    run = variata.train("vae", {"train.epochs": 1}, run=tmp_path / "run")
    run.model = Silent(run.data.spec)
    with (
        variata.plugin(Broken(), "broken"),
        variata.plugin(Helpful(), "helpful"),
        pytest.warns(variata.VariataWarning, match="broken failed in variata_default_metrics: .*out of ideas"),
    ):
        found = variata.evaluate(run)
    assert found["answer"]["value"] == 42.0
    assert set(found) == {"answer"}


def test_the_guide_names_every_metric_and_extractor_and_its_commands_are_understood():
    for entry in registry().entries():
        if entry.component.kind in ("metric", "extractor") and entry.plugin.distribution == "variata":
            assert f"| `{entry.component.name}` |" in GUIDE, entry.component.name
    commands = re.findall(r"^variata evaluate RUN(.*?)(?:  .*)?$", GUIDE, re.MULTILINE)
    settings = [[word for word in shlex.split(text) if "=" in word] for text in commands]
    built = [evaluation_options(words)["metrics"] for words in settings]
    assert sum(map(len, built)) > len(METRICS)
