"""Regularised autoencoders on grey MNIST, 8 codes each: the autoencoder, WAE-MMD, InfoVAE without the KL, and RAE.

Bars: WAE and InfoVAE within 10% of the autoencoder's test MSE for each pixel, and the MMD of their test codes from the
prior under the 95% point of its permutation distribution (1,000 of each); samples of RAE with a mixture of ten normal
densities have a lower FID[lenet] than with N(0, I).

    VARIATA_DATA=... python tests/benchmarks/relatives.py                  about 7 minutes
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import records
import torch
from torch import Tensor

import variata
from variata_plugins.regularised.mmd import SCALES, kernel_matrix
from variata_plugins.vae.prior import StandardNormalPrior

LATENT, DRAWS, PERMUTATIONS = 8, 1000, 1000
DECODER = {"use": "mlp", "hidden": [256, 512], "activation": "relu"}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "autoencoder": ("autoencoder_gmm", {}),
    "wae_mmd": ("wae_mmd", {"loss.weight": {"use": "cosine", "from": 5.0, "to": 300.0, "epochs": 4}}),
    "rae": ("rae", {"loss.beta": 0.05, "loss.weight": 0.02}),
    "info_vae": (
        "info_vae",
        {
            "data": {"use": "mnist", "dequantize": "uniform"},
            "model.encoder.network": {"use": "mlp", "hidden": [512, 256], "activation": "relu"},
            "model.decoder": {"use": "gaussian", "scale": 1.0, "network": DECODER},
            "loss.lambda": {"use": "cosine", "from": 1.0, "to": 150.0, "epochs": 4},
        },
    ),
}


@torch.no_grad()
def mmd_of_codes(model: Any, data: variata.Data) -> dict[str, Any]:
    """The MMD of codes of test examples, drawn at random, from N(0, I), and where it lies among those of the pooled
    draws in random order."""
    torch.manual_seed(0)
    x = data.split("test").batch(torch.randperm(len(data.split("test")))[:DRAWS]).x
    z = model.terms(x).layers[0].z if isinstance(model, variata.LatentVariable) else model.encode(x)
    k = kernel_matrix(*[torch.cat([z, torch.randn_like(z)]).double()] * 2, "imq", SCALES)
    k.fill_diagonal_(0)
    first = torch.cat([torch.ones(DRAWS), torch.zeros(DRAWS)]).double()
    labels = torch.stack([first, *(first[torch.randperm(2 * DRAWS)] for _ in range(PERMUTATIONS))], 1)

    def pairs(a: Tensor, b: Tensor) -> Tensor:
        return (a * (k @ b)).sum(0)

    within = (pairs(labels, labels) + pairs(1 - labels, 1 - labels)) / (DRAWS * (DRAWS - 1))
    values = within - 2 * pairs(labels, 1 - labels) / DRAWS**2
    threshold = values[1:].quantile(0.95)
    p = float((values[1:] >= values[0]).double().mean())
    return {"mmd": round(float(values[0]), 6), "threshold": round(float(threshold), 6), "p_value": round(p, 3)}


def fid(run: variata.Run) -> float:
    found = variata.evaluate(run, samples=1, metrics=[{"use": "fid", "extractor": "lenet"}])
    return round(next(value["value"] for name, value in found.items() if name.startswith("fid")), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, Any] = {"seed": arguments.seed, "epochs": arguments.epochs, "latent": LATENT}
    for name in arguments.models:
        preset, options = MODELS[name]
        settings = {"data": {"use": "mnist"}, "model.latent": LATENT, "train.epochs": arguments.epochs}
        settings["train.optimizer.lr"] = {"use": "cosine", "from": 2e-3, "to": 0.0}
        start = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            run = variata.train(preset, settings | {"seed": arguments.seed} | options, run=Path(folder) / "run")
            seconds = time.process_time() - start
            error = variata.evaluate(run, samples=1, metrics=["reconstruction_error"])["reconstruction_mse"]
            seen: dict[str, Any] = {"mse": round(error["value"], 5), "cpu_seconds": round(seconds, 1)}
            if name != "info_vae":  # whose draws of p(x | z) have the noise that stands for the squared error
                seen["fid_lenet"] = fid(run)
            if name in ("wae_mmd", "info_vae"):
                seen |= mmd_of_codes(run.model, run.data)
            if name == "rae":
                run.model.prior = StandardNormalPrior(LATENT)
                seen["fid_lenet_standard_normal"] = fid(run)
        figures[name] = seen
        print(name, seen, flush=True)
    figures["bars"] = {
        "wae_mmd, info_vae": {"mse": "<= 1.1 of the autoencoder's", "mmd": "<= threshold"},
        "rae": {"fid_lenet": "< fid_lenet_standard_normal"},
    }
    if arguments.models == list(MODELS):
        records.write("relatives", figures)


if __name__ == "__main__":
    main()
