"""The Inception adapter, with a small network in the place of torch-fidelity's: what it is given, what its figures are
called, and what is said where it is missing."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from variata import DataSpec, EvaluationSettings, Sampler, Unsupported
from variata.evaluation import measure
from variata.live import LiveData
from variata_plugins.metrics.fid import FID, frechet_distance
from variata_plugins.metrics.inception import Inception
from variata_plugins.metrics.kid import KID

IMAGES = {name: torch.rand(40, 1, 6, 6) for name in ("train", "test")}


class Network(nn.Module):
    """Two means of each image, where torch-fidelity's gives 2,048 features."""

    def __init__(self, name: str, features: list[str]) -> None:
        super().__init__()
        assert features == ["2048"]
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> tuple[Tensor]:
        assert x.dtype == torch.uint8
        assert x.shape[1] == 3
        self.seen.append(x)
        return (torch.stack([x.float().mean((1, 2, 3)), x[:, 0, 0].float().mean(1)], 1),)


class Dark(Sampler):
    def sample(self, n, condition=None):
        return 0.3 * torch.rand(n, *self.spec.shape)


@pytest.fixture
def package(monkeypatch, tmp_path) -> Path:
    """A torch-fidelity, and the file of weights that it would read."""
    inner = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    inner.URL_INCEPTION_V3 = "https://example.org/weights-0.pth"
    inner.FeatureExtractorInceptionV3 = Network
    outer = ModuleType("torch_fidelity")
    outer.feature_extractor_inceptionv3 = inner
    monkeypatch.setitem(sys.modules, "torch_fidelity", outer)
    monkeypatch.setitem(sys.modules, inner.__name__, inner)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / "weights-0.pth"
    file.parent.mkdir(parents=True)
    file.touch()
    return file


def measured(metric, data=None):
    data = LiveData(IMAGES) if data is None else data
    return measure(Dark(data.spec), data, [metric], EvaluationSettings())


def test_a_fid_by_inception_is_called_fid_and_no_other_is(package):
    found = measured(FID(extractor=Inception(), samples=60))
    assert list(found) == ["fid"]
    assert found["fid"]["extractor"] == "inception"
    assert found["fid"]["weights"] == "weights-0.pth"
    assert list(measured(KID(extractor=Inception(), samples=60))) == ["kid[inception]"]

    class Other(nn.Module):
        name = "inception"

        def forward(self, x):
            return x.flatten(1)[:, :2]

    assert list(measured(FID(extractor=Other(), samples=60))) == ["fid[inception]"]


def test_what_it_sees_are_the_levels_of_the_images_in_three_channels(package):
    extractor = Inception()
    extractor.fit(LiveData(IMAGES))
    x = torch.tensor([0.0, 0.5, 1.0, 1.2]).view(4, 1, 1, 1).expand(4, 1, 6, 6)
    features = extractor(x)
    torch.testing.assert_close(features, torch.tensor([[0.0, 0.0], [128.0, 128.0], [255.0, 255.0], [255.0, 255.0]]))
    assert extractor.network.seen[0].shape == (4, 3, 6, 6)
    extractor.spec = DataSpec((3, 6, 6), "interval", low=-1.0)
    assert extractor(-torch.ones(120, 3, 6, 6)).abs().max() == 0
    assert [len(part) for part in extractor.network.seen[1:]] == [50, 50, 20], "so that memory stays bounded"
    real, drawn = IMAGES["test"], 0.3 * IMAGES["train"]
    extractor.spec = LiveData(IMAGES).spec
    assert frechet_distance(extractor(real), extractor(drawn)) > 100 * frechet_distance(
        extractor(real), extractor(real)
    )


def test_without_the_package_or_its_weights_one_line_says_what_to_do(package, monkeypatch):
    package.unlink()
    with pytest.raises(Unsupported, match=r"needs its weights: use another extractor .* download https://example.org"):
        measured(FID(extractor=Inception()))
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(Unsupported, match="pip install torch-fidelity"):
        measured(FID(extractor=Inception()))


@pytest.mark.parametrize("x", [torch.rand(40, 5), torch.randn(40, 1, 4, 4), torch.rand(40, 2, 4, 4)])
def test_data_that_is_no_image_is_refused(package, x):
    with pytest.raises(Unsupported, match="the extractor inception looks at grey or coloured images"):
        measured(FID(extractor=Inception()), LiveData({"train": x, "test": x}))
