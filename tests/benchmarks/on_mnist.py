"""A preset trained and evaluated on dynamically binarised MNIST, as several benchmarks do; no benchmark itself."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import variata


def seen(preset: str, settings: dict[str, Any], samples: int) -> tuple[dict[str, Any], dict[str, float]]:
    """The estimates on all test images, and CPU seconds of training and of evaluation, once the data is read."""
    mnist = {"data.use": "mnist", "data.binarize": "dynamic"}
    assembly = variata.build(preset, mnist | settings)
    assert assembly.data is not None
    assembly.data.split("train")
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        run = variata.train_assembly(assembly, run=Path(folder) / "run")
        trained = time.process_time()
        found = variata.evaluate(run, samples=samples)
    return found, {"train": round(trained - start, 1), "evaluate": round(time.process_time() - trained, 1)}


def chosen(found: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Of these estimates, what a record keeps."""
    wanted = ("value", "standard_error", "monte_carlo_error", "samples", "examples")
    return {name: {key: found[name][key] for key in wanted if found[name].get(key) is not None} for name in names}
