"""The JSON Schema of what is installed: it accepts what `variata check` accepts, and refuses most of what it
refuses."""

from __future__ import annotations

import enum
import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from torch import nn

import variata
from variata import Component, Loss, VariataWarning, registry
from variata.config import load_spec
from variata.schema import json_schema
from variata.yaml12 import parse

PRESETS = sorted(registry().presets())


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json_schema()


@pytest.fixture(scope="module")
def refused(schema):
    """The places of a configuration that the schema refuses."""
    validator = Draft202012Validator(schema)

    def refused(config: Any) -> list[str]:
        return sorted(".".join(map(str, error.path)) for error in validator.iter_errors(config))

    return refused


def test_it_is_a_json_schema(schema):
    Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema)) == schema
    assert list(schema["properties"]) == ["extends", "built", "data", "model", "loss", "train", "init", "seed"]
    assert set(schema["$defs"]) >= set(registry().kinds())


def test_the_command_prints_it(command, schema):
    status, out, err = command("schema")
    assert (status, err) == (0, "")
    assert json.loads(out) == schema


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_accepted_as_it_is_written_and_as_it_is_saved(name, refused):
    for _, path in registry().presets()[name]:
        assert refused(parse(path.read_text(encoding="utf-8"), name).plain) == []
    assert refused(load_spec(name).plain()) == []
    assert refused(parse(variata.build(name).spec.dump(), name).plain) == []


@pytest.mark.parametrize(
    "config",
    [
        {"extends": "vae", "model": {"latent": 3}},
        {"extends": "vae", "model": {"encoder": {"network": {"hidden": [3]}}}},
        {"model": "vae", "loss": "elbo"},
        {"model": {"use": "variata/vae", "prior": "variata/standard_normal"}},
        {"loss": {"use": "elbo", "beta": 3, "capacity": None}},
        {"loss": {"use": "elbo", "beta": {"use": "linear", "from": 0, "to": 1.5, "steps": 10}}},
        {"train": {"clip": None, "optimizer": {"use": "adam", "lr": 1e-3}}},
    ],
)
def test_it_accepts(config, refused):
    assert refused(config) == []


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"modell": "vae"}, ""),
        ({"model": {"use": "vae", "laten": 3}}, "model"),
        ({"model": {"use": "vae", "latent": "three"}}, "model"),
        ({"model": {"use": "vae", "latent": 0}}, "model"),
        ({"model": "vea"}, "model"),
        ({"model": {"use": "vae", "prior": "bernoulli"}}, "model"),
        ({"model": {"use": "vae", "encoder": {"use": "gaussian", "network": {"use": "mlp", "hiden": [3]}}}}, "model"),
        ({"loss": {"use": "iwae", "beta": 3}}, "loss"),
        ({"train": {"epochs": 0}}, "train.epochs"),
        ({"train": {"epoch": 1}}, "train"),
        ({"train": None}, "train"),
        ({"seed": -1}, "seed"),
        ({"extends": ["vae"]}, "extends"),
    ],
)
def test_it_refuses(config, place, refused):
    assert refused(config) == [place]


def test_components_say_what_they_are(schema):
    described = {
        name: choice["properties"]["use"]["description"]
        for choice in schema["$defs"]["loss"]["anyOf"][1:]
        for name in choice["properties"]["use"]["enum"]
    }
    for entry in registry().entries("loss"):
        assert described[entry.component.name] == entry.component.description
        assert described[f"{entry.plugin.distribution}/{entry.component.name}"] == entry.component.description


class Speed(enum.Enum):
    FAST = "fast"
    SLOW = "slow"


class Listed(Loss):
    def __init__(self, *, speeds: list[Speed] = [Speed.FAST]) -> None:  # noqa: B006 -- never changed
        super().__init__()

    def phases(self, model: Any) -> list[Any]:
        return []


def test_what_an_option_refers_to_is_among_the_definitions():
    with variata.plugin([Component("loss", "listed", Listed)]):
        found = json_schema()
    validator = Draft202012Validator(found)
    assert validator.is_valid({"loss": {"use": "listed", "speeds": ["slow", "fast"]}})
    assert not validator.is_valid({"loss": {"use": "listed", "speeds": ["quick"]}})
    json.dumps(found)


class Opaque(Listed):
    def __init__(self, *, layer: nn.Linear) -> None:
        nn.Module.__init__(self)


def test_a_component_that_cannot_be_described_is_left_out_with_a_warning():
    with (
        variata.plugin([Component("loss", "opaque", Opaque)]),
        pytest.warns(VariataWarning, match="loss opaque is left out of the schema: is annotated"),
    ):
        found = json_schema()
    assert "opaque" not in found["$defs"]["loss"]["anyOf"][0]["enum"]
    assert "elbo" in found["$defs"]["loss"]["anyOf"][0]["enum"]


def test_a_kind_that_a_plugin_declares_is_described():
    class Curriculum:
        pass

    class EasyFirst(Curriculum):
        def __init__(self, *, share: float = 0.5) -> None:
            self.share = share

    with variata.plugin([variata.Kind("curriculum", Curriculum), Component("curriculum", "easy_first", EasyFirst)]):
        described = json_schema()["$defs"]["curriculum"]["anyOf"]
    assert described[0] == {"enum": ["easy_first", "local/easy_first"]}
    assert described[1]["properties"]["share"] == {"type": "number", "default": 0.5}
