"""`variata plugins --check` says what is wrong with a plugin and how it is mended; what else is said of plugins; what
merely names one runs nothing."""

from __future__ import annotations

import json
import os

import pytest

import variata
from support import of_process, refused
from variata import Component, PluginError, registry
from variata.deprecation import KNOWN, deprecated
from variata.inspection import inspect_plugins
from variata.plugins import Registry

OFFER = """
    import variata
    from pathlib import Path
    from variata import Command, Component, Kind

    {top}

    @variata.hookimpl
    def variata_components():
        return [Component("prior", "{name}", "variata_plugins.vae.prior:StandardNormalPrior", "{line}")]
"""


@pytest.fixture
def checked(install, monkeypatch, tmp_path):
    """The problems of one plugin that is installed for the test."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def check(source: str, requires: str = "variata>=0.1.dev0") -> list[str]:
        install("odd-parts", "extra", source.replace("PID", str(os.getpid())), requires)
        found = Registry()
        found.load_installed()
        monkeypatch.setattr("variata.plugins._registry", found)
        plugin = next(p for p in found.plugins if p.distribution == "odd-parts")
        return [str(problem) for problem in inspect_plugins(found, [plugin])]

    return check


def offer(top: str = "", name: str = "fresh", line: str = "a line", more: str = "") -> str:
    return OFFER.replace("{top}", top).replace("{name}", name).replace("{line}", line) + more


ALONE = """
    import os
    if os.getpid() != PID:  # where it is looked at, and not in the process of the tests
        print("hello")
        import logging, os, random, torch
        torch.set_default_dtype(torch.float64)
        torch.backends.cudnn.benchmark = True
        os.environ["X_ODD"] = "1"
        random.seed(0)
        logging.basicConfig(level="DEBUG")
"""
MORE = """
    @variata.hookimpl
    def variata_commands():
        return [Command("train", "nowhere.at:all")]

    @variata.hookimpl
    def variata_kinds():
        return [Kind("game", "variata_plugins.gan.game:Game")]

    @variata.hookimpl
    def variata_presets():
        return Path("{folder}")
"""


OWN_COMMAND = """
    @variata.hookimpl
    def variata_commands():
        return [Command("look", "variata_plugins.encoding.command:encode")]
"""


def test_a_plugin_that_is_in_order_is_fine(checked):
    assert checked(offer()) == []


def test_a_command_of_its_own_that_loads_runs_is_fine(install, monkeypatch, tmp_path):
    """Its name is not taken by itself, and what variata draws when it is imported is not the plugin's doing."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    install("odd-parts", "extra", offer(more=OWN_COMMAND), "variata>=0.1.dev0")
    done = of_process("plugins", "odd-parts", "--check")
    assert (done.returncode, done.stdout) == (0, "odd-parts:extra: fine\n"), done.stderr


def test_what_is_wrong_is_reported_with_its_remedy(checked, tmp_path):
    folder = tmp_path / "presets"
    folder.mkdir()
    (folder / "vae.yaml").write_text("# Mine.\nextends: vae\n")
    (folder / "bad.yaml").write_text("# Bad.\nextends: vae\nmodel: {latnt: 3}\n")
    found = checked(offer(ALONE, "standard_normal", "", MORE.replace("{folder}", str(folder))), requires="")
    wanted = [
        "does not say which variata it needs: add variata>=... to the dependencies in its pyproject.toml",
        "takes the name of the built-in prior standard_normal: rename it",
        "its preset vae is hidden by the built-in one: rename it (it is found as odd-parts/vae)",
        "declares the kind game, which is that of variata:gan: rename it",
        "takes the name of the command train, and is called odd-parts-train: rename it",
        "imports torch with its module, so that `variata --help` waits for it: name classes by strings",
        "prints on import ('hello'): print nothing",
        "importing it changes the environment for everybody",
        "importing it changes the state of Python's generator for everybody",
        "importing it changes the handlers and the level of the root logger for everybody",
        "importing it changes torch's default type for everybody",
        "importing it changes how torch multiplies in cuBLAS and cuDNN for everybody",
        "command train cannot be used: ModuleNotFoundError: No module named 'nowhere'",
        "prior standard_normal has no description",
        "its preset bad is refused",
    ]
    assert [line.startswith(f"odd-parts:extra: {start}") for line, start in zip(found, wanted, strict=True)] == [
        True
    ] * len(wanted), found


@pytest.mark.slow
def test_a_module_that_waits_is_reported(checked):
    found = checked(offer("import os, time\n    if os.getpid() != PID:\n        time.sleep(0.5)"))
    assert [line.partition("extra: ")[2] for line in found] == [
        "waits for 0.5 s while it is imported: reach for files and networks where they are used"
    ]


@pytest.mark.slow
def test_a_component_that_prints_when_it_is_imported_is_reported(checked, tmp_path):
    (tmp_path / "talking.py").write_text(
        "import os\nfrom variata_plugins.vae.prior import StandardNormalPrior as Thing\nos.write(2, b'psst')\n"
    )
    source = offer().replace("variata_plugins.vae.prior:StandardNormalPrior", "talking:Thing")
    (line,) = checked(source)
    assert line.startswith("odd-parts:extra: prints on import ('psst'): print nothing")


def test_a_module_that_ends_the_process_is_reported(checked):
    (line,) = checked(offer("import os\n    if os.getpid() != PID:\n        os._exit(3)"))
    assert line == "odd-parts:extra: cannot be imported: it ended the process"


@pytest.mark.slow
def test_a_module_that_takes_long_is_reported(checked):
    (line,) = checked(offer("sum(i * i for i in range(9 * 10**6))"))
    assert "s of CPU time to import: import what is large where it is used" in line


def test_a_failure_is_reported(checked):
    with pytest.warns(variata.VariataWarning):
        (line,) = checked("1 / 0")
    assert line.startswith("odd-parts:extra: failed: ZeroDivisionError: division by zero")


@pytest.mark.slow
def test_the_command_ends_as_for_any_mistake(install, tmp_path):
    install("odd-parts", "extra", offer("print('hello')"), "variata>=0.1.dev0")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = of_process("plugins", "--check", env=environment)
    assert (done.returncode, done.stdout.replace("hello\n", "")) == (2, "")
    assert done.stderr.startswith("error: odd-parts:extra: prints on import ('hello')")


@pytest.mark.slow
def test_the_built_in_ones_are_checked_by_name(command):
    assert command("plugins", "vae", "--check") == (0, "variata:vae: fine\n", "")


def test_a_plugin_that_there_is_not(command):
    assert refused(command("plugins", "vea", "--check")) == ["there is no plugin vea, did you mean vae?"]


# What is said of plugins


def test_the_time_to_import_is_shown(command):
    _, out, _ = command("plugins", "gan")
    title, line = (row.split("\t") for row in out.splitlines())
    assert title[3] == "import"
    assert line[0] == "variata:gan"
    assert line[3].endswith(" ms")
    (described,) = json.loads(command("plugins", "gan", "--json")[1])
    assert 0 <= described["import_seconds"] < 60


def test_what_a_plugin_provides_is_shown_by_name_be_it_only_a_hook(command):
    class Ear:
        @variata.hookimpl
        def variata_step_ended(self, context):
            pass

    rows = {row[0]: row for row in (line.split("\t") for line in command("plugins")[1].splitlines())}
    assert rows["variata:vae"][1:3] == [variata.__version__, "loaded"]
    assert rows["variata:vae"][4] == "model vae; encoder gaussian; prior standard_normal; loss elbo; preset (10)"
    assert rows["variata:encoding"][4] == "command encode"
    with variata.plugin(Ear(), "ear"):
        assert command("plugins", "ear")[1].splitlines()[1].endswith("\thook variata_step_ended")
        assert json.loads(command("plugins", "ear", "--json")[1])[0]["hooks"] == ["variata_step_ended"]


def test_what_one_plugin_offers_is_listed(command):
    _, out, _ = command("list", "--plugin", "gan")
    rows = [line.split("\t") for line in out.splitlines()[1:]]
    assert {row[3] for row in rows} == {"variata:gan"}
    assert {"game", "model", "preset"} <= {row[0] for row in rows}
    assert {
        row[0] for row in (r.split("\t") for r in command("list", "loss", "--plugin", "gan")[1].splitlines()[1:])
    } == {"loss"}
    assert refused(command("list", "--plugin", "gam")) == ["there is no plugin gam, did you mean gan?"]


def test_what_a_plugin_that_is_not_loaded_offers_is_the_reason(command, install, monkeypatch):
    install("future-parts", "extra", offer(), "variata>=99")
    found = Registry()
    with pytest.warns(variata.VariataWarning):
        found.load_installed()
    monkeypatch.setattr("variata.plugins._registry", found)
    needs = f"future-parts 1.0 needs variata>=99, this is variata {variata.__version__}"
    assert refused(command("list", "--plugin", "future-parts")) == [
        f"plugin future-parts:extra: is incompatible: {needs}"
    ]


def test_show_says_where_each_part_is_from(command):
    _, out, _ = command("show", "vae")
    assert "# It starts from the preset vae of variata:vae\n" in out
    assert f"# model.prior: standard_normal of variata:vae {variata.__version__}\n" in out
    assert "# train.optimizer: adam of variata:optimization" in out


# Presets


def presets_of(folder, **texts: str):
    folder.mkdir()
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(f"# A preset.\n{text}")

    class Offering:
        @variata.hookimpl
        def variata_presets(self):
            return folder

    return Offering()


def test_presets_of_plugins_have_a_name_space_and_hide_none_of_ours(tmp_path, command):
    from variata.config import load_spec

    one = presets_of(
        tmp_path / "one", vae="extends: variata/vae\nseed: 1\n", base="extends: vae\nseed: 2\n", a="extends: base\n"
    )
    two = presets_of(tmp_path / "two", base="extends: vae\nseed: 3\n", b="extends: base\n")
    offered = [registry().register(offer, "extra", name) for offer, name in ((one, "one-parts"), (two, "two-parts"))]
    try:
        assert load_spec("vae")["seed"] == 0
        assert load_spec("one-parts/vae")["seed"] == 1
        assert [load_spec(name)["seed"] for name in ("a", "b")] == [2, 3]  # each its own base
        with pytest.raises(PluginError, match="write one-parts/base or two-parts/base"):
            load_spec("base")
        listed = {line.split("\t")[1] for line in command("list", "preset")[1].splitlines()}
        assert {"vae", "one-parts/vae", "one-parts/base", "two-parts/base", "a", "b"} <= listed
    finally:
        for plugin in offered:
            registry().unregister(plugin)


# What merely names a plugin runs nothing of it


def test_a_file_that_names_a_plugin_runs_nothing(tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')\n")
    for text in (
        "prior: evil",
        "prior: {use: 'evil:Thing'}",
        "prior: {use: evil/thing}",
        "prior: !!python/name:evil.Thing",
    ):
        (tmp_path / "my.yaml").write_text(f"extends: vae\nmodel: {{{text}}}\n")
        assert refused(command("check", "my.yaml"))


def test_a_run_folder_runs_nothing_that_it_holds(run, command):
    (run / "plugins").mkdir(exist_ok=True)
    (run / "plugins" / "evil.py").write_text("raise SystemExit('ran')\n")
    description = json.loads((run / "plugins.json").read_text())
    description["components"]["prior/standard_normal"]["distribution"] = "evil"
    (run / "plugins.json").write_text(json.dumps(description))
    (line,) = refused(command("evaluate", run, "samples=1"))
    assert "needs the prior standard_normal of evil" in line
    description["components"]["prior/standard_normal"]["distribution"] = "variata"
    description["files"] = {"evil": {"file": "plugins/evil.py", "sha256": "0" * 64}}
    (run / "plugins.json").write_text(json.dumps(description))
    (line,) = refused(command("evaluate", run, "samples=1"))
    assert "was trained with the local plugin evil: pass its file" in line


# What goes


def test_what_is_deprecated_warns_and_works():
    @deprecated("variata.old", since="0.3", instead="variata.new")
    def old(x: int) -> int:
        return x + 1

    @deprecated("variata.Old", since="0.3", instead="variata.New")
    class Old:
        def __init__(self, x: int) -> None:
            self.x = x

    try:
        with pytest.warns(
            variata.VariataWarning, match=r"variata.old is deprecated since 0.3 and goes in 0.5: use variata.new"
        ):
            assert old(1) == 2
        with pytest.warns(variata.VariataWarning, match=r"variata.Old is deprecated"):
            assert Old(3).x == 3
        assert [d.gone_in for d in KNOWN[-2:]] == ["0.5", "0.5"]
    finally:
        del KNOWN[-2:]


def test_nothing_has_stayed_past_its_time():
    assert [deprecation.name for deprecation in KNOWN if deprecation.overdue(variata.__version__)] == []


def test_a_component_of_a_plugin_is_named_by_it(command):
    from variata_plugins.vae.prior import StandardNormalPrior

    with variata.plugin([Component("prior", "mine", StandardNormalPrior, "for a test")]):
        assert "# model.prior: mine of local:inline\n" in command("show", "vae", "model.prior=mine")[1]
