"""Denoising autoencoders: closed forms of the best denoiser, stationary laws of its chain, walkback."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import variata
from autoencoders import F64, REAL, close, correlated, network, point
from variata import Batch, DataSpec, Network, Now, Unsupported
from variata_plugins.autoencoder.denoising import DenoisingAutoencoder
from variata_plugins.autoencoder.model import DeterministicAutoencoder
from variata_plugins.autoencoder.reconstruction import Reconstruction
from variata_plugins.autoencoder.walkback import Denoising
from variata_plugins.corruption.gaussian import GaussianCorruption
from variata_plugins.corruption.masking import Masking
from variata_plugins.corruption.salt_and_pepper import SaltAndPepper
from variata_plugins.decoders.bernoulli import BernoulliDecoder
from variata_plugins.decoders.categorical import CategoricalDecoder

# The best denoiser


def test_the_best_linear_denoiser_of_normal_noise(monkeypatch):
    """r = S (S + s^2 I)^-1 x: there the gradient of the expected loss is zero, and the loss is convex in r. The noise
    takes the 2 d points that have its mean and covariance, so that the expectation of a square is exact."""
    x, s, d = correlated(50), 0.7, 6
    model = DenoisingAutoencoder(
        REAL,
        latent=d,
        corruption=GaussianCorruption(scale=s),
        encoder=network(),
        decoder=point(),
    ).double()
    covariance = x.T @ x / len(x)
    best = covariance @ torch.linalg.inv(covariance + s * s * torch.eye(d, dtype=F64))
    encoder, decoder = model.encoder.last, model.decoder.network.last
    for layer, weight in ((encoder, best), (decoder, torch.eye(d, dtype=F64))):
        layer.weight.data, layer.bias.data = weight.clone(), torch.zeros(d, dtype=F64)
    directions = d**0.5 * torch.cat([torch.eye(d, dtype=F64), -torch.eye(d, dtype=F64)])
    batch = Batch(x.repeat_interleave(2 * d, 0))
    monkeypatch.setattr(torch, "randn_like", lambda like: directions.repeat(len(x), 1))
    loss = Denoising(model)
    total = loss(model, batch, Now.at_end()).total()
    for gradient in torch.autograd.grad(total, [encoder.weight, encoder.bias, decoder.weight, decoder.bias]):
        assert gradient.abs().max() < 1e-10
    ridge = torch.linalg.lstsq(
        torch.cat([x, s * len(x) ** 0.5 * torch.eye(d, dtype=F64)]), torch.cat([x, torch.zeros(d, d, dtype=F64)])
    ).solution.T
    close(best, ridge)
    # The value at the optimum: half the trace of the posterior covariance.
    close(total, 0.5 * torch.trace(covariance - best @ covariance))
    encoder.weight.data += 0.01
    assert loss(model, batch, Now.at_end()).total() > total


def test_the_best_denoiser_tells_the_slope_of_the_corrupted_density():
    covariance, s = torch.cov(correlated(50).T), 0.3
    best = covariance @ torch.linalg.inv(covariance + s * s * torch.eye(6, dtype=F64))
    x = torch.randn(6, dtype=F64, requires_grad=True)
    corrupted = covariance + s * s * torch.eye(6, dtype=F64)
    law = torch.distributions.MultivariateNormal(torch.zeros(6, dtype=F64), corrupted)
    (slope,) = torch.autograd.grad(law.log_prob(x), x)
    close((best @ x - x) / s**2, slope, 1e-8)


# The chain


class Table(Network):
    """Logits for each of the levels 0, 1/4, .., 1 of one element."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__((1,), (len(logits),))
        self.logits = nn.Parameter(logits)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        return self.logits[(x[:, 0] * (len(self.logits) - 1)).round().long()]


class Same(Network):
    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        return x


LEVELS = DataSpec((1,), "levels", levels=5)
GRID = torch.arange(5, dtype=F64)[:, None] / 4
LAW = torch.tensor([0.4, 0.05, 0.15, 0.3, 0.1], dtype=F64)


def corruption_matrix(corruption: nn.Module, monkeypatch: pytest.MonkeyPatch, tosses: int = 1000) -> Tensor:
    """C(x~ | x) of one element of 5 levels, as the component draws it from evenly spread uniform numbers."""
    u = ((torch.arange(tosses, dtype=F64) + 0.5) / tosses)[:, None]
    monkeypatch.setattr(torch, "rand_like", lambda like: u)
    drawn = [(corruption(x.expand(tosses, 1)) * 4).round().long()[:, 0] for x in GRID]
    monkeypatch.undo()
    return torch.stack([torch.bincount(row, minlength=5).double() / tosses for row in drawn])


def chain_of(corruption: nn.Module, restored: Tensor) -> DenoisingAutoencoder:
    """A denoising autoencoder whose P(x | x~) is a table `[corrupted, restored]`."""
    table = Table(restored.log().clamp(min=-1e3))
    decoder = functools.partial(CategoricalDecoder, network=Same((5,), (5,)))
    return DenoisingAutoencoder(LEVELS, latent=5, corruption=corruption, encoder=table, decoder=decoder).double()


def transition(model: DenoisingAutoencoder, corrupted: Tensor) -> Tensor:
    """P(x_{t+1} | x_t), by the model's own law of what is restored."""
    law = model.law(model.encode(GRID))
    return corrupted @ law.log_prob(GRID[:, None]).exp().T


@pytest.mark.parametrize("corruption", [Masking(rate=0.3, value=0.5), SaltAndPepper(LEVELS, rate=0.4)])
def test_with_the_bayes_optimal_denoiser_the_data_is_stationary(corruption, monkeypatch):
    c = corruption_matrix(corruption, monkeypatch)
    joint = LAW[:, None] * c
    bayes = (joint / joint.sum(0)).T
    matrix = transition(chain_of(corruption, bayes), c)
    close(matrix.sum(1), torch.ones(5, dtype=F64))
    close(LAW @ matrix, LAW)
    flow = LAW[:, None] * matrix
    close(flow, flow.T)
    close(torch.linalg.matrix_power(matrix, 2000)[0], LAW, 1e-8)  # the only stationary law
    # Another denoiser has another stationary law.
    other = transition(chain_of(corruption, 0.9 * bayes + 0.1 * torch.ones(5, 5, dtype=F64) / 5), c)
    assert (torch.linalg.matrix_power(other, 2000)[0] - LAW).abs().max() > 0.01


def test_the_chain_draws_from_its_matrix(monkeypatch):
    corruption = SaltAndPepper(LEVELS, rate=0.4)
    c = corruption_matrix(corruption, monkeypatch)
    joint = LAW[:, None] * c
    model, n = chain_of(corruption, (joint / joint.sum(0)).T), 20_000
    for row, start in zip(transition(model, c), GRID, strict=True):
        x, _ = model.step((start.expand(n, 1), start.expand(n, 1)))
        share = torch.bincount((x[:, 0] * 4).round().long(), minlength=5).double() / n
        assert ((share - row).abs() < 5 * (row * (1 - row) / n).sqrt() + 1e-9).all()
    model.burn_in = 60
    share = torch.bincount((model.sample(n)[:, 0] * 4).round().long(), minlength=5).double() / n
    assert ((share - LAW).abs() < 5 * (LAW * (1 - LAW) / n).sqrt()).all()


def test_training_finds_the_bayes_optimal_denoiser(monkeypatch):
    """The expected loss, over the law of the data and every toss, has its minimum at the Bayes-optimal table."""
    corruption = Masking(rate=0.25, value=0.0)
    c = corruption_matrix(corruption, monkeypatch)
    joint = LAW[:, None] * c
    model = chain_of(corruption, (joint / joint.sum(0)).T)
    u = (torch.arange(100, dtype=F64) + 0.5) / 100
    monkeypatch.setattr(torch, "rand_like", lambda like: u.repeat(5)[:, None])
    errors = Denoising(model)(model, Batch(GRID.repeat_interleave(100, 0)), Now.at_end()).terms["error"].value
    total = (errors.reshape(5, 100).mean(1) * LAW).sum()
    (gradient,) = torch.autograd.grad(total, model.encoder.logits)
    assert gradient.abs().max() < 1e-10
    close(total, -(joint * (joint / joint.sum(0)).clamp(min=1e-300).log()).sum())  # the conditional entropy


@pytest.mark.parametrize("walkback", [1, 3])
def test_walkback_without_corruption_starts_as_the_autoencoder(walkback):
    spec = DataSpec((6,), "binary")
    given: dict[str, Any] = {
        "latent": 3,
        "encoder": network(4),
        "decoder": functools.partial(BernoulliDecoder, network=network(4)),
    }
    plain = DeterministicAutoencoder(spec, **given).double()
    model = DenoisingAutoencoder(spec, corruption=Masking(rate=0.0), **given).double()
    for part in ("encoder", "decoder"):
        getattr(model, part).load_state_dict(getattr(plain, part).state_dict())
    batch = Batch(torch.bernoulli(torch.full((8, 6), 0.5, dtype=F64)))
    expected = Reconstruction()(plain, batch, Now.at_end())
    found = Denoising(model, walkback=walkback)(model, batch, Now.at_end())
    close(found.metrics["mse"], expected.metrics["mse"])
    if walkback == 1:
        close(found.total(), expected.total())
        ours = torch.autograd.grad(found.total(), list(model.parameters()))
        theirs = torch.autograd.grad(expected.total(), list(plain.parameters()))
        for one, other in zip(ours, theirs, strict=True):
            close(one, other)
    else:
        assert (found.total() - expected.total()).abs() > 1e-6


def test_walkback_goes_on_from_what_was_drawn(monkeypatch):
    model = DenoisingAutoencoder(REAL, latent=3, corruption=Masking(rate=0.0), encoder=network(), decoder=point())
    x = torch.randn(4, 6)
    found = Denoising(model, walkback=3)(model, Batch(x), Now.at_end()).total()
    states = [x]
    for _ in range(3):
        states.append(model.reconstruct(states[-1]).detach())
    close(found, sum(0.5 * (x - r).square().sum(1).mean() for r in states[1:]) / 3, 1e-5)


def test_chains_start_from_independent_elements_with_the_means_of_the_data():
    assembly = variata.build("walkback_autoencoder")
    variata.prepare(assembly.model, assembly.data)
    x = assembly.model.start(20_000)[0]
    stored = assembly.data.split("train")
    mean = stored.x.double().mean(0) / 16
    assert ((x.mean(0) - mean).abs() < 0.03).all()
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert (torch.corrcoef(x.flatten(1)[:, 20:30].T) - torch.eye(10)).abs().max() < 0.04


def test_a_conditional_chain_keeps_its_condition():
    assembly = variata.build("walkback_autoencoder", {"model.condition": True, "model.burn_in": 3})
    variata.prepare(assembly.model, assembly.data)
    seen: list[Tensor] = []
    assembly.model.encoder.register_forward_hook(lambda module, given, out: seen.append(given[1]))
    x = assembly.model.sample(4, torch.tensor([0, 1, 1, 9]))
    assert x.shape == (4, 1, 8, 8)
    assert len(seen) == 3
    assert all(torch.equal(y.argmax(1), torch.tensor([0, 1, 1, 9])) for y in seen)
    assert assembly.model.sample(5).shape == (5, 1, 8, 8)


def test_the_denoising_error_is_that_of_fixed_noise(tmp_path, without_pictures):
    run = variata.train("denoising_autoencoder", {"train.epochs": 3}, run=tmp_path / "run")
    asked: dict[str, Any] = {"metrics": ["denoising_error", "reconstruction_error"]}
    found, again = variata.evaluate(run, **asked), variata.evaluate(run, batch_size=7, **asked)
    assert found["denoising_mse"]["value"] == again["denoising_mse"]["value"]
    assert found["denoising_mse"]["value"] < found["corruption_mse"]["value"]
    x = run.data.split("test").batch(torch.arange(359)).x
    assert found["corruption_mse"]["value"] == pytest.approx(0.5 * x.square().mean().item(), rel=0.05)
    with pytest.raises(Unsupported, match="DenoisingChain"):
        variata.evaluate(variata.train("autoencoder", {"train.epochs": 1}, run=tmp_path / "other"), **asked)
