"""What the engine offers beyond a plain step: pieces, averages, precision, ends, skipped steps, compiled steps."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch
from torch import nn

import variata
from variata import Batch, Clock, ConfigError, NonFinite, Now, Objective, OnePhaseLoss, Phase, Split, Term, Unsupported
from variata.checkpoint import own_state, read_tensors
from variata.processes import World
from variata.training import Loop, Training
from variata.training.averages import Averages
from variata.training.feeding import Feed
from variata_plugins.optimization.optimizers import SGD, Adam, AdamW, RMSprop
from variata_plugins.optimization.schedules import Cosine, Linear, Warmup

IN_TORCH = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning",
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning",
)
SMALL = {"model.latent": 2, "model.encoder.network.hidden": [16], "model.decoder.network.hidden": [16]}


class Line(nn.Module):
    """x -> W x, in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3))
        self.unused = nn.Parameter(torch.zeros(3, dtype=torch.float64))


class Mixed(OnePhaseLoss):
    """A term for each example, one with a mask, and one of the whole batch; the mean of x moves as a statistic."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros((), dtype=torch.float64))

    def forward(self, model: Line, batch: Batch, now: Now) -> Objective:
        y = batch.x @ model.w.T
        plain, masked = y.square().sum(-1), (y - 1).square().sum(-1)
        mask = (batch.x[:, 0] > 0).double()
        terms = {"plain": Term(plain), "masked": Term(masked, 0.5, mask), "size": Term(model.w.square().sum(), 0.1)}
        return Objective(terms, {"x": batch.x[:, 0]}, [(self.mean, 0.9 * self.mean + 0.1 * batch.x.mean())])


def examples(n: int = 30) -> Split:
    return Split(
        torch.randn(n, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64), transform=lambda x: x
    )


def loop(loss=None, n: int = 30, validation: int = 0, model: nn.Module | None = None, **options) -> Loop:
    options = {"optimizer": SGD(lr=0.01), "batch_size": 10, "epochs": 2, **options}
    data = examples(n)
    held_out = Split(data.x[:validation], transform=data.transform)
    return Loop(model or Line(), loss or Mixed(), Training(**options), data, held_out, seed=0)


def numbers(row):
    return {name: value for name, value in row.items() if name != "split"}


@pytest.mark.parametrize("pieces", [2, 3, 7, 50])
@pytest.mark.parametrize("optimizer", [SGD(lr=0.05, momentum=0.9), Adam(lr=0.01)])
def test_a_batch_in_pieces_is_the_batch(pieces, optimizer):
    whole, cut = loop(optimizer=optimizer), loop(optimizer=optimizer, accumulate=pieces)
    rows = {id(whole): [], id(cut): []}
    for one in (whole, cut):
        one.run(rows[id(one)].append)
    assert torch.allclose(whole.model.w, cut.model.w, rtol=0, atol=1e-14)
    assert torch.allclose(whole.loss.mean, cut.loss.mean, rtol=0, atol=1e-14)
    assert torch.equal(cut.model.unused, torch.zeros(3, dtype=torch.float64))
    for first, second in zip(rows[id(whole)], rows[id(cut)], strict=True):
        assert numbers(first) == pytest.approx(numbers(second), rel=1e-12)


def test_a_sum_in_pieces_is_the_sum():
    class Counted(Mixed):
        def phases(self, model):
            return [Phase(name="sum", loss=self, parameters=[model.w], reduction="sum")]

    whole, cut = loop(Counted(), batch_size=30), loop(Counted(), batch_size=30, accumulate=4)
    for one in (whole, cut):
        one.step(one.feed.batch(0)[0])
    assert torch.allclose(whole.model.w, cut.model.w, rtol=0, atol=1e-13)
    assert whole.meter.read()["loss"] == pytest.approx(cut.meter.read()["loss"], rel=1e-12)


def test_a_term_whose_mask_is_empty_is_zero():
    objective = Objective({"a": Term(torch.ones(3), weight=torch.zeros(3)), "b": Term(torch.ones(3))})
    assert float(objective.total()) == 1.0


def test_what_couples_its_batch_is_not_cut():
    class Coupled(Mixed):
        couples_batch = True

    with pytest.raises(ConfigError, match="Coupled couples the examples of a batch, so it cannot be cut"):
        loop(Coupled(), accumulate=2)
    normed = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    with pytest.raises(ConfigError, match=r"batch normalisation .1. couples"):
        loop(Mixed(), model=normed, accumulate=2)


def test_clipping_by_value_bounds_each_element():
    clipped = loop(clip_value=1e-3)
    before = clipped.model.w.detach().clone()
    clipped.step(clipped.feed.batch(0)[0])
    assert (clipped.model.w - before).abs().max() <= 0.01 * 1e-3 + 1e-12


def test_averages_are_the_recursion_and_leave_the_weights_alone():
    model = nn.Linear(1, 1, bias=False)
    averages, expected = Averages(model, 0.9), float(model.weight.detach())
    for step in range(1, 30):
        with torch.no_grad():
            model.weight.fill_(float(step))
        averages.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert float(averages.values["weight"]) == pytest.approx(expected, rel=1e-5)
    with averages.in_place():
        assert float(model.weight.detach()) == pytest.approx(expected, rel=1e-5)
    assert float(model.weight.detach()) == 29.0


def test_a_run_with_averages_ends_with_them(tmp_path):
    settings = {**SMALL, "train.epochs": 2, "train.ema": 0.9}
    run = variata.train("vae", settings, run=tmp_path / "a")
    plain = variata.train("vae", {**settings, "train.ema": None}, run=tmp_path / "b")
    name, weight = next(iter(run.model.named_parameters()))
    assert not torch.equal(weight, dict(plain.model.named_parameters())[name])
    raw = read_tensors(next((tmp_path / "a" / "checkpoints").iterdir()) / "model.safetensors")
    assert torch.equal(raw[name], dict(plain.model.named_parameters())[name])


def test_validation_every_n_steps():
    rows = []
    loop(validation=5, validate_steps=2, epochs=2).run(rows.append)
    assert [row["step"] for row in rows if row["split"] == "validation"] == [2, 4, 6]


def test_a_warm_up_rises_to_the_schedule_under_way():
    cosine = Cosine(from_=1.0, to=0.0)
    warm = Warmup(of=cosine, steps=10)
    for step in (0, 5, 10, 60):
        clock = Clock(step, 10, 100)
        assert warm(clock) == pytest.approx(cosine(clock) * min(step / 10, 1))
    assert Warmup(of=3.0, epochs=2)(Clock(5, 10, 100)) == pytest.approx(0.75)
    with pytest.raises(ConfigError, match="neither steps nor epochs"):
        Warmup(of=1.0)


def test_a_warm_up_is_written_in_yaml(tmp_path, without_pictures):
    lr = {"use": "warmup", "steps": 4, "of": {"use": "cosine", "from": 0.01, "to": 0.0}}
    settings = {**SMALL, "train.steps": 6, "train.log_every": 1, "train.optimizer.lr": lr}
    rates = [row["lr"] for row in variata.train("vae", settings, run=tmp_path / "r").metrics if "lr" in row]
    cosine = [0.01 * (1 + math.cos(math.pi * step / 6)) / 2 for step in range(6)]
    assert rates == pytest.approx([value * min(step / 4, 1) for step, value in enumerate(cosine)])


def test_max_time_logs_and_validates_what_is_left():
    rows = []
    ended = loop(validation=5, max_time=1e-9, epochs=3, log_every=100)
    assert ended.run(rows.append)
    assert [(row["step"], row["split"]) for row in rows] == [(1, "train"), (1, "validation")]


def test_steps_in_place_of_epochs():
    rows = []
    trained = loop(steps=4, log_every=100)
    trained.run(rows.append)
    assert trained.clock.step == 4
    assert [row["step"] for row in rows] == [3, 4]


class Given(OnePhaseLoss):
    """A loss whose value in validation is given, by the step."""

    def __init__(self, values: dict[int, float], weight=1.0) -> None:
        super().__init__()
        self.values, self.weight = values, weight

    def forward(self, model, batch, now):
        value = torch.full((len(batch),), self.values.get(now.step, 0.0), dtype=torch.float64)
        return Objective({"given": Term(value + 0 * model.w.sum(), now(self.weight))}, {"elbo": -value})


def test_patience_ends_training_after_so_many_worse_validations():
    values = {1: 3.0, 2: 2.0, 3: 2.5, 4: 2.2, 5: 1.0}
    trained = loop(Given(values), n=10, validation=5, epochs=6, patience=2)
    assert trained.run(lambda row: None)
    assert (trained.clock.step, trained.best) == (4, (-2.0, 2))
    trained = loop(Given(values), n=10, validation=5, epochs=6, patience=2, monitor="elbo")
    trained.run(lambda row: None)
    assert (trained.clock.step, trained.best) == (4, (-2.0, 2))


def test_patience_waits_for_the_end_of_a_warm_up():
    values = dict.fromkeys(range(1, 9), 1.0)
    warm = Linear(from_=0.0, to=1.0, steps=4)
    trained = loop(Given(values, warm), n=10, validation=5, epochs=8, patience=2)
    trained.run(lambda row: None)
    assert (trained.clock.step, trained.best) == (6, (-1.0, 4))


@pytest.mark.parametrize("option", [{"patience": 2}, {"keep_best": True}])
def test_what_looks_at_validations_is_refused_where_there_are_none(option):
    with pytest.raises(ConfigError, match="looks at validations, and there is no validation split"):
        loop(**option)


def test_a_monitor_that_is_not_logged_is_named():
    with pytest.raises(ConfigError, match=r"no validation has 'los', did you mean loss\?"):
        loop(Given({}), n=10, validation=5, patience=2, monitor="los").run(lambda row: None)


def test_the_best_checkpoint_stays_and_its_weights_are_the_runs(tmp_path):
    settings = {**SMALL, "train.epochs": 6, "train.keep_best": True, "train.optimizer.lr": 0.3, "train.keep": 2}
    run = variata.train("vae", settings, run=tmp_path / "r")
    losses = {row["step"]: row["loss"] for row in run.metrics if row["split"] == "validation"}
    best = min(losses, key=lambda step: losses[step])
    kept = sorted(int(path.name[5:]) for path in (tmp_path / "r" / "checkpoints").iterdir())
    assert best in kept
    assert max(losses) in kept
    own = own_state(run.model)
    saved = read_tensors(tmp_path / "r" / "checkpoints" / f"step-{best}" / "model.safetensors")
    assert all(torch.equal(own[name], value) for name, value in saved.items())


def test_max_time_ends_a_run_that_is_finished(tmp_path):
    run = variata.train("vae", {**SMALL, "train.epochs": 100_000, "train.max_time": 0.5}, run=tmp_path / "r")
    status = json.loads((tmp_path / "r" / "run.json").read_text())
    assert run.status == status["status"] == "finished"
    assert 0 < status["step"] < 1_300_000


def test_a_gradient_that_is_not_finite_stops_before_the_step_and_names_the_parameter():
    class Root(OnePhaseLoss):
        def forward(self, model, batch, now):
            # sqrt has an infinite slope at zero, and a finite value
            return Objective({"root": Term((model.w.sum() * 0).sqrt() + 0 * batch.x[:, 0])})

    trained = loop(Root())
    before = trained.model.w.detach().clone()
    with pytest.raises(NonFinite, match="step 1, phase train: the gradient of w is not finite"):
        trained.step(trained.feed.batch(0)[0])
    assert torch.equal(trained.model.w, before)


def test_steps_that_are_not_finite_may_be_skipped_and_are_counted():
    class Sometimes(Mixed):
        def forward(self, model, batch, now):
            objective = super().forward(model, batch, now)
            bad = float("nan") if now.step % 2 else 1.0
            return dataclasses.replace(objective, terms={"a": Term(objective.terms["plain"].value * bad)})

    rows = []
    trained = loop(Sometimes(), on_nonfinite="skip", log_every=1, epochs=1, optimizer=Adam(lr=0.1))
    trained.step(trained.feed.batch(0)[0])
    after, mean = trained.model.w.detach().clone(), trained.loss.mean.clone()
    trained.step(trained.feed.batch(1)[0])
    assert torch.equal(trained.model.w, after)
    assert torch.equal(trained.loss.mean, mean)  # nor what moves without a gradient
    trained.run(rows.append)
    assert rows[-1]["skipped"] == trained.skipped == 1


def test_a_weight_that_is_not_finite_is_never_saved(tmp_path):
    class Spoiling(OnePhaseLoss):
        requires = variata.LatentVariable

        def forward(self, model, batch, now):
            return Objective(
                {"elbo": Term(-model.terms(batch.x).elbo)}, updates=[(model.spoiled, torch.tensor(torch.nan))]
            )

    assembly = variata.build("vae", SMALL, loss=Spoiling())
    assembly.model.register_buffer("spoiled", torch.zeros(()))
    with pytest.raises(NonFinite, match="spoiled is not finite, and is not saved"):
        variata.train_assembly(assembly, run=tmp_path / "r")
    assert not list((tmp_path / "r" / "checkpoints").glob("step-*"))


def test_out_of_memory_says_the_batch_and_what_to_change():
    class Huge(Mixed):
        def forward(self, model, batch, now):
            return Objective({"huge": Term(torch.empty(1 << 60).sum())})

    trained = loop(Huge())
    with pytest.raises(variata.UserError, match=r"out of memory in a step of 10 examples .*train.accumulate=2"):
        trained.step(trained.feed.batch(0)[0])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_to_about_the_same_loss(tmp_path, precision):
    settings = {**SMALL, "train.epochs": 3}
    half = variata.train("vae", {**settings, "train.precision": precision}, run=tmp_path / "half")
    full = variata.train("vae", settings, run=tmp_path / "full")
    assert all(p.dtype == torch.float32 for p in half.model.parameters())
    assert half.metrics[-1]["loss"] == pytest.approx(full.metrics[-1]["loss"], rel=0.01)
    assert half.metrics[-1]["loss"] != full.metrics[-1]["loss"]


def test_a_scaler_passes_over_a_step_that_overflows():
    class Steep(OnePhaseLoss):
        def forward(self, model, batch, now):
            return Objective({"steep": Term(1e38 * (model.w.float().sum() + 0 * batch.x[:, 0].float()))})

    trained = loop(Steep(), precision="fp16")
    trained.step(trained.feed.batch(0)[0])
    scaler = trained.movers[0].scaler
    assert scaler.get_scale() < 65536.0
    assert trained.skipped == 0


def test_deterministic_algorithms_are_used_within_training_alone(tmp_path):
    seen = []

    class Watching:
        @variata.hookimpl
        def variata_step_ended(self, context):
            seen.append(torch.are_deterministic_algorithms_enabled())

    with variata.plugin(Watching()):
        variata.train("vae", {**SMALL, "train.steps": 2, "train.deterministic": True}, run=tmp_path / "r")
    assert seen == [True, True]
    assert not torch.are_deterministic_algorithms_enabled()


def test_every_row_of_an_epoch_falls_to_one_process():
    split = examples(1001)
    feeds = [Feed(split, 64, 3, World(rank, 3), torch.device("cpu")) for rank in range(3)]
    seen = []
    for step in range(feeds[0].steps_per_epoch):
        parts = [feed.batch(step) for feed in feeds]
        assert {of for _, _, of in parts} == {len(feeds[0].index(step))}
        seen += [int(row) for batch, share, _ in parts for row in batch.index[:share]]
    assert sorted(seen) == list(range(1001))
    first, second = feeds[0].index(0), feeds[0].index(feeds[0].steps_per_epoch)
    assert not torch.equal(first, second)  # the next epoch has another order


def test_a_process_that_has_none_of_a_small_batch_left_takes_one_that_does_not_count():
    batch, share, of = Feed(examples(21), 10, 0, World(1, 2), torch.device("cpu")).batch(2)
    assert (len(batch), share, of) == (1, 0, 1)


def test_memory_does_not_grow_with_the_steps(tmp_path):
    resident = []

    class Watching:
        @variata.hookimpl
        def variata_step_ended(self, context):
            if context.step in (500, 2000):
                with open("/proc/self/statm") as file:
                    resident.append(int(file.read().split()[1]) * 4096)

    with variata.plugin(Watching()):
        variata.train("vae", {**SMALL, "train.steps": 2000, "train.batch_size": 32}, run=tmp_path / "r")
    assert resident[1] - resident[0] < 4 * 2**20


@IN_TORCH
@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (Adam(lr=0.02, weight_decay=0.1), {}),
        (AdamW(lr=0.02), {"clip": 0.5}),
        (SGD(lr=0.02, momentum=0.9, nesterov=True, weight_decay=0.1), {"clip_value": 0.1}),
    ],
)
def test_a_compiled_step_is_the_step(optimizer, options):
    """Weights, statistics and rows of 12 steps, the smaller last batch of each epoch among them."""
    compiled = loop(optimizer=optimizer, n=25, epochs=4, compile="step", **options)
    plain = loop(optimizer=optimizer, n=25, epochs=4, **options)
    rows = [], []
    for one, kept in zip((compiled, plain), rows, strict=True):
        one.run(kept.append)
    assert not torch.equal(plain.model.w, Line().w)
    assert torch.allclose(compiled.model.w, plain.model.w, rtol=0, atol=1e-10)
    assert torch.allclose(compiled.loss.mean, plain.loss.mean, rtol=0, atol=1e-12)
    for first, second in zip(*rows, strict=True):
        assert numbers(first) == pytest.approx(numbers(second), rel=1e-9)


@IN_TORCH
@pytest.mark.slow
def test_compiled_training_of_a_vae_is_training(tmp_path):
    """With draws, a schedule of the learning rate and a warm-up, which must not freeze in the graph."""
    settings = {**SMALL, "train.epochs": 3, "loss.beta": {"use": "linear", "from": 0.0, "to": 1.0}}
    plain = variata.train("vae", settings, run=tmp_path / "plain")
    for kind in ("step", "model"):
        run = variata.train("vae", {**settings, "train.compile": kind}, run=tmp_path / kind)
        for one, other in zip(plain.model.parameters(), run.model.parameters(), strict=True):
            assert torch.allclose(one, other, rtol=0, atol=1e-5)
        assert set(variata.load(tmp_path / kind).model.state_dict()) == set(plain.model.state_dict())


@IN_TORCH
@pytest.mark.slow
def test_a_compiled_step_that_is_not_finite_moves_nothing():
    class Breaking(Mixed):
        def forward(self, model, batch, now):
            objective = super().forward(model, batch, now)
            broken = Term((batch.x[:, 0] - batch.x[0, 0]) / batch.x[:, 1])
            return dataclasses.replace(objective, terms={**objective.terms, "broken": broken})

    trained = loop(Breaking(), compile="step", optimizer=Adam(lr=0.1))
    batch = trained.feed.batch(0)[0]
    trained.step(batch)
    before, mean = trained.model.w.detach().clone(), trained.loss.mean.clone()
    bad = Batch(batch.x.clone())
    bad.x[3, 1] = 0.0
    with pytest.raises(NonFinite, match="step 2, phase train: term broken is not finite"):
        trained.step(bad)
    assert torch.equal(trained.model.w, before)
    assert torch.equal(trained.loss.mean, mean)
    assert float(trained.movers[0].optimizer.state[trained.model.w]["step"]) == 1


def test_optimizers_without_a_functional_form_are_told_so():
    with pytest.raises(ConfigError, match="RMSprop has no form that a whole step can be compiled with: use adam"):
        loop(compile="step", optimizer=RMSprop(lr=0.1))
    with pytest.raises(Unsupported):
        RMSprop(lr=0.1).functional(torch.optim.RMSprop([nn.Parameter(torch.zeros(1))]))
