"""Names of components, and the plugins that they come from."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import variata
from support import SMALL, problems
from variata import (
    Component,
    Loss,
    PluginError,
    registry,
)
from variata.config import load_spec
from variata_plugins.vae.prior import StandardNormalPrior


class Offering:
    """A plugin that offers one component."""

    def __init__(self, component: Component) -> None:
        self.component = component

    @variata.hookimpl
    def variata_components(self) -> list[Component]:
        return [self.component]


@contextlib.contextmanager
def offered(distribution: str, component: Component) -> Iterator[None]:
    """The component of a distribution, as if that were installed."""
    plugin = registry().register(Offering(component), "parts", distribution)
    try:
        yield
    finally:
        registry().unregister(plugin)


class Nothing(Loss):
    def phases(self, model: Any) -> list[Any]:
        return []


# Names


def test_a_name_may_say_its_distribution():
    spec = load_spec("vae", ["model.prior=variata/standard_normal"])
    assert spec["model"].options["prior"].part_class is StandardNormalPrior
    assert spec.plain()["model"]["prior"] == {"use": "variata/standard_normal"}
    assert problems("vae", ["model.prior=nobody/standard_normal"]) == [
        "command line model.prior: there is no prior nobody/standard_normal; write variata/standard_normal"
    ]


class Mine(StandardNormalPrior):
    pass


@pytest.mark.usefixtures("without_pictures")
def test_a_run_is_loaded_with_the_plugin_that_it_was_trained_with(tmp_path):
    with offered("alpha-parts", Component("prior", "same", Mine)):
        variata.train("vae", {**SMALL, "model.prior": "same"}, run=tmp_path / "run")
        with offered("beta-parts", Component("prior", "same", StandardNormalPrior)):
            assert problems("vae", ["model.prior=same"]) == [
                "command line model.prior: prior 'same' is offered by more than one plugin: "
                "write alpha-parts/same or beta-parts/same"
            ]
            assert type(variata.load(tmp_path / "run").model.prior) is Mine
    with pytest.raises(variata.RunError, match=r"needs the prior same of alpha-parts .*: pip install alpha-parts"):
        variata.load(tmp_path / "run")


def test_one_plugin_that_offers_a_name_twice_is_told_to_rename():
    twice = [Component("prior", "same", Mine), Component("prior", "same", StandardNormalPrior)]
    with variata.plugin(twice), pytest.raises(PluginError, match=r"local:inline and local:inline: rename one of them"):
        registry().find("prior", "same")
    with (
        variata.plugin(twice[:1]),
        variata.plugin(twice[1:]),
        pytest.raises(PluginError, match="local:inline and local:inline1: rename one of them"),
    ):
        registry().find("prior", "same")


def test_a_kind_that_cannot_be_imported_harms_nobody_else():
    with (
        variata.plugin([variata.Kind("curriculum", "nowhere.at:All")]),
        pytest.warns(variata.VariataWarning, match=r"the kind curriculum cannot be imported: ModuleNotFoundError"),
    ):
        assert load_spec("vae")["seed"] == 0


def test_data_that_does_not_say_what_it_is_is_named():
    class Silent(variata.Data):
        def split(self, name: str) -> Any:
            raise AssertionError

    with variata.plugin([Component("data", "silent", Silent)]):
        assert problems("vae", ["data=silent"]) == [
            "data: Silent does not say what an example is: set self.spec to a DataSpec"
        ]


def test_checking_imports_only_the_parts_that_are_named():
    program = "from variata.config import load_spec; load_spec('vae'); import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "variata_plugins.decoders.bernoulli" in imported
    assert not imported & {
        "variata_plugins.decoders.gaussian",
        "variata_plugins.networks.conv",
        "variata_plugins.bounds.iwae",
        "variata_plugins.pictures.figures",
        "matplotlib",
        "sklearn",
    }
