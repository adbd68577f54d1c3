"""Flows in float64: determinants against autograd's Jacobian, masks, inverses, densities; one pass a step; and that
zuko leaves torch as it was."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian
from torch.distributions import kl_divergence

import variata
from variata import (
    Batch,
    Clock,
    DataSpec,
    DiagonalNormal,
    LatentVariable,
    Now,
    StandardNormal,
    Terms,
    rsample_and_kl,
)
from variata_plugins.bounds.iwae import IWAE
from variata_plugins.flows.autoregressive import MaskedSteps
from variata_plugins.flows.bijection import Bijection, Reversed
from variata_plugins.flows.flow import ConstantMap, Flow
from variata_plugins.flows.iaf import IAF
from variata_plugins.flows.law import FlowLaw
from variata_plugins.flows.library import MonotonicAffineTransform, bisection
from variata_plugins.flows.maf import MAF
from variata_plugins.flows.nsf import NSF
from variata_plugins.flows.planar import Planar, solved
from variata_plugins.flows.posterior import FlowEncoder
from variata_plugins.flows.sylvester import Sylvester, orthonormal
from variata_plugins.networks.mlp import MLP

F64 = torch.float64
NOW = Now(Clock(0, 10, 100))


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=F64)


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


FLOWS = {
    "iaf": partial(IAF, steps=2, hidden=[9]),
    "maf": partial(MAF, steps=2, hidden=[9]),
    "nsf to sample": partial(NSF, direction="sample", steps=2, hidden=[9], bins=4, bound=3.0),
    "nsf for densities": partial(NSF, direction="density", steps=2, hidden=[9], bins=4, bound=3.0),
    "planar to sample": partial(Planar, direction="sample", steps=4),
    "planar for densities": partial(Planar, direction="density", steps=4),
    "sylvester to sample": partial(Sylvester, direction="sample", steps=3, directions=2),
    "sylvester for densities": partial(Sylvester, direction="density", steps=3, directions=2),
}


def disturbed(flow: nn.Module, size: float = 0.5) -> nn.Module:
    """Away from where flows start, which is near the identity."""
    flow = flow.to(F64)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(size * torch.randn_like(parameter))
    return flow


@pytest.fixture(params=FLOWS)
def make(request):
    return FLOWS[request.param]


@pytest.fixture(params=[0, 3], ids=["without context", "with context"])
def bijection(make, request) -> Bijection:
    context = normal(request.param) if request.param else None
    return disturbed(make(features=4, context=request.param))(context)


def test_determinants_are_those_of_autograd(bijection):
    for direction in (bijection.forward, bijection.inverse):
        for start in (normal(4), 2 * normal(4)):
            matrix = jacobian(lambda value, direction=direction: direction(value)[0], start)
            sign, log_det = torch.linalg.slogdet(matrix)
            assert sign != 0
            close(direction(start)[1], log_det, 1e-7)


def test_the_inverse_after_the_map_is_the_identity(bijection):
    start = 2 * normal(5, 4)
    end, log_det = bijection.forward(start)
    assert (end - start).abs().max() > 0.05
    back, inverse_log_det = bijection.inverse(end)
    close(back, start, 1e-7)
    close(inverse_log_det, -log_det, 1e-7)
    there, again = Reversed(bijection).forward(end)
    close(there, back)
    close(again, inverse_log_det)


def test_leading_axes_are_examples_of_their_own(make):
    flow, context, start = disturbed(make(features=4, context=3)), normal(5, 3), normal(6, 5, 4)
    end, log_det = flow(context).forward(start)
    for sample, example in ((0, 0), (3, 4), (5, 2)):
        alone, log_alone = flow(context[example]).forward(start[sample, example])
        close(end[sample, example], alone)
        close(log_det[sample, example], log_alone)


@pytest.mark.parametrize("features", [1, 2, 5])
@pytest.mark.parametrize("context", [0, 3])
def test_masks_leak_nothing(features, context):
    """Dimension i of a step sees the dimensions before it, each of them, and nothing else."""
    options = {"hidden": [16, 16], "univariate": MonotonicAffineTransform, "shapes": [(), ()]}
    steps = disturbed(MaskedSteps(features, context, steps=2, **options))
    given = normal(context) if context else None
    for lazy, order in zip(steps.transform.transforms, ([*range(features)], [*range(features)][::-1]), strict=True):
        step = lazy(given)
        matrix = jacobian(lambda value, step=step: step(value), normal(features))[order][:, order]
        assert (matrix.triu(1) == 0).all()
        assert (matrix.diagonal() > 0).all()
        if features > 1:
            assert (matrix.tril(-1)[*torch.tril_indices(features, features, -1)] != 0).any()


def test_autoregressive_flows_start_at_the_identity():
    for name in ("iaf", "maf", "nsf to sample"):
        for features, context in ((4, 3), (4, 0), (1, 0), (1, 3)):
            flow = FLOWS[name](features=features, context=context).to(F64)
            start = normal(6, features)
            end, log_det = flow(normal(6, context) if context else None).forward(start)
            close(end, start)
            close(log_det, torch.zeros(6, dtype=F64))


@pytest.mark.parametrize("columns", [3, 6])
def test_reflections_give_orthonormal_columns(columns):
    q = orthonormal(normal(5, 4, 6), columns)
    close(q.mT @ q, torch.eye(columns, dtype=F64).expand(5, columns, columns))
    if columns == 6:
        close(torch.linalg.det(q).abs(), torch.ones(5, dtype=F64))


def test_planar_steps_stay_invertible_whatever_their_parameters():
    flow = disturbed(Planar(4, 0, "sample", steps=20), 5.0)
    start = 5 * normal(50, 4)
    end, log_det = flow(None).forward(start)
    assert log_det.isfinite().all()
    close(flow(None).inverse(end)[0], start, 1e-5)


def test_the_equation_of_a_step_is_solved_with_its_gradients():
    inside, outside, shift, point = (normal(7).requires_grad_() for _ in range(4))
    product = inside * outside
    kept = torch.where(product > -1, outside, 0.5 * outside / product.abs()).detach().requires_grad_()
    target = point + kept * (inside * point + shift).tanh()
    close(solved(target, inside, kept, shift), point, 1e-9)
    # As functions of the equation's parameters alone, the root's gradients are those of implicit differentiation.
    known = target.detach().requires_grad_()
    root = solved(known, inside, kept, shift)
    slope = 1 + kept * inside * (1 - (inside * point + shift).tanh().square())
    by_target, by_outside = torch.autograd.grad(root.sum(), (known, kept))
    close(by_target, 1 / slope, 1e-7)
    close(by_outside, -(inside * point + shift).tanh() / slope, 1e-7)


def test_a_spline_is_the_identity_outside_of_its_bound():
    flow = disturbed(NSF(1, 0, "sample", steps=1, bound=3.0))
    outside = torch.tensor([[-7.0], [3.5], [100.0]], dtype=F64)
    close(flow(None).forward(outside)[0], outside)


# Laws


def law(flow: nn.Module, batch: int = 3, features: int = 2, context: int = 3) -> FlowLaw:
    return FlowLaw(DiagonalNormal(normal(batch, features), 0.3 * normal(batch, features)), flow(normal(batch, context)))


def test_a_density_in_the_plane_integrates_to_one(make):
    flow = disturbed(make(features=2, context=3), 0.2)
    q = FlowLaw(DiagonalNormal(normal(1, 2), torch.zeros(1, 2, dtype=F64)), flow(normal(1, 3)))
    axis = torch.linspace(-12, 12, 161, dtype=F64)
    with torch.no_grad():
        total = q.log_prob(torch.cartesian_prod(axis, axis)[:, None]).exp().sum() * (axis[1] - axis[0]) ** 2
    assert float(total) == pytest.approx(1.0, abs=3e-3)


@pytest.mark.parametrize("samples", [None, 1, 4])
def test_a_drawn_layer_agrees_with_the_law(make, samples):
    q = law(disturbed(make(features=2, context=3), 0.3))
    layer = rsample_and_kl(q, StandardNormal(q.base.mu), samples)
    assert layer.z.shape == ((3, 2) if samples is None else (samples, 3, 2))
    assert not layer.closed_form
    close(layer.log_q(), q.log_prob(layer.z), 1e-7)


def test_the_divergence_has_the_expectation_of_log_q_less_log_p_and_less_variance():
    q = law(disturbed(FLOWS["iaf"](features=2, context=3), 0.1))
    for p in (StandardNormal(q.base.mu), DiagonalNormal(normal(2), normal(2))):
        layer = rsample_and_kl(q, p, 20_000)
        plain = -layer.log_ratio()
        error = (layer.kl - plain).std(0) / math.sqrt(20_000)
        assert ((layer.kl.mean(0) - plain.mean(0)).abs() / error).max() < 4
        assert (layer.kl.var(0) < 0.5 * plain.var(0)).all()
    identity = FlowLaw(q.base, IAF(2, 0).to(F64)(None))
    layer = rsample_and_kl(identity, StandardNormal(q.base.mu), 5)
    close(layer.kl, kl_divergence(q.base, StandardNormal(q.base.mu)).expand(5, 3))


def test_the_divergence_from_another_law_is_taken_at_the_draw():
    q, p = law(disturbed(FLOWS["iaf"](features=2, context=3), 0.3)), law(disturbed(MAF(2, 3), 0.1))
    layer = rsample_and_kl(q, p, 4)
    close(layer.kl, q.log_prob(layer.z) - p.log_prob(layer.z), 1e-7)


def test_the_mean_is_near_that_of_many_draws_and_depends_on_nothing_else():
    q = law(disturbed(FLOWS["iaf"](features=2, context=3), 0.3))
    torch.manual_seed(1)
    first = q.mean
    torch.manual_seed(2)
    close(q.mean, first)
    draws = q.rsample((20_000,))
    assert ((first - draws.mean(0)).abs() / draws.std(0)).max() < 0.5
    identity = FlowLaw(q.base, IAF(2, 0).to(F64)(None))
    close(identity.mean, q.base.mean)


# In models


def test_one_training_step_calls_each_network_of_the_flow_once():
    for preset, part, steps in (("iaf_vae", "encoder", 2), ("flow_prior_vae", "prior", 3)):
        assembly = variata.build(preset)
        assert assembly.spec["model"].options["latent"] == 50
        calls: Counter[int] = Counter()
        networks = getattr(assembly.model, part).flow.steps.transform.transforms
        for i, transform in enumerate(networks):
            transform.hyper.register_forward_hook(lambda *_, i=i, calls=calls: calls.update([i]))
        batch = assembly.data.split("train").batch(torch.arange(10))
        objective = assembly.loss(assembly.model, batch, variata.Now.at_end())
        objective.total().backward()
        assert dict(calls) == dict.fromkeys(range(steps), 1)
        assert all(p.grad is not None for p in assembly.model.parameters())


@pytest.mark.parametrize("preset", ["iaf_vae", "nsf_vae", "planar_vae", "sylvester_vae"])
def test_the_flow_of_a_posterior_sees_the_features_of_x(preset):
    """For one and the same Gaussian, the flow's map is another one for another x."""
    assembly = variata.build(preset, {"model.latent": 4})
    encoder = disturbed(assembly.model.encoder, 0.05)
    x = assembly.data.split("train").batch(torch.arange(2)).x.to(F64)
    q = encoder(x)
    start = normal(1, 4).expand(2, 4)
    one, other = q.bijection.forward(start)[0]
    assert (one - other).abs().max() > 1e-3
    again = encoder(x[:1].expand(2, *x.shape[1:])).bijection.forward(start)[0]
    close(again[0], again[1])


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_posterior_takes_any_flow(name):
    options = {key: value for key, value in FLOWS[name].keywords.items() if key != "direction"}
    encoder = FlowEncoder(
        DataSpec((5,), "real"), 3, (2,), network=partial(MLP, hidden=[4]), flow=partial(FLOWS[name].func, **options)
    )
    q = encoder(torch.randn(6, 5), torch.randint(2, (6,)))
    assert q.mean.shape == (6, 3)
    layer = rsample_and_kl(q, StandardNormal(q.base.mu), 2)
    assert layer.z.shape == (2, 6, 3)


# The package


def test_importing_flows_leaves_torch_as_it_was():
    program = """
import torch
from torch.distributions import Distribution, Normal
before = Distribution._validate_args, Distribution.__dict__["arg_constraints"]
import variata_plugins.flows.library
assert "zuko" in __import__("sys").modules
assert (Distribution._validate_args, Distribution.__dict__["arg_constraints"]) == before
try:
    Normal(0.0, -1.0)
except ValueError:
    print("checked")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "checked"


def test_bisection_finds_a_root():
    assert float(bisection(torch.exp, torch.tensor(3.0, dtype=F64), -5.0, 5.0, 60)) == pytest.approx(math.log(3.0))


# Held constant: gradients of the encoder without the score of q


class Posterior(LatentVariable):
    """z ~ N(0, I) in the plane, x ~ N(W z, I), and q(z | x) by a flow for each of n equal examples x."""

    def __init__(self, flow: nn.Module, mean: Tensor, logvar: Tensor) -> None:
        super().__init__(DataSpec((2,), "real", measure="lebesgue", transform="drawn"))
        self.W = nn.Parameter(torch.tensor([[1.0, 0.4], [-0.6, 0.9]], dtype=F64))
        self.mean, self.logvar, self.flow = nn.Parameter(mean), nn.Parameter(logvar), flow

    def terms(self, x, y=None, samples=None):
        base = DiagonalNormal(self.mean.expand(len(x), 2), self.logvar.expand(len(x), 2))
        context = x.new_zeros(len(x), 1)
        q = FlowLaw(base, self.flow(context), ConstantMap(self.flow, context))
        layer = rsample_and_kl(q, StandardNormal(base.mu), samples)
        likelihood = DiagonalNormal(layer.z @ self.W.T, torch.zeros_like(layer.z))
        return Terms([layer], likelihood.log_prob(x), samples)

    def encode(self, x, y=None):
        raise NotImplementedError

    decode = generate = encode


class Triangular(Flow):
    """z = L z_0 + c."""

    def __init__(self, factor: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.factor, self.shift = nn.Parameter(factor), nn.Parameter(shift)

    def forward(self, context):
        return TriangularMap(self.factor.tril(), self.shift)


class TriangularMap(Bijection):
    def __init__(self, factor: Tensor, shift: Tensor) -> None:
        self.factor, self.shift = factor, shift

    def forward(self, start):
        return start @ self.factor.T + self.shift, self.factor.diagonal().log().sum().expand(start.shape[:-1])

    def inverse(self, end):
        start = torch.linalg.solve_triangular(self.factor, (end - self.shift).unsqueeze(-1), upper=False)[..., 0]
        return start, -self.factor.diagonal().log().sum().expand(end.shape[:-1])


@pytest.mark.parametrize("gradient", ["stl", "dreg"])
@pytest.mark.parametrize("samples", [1, 5])
def test_at_the_exact_posterior_the_gradients_of_base_and_flow_vanish(gradient, samples):
    x = torch.tensor([[0.7, -1.1]], dtype=F64)
    model = Posterior(nn.Identity(), torch.tensor([0.3, -0.2], dtype=F64), torch.tensor([0.4, -0.5], dtype=F64))
    W = model.W.detach()
    covariance = torch.linalg.inv(torch.eye(2, dtype=F64) + W.T @ W)
    target = torch.linalg.cholesky(covariance)
    factor = target @ torch.diag((-0.5 * model.logvar).exp()).detach()
    model.flow = Triangular(factor, covariance @ W.T @ x[0] - factor @ model.mean.detach())
    loss = IWAE(samples=samples, gradient=gradient)(model, Batch(x.expand(30, 2)), NOW).total()
    found = torch.autograd.grad(loss, [model.mean, model.logvar, *model.flow.parameters()], retain_graph=True)
    assert max(float(part.abs().max()) for part in found) < 1e-10
    (by_decoder,) = torch.autograd.grad(loss, [model.W])
    assert by_decoder.abs().max() > 1e-3
    total = IWAE(samples=samples)(model, Batch(x.expand(30, 2)), NOW).total()
    assert max(float(part.abs().max()) for part in torch.autograd.grad(total, [model.mean, model.logvar])) > 1e-3


@pytest.mark.parametrize("name", ["iaf", "nsf to sample", "planar to sample", "sylvester to sample"])
def test_a_flow_held_constant_has_its_density_and_its_slope_at_the_draw(name):
    flow = disturbed(FLOWS[name](features=3, context=2), 0.3)
    context, base = normal(4, 2).requires_grad_(), DiagonalNormal(normal(4, 3).requires_grad_(), normal(4, 3))
    q = FlowLaw(base, flow(context), ConstantMap(flow, context))
    layer = rsample_and_kl(q, StandardNormal(base.mu), 6)
    close(layer.log_q("parameters"), layer.log_q(), 1e-7)
    z = layer.z.detach().requires_grad_()
    held = q.detached().log_prob(z)
    (slope,) = torch.autograd.grad(held.sum(), z)
    (expected,) = torch.autograd.grad(q.log_prob(z).sum(), z)
    close(slope, expected, 1e-6)
    live = [context, base.mu, *flow.parameters()]
    assert all(
        part is None for part in torch.autograd.grad(q.detached().log_prob(z).sum(), [z, *live], allow_unused=True)[1:]
    )


def test_without_the_score_of_a_flow_the_gradient_keeps_its_mean_for_one_sample():
    """Of 40 batches of draws each: `stl` with one sample, and `dreg` with three, against the whole gradient."""
    flow = disturbed(IAF(features=2, context=1, steps=1, hidden=[5]), 0.4)
    model = Posterior(flow, torch.tensor([0.5, 0.1], dtype=F64), torch.tensor([0.2, -0.3], dtype=F64))
    batch, parameters = Batch(torch.tensor([[0.7, -1.1]], dtype=F64).expand(500, 2)), [*model.parameters()]
    for gradient, samples in (("stl", 1), ("dreg", 3)):
        means, errors = [], []
        for how in (gradient, "total"):
            rows = []
            for _ in range(40):
                total = IWAE(samples=samples, gradient=how)(model, batch, NOW).total()
                found = torch.autograd.grad(total, parameters, allow_unused=True)
                rows.append(torch.cat([part.flatten() for part in found if part is not None]))
            means.append(torch.stack(rows).mean(0))
            errors.append(torch.stack(rows).var(0) / 40)
        away = (means[0] - means[1]).abs() / (errors[0] + errors[1]).sqrt().clamp(min=1e-12)
        assert float(away.max()) < 5


def test_a_flow_posterior_trains_by_gradients_without_its_score():
    for gradient in ("stl", "dreg"):
        assembly = variata.build(
            "iaf_vae", {"loss": {"use": "iwae", "gradient": gradient, "samples": 3}, "model.latent": 3}
        )
        batch = assembly.data.split("train").batch(torch.arange(4))
        total = assembly.loss(assembly.model, batch, NOW).total()
        found = torch.autograd.grad(total, list(assembly.model.parameters()), allow_unused=True)
        assert all(part is not None and part.isfinite().all() for part in found)


def test_a_flow_of_which_only_the_map_is_known_says_that_it_cannot_be_held():
    law = FlowLaw(DiagonalNormal(normal(4, 3), normal(4, 3)), FLOWS["iaf"](features=3, context=0).to(F64)(None))
    with pytest.raises(variata.Unsupported, match="cannot be held constant"):
        rsample_and_kl(law, StandardNormal(law.base.mu)).log_q("parameters")
