"""Where the operators are run: plain torch and Triton's interpreter on the CPU, and Triton where there is a GPU."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
import torch

# Triton decides between its interpreter and the device when it is imported: one process runs in one mode.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
needs_interpreter = pytest.mark.skipif(not INTERPRETED, reason="TRITON_INTERPRET=0")
needs_gpu = pytest.mark.skipif(INTERPRETED or not torch.cuda.is_available(), reason="no GPU, or TRITON_INTERPRET=1")
BACKENDS = [
    pytest.param(("torch", "cpu"), id="torch"),
    pytest.param(("triton", "cpu"), id="interpreter", marks=[needs_triton, needs_interpreter]),
    pytest.param(("triton", "cuda"), id="gpu", marks=[pytest.mark.gpu, needs_gpu, needs_triton]),
]


@pytest.fixture(autouse=True)
def default_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VARIATA_KERNELS", "VARIATA_NOISE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=BACKENDS)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Chooses a backend by `VARIATA_KERNELS`, and gives the device that it is run on."""
    backend, name = request.param
    monkeypatch.setenv("VARIATA_KERNELS", backend)
    return torch.device(name)


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that is not written holds NaN, rather than what happened to be there."""

    def poison(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def made(*arguments: Any, **options: Any) -> torch.Tensor:
            tensor = make(*arguments, **options)
            return tensor.fill_(torch.nan) if tensor.is_floating_point() else tensor

        return made

    for owner, name in ((torch, "empty"), (torch, "empty_like"), (torch.Tensor, "new_empty")):
        monkeypatch.setattr(owner, name, poison(getattr(owner, name)))
