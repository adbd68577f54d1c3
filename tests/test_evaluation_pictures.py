"""The pictures of an evaluation: which are drawn follows from what the model can do, and nothing else changes."""

from __future__ import annotations

import math
from typing import ClassVar

import pytest
import torch
from matplotlib.image import imread

import variata
from variata import Autoencoder, ConfigError, DataSpec, EvaluationContext, Split
from variata.data import Data
from variata.estimates import EvaluationSettings
from variata_plugins.pictures.evaluation_figures import larger
from variata_plugins.pictures.of_evaluation import _pairs, _spoiled, draw_evaluation

ALL = ["codes.png", "traversal.png", "interpolation.png", "kl.png", "likelihoods.png"]


def drawn(run: variata.Run, **options) -> list[str]:
    """The pictures that an evaluation leaves, each of which is one."""
    before = {file: file.stat().st_mtime_ns for file in run.path.iterdir()}
    variata.evaluate(run, samples=2, ais_steps=10, plots=True, **options)
    files = [file for file in run.path.glob("*.png") if before.get(file) != file.stat().st_mtime_ns]
    for file in files:
        picture = imread(file)
        assert min(picture.shape[:2]) > 150, file
        assert picture[..., :3].std() > 0.02, file
    return sorted(file.name for file in files)


@pytest.fixture(scope="module")
def vae(tmp_path_factory) -> variata.Run:
    settings = {"train.epochs": 1, "model.latent": 2}
    return variata.train("vae", settings, run=tmp_path_factory.mktemp("runs") / "vae")


@pytest.mark.parametrize(
    ("preset", "settings", "pictures"),
    [
        ("cvae", {"model.latent": 12}, ALL),
        ("gaussian_vae", {}, ["codes.png", "kl.png", "likelihoods.png"]),
        ("vae", {"model.latent": 1}, ALL),
        ("rbm", {"model.hidden": 30, "model.burn_in": 1}, [name for name in ALL if name != "kl.png"]),
        ("chow_liu", {}, ["likelihoods.png"]),
    ],
)
def test_a_model_gets_the_pictures_that_it_can_have(tmp_path, preset, settings, pictures):
    run = variata.train(preset, {"train.epochs": 1, **settings}, run=tmp_path / "run")
    assert drawn(run) == sorted(pictures)


def test_pictures_are_left_by_the_command_and_by_python_where_they_are_asked_for(vae, command):
    for name in ALL:
        (vae.path / name).unlink(missing_ok=True)
    status, out, _ = command("evaluate", vae.path, "samples=2", "plots=false")
    assert (status, out[:6]) == (0, "metric")
    variata.evaluate(vae, samples=2)
    assert not any((vae.path / name).exists() for name in ALL)
    state = torch.get_rng_state()
    with_pictures = variata.evaluate(vae, samples=2, plots=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert with_pictures == variata.evaluate(vae, samples=2)
    for name in ALL:
        (vae.path / name).unlink()
    status, out, err = command("evaluate", vae.path, "samples=2")
    assert status == 0
    assert [f"  {vae.path / name}" for name in ALL] == [line for line in err.splitlines() if line.endswith(".png")]
    assert all((vae.path / name).exists() for name in ALL)


def test_plugins_hear_of_an_evaluation_without_pictures_too(vae):
    class Listener:
        heard: ClassVar[list] = []

        @variata.hookimpl
        def variata_evaluated(self, context):
            self.heard.append((context.plots, context.estimates["elbo"]["value"], context.pictures))

    with variata.plugin(Listener()):
        found = variata.evaluate(vae, samples=2)
    assert Listener.heard == [(False, found["elbo"]["value"], [])]


def test_other_data_stands_beside_the_split(vae, command):
    assert "likelihoods.png" in drawn(vae, out_of_distribution={"use": "digits", "binarize": "dynamic"})
    status, _, err = command(
        "evaluate", vae.path, "samples=2", "out_of_distribution={use: digits, binarize: threshold}"
    )
    assert status == 0, err
    other = {"use": "sprites", "size": 32, "examples": 300}
    message = r"out_of_distribution: this data is \[1, 32, 32\], binary, and the model's is \[1, 8, 8\], binary"
    with pytest.raises(ConfigError, match=message):
        variata.evaluate(vae, out_of_distribution=other)


class Plain(Autoencoder):
    """Codes that are the images' own halves; no likelihood."""

    def encode(self, x, y=None):
        return x.flatten(1)[:, :3]

    def decode(self, z, y=None):
        return torch.cat([z, torch.zeros(*z.shape[:-1], 61)], -1).unflatten(-1, (1, 8, 8))


def context(model, x, y=None, path=None) -> EvaluationContext:
    class Rows(Data):
        spec = model.spec

        def split(self, name):
            return Split(x, y, lambda stored: stored)

    return EvaluationContext(path, model, Rows(), None, EvaluationSettings(), {})


def test_an_autoencoder_without_a_likelihood_is_drawn_by_the_codes_of_data(tmp_path):
    model = Plain(DataSpec((1, 8, 8), "interval"))
    found = context(model, torch.rand(40, 1, 8, 8), torch.arange(40), tmp_path)
    draw_evaluation(found)
    assert [picture.name for picture in found.pictures] == ["codes.png", "traversal.png", "interpolation.png"]
    assert all(picture.is_file() for picture in found.pictures)


def test_what_is_spoiled_keeps_its_values():
    x = torch.rand(30, 1, 4, 4)
    found = _spoiled(variata.Batch(x), True)
    moved, shuffled = found["each element from another example"].x, found["pixels shuffled in each image"].x
    assert torch.equal(moved.flatten(1).sort(0).values, x.flatten(1).sort(0).values)
    assert torch.equal(shuffled.flatten(1).sort(1).values, x.flatten(1).sort(1).values)
    assert not torch.equal(moved, x)
    assert not torch.equal(shuffled, x)
    assert list(_spoiled(variata.Batch(x.flatten(1)), False)) == ["each element from another example"]


def test_of_a_conditional_model_pairs_share_a_label():
    model = Plain(DataSpec((1, 8, 8), "interval"))
    model.conditional = True
    batch = variata.Batch(torch.rand(9, 1, 8, 8), torch.tensor([0, 1, 1, 2, 0, 3, 1, 2, 4]))
    assert _pairs(batch, model).tolist() == [[0, 4], [1, 2], [3, 7]]


def test_the_area_under_the_curve_by_counting_pairs():
    first, other = torch.tensor([3.0, 1.0, 2.0, 2.0]), torch.tensor([2.0, 0.0, 5.0, -math.inf])
    wins = (first[:, None] > other).double() + 0.5 * (first[:, None] == other)
    assert larger(first, other) == pytest.approx(float(wins.mean()))
    assert larger(other, first) == pytest.approx(1 - float(wins.mean()))
