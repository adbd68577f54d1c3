"""Training that is killed and goes on ends where training that is not killed ends, to the last bit."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

from ..api import train
from ..declarations import hookimpl
from ..plugins import plugin


class _Killed(BaseException):
    """No error, so that nobody catches it."""


class _Killer:
    """A plugin that ends the process, as it were, after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    @hookimpl
    def variata_step_ended(self, context: Any) -> None:
        if context.step == self.step:
            raise _Killed


def check_resume(preset: str, overrides: Any = ()) -> None:
    """Trains a preset for six steps, once without a break and once killed after three, one after a checkpoint."""
    short = {**dict(overrides), "train.steps": 6, "train.checkpoint_every": 2, "train.log_every": 100}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = train(preset, short, run=Path(folder) / "whole")
        cut = Path(folder) / "cut"
        try:
            with plugin(_Killer(3)):
                train(preset, short, run=cut)
        except _Killed:
            pass
        resumed = train(cut, resume=True)
        for (name, one), (_, other) in zip(
            whole.model.state_dict().items(), resumed.model.state_dict().items(), strict=True
        ):
            assert torch.equal(one, other), f"killed and resumed, {name} ends with other numbers"
