"""The plugins that are packages of their own, beside the documents: each is built, and its own tests pass."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PACKAGES = ["hyperspherical", "signals", "mlflow"]
LONG = "not compile and not contract and not resume"


def wheel(name: str, folder: Path) -> Path:
    """Builds a package by the back end that is installed here."""
    program = "import sys, hatchling.build; print(hatchling.build.build_wheel(sys.argv[1]))"
    command = [sys.executable, "-c", program, str(folder)]
    done = subprocess.run(command, cwd=DOCS / f"{name}_plugin", capture_output=True, text=True, check=True)
    return folder / done.stdout.strip()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages, as pip leaves it, beside this checkout's variata."""
    folder = tmp_path_factory.mktemp("site")
    for name in PACKAGES:
        with zipfile.ZipFile(wheel(name, tmp_path_factory.mktemp("wheels"))) as archive:
            archive.extractall(folder)
    return folder


def own_tests(site: Path, names: list[str], *options: str) -> None:
    folders = [str(DOCS / f"{name}_plugin" / "tests") for name in names]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib"]
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*command, *options, *folders], cwd=site, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_the_tests_of_the_plugins_pass(site):
    own_tests(site, ["hyperspherical", "signals"], "-k", LONG)


@pytest.mark.slow
def test_the_tests_of_the_mlflow_plugin_pass(site):
    pytest.importorskip("mlflow")
    own_tests(site, ["mlflow"])


@pytest.mark.slow
def test_the_long_tests_of_the_plugins_pass(site):
    own_tests(site, ["hyperspherical", "signals"], "-k", f"not ({LONG})")
