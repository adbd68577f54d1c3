"""What every test starts from: one thread, known seeds, no plugin switches, torch's global state as torch sets it."""

from __future__ import annotations

import os
import random
import shutil
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Triton decides when it is imported whether kernels are interpreted, and torch imports it at the first custom operator.
os.environ["TRITON_INTERPRET"] = os.environ.get("TRITON_INTERPRET", "1")
# Commands that tests start inherit these. Small tensors on several threads take ten times as long.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"

import numpy as np
import pytest
import torch

import variata
from environments import Environment, build, fresh_environment, only
from variata import VariataWarning, registry
from variata.cli import main

assert "triton" not in sys.modules, "triton was imported before the tests could choose its mode"
for switch in [name for name in os.environ if name.startswith("VARIATA_PLUGINS")]:
    del os.environ[switch]
torch.set_num_threads(1)


def global_state() -> dict[str, Any]:
    """What torch keeps for the whole process, and a test must leave as it was."""
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "checked distributions": torch.distributions.Distribution._validate_args,
    }


def restore(state: dict[str, Any]) -> None:
    torch.set_default_dtype(state["default dtype"])
    torch.set_default_device(state["default device"])
    torch.set_grad_enabled(state["gradients"])
    torch.set_num_threads(state["threads"])
    torch.use_deterministic_algorithms(state["deterministic algorithms"])
    torch.distributions.Distribution.set_default_validate_args(state["checked distributions"])


@pytest.fixture(autouse=True)
def seeded_and_guarded() -> Iterator[None]:
    """Seeds every generator, and fails a test that changes torch for those after it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    before = global_state()
    yield
    after = global_state()
    changed = [f"{name}: {before[name]} -> {after[name]}" for name in before if after[name] != before[name]]
    if changed:
        restore(before)
        pytest.fail("the test changed torch's global state: " + ", ".join(changed))


@pytest.fixture
def data_root() -> Path:
    """The folder of published data sets, which the tests neither contain nor download."""
    folder = os.environ.get("VARIATA_DATA")
    if not folder:
        pytest.skip("set VARIATA_DATA to a folder that holds the data sets (mnist/, ...)")
    return Path(folder)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs `variata ARGUMENTS` in this process: exit status, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["variata", *map(str, arguments)])
        status: object = "the command did not exit"
        with warnings.catch_warnings():
            warnings.simplefilter("always", VariataWarning)
            try:
                main()
            except SystemExit as ended:
                status = ended.code
        printed = capsys.readouterr()
        assert isinstance(status, int), status
        return status, printed.out, printed.err

    return run


@pytest.fixture
def write(tmp_path):
    """Writes a YAML file, in a folder below where its name says so."""

    def write(name: str, text: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        return file

    return write


@pytest.fixture
def without_pictures(monkeypatch) -> None:
    """Training that draws none: they take longer than the rest."""
    monkeypatch.setattr(next(p for p in registry().plugins if p.name == "pictures"), "status", "off")


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "cvae"
    return variata.train("cvae", {"train.epochs": 1, "model.latent": 2}, run=folder).path


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A copy of a run, to be damaged."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def parts(tmp_path) -> Iterator[Callable[..., Path]]:
    """Writes a plugin file; what was loaded is forgotten afterwards, as in another process."""

    def write(body: str, name: str = "parts.py") -> Path:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"import variata\nfrom variata import *\n{body}\n")
        return file

    yield write
    for plugin in [plugin for plugin in registry().plugins if plugin.file is not None]:
        registry().unregister(plugin)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a distribution with one plugin module: what pip would leave behind."""
    monkeypatch.syspath_prepend(str(tmp_path))
    modules: list[str] = []

    def install(distribution: str, entry: str, source: str, requires: str = "", version: str = "1.0") -> None:
        module = f"{distribution.replace('-', '_')}_{entry}"
        modules.append(module)
        source = textwrap.dedent(source).replace("{module}", module)
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        (info / "METADATA").write_text(metadata + (f"Requires-Dist: {requires}\n" if requires else ""))
        points = info / "entry_points.txt"
        points.write_text((points.read_text() if points.exists() else "[variata]\n") + f"{entry} = {module}\n")

    yield install
    for module in modules:
        sys.modules.pop(module, None)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was made from it."""
    folder = tmp_path_factory.mktemp("dist")
    build(folder)
    return folder


@pytest.fixture(scope="session")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A fresh environment that holds the wheel."""
    return fresh_environment(tmp_path_factory.mktemp("environment"), only(built, "*.whl"))
