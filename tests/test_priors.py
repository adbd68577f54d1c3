"""Learned priors: densities against torch's, samples against densities, and what makes a VampPrior the aggregate
posterior."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

import variata
from variata import Batch, DataSpec, DiagonalNormal, Encoder, NotPrepared, Prior, Unsupported, rsample_and_kl
from variata.noise import placed
from variata_plugins.flows.maf import MAF
from variata_plugins.flows.prior import FlowPrior
from variata_plugins.posteriors.full import FullNormal
from variata_plugins.priors.conditional import Parameters
from variata_plugins.priors.gaussian import GaussianPrior
from variata_plugins.priors.gaussian_mixture import GaussianMixturePrior
from variata_plugins.priors.mixture import DiagonalMixture
from variata_plugins.priors.vamp import VampPrior

F64 = torch.float64
SPEC = DataSpec((3,), "real", low=-math.inf, high=math.inf, measure="lebesgue")


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=F64)


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


class Linear(Encoder):
    """mu = W x, a constant sigma; given y, mu is moved by y."""

    def __init__(self, full: bool = False) -> None:
        super().__init__()
        self.weights, self.logvar = nn.Parameter(normal(3, 2)), nn.Parameter(normal(2))
        self.full, self.calls = full, 0

    def forward(self, x, y=None):
        self.calls += 1
        mean = x @ self.weights + (0 if y is None else y[:, None].to(x.dtype))
        logvar = self.logvar.expand_as(mean)
        if self.full:
            return FullNormal(mean, scale_tril=torch.diag_embed((0.5 * logvar).exp()), validate_args=False)
        return DiagonalNormal(mean, logvar)


def batches(x: Tensor) -> list[Batch]:
    return [Batch(part) for part in x.split(4)]


def vamp(x: Tensor, components: int, encoder: Encoder | None = None, exemplars: bool = False) -> VampPrior:
    prior = VampPrior(SPEC, components=components, exemplars=exemplars, encoder=encoder or Linear()).to(F64)
    prior.prepare(batches(x))
    return prior


# Mixtures


def as_torch(mixture: DiagonalMixture) -> MixtureSameFamily:
    q = mixture.components
    weights = mixture.log_weights.expand(q.batch_shape)
    return MixtureSameFamily(Categorical(logits=weights), Independent(Normal(q.mean, q.stddev), 1))


@pytest.mark.parametrize("batch", [(), (5,)])
def test_a_mixture_has_the_density_and_the_mean_of_torch(batch):
    components = DiagonalNormal(3 * normal(*batch, 4, 2), normal(*batch, 4, 2))
    mixture = DiagonalMixture(components, normal(*batch, 4).log_softmax(-1))
    for lead in ((), (7,)):
        z = 3 * normal(*lead, 5, 2)
        close(mixture.log_prob(z), as_torch(mixture).log_prob(z))
    close(mixture.mean, as_torch(mixture).mean)


def test_a_narrow_component_far_out_keeps_its_density_in_float32():
    """(z - m)^2 / s^2 written out cancels: in float32 the density would be off by nats."""
    mean, logvar = torch.tensor([[50.0, -30.0]]), torch.tensor([[-9.0, -9.0]])
    mixture = DiagonalMixture(DiagonalNormal(mean, logvar), torch.zeros(1))
    z = mean + 0.01
    exact = Normal(mean.double(), (0.5 * logvar.double()).exp()).log_prob(z.double()).sum(-1)
    assert (mixture.log_prob(z).double() - exact).abs().max() < 1e-5


@pytest.mark.parametrize("batch", [(), (2,)])
def test_samples_of_a_mixture_come_from_its_components_as_often_as_its_weights_say(batch):
    mean = torch.tensor([[-10.0, 0.0], [10.0, 5.0]], dtype=F64).expand(*batch, 2, 2)
    logvar = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=F64).expand(*batch, 2, 2)
    mixture = DiagonalMixture(DiagonalNormal(mean, logvar), torch.tensor([0.25, 0.75], dtype=F64).log())
    z = mixture.sample((20_000,))
    assert z.shape == (20_000, *batch, 2)
    assert mixture.sample().shape == (*batch, 2)
    right = z[..., 0] > 0
    assert float(right.double().mean()) == pytest.approx(0.75, abs=0.01)
    assert float(z[right][:, 1].mean()) == pytest.approx(5.0, abs=0.05)
    assert float(z[right][:, 0].var()) == pytest.approx(math.exp(-1), abs=0.02)
    assert float(z[~right][:, 1].var()) == pytest.approx(math.e, abs=0.15)


def test_a_mixture_of_one_component_is_that_component():
    q = DiagonalNormal(normal(1, 2), normal(1, 2))
    z = normal(6, 2)
    close(DiagonalMixture(q, torch.zeros(1, dtype=F64)).log_prob(z), DiagonalNormal(q.mu[0], q.logvar[0]).log_prob(z))


# Priors that learn


PRIORS = {
    "gaussian": lambda condition: GaussianPrior(2, condition),
    "gaussian_mixture": lambda condition: GaussianMixturePrior(2, condition, components=3),
    "flow": lambda condition: FlowPrior(2, condition, flow=partial(MAF, steps=2, hidden=[8])),
}


@pytest.fixture(params=PRIORS)
def make(request):
    return lambda condition: PRIORS[request.param](condition).to(F64)


def integral(prior: Prior, y: Tensor | None = None) -> float:
    """Of the density over a square of the plane."""
    axis = torch.linspace(-12, 12, 201, dtype=F64)
    z = torch.cartesian_prod(axis, axis)
    law = prior(None if y is None else y.expand(len(z), *y.shape))
    with torch.no_grad():
        return float(law.log_prob(z).exp().sum() * (axis[1] - axis[0]) ** 2)


def disturbed(prior: Prior) -> Prior:
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return prior


def test_the_density_of_a_prior_integrates_to_one(make):
    assert integral(disturbed(make(None))) == pytest.approx(1.0, abs=3e-3)
    assert integral(disturbed(make((4,))), torch.tensor(2)) == pytest.approx(1.0, abs=3e-3)


def test_a_prior_given_y_depends_on_y_alone_and_on_each(make):
    prior = disturbed(make((4,)))
    y, z = torch.tensor([0, 1, 3, 1]), normal(1, 2).expand(4, 2)
    logs = prior(y).log_prob(z)
    close(logs[1], logs[3])
    assert len({round(float(value), 6) for value in logs.detach()}) == 3
    close(prior(nn.functional.one_hot(y, 4).to(F64)).log_prob(z), logs)  # vectors in place of labels
    assert prior(y).sample().shape == (4, 2)
    close(prior(y).log_prob(z.expand(5, 4, 2)), logs.expand(5, 4))


def test_the_learned_gaussian_is_the_standard_normal_at_first():
    z = normal(5, 2)
    expected = MultivariateNormal(torch.zeros(2, dtype=F64), torch.eye(2, dtype=F64)).log_prob(z)
    close(GaussianPrior(2, None).to(F64)().log_prob(z), expected)
    close(GaussianPrior(2, (3,)).to(F64)(torch.zeros(5, dtype=torch.int64)).log_prob(z), expected)


def test_parameters_are_affine_in_the_vector_that_they_depend_on():
    parameters = Parameters([torch.zeros(2, 3), torch.zeros(())], 4, spread=1.0).to(F64)
    h = normal(5, 4)
    matrix, number = parameters(h)
    assert (matrix.shape, number.shape) == ((5, 2, 3), (5,))
    close(parameters(0.5 * (h[:1] + h[1:2]))[0], 0.5 * (matrix[:1] + matrix[1:2]))


# The VampPrior


def test_with_the_data_as_inputs_the_vamp_prior_is_the_aggregate_posterior():
    x, encoder = normal(10, 3), Linear()
    prior = vamp(x, 10, encoder, exemplars=True)
    assert not prior.inputs.requires_grad
    q, z = encoder(x), normal(6, 2)
    each = torch.stack([DiagonalNormal(q.mu[i], q.logvar[i]).log_prob(z) for i in range(10)])
    close(prior().log_prob(z), each.logsumexp(0) - math.log(10))
    # Then the mean divergence from it is the mutual information, at most log N.
    many = DiagonalNormal(q.mu.expand(4000, 10, 2).reshape(-1, 2), q.logvar.expand(4000, 10, 2).reshape(-1, 2))
    kl = rsample_and_kl(many, prior()).kl
    assert 0 < float(kl.mean().detach()) < math.log(10)


def test_with_one_input_the_vamp_prior_is_its_posterior():
    x, encoder = normal(1, 3), Linear()
    q, z = encoder(x), normal(6, 2)
    close(vamp(x, 1, encoder)().log_prob(z), q.log_prob(z))


@pytest.mark.parametrize("full", [False, True])
def test_a_vamp_prior_of_any_posterior(full):
    x, encoder = normal(5, 3), Linear(full)
    prior = vamp(x, 5, encoder)
    z = normal(7, 6, 2)
    q = encoder(prior.inputs)
    each = torch.stack([Independent(Normal(m, s), 1).log_prob(z) for m, s in zip(q.mean, q.stddev, strict=True)])
    close(prior().log_prob(z), each.logsumexp(0) - math.log(5))
    assert prior().sample((9,)).shape == (9, 2)


def test_inputs_are_examples_each_at_most_once_where_there_are_enough():
    x = normal(10, 3)
    few, many = vamp(x, 6), vamp(x, 25)
    rows = [int(((x - u).abs().sum(1) == 0).nonzero()) for u in few.inputs]
    assert len(set(rows)) == 6
    assert {int(((x - u).abs().sum(1) == 0).nonzero()) for u in many.inputs} == set(range(10))
    close(vamp(x, 6).inputs, few.inputs)  # the same ones again


def test_inputs_stay_within_the_values_of_the_data():
    spec = DataSpec((3,), "binary", levels=2)
    encoder = Linear()
    prior = VampPrior(spec, components=4, encoder=encoder).to(F64)
    prior.prepare(batches((normal(8, 3) > 0).to(F64)))
    inside = prior().log_prob(normal(2, 2).zero_())
    with torch.no_grad():
        prior.inputs[prior.inputs == 1] += 7.0
    close(prior().log_prob(normal(2, 2).zero_()), inside)


def test_gradients_reach_the_inputs_and_the_encoder():
    encoder = Linear()
    prior = vamp(normal(6, 3), 4, encoder)
    gradients = torch.autograd.grad(prior().log_prob(normal(5, 2)).sum(), [prior.inputs, encoder.weights])
    assert all(gradient.abs().min() > 0 for gradient in gradients)


def test_before_preparation_it_says_so():
    with pytest.raises(NotPrepared, match=r"variata.prepare"):
        VampPrior(SPEC, components=4, encoder=Linear())()


def test_given_y_each_posterior_is_of_input_and_y():
    x, encoder = normal(5, 3), Linear()
    prior = vamp(x, 5, encoder)
    y, z = torch.tensor([2, 0, 2, 1]), normal(4, 2)
    encoder.calls = 0
    law = prior(y)
    assert encoder.calls == 1
    for i in range(4):
        q = encoder(prior.inputs, y[i].expand(5))
        each = torch.stack([DiagonalNormal(q.mu[k], q.logvar[k]).log_prob(z[i]) for k in range(5)])
        close(law.log_prob(z)[i], each.logsumexp(0) - math.log(5))
    with pytest.raises(Unsupported, match="diagonal Gaussian posterior"):
        vamp(x, 5, Linear(full=True))(y)


def test_the_encoder_of_the_vamp_prior_is_the_models_and_is_saved_once():
    model = variata.build("vamp_vae").model
    assert model.prior.encoder is model.encoder
    from variata.checkpoint import own_state

    names = [name for name in own_state(model) if "encoder" in name]
    assert all(name.startswith("encoder.") for name in names)


# Noise


@pytest.mark.parametrize(
    "preset", ["vamp_vae", "gmm_vae", "flow_prior_vae", "full_gaussian_vae", "low_rank_vae", "iaf_vae"]
)
def test_every_draw_has_its_place(preset):
    """A draw is a function of (seed, example, sample), however examples and samples are cut."""
    assembly = variata.build(preset, {"model.latent": 4})
    model = assembly.model.eval()
    variata.prepare(model, assembly.data)
    x = assembly.data.split("train").batch(torch.arange(6)).x
    with torch.no_grad():
        with placed(3) as place:
            whole = model.terms(x, samples=5)
        assert place.kept
        with placed(3, row=4, sample=2):
            part = model.terms(x[4:], samples=2)
    torch.testing.assert_close(part.layers[0].z, whole.layers[0].z[2:4, 4:], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(part.log_weights(), whole.log_weights()[2:4, 4:], rtol=1e-4, atol=1e-3)
