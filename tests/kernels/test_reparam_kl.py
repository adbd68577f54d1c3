"""What is particular to `reparam_kl`: its values where formulas fail, its forms, its places in the noise of a seed."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from variata import DiagonalNormal, StandardNormal, rsample_and_kl
from variata_kernels import KernelUnavailable, noise, reparam_kl
from variata_kernels.backend import uses_triton
from variata_kernels.reparam_kl import eager, reference

F64 = torch.float64


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(actual.double(), expected.double(), rtol=tolerance, atol=tolerance)


# Values where the plain formula loses them


@pytest.mark.parametrize("logvar", [1e-4, -1e-4, 1e-3, 0.49, 0.51, -0.5, 3.0, 80.0, -80.0])
@pytest.mark.parametrize("samples", [None, 2])
def test_the_divergence_keeps_its_digits(logvar, samples, device):
    params = torch.tensor([0.0] * 256 + [logvar] * 256, device=device).repeat(3, 1)
    exact = params[:, 256:].double()
    expected = 0.5 * (torch.expm1(exact) - exact).sum(-1)
    kl = reparam_kl(params, 1, samples).kl
    assert kl.dtype == torch.float32
    torch.testing.assert_close(kl.double(), expected, rtol=3e-6, atol=0)


def test_the_value_near_collapse_is_the_known_one(device):
    """256 dimensions at logvar = 1e-4: 6.40021e-7 nats; exp(l) - 1 - l in float32 gives 2.1e-6."""
    kl = reparam_kl((torch.zeros(1, 256, device=device), torch.full((1, 256), 1e-4, device=device)), 1).kl
    assert f"{kl.item():.5e}" == "6.40021e-07"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_the_divergence_is_summed_in_float32_whatever_the_input(dtype, device):
    params = torch.randn(16, 2048, device=device).to(dtype)
    mean, logvar = params.double().chunk(2, -1)
    expected = reference.gaussian_kl(mean, logvar).sum(-1)
    torch.testing.assert_close(reparam_kl(params, 1).kl.double(), expected, rtol=2e-6, atol=0)


def test_the_series_meets_the_function():
    x = torch.linspace(-0.6, 0.6, 1001, dtype=F64)
    exact = torch.expm1(x) - x
    torch.testing.assert_close(reference.excess_by_series(x.float()).double(), exact, rtol=1e-5, atol=1e-18)
    torch.testing.assert_close(reference.excess(x.float()).double(), exact, rtol=1e-5, atol=1e-18)


EXTREMES = [0.0, 1.0, -1.0, 80.0, -80.0, 1e30, -1e30, torch.finfo(torch.float32).max, torch.finfo(torch.float32).min]


# Terms beyond their bound are brought back to it after they have overflowed, of which the interpreter's numpy tells.
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("samples", [None, 2])
@pytest.mark.parametrize("path_only", [False, True])
@pytest.mark.parametrize("prior", [False, True])
def test_everything_is_finite_for_any_finite_input(samples, path_only, prior, device):
    rows = torch.tensor(list(itertools.product(EXTREMES, repeat=4 if prior else 2)), device=device)
    columns = [column[:, None].repeat(1, 5).requires_grad_() for column in rows.unbind(-1)]
    draw = reparam_kl(
        (columns[0], columns[1]),
        1,
        samples,
        prior=(columns[2], columns[3]) if prior else None,
        path_only=path_only,
    )
    results = [x for x in (draw.z, draw.kl, draw.log_weight) if x is not None]
    for result in results:
        assert result.isfinite().all()
        grads = torch.autograd.grad(result.sum(), columns, retain_graph=True, allow_unused=True)
        assert all(grad.isfinite().all() for grad in grads if grad is not None)
    assert (draw.kl >= 0).all()


def test_a_nan_is_not_hidden(device):
    params = torch.zeros(2, 8, device=device)
    params[0, 1] = torch.nan
    draw = reparam_kl(params, 1)
    assert draw.kl.isnan().tolist() == draw.z.isnan().any(-1).tolist() == [True, False]


# Forms


def test_packed_and_apart_are_one_operator(device):
    params = torch.randn(9, 10, device=device)
    packed = reparam_kl(params, 3, 2)
    apart = reparam_kl(tuple(params.chunk(2, -1)), 3, 2)
    for one, other in zip(packed[:3], apart[:3], strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("samples", [None, 1, 4])
@pytest.mark.parametrize("batch", [(), (6,), (2, 3)])
def test_shapes(samples, batch, device):
    draw = reparam_kl(torch.randn(*batch, 10, device=device), 3, samples)
    leading = () if samples is None else (samples,)
    assert draw.z.shape == draw.noise().shape == (*leading, *batch, 5)
    assert draw.kl.shape == batch
    if samples is None:
        assert draw.log_weight is None
    else:
        assert draw.log_weight is not None
        assert draw.log_weight.shape == (samples, *batch)
    assert reparam_kl(torch.randn(*batch, 10, device=device), 3, per_dimension=True).kl.shape == (*batch, 5)


@pytest.mark.parametrize("prior", [False, True])
def test_the_weights_are_the_difference_of_two_densities(prior, device):
    mean, logvar, prior_mean, prior_logvar = torch.randn(4, 7, 5, dtype=F64, device=device)
    p = (prior_mean, prior_logvar) if prior else (torch.zeros_like(mean), torch.zeros_like(mean))
    draw = reparam_kl((mean, logvar), 3, 4, prior=p if prior else None)
    assert draw.log_weight is not None
    expected = DiagonalNormal(*p).log_prob(draw.z) - DiagonalNormal(mean, logvar).log_prob(draw.z)
    close(draw.log_weight, expected, 1e-9)


def test_with_path_only_the_gradient_vanishes_where_q_is_the_posterior(device):
    """Against p = q every weight is one; what is left of the plain gradient is the score."""
    mean, logvar = torch.randn(2, 7, 5, device=device)
    for path_only in (True, False):
        q = (mean.clone().requires_grad_(), logvar.clone().requires_grad_())
        draw = reparam_kl(q, 3, 4, prior=(mean, logvar), path_only=path_only)
        assert draw.log_weight is not None
        close(draw.log_weight, torch.zeros_like(draw.log_weight), 1e-5)
        grads = torch.autograd.grad(draw.log_weight.sum(), q)
        assert all((grad.abs().max() < 1e-4) == path_only for grad in grads)


# The place in the noise


def test_the_noise_is_that_of_the_seed(device):
    mean, logvar = torch.randn(2, 12, 5, device=device)
    draw = reparam_kl((mean, logvar), 3, 4, row_offset=2, sample_offset=1, stream=6)
    eps = noise(3, (4, 12, 5), row_offset=2, sample_offset=1, stream=6, device=device)
    close(draw.noise(), eps, 2e-6)
    close(draw.z, mean + (0.5 * logvar).exp() * eps, 1e-5)


@pytest.mark.parametrize("as_given", [int, torch.tensor], ids=["int", "tensor"])
def test_chunks_of_rows_and_samples_repeat_no_noise(as_given, device):
    params = torch.randn(10, 6, device=device)
    whole = reparam_kl(params, 3, 5)
    assert whole.log_weight is not None
    for rows, samples in itertools.product((slice(0, 4), slice(4, 10)), (slice(0, 1), slice(1, 5))):
        place = {"row_offset": as_given(rows.start), "sample_offset": as_given(samples.start)}
        part = reparam_kl(params[rows], 3, samples.stop - samples.start, **place)
        assert part.log_weight is not None
        assert torch.equal(part.z, whole.z[samples, rows])
        close(part.log_weight, whole.log_weight[samples, rows])
        assert torch.equal(part.noise(), whole.noise()[samples, rows])


def test_the_sample_of_none_is_the_first_of_many(device):
    params = torch.randn(10, 6, device=device)
    many = reparam_kl(params, 3, 5).z
    close(reparam_kl(params, 3).z, many[0])
    assert torch.equal(reparam_kl(params, 3, 1).z, many[:1])


def test_blocks_do_not_matter(device, monkeypatch):
    if not uses_triton(device):
        pytest.skip("plain torch has no blocks")
    from variata_kernels.reparam_kl import triton

    params = torch.randn(9, 80, device=device, requires_grad=True)
    seen = []
    for high, wide in ((2, 32), (8, 16), (4, 64), (16, 64)):
        monkeypatch.setattr(triton, "tile", lambda rows, columns, high=high, wide=wide: (high, wide))
        monkeypatch.setattr(triton, "PROGRAMS", 2 * high)
        draw = reparam_kl(params, 3, 3)
        assert draw.log_weight is not None
        (grad,) = torch.autograd.grad((draw.z.square().sum(), draw.kl.sum(), draw.log_weight.sum()), params)
        seen.append((draw.z, draw.kl, draw.log_weight, grad))
    for other in seen[1:]:
        assert torch.equal(seen[0][0], other[0])
        for one, two in zip(seen[0][1:], other[1:], strict=True):
            close(one, two, 1e-5)


def test_precision_does_not_change_the_noise(device):
    params = torch.zeros(5, 8, device=device)
    expected = reparam_kl(params, 3).z
    for dtype in (torch.float16, torch.bfloat16, F64):
        close(reparam_kl(params.to(dtype), 3).z, expected, {F64: 1e-6}.get(dtype, 2**-7))


# torch's generator, and switches


def test_without_a_seed_torchs_generator_rules(device):
    params = torch.randn(5, 8, device=device)

    def draw() -> Tensor:
        torch.manual_seed(4)
        return reparam_kl(params).z

    first = draw()
    assert torch.equal(draw(), first)
    assert not torch.equal(reparam_kl(params).z, first)


def test_the_default_on_a_cpu_is_torchs_own_noise(monkeypatch):
    mean, logvar = torch.randn(2, 5, 4)
    torch.manual_seed(4)
    expected = mean + (0.5 * logvar).exp() * torch.randn(5, 4)
    torch.manual_seed(4)
    close(reparam_kl((mean, logvar)).z, expected)
    monkeypatch.setenv("VARIATA_NOISE", "portable")
    torch.manual_seed(4)
    seed = torch.randint(2**63 - 1, ())
    torch.manual_seed(4)
    draw = reparam_kl((mean, logvar))
    close(draw.z, mean + (0.5 * logvar).exp() * noise(seed, (5, 4)))


@pytest.mark.parametrize("source", ["torch", "portable"])
@pytest.mark.parametrize("prior", [False, True])
@pytest.mark.parametrize("samples", [None, 3])
@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.bfloat16], ids=str)
def test_what_runs_inline_agrees_with_the_formula(source, prior, samples, dtype, monkeypatch):
    monkeypatch.setenv("VARIATA_NOISE", source)
    for per_dimension in (False, True):
        given = [torch.randn(6, 5).to(dtype).requires_grad_() for _ in range(4 if prior else 2)]
        draw = reparam_kl(
            (given[0], given[1]),
            None,
            samples,
            prior=(given[2], given[3]) if prior else None,
            per_dimension=per_dimension,
        )
        wide = [x.detach().double().requires_grad_() for x in given]
        p = (wide[2], wide[3]) if prior else (None, None)
        expected = reference.reparam_kl(wide[0], wide[1], *p, draw.noise().double(), per_dimension=per_dimension)
        ours = [x for x in draw[:3] if isinstance(x, Tensor)]
        upstream = [torch.randn_like(x) for x in ours]
        grads = torch.autograd.grad(ours, given, upstream)
        theirs = torch.autograd.grad(expected[: len(ours)], wide, [x.double() for x in upstream])
        for one, other in zip([*ours, *grads], [*expected[: len(ours)], *theirs], strict=True):
            assert one.shape == other.shape
            close(one, other, 2**-6 if dtype == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize("output", [0, 1])
def test_an_output_that_is_not_used_inline(output):
    params = torch.randn(6, 10, requires_grad=True)
    draw = reparam_kl(params)
    wide = params.detach().requires_grad_()
    expected = reference.reparam_kl(*wide.chunk(2, -1), None, None, draw.noise())
    (ours,) = torch.autograd.grad(draw[output].sum(), params)
    close(ours, torch.autograd.grad(expected[output].sum(), wide)[0])


def test_an_explicit_choice_that_cannot_be_met_is_an_error(monkeypatch):
    params = torch.zeros(2, 4)
    for name in ("VARIATA_KERNELS", "VARIATA_NOISE"):
        monkeypatch.setenv(name, "fast")
        with pytest.raises(ValueError, match=f"{name}='fast': choose one of"):
            reparam_kl(params)
        monkeypatch.delenv(name)
    monkeypatch.setenv("VARIATA_KERNELS", "triton")
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(KernelUnavailable, match=r"TRITON_INTERPRET=1|not installed"):
        reparam_kl(params)
    with pytest.raises(KernelUnavailable, match=r"TRITON_INTERPRET=1|not installed"):
        reparam_kl(params, 1)


def test_what_does_not_fit_is_an_error():
    for arguments, said in (
        ((torch.zeros(2, 5),), "even last axis"),
        (((torch.zeros(2, 4), torch.zeros(2, 3)),), "logvar is"),
        ((torch.zeros(2, 4), 1, 0), "at least one"),
        ((torch.zeros(2, 4), None, None, 3), "give one"),
        ((torch.zeros(2, 4, dtype=torch.int64),), "real numbers"),
    ):
        with pytest.raises(ValueError, match=said):
            reparam_kl(*arguments)
    with pytest.raises(ValueError, match="the prior's mean"):
        reparam_kl(torch.zeros(2, 4), prior=torch.zeros(3, 4))


# Derivatives that it does not have


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch's own, in torch.func
@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("samples", [None, 2])
def test_transforms_and_second_derivatives_raise(seed, samples):
    params = torch.randn(3, 4)
    with pytest.raises(NotImplementedError, match="no vmap"):
        torch.vmap(lambda x: reparam_kl(x, seed, samples).z)(torch.stack([params, params]))
    with pytest.raises(NotImplementedError, match="no transform"):
        torch.func.grad(lambda x: reparam_kl(x, seed, samples).kl.sum())(params)
    with pytest.raises(NotImplementedError, match=r"reverse mode|backward alone"):
        torch.func.jvp(lambda x: reparam_kl(x, seed, samples).z, (params,), (params,))
    with torch.autograd.forward_ad.dual_level(), pytest.raises(NotImplementedError, match="reverse mode"):
        reparam_kl(torch.autograd.forward_ad.make_dual(params, params), seed, samples)
    leaf = params.requires_grad_()
    (grad,) = torch.autograd.grad(reparam_kl(leaf, seed, samples).kl.square().sum(), leaf, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        torch.autograd.grad(grad.sum(), leaf)


# The core's door


def test_portable_noise_reaches_the_core(monkeypatch):
    monkeypatch.setenv("VARIATA_NOISE", "portable")
    drawn = []
    monkeypatch.setattr(eager, "noise", lambda *given, make=eager.noise: drawn.append(given) or make(*given))
    q = DiagonalNormal(torch.randn(4, 3), torch.randn(4, 3))
    rsample_and_kl(q, StandardNormal(q.mu), 2)
    rsample_and_kl(q, DiagonalNormal(torch.randn(3), torch.randn(3)))
    q.rsample((2, 3))
    assert [given[1:4] for given in drawn] == [(2, 4, 3), (1, 4, 3), (6, 4, 3)]


@pytest.mark.parametrize("samples", [None, 3])
def test_one_posterior_may_meet_several_priors(samples):
    q = DiagonalNormal(torch.randn(4, 3), torch.randn(4, 3))
    p = DiagonalNormal(torch.randn(5, 4, 3), torch.randn(5, 4, 3))
    layer = rsample_and_kl(q, p, samples)
    assert layer.z.shape == ((4, 3) if samples is None else (3, 4, 3))
    assert layer.kl.shape == (5, 4)


@pytest.mark.parametrize("stop", [None, "parameters"])
def test_log_q_keeps_its_digits_where_sigma_is_small_beside_mu(stop):
    mean, logvar = torch.full((2, 3), 1000.0), torch.full((2, 3), -20.0)
    layer = rsample_and_kl(DiagonalNormal(mean, logvar), StandardNormal(mean), 4)
    eps = layer._draw.noise().double()
    expected = -0.5 * (eps.square() + logvar.double() + math.log(2 * math.pi)).sum(-1)
    close(layer.log_q(stop), expected, 1e-6)


def test_images_are_events_too():
    q = DiagonalNormal(torch.randn(4, 2, 3), torch.randn(4, 2, 3), event_dims=2)
    for p in (StandardNormal(q.mu, event_dims=2), DiagonalNormal(torch.randn(2, 3), torch.randn(2, 3), event_dims=2)):
        layer = rsample_and_kl(q, p, 5)
        assert layer.z.shape == (5, 4, 2, 3)
        assert layer.kl.shape == (4,)
        close(layer.log_q(), q.log_prob(layer.z), 1e-4)
        close(layer.log_q("parameters"), q.log_prob(layer.z), 1e-4)
