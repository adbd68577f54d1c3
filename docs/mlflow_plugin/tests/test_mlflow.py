"""What stands in MLflow's store after training, after a resume, after an evaluation, and after an error."""

from __future__ import annotations

import json
import warnings

import pytest
from mlflow import MlflowClient
from variata_mlflow.link import Link
from variata_mlflow.logger import flat

import variata

SMALL = {
    "model.latent": 2,
    "model.encoder.network.hidden": [8],
    "model.decoder.network.hidden": [8],
    "train.epochs": 2,
    "train.log_every": 5,
    "train.checkpoint_every": 8,
}


@pytest.fixture
def settings(tmp_path):
    logger = {"use": "mlflow", "uri": (tmp_path / "store").as_uri(), "experiment": "tests", "tags": {"by": "me"}}
    return {**SMALL, "train.loggers": [logger]}


def only_run(tmp_path):
    client = MlflowClient((tmp_path / "store").as_uri())
    (found,) = client.search_runs([client.get_experiment_by_name("tests").experiment_id])
    return client, found


def history(client, run, name):
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]


def rows_of(run, name, split):
    return [(row["step"], row[name]) for row in run.metrics if row["split"] == split and name in row]


def test_a_run_in_the_store(tmp_path, settings):
    trained = variata.train("vae", settings, run=tmp_path / "r")
    client, found = only_run(tmp_path)
    assert (found.info.run_name, found.info.status, found.data.tags["by"]) == ("r", "FINISHED", "me")
    assert found.data.params["model.latent"] == "2"
    assert found.data.params["loss.beta"] == "1.0"
    assert found.data.params.keys() == flat(trained.spec.plain()).keys()
    for split in ("train", "validation"):
        assert history(client, found, f"loss/{split}") == rows_of(trained, "loss", split)
    artifacts = {artifact.path for artifact in client.list_artifacts(found.info.run_id)}
    assert {"spec.yaml", "plugins.json", "metrics.jsonl", "samples.png"} <= artifacts
    assert "model.safetensors" not in artifacts


class Killed(BaseException):
    """Nobody catches it."""


class Killer:
    @variata.hookimpl
    def variata_step_ended(self, context):
        if context.step == 13:
            raise Killed


def test_a_resumed_run_is_one_run_with_every_row_once(tmp_path, settings):
    with variata.plugin(Killer()), pytest.raises(Killed):
        variata.train("vae", settings, run=tmp_path / "r")
    resumed = variata.train(tmp_path / "r", resume=True)
    client, found = only_run(tmp_path)
    assert (found.info.status, found.data.tags["variata.resumed_at"]) == ("FINISHED", "8")
    for split in ("train", "validation"):
        assert history(client, found, f"loss/{split}") == rows_of(resumed, "loss", split)


def test_an_evaluation_joins_the_run(tmp_path, settings):
    trained = variata.train("vae", settings, run=tmp_path / "r")
    estimates = variata.evaluate(trained, samples=5)
    client, found = only_run(tmp_path)
    assert history(client, found, "evaluation/test/nll") == [(0, estimates["nll"]["value"])]
    assert found.data.metrics["evaluation/test/nll_standard_error"] == estimates["nll"]["standard_error"]


def test_a_run_that_fails_is_a_failed_run(tmp_path, settings):
    class Failing(variata.OnePhaseLoss):
        def forward(self, model, batch, now):
            raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        variata.train_assembly(variata.build("vae", settings, loss=Failing()), run=tmp_path / "r")
    _, found = only_run(tmp_path)
    assert found.info.status == "FAILED"


def test_a_store_that_cannot_be_reached_is_a_warning_each_time_it_matters_and_no_more(tmp_path, settings):
    (tmp_path / "store").write_text("a file where a folder belongs")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert variata.train("vae", settings, run=tmp_path / "r").status == "finished"
    ours = [str(w.message) for w in said if "logger MLflow" in str(w.message)]
    assert len(ours) == 1
    assert ours[0].startswith("logger MLflow failed in started")


def test_a_damaged_link_is_none(tmp_path):
    link = Link("file:///x", "y")
    link.write(tmp_path)
    assert Link.of(tmp_path) == link
    for text in ("", "[1]", json.dumps({"uri": "x"}), json.dumps({"uri": "x", "run": "y", "more": 1})):
        (tmp_path / "mlflow.json").write_text(text)
        assert Link.of(tmp_path) is None
