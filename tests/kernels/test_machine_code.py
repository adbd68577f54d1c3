"""Every kernel compiles for every target, and nothing is spilled. No GPU is needed, or used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("machine_code.py")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.parametrize("target", ["sm_80", "sm_90", "sm_100", "gfx942"])
def test_every_kernel_compiles_and_spills_nothing(target, tmp_path):
    done = subprocess.run(
        [sys.executable, PROGRAM, target],
        env=os.environ | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    kernels = {report["kernel"] for report in reports}
    assert len(kernels) == 10, sorted(kernels)
    spilling = [report for report in reports if report["spills"] or report["stack"]]
    assert not spilling, spilling
