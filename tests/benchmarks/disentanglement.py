"""beta-TCVAE beside the VAE on procedural sprites, over five seeds: what the codes know of the factors.

Bar: the mean MIG of beta-TCVAE (beta 6, as in its paper) exceeds the VAE's; its total correlation is the lower one.
Total correlation: of 2,000 training examples, which are taken as the whole data set.

    python tests/benchmarks/disentanglement.py                  about 10 minutes
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import records
import torch

import variata
from variata_plugins.regularised.beta_tc import decomposed


@torch.no_grad()
def total_correlation(run: variata.Run, examples: int) -> float:
    torch.manual_seed(0)
    batch = run.data.split("train").batch(torch.arange(examples))
    (layer,) = run.model.terms(batch.x).layers
    return float(decomposed(layer, "full", examples).total_correlation.mean())


def trained(preset: str, epochs: int, seed: int) -> dict[str, Any]:
    settings = {"train.epochs": epochs, "train.validate_every": epochs, "seed": seed}
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run = variata.train(preset, settings, run=Path(folder) / "run")
        seconds = time.process_time() - start
        found = variata.evaluate(run, split="validation", samples=10, metrics=["mig", "factor_vae_score"])
        correlation = total_correlation(run, 2000)
    figures = {name: found[name]["value"] for name in ("mig", "factor_vae_score", "elbo", "kl")}
    return {name: round(value, 4) for name, value in figures.items()} | {
        "total_correlation": round(correlation, 4),
        "cpu_seconds": round(seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=60)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, Any] = {"seeds": arguments.seeds, "epochs": arguments.epochs}
    for preset in ("sprites_vae", "beta_tcvae"):
        runs = [trained(preset, arguments.epochs, seed) for seed in range(arguments.seeds)]
        for name in ("mig", "factor_vae_score", "total_correlation"):
            values = [run[name] for run in runs]
            spread = round(stdev(values), 4) if len(values) > 1 else None
            figures[f"{preset}_{name}"] = {"mean": round(mean(values), 4), "standard_deviation": spread}
        figures[f"{preset}_runs"] = runs
    figures["bars"] = {"beta_tcvae_mig": f"> {figures['sprites_vae_mig']['mean']} (the VAE's)"}
    records.write("disentanglement", figures)


if __name__ == "__main__":
    main()
