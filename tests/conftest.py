"""What every test starts from: one thread, known seeds, no plugin switches, torch's global state as torch sets it."""

from __future__ import annotations

import os
import random
import sys
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

from variata import VariataWarning
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
