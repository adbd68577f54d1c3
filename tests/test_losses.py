"""The bounds on batches where their readings differ, schedules at their corners, and the objective's arithmetic."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Independent, Normal

import variata
from variata import (
    Batch,
    Clock,
    ConfigError,
    DataSpec,
    DiagonalNormal,
    LatentVariable,
    Layer,
    Now,
    Objective,
    StandardNormal,
    Term,
    Terms,
)
from variata_plugins.bounds.iwae import IWAE
from variata_plugins.optimization.schedules import Constant, Cosine, Cyclic, Linear
from variata_plugins.vae.elbo import ELBO


class Fixed(LatentVariable):
    """A model whose terms are given: KL of each dimension from `mean`, log p(x | z) = -x."""

    def __init__(self, mean: torch.Tensor) -> None:
        super().__init__(DataSpec((1,), "real"))
        self.mean = torch.nn.Parameter(mean)

    def terms(self, x, y=None, samples=None):
        q = DiagonalNormal(self.mean, torch.zeros_like(self.mean))
        shape = self.mean.shape if samples is None else (samples, *self.mean.shape)
        z = self.mean + torch.zeros(shape, dtype=self.mean.dtype)
        kl = 0.5 * self.mean.square().sum(-1)
        layer = Layer(z, q, StandardNormal(self.mean), kl=kl)
        likelihood = -x[:, 0] if samples is None else (-x[:, 0]).expand(samples, -1)
        return Terms([layer], likelihood, samples)

    def encode(self, x, y=None):
        return self.mean

    def decode(self, z, y=None):
        return z

    def generate(self, n, condition=None):
        raise AssertionError("not used")


# KL of the dimensions: example 1 has (2, 0), example 2 has (0.5, 0.125).
MEAN = torch.tensor([[2.0, 0.0], [1.0, 0.5]], dtype=torch.float64)
KL = 0.5 * MEAN.square()
BATCH = Batch(torch.tensor([[10.0], [20.0]], dtype=torch.float64))
NOW = Now(Clock(0, 10, 100))


def value(loss: variata.Loss) -> float:
    return float(loss(Fixed(MEAN), BATCH, NOW).total().detach())


def test_elbo_and_beta():
    assert value(ELBO()) == pytest.approx(15 + float(KL.sum(1).mean()), abs=1e-12)
    assert value(ELBO(beta=4.0)) == pytest.approx(15 + 4 * float(KL.sum(1).mean()), abs=1e-12)
    assert value(ELBO(samples=7)) == pytest.approx(value(ELBO()), abs=1e-12)


def test_a_scheduled_beta_takes_the_value_of_the_step():
    loss = ELBO(beta=Linear(from_=0.0, to=1.0, steps=10))
    now = Now(Clock(0, 10, 100))
    model = Fixed(MEAN)
    for step in (0, 5, 10, 50):
        now.advance(Clock(step, 10, 100))
        expected = 15 + min(step / 10, 1) * float(KL.sum(1).mean())
        assert float(loss(model, BATCH, now).total().detach()) == pytest.approx(expected, abs=1e-6)


def test_free_bits_clamp_the_mean_over_the_batch():
    """Dimension 1 has a mean of 1.25, dimension 2 of 0.0625: with lambda = 1 the first stays and the second is lifted;
    clamped example by example, both would be 2 + 1 and 1 + 1."""
    assert KL.mean(0).tolist() == [1.25, 0.0625]
    assert value(ELBO(free_bits=1.0)) == pytest.approx(15 + 1.25 + 1.0, abs=1e-12)
    assert value(ELBO(free_bits_per_example=1.0)) == pytest.approx(15 + ((2 + 1) + (1 + 1)) / 2, abs=1e-12)
    assert value(ELBO(free_bits=1.0, beta=3.0)) == pytest.approx(15 + 3 * 2.25, abs=1e-12)


def test_free_bits_give_no_gradient_to_a_lifted_dimension():
    model = Fixed(MEAN)
    ELBO(free_bits=1.0)(model, BATCH, NOW).total().backward()
    assert model.mean.grad is not None
    assert (model.mean.grad[:, 1] == 0).all()
    assert (model.mean.grad[:, 0] != 0).all()


def test_capacity_takes_the_mean_before_the_absolute_value():
    """Mean KL is 1.3125; for each example |KL - 1| would be 1 and 0.375."""
    assert value(ELBO(capacity=1.0, gamma=10.0)) == pytest.approx(15 + 10 * 0.3125, abs=1e-12)
    assert value(ELBO(capacity=3.0, gamma=10.0)) == pytest.approx(15 + 10 * (3 - 1.3125), abs=1e-12)


def test_losses_that_couple_their_batch_say_so():
    assert [ELBO().couples_batch, ELBO(free_bits_per_example=1.0).couples_batch] == [False, False]
    assert [ELBO(free_bits=1.0).couples_batch, ELBO(capacity=1.0).couples_batch] == [True, True]


@pytest.mark.parametrize(
    "options",
    [
        {"free_bits": 1.0, "capacity": 1.0},
        {"beta": 2.0, "capacity": 1.0},
        {"free_bits": 1.0, "free_bits_per_example": 1.0},
        {"gamma": 3.0},
        {"beta": -1.0},
        {"capacity": -1.0},
    ],
)
def test_options_that_exclude_each_other(options):
    with pytest.raises(ConfigError):
        ELBO(**options)


@pytest.mark.parametrize("loss", [ELBO(beta=7.0), ELBO(free_bits=3.0), ELBO(capacity=2.0), IWAE(samples=3)])
def test_metrics_are_always_at_beta_one(loss):
    metrics = loss(Fixed(MEAN), BATCH, NOW).metrics
    torch.testing.assert_close(metrics["kl"], KL.sum(1))
    torch.testing.assert_close(metrics["reconstruction"], -BATCH.x[:, 0])
    torch.testing.assert_close(metrics["elbo"], metrics["reconstruction"] - metrics["kl"], atol=1e-12, rtol=0)


def test_iwae_is_the_log_of_the_mean_weight():
    model = Fixed(MEAN)
    terms = model.terms(BATCH.x, samples=3)
    expected = torch.log(terms.log_weights().exp().mean(0)).mean()
    assert value(IWAE(samples=3)) == pytest.approx(-float(expected.detach()), abs=1e-12)


def test_per_dimension_kl_of_several_samples_is_averaged():
    q = DiagonalNormal(torch.zeros(3, 4, 2), torch.zeros(3, 4, 2))
    layer = Layer(torch.zeros(3, 4, 2), q, DiagonalNormal(torch.ones(3, 4, 2), torch.zeros(3, 4, 2)))
    terms = Terms([layer], torch.zeros(3, 4), 3)

    class Deep(Fixed):
        def terms(self, x, y=None, samples=None):
            return terms

    total = ELBO(free_bits=0.25)(Deep(MEAN), BATCH, NOW).total()
    assert float(total) == pytest.approx(1.0)


def test_an_objective_divides_by_the_sum_of_weights():
    values = torch.tensor([1.0, 2.0, 30.0])
    masked = Objective(
        {"a": Term(values, weight=torch.tensor([1.0, 1.0, 0.0])), "b": Term(torch.tensor(5.0), scale=2.0)}
    )
    assert float(masked.total()) == 1.5 + 10
    assert float(masked.total("sum")) == 3 + 10
    assert float(Objective({"a": Term(values)}).total("sum")) == 33


# Schedules


def at(schedule: variata.Schedule, *steps: int) -> list[float]:
    return [round(schedule(Clock(step, 10, 100)), 9) for step in steps]


def test_schedules():
    assert at(Constant(value=3.0), 0, 99) == [3, 3]
    assert at(Linear(from_=0.0, to=2.0, steps=4), 0, 1, 2, 4, 50) == [0, 0.5, 1, 2, 2]
    assert at(Linear(from_=0.0, to=2.0, epochs=2.0), 0, 10, 20, 30) == [0, 1, 2, 2]
    assert at(Linear(from_=1.0, to=0.0), 0, 50, 100) == [1, 0.5, 0]
    assert at(Cosine(from_=1.0, to=0.0), 0, 25, 50, 100) == [1, round((1 + math.cos(math.pi / 4)) / 2, 9), 0.5, 0]
    assert at(Cyclic(from_=0.0, to=1.0, cycles=2, ramp=0.5), 0, 12, 25, 40, 50, 62, 75, 100) == [
        0, 0.48, 1, 1, 0, 0.48, 1, 1,
    ]  # fmt: skip


def test_a_schedule_has_one_length():
    with pytest.raises(ConfigError):
        Linear(from_=0.0, to=1.0, steps=1, epochs=1.0)


def test_now_gives_tensors_that_follow_the_clock():
    schedule = Linear(from_=0.0, to=1.0)
    now = Now(Clock(0, 10, 100))
    held = now(schedule)
    assert now(2.5) == 2.5
    now.advance(Clock(50, 10, 100))
    assert isinstance(held, torch.Tensor)
    assert float(held) == 0.5
    assert now.epoch == 5
    assert float(Now.at_end()(schedule)) == 1.0


def test_the_bound_of_a_flow_never_asks_for_a_density_that_the_draw_gave():
    class Counting(Independent):
        asked = 0

        def log_prob(self, value):
            Counting.asked += 1
            return super().log_prob(value)

        def rsample_and_log_prob(self, shape=()):
            z = self.rsample(shape)
            return z, super().log_prob(z)

    q = Counting(Normal(torch.zeros(4, 2), torch.ones(4, 2)), 1)
    p = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(2)), Independent(Normal(torch.zeros(2, 2), torch.ones(2, 2)), 1)
    )
    layer = variata.rsample_and_kl(q, p, 3)
    assert layer.kl.shape == (3, 4)
    assert not layer.closed_form
    assert Counting.asked == 0
