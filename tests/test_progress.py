"""Progress of work that knows nothing of who shows it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import variata
from variata import Data, Estimate, EvaluationSettings, Metric, stage
from variata.progress import Reporter


@pytest.fixture
def stages(monkeypatch) -> dict[str, list[int]]:
    """What is shown: of each title its size, and the steps that were counted."""
    seen: dict[str, list[int]] = {}

    def recorded(self: Reporter, title: str, total: int) -> Callable[[int], None]:
        seen[title] = [total, 0]

        def advance(count: int) -> None:
            seen[title][1] += count

        return advance

    monkeypatch.setattr(Reporter, "stage", recorded)
    return seen


def test_where_nobody_reports_nothing_is_shown(capsys):
    stage("work", 3)(1)
    assert capsys.readouterr() == ("", "")


def test_the_innermost_reporter_shows_it_and_the_outer_one_afterwards(stages):
    with Reporter("outer", 1, quiet=True):
        kept = stage("first", 2)
        with Reporter("inner", 1, quiet=True):
            stage("second", 3)(3)
            kept(2)
        stage("third", 4)(1)
    stage("fourth", 5)(5)
    assert stages == {"first": [2, 2], "second": [3, 3], "third": [4, 1]}


class Slow(Metric):
    """A metric of somebody's, with progress of its own."""

    def measure(self, model: object, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        advance = stage("slow", 10)
        for _ in range(10):
            advance(1)
        return {"slow": {"value": 1.0, "standard_error": None}}


def test_metrics_show_how_far_they_have_come(stages, tmp_path, monkeypatch, without_pictures):
    monkeypatch.setenv("VARIATA_CACHE", str(tmp_path))
    run = variata.train("vae", {"train.epochs": 1, "model.latent": 2}, run=tmp_path / "run")
    lenet = {"use": "lenet", "steps": 30}
    chosen = [Slow(), {"use": "fid", "samples": 700, "extractor": lenet}]
    variata.evaluate(run, samples=1, metrics=chosen)
    assert all(done == total for total, done in stages.values()), stages
    assert list(stages) == ["examples", "slow", "training lenet", "drawing samples"]
    assert stages["drawing samples"] == [700, 700]
    assert stages["training lenet"][0] >= 30
    variata.evaluate(run, samples=1, metrics=chosen)


def test_plain_lines_come_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr("variata.progress._SECONDS_BETWEEN_LINES", 0.0)
    with Reporter("evaluate test", 1):
        advance = stage("annealing", 3)
        advance(1)
        advance(2)
    assert capsys.readouterr().err.splitlines() == ["evaluate test: annealing 1/3", "evaluate test: annealing 3/3"]
