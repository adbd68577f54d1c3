"""Hierarchies of Gaussian layers against exact answers: a linear one of two layers whose every law is known,

    z_2 ~ N(0, 1),  z_1 ~ N(a z_2, b^2),  x ~ N(w z_1, s^2 I):      p(x) = N(0, (a^2 + b^2) w w^T + s^2 I)

one layer against the VAE, and what is minimised against its formula.
"""

from __future__ import annotations

import json
import math
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Laplace, MultivariateNormal, Normal

import variata
from support import problems
from variata import (
    Batch,
    Clock,
    Component,
    ConfigError,
    DataSpec,
    Decoder,
    DiagonalNormal,
    EvaluationSettings,
    LatentVariable,
    Now,
    Split,
    Terms,
    Unsupported,
    ancestral,
    joint,
    rsample_and_kl,
)
from variata.evaluation import evaluate_model
from variata.schema import json_schema
from variata_plugins.bounds.ciwae import CIWAE
from variata_plugins.bounds.iwae import IWAE
from variata_plugins.bounds.miwae import MIWAE
from variata_plugins.bounds.piwae import PIWAE
from variata_plugins.hierarchical.inference import Inference
from variata_plugins.hierarchical.loss import HierarchicalELBO, balanced
from variata_plugins.hierarchical.merge import merged
from variata_plugins.vae.elbo import ELBO

F64 = torch.float64
A, B, S = 1.3, 0.7, 0.5
W = torch.tensor([0.8, -0.4, 1.1], dtype=F64)
NOW = Now(Clock(0, 10, 100))
LADDERS = ("bottom_up", "top_down", "ladder")


class Line(Decoder):
    """N(w z, s^2 I)."""

    models = ("real",)

    def __init__(self, data: DataSpec, latent: int) -> None:
        super().__init__(data)
        self.weight = nn.Parameter(W.clone())

    def forward(self, z: Tensor, y: Tensor | None = None) -> Independent:
        return Independent(Normal(z * self.weight, S), 1)


def evidence() -> MultivariateNormal:
    covariance = (A**2 + B**2) * torch.outer(W, W) + S**2 * torch.eye(3, dtype=F64)
    return MultivariateNormal(torch.zeros(3, dtype=F64), covariance)


def linear(inference: str) -> Any:
    """The model above, whose q is the exact posterior: a ladder's messages are what x says of z_1."""
    data = evidence().sample((50,))
    none = {"use": "mlp", "hidden": []}
    model = {"use": "hierarchical_vae", "latent": [1, 1], "downward": [none]}
    model["encoder"] = {"use": inference, "upward": [none], **({"features": [2]} if inference == "ladder" else {})}
    config = {"model": model | {"decoder": {"use": "bernoulli"}}, "loss": "hierarchical_elbo", "data": "blobs"}
    found = variata.build(config, data=data, decoder=partial(Line)).model.double()
    project, sharp = W / W.dot(W), S**2 / float(W.dot(W))  # x says N(z_1; project . x, sharp)

    def fill(network: Any, weight: list[list[float]], bias: list[float]) -> None:
        network.last.weight.data.copy_(torch.tensor(weight, dtype=F64))
        network.last.bias.data.copy_(torch.tensor(bias, dtype=F64))

    fill(found.downward[0], [[A], [0.0]], [0.0, 2 * math.log(B)])
    if inference == "ladder":
        upper, lower = found.encoder.path.networks
        rows = [project.tolist(), (-project).tolist(), project.tolist(), [0.0] * 3]
        fill(lower, rows, [0.0, 0.0, 0.0, math.log(sharp)])
        wide = B**2 + sharp
        precision = 1 + A**2 / wide
        slope = A / wide / precision
        fill(upper, [[slope, -slope], [0.0, 0.0]], [0.0, -math.log(precision)])  # of the parts above and below zero
    else:
        upper, lower = found.encoder.networks
        precision = 1 / (A**2 + B**2) + 1 / sharp
        fill(lower, [(project / sharp / precision).tolist(), [0.0] * 3], [0.0, -math.log(precision)])
        precision = 1 + A**2 / B**2
        fill(upper, [[A / B**2 / precision], [0.0]], [0.0, -math.log(precision)])
    return found.eval()


def close(a: Tensor, b: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


# The merge


def test_the_merge_is_the_normalised_product():
    shape = (200, 3)
    first = DiagonalNormal(torch.randn(shape, dtype=F64), 2 * torch.randn(shape, dtype=F64))
    second = DiagonalNormal(torch.randn(shape, dtype=F64), 2 * torch.randn(shape, dtype=F64))
    z = torch.randn(7, *shape, dtype=F64)
    spread = (first.variance + second.variance).sqrt()
    constant = Normal(second.mean, spread).log_prob(first.mean).sum(-1)  # the integral of the product
    close(merged(first, second).log_prob(z), first.log_prob(z) + second.log_prob(z) - constant)
    close(merged(first, second).mean, merged(second, first).mean)


def test_the_merge_of_sharp_and_wide_laws_is_finite_and_the_sharp_one_decides():
    sharp = DiagonalNormal(torch.tensor([[3.0]]), torch.tensor([[-30.0]], requires_grad=True))
    wide = DiagonalNormal(torch.tensor([[-5.0]]), torch.tensor([[30.0]], requires_grad=True))
    found = merged(wide, sharp)
    assert (float(found.mean.detach()), float(found.logvar.detach())) == (3.0, -30.0)
    assert all(g.isfinite().all() for g in torch.autograd.grad(found.mean.sum() + found.logvar.sum(), [sharp.logvar]))


# The linear hierarchy


@pytest.mark.parametrize("inference", ["ladder", "bottom_up"])
def test_at_the_exact_posterior_every_weight_is_the_evidence(inference):
    model, x = linear(inference), evidence().sample((20,))
    with torch.no_grad():
        close(model.terms(x, samples=30).log_weights(), evidence().log_prob(x).expand(30, -1))
        close(IWAE(samples=7)(model, Batch(x), NOW).metrics["iwae"], evidence().log_prob(x))


@pytest.mark.parametrize("inference", ["ladder", "bottom_up"])
def test_any_other_posterior_lacks_its_divergence_and_more_samples_lack_less(inference):
    """The bound by closed forms, and by log p - log q at the draws, falls short of the evidence by the exact
    KL[q(z_1, z_2 | x) || p(z_1, z_2 | x)], both laws being Gaussians in the plane."""
    exact, other = linear(inference), linear(inference)
    x, draws = evidence().sample((1,)), 40_000
    for network in other.encoder.modules():
        if isinstance(network, nn.Linear):
            network.bias.data += 0.3
    with torch.no_grad():
        laws = []
        for model in (exact, other):
            z = torch.cat([layer.z for layer in model.terms(x, samples=draws).layers], dim=-1)[:, 0]
            laws.append(MultivariateNormal(z.mean(0), z.T.cov()))
        gap = float(torch.distributions.kl_divergence(laws[1], laws[0]))
        terms, truth = other.terms(x, samples=draws), float(evidence().log_prob(x))
        for values in (terms.log_weights(), terms.log_likelihood - sum(layer.kl for layer in terms.layers)):
            error = float(values.std()) / math.sqrt(draws)
            assert abs(truth - gap - float(values.mean())) < 5 * error + 0.02 * gap
        weights = terms.log_weights()[:, 0]
        bounds = [float((weights.view(-1, k).logsumexp(1) - math.log(k)).mean()) for k in (1, 2, 8, 40)]
    assert all(fewer < more for fewer, more in pairwise(bounds))
    assert gap > 0.05
    assert bounds[0] < truth - 0.05
    assert bounds[-1] < truth + 0.02


def test_it_is_annealed_through_all_layers():
    model, x = linear("ladder"), evidence().sample((20,))
    for network in model.encoder.path.networks:
        network.last.bias.data += 1.0  # whatever q is
    split = Split(x, transform=lambda stored: stored)
    data = variata.build("gaussian_vae", data=x).data
    data.split = lambda name: split
    metric = variata.registry().find("metric", "latent_ais").load()(steps=30, chains=4, leapfrog=5, simulated=5)
    found = metric.measure(model, data, EvaluationSettings())
    assert found["log_likelihood[ais]"]["value"] == pytest.approx(float(evidence().log_prob(x).mean()), abs=0.3)


@pytest.mark.parametrize("inference", ["ladder", "bottom_up"])
def test_the_joint_at_any_values_and_draws_from_above(inference):
    model, x = linear(inference), evidence().sample((4,))
    z = [torch.randn(5, 4, 1, dtype=F64) for _ in range(2)]
    with torch.no_grad():
        found = joint(model, x, None, z)
        prior = Normal(0, 1).log_prob(z[0]) + Normal(A * z[0], B).log_prob(z[1])
        close(found.log_prior, prior.sum(-1))
        close(found.log_likelihood, Normal(z[1] * W, S).log_prob(x).sum(-1))
        drawn = ancestral(model, x[:1], None, 20_000)
    assert drawn.likelihood is not None
    made = drawn.likelihood.sample()[:, 0]
    products = made[:, :, None] * made[:, None, :]
    assert ((products.mean(0) - evidence().covariance_matrix).abs() < 5 * products.std(0) / math.sqrt(20_000)).all()
    made = model.generate(20_000).sample().detach()
    products = made[:, :, None] * made[:, None, :]
    assert ((products.mean(0) - evidence().covariance_matrix).abs() < 5 * products.std(0) / math.sqrt(20_000)).all()


# What evaluation says of each layer


@pytest.mark.parametrize("inference", ["ladder", "bottom_up"])
def test_what_each_layer_carries_is_near_its_exact_information(inference):
    """q is exact, so that the laws of (x, z_l) are those of the model: I = log(variance / variance given x) / 2."""
    model, n = linear(inference), 2000
    x = evidence().sample((n,))
    found = evaluate_model(model, Split(x, transform=lambda stored: stored), EvaluationSettings(samples=64))
    sharp = S**2 / float(W.dot(W))
    left = [1 / (1 + A**2 / (B**2 + sharp)), 1 / (1 / (A**2 + B**2) + 1 / sharp)]
    exact = [0.5 * math.log(total / given) for total, given in zip([1, A**2 + B**2], left, strict=True)]
    figure = found["mutual_information_per_layer"]
    assert figure["value"] == pytest.approx(exact, abs=0.06)
    assert figure["kind"] == "lower_bound"
    assert figure["at_most"] == pytest.approx(math.log(n))
    assert found["active_units_per_layer"]["value"] == [1, 1]
    assert (found["active_units"]["value"], found["active_units"]["of"]) == (2, 2)
    assert sum(found["kl_per_layer"]["value"]) == pytest.approx(found["kl"]["value"])
    assert found["kl_per_dimension"]["value"] == pytest.approx(found["kl_per_layer"]["value"])
    close(torch.tensor(found["nll"]["value"], dtype=F64), -evidence().log_prob(x).mean())


def test_layers_that_say_nothing_of_x_carry_nothing():
    model = linear("ladder")
    upper, lower = model.encoder.path.networks
    for network in (upper, lower):
        network.last.weight.data.zero_()
    lower.last.bias.data.copy_(torch.tensor([0.0, 0.0, 0.0, 30.0]))  # the message is wide: q is the prior
    upper.last.bias.data.zero_()
    split = Split(evidence().sample((300,)), transform=lambda stored: stored)
    found = evaluate_model(model, split, EvaluationSettings(samples=20))
    assert found["active_units"]["value"] == 0
    assert found["active_units_per_layer"]["value"] == [0, 0]  # though 20 draws of the upper layer differ by example
    assert "collapsed" in found["active_units"]["note"]
    assert found["mutual_information_per_layer"]["value"] == pytest.approx([0, 0], abs=0.02)


@pytest.mark.parametrize("examples", [1, 2, 3, 5])
def test_figures_of_few_examples_are_numbers_or_none(examples):
    split = Split(evidence().sample((examples,)), transform=lambda stored: stored)
    found = evaluate_model(linear("ladder"), split, EvaluationSettings(samples=9))
    assert json.loads(json.dumps(found, allow_nan=False))
    if examples > 1:
        assert found["mutual_information_per_layer"]["at_most"] == pytest.approx(math.log(examples))


def test_one_draw_says_nothing_of_what_depends_on_other_draws():
    split = Split(evidence().sample((30,)), transform=lambda stored: stored)
    found = evaluate_model(linear("ladder"), split, EvaluationSettings(samples=1))
    top, lower = found["mutual_information_per_layer"]["value"]
    assert (top > 0, lower) == (True, None)


class Laplacian(LatentVariable):
    """Somebody else's: z_2 and z_1 whose posteriors are no Gaussians, around x and around z_2, so that z_1 says less
    of x than z_2 does."""

    def __init__(self) -> None:
        super().__init__(DataSpec((1,), "real", measure="lebesgue", transform="drawn"))

    def terms(self, x, y=None, samples=None):
        top = rsample_and_kl(
            Independent(Laplace(x, 0.5), 1), Independent(Laplace(torch.zeros_like(x), 1.0), 1), samples
        )
        below = rsample_and_kl(Independent(Laplace(top.z, 0.5), 1), Independent(Laplace(top.z, 1.0), 1))
        return Terms([top, below], Independent(Normal(below.z, 1.0), 1).log_prob(x), samples)

    def encode(self, x, y=None):
        return x

    decode = generate = encode


def test_layers_of_any_law_have_figures_and_the_information_falls_from_layer_to_layer():
    """I(x; z_2) for x ~ N(0, 1) and Laplace noise of scale 1/2 is 0.62 nats, I(x; z_1) 0.37, by quadrature."""
    x = torch.randn(2000, 1, dtype=F64)
    found = evaluate_model(Laplacian(), Split(x, transform=lambda stored: stored), EvaluationSettings(samples=64))
    exact = [information_of(noises) for noises in (1, 2)]
    got = found["mutual_information_per_layer"]["value"]
    assert all(value < truth + 0.05 for value, truth in zip(got, exact, strict=True))
    assert got == pytest.approx(exact, abs=0.12)
    assert found["active_units_per_layer"]["value"] == [1, 1]
    assert found["kl_per_layer"]["value"][1] == pytest.approx(math.log(2) + 0.5 - 1, abs=0.02)


def information_of(noises: int) -> float:
    """h(x + noise) - h(noise) of x ~ N(0, 1) and a sum of Laplace noises of scale 1/2, on a grid."""
    grid = torch.linspace(-15, 15, 3001, dtype=F64)
    step = float(grid[1] - grid[0])

    def convolved(a: Tensor, b: Tensor) -> Tensor:
        n = len(a)
        return torch.fft.irfft(torch.fft.rfft(a, 2 * n) * torch.fft.rfft(b, 2 * n), 2 * n)[n // 2 : n // 2 + n] * step

    def entropy(density: Tensor) -> float:
        return float(-(density * density.clamp(min=1e-300).log()).sum() * step)

    noise = one = Laplace(0.0, 0.5).log_prob(grid).exp()
    for _ in range(noises - 1):
        noise = convolved(noise, one)
    return entropy(convolved(Normal(0, 1).log_prob(grid).exp(), noise)) - entropy(noise)


# One layer is the VAE


def small(model: dict[str, Any], loss: str) -> Any:
    return variata.build({"data": {"use": "digits", "binarize": "dynamic"}, "model": model, "loss": loss})


@pytest.mark.parametrize("inference", LADDERS)
def test_one_layer_is_the_vae_to_the_last_bit(inference):
    network = {"use": "mlp", "hidden": [12], "activation": "tanh"}
    decoder = {"use": "bernoulli", "network": network}
    vae = small(
        {"use": "vae", "latent": 3, "encoder": {"use": "gaussian", "network": network}, "decoder": decoder}, "elbo"
    )
    encoder = {"use": inference, "upward": [network]}
    one = small({"use": "hierarchical_vae", "latent": [3], "encoder": encoder, "decoder": decoder}, "hierarchical_elbo")
    batch, found = vae.data.split("train").batch(torch.arange(50)), []
    for assembly in (vae, one):
        torch.manual_seed(1)
        optimizer = torch.optim.Adam(assembly.model.parameters(), 1e-2)
        losses = []
        for _ in range(5):
            total = assembly.loss(assembly.model, batch, Now.at_end()).total()
            losses.append(total.detach())
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
        x = batch.x
        with torch.no_grad():
            values = [*assembly.model.parameters(), *losses, assembly.model.encode(x), assembly.model.reconstruct(x)]
            values.append(assembly.model.sample(5))
            values.append(assembly.model.terms(x, samples=4).log_weights())
        estimates = evaluate_model(assembly.model, vae.data.split("test"), EvaluationSettings(samples=3))
        found.append((values, estimates))
    (first, estimates), (second, others) = found
    assert len(first) == len(second)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert estimates == others


# The divergences, layer by layer


@pytest.mark.parametrize("preset", ["ladder_vae", "top_down_vae", "hierarchical_vae", "residual_vae"])
def test_divergences_are_those_of_their_laws(preset):
    """Each layer's KL against log q - log p over many draws, and against its dimensions' sum."""
    model, draws = variata.build(preset).model.double().eval(), 300
    batch = variata.build("vae").data.split("train").batch(torch.arange(2))
    with torch.no_grad():
        terms = model.terms(batch.x.double(), samples=draws)
        for i, layer in enumerate(terms.layers):
            difference = (layer.log_q() - layer.log_p) - layer.kl
            error = difference.std(0) / math.sqrt(draws)
            assert (difference.mean(0).abs() <= 5 * error + 1e-9).all()
            close(layer.kl_per_dimension().flatten(-len(layer.q.event_shape)).sum(-1), layer.kl)
            assert layer.closed_form == (preset != "hierarchical_vae" or i == 0)


def test_the_residual_divergence_is_that_of_the_changes():
    """1/2 sum [dmu^2 / sigma_p^2 + dsigma^2 - log dsigma^2 - 1] (Vahdat and Kautz, 2020, equation 2)."""
    model = variata.build("residual_vae").model.double().eval()
    x = (torch.rand(3, 1, 8, 8, dtype=F64) < 0.3).double()
    with torch.no_grad():
        layer = model.terms(x).layers[2]
        q, p = layer.q, layer.p
        change, ratio = (q.mean - p.mean).square() / p.variance, q.logvar - p.logvar
        close(layer.kl, 0.5 * (change + ratio.exp() - ratio - 1).flatten(1).sum(1))


# Codes


@pytest.mark.parametrize("preset", ["ladder_vae", "hierarchical_vae", "residual_vae", "residual_mlp_vae"])
def test_codes_are_the_means_in_the_coordinates_of_the_prior(preset):
    model = variata.build(preset).model.double().eval()
    x = (torch.rand(3, 1, 8, 8, dtype=F64) < 0.3).double()
    with torch.no_grad():
        code = model.encode(x)
        sizes = [event.numel() for event in model.events]
        assert code.shape == (3, sum(sizes))
        # z of every layer from the code, by hand, then p(x | z) at these.
        state, z = model.begin(torch.Size([3])), []
        for i, (part, event) in enumerate(zip(code.split(sizes, dim=1), model.events, strict=True)):
            p, value = model.prior_of(i, state, ()), part.unflatten(1, event)
            z.append((p.mean + p.stddev * value if i else value)[None])
            state = model.below(i, state, z[-1][0], ())
        found = joint(model, x, None, z)
        assert found.likelihood is not None
        close(model.decode(code), found.likelihood.mean[0])
        close(model.reconstruct(x), model.decode(code))
        close(model.decode(code.expand(4, 3, -1))[2], model.decode(code))
        above = code.clone()
        above[:, 0] += 1.0
        assert not torch.allclose(model.decode(above), model.decode(code))


# The loss


def kls(model: Any, x: Tensor) -> list[Tensor]:
    torch.manual_seed(5)
    return [layer.kl.detach() for layer in model.terms(x).layers]


def test_the_loss_is_the_elbo_where_nothing_is_weighed_and_each_layer_has_its_price():
    model = variata.build("ladder_vae").model.double().eval()
    x = (torch.rand(6, 1, 8, 8, dtype=F64) < 0.3).double()
    values = kls(model, x)

    def seen(now: Now = NOW, **options: Any) -> Tensor:
        torch.manual_seed(5)
        return HierarchicalELBO(model, **options)(model, Batch(x), now).total()

    torch.manual_seed(5)
    plain = ELBO()(model, Batch(x), NOW).total()
    close(seen(), plain)
    total = sum(values, torch.zeros(6, dtype=F64))
    distortion = plain - total.mean()
    close(seen(beta=0.25), distortion + 0.25 * total.mean())
    betas = [0.0, 2.0, 0.5]
    close(seen(beta=betas), distortion + sum(b * v.mean() for b, v in zip(betas, values, strict=True)))
    free = [float(values[0].mean()) + 1, 0.0, float(values[2].mean()) - 0.1]
    close(seen(free_bits=free), distortion + free[0] + values[1].mean() + values[2].mean())
    gamma = balanced(values, [4, 8, 16])
    weighed = sum(0.5 * g * v.mean() for g, v in zip(gamma, values, strict=True))
    close(seen(beta=0.5, balance=True), distortion + weighed)
    close(seen(beta=1.0, balance=True), plain)  # after the warm-up nothing is balanced


def test_balancing_is_proportional_to_what_a_dimension_carries():
    gamma = balanced([torch.full((4,), 7.99), torch.full((4,), -1.99), torch.zeros(4)], [2, 1, 1])
    torch.testing.assert_close(gamma, 3 * torch.tensor([4.0, 2.0, 0.01]) / 6.01)


def test_each_layer_has_its_own_warm_up():
    assembly = variata.build("top_down_vae")
    batch = assembly.data.split("train").batch(torch.arange(10))
    for step, expected in ((0, [0.0, 0.0, 0.0]), (50, [1.0, 0.5, 1 / 3]), (150, [1.0, 1.0, 1.0])):
        objective = assembly.loss(assembly.model, batch, Now(Clock(step, 10, 400)))
        found = [float(objective.terms[f"rate_{i}"].scale) for i in (3, 2, 1)]
        assert found == pytest.approx(expected)
        assert set(objective.metrics) >= {"kl_1", "kl_2", "kl_3", "elbo"}
    again = variata.config.load_spec(assembly.spec.plain())
    assert again.plain() == assembly.spec.plain()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("loss.beta=[1, 1]", "loss: beta needs 3 in its list, or one alone for all (got 2)"),
        ("loss.free_bits=[]", "loss: free_bits needs 3 in its list, or one alone for all (got 0)"),
        ("loss.beta=[1, -1, 1]", "loss: beta must not be negative (got -1)"),
        ("loss.beta=[1, {use: linaer}, 1]", "loss.beta[1]: unknown schedule linaer, did you mean linear?"),
        ("loss.beta=many", "or a list of these (got 'many')"),
        ("model.downward=[]", "model: downward needs 2 in its list, or one alone for all (got 0)"),
        ("model.downward=mlp", "must be a list, each a network (got 'mlp')"),
        ("model.encoder.features=[1, 2, 3]", "features needs 2 in its list"),
        ("model.encoder.upward=[mlp, mlp]", "upward needs 3 in its list"),
        ("model.latent=[]", "model.latent"),
        ("model.encoder=ladders", "did you mean ladder?"),
        ("model.encoder=gaussian", "gaussian"),
    ],
)
def test_what_does_not_fit_is_said(override, said):
    (problem,) = problems("ladder_vae", [override])
    assert said in problem


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (["model.groups=[0, 0, 0]"], "groups has no layers"),
        (["model.blocks=mlp"], "a vector has one scale: write groups: [4]"),
        (["data.use=blobs", "model.decoder=gaussian"], "set model.blocks=mlp"),
    ],
)
def test_what_a_residual_hierarchy_cannot_be_is_said(override, said):
    (problem,) = problems("residual_vae", override)
    assert said in problem


def test_the_schema_knows_lists_of_schedules_and_of_networks():
    definitions = json_schema()["$defs"]
    loss = next(
        v for v in definitions["loss"]["anyOf"] if "hierarchical_elbo" in str(v.get("properties", {}).get("use"))
    )
    array = next(v for v in loss["properties"]["beta"]["anyOf"] if v.get("type") == "array")
    assert {"$ref": "#/$defs/schedule"} in array["items"]["anyOf"]
    model = next(
        v for v in definitions["model"]["anyOf"] if "hierarchical_vae" in str(v.get("properties", {}).get("use"))
    )
    assert model["properties"]["downward"]["items"] == {"$ref": "#/$defs/network"}
    assert model["properties"]["downward"]["default"] == [{"use": "mlp"}]


# Other losses


def test_bounds_of_several_samples_take_all_layers():
    assembly = variata.build("ladder_vae")
    model, batch = assembly.model, assembly.data.split("train").batch(torch.arange(8))
    torch.manual_seed(2)
    weights = model.terms(batch.x, samples=6).log_weights()
    expected = {"iwae": weights.logsumexp(0) - math.log(6)}
    expected["miwae"] = (weights.view(2, 3, -1).logsumexp(1) - math.log(3)).mean(0)
    for name, loss in (("iwae", IWAE(samples=6)), ("miwae", MIWAE(groups=2, samples=3))):
        torch.manual_seed(2)
        torch.testing.assert_close(loss(model, batch, NOW).metrics[name], expected[name])
    assert CIWAE(samples=3)(model, batch, NOW).total().isfinite()
    encoder, decoder = PIWAE(groups=2, samples=2).phases(model)
    assert set(encoder.parameters) == set(model.encoder.parameters())
    assert {*encoder.parameters, *decoder.parameters} == set(model.parameters())
    assert encoder.loss(model, batch, NOW).total().isfinite()
    for gradient in ("stl", "dreg"):
        with pytest.raises(Unsupported, match="several layers"):
            IWAE(samples=3, gradient=gradient)(model, batch, NOW)


@pytest.mark.parametrize("loss", ["aae", "factor_vae", "beta_tc"])
def test_what_is_defined_for_one_layer_alone_says_so(loss):
    assembly = variata.build("ladder_vae", [f"loss={loss}"])
    variata.prepare(assembly.loss, assembly.data)
    batch = assembly.data.split("train").batch(torch.arange(8))
    phase = assembly.loss.phases(assembly.model)[0]
    with pytest.raises(Unsupported, match="one stochastic layer, and this one has 3"):
        phase.loss(assembly.model, batch, NOW)


def test_the_critic_of_a_vae_gan_says_so_too():
    assembly = variata.build(
        "ladder_vae", ["loss=vae_gan", "data.binarize=none", "model.decoder.use=discretized_logistic"]
    )
    batch = assembly.data.split("train").batch(torch.arange(8))
    with pytest.raises(Unsupported, match="one stochastic layer, and this one has 3"):
        assembly.loss.play_model(assembly.model, batch, NOW)


def test_a_residual_hierarchy_has_no_prior_for_an_adversarial_autoencoder():
    (problem,) = problems("residual_vae", ["loss=aae"])
    assert "ResidualVAE has none" in problem


# Other parts


class Apart(Inference):
    """q(z_l | x) of each layer by itself: somebody else's way of inference."""

    def __init__(self, data, latents, condition):
        super().__init__()
        self.networks = nn.ModuleList(nn.Linear(math.prod(data.shape), 2 * size) for size in latents)

    def forward(self, x, y=None):
        return DiagonalNormal.packed(self.networks[0](x.flatten(1)))

    def read(self, x, y, draw):
        return [DiagonalNormal.packed(network(x.flatten(1))) for network in self.networks]

    def law(self, layer, seen, above, p, y):
        return seen


def test_inference_is_a_kind_that_anybody_may_add_to():
    with variata.plugin([Component("inference", "apart", Apart, "Each by itself")]):
        assembly = variata.build("ladder_vae", ["model.encoder=apart"])
        terms = assembly.model.terms(assembly.data.split("train").batch(torch.arange(8)).x, samples=5)
        assert [tuple(layer.z.shape) for layer in terms.layers] == [(5, 8, 4), (5, 8, 8), (5, 8, 16)]
        assert terms.log_weights().shape == (5, 8)
        found = evaluate_model(assembly.model, assembly.data.split("test"), EvaluationSettings(samples=2))
        assert None not in found["mutual_information_per_layer"]["value"]


def test_the_top_layer_may_have_any_prior_and_what_has_no_law_for_it_says_so():
    assembly = variata.build("ladder_vae", ["model.prior={use: vamp, components: 5}"])
    variata.prepare(assembly.model, assembly.data)
    batch = assembly.data.split("train").batch(torch.arange(8))
    assert assembly.model.terms(batch.x).elbo.isfinite().all()
    assert assembly.model.sample(3).shape == (3, 1, 8, 8)
    assembly = variata.build("hierarchical_vae", ["model.prior={use: vamp, components: 5}"])
    variata.prepare(assembly.model, assembly.data)
    with pytest.raises(Unsupported, match="use top_down or ladder"):
        assembly.model.terms(batch.x)


@pytest.mark.parametrize("preset", ["ladder_vae", "top_down_vae", "hierarchical_vae", "residual_vae"])
def test_everything_may_depend_on_a_class(preset):
    assembly = variata.build(preset, ["model.condition=true"])
    model, batch = assembly.model, assembly.data.split("train").batch(torch.arange(8))
    variata.prepare(model, assembly.data)
    model.eval()
    torch.manual_seed(0)
    first = model.terms(batch.x, batch.y, 3).elbo
    torch.manual_seed(0)
    assert not torch.equal(first, model.terms(batch.x, (batch.y + 1) % 10, 3).elbo)
    assert model.sample(4).shape == (4, 1, 8, 8)
    assert model.reconstruct(batch.x, batch.y).shape == batch.x.shape
    with pytest.raises(ConfigError, match="needs labels"):
        variata.build(preset, ["model.condition=true"], data=(torch.rand(40, 1, 8, 8) < 0.5).float())


def test_a_table_with_gaps_may_have_several_layers():
    assembly = variata.build("table_miwae", ["model={use: hierarchical_vae, latent: [2, 3], decoder: table}"])
    batch = assembly.data.split("train").batch(torch.arange(8))
    assert batch.x.isnan().any()
    assert assembly.model.terms(batch.x, samples=3).log_weights().isfinite().all()


# The commands


def test_a_hierarchy_from_training_to_its_figures(command, tmp_path):
    run = tmp_path / "run"
    small = ["train.epochs=1", "model.latent=[2, 3, 4]"]
    assert command("train", "ladder_vae", *small, "--run", run)[0] == 0
    status, out, err = command("evaluate", run, "samples=4", "metrics=[reconstruction_error]")
    assert status == 0, err
    rows = {line.split("\t")[0]: line.split("\t") for line in out.splitlines()}
    for name in ("kl_per_layer", "active_units_per_layer", "mutual_information_per_layer"):
        assert len(rows[name][1].split()) == 3
    assert "reconstruction_mse" in rows
    for picture in ("codes.png", "traversal.png", "interpolation.png", "kl.png", "reconstructions.png"):
        assert (run / picture).is_file(), picture
    assert command("encode", run, "--out", tmp_path / "codes.csv")[0] == 0
    header = (tmp_path / "codes.csv").read_text().splitlines()[0]
    assert header.split(",") == ["index", "y", *(f"z{k}" for k in range(9))]
    assert command("sample", run, "-n", 4, "--out", tmp_path / "x.npz")[0] == 0
    assert command("reconstruct", run, "--out", tmp_path / "x.png")[0] == 0
