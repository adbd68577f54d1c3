"""Autoencoders: principal components, closed forms of denoising, stationary laws, penalties, and densities of codes."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import variata
from variata import Batch, ConfigError, DataSpec, Network, NotPrepared, Now, Unsupported
from variata_plugins.autoencoder.contractive import squared_jacobian
from variata_plugins.autoencoder.denoising import DenoisingAutoencoder
from variata_plugins.autoencoder.ex_post import ExPostGaussian, ExPostMixture
from variata_plugins.autoencoder.model import DeterministicAutoencoder
from variata_plugins.autoencoder.point import Point, PointDecoder
from variata_plugins.autoencoder.reconstruction import Reconstruction
from variata_plugins.autoencoder.sparse import divergence
from variata_plugins.autoencoder.walkback import Denoising
from variata_plugins.corruption.gaussian import GaussianCorruption
from variata_plugins.corruption.masking import Masking
from variata_plugins.corruption.salt_and_pepper import SaltAndPepper
from variata_plugins.decoders.bernoulli import BernoulliDecoder
from variata_plugins.decoders.categorical import CategoricalDecoder
from variata_plugins.networks.mlp import MLP

F64 = torch.float64
REAL = DataSpec((6,), "real")


def close(actual: Any, expected: Any, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def network(*hidden: int) -> functools.partial[MLP]:
    return functools.partial(MLP, hidden=hidden, activation="tanh")


def point(*hidden: int, **options: Any) -> functools.partial[PointDecoder]:
    return functools.partial(PointDecoder, network=network(*hidden), **options)


def correlated(n: int, dimensions: int = 6) -> Tensor:
    mixing = torch.randn(dimensions, dimensions, dtype=F64) * torch.linspace(0.2, 2, dimensions, dtype=F64)
    x = torch.randn(n, dimensions, dtype=F64) @ mixing.T
    return x - x.mean(0)


# Principal components, and the linear denoiser


def test_a_linear_autoencoder_reaches_the_error_of_principal_components():
    x = correlated(200) + 3.0
    model = DeterministicAutoencoder(REAL, latent=2, encoder=network(), decoder=point()).double()
    loss, batch = Reconstruction(), Batch(x)
    moved = [*model.encoder.parameters(), *model.decoder.parameters()]
    exact: dict[str, Any] = {"max_iter": 2000, "tolerance_grad": 1e-12, "tolerance_change": 0}
    optimizer = torch.optim.LBFGS(moved, line_search_fn="strong_wolfe", **exact)

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = loss(model, batch, Now.at_end()).total()
        total.backward()
        return total

    optimizer.step(closure)
    discarded = torch.linalg.svdvals(x - x.mean(0)).square()[2:].sum() / len(x)
    error = (x - model.reconstruct(x)).square().sum(1).mean()
    close(error, discarded, 1e-6)
    close(loss(model, batch, Now.at_end()).total(), error / 2)
    basis = torch.linalg.svd(x - x.mean(0)).Vh[:2]
    plane = torch.linalg.qr(model.decoder.network.last.weight).Q.T
    close(torch.linalg.svdvals(basis @ plane.T), torch.ones(2, dtype=F64), 1e-5)


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


# Penalties


def test_the_contraction_is_the_norm_of_autograds_jacobian():
    model = DeterministicAutoencoder(REAL, latent=4, encoder=network(5), decoder=point(), code="sigmoid").double()
    x = torch.randn(3, 6, dtype=F64).requires_grad_()
    expected = torch.stack(
        [torch.autograd.functional.jacobian(lambda v: model.encode(v[None])[0], row).square().sum() for row in x]
    )
    close(squared_jacobian(model.encode(x), x), expected)
    draws = torch.stack([squared_jacobian(model.encode(x), x, 2) for _ in range(2000)])
    assert ((draws.mean(0) - expected).abs() < 5 * draws.std(0) / 2000**0.5).all()


def test_the_contraction_of_one_layer_of_sigmoids_in_closed_form():
    model = DeterministicAutoencoder(REAL, latent=4, encoder=network(), decoder=point(), code="sigmoid").double()
    x = torch.randn(3, 6, dtype=F64).requires_grad_()
    z, rows = model.encode(x), model.encoder.last.weight.square().sum(1)
    penalty = squared_jacobian(z, x)
    close(penalty, ((z * (1 - z)).square() * rows).sum(1))
    (gradient,) = torch.autograd.grad(penalty.sum(), model.encoder.last.weight, retain_graph=True)
    expected = torch.autograd.grad(((z * (1 - z)).square() * rows).sum(), model.encoder.last.weight)[0]
    close(gradient, expected)


def test_the_penalty_counts_in_validation_as_in_training():
    assembly = variata.build("contractive_autoencoder", {"loss.directions": None})
    batch = Batch(torch.rand(5, 1, 8, 8).round())
    trained = assembly.loss(assembly.model, batch, Now.at_end()).total()
    with torch.no_grad():
        close(assembly.loss(assembly.model, batch, Now.at_end()).total(), trained)


def test_the_divergence_of_rates():
    q = torch.tensor([0.2, 0.7], dtype=F64)
    laws = [torch.distributions.Bernoulli(p) for p in (torch.tensor(0.1, dtype=F64), q)]
    close(divergence(q, 0.1), torch.distributions.kl_divergence(*laws).sum())
    assert divergence(torch.full((3,), 0.1, dtype=F64), 0.1) == pytest.approx(0, abs=1e-15)
    assert divergence(torch.tensor([0.0, 1.0]), 0.5).isfinite()


# The density of codes


class Identity(variata.Autoencoder):
    """Codes are the examples themselves."""

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return x

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return z


def test_the_normal_density_matches_the_moments_of_the_codes():
    x = correlated(300, 3) + 1
    prior = ExPostGaussian(DataSpec((3,), "real"), 3, None, floor=1e-12).double()
    prior.finish(Identity(DataSpec((3,), "real")), [Batch(part) for part in x.split(100)])
    law = prior()
    close(law.mean, x.mean(0))
    close(law.covariance_matrix, torch.cov(x.T, correction=0))
    # No other normal law gives the codes a greater likelihood.
    best = law.log_prob(x).mean()
    for shift in (0.05, -0.05):
        moved = torch.distributions.MultivariateNormal(law.mean + shift, law.covariance_matrix * (1 + shift))
        assert moved.log_prob(x).mean() < best


def test_a_mixture_of_one_is_the_normal_density_and_of_more_is_at_least_as_likely():
    x, spec = torch.cat([correlated(150, 2) - 4, correlated(150, 2) + 4]), DataSpec((2,), "real")
    stream, model = [Batch(x)], Identity(spec)
    normal, one, two = (
        ExPostGaussian(spec, 2, None).double(),
        ExPostMixture(spec, 2, None, components=1).double(),
        ExPostMixture(spec, 2, None, components=2).double(),
    )
    for prior in (normal, one, two):
        prior.finish(model, stream)
    close(one().log_prob(x), normal().log_prob(x), 1e-6)
    assert two().log_prob(x).mean() > one().log_prob(x).mean() + 0.5
    close(two().mean, x.mean(0), 1e-3)


def test_each_class_has_its_own_density():
    y = torch.arange(3).repeat(100)
    x = torch.randn(300, 2, dtype=F64) + 10 * y[:, None]
    spec = DataSpec((2,), "real", classes=4)
    for prior in (ExPostGaussian(spec, 2, (4,)).double(), ExPostMixture(spec, 2, (4,), components=2).double()):
        prior.finish(Identity(spec), [Batch(x, y)])
        law = prior(torch.tensor([2, 0]))
        assert law.batch_shape == (2,)
        close(law.mean, torch.stack([x[y == 2].mean(0), x[y == 0].mean(0)]), 1e-6)
        assert prior.fitted.tolist() == [True, True, True, False]


def test_few_examples_and_repeated_ones_are_fitted_by_fewer_components():
    spec = DataSpec((2,), "real")
    prior = ExPostMixture(spec, 2, None, components=10)
    prior.finish(Identity(spec), [Batch(torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]))])
    assert (prior.weight[0] > 0).sum() == 2
    assert prior().sample((50,)).isfinite().all()
    np.testing.assert_allclose(prior().mean, [1 / 3, 1 / 3], atol=1e-5)


def test_an_autoencoder_samples_after_training_and_says_so_before():
    model = variata.build("autoencoder").model
    with pytest.raises(NotPrepared, match="train the model to the end first"):
        model.sample(2)


def test_a_conditional_autoencoder_draws_the_class_that_is_asked_for(tmp_path, without_pictures):
    run = variata.train("conditional_autoencoder", {"train.epochs": 2}, run=tmp_path / "run")
    again = variata.load(run.path).model
    torch.manual_seed(0)
    x = again.sample(6, torch.tensor([3, 3, 3, 5, 5, 5]))
    assert x.shape == (6, 1, 8, 8)
    assert again.sample(4, 7).shape == (4, 1, 8, 8)
    assert again.sample(4).shape == (4, 1, 8, 8)
    with pytest.raises(ConfigError, match="2 samples need 2 conditions"):
        again.sample(2, torch.tensor([1, 2, 3]))


def test_what_is_fitted_after_training_is_no_prior_of_a_vae(tmp_path, command):
    status, _, err = command("train", "vae", "model.prior=ex_post_gaussian", "--run", tmp_path / "run", "--quiet")
    assert status == 2
    assert "needs another prior" in err.splitlines()[-1]


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


# The point


def test_errors_of_a_point():
    spec = DataSpec((2, 3), "levels", levels=3, low=-1.0, high=1.0)
    values, x = torch.randn(4, 2, 3, dtype=F64), torch.randint(-1, 2, (4, 2, 3)).double()
    squared = Point(spec, values, "squared", False)
    close(squared.distance(x), 0.5 * (x - values).square().sum((1, 2)))
    entropy = Point(spec, values, "cross_entropy", True)
    t, p = (x + 1) / 2, values.sigmoid()
    close(entropy.distance(x), -(t * p.log() + (1 - t) * (1 - p).log()).sum((1, 2)))
    close(entropy.mean, 2 * p - 1)
    assert set(squared.sample().unique().tolist()) <= {-1.0, 0.0, 1.0}
    law = torch.distributions.Bernoulli(logits=values)
    binary = Point(DataSpec((2, 3), "binary"), values, "cross_entropy", True)
    close(binary.distance(t.round()), -law.log_prob(t.round()).sum((1, 2)))


def test_a_point_is_no_law(tmp_path):
    assembly = variata.build("vae", {"model.decoder.use": "point"})
    batch = Batch(torch.rand(2, 1, 8, 8).round())
    with pytest.raises(Unsupported, match="a point has no density"):
        assembly.loss(assembly.model, batch, Now.at_end())


@pytest.mark.parametrize(
    ("preset", "overrides", "message"),
    [
        ("autoencoder", {"data": {"use": "blobs"}}, "this data has no bounds: set error=squared and bounded=false"),
        ("autoencoder", {"model.decoder": {"error": "cross_entropy", "bounded": False}}, "remove bounded=false"),
        ("sparse_autoencoder", {"model.code": "tanh"}, "set model.code=sigmoid or penalty=l1"),
        ("autoencoder", {"loss.use": "elbo"}, "needs a model that is a LatentVariable"),
        ("vae", {"loss.use": "reconstruction"}, "needs a model that is a Pair"),
        ("vae", {"loss.use": "denoising"}, "needs a model that is a DenoisingChain"),
        ("autoencoder", {"data": {"use": "blobs"}, "model.condition": True}, "no bounds|labels"),
        ("denoising_blobs", {"model.corruption": {"use": "salt_and_pepper"}}, "use gaussian or masking"),
    ],
)
def test_bad_options(preset, overrides, message):
    with pytest.raises(ConfigError, match=message):
        variata.build(preset, overrides)


# The commands


def test_the_commands_on_autoencoders(tmp_path, command):
    for preset, metric in (("autoencoder_gmm", "reconstruction_error"), ("denoising_autoencoder", "denoising_error")):
        small = {"train.epochs": 1, "model.encoder.hidden": [16], "model.decoder.network.hidden": [16]}
        folder = variata.train(preset, small, run=tmp_path / preset).path
        for name in ("samples.png", "reconstructions.png", "curves.png"):
            assert (folder / name).read_bytes().startswith(b"\x89PNG")
        assert (folder / "chains.png").exists() == (preset == "denoising_autoencoder")
        assert command("sample", folder, "-n", 3, "--out", tmp_path / "x.npz")[0] == 0
        assert np.load(tmp_path / "x.npz")["x"].shape == (3, 1, 8, 8)
        assert command("reconstruct", folder, "--out", tmp_path / "r.png")[0] == 0
        status, out, _ = command("evaluate", folder, f"metrics=[{metric}, {{use: parzen, samples: 50}}]", "--json")
        assert status == 0, out
        status, _, err = command("evaluate", folder)
        assert status == 2
        assert "no likelihood to evaluate" in err


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
