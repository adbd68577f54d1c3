"""`variata compare`: one record of several models, whose figures stand side by side where they may."""

from __future__ import annotations

import json

import pytest

import variata
from support import SMALL


def test_log_p_of_each_example_is_kept_and_its_mean_is_the_figure(tmp_path, without_pictures):
    run = variata.train("vae", SMALL, run=tmp_path / "run")
    assert run.log_likelihoods is None
    found = variata.evaluate(run, samples=3, split="validation")
    each = run.log_likelihoods
    assert each is not None
    assert len(each) == len(run.data.split("validation"))
    assert float(-each.mean()) == pytest.approx(found["nll"]["value"], rel=1e-12)
    settings = variata.EvaluationSettings(samples=3)
    expected = variata.log_likelihoods(run.model, run.data.split("validation"), settings)
    assert each.tolist() == pytest.approx(expected.tolist(), rel=1e-6)
    assert variata.read_log_likelihoods(tmp_path / "run").tolist() == each.tolist()
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["settings"]["split"] == "validation"
