"""Commands and parts that plugins bring to the command line."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import variata
from support import SMALL_TEXTS, Ran, of_process, refused
from variata import Command, cli, registry
from variata.yaml12 import parse

CONCEPTS = Path(__file__).parents[1] / "docs" / "concepts.md"
Run = Callable[..., Ran]


def forget() -> None:
    for plugin in [plugin for plugin in registry().plugins if plugin.file is not None]:
        registry().unregister(plugin)


def offering(kind: str, name: str, class_name: str) -> str:
    return f"@hookimpl\ndef variata_components():\n    return [Component({kind!r}, {name!r}, {class_name})]\n"


# Commands of plugins


def greet(name: str, loud: bool = False) -> None:
    """Say hello."""
    print(f"hello {name}" + "!" * loud)


def test_a_command_of_a_plugin_has_its_own_help_and_options(command):
    for name in ("sample", "reconstruct"):
        status, out, err = command(name, "--help")
        assert (status, err) == (0, "")
        assert re.match(rf"Usage: .*variata {name} \[OPTIONS\] ", out)
        assert "--out" in out
    assert command("sample", "-h")[1] == command("sample", "--help")[1]
    status, _, err = command("sample", "run", "--nothing")
    assert status == 2
    assert "No such option: --nothing" in err


def test_commands_that_a_plugin_declares_are_run(tmp_path):
    module = tmp_path / "greeting.py"
    module.write_text(
        "import variata\n"
        "@variata.hookimpl\ndef variata_commands():\n"
        "    return [variata.Command('greet', 'test_cli_plugins:greet', 'Say hello.'),\n"
        "            variata.Command('train', 'test_cli_plugins:greet', 'Not the train.'),\n"
        "            variata.Command('gone', 'nowhere.at:all', 'Broken.')]\n"
    )
    info = tmp_path / "greeting_parts-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greeting-parts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[variata]\ngreeting = greeting\n")
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parent)])
    environment = {**os.environ, "PYTHONPATH": path}
    helped = of_process("--help", env=environment)
    assert "greet " in helped.stdout
    assert "greeting-parts-train" in helped.stdout
    done = of_process("greet", "you", "--loud", env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello you!\n", "")
    done = of_process("gone", env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith("error: command gone cannot be imported: ModuleNotFoundError: No module named")
    assert Command("greet", "test_cli_plugins:greet").load() is not None


# Local plugin files

PRIOR = "from variata_plugins.vae.prior import StandardNormalPrior\nclass Mine(StandardNormalPrior):\n    pass\n"


def test_commands_of_a_plugin_that_is_loaded_later_in_a_process_are_there_and_once(command, monkeypatch):
    class Late:
        @variata.hookimpl
        def variata_commands(self):
            return [variata.Command("late", "somewhere:late", "Comes after the others.")]

    monkeypatch.setattr(cli.app, "registered_commands", list(cli.app.registered_commands))
    monkeypatch.setattr(cli, "_added", set(cli._added))
    assert "Comes after" not in command("--help")[1]
    with variata.plugin(Late(), "late"):
        for _ in range(2):
            assert command("--help")[1].count("Comes after the others.") == 1


def test_a_plugin_file_serves_every_command(command, parts, tmp_path):
    file = parts(PRIOR + offering("prior", "mine", "Mine"))
    folder, settings = tmp_path / "run", [*SMALL_TEXTS, "model.prior=mine"]
    assert command("check", "vae", *settings, "--plugin", file)[0] == 0
    forget()
    status, out, _ = command("show", "vae", *settings, "--plugin", file)
    assert (status, parse(out, "shown").plain["model"]["prior"]) == (0, {"use": "mine"})
    forget()
    assert command("train", "vae", *settings, "--plugin", file, "--run", folder, "-q")[0] == 0
    forget()
    copy = folder / "plugins" / "parts.py"
    assert copy.read_text() == file.read_text()
    for name, more in (("evaluate", ["samples=1"]), ("sample", ["--out", tmp_path / "x.png"])):
        (line,) = refused(command(name, folder, *more))
        assert line.startswith(f"{folder}: was trained with the local plugin parts: pass its file")
        assert f"--plugin {copy}" in line
        assert command(name, folder, *more, "--plugin", copy)[0] == 0
        forget()


def test_two_plugin_files_of_one_name_stand_beside_each_other(command, parts, tmp_path):
    one = parts(PRIOR + offering("prior", "mine", "Mine"), "one/parts.py")
    two = parts(
        "class Half(OnePhaseLoss):\n    def forward(self, model, batch, now):\n"
        "        return Objective({'half': Term(-model.terms(batch.x).elbo)})\n" + offering("loss", "half", "Half"),
        "two/parts.py",
    )
    settings = [*SMALL_TEXTS, "model.prior=mine", "loss=half", "--plugin", one, "--plugin", two]
    folder = tmp_path / "run"
    assert command("train", "vae", *settings, "--run", folder, "-q")[0] == 0
    copies = sorted((folder / "plugins").iterdir())
    assert [copy.name for copy in copies] == ["parts.py", "parts1.py"]
    forget()
    with_both = [option for copy in copies for option in ("--plugin", copy)]
    assert command("evaluate", folder, "samples=1", *with_both)[0] == 0


def test_two_files_that_offer_one_name_are_told_apart_or_renamed(command, parts):
    one = parts(PRIOR + offering("prior", "mine", "Mine"), "one.py")
    two = parts(PRIOR + "# another\n" + offering("prior", "mine", "Mine"), "two.py")
    assert refused(command("check", "vae", "model.prior=mine", "--plugin", one, "--plugin", two)) == [
        "command line model.prior: prior 'mine' is offered by local:one and local:two: rename one of them"
    ]


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero (parts.py:3)"),
        ("def f(:\n    pass", "SyntaxError: invalid syntax (parts.py, line 3)"),
        ("raise SystemExit(3)", "SystemExit: 3 (parts.py:3)"),
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name' (parts.py:3)"),
        ("x = 1", "declares nothing; give it `@variata.hookimpl def variata_components()`"),
    ],
)
def test_a_plugin_file_that_cannot_be_loaded_is_one_line(command, parts, body, line):
    file = parts(body)
    assert refused(command("check", "vae", "--plugin", file)) == [f"{file}: {line}"]


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (
            "@hookimpl\ndef variata_components():\n    return 3\n",
            "plugin parts: TypeError: 'int' object is not iterable",
        ),
        ("@hookimpl\ndef variata_components(x):\n    return []\n", "plugin parts: PluginValidationError: "),
        ("@hookimpl\ndef variata_component():\n    return []\n", "plugin parts: AttributeError: there is no hook"),
        (
            "class Bad(OnePhaseLoss):\n    def __init__(self, *, a: int = 1): self.x = torch\n"
            "    def forward(self, model, batch, now): ...\n" + offering("loss", "bad", "Bad"),
            "command line loss: bad cannot be built: NameError: name 'torch' is not defined (parts.py:4)",
        ),
        (
            "class Bad(OnePhaseLoss):\n    def __init__(self, *, a=1): ...\n" + offering("loss", "bad", "Bad"),
            "command line loss: Bad: option a has no type annotation",
        ),
        (
            "class Bad(OnePhaseLoss): ...\n" + offering("prior", "bad", "Bad"),
            "command line loss: bad is a prior, but a loss belongs here",
        ),
    ],
)
def test_a_part_that_is_wrong_is_one_line(command, parts, body, line):
    (found,) = refused(command("check", "vae", "loss=bad", "--plugin", parts(body)))
    assert found.startswith(line)


@pytest.mark.parametrize("file", ["nowhere.py", ".", "x" * 300 + ".py"])
def test_a_plugin_file_that_is_not_there(command, tmp_path, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    assert refused(command("check", "vae", "--plugin", file)) == [f"{file}: there is no such plugin file"]
