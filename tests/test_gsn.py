"""Generative stochastic networks: the layers' updates written out, limits in which they are something known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

import variata
from variata import Batch, ConfigError, DataSpec, Now
from variata_plugins.autoencoder.walkback import Denoising
from variata_plugins.corruption.gaussian import GaussianCorruption
from variata_plugins.corruption.masking import Masking
from variata_plugins.gsn.model import GSN

F64 = torch.float64
BINARY = DataSpec((6,), "binary")


def close(actual: Any, expected: Any, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def chain(*hidden: int, data: DataSpec = BINARY, corruption: Any = None, **options: Any) -> GSN:
    corruption = Masking(rate=0.0) if corruption is None else corruption
    model = GSN(data, hidden=hidden, corruption=corruption, activation="tanh", **options).double()
    for bias in model.bias:
        torch.nn.init.normal_(bias)
    return model


def bits(n: int, dimensions: int = 6) -> Tensor:
    return torch.bernoulli(torch.full((n, dimensions), 0.5, dtype=F64))


def test_one_step_without_noise_is_the_autoencoder_of_tied_weights():
    model, x = chain(4), bits(8)
    w, (c0, c1) = model.weight[0], model.bias
    field = torch.tanh(x @ w + c1) @ w.T + c0
    expected = binary_cross_entropy_with_logits(field, x, reduction="none").sum(1).mean()
    loss = Denoising(model)(model, Batch(x), Now.at_end()).total()
    close(loss, expected)
    parameters = list(model.parameters())
    for one, other in zip(
        torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters), strict=True
    ):
        close(one, other)
    close(model.reconstruct(x), field.sigmoid())


def test_two_steps_of_three_layers_written_out(monkeypatch):
    """Noise before and after the nonlinearity, odd layers before even ones, and gradients through the memory."""
    model = chain(5, 4, 3, before=GaussianCorruption(scale=0.5), after=GaussianCorruption(scale=0.25))
    (w1, w2, w3), (c0, c1, c2, c3) = model.weight, model.bias
    monkeypatch.setattr(torch, "randn_like", torch.ones_like)
    x, drawn = bits(7), bits(7)
    monkeypatch.setattr(torch, "bernoulli", lambda p: drawn)

    def unit(field: Tensor) -> Tensor:
        return torch.tanh(field + 0.5) + 0.25

    h1 = unit(c1 + x @ w1)
    h3 = unit(c3.expand(7, 3))
    h2 = unit(c2 + h1 @ w2 + h3 @ w3.T)
    first = c0 + h1 @ w1.T
    g1 = unit(c1 + drawn @ w1 + h2 @ w2.T)
    second = c0 + g1 @ w1.T
    expected = sum(binary_cross_entropy_with_logits(f, x, reduction="none").sum(1).mean() for f in (first, second)) / 2
    loss = Denoising(model, walkback=2)(model, Batch(x), Now.at_end()).total()
    close(loss, expected)
    parameters = list(model.parameters())
    for one, other in zip(
        torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters), strict=True
    ):
        assert one.abs().max() > 0
        close(one, other)


@pytest.mark.parametrize(("layers", "least"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_the_walk_has_to_reach_the_top(layers, least):
    model, x = chain(*[3] * layers), bits(5)
    if least > 1:
        with pytest.raises(ConfigError, match=f"set walkback to {least} or more"):
            Denoising(model, walkback=least - 1)
    for walkback, reaches in ((least, True), (least - 1, False)):
        if not walkback:
            continue
        memory, total = model.memory(5), torch.zeros((), dtype=F64)
        for _ in range(walkback):
            law, memory = model.restore(x, memory)
            total = total - law.log_prob(x).sum()
        gradients = torch.autograd.grad(total, list(model.parameters()), allow_unused=True)
        assert all(g is not None for g in gradients) == reaches


def test_without_noise_or_memory_its_stationary_law_is_that_of_its_matrix():
    """One binary unit, one hidden unit: the chain is a 2 x 2 matrix, which long chains are held to."""
    model = chain(1, data=DataSpec((1,), "binary"), burn_in=60)
    x = torch.tensor([[0.0], [1.0]], dtype=F64)
    on = model.restore(x, model.memory(2))[0].mean[:, 0].detach()
    stationary = on[0] / (1 - on[1] + on[0])
    n = 40_000
    share = model.sample(n).mean()
    assert (share - stationary).abs() < 5 * (stationary * (1 - stationary) / n).sqrt()


def test_the_memory_is_what_a_chain_remembers():
    model = chain(5, 4)
    x = bits(3)
    memories = [tuple(torch.full((3, units), value, dtype=F64) for units in (5, 4)) for value in (0.0, 1.0)]
    held = [model.restore(x, memory)[0].mean for memory in memories]
    assert (held[0] - held[1]).abs().max() > 1e-3
    shapes = [tuple(part.shape) for part in model.step((x, x, *model.memory(3)))]
    assert shapes == [(3, 6), (3, 6), (3, 5), (3, 4)]
    assert model.encode(x).shape == (3, 9)
    assert model.decode(torch.zeros(2, 3, 9, dtype=F64)).shape == (2, 3, 6)


@pytest.mark.parametrize(
    ("data", "measure"),
    [(DataSpec((2, 3), "levels", levels=4), "cross_entropy"), (DataSpec((2, 3), "real"), "squared")],
)
def test_what_x_is_given_h_follows_from_the_data(data, measure):
    model = chain(4, data=data)
    law = model.restore(torch.zeros(5, 2, 3, dtype=F64), model.memory(5))[0]
    assert (law.measure, law.coins) == (measure, measure == "cross_entropy")
    assert law.mean.shape == (5, 2, 3)


def test_grey_chains_go_on_from_coins_and_show_the_point():
    data = DataSpec((6,), "levels", levels=256, low=-1.0, high=1.0)
    model = chain(4, data=data)
    x, shown, _ = model.step(model.start(2000))
    assert set(x.unique().tolist()) == {-1.0, 1.0}
    assert len(shown.unique()) > 50
    steps = (shown + 1) / 2 * 255
    close(steps, steps.round(), 1e-6)
    assert (x - shown).mean(0).abs().max() < 5 / 2000**0.5
    assert torch.equal(model.visible((x, shown, None)), shown)


def test_noise_is_what_its_place_allows():
    with pytest.raises(ConfigError, match="use gaussian or masking"):
        variata.build("gsn", {"model.before": {"use": "salt_and_pepper"}})
    for activation, low in (("tanh", -1.0), ("sigmoid", 0.0)):
        options = {"model.after": {"use": "salt_and_pepper"}, "model.activation": activation}
        after = variata.build("gsn", options).model.after
        assert (after.low, after.high) == (low, 1.0)
    with pytest.raises(ConfigError, match="hidden"):
        variata.build("gsn", {"model.hidden": []})


def test_the_commands_on_a_chain(tmp_path, command):
    small = {"train.epochs": 1, "model.hidden": [20, 10], "model.burn_in": 5, "model.thinning": 2}
    folder = variata.train("gsn", small, run=tmp_path / "run").path
    for name in ("samples.png", "reconstructions.png", "chains.png", "curves.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert command("sample", folder, "-n", 3, "--out", tmp_path / "x.npz")[0] == 0
    assert np.load(tmp_path / "x.npz")["x"].shape == (3, 1, 8, 8)
    assert command("reconstruct", folder, "--out", tmp_path / "r.png")[0] == 0
    assert command("evaluate", folder, "metrics=[{use: parzen, samples: 50}, denoising_error]", "--json")[0] == 0
    status, _, err = command("sample", folder, "--condition", "3", "--out", tmp_path / "x.npz")
    assert status == 2
    assert "no class condition" in err


def test_a_sample_is_taken_after_burn_in_and_thinning(monkeypatch):
    model = chain(3, burn_in=7, thinning=3, chains=4)
    taken = []

    def step(state: Any, y: Any = None) -> Any:
        taken.append(len(state[0]))
        return (state[0], state[1] + 1)

    monkeypatch.setattr(model, "step", step)
    monkeypatch.setattr(model, "start", lambda n, y=None: (torch.zeros(n, 6),) * 2)
    x = model.sample(10)
    assert taken == [4] * (7 + 3 + 3)
    assert x[:, 0].tolist() == [7.0] * 4 + [10.0] * 4 + [13.0] * 2


def test_a_condition_adds_to_the_biases_of_the_hidden_layers():
    data = DataSpec((6,), "binary", classes=3)
    model, plain = chain(5, 4, data=data, condition=True), chain(5, 4)
    for weight in model.told:
        torch.nn.init.normal_(weight)
    plain.weight, x, y = model.weight, bits(9), torch.arange(9) % 3
    for label in range(3):
        own = [model.bias[0], *(b + u[label] for b, u in zip(model.bias[1:], model.told, strict=True))]
        plain.bias = torch.nn.ParameterList(own)
        rows = y == label
        (law, memory), (expected, after) = (
            model.restore(x[rows], model.memory(int(rows.sum())), y[rows]),
            plain.restore(x[rows], plain.memory(int(rows.sum()))),
        )
        close(law.mean, expected.mean)
        for one, other in zip(memory, after, strict=True):
            close(one, other)
        close(model.encode(x[rows], y[rows]), plain.encode(x[rows]))


def test_a_conditional_chain_draws_what_is_asked_for(tmp_path, without_pictures):
    """Two classes, each of one image."""
    y = torch.arange(400) % 2
    x = ((torch.arange(16) < 8) == (y[:, None] == 1)).float()
    settings = {"model.hidden": [20], "loss.walkback": 4, "train.epochs": 200}
    data = (x.reshape(400, 1, 4, 4), y)
    model = variata.train("conditional_gsn", settings, run=tmp_path / "run", data=data).model
    wanted = torch.arange(100) % 2
    drawn = model.sample(100, wanted).flatten(1)
    upper = drawn[:, :8].mean(1) - drawn[:, 8:].mean(1)
    assert ((upper > 0).long() == wanted).float().mean() > 0.95
