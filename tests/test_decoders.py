"""Laws of x: each sums or integrates to one, is finite for any finite numbers, and refuses data of another kind."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.distributions import Independent, Normal

import variata
from variata import Batch, ConfigError, DataSpec, DiagonalNormal, VariataWarning
from variata_plugins.decoders.bernoulli import BernoulliDecoder
from variata_plugins.decoders.categorical import CategoricalDecoder, CategoricalLevels
from variata_plugins.decoders.continuous_bernoulli import ContinuousBernoulliDecoder
from variata_plugins.decoders.discretized_logistic import DiscretizedLogistic, DiscretizedLogisticDecoder
from variata_plugins.decoders.gaussian import GaussianDecoder
from variata_plugins.decoders.levels import Levels

F64 = torch.float64
EXTREMES = torch.tensor([0.0, 1e-3, -1.0, 7.0, -90.0, 1e4, -1e4, 1e30, -3e38])


class Given(torch.nn.Module):
    """A network that gives these numbers, whatever z is."""

    def __init__(self, values: torch.Tensor) -> None:
        super().__init__()
        self.values = torch.nn.Parameter(values)

    def forward(self, z, y=None):
        return self.values.expand(*z.shape[:-1], *self.values.shape)


def spec(shape, support, **more):
    measure = "counting" if support in ("binary", "levels") else "lebesgue"
    return DataSpec(shape, support, measure=measure, **more)


def law_of(decoder_class, data, values, **options):
    decoder = decoder_class(data, 2, None, network=Given(values), **options)
    return decoder, decoder(torch.zeros(1, 2, dtype=values.dtype))


def levels_of(count: int) -> torch.Tensor:
    """Every level as an example of one element, scaled to [0, 1]."""
    return torch.arange(count, dtype=F64)[:, None] / (count - 1)


# Normalised


def test_bernoulli_sums_to_one():
    _, law = law_of(BernoulliDecoder, spec((3,), "binary"), torch.randn(3, dtype=F64))
    outcomes = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)), dtype=F64)
    torch.testing.assert_close(law.log_prob(outcomes).exp().sum(), torch.ones((), dtype=F64))


@pytest.mark.parametrize("count", [2, 17, 256])
def test_categorical_sums_to_one(count):
    data = spec((1,), "levels", levels=count)
    _, law = law_of(CategoricalDecoder, data, torch.randn(count, dtype=F64))
    probabilities = law.log_prob(levels_of(count)).exp()
    torch.testing.assert_close(probabilities.sum(), torch.ones((), dtype=F64))
    torch.testing.assert_close(law.mean[0], (probabilities[:, None] * levels_of(count)).sum(0))


@pytest.mark.parametrize("count", [2, 17, 256])
@pytest.mark.parametrize("location", [-3.0, -1.0, 0.013, 0.7, 50.0])
@pytest.mark.parametrize("log_scale", [-9.0, -3.0, 0.0, 5.0])
def test_discretized_logistic_sums_to_one(count, location, log_scale):
    data = spec((1,), "levels", levels=count)
    values = torch.tensor([location, log_scale], dtype=F64)
    _, law = law_of(DiscretizedLogisticDecoder, data, values)
    probabilities = law.log_prob(levels_of(count)).exp()
    torch.testing.assert_close(probabilities.sum(), torch.ones((), dtype=F64), rtol=0, atol=1e-12)
    torch.testing.assert_close(law.mean[0], (probabilities[:, None] * levels_of(count)).sum(0))


def test_discretized_logistic_is_the_difference_of_its_distribution_function():
    levels = Levels(spec((1,), "levels", levels=17))
    location, scale = torch.tensor([[6.3]], dtype=F64), torch.tensor([[2.1]], dtype=F64)
    law = DiscretizedLogistic(levels, location, scale, 1)
    for k in range(17):
        upper = torch.sigmoid((k + 0.5 - location) / scale) if k < 16 else torch.ones_like(location)
        lower = torch.sigmoid((k - 0.5 - location) / scale) if k > 0 else torch.zeros_like(location)
        value = torch.tensor([[k / 16]], dtype=F64)
        torch.testing.assert_close(law.log_prob(value), (upper - lower).log()[:, 0])


def test_discretized_logistic_keeps_its_tails_where_a_difference_would_be_zero():
    """Sixty scales from the location: sigmoid(b) - sigmoid(a) is 0 in float64 on the upper side."""
    law = DiscretizedLogistic(
        Levels(spec((1,), "levels", levels=256)), torch.full((1, 1), 20.0, dtype=F64), torch.ones(1, 1, dtype=F64), 1
    )
    got = law.log_prob(torch.tensor([[200 / 255]], dtype=F64))
    expected = -(200 - 0.5 - 20) + math.log(1 - math.exp(-1))  # of exp(-a) - exp(-b)
    torch.testing.assert_close(got, torch.tensor([expected], dtype=F64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("logit", [-30.0, -5.0, -1e-3, 0.0, 1e-5, 0.3, 12.0])
def test_continuous_bernoulli_integrates_to_one(logit):
    data = spec((1,), "interval")
    _, law = law_of(ContinuousBernoulliDecoder, data, torch.tensor([logit], dtype=F64))
    x = torch.linspace(0, 1, 200_001, dtype=F64)[:, None]
    density = law.log_prob(x).exp().detach()
    assert float(torch.trapezoid(density, x[:, 0])) == pytest.approx(1, abs=2e-6)
    constant = 2.0 if logit == 0 else logit / math.tanh(logit / 2)
    expected = math.log(constant) + 0.25 * logit - math.log1p(math.exp(logit))
    assert float(law.log_prob(x[:1] + 0.25).detach()) == pytest.approx(expected, abs=1e-5)


# Drawn


@pytest.mark.parametrize("kind", ["categorical", "discretized_logistic"])
def test_samples_have_the_frequencies_of_the_law(kind):
    levels = Levels(spec((1,), "levels", levels=5, low=-1.0, high=1.0))
    if kind == "categorical":
        law = CategoricalLevels(levels, torch.randn(1, 5, dtype=F64), 1)
    else:
        law = DiscretizedLogistic(levels, torch.tensor([1.2], dtype=F64), torch.tensor([0.9], dtype=F64), 1)
    n = 40_000
    drawn = law.sample((n,))
    values = torch.linspace(-1, 1, 5, dtype=F64)
    expected = n * law.log_prob(values[:, None]).exp()
    seen = torch.stack([(drawn == value).sum() for value in values]).to(F64)
    assert seen.sum() == n
    chi_squared = float(((seen - expected).square() / expected).sum())
    assert chi_squared < 23.5, "4 degrees of freedom: exceeded once in ten thousand"


def test_bins_are_those_of_the_data():
    """The same image scaled otherwise has the same probability."""
    values, x = torch.randn(2, 3, 4, dtype=F64), torch.randint(0, 256, (6, 1, 3, 4)).to(F64)
    for decoder_class, packed in ((DiscretizedLogisticDecoder, values), (CategoricalDecoder, torch.randn(256, 3, 4))):
        unit = spec((1, 3, 4), "levels", levels=256)
        centred = spec((1, 3, 4), "levels", levels=256, low=-1.0, high=1.0)
        _, first = law_of(decoder_class, unit, packed.to(F64))
        _, second = law_of(decoder_class, centred, packed.to(F64))
        torch.testing.assert_close(first.log_prob(x / 255), second.log_prob(x / 127.5 - 1))
        torch.testing.assert_close(second.mean, 2 * first.mean - 1)


# Whatever numbers a network gives


@pytest.mark.parametrize(
    ("decoder_class", "data", "count", "options"),
    [
        (BernoulliDecoder, spec((9,), "binary"), 1, {}),
        (ContinuousBernoulliDecoder, spec((9,), "interval"), 1, {}),
        (GaussianDecoder, spec((9,), "real"), 1, {"scale": 0.5}),
        (GaussianDecoder, spec((9,), "real"), 2, {"scale": "per_output"}),
        (CategoricalDecoder, spec((9,), "levels", levels=4), 4, {}),
        (DiscretizedLogisticDecoder, spec((9,), "levels", levels=256), 2, {}),
    ],
)
def test_likelihoods_and_gradients_are_finite(decoder_class, data, count, options):
    rows = torch.stack([EXTREMES.roll(shift) for shift in range(count)]).flatten()
    decoder, law = law_of(decoder_class, data, rows, **options)
    for level in (0.0, 1.0):
        log_prob = law.log_prob(torch.full((1, 9), level))
        assert log_prob.isfinite().all()
        (gradient,) = torch.autograd.grad(log_prob.sum(), decoder.network.values, retain_graph=True)
        assert gradient.isfinite().all()
    assert law.mean.isfinite().all()
    assert law.sample().isfinite().all()
    if data.measure == "counting":
        assert (log_prob <= 0).all()


# The Gaussian's scale


def gaussian(values, **options):
    return law_of(GaussianDecoder, spec((2,), "real"), torch.tensor(values, dtype=F64), **options)


def test_scales_of_the_gaussian():
    x = torch.tensor([[0.3, -2.0]], dtype=F64)
    for options, values, scale in (
        ({"scale": 0.5}, [1.0, 2.0], [0.5, 0.5]),
        ({"scale": "shared", "floor": 0.1}, [1.0, 2.0], [math.sqrt(1.01)] * 2),
        ({"scale": "per_output", "floor": 0.1}, [1.0, 2.0, -1.0, 3.0], [(math.exp(v) + 0.01) ** 0.5 for v in (-1, 3)]),
    ):
        _, law = gaussian(values, **options)
        mean, std = torch.tensor([[values[:2]], [scale]], dtype=F64)
        torch.testing.assert_close(law.log_prob(x), Independent(Normal(mean, std), 1).log_prob(x))


def test_a_scale_below_its_floor_is_refused():
    with pytest.raises(ConfigError, match=r"the scale 0\.0001 lies below the floor 0\.001"):
        gaussian([0.0, 0.0], scale=1e-4)


def test_reaching_the_floor_is_a_warning(tmp_path):
    constant = torch.zeros(60, 3) + torch.tensor([0.5, -2.0, 1.5])
    settings = {
        "model.decoder": {"use": "gaussian", "scale": "shared", "floor": 0.6},
        "model.latent": 2,
        "train.epochs": 300,
        "train.optimizer.lr": 0.01,
    }
    with pytest.warns(VariataWarning, match=r"scale of the Gaussian decoder reached its floor \(0.6\)"):
        run = variata.train("vae", settings, run=tmp_path / "run", data=constant)
    assert float(run.model.decoder(torch.zeros(1, 2)).stddev.detach().max()) > 0.6
    assert run.spec.plain()["model"]["decoder"]["floor"] == 0.6


def test_a_scale_at_its_floor_is_found_in_any_training_example():
    """One example in a thousand, and not one of the last batch."""
    decoder = {"use": "gaussian", "scale": "per_output", "floor": 0.1}
    model = variata.build("vae", {"model.decoder": decoder, "model.latent": 1}, data=torch.randn(2500, 1)).model
    x = torch.zeros(2500, 1)
    x[3] = 1.0

    class Own(torch.nn.Module):
        def forward(self, x, y=None):
            return DiagonalNormal(x, torch.zeros_like(x))

    class Scales(torch.nn.Module):
        def forward(self, z, y=None):
            return torch.cat([z, torch.where(z > 0.5, -9.0, 0.0)], -1)

    model.encoder, decoder = Own(), model.decoder
    decoder.network = Scales()
    model.train()
    with pytest.warns(VariataWarning, match=r"reached its floor \(0.1\)"):
        decoder.finish(model, [Batch(part) for part in x.split(1000)])
    assert model.training
    decoder.at_floor.zero_()
    decoder.finish(model, [Batch(part) for part in torch.zeros(2500, 1).split(1000)])


# Data of another kind


@pytest.mark.parametrize(
    ("decoder_class", "data", "remedy"),
    [
        (BernoulliDecoder, spec((4,), "levels", levels=256), r"set data.binarize \(dynamic, static or threshold\)"),
        (BernoulliDecoder, spec((4,), "interval"), r"set data.binarize .*continuous_bernoulli, gaussian"),
        (BernoulliDecoder, spec((4,), "real"), r"use a decoder for it \(gaussian, table\)"),
        (GaussianDecoder, spec((4,), "levels", levels=256), r"set data.dequantize=uniform or use .*categorical, disc"),
        (GaussianDecoder, spec((4,), "binary"), r"use a decoder for it \(bernoulli, table\)"),
        (CategoricalDecoder, spec((4,), "real"), r"real-valued: use a decoder for it \(gaussian, table\)"),
        (DiscretizedLogisticDecoder, spec((4,), "binary"), "is a law of levels data, but the data is binary"),
        (ContinuousBernoulliDecoder, spec((4,), "interval", low=-1.0), r"continuous in \[-1, 1\]: set data.scale"),
    ],
)
def test_another_kind_of_data_is_refused(decoder_class, data, remedy):
    with pytest.raises(ConfigError, match=remedy):
        decoder_class(data, 2, None)


@pytest.mark.parametrize("name", ["gaussian", "continuous_bernoulli", "discretized_logistic", "categorical"])
@pytest.mark.parametrize("shape", [(3, 5, 4), (6,)], ids=str)
def test_images_and_tables_with_conditions_and_samples(name, shape):
    kind = {"gaussian": "real", "continuous_bernoulli": "interval"}.get(name, "levels")
    data = spec(shape, kind, levels=4, classes=3)
    decoder = variata.registry().find("decoder", name).load()(data, 2, (3,))
    law = decoder(torch.randn(7, 5, 2), torch.tensor([0, 1, 2, 0, 1]))
    x = torch.zeros(5, *shape)
    assert law.log_prob(x).shape == (7, 5)
    assert law.mean.shape == law.sample().shape == (7, 5, *shape)
