"""Expectation maximisation of Gaussian leaves, in float64: against its closed form, its guarantee, and scikit-learn."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

import variata
from variata import Batch, DataSpec, Problem, UserError
from variata.data import Split
from variata.training import Loop, Training
from variata_plugins.circuits.em import EM, ByEM
from variata_plugins.circuits.gaussian import Gaussian
from variata_plugins.circuits.model import Circuit
from variata_plugins.circuits.rat import RAT
from variata_plugins.circuits.structure import Mixture, Structure
from variata_plugins.circuits.trees import HCLT

F64 = torch.float64
INF = math.inf


def circuit(structure: type[Structure], x: Tensor, low: float = 1e-3, high: float = 1e3, **options: int) -> Circuit:
    spec = DataSpec((x.shape[1],), "real", low=-INF, high=INF, measure="lebesgue")
    model = Circuit(
        spec,
        structure=lambda data: structure(data, **options),
        leaves=lambda data, leaves, units: Gaussian(data, leaves, units, low=low, high=high),
    ).double()
    model.prepare([Batch(x)])
    with torch.no_grad():
        set_scales(model, torch.rand_like(model.leaves.scale) + 0.5)
    return model


def set_scales(model: Circuit, scale: Tensor) -> None:
    low, high = model.leaves.low, model.leaves.high
    model.leaves.theta[:, 2].copy_(((scale - low) / (high - low)).logit())


def loop(model: Circuit, x: Tensor, lr: float = 1.0, pseudocount: float = 0.0) -> Loop:
    loss = ByEM(model, optimizer=EM(lr=lr, pseudocount=pseudocount))
    options = Training(epochs=1, batch_size=len(x))
    return Loop(model, loss, options, Split(x, transform=lambda rows: rows), Split(x[:0]), 0)


def examples(n: int = 60, variables: int = 4, gaps: float = 0.0) -> Tensor:
    """Around three centres, far from zero beside their spread."""
    centre = 100 + 5 * torch.randn(3, variables, dtype=F64)
    x = centre[torch.randint(3, (n,))] + torch.randn(n, variables, dtype=F64)
    return x.masked_fill(torch.rand_like(x) < gaps, math.nan)


def test_the_gradient_is_the_expected_statistics():
    x = examples()
    model = circuit(Mixture, x, units=3)
    theta, mean, scale = model.leaves.theta, model.leaves.mean.detach(), model.leaves.scale.detach()
    log_p = model.log_density(x, normalise=False)
    torch.testing.assert_close(log_p, model.log_prob(x))
    (gradient,) = torch.autograd.grad(log_p.sum(), theta)
    u = (x.T[..., None] - mean[:, None]) / scale[:, None]
    log_joint = model.log_weights()[0][0, :, 0] + (-0.5 * u.square() - scale.log()[:, None]).sum(0)
    share = log_joint.softmax(1).detach()
    expected = torch.stack([share.expand_as(u).sum(1), (share * u).sum(1), (share * u.square()).sum(1)], dim=1)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("lr", [1.0, 0.25])
@pytest.mark.parametrize("gaps", [0.0, 0.3])
def test_one_component_moves_to_the_moments_of_the_data(lr, gaps):
    x = examples(gaps=gaps)
    model = circuit(Mixture, x, units=1)
    mean, scale = (value.detach().clone()[:, 0] for value in (model.leaves.mean, model.leaves.scale))
    loop(model, x, lr).step(Batch(x))
    first = torch.lerp(mean, x.nanmean(0), lr)
    second = torch.lerp(scale.square() + mean.square(), x.square().nanmean(0), lr)
    torch.testing.assert_close(model.leaves.mean[:, 0], first)
    torch.testing.assert_close(model.leaves.scale[:, 0].square(), second - first.square(), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("gaps", [0.0, 0.3])
@pytest.mark.parametrize(
    ("structure", "options"),
    [(Mixture, {"units": 4}), (HCLT, {"units": 3}), (RAT, {"units": 3, "depth": 1, "repetitions": 2})],
)
def test_a_full_step_never_lowers_the_likelihood(structure, options, gaps):
    x = examples(gaps=gaps)
    model = circuit(structure, x, low=0.5, high=4.0, **options)  # bounds that are met
    training = loop(model, x)
    values = [float(model.log_prob(x).sum().detach())]
    for _ in range(30):
        training.step(Batch(x))
        values.append(float(model.log_prob(x).sum().detach()))
    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(values)), values
    assert values[-1] > values[0] + 1
    scale = model.leaves.scale.detach()
    assert scale.min() >= 0.5
    assert scale.max() <= 4.0
    assert (scale < 0.5 + 1e-9).any()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_it_is_scikit_learns_mixture():
    from sklearn.mixture import GaussianMixture

    x = examples(n=200)
    model = circuit(Mixture, x, low=1e-6, high=1e6, units=3)
    mean, scale = model.leaves.mean.detach().clone(), model.leaves.scale.detach().clone()
    theirs = GaussianMixture(
        n_components=3,
        covariance_type="diag",
        reg_covar=0.0,
        tol=0.0,
        max_iter=12,
        weights_init=model.log_weights()[0][0, :, 0].exp().detach().numpy(),
        means_init=mean.T.numpy(),
        precisions_init=(1 / scale.square()).T.numpy(),
    ).fit(x.numpy())
    training = loop(model, x)
    for _ in range(theirs.n_iter_):
        training.step(Batch(x))
    close = {"rtol": 1e-6, "atol": 1e-6}
    torch.testing.assert_close(model.leaves.mean.detach().T, torch.from_numpy(theirs.means_), **close)
    torch.testing.assert_close(model.leaves.scale.detach().T.square(), torch.from_numpy(theirs.covariances_), **close)
    torch.testing.assert_close(model.weights[0][0, :, 0].detach().exp(), torch.from_numpy(theirs.weights_), **close)
    torch.testing.assert_close(model.log_prob(x).detach(), torch.from_numpy(theirs.score_samples(x.numpy())), **close)


def test_a_unit_without_examples_stays_and_a_constant_column_takes_the_least_scale():
    x = examples()
    x[:, 1] = 7.0
    model = circuit(Mixture, x, low=0.1, high=10.0, units=2)
    with torch.no_grad():
        model.leaves.mean[:, 1] = 1e6
    before = model.leaves.theta[:, :, 1].detach().clone()
    loop(model, x).step(Batch(x))
    torch.testing.assert_close(model.leaves.theta[:, :, 1].detach(), before)
    assert model.leaves.scale[1, 0].item() == pytest.approx(0.1)
    assert model.leaves.mean[1, 0].item() == pytest.approx(7.0)
    assert model.log_prob(x).isfinite().all()


def test_gradient_descent_leaves_the_mass_of_a_law_alone():
    assembly = variata.build("gaussian_mixture")
    variata.prepare(assembly.model, assembly.data)
    train = assembly.data.split("train")
    training = Loop(assembly.model, assembly.loss, assembly.training, train, train, seed=0)
    theta = assembly.model.leaves.theta
    before = theta.detach().clone()
    training.step(train.batch(torch.arange(100)))
    assert torch.equal(theta[:, 0], torch.zeros_like(theta[:, 0]))
    assert (theta[:, 1:] != before[:, 1:]).all()


def test_leaves_that_cannot_be_counted_are_refused():
    class Fixed(Gaussian):
        countable = False

    spec = DataSpec((2,), "real", low=-INF, high=INF, measure="lebesgue")
    model = Circuit(spec, structure=lambda data: Mixture(data, units=2), leaves=Fixed)
    with pytest.raises(UserError, match="the parameters of Fixed leaves cannot be counted: set loss=nll") as caught:
        ByEM(model, optimizer=EM())
    assert isinstance(caught.value.problems[0], Problem)
