"""Discovery and isolation of plugins, with distributions that are installed only for the test."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import variata
from support import GOOD
from variata import Component, PluginError, VariataWarning
from variata.plugins import Registry, load_file, registry

PAGE = Path(__file__).parents[1] / "docs" / "plugins.md"


def load() -> Registry:
    fresh = Registry()
    fresh.load_installed()
    return fresh


def status(found: Registry) -> dict[str, str]:
    return {plugin.id: plugin.status for plugin in found.plugins}


def test_built_ins_come_first_and_are_all_loaded():
    plugins = load().plugins
    assert [p.id for p in plugins if p.status != "loaded"] == []
    assert {p.distribution for p in plugins[:5]} == {"variata"}


def test_equal_entry_point_names_of_two_distributions_are_both_loaded(install):
    install("alpha-parts", "extra", GOOD.replace("{name}", "alpha_prior"))
    install("beta-parts", "extra", GOOD.replace("{name}", "beta_prior"))
    found = load()
    assert status(found)["alpha-parts:extra"] == status(found)["beta-parts:extra"] == "loaded"
    assert found.find("prior", "alpha_prior").plugin.distribution == "alpha-parts"


def test_an_import_error_is_one_warning_and_keeps_its_traceback(install):
    install("broken-parts", "extra", "import nothing_of_this_name")
    install("fine-parts", "extra", GOOD.replace("{name}", "fine"))
    with pytest.warns(VariataWarning, match=r"broken-parts:extra was not loaded: ModuleNotFoundError"):
        found = load()
    assert status(found)["broken-parts:extra"] == "failed"
    assert "nothing_of_this_name" in next(p.traceback for p in found.plugins if p.status == "failed")
    assert found.find("prior", "fine")


def test_strict_makes_a_failure_fatal(install, monkeypatch):
    install("broken-parts", "extra", "raise RuntimeError('no')")
    monkeypatch.setenv("VARIATA_PLUGINS_STRICT", "1")
    with pytest.raises(PluginError, match="broken-parts:extra was not loaded: RuntimeError: no"):
        load()


def test_a_misspelt_hook_is_named_with_a_suggestion(install):
    install("typo-parts", "extra", GOOD.replace("variata_components", "variata_component").replace("{name}", "x"))
    with pytest.warns(VariataWarning, match="there is no hook variata_component, did you mean variata_components"):
        found = load()
    assert status(found)["typo-parts:extra"] == "failed"


def test_an_unmarked_hook_is_named(install):
    install("plain-parts", "extra", "def variata_components():\n    return []\n")
    with pytest.warns(VariataWarning, match="decorate it with @variata.hookimpl"):
        load()


@pytest.mark.parametrize("name", ["variata", "Variata"])
def test_an_incompatible_requirement_is_seen_before_import(install, name):
    install("future-parts", "extra", "raise RuntimeError('imported')", requires=f"{name}>=99")
    with pytest.warns(VariataWarning, match=rf"needs {name}>=99, this is variata"):
        found = load()
    assert status(found)["future-parts:extra"] == "incompatible"


def test_a_hook_that_raises_loses_nobody_elses(install):
    install("raising-parts", "extra", GOOD.replace("return [", "raise ValueError('boom'); [").replace("{name}", "x"))
    install("zeta-parts", "extra", GOOD.replace("{name}", "zeta"))
    with pytest.warns(VariataWarning, match="raising-parts:extra was not loaded: ValueError: boom"):
        found = load()
    assert found.find("prior", "zeta").plugin.id == "zeta-parts:extra"
    assert found.find("prior", "standard_normal").plugin.distribution == "variata"


def test_a_hook_that_returns_something_else_is_named(install):
    install(
        "wrong-parts", "extra", "import variata\n@variata.hookimpl\ndef variata_components():\n    return ['mlp']\n"
    )
    with pytest.warns(VariataWarning, match="'mlp', which is no Component"):
        load()


def test_a_class_that_cannot_be_imported_is_an_error_at_use(install):
    install("hollow-parts", "extra", GOOD.replace("{name}", "hollow"))
    entry = load().find("prior", "hollow")
    with pytest.raises(PluginError, match=r"prior 'hollow' of plugin hollow-parts:extra cannot be imported: Attribute"):
        entry.load()


def test_one_name_from_two_plugins_is_an_error_at_use_and_can_be_qualified(install):
    for distribution in ("alpha-parts", "beta-parts"):
        install(distribution, "extra", GOOD.replace("{name}", "same"))
    found = load()
    with pytest.raises(PluginError, match="write alpha-parts/same or beta-parts/same"):
        found.find("prior", "same")
    assert found.find("prior", "beta-parts/same").plugin.distribution == "beta-parts"


def test_a_built_in_name_is_not_taken_silently(install):
    install("greedy-parts", "extra", GOOD.replace("{name}", "standard_normal"))
    found = load()
    with pytest.raises(PluginError, match="greedy-parts/standard_normal"):
        found.find("prior", "standard_normal")
    assert found.find("prior", "standard_normal", prefer="variata").plugin.distribution == "variata"


def test_presets_of_built_ins_work_whatever_others_are_called(install, monkeypatch):
    install("greedy-parts", "extra", GOOD.replace("{name}", "standard_normal"))
    monkeypatch.setattr("variata.plugins._registry", load())
    assert variata.build("vae").model is not None


@pytest.mark.parametrize(
    ("variable", "value", "loaded"),
    [
        ("VARIATA_PLUGINS", "", []),
        ("VARIATA_PLUGINS", "one", ["alpha-parts:one"]),
        ("VARIATA_PLUGINS", "alpha-parts:two, beta-parts", ["alpha-parts:two", "beta-parts:three"]),
        ("VARIATA_PLUGINS_OFF", "one,three", ["alpha-parts:two"]),
    ],
)
def test_switches(install, monkeypatch, variable, value, loaded):
    for distribution, entry in (("alpha-parts", "one"), ("alpha-parts", "two"), ("beta-parts", "three")):
        install(distribution, entry, GOOD.replace("{name}", entry))
    monkeypatch.setenv(variable, value)
    states = status(load())
    others = {name: state for name, state in states.items() if not name.startswith("variata:")}
    assert sorted(name for name, state in others.items() if state == "loaded") == loaded
    assert {state for name, state in others.items() if name not in loaded} <= {"off"}
    assert states["variata:vae"] == "loaded"


def test_a_switch_that_is_neither_on_nor_off_is_an_error(monkeypatch):
    monkeypatch.setenv("VARIATA_PLUGINS_STRICT", "yes")
    with pytest.raises(PluginError, match="VARIATA_PLUGINS_STRICT='yes': write 1 or 0"):
        load()


def test_the_page_of_plugins_names_every_switch_and_no_other():
    named = [
        set(re.findall(r"VARIATA_PLUGINS\w*", Path(file).read_text(encoding="utf-8")))
        for file in (PAGE, variata.plugins.__file__)
    ]
    assert named[0] == named[1]


@pytest.mark.parametrize("variable", ["VARIATA_PLUGINS", "VARIATA_PLUGINS_OFF"])
def test_a_switch_that_names_nothing_installed_is_an_error(monkeypatch, variable):
    monkeypatch.setenv(variable, "vea")
    with pytest.raises(PluginError, match=rf"{variable} names 'vea', which is not installed, did you mean vae\?"):
        load()


def test_a_built_in_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("VARIATA_PLUGINS_OFF", "pictures")
    assert status(load())["variata:pictures"] == "off"


def test_find_suggests_and_knows_the_other_kind():
    with pytest.raises(PluginError, match=r"unknown prior standard_norml, did you mean standard_normal\?"):
        registry().find("prior", "standard_norml")
    with pytest.raises(PluginError, match="standard_normal is a prior, but an encoder belongs here"):
        registry().find("encoder", "standard_normal")


def test_in_process_registration_ends_with_its_block():
    from variata_plugins.vae.prior import StandardNormalPrior

    with variata.plugin([Component("prior", "mine", StandardNormalPrior, "for a test")]):
        assert registry().find("prior", "mine").load() is StandardNormalPrior
        with variata.plugin([Component("prior", "other", StandardNormalPrior)]):
            assert registry().find("prior", "other")
    with pytest.raises(PluginError):
        registry().find("prior", "mine")


def test_a_plugin_may_declare_a_kind():
    class Curriculum:
        pass

    with variata.plugin([variata.Kind("curriculum", Curriculum, "easy ones first")]):
        assert registry().kind_classes()[Curriculum] == "curriculum"
    assert "curriculum" not in registry().kinds()


def test_a_local_file_is_loaded_once_and_refused_by_name(tmp_path):
    file = tmp_path / "my_parts.py"
    file.write_text(textwrap.dedent(GOOD).replace("{name}", "local_prior").replace("{module}", "x"))
    plugin = load_file(file)
    try:
        assert load_file(file) is plugin
        assert registry().find("prior", "local_prior").plugin.distribution == "local"
    finally:
        registry().unregister(plugin)
    (tmp_path / "bad.py").write_text("1/0")
    with pytest.raises(PluginError, match="ZeroDivisionError"):
        load_file(tmp_path / "bad.py")
    (tmp_path / "empty.py").write_text("x = 1")
    with pytest.raises(PluginError, match="declares nothing"):
        load_file(tmp_path / "empty.py")
    with pytest.raises(PluginError, match="there is no such plugin file"):
        load_file(tmp_path / "none.py")


def variata_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "variata", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def test_the_list_of_plugins_shows_failures_as_json(install, tmp_path):
    install("broken-parts", "extra", "import nothing_of_this_name")
    done = variata_command("plugins", "--json", PYTHONPATH=str(tmp_path))
    broken = next(p for p in json.loads(done.stdout) if p["distribution"] == "broken-parts")
    assert (done.returncode, broken["status"]) == (0, "failed")
    assert "Traceback" in broken["traceback"]
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("warning: plugin broken-parts:extra was not loaded")


def test_a_run_hook_that_raises_is_a_warning():
    class Loud:
        @variata.hookimpl
        def variata_run_ended(self, context):
            raise ValueError("loud")

    with variata.plugin(Loud()), pytest.warns(VariataWarning, match="failed in variata_run_ended: ValueError: loud"):
        _notify_local(registry())


def _notify_local(plugins: Registry) -> None:
    """Calls the hook for the local plugins alone: the built-in one would draw pictures."""
    others = [p for p in plugins.plugins if p.distribution != "local"]
    for plugin in others:
        plugin.status = "off"
    try:
        plugins.notify("variata_run_ended", None)
    finally:
        for plugin in others:
            plugin.status = "loaded"


def test_paths_of_presets_exist():
    for offers in registry().presets().values():
        for plugin, path in offers:
            assert Path(path).is_file(), plugin.id


def test_a_component_of_an_unknown_kind_is_a_warning(install):
    install("odd-parts", "extra", GOOD.replace('Component("prior"', 'Component("priorr"').replace("{name}", "odd"))
    with pytest.warns(
        VariataWarning, match="odd-parts:extra offers odd of the unknown kind 'priorr', did you mean prior"
    ):
        load()


def test_a_name_that_nobody_could_write_is_named(install):
    install("odd-parts", "extra", GOOD.replace("{name}", "Bad Name"))
    with pytest.warns(VariataWarning, match="'Bad Name' is no name: write it in snake_case"):
        load()
