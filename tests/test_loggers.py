"""What a run's metrics are written to: every row once, after a resume too; a logger that fails harms nobody."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

import variata
from variata import Component, Logger, VariataWarning
from variata.training import Loop

SMALL = {"model.latent": 2, "train.epochs": 3, "train.log_every": 5, "train.checkpoint_every": 10}


class Stopped(BaseException):
    pass


def stopped_and_resumed(settings: dict, folder: Path, monkeypatch) -> variata.Run:
    step = Loop.step

    def until(self, *arguments):
        step(self, *arguments)
        if self.clock.step == 28:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "step", until)
        with pytest.raises(Stopped):
            variata.train("vae", settings, run=folder)
    return variata.train(folder, resume=True)


def test_csv_has_every_row_once(tmp_path, monkeypatch, without_pictures):
    run = stopped_and_resumed({**SMALL, "train.loggers": ["csv"]}, tmp_path / "r", monkeypatch)
    with (tmp_path / "r" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(run.metrics) == 12
    for row, expected in zip(rows, run.metrics, strict=True):
        assert {name: value for name, value in row.items() if value} == {n: str(v) for n, v in expected.items()}


def scalars(folder: Path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder), {"images": 0, "scalars": 0})
    events.Reload()
    return events


def test_tensorboard_has_every_row_once_and_pictures(tmp_path, monkeypatch, without_pictures):
    settings = {**SMALL, "train.loggers": [{"use": "tensorboard", "pictures": 4}]}
    run = stopped_and_resumed(settings, tmp_path / "r", monkeypatch)
    events = scalars(tmp_path / "r")
    for split in ("train", "validation"):
        expected = [(row["step"], row["loss"]) for row in run.metrics if row["split"] == split]
        seen = [(event.step, event.value) for event in events.Scalars(f"loss/{split}")]
        assert [step for step, _ in seen] == [step for step, _ in expected]
        assert [value for _, value in seen] == pytest.approx([value for _, value in expected], rel=1e-6)
    assert {event.step for event in events.Images("samples")} >= {10, 20, 30, 39}
    picture = events.Images("reconstructions")[-1]
    assert (picture.width, picture.height) == (4 * 8, 2 * 8)


def test_loggers_do_not_change_training(tmp_path, without_pictures):
    plain = variata.train("vae", SMALL, run=tmp_path / "a")
    logged = variata.train("vae", {**SMALL, "train.loggers": ["csv", "tensorboard"]}, run=tmp_path / "b")
    for one, other in zip(plain.model.parameters(), logged.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_logger_that_fails_is_a_warning(tmp_path, without_pictures):
    class Failing(Logger):
        """Fails."""

        def logged(self, context):
            raise KeyError("lost")

    with (
        variata.plugin([Component("logger", "failing", Failing)]),
        pytest.warns(VariataWarning, match="logger Failing failed in"),
    ):
        run = variata.train("vae", {**SMALL, "train.loggers": ["failing", "csv"]}, run=tmp_path / "r")
    assert run.status == "finished"
    assert (tmp_path / "r" / "metrics.csv").exists()


def test_tensorboard_that_is_not_installed_is_said(tmp_path, command, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard.writer", None)
    status, _, err = command("train", "vae", "train.loggers=[tensorboard]", "--run", tmp_path / "r")
    assert status == 2
    assert "train.loggers: tensorboard is not installed: pip install variata[logging]" in err


def test_a_logger_hears_of_a_run_that_fails(tmp_path):
    heard = []

    class Listener(Logger):
        """Listens."""

        def ended(self, context):
            heard.append("ended")

        def failed(self, context):
            heard.append((context.status, context.step))

    class Lost(variata.OnePhaseLoss):
        def forward(self, model, batch, now):
            if now.step == 2:
                raise RuntimeError("lost")
            return variata.Objective({"elbo": variata.Term(-model.terms(batch.x).elbo)})

    with variata.plugin([Component("logger", "listener", Listener)]):
        assembly = variata.build("vae", {**SMALL, "train.loggers": ["listener"]}, loss=Lost())
        with pytest.raises(RuntimeError, match="lost"):
            variata.train_assembly(assembly, run=tmp_path / "r")
    assert heard == [("failed", 2)]
