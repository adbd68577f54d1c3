"""Circuits as laws of codes, in float64: against sums over all codes that there are."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

import variata
from support import problems
from variata import NotPrepared, joint

F64 = torch.float64
SMALL = {
    "model.latent": 9,
    "model.encoder.classes": 3,
    "model.encoder.network.hidden": [8],
    "model.decoder.network.hidden": [8],
    "model.prior.structure": {"use": "rat", "units": 3, "depth": 1, "repetitions": 2},
}
CODES = torch.tensor(list(itertools.product(range(3), repeat=3)))
"""Every string of three variables of three classes."""


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def vectors(codes: Tensor, classes: int = 3) -> Tensor:
    """Codes as rows of one-hot vectors, packed."""
    return one_hot(codes, classes).double().flatten(1)


@pytest.fixture
def model():
    """With laws that are far from uniform, and depend on x."""
    made = variata.build("circuit_prior_vae", SMALL).model.double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.7 * torch.randn_like(parameter))
    return made


def test_the_prior_is_a_law_of_codes(model):
    law = model.prior()
    log_p = law.log_prob(vectors(CODES))
    close(log_p.exp().sum(), torch.ones((), dtype=F64))
    close(log_p, model.prior.circuit.log_prob(CODES.double()))
    marginals = [torch.stack([log_p[CODES[:, v] == k].logsumexp(0) for k in range(3)]) for v in range(3)]
    independent = sum(marginals[v][CODES[:, v]] for v in range(3))
    assert (log_p - independent).abs().max() > 0.01  # the variables depend on one another
    n = 20_000
    drawn = law.sample((n,)).double()
    assert drawn.shape == (n, 9)
    same = (drawn[:, None] == vectors(CODES)).all(2).double()
    assert (same.sum(1) == 1).all()
    p = log_p.exp()
    assert ((same.mean(0) - p).abs() < 5 * (p * (1 - p) / n).sqrt()).all()
    y = torch.zeros(4, dtype=torch.long)
    assert model.prior(y).sample().shape == (4, 9)
    assert law.expand([2, 5]).sample((3,)).shape == (3, 2, 5, 9)


def test_the_bound_is_that_of_the_sum_over_all_codes(model):
    x = torch.rand(3, 1, 8, 8, dtype=F64).round()
    q = model.encoder(x)
    z = vectors(CODES)[:, None].expand(-1, 3, -1)
    log_q, log_prior = q.log_prob(z), model.prior().log_prob(z)
    log_likelihood = model.decoder(z).log_prob(x)
    log_p = (log_prior + log_likelihood).logsumexp(0)
    exact = (log_q.exp() * (log_likelihood + log_prior - log_q)).sum(0)
    posterior = log_prior + log_likelihood - log_p
    close(log_p - exact, (log_q.exp() * (log_q - posterior)).sum(0))
    assert (exact < log_p).all()
    samples = 20_000
    with torch.no_grad():
        terms = model.terms(x, samples=samples)
    kl = terms.layers[0].kl
    each = terms.log_likelihood - kl
    close(kl, (log_q.exp() * log_q).sum(0) - terms.layers[0].log_p)  # the entropy is exact
    assert ((each.mean(0) - exact).abs() < 5 * each.std(0) / samples**0.5).all()
    close(terms.log_weights().logsumexp(0) - torch.tensor(float(samples), dtype=F64).log(), log_p.detach(), 0.1)
    again = joint(model, x, None, [z])
    close(again.log_prior, log_prior)
    close(again.log_likelihood, log_likelihood)


def test_both_sides_of_the_divergence_learn(model):
    x = torch.rand(5, 1, 8, 8, dtype=F64).round()
    kl = model.terms(x).layers[0].kl.sum()
    parts = (*model.prior.parameters(), *model.encoder.parameters())
    assert all(gradient.abs().max() > 0 for gradient in torch.autograd.grad(kl, parts))


def test_a_relaxed_code_moves_the_prior_linearly():
    """As the log-probability of independent codes does: the gradient at a code is that of each variable's leaf."""
    prior = variata.build("circuit_prior_vae", SMALL).model.double().prior
    z = vectors(CODES[:1]).requires_grad_()
    (gradient,) = torch.autograd.grad(prior().log_prob(z).sum(), z)
    circuit = prior.circuit
    counts, table = circuit.expected_counts(CODES[:1].double()), circuit.leaves.table()
    expected = torch.zeros(3, 3, dtype=F64).index_add(0, circuit.variable, (counts.leaves[:, None] * table).sum(2))
    close(gradient.view(3, 3), expected.detach())


BAD = {
    "this prior is a law of one-hot codes, and the encoder is GaussianEncoder: use the encoder categorical": (
        "circuit_prior_vae",
        {"model.encoder": "gaussian", "loss": "elbo"},
    ),
    "HCLT is learned from data, and there are no codes before training: use rat or mixture": (
        "circuit_prior_vae",
        {"model.prior.structure": "hclt"},
    ),
    "Bernoulli is a law of binary data, but the data is of 64 levels": (
        "circuit_prior_vq_vae",
        {"model.prior.leaves": "bernoulli"},
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_what_does_not_fit_is_said_in_one_line(message):
    (found,) = problems(*BAD[message])
    assert message in found
    assert "\n" not in found


def test_a_tree_is_learned_from_codes_after_training(tmp_path, without_pictures):
    settings = {
        "model.codes": 4,
        "model.positions": 3,
        "model.dimensions": 2,
        "model.prior.structure.units": 3,
        "train.epochs": 3,
    }
    fresh = variata.build("circuit_prior_vq_vae", settings).model
    with pytest.raises(NotPrepared):
        fresh.sample(1)
    run = variata.train("circuit_prior_vq_vae", settings, run=tmp_path / "run", quiet=True)
    model = variata.load(run.path).model
    strings = torch.tensor(list(itertools.product(range(4), repeat=3))).float()
    log_p = model.prior.log_prob(strings)
    assert torch.equal(log_p, run.model.prior.log_prob(strings))
    close(log_p.exp().sum(), torch.ones(()), 1e-5)
    first = torch.tensor([True, False, False])
    for k in range(4):
        of_first = model.prior.log_marginal(torch.full((1, 3), float(k)), first)
        close(of_first, log_p[16 * k : 16 * (k + 1)].logsumexp(0)[None], 1e-5)
    batch = next(iter(run.data.split("train").batches(2000)))
    numbers = model.numbers(batch.x)
    seen = torch.bincount((numbers * torch.tensor([16, 4, 1])).sum(1), minlength=64) / len(numbers)
    assert (seen - log_p.exp()).abs().sum() / 2 < 0.25  # total variation: it has learned which codes there are
    assert model.sample(5).shape == (5, 1, 8, 8)
