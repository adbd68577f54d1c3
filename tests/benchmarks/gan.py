"""GANs: modes of procedural mixtures, and digits that are asked for by their class.

Bars: WGAN-GP covers 8 of 8 modes of the ring and at least 20 of 25 of the grid. The conditional DCGAN on MNIST, trained
for 5 minutes of two cores (600 s of CPU time), gives digits that a classifier takes for what was asked for in at least
85 %, every class among them.

    VARIATA_DATA=... python tests/benchmarks/gan.py                  about 8 minutes of one core
    ... --which ring | grid | dcgan                                  one of them: the others' figures are kept
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import records
import torch

import variata

SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "ring": ("wgan_gp", {}),
    "grid": ("wgan_gp", {"data.layout": "grid", "data.modes": 25}),
    "dcgan": ("dcgan", {"data.use": "mnist", "train.epochs": 10}),
}
METRICS = {"ring": ["modes"], "grid": ["modes"], "dcgan": ["classes"]}
BARS = {
    "ring": {"modes_covered": 8},
    "grid": {"modes_covered": 20},
    "dcgan": {"class_agreement[lenet]": 0.85, "class_coverage[lenet]": 10, "cpu_seconds": 600},
}


def measured(name: str, seed: int, pictures: Path | None) -> dict[str, Any]:
    preset, settings = SETTINGS[name]
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run = variata.train(preset, settings | {"seed": seed}, run=Path(folder) / "run")
        seconds = time.process_time() - start
        found = variata.evaluate(run, seed=seed, metrics=METRICS[name])
        if pictures is not None:
            (run.path / "samples.png").rename(pictures / f"gan_{name}.png")
    command = f"python tests/benchmarks/gan.py --which {name}"
    figures = {
        "command": command,
        "preset": preset,
        "settings": settings,
        "seed": seed,
        "cpu_seconds": round(seconds, 1),
    }
    kept = ("value", "standard_error", "of", "samples", "shares", "extractor_accuracy", "radius")
    return figures | {
        key: {part: rounded(value[part]) for part in kept if value.get(part) is not None}
        for key, value in found.items()
    }


def rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--which", choices=[*SETTINGS, "all"], default="all")
    parser.add_argument("--pictures", type=Path, help="a folder to leave pictures of the samples in")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chosen = list(SETTINGS) if arguments.which == "all" else [arguments.which]
    file = records.FOLDER / "gan.json"
    figures = json.loads(file.read_text())["figures"] if file.exists() and len(chosen) == 1 else {}
    for name in chosen:
        figures[name] = measured(name, arguments.seed, arguments.pictures) | {"bars": BARS[name]}
    records.write("gan", figures)


if __name__ == "__main__":
    main()
