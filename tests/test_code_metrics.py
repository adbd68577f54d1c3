"""Metrics on codes, of codes that are known to be perfect, duplicated, mixed or empty."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from variata import (
    Autoencoder,
    Batch,
    DataError,
    DataSpec,
    EvaluationSettings,
    Factor,
    FactorData,
    LatentVariable,
    Split,
    Unsupported,
)
from variata.evaluation import measure
from variata.live import LiveData
from variata_plugins.metrics.dci import DCI, completeness, disentanglement
from variata_plugins.metrics.fixed_factor import BetaVAEScore, FactorVAEScore
from variata_plugins.metrics.information import MIG, Modularity, information_gap, modularity, mutual_information
from variata_plugins.metrics.probes import KNN, LinearProbe
from variata_plugins.metrics.reconstruction import ReconstructionError, structural_similarity
from variata_plugins.metrics.sap import SAP, predictability_gap

F64 = torch.float64


class Plain(FactorData):
    """x is the values of its factors: one that has no order, two that do, and one that never varies."""

    factors = (Factor("kind", 3, ordered=False), Factor("size", 5), Factor("place", 8), Factor("still", 1))
    spec = DataSpec((4,), "real", measure="lebesgue")

    def split(self, name):
        return Split(torch.zeros(0, 4))

    def render(self, values):
        return Batch(values.float())


class Coded(Autoencoder):
    """z is what a function makes of x."""

    def __init__(self, code: Callable[[Tensor], Tensor], data: DataSpec = Plain.spec) -> None:
        super().__init__(data)
        self.code = code

    def encode(self, x, y=None):
        return self.code(x)

    def decode(self, z, y=None):
        return z


def perfect(x: Tensor) -> Tensor:
    """A factor to a dimension, in another order, scale and sign, and a dimension that is always the same."""
    return torch.stack([5 - 3 * x[:, 2], x[:, 0], torch.ones(len(x)), 0.1 * x[:, 1]], dim=1)


def doubled(x: Tensor) -> Tensor:
    return x[:, [0, 0, 1, 1, 2, 2]]


def mixed(x: Tensor) -> Tensor:
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0))).Q
    return (x[:, :3] / torch.tensor([3.0, 5.0, 8.0])) @ turn


def empty(x: Tensor) -> Tensor:
    return torch.ones(len(x), 3)


def measured(metric, code: Callable[[Tensor], Tensor], **settings) -> dict:
    return measure(Coded(code), Plain(), [metric], EvaluationSettings(**settings))


def value(metric, code: Callable[[Tensor], Tensor], name: str) -> float:
    return measured(metric, code)[name]["value"]


# Mutual information


def test_mig_is_1_for_a_perfect_code_and_0_for_a_doubled_one():
    assert value(MIG(), perfect, "mig") == pytest.approx(1, abs=0.003)
    assert value(MIG(), doubled, "mig") == pytest.approx(0, abs=1e-12)
    assert value(MIG(), empty, "mig") == 0
    assert 0 < value(MIG(), mixed, "mig") < 0.5
    found = measured(MIG(), perfect)["mig"]
    assert list(found["of_factor"]) == ["kind", "size", "place"]


def test_mig_of_every_combination_once_is_exact():
    values = torch.cartesian_prod(torch.arange(3), torch.arange(5), torch.arange(8))
    codes = perfect(values.float()).double()
    torch.testing.assert_close(information_gap(codes, values, 20), torch.ones(3, dtype=F64))
    torch.testing.assert_close(information_gap(codes[:, 1:2], values[:, :1], 20), torch.ones(1, dtype=F64))
    halved = torch.div(codes[:, :1], 6, rounding_mode="floor")  # of 8 places, 4 pairs
    gap = information_gap(halved, values[:, 2:], 20)
    assert float(gap) == pytest.approx(math.log(4) / math.log(8))


def test_mutual_information_of_a_known_joint_law():
    z, v = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1]), torch.tensor([0, 0, 1, 0, 1, 1, 1, 1])
    joint = {(0, 0): 2 / 8, (0, 1): 1 / 8, (1, 0): 1 / 8, (1, 1): 4 / 8}
    one, two = {0: 3 / 8, 1: 5 / 8}, {0: 3 / 8, 1: 5 / 8}
    exact = sum(p * math.log(p / (one[i] * two[j])) for (i, j), p in joint.items())
    assert float(mutual_information(z[:, None].double(), v[:, None], 2)) == pytest.approx(exact)


def test_modularity():
    known = torch.tensor([[2.0, 0.0, 0.0], [1.0, 1.0, 1.0], [3.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(modularity(known), torch.tensor([1.0, 0.0, 1 - 1 / 18, 0.0]))
    found = measured(Modularity(), perfect)["modularity"]
    assert found["of_dimension"] == pytest.approx([1, 1, 0, 1], abs=1e-3)
    assert found["value"] == pytest.approx(0.75, abs=1e-3)
    assert value(Modularity(), doubled, "modularity") == pytest.approx(1, abs=1e-3)
    assert value(Modularity(), mixed, "modularity") < 0.9


# SAP, DCI


def test_sap():
    values = torch.cartesian_prod(torch.arange(3), torch.arange(5), torch.arange(8))
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))
    values, factors = values[order], Plain.factors[:3]
    gaps = predictability_gap(perfect(values.float()).double(), values, factors)
    assert gaps[1:].tolist() == pytest.approx([1, 1])
    assert float(gaps[0]) == pytest.approx(2 / 3, abs=0.12)  # of few examples held out
    assert predictability_gap(doubled(values.float()).double(), values, factors).tolist() == pytest.approx([0, 0, 0])
    assert value(SAP(), perfect, "sap") == pytest.approx((2 / 3 + 2) / 3, abs=0.01)
    assert value(SAP(), doubled, "sap") == pytest.approx(0, abs=1e-9)
    assert value(SAP(), empty, "sap") == pytest.approx(0, abs=1e-9)


def test_sap_of_a_noisy_code_is_the_squared_correlation():
    torch.manual_seed(0)
    v = torch.randint(9, (50_000, 1))
    noisy = v.double() + 2 * torch.randn(50_000, 1, dtype=F64)
    expected = (80 / 12) / (80 / 12 + 4)  # the variance of v over the variance of the code
    assert float(predictability_gap(noisy, v, [Factor("v", 9)])) == pytest.approx(expected, abs=0.01)


def test_dci_of_known_importances():
    identity = torch.eye(4, dtype=F64)
    assert (disentanglement(identity), completeness(identity)) == (1, 1)
    assert (disentanglement(torch.ones(4, 4)), completeness(torch.ones(4, 4))) == pytest.approx((0, 0), abs=1e-6)
    doubled = torch.eye(2, dtype=F64).repeat_interleave(2, 0)  # two dimensions for each factor
    assert (disentanglement(doubled), completeness(doubled)) == pytest.approx((1, 0.5))
    merged = torch.eye(2, dtype=F64).repeat_interleave(2, 1)  # two factors in each dimension
    assert (disentanglement(merged), completeness(merged)) == pytest.approx((0.5, 1))
    dead = torch.cat([identity, torch.zeros(2, 4, dtype=F64)])
    assert (disentanglement(dead), completeness(dead)) == pytest.approx((1, 1))


def test_dci_of_codes():
    found = {name: figure["value"] for name, figure in measured(DCI(examples=3000, trees=10), perfect).items()}
    assert found["dci_disentanglement"] > 0.98
    assert found["dci_completeness"] > 0.98
    assert found["dci_informativeness"] == 1
    found = {name: figure["value"] for name, figure in measured(DCI(examples=3000, trees=10), mixed).items()}
    assert found["dci_disentanglement"] < 0.6
    found = {name: figure["value"] for name, figure in measured(DCI(examples=3000, trees=10), empty).items()}
    assert (found["dci_disentanglement"], found["dci_completeness"]) == (0, 0)
    assert found["dci_informativeness"] == pytest.approx((1 / 3 + 1 / 5 + 1 / 8) / 3, abs=0.03)


# A factor held fixed


def test_factor_vae_score():
    found = measured(FactorVAEScore(votes=200), perfect)["factor_vae_score"]
    assert found["value"] == 1
    assert found["active_dimensions"] == 3
    assert value(FactorVAEScore(votes=200), doubled, "factor_vae_score") == 1
    assert value(FactorVAEScore(votes=200), mixed, "factor_vae_score") < 1
    assert value(FactorVAEScore(votes=200), empty, "factor_vae_score") == pytest.approx(1 / 3)


def test_units_of_a_latent_variable_model_that_are_not_active_have_no_vote():
    class Latent(LatentVariable):
        def encode(self, x, y=None):
            return perfect(x) * torch.tensor([1.0, 1e-2, 1.0, 1.0])

        def decode(self, z, y=None):
            return z

        def terms(self, x, y=None, samples=None):
            raise NotImplementedError

        def generate(self, n, condition=None):
            raise NotImplementedError

    found = measure(Latent(Plain.spec), Plain(), [FactorVAEScore(votes=100)], EvaluationSettings())
    assert found["factor_vae_score"]["active_dimensions"] == 2


def test_beta_vae_score():
    assert value(BetaVAEScore(votes=200), perfect, "beta_vae_score") == 1
    found = measured(BetaVAEScore(votes=200), lambda x: torch.randn(len(x), 3))["beta_vae_score"]
    assert found["value"] == pytest.approx(1 / 3, abs=0.13)


def test_within_a_batch_or_a_pair_one_factor_is_fixed_and_the_others_vary(monkeypatch):
    seen: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        seen.append(x)
        return perfect(x)

    for metric, size in ((FactorVAEScore(votes=10, examples=2), 64), (BetaVAEScore(votes=10), 2)):
        seen.clear()
        measured(metric, keep)
        rows = torch.cat([x for x in seen if len(x) > 2])[:, :3].reshape(-1, size, 3)
        same = (rows == rows[:, :1]).all(1).double()
        assert (same.sum(1) >= 1).all()
        assert len(rows) == (20 if size == 64 else 20 * 64)
        if size == 64:
            assert (same.sum(1) == 1).all()
            assert (same.mean(0) > 0).all()
        else:
            within = rows.reshape(20, 64, 2, 3)
            fixed = (within[:, :, 0] == within[:, :, 1]).all(1).double()
            assert (fixed.sum(1) == 1).all()
            assert (within[:, :, 0].var(1) > 0).all()  # each pair has a value of its own


def test_factors_must_be_known():
    for metric in (MIG(), Modularity(), SAP(), DCI(), FactorVAEScore(), BetaVAEScore()):
        with pytest.raises(Unsupported, match="needs data whose factors are known, as data=sprites"):
            measure(Coded(perfect), LiveData(torch.rand(20, 4)), [metric], EvaluationSettings())


# Labels


def labelled(n: int = 600) -> LiveData:
    torch.manual_seed(1)
    y = torch.arange(n) % 3
    return LiveData((torch.randn(n, 2) + 8 * y[:, None] * torch.tensor([1.0, 0.0]), y))


def test_probes_of_codes_that_know_everything_and_nothing():
    data = labelled()
    for metric, name in ((LinearProbe(), "accuracy[linear_probe]"), (KNN(neighbours=3), "accuracy[knn3]")):
        whole = measure(Coded(lambda x: x, data.spec), data, [metric], EvaluationSettings())[name]
        assert whole["value"] > 0.98
        assert (whole["examples"], whole["learned_from"]) == (60, 480)
        none = measure(Coded(lambda x: x[:, 1:], data.spec), data, [metric], EvaluationSettings())[name]
        assert none["value"] == pytest.approx(1 / 3, abs=0.2)


def test_probes_do_not_learn_from_what_they_tell():
    with pytest.raises(DataError, match="the split train is what a probe learns from: evaluate another one"):
        measure(Coded(lambda x: x), labelled(), [LinearProbe()], EvaluationSettings(split="train"))
    with pytest.raises(Unsupported, match="this data has none"):
        measure(Coded(lambda x: x), LiveData(torch.rand(20, 4)), [KNN()], EvaluationSettings())


# Reconstructions


def test_reconstruction_errors_of_a_known_distance():
    data = LiveData({"train": torch.rand(5, 3, 16, 12), "test": torch.rand(9, 3, 16, 12)})
    found = measure(Coded(lambda x: x + 0.1, data.spec), data, [ReconstructionError()], EvaluationSettings())
    assert found["reconstruction_mse"]["value"] == pytest.approx(0.01, rel=1e-5)
    assert found["reconstruction_psnr"]["value"] == pytest.approx(20, rel=1e-5)
    assert found["reconstruction_ssim"]["window"] == 11
    found = measure(Coded(lambda x: x, data.spec), data, [ReconstructionError()], EvaluationSettings(batch_size=2))
    assert [figure["value"] for figure in found.values()] == pytest.approx([0, 100, 1])
    small = LiveData(torch.rand(20, 1, 8, 8))
    found = measure(Coded(lambda x: x, small.spec), small, [ReconstructionError()], EvaluationSettings())
    assert found["reconstruction_ssim"]["window"] == 7
    table = LiveData(torch.randn(20, 4))
    assert list(measure(Coded(lambda x: x), table, [ReconstructionError()], EvaluationSettings())) == [
        "reconstruction_mse"
    ]


def test_ssim_of_flat_images_and_by_definition():
    flat = [torch.full((1, 1, 15, 15), grey) for grey in (0.2, 0.7)]
    exact = (2 * 0.2 * 0.7 + 1e-4) / (0.2**2 + 0.7**2 + 1e-4)
    assert float(structural_similarity(*flat, span=1.0)) == pytest.approx(exact, rel=1e-5)

    x, other = torch.rand(2, 1, 1, 13, 12, dtype=F64)
    place = torch.arange(11, dtype=F64) - 5
    weight = torch.exp(-(place[:, None] ** 2 + place**2) / 4.5)
    weight = weight / weight.sum()
    found = []
    for i in range(3):
        for j in range(2):
            a, b = x[0, 0, i : i + 11, j : j + 11], other[0, 0, i : i + 11, j : j + 11]
            m, n = (weight * a).sum(), (weight * b).sum()
            s, t = (weight * (a - m) ** 2).sum(), (weight * (b - n) ** 2).sum()
            both = (weight * (a - m) * (b - n)).sum()
            found.append((2 * m * n + 4e-4) * (2 * both + 36e-4) / ((m**2 + n**2 + 4e-4) * (s + t + 36e-4)))
    assert float(structural_similarity(x, other, span=2.0)) == pytest.approx(float(torch.stack(found).mean()))
