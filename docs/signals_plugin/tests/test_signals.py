"""What is said of signals holds: one mode is the formula, loudness enters once, and what is no signal is refused."""

from __future__ import annotations

import math

import pytest
import torch
from matplotlib.image import imread
from torch.testing import assert_close
from variata_signals.conv1d import Conv1d
from variata_signals.encoder import SignalEncoder
from variata_signals.oscillations import DampedOscillations

import variata
from variata import DataSpec, Network

REAL = {"low": -math.inf, "high": math.inf, "measure": "lebesgue"}


def test_a_signal_of_one_mode_obeys_the_equation_of_a_damped_oscillator():
    """x(t+h) = 2 r cos(w h) x(t) - r^2 x(t-h) with r = e^{-h/tau}: two numbers tell a whole signal."""
    x = DampedOscillations(modes=1, noise=1e-6, examples=20).split("train").batch(torch.arange(16)).x.double()[:, 0]
    following, now, before = x[:, 2:], x[:, 1:-1], x[:, :-2]
    found = torch.linalg.lstsq(torch.stack([now, before], 2), following.unsqueeze(2)).solution[..., 0]
    residual = following - found[:, :1] * now - found[:, 1:] * before
    assert residual.abs().max() < 1e-4
    decay = -found[:, 1]  # r^2 = e^{-2 h / tau}
    assert (decay > math.exp(-2 / 64 / 0.1) - 1e-3).all()
    assert (decay < math.exp(-2 / 64 / 0.6) + 1e-3).all()


def test_labels_count_modes_and_noise_is_what_it_is_said_to_be():
    rows = torch.arange(300)
    quiet, loud = (DampedOscillations(noise=s, examples=400).split("train").batch(rows) for s in (1e-3, 0.1))
    assert_close(quiet.y, loud.y)
    assert set(quiet.y.tolist()) == {0, 1, 2}
    assert float((loud.x - quiet.x).std()) == pytest.approx(0.1 - 1e-3, rel=0.02)


class Seen(Network):
    """Keeps what it is given."""

    def forward(self, x, y):
        self.x = x
        return x.new_zeros(len(x), *self.output)


def test_loudness_enters_as_one_number():
    spec = DataSpec((2, 32), "real", **REAL)
    encoder = SignalEncoder(spec, 3, None, network=Seen((3, 32), (6,)))
    x = torch.randn(5, 2, 32, dtype=torch.float64)
    encoder(x)
    once = encoder.network.x
    encoder(2 * x)
    twice = encoder.network.x
    assert_close(once[:, :2], twice[:, :2], rtol=1e-6, atol=1e-6)
    assert_close(twice[:, 2] - once[:, 2], torch.full((5, 32), math.log(2), dtype=torch.float64), rtol=1e-6, atol=1e-6)
    encoder(0 * x)
    assert encoder.network.x.isfinite().all()


@pytest.mark.parametrize("length", [1, 2, 3, 31, 64])
def test_convolutions_take_any_length(length):
    network = Conv1d((2, length), (3, 2), (4,))
    assert network(torch.randn(5, 2, length), torch.arange(5) % 4).shape == (5, 3, 2)


def test_what_is_no_signal_is_refused():
    with pytest.raises(variata.ConfigError, match=r"a signal has the shape \(channels, length\)"):
        variata.build("vae", {"model.encoder": {"use": "signal"}})
    with pytest.raises(variata.ConfigError, match=r"conv1d reads signals \(channels, length\)"):
        variata.build("vae", {"model.encoder.network": {"use": "conv1d"}})
    with pytest.raises(variata.ConfigError, match="must be odd"):
        variata.build("signal_vae", {"model.encoder.network.kernel": 4})


def test_a_run_leaves_a_picture_where_examples_are_signals(tmp_path):
    short = {"train.epochs": 1, "model.latent": 2}
    run = variata.train("signal_vae", {**short, "data.examples": 200}, run=tmp_path / "signals")
    picture = imread(run.path / "signals.png")
    assert min(picture.shape[:2]) > 150
    assert picture[..., :3].std() > 0.02
    assert not (variata.train("vae", short, run=tmp_path / "images").path / "signals.png").exists()
