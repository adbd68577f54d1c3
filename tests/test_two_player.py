"""Critics of codes: the density ratio where it is known, permuted dimensions, and what each player may move."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import variata
from support import problems
from variata import Batch, Clock, DataSpec, DiagonalNormal, LatentVariable, Layer, Now, StandardNormal, Terms
from variata_plugins.two_player.critic import code_shape
from variata_plugins.two_player.factor_vae import FactorVAE, permute_dims

F64 = torch.float64
NOW = Now(Clock(0, 10, 100))
JOINT = torch.tensor([[0.4, 0.05, 0.05], [0.1, 0.1, 0.3]], dtype=F64)  # of z1 in {0, 1} and z2 in {0, 1, 2}
PRODUCT = JOINT.sum(1, keepdim=True) * JOINT.sum(0)
TC = (JOINT * (JOINT / PRODUCT).log()).sum()


def test_permuted_dimensions_keep_their_values_and_lose_what_they_say_of_each_other():
    z = torch.randn(4000, 1, dtype=F64).repeat(1, 3)
    other = permute_dims(z)
    torch.testing.assert_close(other.sort(0).values, z.sort(0).values, atol=0, rtol=0)
    assert not torch.equal(other, z)
    correlation = torch.corrcoef(other.T)
    assert float((correlation - torch.eye(3, dtype=F64)).abs().max()) < 0.06
    assert permute_dims(z[:1]).equal(z[:1])


class Table(nn.Module):
    """A critic with a value for each of the six codes."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values)

    def forward(self, z: Tensor) -> Tensor:
        return self.values[z[:, 0].long(), z[:, 1].long()][:, None]


class Coded(LatentVariable):
    """A model whose posterior is a point: its example. log p(x | z) and KL are zero."""

    def __init__(self, latent: int) -> None:
        super().__init__(DataSpec((latent,), "real", low=-math.inf, high=math.inf, measure="lebesgue"))
        self.scale = nn.Parameter(torch.ones(latent, dtype=F64))

    def terms(self, x: Tensor, y: Tensor | None = None, samples: int | None = None) -> Terms:
        z = x * self.scale
        q = DiagonalNormal(z, torch.zeros_like(z))
        zeros = torch.zeros(len(x), dtype=x.dtype)
        return Terms([Layer(z, q, StandardNormal(z), kl=zeros)], zeros, samples)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return x * self.scale

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return z

    def generate(self, n: int, condition: Tensor | None = None) -> DiagonalNormal:
        raise AssertionError("not used")


def test_the_best_critic_of_codes_is_the_log_ratio_whose_mean_is_the_total_correlation():
    """On a discrete law, by enumeration: the critic's gradient vanishes at log q / qbar, and E_q of it is TC."""
    loss = FactorVAE(Coded(2), gamma=1.0)
    f = (JOINT / PRODUCT).log().requires_grad_()
    value = (JOINT * loss.game.real(f) + PRODUCT * loss.game.fake(f)).sum()
    (gradient,) = torch.autograd.grad(value, f)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-16, rtol=0)
    for _ in range(50):
        other = f.detach() + 0.3 * torch.randn_like(f)
        assert (JOINT * loss.game.real(other) + PRODUCT * loss.game.fake(other)).sum() > value
    counts = (JOINT * 20).round().long()
    codes = torch.cat([torch.tensor([[i, j]] * int(counts[i, j])) for i in range(2) for j in range(3)]).to(F64)
    assert len(codes) == 20
    loss.critic = Table(f.detach())
    objective = loss.play_model(Coded(2), Batch(codes), NOW)
    assert float(objective.metrics["total_correlation"].mean()) == pytest.approx(float(TC), abs=1e-12)
    assert float(objective.total().detach()) == pytest.approx(float(TC), abs=1e-12)


def test_a_trained_critic_finds_the_total_correlation_of_a_normal_law():
    """Two normals of correlation 0.8: TC = -1/2 log(1 - 0.8^2)."""
    model = Coded(2)
    loss = FactorVAE(model, critic=quadratic())
    mix = torch.linalg.cholesky(torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=F64))
    optimizer = torch.optim.Adam(loss.parameters(), 0.01)
    critic = loss.phases(model)[1]
    for _ in range(300):
        total = critic.loss(model, Batch(torch.randn(500, 2, dtype=F64) @ mix.T), NOW).total()
        for parameter, gradient in zip(critic.parameters, torch.autograd.grad(total, critic.parameters), strict=True):
            parameter.grad = gradient
        optimizer.step()
    found = loss.play_model(model, Batch(torch.randn(20000, 2, dtype=F64) @ mix.T), NOW).metrics["total_correlation"]
    assert float(found.mean()) == pytest.approx(-0.5 * math.log(1 - 0.64), abs=0.06)


def quadratic() -> nn.Module:
    """A quadratic critic, which the log ratio of two normal laws is."""

    class Quadratic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(6, 1, dtype=F64)

        def forward(self, z: Tensor) -> Tensor:
            a, b = z.T
            return self.last(torch.stack([a, b, a * a, b * b, a * b, torch.ones_like(a)], dim=1))

    return Quadratic()


def test_factor_vae_is_the_elbo_and_gamma_times_its_critic():
    assembly = variata.build("factor_vae", {"loss.gamma": 0.0})
    batch = assembly.data.split("train").batch(torch.arange(16))
    torch.manual_seed(1)
    objective = assembly.loss.play_model(assembly.model, batch, NOW)
    torch.manual_seed(1)
    expected = -assembly.model.terms(batch.x).elbo.mean()
    torch.testing.assert_close(objective.total(), expected)
    model, critic = assembly.loss.phases(assembly.model)
    assert {id(p) for p in model.parameters} == {id(p) for p in assembly.model.parameters()}
    assert {id(p) for p in critic.parameters} == {id(p) for p in assembly.loss.parameters()}
    assert assembly.loss.couples_batch


def test_factor_vae_is_evaluated_as_the_latent_variable_model_that_it_is(tmp_path):
    settings = {"train.epochs": 1, "model.latent": 2, "data.use": "digits"}
    found = variata.evaluate(variata.train("factor_vae", settings, run=tmp_path / "run"), samples=2)
    assert found["nll"]["kind"] == "upper_bound"
    assert found["elbo"]["kind"] == "lower_bound"


def test_an_adversarial_autoencoder_prints_no_likelihood_and_one_with_a_posterior_does(tmp_path):
    run = variata.train("aae", {"train.epochs": 1}, run=tmp_path / "aae")
    assert not {"nll", "elbo", "log_likelihood"} & set(variata.evaluate(run))
    assert run.model.sample(3).shape == (3, 1, 8, 8)
    overrides = {"loss": {"use": "aae", "weight": 2.0}, "train.epochs": 1, "model.latent": 2}
    found = variata.evaluate(variata.train("vae", overrides, run=tmp_path / "vae"), samples=2)
    assert found["elbo"]["kind"] == "lower_bound"


def test_the_critic_of_codes_sees_the_prior_and_gives_the_encoder_its_gradient():
    assembly = variata.build("aae")
    model, loss = assembly.model, assembly.loss
    batch = assembly.data.split("train").batch(torch.arange(32))
    critic, player = loss.phases(model)
    seen: list[Tensor] = []
    loss.critic.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    total = critic.loss(model, batch, NOW).total()
    assert torch.autograd.grad(total, list(model.encoder.parameters()), allow_unused=True)[0] is None
    prior, codes = seen
    assert prior.shape == codes.shape == (32, 8)
    torch.testing.assert_close(codes, model.encode(batch.x).detach())
    assert float(prior.std()) == pytest.approx(1.0, abs=0.2)
    game = player.loss(model, batch, NOW).terms["game"].value.mean()
    gradients = torch.autograd.grad(game, player.parameters, allow_unused=True)
    reached = {id(p) for p, gradient in zip(player.parameters, gradients, strict=True) if gradient is not None}
    assert reached == {id(p) for p in model.encoder.parameters()}


def test_the_encoder_of_a_vae_gan_does_not_play():
    assembly = variata.build("vae_gan")
    model, loss = assembly.model, assembly.loss
    batch = assembly.data.split("train").batch(torch.arange(16))
    objective = loss.play_model(model, batch, NOW)
    encoder = list(model.encoder.parameters())
    for name, reaches in {"rate": True, "similarity": True, "decoded": False, "drawn": False}.items():
        value = objective.terms[name].value.mean()
        gradients = torch.autograd.grad(value, encoder, allow_unused=True, retain_graph=True)
        assert any(gradient is not None for gradient in gradients) == reaches, name
    critic = [*loss.features.parameters(), *loss.head.parameters()]
    likeness = objective.terms["similarity"].value.mean()
    assert torch.autograd.grad(likeness, critic, allow_unused=True, retain_graph=True)[-1] is None  # of the head
    total = loss.phases(model)[0].loss(model, batch, NOW).total()
    assert torch.autograd.grad(total, encoder, allow_unused=True)[0] is None


def test_equal_examples_are_alike_in_every_feature():
    loss = variata.build("vae_gan").loss
    x = torch.rand(4, 1, 8, 8)
    assert torch.equal(loss.features(x), loss.features(x.clone()))
    assert loss.features(x).shape == (4, 64)


@pytest.mark.parametrize("condition", [False, True])
@pytest.mark.parametrize("preset", ["factor_vae", "vae_gan", "aae"])
def test_every_loss_takes_conditions(preset, condition):
    assembly = variata.build(preset, {"model.condition": condition})
    assert code_shape(assembly.model) == ((8,) if preset == "aae" else (10,) if preset == "factor_vae" else (16,))
    assert assembly.model.training
    batch = assembly.data.split("train").batch(torch.arange(8))
    variata.prepare(assembly.model, assembly.data)
    for phase in assembly.loss.phases(assembly.model):
        assert phase.loss(assembly.model, batch, NOW).total().isfinite()


def test_mistakes_are_said_in_a_line():
    (problem,) = problems("denoising_autoencoder", {"loss": "aae"})
    assert "needs codes and a prior, as autoencoder and vae have; DenoisingAutoencoder has not both" in problem
    (problem,) = problems("autoencoder", {"loss": "aae"})
    assert "set model.prior=standard_normal" in problem
    assert "set data.binarize=none" in problems("vae", {"loss": "vae_gan"})[0]
    assert "is a LatentVariable, and autoencoder is not" in problems("autoencoder", {"loss": "vae_gan"})[0]
