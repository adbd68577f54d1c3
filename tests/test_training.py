"""The loop: what a step does, in which order, and how it stops."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

import variata
from variata import Batch, Component, NonFinite, Now, Objective, OnePhaseLoss, Phase, Term
from variata.data import Split
from variata.training import Loop, Training
from variata_plugins.optimization.optimizers import SGD, Adam
from variata_plugins.optimization.schedules import Linear

TINY = {"train.epochs": 2, "model.latent": 2}


class Line(nn.Module):
    """x -> a x, with one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.zeros(()))


class Square(OnePhaseLoss):
    """(a - x)^2 / 2 for each example."""

    def forward(self, model: Line, batch: Batch, now: Now) -> Objective:
        value = 0.5 * (model.a - batch.x[:, 0]).square()
        return Objective({"square": Term(value)}, {"x": batch.x[:, 0]})


def loop(loss: Any = None, n: int = 10, validation: int = 0, **options: Any) -> Loop:
    x = torch.arange(n, dtype=torch.float32)[:, None]
    training = Training(**{"optimizer": SGD(lr=0.1), "batch_size": 4, "epochs": 3, **options})
    return Loop(Line(), loss or Square(), training, Split(x), Split(x[:validation]), seed=0)


def run(trained: Loop) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    assert trained.run(rows.append, lambda: None, lambda: False)
    return rows


def test_a_step_is_gradient_descent_on_the_mean():
    trained = loop()
    trained.step(Batch(torch.tensor([[1.0], [2.0], [6.0]])))
    assert float(trained.model.a.detach()) == pytest.approx(0.1 * 3.0)


def test_every_example_is_seen_once_an_epoch_in_another_order():
    seen: list[float] = []

    class Watching(Square):
        def forward(self, model, batch, now):
            seen.extend(batch.x[:, 0].tolist())
            return super().forward(model, batch, now)

    trained = loop(Watching())
    run(trained)
    epochs = [seen[i : i + 10] for i in range(0, 30, 10)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 3
    assert epochs[0] != epochs[1]


def test_rows_are_means_over_examples_and_validation_is_the_same_quantity():
    rows = run(loop(n=10, validation=10, log_every=100, epochs=2))
    train = [row for row in rows if row["split"] == "train"]
    validation = [row for row in rows if row["split"] == "validation"]
    assert [row["step"] for row in train] == [3, 6]
    assert [row["x"] for row in train] == [4.5, 4.5]
    assert [row["x"] for row in validation] == [4.5, 4.5]
    assert {*train[0]} - {*validation[0]} == {"lr"}


def test_a_phase_may_be_taken_each_n_steps_and_moves_its_own_parameters():
    class Two(variata.Loss):
        def __init__(self) -> None:
            super().__init__()
            self.critic = nn.Parameter(torch.zeros(()))
            self.register_buffer("taken", torch.zeros(()))

        def phases(self, model: Line) -> Sequence[Phase]:
            return [
                Phase(name="critic", loss=self.critic_loss, parameters=[self.critic], optimizer=SGD(lr=1.0)),
                Phase(name="player", loss=self.player_loss, parameters=[model.a], every=3),
            ]

        def critic_loss(self, model: Line, batch: Batch, now: Now) -> Objective:
            value = (self.critic - 1) + 0 * model.a
            return Objective({"c": Term(value)}, updates=[(self.taken, self.taken + 1)])

        def player_loss(self, model: Line, batch: Batch, now: Now) -> Objective:
            return Objective({"p": Term(model.a * 1.0)})

    loss = Two()
    trained = loop(loss)
    for _ in range(7):
        trained.step(Batch(torch.zeros(2, 1)))
    assert float(loss.critic.detach()) == -7
    assert float(trained.model.a.detach()) == pytest.approx(-0.3)
    assert float(loss.taken) == 7
    assert set(trained.meter.read()) == {"loss/critic", "loss/player"}


def test_the_learning_rate_follows_its_schedule():
    rates = []
    trained = loop(optimizer=SGD(lr=Linear(from_=1.0, to=0.0)))
    for _ in range(3):
        trained.step(Batch(torch.zeros(2, 1)))
        rates.append(trained.movers[0].optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1.0, 8 / 9, 7 / 9])


def test_clipping_bounds_the_norm_of_the_step():
    trained = loop(clip=0.5)
    trained.step(Batch(torch.full((2, 1), 1e6)))
    assert float(trained.model.a.detach()) == pytest.approx(0.05)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_the_step(bad):
    class Breaking(Square):
        def forward(self, model, batch, now):
            objective = super().forward(model, batch, now)
            broken = Term(torch.full((len(batch),), bad)) if now.step == 2 else Term(torch.zeros(len(batch)))
            return Objective({**objective.terms, "broken": broken})

    trained = loop(Breaking())
    trained.step(Batch(torch.ones(2, 1)))
    trained.step(Batch(torch.ones(2, 1)))
    before = float(trained.model.a.detach())
    with pytest.raises(NonFinite, match="step 3, phase train: term broken is not finite"):
        trained.step(Batch(torch.ones(2, 1)))
    assert float(trained.model.a.detach()) == before


def test_validation_changes_neither_the_model_nor_the_noise(tmp_path):
    with_validation = variata.train("vae", {**TINY, "train.validate_every": 1}, run=tmp_path / "a")
    without = variata.train("vae", {**TINY, "train.validate_every": 1000}, run=tmp_path / "b")
    for one, other in zip(with_validation.model.parameters(), without.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_training_is_repeatable_and_leaves_the_generator_alone(tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = variata.train("vae", TINY, run=tmp_path / "one")
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(6)
    two = variata.train("vae", TINY, run=tmp_path / "two")
    other = variata.train("vae", {**TINY, "seed": 1}, run=tmp_path / "other")
    assert (tmp_path / "one" / "metrics.jsonl").read_text() == (tmp_path / "two" / "metrics.jsonl").read_text()
    for first, second in zip(one.model.parameters(), two.model.parameters(), strict=True):
        assert torch.equal(first, second)
    assert not all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))


def test_elbo_is_reconstruction_minus_kl_in_every_row(tmp_path):
    run = variata.train("beta_vae", {**TINY, "loss.free_bits": 0.5}, run=tmp_path / "run")
    assert {row["split"] for row in run.metrics} == {"train", "validation"}
    for row in run.metrics:
        assert row["elbo"] == pytest.approx(row["reconstruction"] - row["kl"], abs=1e-5)
        assert row["loss"] > 0


def test_metrics_do_not_pile_up():
    """What a step keeps is bounded: metrics are read at each logging interval."""
    trained = loop(log_every=2)
    sizes = []
    trained.run(lambda row: None, lambda: sizes.append(sum(map(len, trained.meter.values.values()))), lambda: False)
    assert max(sizes) <= 4


def test_stopping_ends_after_the_step_under_way():
    trained = loop()
    steps: list[int] = []
    assert not trained.run(lambda row: None, lambda: steps.append(trained.clock.step), lambda: len(steps) == 4)
    assert steps == [1, 2, 3, 4]


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.2, 1.0, 2.0])
def test_ctrl_c_leaves_a_run_that_loads(tmp_path, moment):
    """From the first line of progress on: after the step under way, with status 130, and `variata.load` accepts it."""
    folder = tmp_path / "run"
    arguments = ["train", "vae", "train.epochs=100000", "--run", str(folder)]
    process = subprocess.Popen([sys.executable, "-m", "variata", *arguments], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    process.stderr.readline()
    time.sleep(moment)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)  # training itself would take an hour
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    with pytest.warns(variata.VariataWarning, match="training did not reach its end"):
        assert variata.load(folder).model.sample(2).shape == (2, 1, 8, 8)


@pytest.mark.slow
def test_ctrl_c_while_starting_is_one_line(tmp_path):
    arguments = ["train", "vae", "train.epochs=100000", "--run", str(tmp_path / "run")]
    process = subprocess.Popen([sys.executable, "-m", "variata", *arguments], stderr=subprocess.PIPE, text=True)
    time.sleep(0.7)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in err


def test_a_loss_without_parameters_is_refused():
    class Empty(Square):
        def phases(self, model):
            return [Phase(name="none", loss=self, parameters=[])]

    with pytest.raises(variata.ConfigError, match="phase none has no parameter to move"):
        loop(Empty())


def test_fused_adam_is_used_where_torch_has_it():
    parameters = [nn.Parameter(torch.zeros(2))]
    assert Adam(lr=0.1).build(parameters, 0.1).defaults["fused"] is True


def test_hooks_of_a_run_are_called_in_order(tmp_path):
    class Listening:
        def __init__(self) -> None:
            self.calls: list[tuple[str, int, str]] = []

        @variata.hookimpl
        def variata_run_started(self, context):
            self.calls.append(("started", context.step, context.status))

        @variata.hookimpl
        def variata_step_ended(self, context):
            self.calls.append(("step", context.step, context.status))

        @variata.hookimpl
        def variata_checkpoint_saved(self, context):
            assert (context.path / "model.safetensors").exists()
            self.calls.append(("saved", context.step, context.status))

        @variata.hookimpl
        def variata_run_ended(self, context):
            self.calls.append(("ended", context.step, context.status))

    listening = Listening()
    with variata.plugin(listening):
        variata.train("vae", {"train.epochs": 1, "model.latent": 2, "train.batch_size": 1000}, run=tmp_path / "r")
    steps = [call for call in listening.calls if call[0] == "step"]
    assert [call[0] for call in listening.calls] == ["started", *["step"] * len(steps), "saved", "ended"]
    assert listening.calls[-1] == ("ended", len(steps), "finished")


def test_a_component_given_as_a_class(tmp_path):
    class Half(OnePhaseLoss):
        """Half of the bound.

        A loss written in a notebook.
        """

        requires = variata.LatentVariable

        def __init__(self, *, share: float = 0.5) -> None:
            super().__init__()
            self.share = share

        def forward(self, model, batch, now):
            terms = model.terms(batch.x, batch.y)
            return Objective({"half": Term(-terms.elbo, scale=self.share)}, terms.metrics())

    with variata.plugin([Component("loss", "half", Half)]):
        run = variata.train("vae", {**TINY, "loss.use": "half", "loss.share": 0.25}, run=tmp_path / "r")
        assert run.metrics[-1]["loss"] == pytest.approx(-0.25 * run.metrics[-1]["elbo"], rel=1e-5)
        assert variata.load(tmp_path / "r").spec["loss"].use == "half"
    with pytest.raises(variata.UserError):
        variata.load(tmp_path / "r")


def test_whatever_ends_training_the_weights_are_kept(tmp_path):
    class Failing(OnePhaseLoss):
        requires = variata.LatentVariable

        def forward(self, model, batch, now):
            if now.step == 3:
                raise KeyError("lost")
            return Objective({"elbo": Term(-model.terms(batch.x).elbo)})

    with pytest.raises(KeyError):
        variata.train("vae", TINY, run=tmp_path / "run", loss=Failing())
    with pytest.warns(variata.VariataWarning, match="did not reach its end .failed."):
        assert variata.load(tmp_path / "run").model.sample(2).shape == (2, 1, 8, 8)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["step"] == 3


def test_a_loss_that_differentiates_within_itself_is_validated_too():
    class Penalty(Square):
        def forward(self, model, batch, now):
            x = batch.x.clone().requires_grad_()
            (slope,) = torch.autograd.grad((model.a * x.square()).sum(), x, create_graph=True)
            return Objective({"penalty": Term((slope - 1).square().sum(1))})

        def phases(self, model):
            (phase,) = super().phases(model)
            return [dataclasses.replace(phase, needs_gradients=True)]

    rows = run(loop(Penalty(), validation=10, epochs=1))
    assert [row["split"] for row in rows] == ["train", "validation"]


def test_a_row_is_the_mean_of_as_many_steps_as_asked_or_of_what_is_left_of_the_epoch():
    counted: list[int] = []
    trained = loop(n=10, batch_size=1, epochs=2, log_every=4)
    trained.run(lambda row: counted.append(row["step"]), lambda: None, lambda: False)
    assert counted == [4, 8, 10, 14, 18, 20]
