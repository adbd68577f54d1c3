"""Codes of classes against sums over all of them, and their relaxation against integrals over the simplex."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Independent, RelaxedOneHotCategorical, kl_divergence
from torch.distributions.distribution import Distribution

import variata
from support import problems
from variata import ConfigError, DataSpec, StandardNormal, Terms, Unsupported, rsample_and_kl
from variata_plugins.discrete.categorical import CategoricalEncoder, CategoricalPrior
from variata_plugins.discrete.concrete import Concrete
from variata_plugins.discrete.one_hot import OneHot
from variata_plugins.discrete.relaxed import RelaxedPrior
from variata_plugins.networks.mlp import MLP

F64 = torch.float64
VARIABLES, CLASSES = 2, 3


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=F64)


def every_code() -> Tensor:
    """`[9, variables * classes]`."""
    rows = torch.eye(CLASSES, dtype=F64)
    return torch.stack([torch.cat([rows[i] for i in index]) for index in product(range(CLASSES), repeat=VARIABLES)])


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def test_one_hot_laws_sum_to_one_and_their_kl_is_the_enumerated_one():
    q, p, codes = OneHot(normal(4, VARIABLES, CLASSES)), OneHot(normal(VARIABLES, CLASSES)), every_code()
    log_q, log_p = q.log_prob(codes[:, None]), p.log_prob(codes)[:, None]
    close(log_q.exp().sum(0), torch.ones(4, dtype=F64))
    close(kl_divergence(q, p), (log_q.exp() * (log_q - log_p)).sum(0))
    close(q.entropy(), -(log_q.exp() * log_q).sum(0))
    close(q.mean, torch.einsum("nb,nd->bd", log_q.exp(), codes))
    assert (kl_divergence(q, q).abs() < 1e-12).all()


def test_draws_are_one_hot_with_the_laws_frequencies():
    q = OneHot(normal(VARIABLES, CLASSES), temperature=0.1)
    z = q.sample((20_000,))
    assert set(z.unique().tolist()) == {0.0, 1.0}
    close(z.unflatten(-1, (VARIABLES, CLASSES)).sum(-1), torch.ones(20_000, VARIABLES, dtype=F64))
    error = (q.mean * (1 - q.mean) / len(z)).sqrt()
    assert ((z.mean(0) - q.mean).abs() < 5 * error).all()


def test_elbo_is_log_p_less_the_divergence_from_the_exact_posterior():
    codes = every_code()
    prior, q = OneHot(normal(VARIABLES, CLASSES)), OneHot(normal(1, VARIABLES, CLASSES))
    likelihood = Independent(Bernoulli(logits=codes @ normal(VARIABLES * CLASSES, 5)), 1)
    x = torch.bernoulli(torch.full((5,), 0.5, dtype=F64))
    log_joint = likelihood.log_prob(x) + prior.log_prob(codes)
    evidence = log_joint.logsumexp(0)
    log_q = q.log_prob(codes)
    # The expectation over q by enumeration: a draw that holds every code, each with its probability.
    layer = variata.Layer(codes[:, None], q, prior, kl=kl_divergence(q, prior))
    terms = Terms([layer], likelihood.log_prob(x)[:, None], len(codes))
    elbo = (log_q.exp() * terms.log_likelihood[:, 0]).sum() - layer.kl[0]
    divergence = (log_q.exp() * (log_q - (log_joint - evidence))).sum()
    close(elbo, evidence - divergence)
    weights = terms.log_weights()[:, 0]
    close((log_q + weights).logsumexp(0), evidence)


@pytest.mark.parametrize("gradient", ["gumbel", "probabilities"])
def test_straight_through_gives_the_value_of_a_draw_and_the_gradient_of_the_relaxed_one(gradient):
    logits = normal(1, VARIABLES, CLASSES).requires_grad_()
    direction = normal(VARIABLES * CLASSES)
    torch.manual_seed(5)
    (OneHot(logits, 0.7, gradient).rsample() @ direction).backward()
    found = logits.grad.clone()
    logits.grad = None
    torch.manual_seed(5)
    noise = -torch.empty(1, VARIABLES, CLASSES, dtype=F64).exponential_().log()
    scores = logits.log_softmax(-1)
    soft = ((scores + noise) / 0.7).softmax(-1) if gradient == "gumbel" else scores.exp()
    (soft.flatten(-2) @ direction).sum().backward()
    close(found, logits.grad)
    torch.manual_seed(5)
    drawn = OneHot(logits, 0.7, gradient).rsample()
    assert torch.equal(drawn.unflatten(-1, (VARIABLES, CLASSES)).argmax(-1), (scores + noise).argmax(-1))


def on_interval(law: Distribution, points: int = 400_001) -> tuple[Tensor, Tensor, float]:
    """z `[points, 2]` over the 1-simplex, equally spaced in the logit, with each point's width in z."""
    logit = torch.linspace(-60, 60, points, dtype=F64)
    z = torch.stack([logit.sigmoid(), (-logit).sigmoid()], -1)
    return z, z.prod(-1), float(logit[1] - logit[0])


@pytest.mark.parametrize("temperature", [0.3, 2 / 3, 2.0])
def test_concrete_density_integrates_to_one_and_is_torchs(temperature):
    logits = normal(1, 2)
    law = Concrete(logits, torch.tensor(temperature, dtype=F64))
    z, width, step = on_interval(law)
    close((law.log_prob(z).exp() * width).sum() * step, torch.tensor(1.0, dtype=F64), 1e-6)
    inside = z[(z.min(-1).values > 1e-6)][::10_000]
    theirs = RelaxedOneHotCategorical(torch.tensor(temperature, dtype=F64), logits=logits[0])
    close(law.log_prob(inside), theirs.log_prob(inside / inside.sum(-1, keepdim=True)), 1e-6)


def test_relaxed_kl_by_the_draw_is_that_of_the_integral():
    q = Concrete(normal(1, 2), torch.tensor(0.6, dtype=F64))
    p = Concrete(torch.zeros(1, 2, dtype=F64), torch.tensor(0.5, dtype=F64))
    z, width, step = on_interval(q)
    log_q, log_p = q.log_prob(z), p.log_prob(z)
    exact = float((log_q.exp() * (log_q - log_p) * width).sum() * step)
    assert exact > 0
    layer = rsample_and_kl(q, p, 50_000)
    assert not layer.closed_form
    error = float(layer.kl.std()) / math.sqrt(50_000)
    assert float(layer.kl.mean()) == pytest.approx(exact, abs=5 * error)
    discrete = float(kl_divergence(OneHot(q.log_weights), OneHot(p.log_weights)))
    assert abs(exact - discrete) > 10 * error  # two divergences, not to be taken for each other


def test_concrete_draws_become_one_hot_as_the_temperature_falls():
    logits = normal(1, CLASSES)
    z = Concrete(logits, torch.tensor(0.01, dtype=F64)).sample((20_000,))
    frequencies = z.round().mean(0)
    expected = Categorical(logits=logits[0]).probs
    assert ((frequencies - expected).abs() < 5 * (expected * (1 - expected) / 20_000).sqrt() + 0.01).all()
    assert (z.max(-1).values > 0.99).double().mean() > 0.95


def test_a_low_temperature_stays_finite_in_float32():
    logits = torch.tensor([[[40.0, -40.0, 0.0]]], requires_grad=True)
    q, p = Concrete(logits, torch.tensor(0.1)), Concrete(torch.zeros(1, 3), torch.tensor(0.1))
    layer = rsample_and_kl(q, p, 100)
    layer.kl.mean().backward()
    assert layer.kl.isfinite().all()
    assert logits.grad.isfinite().all()


def test_laws_of_two_kinds_have_no_divergence():
    hot, soft = OneHot(normal(3, 1, 2)), Concrete(normal(3, 1, 2), torch.tensor(0.5, dtype=F64))
    gaussian = StandardNormal(torch.zeros(3, 2, dtype=F64))
    for q, p in ((hot, soft), (soft, hot), (hot, gaussian), (soft, gaussian)):
        with pytest.raises(Unsupported, match="use the prior that has the encoder's name"):
            rsample_and_kl(q, p)


def encoder(latent: int = 6, classes: int = 3) -> CategoricalEncoder:
    return CategoricalEncoder(DataSpec((4,), "real"), latent, None, classes=classes, network=MLP((4,), (2, 3)))


def test_priors_take_their_sizes_from_the_encoder_of_their_kind():
    assert CategoricalPrior(encoder=encoder())().event_shape == (6,)
    assert CategoricalPrior(encoder=encoder())(torch.zeros(5)).batch_shape == (5,)
    with pytest.raises(ConfigError, match="the encoder is CategoricalEncoder"):
        RelaxedPrior(encoder=encoder())
    with pytest.raises(ConfigError, match=r"no multiple of 3 classes: set model\.latent=9"):
        encoder(latent=7)


def test_mistakes_are_said_in_one_line():
    assert "the encoder is GaussianEncoder" in problems("categorical_latent_vae", {"model.encoder.use": "gaussian"})[0]
    assert (
        "no encoder of this model has a temperature"
        in problems("vae", {"loss": {"use": "annealed", "temperature": 1}})[0]
    )
    falling = {"use": "linear", "from": 1.0, "to": 0.0}
    assert (
        "temperature must be positive (got 0)" in problems("categorical_latent_vae", {"loss.temperature": falling})[0]
    )


def test_the_temperature_is_state_that_a_step_leaves_behind(tmp_path, without_pictures):
    settings = {"train.epochs": 2, "model.latent": 20, "train.batch_size": 500}
    run = variata.train("categorical_latent_vae", settings, run=tmp_path / "run")
    steps = [row["step"] for row in run.metrics if row["split"] == "train"][-1]
    expected = 1.0 - 0.5 * (steps - 1) / steps
    assert float(run.model.encoder.temperature) == pytest.approx(expected, abs=1e-6)
    assert float(variata.load(run.path).model.encoder.temperature) == pytest.approx(expected, abs=1e-6)


def test_annealed_minimises_what_it_is_given():
    settings = {
        "model.latent": 20,
        "loss": {"use": "annealed", "temperature": 0.5, "loss": {"use": "iwae", "samples": 3}},
    }
    assembly = variata.build("categorical_latent_vae", settings)
    batch = assembly.data.split("train").batch(torch.arange(20))
    (phase,) = assembly.loss.phases(assembly.model)
    torch.manual_seed(1)
    objective = phase.loss(assembly.model, batch, variata.Now.at_end())
    torch.manual_seed(1)
    expected = assembly.loss.loss(assembly.model, batch, variata.Now.at_end())
    assert torch.equal(objective.total(), expected.total())
    assert objective.metrics["temperature"] == 1.0
    ((buffer, value),) = objective.updates
    assert buffer is assembly.model.encoder.temperature
    assert value == 0.5


def test_evaluation_does_not_depend_on_the_batch_size(tmp_path, without_pictures):
    settings = {"train.epochs": 1, "model.latent": 20, "train.batch_size": 500}
    run = variata.train("concrete_vae", settings, run=tmp_path / "run")
    found = [variata.evaluate(run, samples=4, batch_size=size)["nll"]["value"] for size in (50, 256)]
    assert found[0] == found[1]
