"""What a benchmark saw, as it is committed: figures with date, machine and versions."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch

import variata

FOLDER = Path(__file__).parents[2] / "docs" / "benchmarks"


def machine() -> dict[str, Any]:
    model = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {"processor": model or platform.processor(), "cores": os.cpu_count(), "system": platform.system()}


def write(name: str, figures: dict[str, Any]) -> None:
    """Prints the figures, and leaves them in docs/benchmarks/NAME.json."""
    versions = {"python": platform.python_version(), "torch": torch.__version__, "variata": variata.__version__}
    record = {
        "command": "python " + " ".join([f"tests/benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine() | {"threads": torch.get_num_threads()},
        "versions": versions,
        "figures": figures,
    }
    print(json.dumps(record, indent=2))
    (FOLDER / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
