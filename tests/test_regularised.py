"""The losses of regularised autoencoders against sums over everything: small data sets, batches and laws."""

from __future__ import annotations

import math
from itertools import combinations, product

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal

import variata
from support import problems
from variata import (
    Batch,
    ConfigError,
    DiagonalNormal,
    NotPrepared,
    Now,
    StandardNormal,
    rsample_and_kl,
)
from variata_plugins.regularised.beta_tc import decomposed
from variata_plugins.regularised.mmd import SCALES, Kernel, kernel_matrix, squared_mmd

F64 = torch.float64


def posteriors(examples: int = 6, latent: int = 2) -> DiagonalNormal:
    """q(z | x_n) of a whole data set: wide enough to overlap, narrow enough to differ."""
    return DiagonalNormal(torch.randn(examples, latent, dtype=F64), 0.5 * torch.randn(examples, latent, dtype=F64) - 1)


def prior(latent: int = 2) -> StandardNormal:
    return StandardNormal(torch.zeros(latent, dtype=F64))


def rows(q: DiagonalNormal, index: list[int]) -> DiagonalNormal:
    return DiagonalNormal(q.mu[index], q.logvar[index])


def quadrature(q: DiagonalNormal) -> dict[str, float]:
    """The decomposition of a data set's mean KL, by integrals over a grid in the plane."""
    line = torch.linspace(-9, 9, 601, dtype=F64)
    cell = float(line[1] - line[0])
    z = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1)
    each = [(-0.5 * ((line[:, None] - q.mu[:, d]) ** 2 / q.variance[:, d] + q.logvar[:, d])).exp() for d in (0, 1)]
    each = [values / math.sqrt(2 * math.pi) for values in each]  # [grid, examples]
    joint = torch.einsum("in,jn->ij", *each) / len(q.mu)
    product = each[0].mean(1)[:, None] * each[1].mean(1)
    p = prior().log_prob(z)

    def kl(a: Tensor, log_b: Tensor) -> float:
        return float((a * (a.clamp(min=1e-300).log() - log_b)).sum()) * cell**2

    own = [torch.outer(each[0][:, n], each[1][:, n]) for n in range(len(q.mu))]
    return {
        "mutual_information": sum(kl(law, joint.log()) for law in own) / len(own),
        "total_correlation": kl(joint, product.log()),
        "dimension_wise_kl": kl(product, p),
        "kl": sum(kl(law, p) for law in own) / len(own),
        "aggregate_kl": kl(joint, p),
    }


def test_decomposition_of_a_whole_data_set_is_that_of_the_integrals():
    q = posteriors()
    exact = quadrature(q)
    parts = ("mutual_information", "total_correlation", "dimension_wise_kl")
    assert sum(exact[name] for name in parts) == pytest.approx(exact["kl"], abs=1e-9)
    assert exact["total_correlation"] + exact["dimension_wise_kl"] == pytest.approx(exact["aggregate_kl"], abs=1e-9)
    assert 0 <= exact["mutual_information"] <= math.log(6)
    closed = float(rsample_and_kl(q, prior()).kl.mean())
    assert closed == pytest.approx(exact["kl"], abs=1e-9)
    draws = [decomposed(rsample_and_kl(q, prior()), "full", 6) for _ in range(4000)]
    for name in parts:
        values = torch.stack([getattr(draw, name).mean() for draw in draws])
        error = float(values.std()) / math.sqrt(len(values))
        assert float(values.mean()) == pytest.approx(exact[name], abs=5 * error), name


@pytest.mark.parametrize("estimator", ["full", "mws", "mss"])
def test_parts_sum_to_the_log_ratio_at_every_draw(estimator):
    layer = rsample_and_kl(posteriors(), prior())
    parts = decomposed(layer, estimator, 50)
    total = parts.mutual_information + parts.total_correlation + parts.dimension_wise_kl
    torch.testing.assert_close(total, layer.log_q() - layer.log_p, rtol=0, atol=1e-12)


def log_aggregate(z: Tensor, q: DiagonalNormal) -> Tensor:
    """log q(z) of a data set, at points `[n, latent]`."""
    each = Independent(Normal(q.mu, q.stddev), 1).log_prob(z[:, None])
    return each.logsumexp(1) - math.log(len(q.mu))


def estimated(layer, estimator: str, examples: int) -> Tensor:
    """log q(z_i) as an estimator has it."""
    return layer.log_q() - decomposed(layer, estimator, examples).mutual_information


def test_estimators_at_the_whole_data_set():
    q = posteriors()
    layer = rsample_and_kl(q, prior())
    exact = log_aggregate(layer.z, q)
    for estimator, offset in (("full", 0.0), ("mss", 0.0), ("mws", -math.log(6))):
        torch.testing.assert_close(estimated(layer, estimator, 6), exact + offset, rtol=0, atol=1e-10)


def with_first_point(q: DiagonalNormal, index: list[int], z: Tensor):
    """The layer of a batch whose first draw is the given one."""
    layer = rsample_and_kl(rows(q, index), prior())
    return variata.Layer(torch.cat([z, layer.z[1:]]), layer.q, layer.p)


def test_mss_is_unbiased_over_all_batches_and_its_log_is_not():
    q, z = posteriors(), torch.randn(1, 2, dtype=F64)
    batches = [[0, *rest] for rest in combinations(range(1, 6), 2)]
    mss, mws = (
        torch.stack([estimated(with_first_point(q, index, z), name, 6)[0] for index in batches])
        for name in ("mss", "mws")
    )
    exact = log_aggregate(z, q)[0]
    torch.testing.assert_close(mss.exp().mean(), exact.exp(), rtol=1e-10, atol=0)
    assert mss.mean() < exact - 1e-4  # the logarithm is concave
    assert abs(mws.exp().mean() / exact.exp() - 1) > 0.1


def test_mss_is_the_mean_over_the_papers_choices():
    q = posteriors()
    layer = rsample_and_kl(rows(q, [0, 1, 2, 3]), prior())
    density = Independent(Normal(layer.q.mu, layer.q.stddev), 1).log_prob(layer.z[:, None]).exp()
    examples, others = 6, 3
    published = []
    for single in range(1, 4):  # the example with a weight of its own, counted from the point's own one
        weights = torch.full((4, 4), 1 / others, dtype=F64)
        for i in range(4):
            weights[i, i] = 1 / examples
            weights[i, (i + single) % 4] = (examples - others) / (examples * others)
        published.append((weights * density).sum(1))
    ours = estimated(layer, "mss", examples).exp()
    torch.testing.assert_close(ours, torch.stack(published).mean(0), rtol=1e-10, atol=0)


def test_mss_has_finite_gradients_where_no_other_law_reaches():
    mean = (1e3 * torch.arange(4.0)[:, None].expand(4, 2)).requires_grad_()
    layer = rsample_and_kl(DiagonalNormal(mean, torch.zeros(4, 2)), StandardNormal(torch.zeros(2)))
    estimated(layer, "mss", 1000).sum().backward()
    assert mean.grad is not None
    assert mean.grad.isfinite().all()


def tiny(loss: str, **options):
    config = {"model.latent": 2, "model.encoder.network.hidden": [8], "model.decoder.network.hidden": [8]}
    return variata.build("vae", config | {"loss": {"use": loss, **options}})


def test_beta_tc_with_weights_of_one_is_the_elbo_by_samples():
    assembly = tiny("beta_tc", beta=1.0)
    batch = assembly.data.split("train").batch(torch.arange(50))
    with pytest.raises(NotPrepared):
        assembly.loss(assembly.model, batch, Now.at_end())
    variata.prepare(assembly.loss, assembly.data)
    torch.manual_seed(3)
    found = assembly.loss(assembly.model, batch, Now.at_end()).total()
    torch.manual_seed(3)
    expected = -assembly.model.terms(batch.x, None, samples=1).log_weights().mean()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


def test_full_set_refuses_a_part_of_it():
    assembly = tiny("beta_tc", estimator="full")
    variata.prepare(assembly.loss, assembly.data)
    batch = assembly.data.split("train").batch(torch.arange(50))
    with pytest.raises(ConfigError, match=r"needs all .* set train\.batch_size="):
        assembly.loss(assembly.model, batch, Now.at_end())
    assembly.loss.eval()
    assert assembly.loss(assembly.model, batch, Now.at_end()).total().isfinite()


def test_beta_tc_is_for_gaussians():
    q = Independent(Normal(torch.zeros(3, 2), 1.0), 1)
    with pytest.raises(variata.Unsupported, match="dimensions are independent"):
        decomposed(rsample_and_kl(q, q), "mss", 10)


VALUES = torch.tensor([[-1.0], [0.3], [2.0]], dtype=F64)
P, Q = torch.tensor([0.5, 0.2, 0.3], dtype=F64), torch.tensor([0.1, 0.6, 0.3], dtype=F64)


def mean_of_mmd(p: Tensor, q: Tensor, kernel: Kernel, biased: bool = False) -> float:
    """The expectation of the estimate from 3 draws of each of two laws of three points, over all 3^6 outcomes."""
    total = 0.0
    for first in product(range(3), repeat=3):
        for second in product(range(3), repeat=3):
            chance = float(p[list(first)].prod() * q[list(second)].prod())
            z, w = VALUES[list(first)], VALUES[list(second)]
            value = squared_mmd(z, w, kernel, (0.5, 2.0))
            if biased:  # with the diagonal, as in the V-statistic
                k = [kernel_matrix(a, b, kernel, (0.5, 2.0)).mean() for a, b in ((z, z), (w, w), (z, w))]
                value = k[0] + k[1] - 2 * k[2]
            total += chance * float(value)
    return total


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
def test_mmd_is_unbiased_over_all_samples(kernel):
    k = kernel_matrix(VALUES, VALUES, kernel, (0.5, 2.0))
    exact = float((P - Q) @ k @ (P - Q))
    assert exact > 0.1
    assert mean_of_mmd(P, Q, kernel) == pytest.approx(exact, abs=1e-10)
    assert mean_of_mmd(P, P, kernel) == pytest.approx(0, abs=1e-10)
    assert mean_of_mmd(P, P, kernel, biased=True) > 0.1


def test_kernels_are_their_formulas():
    z, w = torch.randn(4, 3, dtype=F64), torch.randn(5, 3, dtype=F64)
    squared = torch.cdist(z, w).square()
    imq = sum(6 * s / (6 * s + squared) for s in (0.5, 2.0))
    torch.testing.assert_close(kernel_matrix(z, w, "imq", (0.5, 2.0)), imq)
    rbf = sum((-squared / (6 * s)).exp() for s in (0.5, 2.0))
    torch.testing.assert_close(kernel_matrix(z, w, "rbf", (0.5, 2.0)), rbf)


def test_info_vae_with_nothing_left_out_and_nothing_added_is_the_elbo():
    assembly = tiny("info_vae", **{"alpha": 0.0, "lambda": 1.0})
    batch = assembly.data.split("train").batch(torch.arange(50))
    torch.manual_seed(3)
    found = assembly.loss(assembly.model, batch, Now.at_end())
    torch.manual_seed(3)
    torch.testing.assert_close(found.total(), -assembly.model.terms(batch.x).elbo.mean())


def test_info_vae_weighs_as_it_says():
    assembly = tiny("info_vae", **{"alpha": 0.25, "lambda": 3.0})
    batch = assembly.data.split("train").batch(torch.arange(50))
    found = assembly.loss(assembly.model, batch, Now.at_end())
    metrics = found.metrics
    expected = -metrics["reconstruction"].mean() + 0.75 * metrics["kl"].mean() + 2.25 * metrics["mmd"]
    torch.testing.assert_close(found.total(), expected)


def test_weights_that_would_be_negative_are_refused():
    assert "alpha must be at most 1" in problems("info_vae", {"loss.alpha": 2.0})[0]
    assert "alpha + lambda must be 1 at least" in problems("info_vae", {"loss.alpha": 0.5, "loss.lambda": 0.1})[0]
    assert "beta must not be negative" in problems("beta_tcvae", {"loss.beta": -1.0})[0]


def autoencoder(preset: str, **options):
    config = {"model.latent": 2, "model.encoder.hidden": [8], "model.decoder.network.hidden": [8]}
    assembly = variata.build(preset, config | {f"loss.{name}": value for name, value in options.items()})
    model = assembly.model.double()
    batch = assembly.data.split("train").batch(torch.arange(6))
    batch.x = batch.x.double()
    return model, assembly.loss, batch


def test_gradient_penalty_is_that_of_finite_differences():
    model, loss, batch = autoencoder("rae", directions=None, beta=0.0, weight=1.0)
    found = loss(model, batch, Now.at_end()).metrics["regulariser"]
    with torch.no_grad():
        z, step = model.encode(batch.x), 1e-5
        columns = []
        for j in range(2):
            shift = step * torch.eye(2, dtype=F64)[j]
            columns.append((model.decode(z + shift) - model.decode(z - shift)).flatten(1) / (2 * step))
    expected = 0.5 * torch.stack(columns).square().sum((0, 2))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_random_directions_estimate_the_same_penalty():
    model, loss, batch = autoencoder("rae", directions=None)
    exact = loss(model, batch, Now.at_end()).metrics["regulariser"]
    model, loss, batch = autoencoder("rae", directions=500)
    draws = torch.stack([loss(model, batch, Now.at_end()).metrics["regulariser"] for _ in range(20)])
    assert ((draws.mean(0) - exact).abs() < 5 * draws.std(0) / math.sqrt(20)).all()


def test_rae_is_the_sum_of_its_parts():
    model, loss, batch = autoencoder("rae", beta=0.3, weight=0.2, penalty="l2")
    z = model.encode(batch.x)
    error = 0.5 * (batch.x - model.decode(z)).square().sum((1, 2, 3)).mean()
    weights = sum(p.square().sum() for p in model.decoder.parameters())
    expected = error + 0.3 * 0.5 * z.square().sum(1).mean() + 0.2 * weights
    torch.testing.assert_close(loss(model, batch, Now.at_end()).total(), expected)
    model, loss, batch = autoencoder("rae", beta=0.0, penalty="none")
    torch.testing.assert_close(
        loss(model, batch, Now.at_end()).total(),
        0.5 * (batch.x - model.reconstruct(batch.x)).square().sum((1, 2, 3)).mean(),
    )


def test_validation_sees_the_penalty_of_training():
    model, loss, batch = autoencoder("rae", directions=None)
    with torch.no_grad():
        found = loss(model, batch, Now.at_end()).total()
    torch.testing.assert_close(found, loss(model, batch, Now.at_end()).total())


def test_wae_is_the_sum_of_its_parts():
    model, loss, batch = autoencoder("wae_mmd", weight=3.0)
    torch.manual_seed(1)
    found = loss(model.float(), Batch(batch.x.float(), batch.y), Now.at_end()).total()
    torch.manual_seed(1)
    x = batch.x.float()
    z = model.encode(x)
    error = 0.5 * (x - model.decode(z)).square().sum((1, 2, 3)).mean()
    expected = error + 3 * squared_mmd(z, model.prior().rsample((6,)), "imq", SCALES)
    torch.testing.assert_close(found, expected)


def test_wae_needs_a_prior_to_draw_from_while_it_trains():
    _, loss, batch = autoencoder("wae_mmd")
    fitted_later = variata.build("rae", {"model.latent": 2}).model
    with pytest.raises(NotPrepared, match="after training"):
        loss(fitted_later, Batch(batch.x.float(), batch.y), Now.at_end())


def test_the_permutation_p_values_of_equal_laws_are_uniform():
    """Of two samples of one law every split into two is alike, so that the rank of the true one is uniform."""
    generator = torch.Generator().manual_seed(0)
    n, tests, splits = 8, 300, 19
    values = []
    for _ in range(tests):
        pooled = torch.randn(2 * n, 2, generator=generator, dtype=torch.float64)
        true = squared_mmd(pooled[:n], pooled[n:], "rbf", SCALES)
        others = []
        for _ in range(splits):
            order = torch.randperm(2 * n, generator=generator)
            others.append(squared_mmd(pooled[order[:n]], pooled[order[n:]], "rbf", SCALES))
        values.append(int((torch.stack(others) >= true).sum()))
    counts = torch.bincount(torch.tensor(values), minlength=splits + 1).double()
    expected = tests / (splits + 1)
    chi_square = float(((counts - expected).square() / expected).sum())
    assert chi_square < 43.8  # the 0.1% point of chi-square with 19 degrees of freedom
