"""A run records the plugins that made it, and loading says what has become of them."""

from __future__ import annotations

import json
import textwrap

import pytest

import variata
from support import GOOD, SMALL
from variata import RunError, VariataWarning
from variata.plugins import Registry, load_file, registry

LISTENER = """
    import variata

    @variata.hookimpl
    def variata_run_ended(context):
        (context.path / "heard.txt").write_text(context.status)
"""
PRESET = """
    from pathlib import Path

    @variata.hookimpl
    def variata_presets():
        return Path(__file__).with_name("presets")
"""


@pytest.fixture
def use(monkeypatch):
    """Looks at what is installed, as a new process would."""

    def use() -> None:
        found = Registry()
        found.load_installed()
        monkeypatch.setattr("variata.plugins._registry", found)

    return use


@pytest.fixture(autouse=True)
def _no_pictures(without_pictures, monkeypatch):
    """Runs are of no interest as pictures here, in what is loaded anew neither."""
    monkeypatch.setenv("VARIATA_PLUGINS_OFF", "pictures")


def recorded(folder) -> dict:
    return json.loads((folder / "plugins.json").read_text())


def test_a_plugin_that_only_listens_is_recorded_and_compared(install, use, tmp_path, monkeypatch):
    install("ear-parts", "extra", LISTENER)
    use()
    run = variata.train("vae", SMALL, run=tmp_path / "run")
    assert (run.path / "heard.txt").read_text() == "finished"
    origin = {"distribution": "ear-parts", "plugin": "extra", "version": "1.0", "did": ["variata_run_ended"]}
    assert recorded(run.path)["others"]["ear-parts:extra"] == origin
    variata.load(run.path)

    install("ear-parts", "extra", LISTENER, version="2.0")
    (tmp_path / "ear_parts-1.0.dist-info" / "entry_points.txt").unlink()
    use()
    with pytest.warns(VariataWarning, match=r"was trained with ear-parts 1.0, this is 2.0$"):
        variata.load(run.path)
    monkeypatch.setenv("VARIATA_PLUGINS", "")
    use()
    with pytest.warns(
        VariataWarning, match=r"ear-parts:extra 1.0 \(variata_run_ended\), which is off here: switched off"
    ):
        variata.load(run.path)
    (tmp_path / "ear_parts-2.0.dist-info" / "entry_points.txt").unlink()
    use()
    with pytest.warns(
        VariataWarning, match=r"which is not installed: pip install ear-parts; its weights do not need it$"
    ):
        variata.load(run.path)


def test_a_plugin_whose_preset_was_trained_is_recorded_and_stays_so_at_a_resume(install, use, tmp_path, monkeypatch):
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "mine.yaml").write_text("# Mine.\nextends: vae\n")
    install("shelf-parts", "extra", "import variata\n" + textwrap.dedent(PRESET))
    use()
    (tmp_path / "my.yaml").write_text("extends: shelf-parts/mine\n")
    short = {**SMALL, "train.steps": 2, "train.checkpoint_every": 1}
    run = variata.train(tmp_path / "my.yaml", short, run=tmp_path / "run")
    did = recorded(run.path)["others"]["shelf-parts:extra"]["did"]
    assert did == ["preset mine"]
    assert "preset vae" in recorded(run.path)["others"]["variata:vae"]["did"]
    variata.train(run.path, {"train.steps": 3}, resume=True)
    assert recorded(run.path)["others"]["shelf-parts:extra"]["did"] == did


def test_a_run_goes_on_only_with_what_gave_its_parts(install, use, tmp_path):
    source = GOOD.replace("{name}", "fresh").replace("{module}:Thing", "variata_plugins.vae.prior:StandardNormalPrior")
    install("prior-parts", "extra", source)
    use()
    run = variata.train("vae", {**SMALL, "model.prior": "fresh", "train.steps": 1}, run=tmp_path / "run")
    (tmp_path / "prior_parts-1.0.dist-info" / "entry_points.txt").unlink()
    use()
    for again in (lambda: variata.load(run.path), lambda: variata.train(run.path, resume=True)):
        with pytest.raises(RunError, match=r"needs the prior fresh of prior-parts 1.0, which is not installed: pip"):
            again()


def test_a_local_file_that_only_listens_is_kept_with_the_run_and_not_needed(tmp_path):
    file = tmp_path / "ear.py"
    file.write_text(textwrap.dedent(LISTENER))
    plugin = load_file(file)
    try:
        run = variata.train("vae", SMALL, run=tmp_path / "run")
    finally:
        registry().unregister(plugin)
    assert (run.path / "plugins" / "ear.py").read_text() == file.read_text()
    assert recorded(run.path)["files"]["ear"]["needed"] is False
    with pytest.warns(VariataWarning, match="the local plugin ear listened to it, and is not here; its weights do not"):
        variata.load(run.path)


def test_runs_that_say_nothing_of_others_are_loaded(run):
    description = recorded(run)
    del description["others"]
    (run / "plugins.json").write_text(json.dumps(description))
    assert variata.load(run).status == "finished"
