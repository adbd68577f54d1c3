"""Semi-supervised autoencoders: M2 against mixtures whose density is known, what moves what, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal

import variata
from support import problems
from variata import Batch, DataSpec, Now
from variata_plugins.pictures.commands import sample
from variata_plugins.semi_supervised.m2 import M2
from variata_plugins.semi_supervised.m2_loss import M2Loss

CLASSES, SCALE = 3, 0.6
SPEC = DataSpec((2,), "real", low=-math.inf, high=math.inf, measure="lebesgue", classes=CLASSES)
W = torch.tensor([1.2, -0.7], dtype=torch.float64)
B = torch.tensor([[0.0, 1.0], [1.0, -1.0], [-2.0, 0.5]], dtype=torch.float64)


class LinearDecoder(nn.Module):
    """p(x | y, z) = N(W z + B_y, SCALE^2)."""

    def forward(self, z, y):
        means = y @ B if y.is_floating_point() else B[y]
        return Independent(Normal(z * W + means, SCALE), 1)


class ExactEncoder(nn.Module):
    """p(z | x, y), or another law of z that is off by so much. No KL of this law is known in closed form, so that the
    bound of each draw is its log weight, which is log p(x, y) itself where nothing is off."""

    def __init__(self, off=0.0):
        super().__init__()
        self.off = off

    def forward(self, x, y):
        variance = 1 / (1 + W @ W / SCALE**2)
        mean = variance * ((x - y @ B) @ W) / SCALE**2
        return Independent(Normal(mean[..., None] + self.off, variance.sqrt()), 1)


class ExactClassifier(nn.Module):
    """log p(y | x) up to a constant."""

    def forward(self, x):
        return log_joint(x)


def log_joint(x):
    """log p(x, y), `[batch, classes]`."""
    law = MultivariateNormal(B, torch.outer(W, W) + SCALE**2 * torch.eye(2, dtype=torch.float64))
    return law.log_prob(x[:, None]) - math.log(CLASSES)


def mixture(classifier=None, off=0.0):
    given = classifier or ExactClassifier()
    return M2(SPEC, latent=1, classifier=given, encoder=ExactEncoder(off), decoder=LinearDecoder()).double()


X = torch.randn(7, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_with_exact_posteriors_the_bounds_are_the_densities():
    model = mixture()
    torch.testing.assert_close(model.of_each_class(X), log_joint(X), rtol=0, atol=1e-12)
    y = torch.arange(7) % 3
    torch.testing.assert_close(model.known(X, y), log_joint(X)[torch.arange(7), y], rtol=0, atol=1e-12)
    torch.testing.assert_close(model.unknown(X), log_joint(X).logsumexp(-1), rtol=0, atol=1e-12)
    weights = model.terms(X, samples=5).log_weights()  # every draw of y and z has the weight p(x)
    torch.testing.assert_close(weights, log_joint(X).logsumexp(-1).expand(5, -1), rtol=0, atol=1e-12)


def test_any_other_classifier_lacks_the_divergence_from_the_posterior_of_the_class():
    torch.manual_seed(1)
    model = mixture(nn.Linear(2, CLASSES))
    log_q, log_p = model.classify(X), log_joint(X).log_softmax(-1)
    lacking = (log_q.exp() * (log_q - log_p)).sum(-1)
    torch.testing.assert_close(model.unknown(X), log_joint(X).logsumexp(-1) - lacking, rtol=0, atol=1e-12)
    assert (lacking > 0.01).any()


def test_any_bound_without_a_label_is_the_sum_over_the_labels():
    torch.manual_seed(1)
    model = variata.build("m2").model.double()
    x = torch.rand(4, 1, 8, 8, dtype=torch.float64).round()
    torch.manual_seed(2)
    found = model.unknown(x)
    torch.manual_seed(2)
    every = model.of_each_class(x)
    log_q = model.classify(x)
    lacking = (log_q.exp() * (log_q - every.log_softmax(-1))).sum(-1)
    torch.testing.assert_close(found, every.logsumexp(-1) - lacking, rtol=0, atol=1e-10)
    by_hand = sum(log_q[:, y].exp() * every[:, y] - log_q[:, y].exp() * log_q[:, y] for y in range(10))
    torch.testing.assert_close(found, by_hand, rtol=0, atol=1e-10)


def test_the_bound_of_draws_is_on_average_the_sum_over_the_labels():
    torch.manual_seed(1)
    model = mixture(nn.Linear(2, CLASSES), off=0.3)
    elbo = model.terms(X, samples=20_000).elbo
    weights = model.terms(X, samples=20_000).log_weights()
    error = weights.std(0) / math.sqrt(20_000)
    exact = torch.stack([model.unknown(X) for _ in range(400)])
    spread = (error.square() + exact.var(0) / 400).sqrt()
    assert ((weights.mean(0) - exact.mean(0)).abs() < 5 * spread).all()
    assert ((elbo - exact.mean(0)).abs() < 5 * spread).all()


def test_the_objective_is_made_of_what_is_labelled_and_what_is_not_and_reads_no_unknown_label():
    torch.manual_seed(1)
    model, loss = mixture(nn.Linear(2, CLASSES)), M2Loss(alpha=0.7)
    labelled = torch.tensor([1, 1, 0, 0, 0, 1, 0]) > 0
    y = torch.tensor([0, 2, -1, -1, -1, 1, -1])
    torch.manual_seed(2)
    objective = loss(model, Batch(X, y, labelled=labelled), Now.at_end())
    known, rest = X[labelled], X[~labelled]
    nll = -model.classify(known)[torch.arange(3), y[labelled]]
    expected = -model.known(known, y[labelled]).mean() - model.unknown(rest).mean() + 0.7 * nll.mean()
    torch.testing.assert_close(objective.total(), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(objective.metrics["elbo"], model.unknown(rest), rtol=0, atol=1e-12)
    torch.manual_seed(2)
    other = loss(model, Batch(X, torch.where(labelled, y, 2), labelled=labelled), Now.at_end())
    assert torch.equal(other.total(), objective.total())
    alone = loss(model, Batch(known, y[labelled]), Now.at_end())
    assert set(alone.terms) == {"labelled", "classes"}
    nothing = loss(model, Batch(rest, y[~labelled], labelled=labelled[~labelled]), Now.at_end())
    assert set(nothing.terms) == {"unlabelled"}


def test_samples_are_of_the_class_that_is_asked_for():
    torch.manual_seed(0)
    model = mixture()
    for y in range(CLASSES):
        x = model.sample(4000, torch.tensor(y))
        spread = (W.square() + SCALE**2).sqrt() / math.sqrt(4000)
        assert ((x.mean(0) - B[y]).abs() < 5 * spread).all()
    mixed = model.sample(9000)
    assert ((mixed.mean(0) - B.mean(0)).abs() < 0.1).all()
    for asked in (torch.tensor([0, 1]), torch.tensor(3), torch.tensor(-1), torch.tensor([0.5] * 4)):
        with pytest.raises(variata.ConfigError):
            model.sample(4, asked)


def test_codes_are_the_probabilities_of_the_classes_and_the_mean_of_z():
    model = mixture()
    codes = model.encode(X)
    torch.testing.assert_close(codes[:, :CLASSES], log_joint(X).softmax(-1), rtol=0, atol=1e-12)
    y = nn.functional.one_hot(log_joint(X).argmax(-1), CLASSES).double()
    torch.testing.assert_close(codes[:, CLASSES:], ExactEncoder()(X, y).mean, rtol=0, atol=1e-12)
    torch.testing.assert_close(model.decode(codes), codes[:, CLASSES:] * W + codes[:, :CLASSES] @ B)


@pytest.mark.parametrize("preset", ["m1", "m1_m2"])
def test_what_reads_the_codes_does_not_move_the_vae(preset):
    assembly = variata.build(preset)
    x = torch.rand(6, 1, 8, 8).round()
    labelled = torch.arange(6) < 3
    batch = Batch(x, torch.where(labelled, torch.arange(6), -1), labelled=labelled)
    objective = assembly.loss(assembly.model, batch, Now.at_end())
    above = sum(term.value.sum() for name, term in objective.terms.items() if name.startswith("codes_"))
    below = sum(term.value.sum() for name, term in objective.terms.items() if name.startswith("vae_"))
    vae, classifier = list(assembly.model.vae.parameters()), list(assembly.model.classifier.parameters())
    assert all(g is None for g in torch.autograd.grad(above, vae, allow_unused=True, retain_graph=True))
    assert all(g is not None for g in torch.autograd.grad(above, classifier, allow_unused=True, retain_graph=True))
    assert all(g is not None for g in torch.autograd.grad(below, vae, allow_unused=True, retain_graph=True))
    assert {"elbo", "accuracy"} <= set(objective.metrics)
    torch.testing.assert_close(
        assembly.model.classify(x), assembly.model.classifier.classify(assembly.model.vae.encode(x))
    )
    assert assembly.model.classifier.spec.shape == (20,)


@pytest.mark.usefixtures("without_pictures")
def test_runs_of_all_three_are_evaluated_and_drawn_from_by_class(tmp_path):
    short = {"train.epochs": 1}
    found = {
        name: variata.evaluate(variata.train(name, short, run=tmp_path / name), samples=2)
        for name in ("m1", "m2", "m1_m2")
    }
    assert {"elbo", "nll", "error"} <= set(found["m1"]) & set(found["m2"])
    assert "nll" not in found["m1_m2"]
    assert "error" in found["m1_m2"]
    for name in ("m2", "m1_m2"):
        sample(str(tmp_path / name), n=4, condition="0..3", out=tmp_path / f"{name}.npz")
        assert np.load(tmp_path / f"{name}.npz")["x"].shape == (4, 1, 8, 8)
    with pytest.raises(variata.ConfigError, match="no class condition"):
        sample(str(tmp_path / "m1"), n=4, condition="3", out=tmp_path / "m1.npz")


@pytest.mark.parametrize(
    ("preset", "overrides", "said"),
    [
        ("m2", {"loss.alpha": -1.0}, ["alpha"]),
        ("m2", {"data.binarize": "none"}, ["binarize"]),
        ("m1", {"model.vae.condition": True}, ["condition", "data.labels"]),
        ("m1", {"model.vae": {"use": "rbm", "hidden": 4}}, ["vae", "RBM"]),
        ("m1", {"model.classifier": {"use": "rbm", "hidden": 4, "visible": "gaussian"}}, ["RBM"]),
        ("m1_m2", {"model.classifier": "classifier", "loss.classifier": "cross_entropy"}, ["Sampler"]),
        ("m1", {"loss.vae": "aae"}, ["several phases"]),
        ("m1", {"loss.classifier": "m2"}, ["M2Loss"]),
        ("m2", {"loss": "on_codes"}, ["on_codes"]),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(preset, overrides, said):
    (problem,) = problems(preset, overrides)
    assert all(words in problem for words in said), problem
    assert "\n" not in problem


@pytest.mark.parametrize("preset", ["m1", "m2", "m1_m2"])
def test_data_without_classes_is_refused(preset):
    assert "classes" in problems(preset, data=torch.rand(50, 64).round())[0]
