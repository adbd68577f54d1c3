"""From YAML to a specification and back: what is merged, overridden and written down."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import variata
from support import assert_reads_back, problems
from variata import (
    registry,
)
from variata.checkpoint import own_state
from variata.config import difference, load_spec

PRESETS = sorted(registry().presets())


# Round trip


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_reads_back_as_it_was_saved(name, tmp_path):
    spec = load_spec(name, ["train.epochs=3", "train.optimizer.lr=1e-5", "seed=7"])
    assert_reads_back(spec, tmp_path / "spec.yaml")
    assert (spec["seed"], spec.plain()["train"]["optimizer"]["lr"]) == (7, 1e-5)


@pytest.mark.parametrize("name", PRESETS)
def test_what_was_built_reads_back_with_its_shapes(name, tmp_path):
    built = variata.build(name)
    assert_reads_back(built.spec, tmp_path / "spec.yaml")
    again = variata.build(tmp_path / "spec.yaml")
    assert again.spec == built.spec
    for one, other in zip(own_state(built.model).items(), own_state(again.model).items(), strict=True):
        assert one[0] == other[0]
        assert torch.equal(one[1], other[1])


def test_every_default_is_written_out():
    plain = load_spec("vae").plain()
    assert plain["loss"] == {
        "use": "elbo",
        "beta": 1.0,
        "samples": 1,
        "free_bits": 0.0,
        "free_bits_per_example": 0.0,
        "capacity": None,
        "gamma": None,
    }
    assert plain["model"]["condition"] is False
    assert plain["train"]["optimizer"]["betas"] == [0.9, 0.999]


def test_two_specifications_that_differ_are_not_equal():
    assert load_spec("vae") == load_spec("vae", ["seed=0"])
    assert load_spec("vae") != load_spec("vae", ["seed=1"])


# Extending and merging


def test_a_file_extends_a_file_that_extends_a_preset(write):
    write("below/base.yaml", "extends: beta_vae\nmodel: {latent: 3}\nloss: {free_bits: 0.5}\n")
    file = write("mine.yaml", "extends: below/base.yaml\nmodel: {latent: 4}\n")
    plain = load_spec(file).plain()
    assert plain["model"]["latent"] == 4
    assert plain["loss"]["free_bits"] == 0.5
    assert plain["loss"]["beta"]["use"] == "linear"
    assert plain["model"]["encoder"]["network"]["activation"] == "tanh"
    assert load_spec(file).name == "mine"


def test_extends_is_relative_to_the_file_that_says_it(write, tmp_path, monkeypatch):
    write("one/a.yaml", "extends: ../two/b.yaml\n")
    write("two/b.yaml", "extends: c.yaml\n")
    write("two/c.yaml", "extends: vae\nseed: 5\n")
    monkeypatch.chdir(tmp_path / "one")
    assert load_spec("a.yaml")["seed"] == 5
    assert load_spec(tmp_path / "one" / "a.yaml")["seed"] == 5


def test_a_circle_of_files_is_one_problem(write):
    write("below/b.yaml", "extends: ../a.yaml\n")
    file = write("a.yaml", "extends: below/b.yaml\n")
    assert problems(file) == ["below/b.yaml:1:10 extends: ../a.yaml extends itself"]


def test_mappings_merge_and_lists_are_replaced(write):
    file = write("f.yaml", "extends: vae\nmodel: {encoder: {network: {hidden: [7]}}}\n")
    network = load_spec(file).plain()["model"]["encoder"]["network"]
    assert network["hidden"] == [7]
    assert network["activation"] == "tanh"


def test_a_bare_name_is_a_component_without_options(write):
    file = write("f.yaml", "extends: vae\nmodel: {prior: {use: standard_normal}}\n")
    assert load_spec(file) == load_spec("vae")
    assert load_spec(file).plain()["model"]["prior"] == {"use": "standard_normal"}


def test_naming_the_component_that_is_there_keeps_its_options(write):
    file = write("f.yaml", "extends: vae\nloss: elbo\nmodel: {encoder: {network: mlp}}\n")
    assert load_spec(file) == load_spec("vae")


def test_a_change_of_use_drops_the_old_options_and_keeps_those_beside_it(write, command):
    text = "extends: vae\nmodel:\n  encoder:\n    network: {use: conv, channels: [4], activation: relu}\n"
    file = write("f.yaml", text)
    spec = load_spec(file)
    network = spec.plain()["model"]["encoder"]["network"]
    assert (network["channels"], network["activation"]) == ([4], "relu")
    assert "hidden" not in network
    assert spec.dropped == ["model.encoder.network.hidden"]
    status, out, err = command("show", file, "--diff")
    assert (status, err) == (0, "")
    assert "model.encoder.network.hidden: dropped, since `use` changed beside it" in out


def test_what_the_overrides_change_and_drop_is_shown(command):
    settings = ["loss.beta=4", "model.decoder.network={use: conv_transpose, channels: [4]}"]
    status, out, err = command("show", "vae", "--diff", *settings)
    lines = out.splitlines()
    assert (status, err) == (0, "")
    assert "loss.beta: 1.0 -> 4.0" in lines
    assert "model.decoder.network.use: mlp -> conv_transpose" in lines
    assert "model.decoder.network.channels: (new) -> [4]" in lines
    assert "model.decoder.network.hidden: [200, 200] -> (gone)" in lines
    assert "model.decoder.network.hidden: dropped, since `use` changed beside it" in lines
    assert not any("encoder" in line for line in lines)


def test_difference_is_empty_where_nothing_changed():
    assert difference(load_spec("vae"), load_spec("vae", ["loss.beta=1", "train.epochs=20"])) == []


@pytest.mark.parametrize("text", ["use: vae\nextends: vae\n", "extends: vae\ntrain: {use: adam}\n"])
def test_use_belongs_to_components_alone(write, text):
    (problem,) = problems(write("f.yaml", text))
    assert "use: unknown option" in problem


# Overrides


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("seed=3", "seed", 3),
        ("loss.beta=2", "loss.beta", 2.0),
        ("train.optimizer.lr=1e-4", "train.optimizer.lr", 1e-4),
        ("train.clip=null", "train.clip", None),
        ("train.clip=", "train.clip", None),
        ("model.condition=true", "model.condition", True),
        ("train.device=cpu", "train.device", "cpu"),
        ("train.device='1e3'", "train.device", "1e3"),
        ("data.scale=[-1, 1]", "data.scale", [-1.0, 1.0]),
        ("model.encoder.network.hidden=[8, 9]", "model.encoder.network.hidden", [8, 9]),
        ("model.prior=standard_normal", "model.prior", {"use": "standard_normal"}),
        ("loss=iwae", "loss", {"use": "iwae", "samples": 5, "gradient": "total"}),
        ("loss={use: iwae, samples: 3}", "loss", {"use": "iwae", "samples": 3, "gradient": "total"}),
        (" seed = 3 ", "seed", 3),
    ],
)
def test_an_override_is_yaml(text, key, value):
    found: Any = load_spec("vae", [text]).plain()
    for step in key.split("."):
        found = found[step]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("overrides", "loss"),
    [
        (["loss=iwae", "loss.samples=3"], {"use": "iwae", "samples": 3, "gradient": "total"}),
        (["loss.samples=3", "loss=iwae"], {"use": "iwae", "samples": 3, "gradient": "total"}),
        (["loss.samples=3", "loss.use=iwae"], {"use": "iwae", "samples": 3, "gradient": "total"}),
        (["loss.samples=3", "loss={use: iwae}"], {"use": "iwae", "samples": 3, "gradient": "total"}),
        (["loss={use: iwae, samples: 2}", "loss.samples=3"], {"use": "iwae", "samples": 3, "gradient": "total"}),
        (
            ["loss=elbo", "loss=iwae", "loss.samples=2", "loss.samples=3"],
            {"use": "iwae", "samples": 3, "gradient": "total"},
        ),
    ],
)
def test_overrides_of_one_component_add_up_and_the_last_one_wins(overrides, loss):
    assert load_spec("vae", overrides).plain()["loss"] == loss


def test_overrides_in_python_take_values_as_they_are(tmp_path):
    spec = load_spec(
        "vae", {"loss": {"use": "iwae", "samples": 3}, "model.encoder.network.hidden": (8,), "train.clip": None}
    )
    plain = spec.plain()
    assert plain["loss"] == {"use": "iwae", "samples": 3, "gradient": "total"}
    assert plain["model"]["encoder"]["network"]["hidden"] == [8]
    path = tmp_path / "x.npy"
    data = load_spec("vae", {"data": {"use": "array", "path": path}})
    assert data.plain()["data"]["path"] == str(path)


def test_a_specification_may_be_a_mapping():
    spec = load_spec({"extends": "vae", "loss": {"beta": 2}}, {"model.latent": 3})
    assert (spec["loss"].options["beta"], spec["model"].options["latent"]) == (2.0, 3)
    assert problems({"extends": "vae", "modell": 3}) == ["python modell: unknown option, did you mean model?"]


def test_overrides_in_python_may_be_numbers_of_numpy_one_text_or_nothing():
    assert load_spec("vae", {"model.latent": np.int64(3), "loss.beta": np.float64(2)}) == load_spec(
        "vae", ["model.latent=3", "loss.beta=2"]
    )
    assert load_spec("vae", "seed=4")["seed"] == 4
    assert load_spec("vae", None) == load_spec("vae")


def test_a_specification_may_be_changed_again():
    spec = load_spec("vae", ["seed=3"])
    assert load_spec(spec) is spec
    changed = load_spec(spec, {"loss": "iwae", "model.latent": 3})
    assert (changed["seed"], changed["loss"].use, changed["model"].options["latent"]) == (3, "iwae", 3)
    assert changed.name == "vae"
    encoder = nn.Identity()
    assert load_spec(spec, live={"encoder": encoder})["model"].options["encoder"].value is encoder


def test_a_name_in_place_of_a_live_object_is_a_component_and_a_class_is_refused():
    assert variata.build("vae", loss="iwae").spec["loss"].use == "iwae"
    assert problems("vae", loss="elbow") == ["python loss: unknown loss elbow, did you mean elbo?"]
    assert problems("vae", encoder=nn.Linear) == ["python model.encoder: Linear is a class: pass an object of it"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("nothing", "unknown data nothing"),
        (["a", "b"], "does not stack to tensors"),
        ([torch.zeros(2), torch.zeros(3)] * 3, "does not stack to tensors"),
        (np.array([object()] * 20), "is no array of numbers"),
        (torch.tensor(3.0), "the data has no examples"),
        (torch.zeros(0, 4), "the data has no examples"),
        ({}, "a mapping of splits has train"),
        ({"test": torch.zeros(20, 4)}, "a mapping of splits has train"),
        ({"train": torch.zeros(20, 4), "valid": torch.zeros(20, 4)}, "a mapping of splits has train"),
        (
            {"train": torch.zeros(20, 4), "test": torch.zeros(20, 3)},
            r"its test part is \[3\], binary, and its training part \[4\], binary",
        ),
    ],
)
def test_live_data_that_is_no_data(data, message):
    with pytest.raises(variata.UserError, match=message):
        variata.build("vae", data=data)


def test_a_wrong_override_in_python_says_so():
    assert problems("vae", {"model.latent": "many"}) == ["override model.latent: must be a valid integer (got 'many')"]
    (problem,) = problems("vae", {"model.latent": torch.tensor(3)})
    assert problem.startswith("override model.latent: cannot be read")
