"""Vector quantisation: the codebook against k-means, gradients against their formulas, strings against all strings."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor

import variata
from support import problems
from variata import ConfigError, DataSpec, NotPrepared, Now
from variata_plugins.vq.autoregressive import Autoregressive
from variata_plugins.vq.loss import VectorQuantisation, perplexity
from variata_plugins.vq.model import VQVAE

F64 = torch.float64
SMALL = {"model.codes": 8, "model.positions": 3, "model.dimensions": 2, "model.prior.hidden": 8, "train.epochs": 1}


def small(**options):
    settings = {"model.encoder.hidden": [16], "model.decoder.network.hidden": [16], "loss": {"use": "vq", **options}}
    assembly = variata.build("vq_vae", SMALL | settings)
    model, loss = assembly.model.double(), assembly.loss.double()
    batch = assembly.data.split("train").batch(torch.arange(20))
    batch.x = batch.x.double()
    return model, loss, batch


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=F64)


def nearest(h: Tensor, vectors: Tensor) -> Tensor:
    return torch.cdist(h, vectors).argmin(-1)


def test_the_nearest_vector_is_chosen():
    model, _, _ = small()
    h = normal(5, 3, 2)
    assert torch.equal(model.nearest(h), nearest(h.flatten(0, 1), model.codebook.detach()).view(5, 3))


def test_averages_without_memory_are_a_step_of_k_means():
    model, loss, _ = small(decay=0.0, restart=0.0)
    vectors, h = model.codebook.detach(), normal(50, 2)
    numbers = nearest(h, vectors)
    (_, moved), (_, counts) = loss.averages(vectors, h, numbers, model)
    for k in range(len(vectors)):
        chosen = h[numbers == k]
        assert counts[k] == len(chosen)
        torch.testing.assert_close(moved[k], chosen.mean(0) if len(chosen) else vectors[k])


def test_averages_of_one_batch_come_to_its_centroids():
    model, loss, _ = small(decay=0.8, restart=0.0)
    h = normal(60, 2)
    numbers = torch.arange(60) % 8
    for _ in range(200):
        for buffer, value in loss.averages(model.codebook.detach(), h, numbers, model):
            buffer.data.copy_(value)
    centroids = torch.stack([h[numbers == k].mean(0) for k in range(8)])
    torch.testing.assert_close(model.codebook.detach(), centroids, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(loss.counts, torch.bincount(numbers).double())


def test_dead_vectors_become_encodings_and_others_do_not():
    model, loss, _ = small(decay=0.5, restart=0.1)
    vectors, h = model.codebook.detach(), normal(30, 2)
    loss.counts.copy_(torch.tensor([1e-3, 5, 5, 5, 5, 5, 5, 5]))
    numbers = 1 + torch.arange(30) % 7
    (_, moved), (_, counts) = loss.averages(vectors, h, numbers, model)
    assert (h == moved[0]).all(1).any()
    assert not any((h == moved[k]).all(1).any() for k in range(1, 8))
    kept = 0.5 * torch.tensor([1e-3, 5, 5, 5, 5, 5, 5, 5], dtype=F64) + 0.5 * torch.bincount(numbers, minlength=8)
    torch.testing.assert_close(counts[0], kept.mean())
    torch.testing.assert_close(counts[1:], kept[1:])


def test_the_encoder_gets_the_decoders_gradient_and_that_of_the_commitment():
    model, loss, batch = small(commitment=0.7)
    h = model.encoder(batch.x)
    (phase,) = loss.phases(model)
    found = torch.autograd.grad(loss(model, batch, Now.at_end()).total(), list(model.encoder.parameters()))
    vectors = model.codebook.detach()[model.nearest(h.detach())].requires_grad_()
    (by_vectors,) = torch.autograd.grad(-model.likelihood(vectors).log_prob(batch.x).mean(), vectors)
    by_h = by_vectors + 0.7 * 2 * (h - vectors).detach() / (3 * len(batch))
    expected = torch.autograd.grad(h, list(model.encoder.parameters()), by_h)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    assert all(p is not model.codebook for p in phase.parameters)
    assert all(p is not q for p in phase.parameters for q in model.prior.parameters())


def test_the_codebooks_gradient_is_its_distance_from_what_chose_it():
    model, loss, batch = small(codebook="gradient")
    (phase,) = loss.phases(model)
    assert any(p is model.codebook for p in phase.parameters)
    objective = loss(model, batch, Now.at_end())
    assert not objective.updates
    (found,) = torch.autograd.grad(objective.total(), model.codebook)
    h = model.encoder(batch.x).detach().flatten(0, 1)
    numbers = model.nearest(h)
    pull = 2 * (model.codebook.detach()[numbers] - h) / (3 * len(batch))
    expected = torch.zeros_like(found).index_add(0, numbers, pull)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_a_step_commits_the_averages(tmp_path, without_pictures):
    assembly = variata.build("vq_vae", SMALL)
    before = assembly.model.codebook.detach().clone()
    counts = assembly.loss.counts.clone()
    variata.train_assembly(assembly, run=tmp_path / "run")
    assert not torch.equal(assembly.model.codebook, before)
    assert not torch.equal(assembly.loss.counts, counts)


def test_perplexity_counts_the_codes_in_use():
    assert perplexity(torch.arange(8).repeat(3).view(6, 4), 8) == pytest.approx(8)
    assert perplexity(torch.zeros(6, 4, dtype=torch.int64), 8) == pytest.approx(1)


def every_string(levels: int, length: int) -> Tensor:
    return torch.tensor(list(product(range(levels), repeat=length)), dtype=F64)


def strings_law(levels: int = 3, length: int = 4) -> Autoregressive:
    return Autoregressive(DataSpec((length,), "levels", levels=levels, high=levels - 1.0), hidden=5).double()


@torch.no_grad()
def test_probabilities_of_all_strings_sum_to_one_and_draws_follow_them():
    law = strings_law()
    strings = every_string(3, 4)
    p = law.log_prob(strings).exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-12)
    drawn = law.sample(20_000)
    number = (drawn @ torch.tensor([27.0, 9, 3, 1], dtype=F64)).long()
    expected = 20_000 * p
    chi_square = ((torch.bincount(number, minlength=81) - expected).square() / expected).sum()
    assert chi_square < 80 + 5 * math.sqrt(2 * 80)


@torch.no_grad()
def test_a_factor_does_not_see_what_comes_after_it():
    law = strings_law()
    strings = every_string(3, 4)
    p = law.log_prob(strings).exp().view(3, 3, 3, 3)
    marginal = p.sum((1, 2, 3))
    short = strings_law(length=1)
    short.load_state_dict(law.state_dict())
    torch.testing.assert_close(marginal, short.log_prob(every_string(3, 1)).exp())


def test_it_samples_once_a_law_of_its_codes_is_fitted(tmp_path, without_pictures):
    assembly = variata.build("vq_vae", SMALL | {"model.prior_epochs": 1})
    with pytest.raises(NotPrepared, match="no law of codes"):
        assembly.model.sample(2)
    run = variata.train_assembly(assembly, run=tmp_path / "run")
    loaded = variata.load(run.path).model
    torch.manual_seed(0)
    drawn = loaded.sample(4)
    assert drawn.shape == (4, 1, 8, 8)
    with pytest.raises(ConfigError, match="has no condition"):
        loaded.sample(2, condition=torch.tensor(1))
    found = variata.evaluate(run)
    assert {"parzen", "sample_distinct", "reconstruction_mse"} <= set(found)
    assert not {"nll", "elbo", "log_likelihood"} & set(found)


def test_the_fitted_law_prefers_the_codes_to_others(tmp_path, without_pictures):
    run = variata.train("vq_vae", SMALL | {"model.prior_epochs": 3}, run=tmp_path / "run")
    model: VQVAE = run.model
    batch = run.data.split("test").batch(torch.arange(100))
    codes = model.numbers(batch.x).float()
    with torch.no_grad():
        assert model.prior.log_prob(codes).mean() > model.prior.log_prob(torch.randint(8, (100, 3)).float()).mean()


def test_a_condition_reaches_the_codes_and_the_decoder(tmp_path, without_pictures):
    settings = SMALL | {"model.prior_epochs": 1}
    run = variata.train("conditional_vq_vae", settings, run=tmp_path / "run")
    model: VQVAE = variata.load(run.path).model
    batch = run.data.split("test").batch(torch.arange(20))
    codes, other = model.numbers(batch.x, batch.y).float(), (batch.y + 1) % 10
    assert not torch.equal(model.prior.log_prob(codes, batch.y), model.prior.log_prob(codes, other))
    z = model.encode(batch.x, batch.y)
    assert not torch.equal(model.decode(z, batch.y), model.decode(z, other))
    assert model.sample(3, condition=torch.tensor(7)).shape == (3, 1, 8, 8)
    assert model.sample(3).shape == (3, 1, 8, 8)


def test_mistakes_are_said_in_one_line():
    said = problems("vq_vae", {"model.prior": {"use": "vae", "latent": 2, "decoder": "categorical"}})[0]
    assert "no density that samples" in said
    said = problems("vq_vae", {"model.prior_loss": "em"})[0]
    assert "ByEM is no loss for Autoregressive: use nll" in said
    assert "law of levels" in problems("autoregressive", {"data": "blobs"})[0]
    assert "vq needs a model that is a VQVAE" in problems("vae", {"loss": "vq"})[0]


def test_loss_has_a_count_for_each_vector():
    model, _, _ = small()
    assert VectorQuantisation(model).counts.shape == (8,)
