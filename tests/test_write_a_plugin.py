"""docs/write-a-plugin.md: every block of it is a file that is used, a part of one, or a command that is run."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import indent

import pytest

import variata
from environments import Environment, build, only
from variata import registry

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "write-a-plugin.md").read_text(encoding="utf-8")
FINAL = DOCS / "example_plugin"

FENCE = re.compile(
    r"(?:^`(?P<file>[\w./-]+)`\n\n|^From \[`(?P<part_of>[\w./-]+)`\]\(example_plugin/(?P<link>[\w./-]+)\):\n\n)?"
    r"^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
LINK = re.compile(r"\]\(example_plugin/([\w./-]+)\)")


@dataclass
class Command:
    """A line after `$ `, and the lines that its output has to hold."""

    words: list[str]
    environment: dict[str, str]
    said: list[str] = field(default_factory=list)

    @property
    def fails(self) -> bool:
        return any(line.startswith("error: ") for line in self.said)

    def check(self, output: str) -> None:
        for line in self.said:
            assert line.removeprefix("error: ") in output, (self.words, output)


@dataclass
class Step:
    """A section of the page: what it writes, what it takes from the final plugin, and what is run then."""

    title: str
    text: str

    def fences(self) -> Iterator[re.Match[str]]:
        return FENCE.finditer(self.text)

    def write(self, folder: Path) -> None:
        for path in LINK.findall(self.text):
            put(folder / path, (FINAL / path).read_text(encoding="utf-8"))
        for fence in self.fences():
            if fence["file"]:
                put(folder / fence["file"], fence["text"])

    def commands(self) -> list[Command]:
        found: list[Command] = []
        for fence in self.fences():
            for line in fence["text"].splitlines() if fence["language"] == "console" else ():
                if line.startswith("$ "):
                    words = shlex.split(line[2:])
                    set_first = [word for word in words[:1] if re.fullmatch(r"[A-Z_]+=\w+", word)]
                    environment = dict(word.split("=") for word in set_first)
                    found.append(Command(words[len(set_first) :], environment))
                else:
                    found[-1].said.append(line)
        return found


def put(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def steps() -> list[Step]:
    """The introduction, which shows the finished plugin, and the numbered sections."""
    sections = re.split(r"^## (?=\d)", PAGE, flags=re.MULTILINE)
    return [Step(text.partition("\n")[0], text) for text in sections]


def without_blank_lines(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if line.strip())


def test_every_block_is_a_file_or_a_part_of_one_or_commands():
    found = [fence for step in steps() for fence in step.fences()]
    assert len(found) == PAGE.count("\n```") // 2
    for fence in found:
        assert fence["file"] or fence["part_of"] or fence["language"] == "console", fence[0]
        if fence["part_of"]:
            assert fence["part_of"] == fence["link"]
            whole = without_blank_lines((FINAL / fence["link"]).read_text(encoding="utf-8"))
            part = without_blank_lines(fence["text"])
            assert any(indent(part, " " * width) in whole for width in (0, 4, 8)), fence[0]


def test_the_page_comes_to_the_plugin_beside_it(tmp_path):
    for step in steps():
        step.write(tmp_path)
    (tmp_path / "laplace.py").unlink()  # of the first step, before there is a package
    hidden = {"__pycache__", ".pytest_cache", "dist"}
    expected = [
        file.relative_to(FINAL)
        for file in sorted(FINAL.rglob("*"))
        if file.is_file() and not hidden & set(file.parts) and ".egg-info" not in str(file)
    ]
    assert sorted(file.relative_to(tmp_path) for file in tmp_path.rglob("*") if file.is_file()) == expected
    for file in expected:
        assert (tmp_path / file).read_text() == (FINAL / file).read_text(), file


HERE = {"train", "check", "evaluate", "dictionary"}
"""Commands that can be run without installing anything."""


def forget(package: str) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


def test_every_step_in_this_process(tmp_path, command, monkeypatch, without_pictures):
    """Each section's files, and those of its commands that need no installation."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    ran = 0
    for step in steps():
        step.write(tmp_path)
        commands = step.commands()
        if "uninstall" in str(commands):
            break
        forget("variata_sparse")
        importlib.invalidate_caches()
        installed = (tmp_path / "src").exists()
        with variata.plugin(importlib.import_module("variata_sparse") if installed else []):
            for line in commands:
                if line.words[0] == "variata" and line.words[1] in HERE:
                    status, out, err = command(*line.words[1:])
                    assert status == (2 if line.fails else 0), (line.words, err)
                    line.check(out + err)
                    ran += 1
                    for plugin in [plugin for plugin in registry().plugins if plugin.file is not None]:
                        registry().unregister(plugin)  # as in another process
    forget("variata_sparse")
    assert ran >= 14


@pytest.mark.slow
def test_every_step_in_a_fresh_environment(installed: Environment, tmp_path, monkeypatch):
    """Every command as it stands, but for where packages come from: an editable package is a wheel that is built again
    at each step, and builds are not isolated."""
    monkeypatch.setenv("COLUMNS", "200")
    there = False

    def remove() -> None:
        nonlocal there
        if there:
            installed.uninstall("variata-sparse")
        there = False

    def install() -> None:
        nonlocal there
        remove()
        wheels = tmp_path / "wheels"
        shutil.rmtree(wheels, ignore_errors=True)
        wheels.mkdir()
        build(wheels, "--wheel", source=tmp_path)
        installed.install(only(wheels, "*.whl"))
        there = True

    try:
        for step in steps():
            step.write(tmp_path)
            if there:
                install()
            for line in step.commands():
                for name, value in line.environment.items():
                    monkeypatch.setenv(name, value)
                match line.words:
                    case ["pip", "install", *_]:
                        install()
                    case ["pip", "uninstall", *_]:
                        remove()
                    case ["python", "-m", "build"]:
                        (tmp_path / "dist").mkdir()
                        build(tmp_path / "dist", source=tmp_path)
                        line.check(" ".join(os.listdir(tmp_path / "dist")))
                    case ["pytest"]:
                        words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
                        line.check(installed.run("python", *words, folder=tmp_path))
                    case [program, *words]:
                        line.check(installed.run(program, *words, folder=tmp_path, succeeds=not line.fails))
    finally:
        remove()
