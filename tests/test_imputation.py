"""What is missing of a row: imputation against the exact conditional mean and law; circuits that learn with gaps."""

from __future__ import annotations

import math

import pytest
import torch

import variata
from variata import Column, DataSpec
from variata_plugins.tables.imputation import impute


def linear_gaussian(noise: float) -> tuple[variata.LatentVariable, torch.Tensor, torch.Tensor, torch.Tensor]:
    """pPCA of 5 columns, of which the last two are missing; its encoder is the exact posterior given the first three,
    with `noise` added to its log variances."""
    spec = DataSpec((5,), "real", low=-math.inf, high=math.inf, measure="lebesgue", missing=True)
    columns = tuple(Column(f"x{i}", "numeric") for i in range(5))
    spec = DataSpec(spec.shape, "real", low=spec.low, high=spec.high, measure="lebesgue", columns=columns, missing=True)
    plain = {"network": {"use": "mlp", "hidden": []}}
    config = {
        "data": {"use": "sklearn_table", "name": "iris"},
        "model": {
            "use": "vae",
            "latent": 2,
            "encoder": {"use": "gaussian", **plain},
            "decoder": {"use": "table", "floor": 1e-6, **plain},
        },
        "loss": "elbo",
        "train": {"epochs": 1},
    }
    from variata.assembly import assemble
    from variata.config import load_spec

    model = assemble(load_spec(config), spec).model.double().eval()
    torch.manual_seed(1)
    w = torch.linalg.qr(torch.randn(3, 2, dtype=torch.float64)).Q  # orthogonal: the posterior is diagonal
    w, variance = torch.cat([1.5 * w, torch.randn(2, 2, dtype=torch.float64)]), 0.3
    x = torch.randn(2, 2, dtype=torch.float64) @ w.T + 0.5 * torch.randn(2, 5, dtype=torch.float64)
    x[:, 3:] = math.nan
    precision = w[:3].T @ w[:3] / variance + torch.eye(2, dtype=torch.float64)
    gain = torch.linalg.solve(precision, w[:3].T / variance)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.decoder.network.last.weight[:5] = w
        model.decoder.logvar.fill_(math.log(variance))
        model.encoder.network.last.weight[:2, :3] = gain
        model.encoder.network.last.bias[2:] = -precision.diagonal().log() + noise
    mean = x[:, :3] @ gain.T @ w[3:].T
    covariance = w[:3] @ w[:3].T + variance * torch.eye(3, dtype=torch.float64)
    evidence = torch.distributions.MultivariateNormal(torch.zeros(3, dtype=torch.float64), covariance).log_prob(
        x[:, :3]
    )
    return model, x, mean, evidence


def test_with_the_exact_posterior_every_weight_is_p_of_what_is_there():
    model, x, _, evidence = linear_gaussian(0.0)
    weights = model.terms(x, samples=7).log_weights()
    torch.testing.assert_close(weights, evidence.expand(7, -1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_imputed_values_come_to_the_exact_conditional_mean(noise):
    model, x, mean, _ = linear_gaussian(noise)
    found, effective = impute(model, x, samples=60_000)
    assert torch.equal(found[:, :3], x[:, :3])
    assert (found[:, 3:] - mean).abs().max() < 0.02  # five standard errors
    assert ((effective > 1) & (effective <= 60_000.1)).all()
    assert bool((effective > 59_999).all()) == (noise == 0)


def test_draws_have_the_conditional_law():
    model, x, mean, _ = linear_gaussian(0.5)
    drawn = torch.stack([impute(model, x[:1], samples=50, draw=True).x[0, 3:] for _ in range(600)])
    w = model.decoder.network.last.weight.detach()[:5]
    of_z = (w[:3].T @ w[:3] / 0.3 + torch.eye(2, dtype=torch.float64)).inverse()
    spread = w[3:] @ of_z @ w[3:].T + 0.3 * torch.eye(2, dtype=torch.float64)
    error = (spread.diagonal() / 600).sqrt()
    assert ((drawn.mean(0) - mean[0]).abs() < 5 * error).all()
    assert ((drawn.var(0) / spread.diagonal() - 1).abs() < 0.35).all()


def test_a_circuit_imputes_by_its_exact_conditionals(tmp_path):
    data = {"use": "sklearn_table", "name": "iris", "columns": {"target": "ignore"}}
    run = variata.train("gaussian_mixture", {"data": data, "train.epochs": 2}, run=tmp_path / "run")
    x = run.data.split("test").batch(torch.arange(4)).x
    x[:, 1] = math.nan
    found = impute(run.model, x, samples=30).x
    assert not found.isnan().any()
    assert torch.equal(found[:, [0, 2, 3]], x[:, [0, 2, 3]])


@pytest.mark.parametrize("structure", [{"use": "mixture", "units": 4}, {"use": "hclt", "units": 4}])
def test_circuits_learn_from_rows_with_gaps(tmp_path, structure):
    data = {"use": "sklearn_table", "name": "iris", "columns": {"target": "ignore"}, "hide": 0.3}
    model = {"use": "circuit", "structure": structure, "leaves": "gaussian"}
    config = {"data": data, "model": model, "loss": "nll", "train": {"epochs": 3}}
    assembly = variata.build(config)
    variata.prepare(assembly.model, assembly.data)
    train = assembly.data.split("train")
    x = train.batch(torch.arange(len(train))).x
    before = assembly.model.log_prob(x)
    assert before.isfinite().all()
    run = variata.train_assembly(assembly, run=tmp_path / "run")
    assert run.model.log_prob(x).mean() > before.mean()
    torch.testing.assert_close(run.model.log_prob(x), run.model.log_marginal(x.nan_to_num(0.0), ~x.isnan()))


def test_trees_count_the_pairs_that_are_there(write):
    from variata_plugins.circuits.trees import gaussian_information, joint

    x = torch.tensor([[0.0, 1.0], [1.0, 1.0], [math.nan, 0.0], [1.0, 0.0]], dtype=torch.float64)
    spec = DataSpec((2,), "binary", levels=2, missing=True)
    found = joint([variata.Batch(x)], spec, 0.0)
    torch.testing.assert_close(found[0, 1], torch.tensor([[0, 1], [1, 1]], dtype=torch.float64) / 3)
    torch.testing.assert_close(found[1, 1].diagonal(), torch.tensor([0.5, 0.5], dtype=torch.float64))
    z = torch.randn(500, 3, dtype=torch.float64) @ torch.randn(3, 3, dtype=torch.float64)
    expected = -0.5 * torch.log1p(-torch.corrcoef(z[:400].T)[0, 1].square())
    z[400:, 1] = math.nan
    torch.testing.assert_close(gaussian_information([variata.Batch(z)])[0, 1], expected)
