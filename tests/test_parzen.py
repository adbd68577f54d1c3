"""The Parzen window, held to mixtures that torch knows and to the published figures of MNIST's own training images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from variata import DataError, DataSpec, EvaluationSettings, Sampler, Unsupported
from variata.evaluation import measure
from variata.live import LiveData
from variata_plugins.datasets.mnist import MNIST
from variata_plugins.metrics.parzen import Parzen, parzen_log_likelihood


class Memory(Sampler):
    """Gives its examples again, in their order."""

    def __init__(self, x: torch.Tensor) -> None:
        super().__init__(DataSpec(tuple(x.shape[1:]), "real", measure="lebesgue"))
        self.x, self.start = x, 0

    def sample(self, n, condition=None):
        self.start += n
        return self.x[self.start - n : self.start]


def test_it_is_the_mixture_s_density_in_any_chunks(monkeypatch):
    x, centres = torch.randn(17, 2, 3), torch.randn(40, 2, 3)
    found = parzen_log_likelihood(x, centres, [0.3, 1.1])
    for row, scale in zip(found, (0.3, 1.1), strict=True):
        around = Independent(Normal(centres.flatten(1).double(), scale), 1)
        mixture = MixtureSameFamily(Categorical(logits=torch.zeros(40, dtype=torch.float64)), around)
        torch.testing.assert_close(row, mixture.log_prob(x.flatten(1).double()), rtol=1e-9, atol=1e-9)
    monkeypatch.setattr("variata_plugins.metrics.parzen._PAIRS", 90)
    torch.testing.assert_close(parzen_log_likelihood(x, centres, [0.3, 1.1]), found, rtol=1e-12, atol=1e-12)


def test_a_lone_centre_is_a_gaussian():
    found = parzen_log_likelihood(torch.zeros(1, 5), torch.zeros(1, 5), [0.18])
    assert float(found) == pytest.approx(-2.5 * math.log(2 * math.pi * 0.18**2))


def measured(data, **options):
    (metric, settings) = (Parzen(samples=300, **options), EvaluationSettings())
    return measure(Memory(data.split("train").x), data, [metric], settings)["parzen"]


def test_the_bandwidth_is_the_best_on_validation_and_the_figure_says_what_it_is():
    x = torch.randn(900, 4)
    data = LiveData({"train": x[:300], "validation": x[300:600], "test": x[600:]})
    found = measured(data)
    scales = Parzen().bandwidths
    best = scales[int(parzen_log_likelihood(x[300:600], x[:300], scales).mean(1).argmax())]
    assert found["bandwidth"] == best
    assert scales[0] < best < scales[-1]
    values = parzen_log_likelihood(x[600:], x[:300], [best])[0]
    assert found["value"] == pytest.approx(float(values.mean()))
    assert found["standard_error"] == pytest.approx(float(values.std()) / math.sqrt(300))
    assert found["kind"] == "biased"
    assert "poor estimator" in found["note"]
    assert "beyond" not in found["note"]
    assert found["bandwidth_chosen_on"] == "300 validation examples"
    assert "so try others beyond it" in measured(data, bandwidths=[0.01, 0.1])["note"]


def test_without_validation_training_examples_choose():
    x = torch.randn(600, 4)
    found = measured(LiveData({"train": x[:300], "test": x[300:]}), held_out=120)
    assert found["bandwidth_chosen_on"] == "120 train examples"
    with pytest.raises(DataError, match="evaluate another split"):
        measured(LiveData({"train": x[:300]}))
    with pytest.raises(Unsupported, match="remove mean"):
        measured(LiveData({"train": x[:300], "test": x[300:]}), mean=True)


@pytest.mark.slow
def test_mnist_s_training_images(data_root):
    data = MNIST(root=data_root)
    train, test = data.split("train").x, data.split("test").x / 255
    for rows, exact in (
        (np.random.default_rng(0).permutation(60_000)[:10_000], 244.05),
        (np.arange(10_000), 242.70),
    ):
        centres = train[torch.from_numpy(rows)] / 255
        found = float(parzen_log_likelihood(test, centres, [0.18]).mean())
        assert found == pytest.approx(exact, abs=0.05)
