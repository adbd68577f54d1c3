"""A run that met NaN leaves what is needed to look into it."""

from __future__ import annotations

import json

import pytest
import torch

import variata
from variata import NonFinite, RunError
from variata.training.replay import replay

BREAKING = """
import torch


class Breaking(OnePhaseLoss):
    requires = LatentVariable

    def forward(self, model, batch, now):
        terms = model.terms(batch.x)
        noise = torch.rand(len(batch))
        bad = torch.where((noise == noise.max()) & (torch.tensor(now.step) == 4), torch.inf, 1.0)
        return Objective({"elbo": Term(-terms.elbo), "bad": Term(bad), "noise": Term(noise)})


@hookimpl
def variata_components():
    return [Component("loss", "breaking", Breaking)]
"""


def test_the_step_is_taken_again_with_the_same_batch_and_noise(tmp_path, parts, command, monkeypatch):
    file = parts(BREAKING.replace("from variata import *", ""))
    words = ["loss.use=breaking", "model.latent=2", "train.batch_size=16", "--plugin", file]
    status, _, err = command("train", "vae", *words, "--run", tmp_path / "r", "-q")
    assert status == 2
    assert "step 5, phase train: term bad is not finite" in err
    assert json.loads((tmp_path / "r" / "run.json").read_text())["status"] == "not finite"
    found = replay(tmp_path / "r")
    assert (found.step, found.phase, found.examples) == (5, "train", 16)
    assert found.terms["bad"] == (1.0, 1.0, 1)
    assert found.terms["elbo"][2] == 0
    status, out, _ = command("replay", tmp_path / "r", "--plugin", file)
    assert status == 0
    assert "bad\t1\t1\t1" in out
    again = replay(tmp_path / "r")
    assert again.terms == found.terms  # the noise is that of the run


def test_the_module_that_overflows_is_named(tmp_path):
    class Spoiled(variata.OnePhaseLoss):
        requires = variata.LatentVariable

        def forward(self, model, batch, now):
            return variata.Objective({"elbo": variata.Term(-model.terms(batch.x).elbo)})

    settings = {"model.latent": 2, "train.optimizer": {"use": "sgd", "lr": 3e38}}
    with variata.plugin([variata.Component("loss", "spoiled", Spoiled)]):
        with pytest.raises(NonFinite, match="try a smaller learning rate"):
            variata.train("vae", {**settings, "loss.use": "spoiled"}, run=tmp_path / "r")
        found = replay(tmp_path / "r")
    assert found.module is not None


def test_there_is_nothing_to_replay(trained, tmp_path, command):
    with pytest.raises(RunError, match="there is nothing to replay"):
        replay(trained)
    assert command("replay", tmp_path)[0] == 2


def test_damage_is_named(tmp_path, command):
    settings = {"model.latent": 2, "train.optimizer": {"use": "sgd", "lr": 3e38}}
    with pytest.raises(NonFinite):
        variata.train("vae", settings, run=tmp_path / "r")
    (tmp_path / "r" / "fault" / "fault.json").write_text("{")
    status, _, err = command("replay", tmp_path / "r")
    assert status == 2
    assert "fault.json: is missing or damaged" in err
    assert torch.get_default_dtype() == torch.float32
