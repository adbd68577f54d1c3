"""Autoencoders: principal components, penalties, and densities of codes. Denoising is in test_denoising.py."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import variata
from autoencoders import F64, REAL, close, correlated, network, point
from variata import Batch, ConfigError, DataSpec, NotPrepared, Now, Unsupported
from variata_plugins.autoencoder.contractive import squared_jacobian
from variata_plugins.autoencoder.ex_post import ExPostGaussian, ExPostMixture
from variata_plugins.autoencoder.model import DeterministicAutoencoder
from variata_plugins.autoencoder.point import Point
from variata_plugins.autoencoder.reconstruction import Reconstruction
from variata_plugins.autoencoder.sparse import divergence

# Principal components


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
        chosen = json.loads(command("evaluate", folder, "--json")[1])
        assert {"sample_mean_distance", "parzen", "reconstruction_mse"} <= set(chosen)
        assert not {"nll", "elbo", "log_likelihood"} & set(chosen)
