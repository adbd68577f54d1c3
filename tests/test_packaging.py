"""What is shipped, what may import what, and how long a file of the core may grow."""

from __future__ import annotations

import ast
import importlib
import io
import json
import sys
import tarfile
import tokenize
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import variata
import variata_kernels
from environments import ROOT, build, only

SOURCES = {"core": "variata", "plugins": "variata_plugins", "triton_kernels": "variata_kernels"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def python_files(source: str) -> list[Path]:
    return sorted((ROOT / source).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# The house


def code_lines(source: str) -> int:
    """Lines that are neither blank, nor a comment, nor a string that stands alone."""
    prose = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    code = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in layout:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - prose)


def test_code_lines_are_counted_without_prose():
    assert code_lines('"""One.\n\nTwo."""\n# three\n\nx = """a\nb"""  # four\n\n\ndef f():\n    """Five."""\n') == 3


@pytest.mark.parametrize("path", python_files("core"), ids=relative)
def test_a_core_file_stays_under_400_code_lines(path):
    assert code_lines(path.read_text(encoding="utf-8")) < 400


def imports(path: Path) -> Iterator[tuple[str, str | None]]:
    """(module, name or None) of each absolute import in a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node.module or "", alias.name) for alias in node.names)


def top(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize("path", python_files("core"), ids=relative)
def test_the_core_imports_no_plugin(path):
    assert "variata_plugins" not in {top(module) for module, _ in imports(path)}


@pytest.mark.parametrize("path", python_files("triton_kernels"), ids=relative)
def test_kernels_depend_on_torch_alone(path):
    allowed = {"torch", "triton", "variata_kernels"} | sys.stdlib_module_names
    assert {top(module) for module, _ in imports(path)} <= allowed


OF_OUTSIDERS = [path for folder in sorted((ROOT / "docs").glob("*_plugin")) for path in sorted(folder.rglob("*.py"))]


@pytest.mark.parametrize("path", [*python_files("plugins"), *OF_OUTSIDERS], ids=relative)
def test_plugins_use_the_door_that_outsiders_use(path):
    public = {"variata": set(variata.__all__) | {"testing"}, "variata_kernels": set(variata_kernels.__all__)}
    for module, name in imports(path):
        if top(module) in public and module != "variata.testing":
            assert module in public, f"{module} is not public"
            assert name is None or name in public[module], f"{module}.{name} is not public"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in public:
            assert node.attr in public[node.value.id], f"{node.value.id}.{node.attr} is not public"


# What pyproject.toml and constraints.txt say


@pytest.mark.parametrize("module", PROJECT["entry-points"]["variata"].values())
def test_an_entry_point_names_a_module_that_introduces_itself(module):
    assert (importlib.import_module(module).__doc__ or "").strip()


def test_every_plugin_folder_has_an_entry_point():
    folders = {
        f"variata_plugins.{path.parent.name}" for path in (ROOT / "plugins/variata_plugins").glob("*/__init__.py")
    }
    assert set(PROJECT["entry-points"]["variata"].values()) == folders


def test_every_dependency_has_one_tested_version():
    lines = (line.strip() for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())
    tested = {}
    for line in lines:
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            (pin,) = requirement.specifier
            assert pin.operator == "==", line
            assert canonicalize_name(requirement.name) not in tested, line
            tested[canonicalize_name(requirement.name)] = pin.version
    assert "triton" not in tested, "torch pins the triton that it was built for"

    for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(tested[canonicalize_name(requirement.name)], prereleases=True), line


# Built and installed


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.slow
def test_the_wheel_holds_every_package_preset_and_marker(built):
    names = set(contents(only(built, "*.whl")))
    for source, package in SOURCES.items():
        wanted = [*python_files(source), *(ROOT / source).rglob("presets/*.yaml"), ROOT / source / package / "py.typed"]
        assert {path.relative_to(ROOT / source).as_posix() for path in wanted} <= names
    assert {top(name.replace("/", ".")) for name in names if ".dist-info/" not in name} == set(SOURCES.values())
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_the_wheel_is_the_same_from_the_sdist_and_from_the_tree(built, tmp_path):
    build(tmp_path, "--wheel")
    assert contents(only(built, "*.whl")) == contents(only(tmp_path, "*.whl"))
    with tarfile.open(only(built, "*.tar.gz")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "Makefile", "constraints.txt", "tests/conftest.py"} <= names


@pytest.mark.slow
def test_the_installed_wheel_is_what_is_imported(installed, tmp_path):
    for package in SOURCES.values():
        file = installed.run("python", "-c", f"import {package}; print({package}.__file__)", folder=tmp_path)
        assert Path(file.strip()).is_relative_to(installed.scripts.parent)


@pytest.mark.slow
@pytest.mark.parametrize("folder", SOURCES)
def test_the_source_folders_are_no_packages(installed, tmp_path, folder):
    said = installed.run("python", "-c", f"import {folder}", folder=tmp_path, succeeds=False)
    assert f"ModuleNotFoundError: No module named '{folder}'" in said


@pytest.mark.slow
def test_the_entry_points_of_the_wheel_work(installed, tmp_path):
    for command in (["variata"], ["python", "-m", "variata"]):
        assert "train" in installed.run(*command, "--help", folder=tmp_path)
    plugins = json.loads(installed.run("variata", "plugins", "--json", folder=tmp_path))
    status = {plugin["name"]: plugin["status"] for plugin in plugins if plugin["distribution"] == "variata"}
    assert status == dict.fromkeys(PROJECT["entry-points"]["variata"], "loaded")
    installed.run("variata", "check", "vae", folder=tmp_path)
