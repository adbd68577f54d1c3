"""The plugins that are packages of their own, beside the documents: each is built, and its own tests pass; from its
wheel it is installed, used and removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from environments import build, only

DOCS = Path(__file__).parents[1] / "docs"
FOLDERS = {
    "variata-sparse": "example_plugin",
    "variata-hyperspherical": "hyperspherical_plugin",
    "variata-signals": "signals_plugin",
    "variata-mlflow": "mlflow_plugin",
}
WITHOUT_MLFLOW = [name for name in FOLDERS if name != "variata-mlflow"]
LONG = "conformance or picture"
"""Tests that train, and the checks of the kit."""


def wheel(distribution: str, folder: Path) -> Path:
    """Builds a package by the back end that is installed here."""
    program = "import sys, hatchling.build; print(hatchling.build.build_wheel(sys.argv[1]))"
    command = [sys.executable, "-c", program, str(folder)]
    done = subprocess.run(command, cwd=DOCS / FOLDERS[distribution], capture_output=True, text=True, check=True)
    return folder / done.stdout.strip()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages, as pip leaves it, beside this checkout's variata."""
    folder = tmp_path_factory.mktemp("site")
    for distribution in FOLDERS:
        with zipfile.ZipFile(wheel(distribution, tmp_path_factory.mktemp("wheels"))) as archive:
            archive.extractall(folder)
    return folder


def own_tests(site: Path, distributions: list[str], *options: str) -> None:
    folders = [str(DOCS / FOLDERS[name] / "tests") for name in distributions]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib"]
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*command, *options, *folders], cwd=site, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_what_is_exact_in_the_plugins_is_exact(site):
    own_tests(site, WITHOUT_MLFLOW, "-k", f"not ({LONG})")


@pytest.mark.slow
def test_the_parts_of_the_plugins_conform(site):
    own_tests(site, WITHOUT_MLFLOW, "-k", LONG)


@pytest.mark.slow
def test_the_tests_of_the_mlflow_plugin_pass(site):
    pytest.importorskip("mlflow")
    own_tests(site, ["variata-mlflow"])


# From its wheel, in a fresh environment

USES = {
    "variata-sparse": ("variata-sparse/sparse_coding", "the model sparse_coding", "laplace"),
    "variata-hyperspherical": ("hyperspherical_vae", "the encoder von_mises_fisher", "hyperspherical_uniform"),
    "variata-signals": ("signal_vae", "the data damped_oscillations", "conv1d"),
    "variata-mlflow": ("vae", "the logger mlflow", "mlflow"),
}
"""A preset to train, what a run of it says that it lacks afterwards, and a component."""


@pytest.mark.slow
@pytest.mark.parametrize("distribution", FOLDERS)
def test_installed_from_its_wheel_used_and_removed(installed, tmp_path, monkeypatch, distribution):
    preset, lost, component = USES[distribution]
    settings = ["train.epochs=1"]
    if distribution == "variata-mlflow":
        pytest.importorskip("mlflow")
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        settings.append(f"train.loggers=[{{use: mlflow, uri: '{(tmp_path / 'store').as_uri()}'}}]")

    def variata(*arguments: str, succeeds: bool = True) -> str:
        return installed.run("variata", *arguments, folder=tmp_path, succeeds=succeeds)

    wheels = tmp_path / "dist"
    wheels.mkdir()
    build(wheels, "--wheel", source=DOCS / FOLDERS[distribution])
    installed.install(only(wheels, "*.whl"))
    try:
        (plugin,) = json.loads(variata("plugins", distribution, "--json"))
        assert plugin["status"] == "loaded"
        assert component in variata("list", "--plugin", distribution)
        assert variata("plugins", distribution, "--check").endswith(": fine\n")
        variata("train", preset, *settings, "--run", "run", "-q")
        assert variata("evaluate", "run", "samples=2", "plots=false").startswith("metric\t")
        assert (tmp_path / "store").exists() == (distribution == "variata-mlflow")
    finally:
        installed.uninstall(distribution)
    (line,) = variata("evaluate", "run", "samples=2", "plots=false", succeeds=False).splitlines()
    assert line.startswith("error: run: needs ")
    assert f"{lost} of {distribution} 0.1.0" in line
    assert line.endswith(f"which is not installed: pip install {distribution}")
