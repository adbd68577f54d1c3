"""The generative stochastic network on grey MNIST: Parzen-window log-likelihood of all 10,000 test images by 10,000
samples, the bandwidth chosen on 1,000 of 10,000 validation images. A poor estimator: it ranks memorisers above the
truth, and 10,000 training images get 244 nats; it is recorded because papers report it.

Bar: >= 140 nats.

    VARIATA_DATA=... python tests/benchmarks/gsn.py                        about 2 minutes
    VARIATA_DATA=... python tests/benchmarks/gsn.py --compare              and without walkback
    VARIATA_DATA=... python tests/benchmarks/gsn.py --split validation     how the settings were chosen
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import records
import torch

import variata
from variata_plugins.metrics.parzen import parzen_log_likelihood

BANDWIDTHS = [0.16, 0.18, 0.2, 0.22, 0.25, 0.3]


def trained(seed: int, **settings: Any) -> tuple[variata.Run, dict[str, Any]]:
    """A run without pictures, and what is recorded of its training."""
    plain = {"data": {"use": "mnist", "validation": 10_000}, "train.validate_every": 100, "seed": seed}
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run = variata.train("gsn", plain | settings, run=Path(folder) / "run")
    return run, {**settings, "cpu_seconds": round(time.process_time() - start, 1)}


def parzen(run: variata.Run, split: str, seed: int, burn_in: int) -> dict[str, Any]:
    """The figure after so many steps: of the test split by the metric, of validation by its first 1,000 images."""
    run.model.burn_in = burn_in
    if split == "validation":
        torch.manual_seed(seed)
        samples = torch.cat([run.model.sample(500) for _ in range(20)])
        held_out = run.data.split("validation").batch(torch.arange(1000)).x
        values = parzen_log_likelihood(held_out, samples, BANDWIDTHS).mean(1)
        return {"parzen": round(float(values.max()), 2), "bandwidth": BANDWIDTHS[int(values.argmax())]}
    with tempfile.TemporaryDirectory() as folder:
        run.path = Path(folder)
        found = variata.evaluate(run, seed=seed, metrics=[{"use": "parzen", "bandwidths": BANDWIDTHS}])["parzen"]
    kept = ("value", "standard_error", "bandwidth", "samples", "draws", "note")
    return {key: round(found[key], 2) if isinstance(found[key], float) else found[key] for key in kept}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=["test", "validation"], default="test")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=JSON", help="other settings, on validation")
    parser.add_argument("--steps", type=int, nargs="+", default=[20], help="how long chains are")
    parser.add_argument("--compare", action="store_true", help="the same without walkback")
    arguments = parser.parse_args()
    seed, split = arguments.seed, arguments.split
    os.environ["VARIATA_PLUGINS_OFF"] = "pictures"
    torch.set_num_threads(1)
    settings: dict[str, Any] = {"model.hidden": [1000], "loss.walkback": 3, "train.epochs": 3}
    settings |= {"model.before": None, "model.after": None, "model.activation": "sigmoid"}
    settings |= {key: json.loads(value) for key, _, value in (text.partition("=") for text in arguments.set)}
    figures: dict[str, Any] = {"seed": seed, "split": split}
    for name, walkback in [("walkback", settings["loss.walkback"])] + [("without_walkback", 1)] * arguments.compare:
        run, figures[name] = trained(seed, **settings | {"loss.walkback": walkback})
        figures[name]["after_steps"] = {str(steps): parzen(run, split, seed, steps) for steps in arguments.steps}
    if split == "validation":
        print(json.dumps(figures, indent=2))
    else:
        records.write("gsn", figures | {"bars": {"parzen": 140.0}})


if __name__ == "__main__":
    main()
