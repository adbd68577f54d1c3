"""The laws on the sphere against what is exact, in float64: quadrature, closed forms, and mpmath's Bessel functions."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import kl_divergence
from torch.nn.functional import normalize
from variata_hyperspherical.angle import slope
from variata_hyperspherical.bessel import bessel_ratio, log_bessel
from variata_hyperspherical.laws import HypersphericalUniform, VonMisesFisher, log_area

from variata import rsample_and_kl


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def law(dimensions: int, concentration: float) -> VonMisesFisher:
    direction = torch.randn(dimensions, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return VonMisesFisher(direction, number(concentration))


def uniform(dimensions: int) -> HypersphericalUniform:
    return HypersphericalUniform(torch.zeros(dimensions, dtype=torch.float64))


def on_the_sphere(dimensions: int) -> tuple[Tensor, Tensor]:
    """Points `[n, dimensions]` of the circle or of the sphere, and the area around each."""
    turn = torch.arange(200, dtype=torch.float64) * 2 * math.pi / 200
    circle = torch.stack([turn.cos(), turn.sin()], 1)
    if dimensions == 2:
        return circle, torch.full((200,), 2 * math.pi / 200, dtype=torch.float64)
    height, weight = (torch.from_numpy(values) for values in np.polynomial.legendre.leggauss(100))
    flat = (1 - height.square()).sqrt()[:, None, None] * circle
    points = torch.cat([flat, height[:, None, None].expand(-1, 200, 1)], 2).reshape(-1, 3)
    return points, (weight[:, None] * torch.full((200,), 2 * math.pi / 200, dtype=torch.float64)).reshape(-1)


# Bessel functions


@pytest.mark.parametrize("order", [0.0, 0.5, 4.0, 29.5, 99.0, 100.0])
@pytest.mark.parametrize("x", [1e-8, 1.0, 29.9, 30.1, 500.0, 1e6])
def test_bessel_functions_of_any_order_and_size(order, x):
    with mpmath.workdps(40):
        value = mpmath.besseli(order, x)
        expected = float(mpmath.log(value) - x - order * mpmath.log(x))
        ratio = float(mpmath.besseli(order + 1, x) / value)
    assert float(log_bessel(order, number(x))) == pytest.approx(expected, rel=1e-13, abs=1e-13)
    assert float(bessel_ratio(order, number(x))) == pytest.approx(ratio, rel=1e-12)


def test_at_zero_they_are_what_they_tend_to():
    for order in (0.0, 0.5, 99.0):
        expected = -order * math.log(2) - math.lgamma(order + 1)
        assert float(log_bessel(order, number(0.0))) == pytest.approx(expected, rel=1e-14, abs=1e-14)


def test_their_derivatives_by_finite_differences():
    x = torch.tensor([0.3, 10.0, 29.0, 31.0, 200.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: log_bessel(2.5, x), x)
    assert torch.autograd.gradgradcheck(lambda x: log_bessel(2.5, x), x)


# Densities and divergences


@pytest.mark.parametrize("concentration", [0.0, 0.7, 30.0])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_density_integrates_to_one_and_the_divergence_is_its_integral(dimensions, concentration):
    points, area = on_the_sphere(dimensions)
    q, p = law(dimensions, concentration), uniform(dimensions)
    log_q = q.log_prob(points)
    mass = log_q.exp() * area
    assert float(mass.sum()) == pytest.approx(1, abs=1e-12)
    assert float((p.log_prob(points).exp() * area).sum()) == pytest.approx(1, abs=1e-12)
    assert torch.allclose((mass[:, None] * points).sum(0), q.mean, atol=1e-12)
    expected = float((mass * (log_q - p.log_prob(points))).sum())
    assert float(kl_divergence(q, p)) == pytest.approx(expected, abs=1e-11)
    assert float(q.entropy()) == pytest.approx(-float((mass * log_q).sum()), abs=1e-11)


@pytest.mark.parametrize("concentration", [1e-3, 3.0, 200.0, 2e4])
@pytest.mark.parametrize("dimensions", [10, 200])
def test_the_divergence_in_many_dimensions_by_an_integral_over_the_angle(dimensions, concentration):
    """int q log(q / p) = int_{-1}^1 g(w) log(...) dw with g(w) ~ e^{k w} (1 - w^2)^{(m-3)/2}."""
    with mpmath.workdps(30):
        k, power = mpmath.mpf(concentration), mpmath.mpf(dimensions - 3) / 2
        top = (mpmath.sqrt(power**2 + k**2) - power) / k  # where e^{kw} (1 - w^2)^power is greatest
        width = (1 - top**2) / mpmath.sqrt(2 * power * (1 + top**2))
        ends = sorted({max(mpmath.mpf(-1), min(mpmath.mpf(1), top + i * width)) for i in (-25, -12, -6, 0, 6, 12, 25)})

        def integral(f):
            scaled = lambda w: mpmath.e ** (k * (w - top)) * ((1 - w * w) / (1 - top * top)) ** power  # noqa: E731
            return mpmath.quad(lambda w: scaled(w) * f(w), ends)

        flat = mpmath.beta(mpmath.mpf(1) / 2, power + 1) / (1 - top * top) ** power
        normaliser = integral(lambda w: 1)
        expected = float(integral(lambda w: k * (w - top) - mpmath.log(normaliser / flat)) / normaliser)
    assert float(kl_divergence(law(dimensions, concentration), uniform(dimensions))) == pytest.approx(
        expected, rel=1e-9, abs=1e-12
    )


def test_on_the_sphere_in_space_all_is_elementary():
    """Z_3(k) = 4 pi sinh(k) / k, A_3(k) = coth k - 1 / k."""
    for k in (0.1, 2.0, 25.0):
        q = law(3, k)
        expected = k - math.log(4 * math.pi * math.sinh(k) / k)
        assert float(q.log_prob(q.mode)) == pytest.approx(expected, abs=1e-12)
        assert float(q.mean.norm()) == pytest.approx(1 / math.tanh(k) - 1 / k, abs=1e-12)


@pytest.mark.parametrize("dimensions", [2, 3, 200])
def test_a_concentration_of_zero_is_the_uniform_law(dimensions):
    q, p = law(dimensions, 0.0), uniform(dimensions)
    z = p.sample((5,))
    assert torch.allclose(q.log_prob(z), p.log_prob(z), atol=1e-12)
    assert float(kl_divergence(q, p)) == pytest.approx(0, abs=1e-12)
    assert float(p.log_prob(z)[0]) == pytest.approx(-log_area(dimensions))


# Draws


@pytest.mark.parametrize("concentration", [0.5, 20.0, 1000.0])
@pytest.mark.parametrize("dimensions", [2, 3, 50, 200])
def test_moments_of_draws(dimensions, concentration):
    """E[mu'z] = A, E[(mu'z)^2] = 1 - (m - 1) A / k, and no direction at right angles to mu is any other's better."""
    n = 4000
    q = law(dimensions, concentration)
    z = q.sample((n,))
    assert (z.norm(dim=-1) - 1).abs().max() < 1e-12
    along = z @ q.mode
    length = float(q.mean.norm())
    for value, expected in (
        (along, length),
        (along.square(), 1 - (dimensions - 1) * length / concentration),
    ):
        error = float(value.std()) / math.sqrt(n)
        assert float(value.mean()) == pytest.approx(expected, abs=5 * error + 1e-12)
    across = z - along[:, None] * q.mode
    side = normalize(torch.eye(dimensions, dtype=torch.float64)[0] - q.mode[0] * q.mode, dim=0)
    for value, expected in (
        (across @ side, 0.0),
        ((across @ side).square(), length / concentration),
    ):
        error = float(value.std()) / math.sqrt(n)
        assert float(value.mean()) == pytest.approx(expected, abs=5 * error)


def test_the_slope_of_the_angle_where_its_law_is_elementary():
    """On S^2 the share below a is (e^k - e^{k cos a}) / (e^k - e^-k): its derivatives are autograd's."""
    for k in (0.05, 1.0, 12.0, 80.0):
        concentration = number(k).requires_grad_()
        angles = torch.linspace(0.05, 1.0, 7, dtype=torch.float64) * min(math.pi, 6 / math.sqrt(k))
        for angle in angles:
            a = angle.clone().requires_grad_()
            below = (1 - (concentration * (a.cos() - 1)).exp()) / (1 - (-2 * concentration).exp())
            by_k, by_a = torch.autograd.grad(below, [concentration, a])
            expected = float(-by_k / by_a)
            assert float(slope(angle, number(k), 3)) == pytest.approx(expected, rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("concentration", [0.8, 15.0])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_gradients_of_an_expectation_by_quadrature(dimensions, concentration):
    """d/dmu and d/dk of E_q[f(z)] are what the integral's are: nothing is left out, and no correction is needed."""
    generator = torch.Generator().manual_seed(2)
    wave = torch.randn(3, dimensions, dtype=torch.float64, generator=generator)

    def f(z: Tensor) -> Tensor:
        return (z @ wave[0]).square() + (2 * z @ wave[1]).sin() + (z @ wave[2]).exp()

    direction = torch.randn(dimensions, dtype=torch.float64, generator=generator).requires_grad_()
    k = number(concentration).requires_grad_()
    points, area = on_the_sphere(dimensions)
    exact = ((VonMisesFisher(direction, k).log_prob(points).exp() * area) * f(points)).sum()
    expected = torch.cat([g.reshape(-1) for g in torch.autograd.grad(exact, [direction, k])])

    n = 20_000
    directions, ks = direction.detach().expand(n, -1).requires_grad_(), k.detach().expand(n).requires_grad_()
    value = f(VonMisesFisher(directions, ks).rsample())
    by_direction, by_k = torch.autograd.grad(value.sum(), [directions, ks])
    seen = torch.cat([by_direction, by_k[:, None]], 1)
    error = seen.std(0) / math.sqrt(n)
    assert ((seen.mean(0) - expected).abs() < 5 * error).all(), (seen.mean(0), expected, error)
    assert (error < 0.1 * expected.norm()).all()  # or nothing was tested


# Whatever a network gives


@pytest.mark.parametrize("dimensions", [2, 10, 200])
@pytest.mark.parametrize("concentration", [0.0, 1e-6, 1e3, 1e9])
def test_everything_is_finite_in_float32(dimensions, concentration):
    direction = torch.randn(4, dimensions, requires_grad=True)
    k = torch.full((4,), concentration, requires_grad=True)
    q = VonMisesFisher(direction, k)
    layer = rsample_and_kl(q, HypersphericalUniform(torch.zeros(dimensions)), 3)
    assert layer.z.dtype == layer.kl.dtype == torch.float32
    assert layer.closed_form
    assert layer.kl.shape == (4,)
    total = layer.kl.sum() + layer.z[..., 0].sum() + layer.log_q().sum() + q.mean.sum()
    gradients = torch.autograd.grad(total, [direction, k])
    assert total.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_held_constant_it_is_the_same_law_and_the_draw_keeps_its_gradient():
    """log q(z) is a function of the angle, which is drawn before z: that z moves with mu makes up for mu in log q."""
    direction = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    k = torch.full((4,), 3.0, dtype=torch.float64)
    layer = rsample_and_kl(VonMisesFisher(direction, k), uniform(5), 2)
    constant = layer.log_q(stop="parameters")
    assert torch.allclose(constant, layer.log_q())
    (through_z,) = torch.autograd.grad(constant.sum(), [direction], retain_graph=True)
    (whole,) = torch.autograd.grad(layer.log_q().sum(), [direction])
    assert through_z.abs().min() > 0
    assert whole.abs().max() < 1e-12
