"""`variata new-plugin` writes packages that are in order as they stand."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import variata
from environments import build, only
from support import refused
from variata import registry
from variata.testing import check_component
from variata_plugins.scaffold.package import DESCRIPTIONS, Package

KINDS = sorted(DESCRIPTIONS)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package of each kind."""
    folder = tmp_path_factory.mktemp("packages")
    for kind in KINDS:
        for path, text in Package(f"my_{kind}", kind).files(variata.__version__).items():
            file = folder / kind / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    return folder


def test_there_is_a_package_for_each_kind_that_the_command_names(command):
    said = command("new-plugin", "--help")[1]
    assert all(kind in said for kind in ("encoder", "prior", "decoder", "loss", "model", "data", "metric", "kernel"))
    assert KINDS == ["data", "decoder", "encoder", "kernel", "loss", "metric", "model", "prior"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_is_the_authors(packages, kind):
    files = [file for file in (packages / kind).rglob("*") if file.is_file()]
    for file in files:
        said = f"{file.relative_to(packages)} {file.read_text(encoding='utf-8')}"
        assert not re.search(r"my_part|my-part|MyPart|my_kind|[Mm]y description", said), file
    names = {file.relative_to(packages / kind).as_posix() for file in files}
    module = f"src/variata_my_{kind}"
    assert {
        "pyproject.toml",
        "README.md",
        ".github/workflows/test.yml",
        f"{module}/__init__.py",
        f"{module}/py.typed",
        f"{module}/presets/my_{kind}.yaml",
        f"tests/test_my_{kind}.py",
    } <= names
    project = tomllib.loads((packages / kind / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["variata"] == {f"my_{kind}": f"variata_my_{kind}"}
    assert project["dependencies"][0].startswith("variata>=")


@pytest.mark.parametrize("kind", KINDS)
def test_the_tests_of_a_package_are_a_few_lines_that_call_the_kit(packages, kind):
    for file in (packages / kind / "tests").iterdir():
        statements = ast.parse(file.read_text()).body
        assert len(statements) <= 3
        assert all("variata.testing" in ast.unparse(statement) for statement in statements)


@pytest.mark.parametrize("rules", [["check", "--select", "E,F,W,UP"], ["format", "--check"]], ids=["check", "format"])
def test_packages_are_laid_out_as_ruff_would(packages, rules):
    program = [sys.executable, "-m", "ruff", *rules, "--isolated", "--line-length", "120", str(packages)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_offers_its_part_and_a_preset_of_it(packages, kind, monkeypatch):
    monkeypatch.syspath_prepend(str(packages / kind / "src"))
    package = Package(f"my_{kind}", kind)
    module = __import__(package.module)
    plugin = registry().register(module, package.name, package.distribution)
    try:
        (component,) = plugin.components
        assert (component.kind, component.name) == (package.component_kind, f"my_{kind}")
        assert component.description == DESCRIPTIONS[kind]
        assert check_component(f"my_{kind}", "declaration", kind=package.component_kind) == {}
        assert variata.build(f"{package.distribution}/my_{kind}").model is not None
    finally:
        registry().unregister(plugin)
        for name in [name for name in sys.modules if name.partition(".")[0] == package.module]:
            del sys.modules[name]


# The command


def test_the_command_writes_a_package_where_it_is_run(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = command("new-plugin", "shiny", "--kind", "decoder")
    assert (status, err) == (0, "")
    written = sorted(file for file in (tmp_path / "variata-shiny").rglob("*") if file.is_file())
    shown, _, after = out.partition("\n\n")
    assert sorted(shown.splitlines()) == [str(file.relative_to(tmp_path)) for file in written]
    assert "class ShinyDecoder(Decoder):" in (tmp_path / "variata-shiny/src/variata_shiny/decoder.py").read_text()
    assert "pip install -e '.[test]' && pytest" in after
    assert "variata train variata-shiny/shiny" in after
    assert refused(command("new-plugin", "shiny")) == ["variata-shiny exists already: choose another NAME or --out"]
    assert command("new-plugin", "shiny", "--out", tmp_path / "deep" / "er")[0] == 0
    assert (tmp_path / "deep" / "er" / "pyproject.toml").is_file()


@pytest.mark.parametrize(
    ("name", "kind", "class_line"),
    [
        ("my_loss", "loss", "class MyLoss(OnePhaseLoss):"),
        ("variata-my-metric", "metric", "class MyMetric(Metric):"),
        ("shiny", "prior", "class ShinyPrior(Prior):"),
        ("data", "data", "class DataData(Data):"),
    ],
)
def test_the_kind_is_what_the_name_ends_in_or_prior(command, tmp_path, name, kind, class_line):
    assert command("new-plugin", name, "--out", tmp_path / "new")[0] == 0
    (file,) = (tmp_path / "new" / "src").glob(f"*/{kind}.py")
    assert class_line in file.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["My"], "NAME: 'My' is no name: write it in snake_case, at most 50 letters, as in my_prior"),
        (["a b"], "NAME: 'a b' is no name: "),
        (["../up"], "NAME: '../up' is no name: "),
        (["x" * 51], "is no name: "),
        ([""], "NAME: '' is no name: "),
        (["shiny", "--kind", "encodr"], "--kind: there is no package for 'encodr', did you mean encoder?"),
        (["gaussian"], "there is the prior gaussian of variata:priors: choose another NAME"),
        (["elbo", "--kind", "loss"], "there is the loss elbo of variata:vae: choose another NAME"),
        (["rbm", "--kind", "loss"], "there is the preset rbm of variata:rbm: choose another NAME"),
        (["plugins"], "there is a Python package variata_plugins already: choose another NAME"),
    ],
)
def test_a_name_that_cannot_be_is_refused_and_nothing_is_written(command, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    (line,) = refused(command("new-plugin", *words))
    assert said in line
    assert list(tmp_path.iterdir()) == []


# In a fresh environment, beside variata's wheel


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_from_nothing_to_a_trained_model_and_back(installed, tmp_path, kind):
    name, distribution = f"my_{kind}", f"variata-my-{kind}"
    preset = f"{distribution}/{name}"

    def variata(*arguments: str, succeeds: bool = True) -> str:
        return installed.run("variata", *arguments, folder=tmp_path, succeeds=succeeds)

    variata("new-plugin", name, "--kind", kind)
    source = tmp_path / distribution
    wheels = tmp_path / "dist"
    wheels.mkdir()
    build(wheels, source=source)
    assert only(wheels, "*.tar.gz")
    installed.install(only(wheels, "*.whl"))
    try:
        shutil.rmtree(source / "src")  # what runs from here on is what was installed
        (plugin,) = json.loads(variata("plugins", distribution, "--json"))
        assert (plugin["status"], plugin["presets"]) == ("loaded", [name])
        assert preset.rpartition("/")[2] in variata("list", "--plugin", distribution)
        assert variata("plugins", distribution, "--check") == f"{distribution}:{name}: fine\n"
        variata("train", preset, "train.epochs=1", "--run", "run", "-q")
        done = installed.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", folder=source)
        assert " passed" in done
        assert "failed" not in done
        assert variata("evaluate", "run", "samples=2", "plots=false").startswith("metric\t")
    finally:
        installed.uninstall(distribution)
    assert distribution not in variata("plugins")
    remedy = f"which is not installed: pip install {distribution}"
    if kind == "metric":  # the model does without it
        variata("evaluate", "run", "samples=2", "plots=false")
        program = "import warnings; warnings.simplefilter('error'); import variata; variata.load('run')"
        said = installed.run("python", "-c", program, folder=tmp_path, succeeds=False)
        did = f"was trained with {distribution}:{name} 0.1.0 (preset {name}), {remedy}; its weights do not need it"
        assert said.splitlines()[-1].endswith(did)
        return
    for command in (["evaluate", "run"], ["train", "run", "--resume"]):
        (line,) = variata(*command, succeeds=False).splitlines()
        what = f"the {Package(name, kind).component_kind} {name} of {distribution} 0.1.0"
        assert line == f"error: run: needs {what}, {remedy}"
