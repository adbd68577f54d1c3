"""What several files of tests need: a small model, what is said of a mistake, commands as processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import variata
from variata import ConfigError
from variata.config import Spec, load_spec

SMALL = {
    "model.latent": 2,
    "model.encoder.network.hidden": [8],
    "model.decoder.network.hidden": [8],
    "train.epochs": 1,
}
"""A model that trains in a moment."""

SMALL_TEXTS = [f"{key}={value}" for key, value in SMALL.items()]
Ran = tuple[int, str, str]

GOOD = """
    import variata
    from variata import Component

    @variata.hookimpl
    def variata_components():
        return [Component("prior", "{name}", "{module}:Thing", "a test's prior")]
"""
"""A plugin's module that offers one prior."""


def problems(config: Any, overrides: Any = (), **live: Any) -> list[str]:
    """What is wrong with a configuration that must not be accepted."""
    with pytest.raises(ConfigError) as caught:
        variata.build(config, overrides, **live)
    return [str(problem) for problem in caught.value.problems]


def refused(ran: Ran) -> list[str]:
    """The lines of a command that ends by a mistake of the user's, and in no other way."""
    status, out, err = ran
    assert (status, out) == (2, ""), (status, out, err)
    lines = err.splitlines()
    assert lines
    assert all(line.startswith(("error: ", "warning: ")) for line in lines), err
    return [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]


def of_process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """`variata ARGUMENTS` as a process of its own."""
    program = [sys.executable, "-m", "variata", *arguments]
    return subprocess.run(program, capture_output=True, text=True, check=False, **options)


def assert_reads_back(spec: Spec, file: Path) -> None:
    file.write_text(spec.dump())
    again = load_spec(file)
    assert again.plain() == spec.plain()
    assert again == spec
    assert again.dump() == spec.dump()
