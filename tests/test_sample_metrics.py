"""Metrics on samples: closed forms, enumerations, sets against themselves; extractors that are the same each time."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import variata
from variata import ConfigError, DataSpec, EvaluationSettings, Sampler, Unsupported
from variata.evaluation import measure
from variata.live import LiveData
from variata_plugins.datasets.digits import Digits
from variata_plugins.metrics.extractor import ModuleExtractor, fitted
from variata_plugins.metrics.fid import FID, frechet_distance, frechet_of_moments, moments
from variata_plugins.metrics.kid import KID, kernel_distance
from variata_plugins.metrics.lenet import LeNet
from variata_plugins.metrics.pca import PCAExtractor
from variata_plugins.metrics.pixels import Pixels
from variata_plugins.metrics.prdc import precision_recall_density_coverage
from variata_plugins.metrics.statistics import SampleStatistics

F64 = torch.float64


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VARIATA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "extractors"


def features(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, dtype=F64, generator=generator) @ torch.randn(d, d, dtype=F64, generator=generator) + shift


class Noise(Sampler):
    """Draws N(shift, 1) and counts how many were asked for."""

    def __init__(self, data: DataSpec, shift: float = 0.0) -> None:
        super().__init__(data)
        self.shift, self.asked = shift, []

    def sample(self, n, condition=None):
        self.asked.append(n)
        return self.shift + torch.randn(n, *self.spec.shape)


NORMAL = LiveData(
    {"train": torch.randn(50, 3), "test": torch.randn(700, 3, generator=torch.Generator().manual_seed(5))}
)


def measured(metric, data=NORMAL, model=None, **settings):
    model = Noise(data.spec) if model is None else model
    return measure(model, data, [metric], EvaluationSettings(**settings))


# FID


def test_fid_by_two_routes():
    one, two = moments(features(300, 12, 0)), moments(features(200, 12, 1, shift=0.3))
    product = torch.linalg.eigvals(one[1] @ two[1])
    assert product.imag.abs().max() < 1e-8
    other = (one[0] - two[0]).square().sum() + one[1].trace() + two[1].trace() - 2 * product.real.sqrt().sum()
    assert frechet_of_moments(*one, *two) == pytest.approx(float(other), rel=1e-9)


def test_fid_of_diagonal_gaussians():
    mean1, mean2, a, b = (torch.rand(9, dtype=F64) for _ in range(4))
    exact = (mean1 - mean2).square().sum() + (a.sqrt() - b.sqrt()).square().sum()
    assert frechet_of_moments(mean1, a.diag(), mean2, b.diag()) == pytest.approx(float(exact), rel=1e-9)


def test_fid_of_a_set_against_itself_and_against_its_shift():
    x = features(500, 20, 0)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9 * float(x.var()) * 20)
    assert frechet_distance(x, x + 0.5) == pytest.approx(20 * 0.25, rel=1e-9)


def test_fid_of_fewer_examples_than_features():
    x = features(10, 40, 0)
    assert 0 <= frechet_distance(x, x) < 1e-4 * float(x.var()) * 40
    assert frechet_distance(x, x + 1) == pytest.approx(40, rel=1e-4)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save:UserWarning")
def test_fid_and_kid_are_those_of_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    class Given(nn.Module):
        num_features = 16

        def forward(self, x):
            return x.flatten(1)[:, :16].float()

    real, drawn = torch.randn(300, 1, 4, 4), 0.8 * torch.randn(300, 1, 4, 4) + 0.2
    fid = FrechetInceptionDistance(feature=Given(), normalize=True)
    kid = KernelInceptionDistance(feature=Given(), normalize=True, subsets=1, subset_size=300)
    for theirs in (fid, kid):
        theirs.update(real, real=True)
        theirs.update(drawn, real=False)
    real, drawn = real.flatten(1), drawn.flatten(1)
    assert frechet_distance(real, drawn) == pytest.approx(float(fid.compute()), rel=1e-3)
    assert kernel_distance(real, drawn)[0] == pytest.approx(float(kid.compute()[0]), rel=1e-3)


# KID


def test_kid_is_unbiased_over_all_samples_of_three_points():
    points = torch.tensor([[0.0, 1.0], [1.0, -0.5], [2.0, 0.3]], dtype=F64)
    p, q = torch.tensor([0.2, 0.5, 0.3], dtype=F64), torch.tensor([0.6, 0.1, 0.3], dtype=F64)
    kernel = (points @ points.T / 2 + 1) ** 3
    exact = (p - q) @ kernel @ (p - q)
    mean = 0.0
    triples = list(itertools.product(range(3), repeat=3))
    for i, j in itertools.product(triples, triples):
        chance = float(p[list(i)].prod() * q[list(j)].prod())
        mean += chance * kernel_distance(points[list(i)], points[list(j)])[0]
    assert mean == pytest.approx(float(exact), rel=1e-9)


def test_kid_s_error_is_the_jackknife_s_in_any_chunks(monkeypatch):
    x, y = features(13, 4, 0), features(9, 4, 1)
    value, error = kernel_distance(x, y)
    without = [
        torch.tensor([kernel_distance(torch.cat([x[:i], x[i + 1 :]]), y)[0] for i in range(13)]),
        torch.tensor([kernel_distance(x, torch.cat([y[:i], y[i + 1 :]]))[0] for i in range(9)]),
    ]
    exact = sum((len(v) - 1) / len(v) * (v.double() - v.double().mean()).square().sum() for v in without)
    assert error == pytest.approx(math.sqrt(float(exact)), rel=1e-5)
    monkeypatch.setattr("variata_plugins.metrics.kid._ROWS", 4)
    assert kernel_distance(x, y) == pytest.approx((value, error), rel=1e-12)


def test_kid_s_error_is_how_far_it_spreads():
    found = [kernel_distance(torch.randn(60, 5), 0.5 + torch.randn(40, 5)) for _ in range(200)]
    values, errors = torch.tensor(found).T
    assert 0.8 < float(values.std() / errors.mean()) < 1.2


# Precision, recall, density, coverage


def test_a_set_against_itself():
    x = features(300, 6, 0)
    means = {name: float(v.mean()) for name, v in precision_recall_density_coverage(x, x.clone(), 5).items()}
    assert means == {"precision": 1, "recall": 1, "density": pytest.approx(1), "coverage": 1}


def test_prdc_by_definition_in_any_chunks(monkeypatch):
    x, y, k = features(40, 3, 0), features(30, 3, 1, shift=0.5), 4
    far = torch.cdist(x, y)
    balls = [torch.cdist(s, s).sort(1).values[:, k] for s in (x, y)]
    inside = far < balls[0][:, None]
    exact = {
        "precision": inside.any(0),
        "recall": (far < balls[1]).any(1),
        "density": inside.sum(0) / k,
        "coverage": inside.any(1),
    }
    for rows in (500, 7):
        monkeypatch.setattr("variata_plugins.metrics.prdc._ROWS", rows)
        found = precision_recall_density_coverage(x, y, k)
        for name, values in exact.items():
            torch.testing.assert_close(found[name], values.to(F64), msg=f"{name}, {rows} rows")


def test_samples_far_away_and_samples_of_one_mode():
    x = torch.cat([features(100, 4, 0), features(100, 4, 0, shift=100.0)])
    far = {name: float(v.mean()) for name, v in precision_recall_density_coverage(x, x + 1e4, 5).items()}
    assert far == dict.fromkeys(far, 0)
    one = {name: float(v.mean()) for name, v in precision_recall_density_coverage(x, x[:100], 5).items()}
    assert one == {"precision": 1, "recall": 0.5, "density": pytest.approx(1), "coverage": 0.5}


def test_more_neighbours_than_there_are():
    with pytest.raises(ConfigError, match=r"at most 9 neighbours \(got 10\): ask for fewer"):
        precision_recall_density_coverage(torch.randn(10, 2), torch.randn(20, 2), 10)


# What every one of them promises


@pytest.mark.parametrize("n", [3, 500, 1201])
def test_the_number_of_samples_is_honoured_exactly(n):
    model = Noise(NORMAL.spec)
    found = measured(FID(extractor=Pixels(), samples=n), model=model)["fid[pixels]"]
    assert sum(model.asked) == found["samples"] == n
    assert found["examples"] == 700


def test_neither_the_batch_size_nor_the_extractor_changes_the_samples():
    metric = FID(extractor=Pixels(), samples=600)
    assert measured(metric, batch_size=7) == measured(metric, batch_size=256)
    assert measured(metric, seed=1) != measured(metric, seed=0)

    class Greedy(ModuleExtractor):
        def fit(self, data):
            torch.rand(1000)
            return {}

    greedy = Greedy(nn.Flatten())
    value = measured(FID(extractor=greedy, samples=600))["fid[Flatten]"]["value"]
    assert value == measured(metric)["fid[pixels]"]["value"]


def test_means_are_drawn_only_where_asked_for_and_the_name_says_so():
    assembly = variata.build("vae", {"model.latent": 4})
    model, data = assembly.model, assembly.data
    seen: list[Tensor] = []

    class Seen(nn.Module):
        name = "seen"

        def forward(self, x):
            seen.append(x)
            return x.flatten(1)

    found = measured(KID(extractor=Seen(), samples=20), data, model)
    assert list(found) == ["kid[seen]"]
    assert found["kid[seen]"]["draws"] == "x ~ p(x | z), z ~ p(z)"
    assert set(seen[0].unique().tolist()) == {0.0, 1.0}
    seen.clear()
    found = measured(KID(extractor=Seen(), samples=20, mean=True), data, model)
    assert found["kid[seen,mean]"]["draws"] == "means of p(x | z), z ~ p(z)"
    assert len(seen[0].unique()) > 2
    with pytest.raises(Unsupported, match="Noise has no p"):
        measured(KID(extractor=Pixels(), mean=True))


def test_the_right_law_is_near_and_another_is_far():
    for metric, name in ((FID, "fid"), (KID, "kid")):
        metric = metric(extractor=Pixels(), samples=700)
        near = measured(metric)[f"{name}[pixels]"]
        far = measured(metric, model=Noise(NORMAL.spec, shift=1.0))[f"{name}[pixels]"]
        assert far["value"] > 20 * abs(near["value"])
    assert abs(near["value"]) < 3 * near["standard_error"] < far["value"]


def test_fid_says_what_training_examples_would_get():
    found = measured(FID(extractor=Pixels(), samples=30))["fid[pixels]"]
    train, test = NORMAL.split("train").x[:30], NORMAL.split("test").x
    assert found["of_training_examples"] == pytest.approx(frechet_distance(test, train))
    assert f"30 training examples have {found['of_training_examples']:.4g}" in found["note"]
    assert "of_training_examples" not in measured(FID(extractor=Pixels(), samples=30), split="train")["fid[pixels]"]


def test_models_that_cannot_sample_are_refused():
    class Mute(variata.Model):
        pass

    with pytest.raises(Unsupported, match="FID needs a model that is a Sampler, and Mute is not"):
        measured(FID(extractor=Pixels()), model=Mute(NORMAL.spec))


# Extractors


def test_pca_finds_the_directions_of_the_training_split_alone():
    torch.manual_seed(0)
    train = torch.randn(400, 6) * torch.tensor([5.0, 3.0, 1.0, 0.1, 0.1, 0.1]) + 7
    extractor = PCAExtractor(components=3)
    notes = fitted(extractor, LiveData({"train": train, "test": 1e3 * torch.randn(50, 6)}))
    mapped = extractor(train)
    torch.testing.assert_close(mapped.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    values = torch.linalg.eigvalsh(train.T.cov()).flip(0)
    torch.testing.assert_close(mapped.T.cov().diag(), values[:3], rtol=1e-4, atol=0)
    assert notes["explained_variance"] == pytest.approx(float(values[:3].sum() / values.sum()), rel=1e-4)
    assert extractor.name == "pca3"
    with pytest.raises(ConfigError, match=r"at most 6 components here \(got 7\)"):
        fitted(PCAExtractor(components=7), LiveData({"train": train, "test": train}))


def test_lenet_is_trained_once_and_is_the_same_from_the_cache(cache, monkeypatch):
    data = Digits()
    state = torch.get_rng_state()
    first, again = LeNet(steps=400), LeNet(steps=400)
    notes = fitted(first, data)
    assert notes["extractor_accuracy"] > 0.93
    assert torch.equal(torch.get_rng_state(), state)
    (file,) = cache.glob("lenet-*.safetensors")
    assert len(load_file(file)) == len(first.network.state_dict())
    monkeypatch.setattr(LeNet, "_trained", lambda *_: pytest.fail("it was trained again"))
    assert fitted(again, data) == notes
    x = data.split("test").batch(torch.arange(20)).x
    assert torch.equal(first(x), again(x))
    assert first(x).shape == (20, 84)


def test_another_seed_or_other_data_is_another_extractor_and_a_damaged_file_is_made_anew(cache):
    data = Digits(test=0.1)
    fitted(LeNet(steps=1), data)
    (file,) = cache.glob("*")
    whole = file.read_bytes()
    file.write_bytes(whole[:1000])
    fitted(LeNet(steps=1), data)
    assert file.read_bytes() == whole
    fitted(LeNet(steps=1, seed=1), data)
    fitted(LeNet(steps=1), Digits(test=0.1, split_seed=1))
    assert len(list(cache.glob("*"))) == 3


def test_lenet_needs_labelled_images(tmp_path, monkeypatch):
    with pytest.raises(Unsupported, match="learns from labelled images, and this data has none: use pca or pixels"):
        fitted(LeNet(), NORMAL)
    (tmp_path / "file").touch()
    monkeypatch.setenv("VARIATA_CACHE", str(tmp_path / "file"))
    with pytest.raises(variata.RunError, match="set VARIATA_CACHE to a folder that can"):
        fitted(LeNet(steps=1), Digits(test=0.1))


def test_metrics_are_named_with_their_options_on_the_command_line(tmp_path, command):
    run = variata.train("vae", {"train.epochs": 1}, run=tmp_path / "run")
    text = (
        "[{use: fid, extractor: pixels, samples: 50}, {use: prdc, extractor: {use: pca, components: 5}, samples: 50}]"
    )
    status, out, err = command("evaluate", run.path, "samples=1", f"metrics={text}")
    assert status == 0, err
    rows = dict(line.split("\t", 1) for line in out.splitlines() if "\t" in line)
    assert {"fid[pixels]", "precision[pca5]", "recall[pca5]", "density[pca5]", "coverage[pca5]"} <= set(rows)
    assert "fid[pixels]: biased upward" in out
    status, _, err = command("evaluate", run.path, "metrics=[{use: fid, extractor: lent}]")
    assert status == 2
    assert "unknown extractor lent, did you mean lenet?" in err


def test_statistics_of_samples_are_those_of_their_definition():
    class Fixed(Sampler):
        def sample(self, n, condition=None):
            return torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.0, 0.0], [0.0, 0.0]])[:n]

    x = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    data = LiveData({"train": x, "test": x})
    found = measured(SampleStatistics(samples=4), data, Fixed(data.spec))
    assert found["sample_mean_distance"]["value"] == pytest.approx(math.sqrt((1 + 9) / 2))
    assert found["sample_variance_ratio"]["value"] == pytest.approx((4 / 3) / 8)
    assert (found["sample_distinct"]["value"], found["sample_distinct"]["of_data"]) == (0.5, 1.0)


def test_statistics_of_the_right_law_are_what_chance_makes_them():
    found = measured(SampleStatistics(samples=20_000))
    distance = found["sample_mean_distance"]
    assert distance["value"] < 3 * distance["by_chance"]
    assert measured(SampleStatistics(), model=Noise(NORMAL.spec, 0.5))["sample_mean_distance"]["value"] > 0.4
    assert found["sample_variance_ratio"]["value"] == pytest.approx(1, abs=0.1)
