"""Corruption processes: their laws, with the uniform numbers that they toss on a grid, and what they refuse."""

from __future__ import annotations

import pytest
import torch

import variata
from variata import (
    Batch,
    Component,
    ConfigError,
    Corruption,
    DataSpec,
    Factory,
    Model,
    Now,
    Objective,
    OnePhaseLoss,
    default,
    make,
)
from variata_plugins.corruption.gaussian import GaussianCorruption
from variata_plugins.corruption.masking import Masking
from variata_plugins.corruption.salt_and_pepper import SaltAndPepper

BYTES = DataSpec((1,), "levels", levels=5, low=-1.0, high=1.0)
F64 = torch.float64


def shares(corruption: torch.nn.Module, x: float, monkeypatch: pytest.MonkeyPatch) -> dict[float, float]:
    """How often each value follows x, over 1000 evenly spread uniform numbers."""
    monkeypatch.setattr(torch, "rand_like", lambda like: ((torch.arange(1000) + 0.5) / 1000).reshape(like.shape))
    values, counts = corruption(torch.full((1000, 1), x, dtype=F64)).unique(return_counts=True)
    monkeypatch.undo()
    return dict(zip(values.tolist(), (counts / 1000).tolist(), strict=True))


def test_masking_hides_a_share_of_the_elements(monkeypatch):
    assert shares(Masking(rate=0.3), 0.5, monkeypatch) == pytest.approx({0.0: 0.3, 0.5: 0.7})
    assert shares(Masking(rate=1.0, value=-1.0), 0.5, monkeypatch) == {-1.0: 1.0}
    assert shares(Masking(rate=0.0), 0.5, monkeypatch) == {0.5: 1.0}


def test_salt_and_pepper_are_the_least_and_the_greatest_value_equally_often(monkeypatch):
    corruption = SaltAndPepper(BYTES, rate=0.4)
    assert shares(corruption, 0.5, monkeypatch) == pytest.approx({-1.0: 0.2, 0.5: 0.6, 1.0: 0.2})
    assert shares(corruption, 1.0, monkeypatch) == pytest.approx({-1.0: 0.2, 1.0: 0.8})


def test_normal_noise_has_its_scale(monkeypatch):
    monkeypatch.setattr(torch, "randn_like", lambda x: torch.full_like(x, 2.0))
    x = torch.tensor([[1.0, -3.0]])
    assert torch.equal(GaussianCorruption(scale=0.25)(x), x + 0.5)


@pytest.mark.parametrize("corruption", [Masking(), SaltAndPepper(BYTES), GaussianCorruption()])
def test_elements_meet_their_fates_independently_and_afresh(corruption):
    x = torch.full((4000, 2), 0.5)
    first, second = corruption(x), corruption(x)
    assert not torch.equal(first, second)
    assert torch.corrcoef(first.T)[0, 1].abs() < 4 / 4000**0.5
    assert torch.equal(x, torch.full((4000, 2), 0.5))
    assert corruption(x[0]).shape == (2,)


def test_values_without_bounds_have_no_salt_and_pepper():
    with pytest.raises(ConfigError, match="use gaussian or masking"):
        SaltAndPepper(DataSpec((2,), "real"))


class Robust(OnePhaseLoss):
    def __init__(self, model: Model, *, corruption: Factory[Corruption] = default("corruption", "gaussian")) -> None:
        super().__init__()
        self.corruption = make(corruption, data=model.spec)

    def forward(self, model: Model, batch: Batch, now: Now) -> Objective:
        raise NotImplementedError


def test_other_models_name_corruptions_too():
    """A part of any plugin may ask for one by the interface that `variata` exports."""
    with variata.plugin([Component("loss", "robust", Robust)]):
        loss = variata.build("vae", ["loss.use=robust", "loss.corruption.use=salt_and_pepper"]).loss
        assert (loss.corruption.low, loss.corruption.high) == (0.0, 1.0)
        assert isinstance(variata.build("vae", ["loss.use=robust"]).loss.corruption, GaussianCorruption)
