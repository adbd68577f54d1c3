"""A VQ-VAE on grey MNIST: error of reconstruction, share of the codebook in use, and the law of its codes.

Bars: test MSE for each pixel <= 0.010, half of the codebook in use. cpu_seconds are of the autoencoder and the law of
its codes together. The rate is -log p(c) of the codes: nats for a string, and no NLL of x.

    VARIATA_DATA=... python tests/benchmarks/vq.py                  about 5 minutes
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import records
import torch

import variata


@torch.no_grad()
def of_codes(model: Any, split: Any, codes: int) -> dict[str, Any]:
    """How the codebook is used, and what the law of codes says of them."""
    numbers = torch.cat([model.numbers(batch.x) for batch in split.batches(1000)])
    share = torch.bincount(numbers.flatten(), minlength=codes) / numbers.numel()
    rate = torch.cat([-model.prior.log_prob(part.float()) for part in numbers.split(1000)]).double()
    return {
        "codes_used": int((share > 0).sum()),
        "codebook_use": round(float((share > 0).double().mean()), 4),
        "perplexity": round(float(torch.special.entr(share).sum().exp()), 2),
        "rate_of_codes_nats": round(float(rate.mean()), 3),
        "rate_standard_error": round(float(rate.std()) / len(rate) ** 0.5, 3),
        "rate_if_uniform_nats": round(numbers.shape[1] * float(torch.tensor(float(codes)).log()), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--codes", type=int, default=128)
    parser.add_argument("--positions", type=int, default=64)
    parser.add_argument("--dimensions", type=int, default=2)
    parser.add_argument("--commitment", type=float, default=5.0)
    parser.add_argument("--prior-epochs", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = {
        "data": {"use": "mnist", "dequantize": "uniform"},
        "model.codes": arguments.codes,
        "model.positions": arguments.positions,
        "model.dimensions": arguments.dimensions,
        "model.encoder.hidden": [512, 256],
        "model.decoder": {"use": "gaussian", "scale": 0.15, "network": {"use": "mlp", "hidden": [256, 512]}},
        "model.prior_epochs": arguments.prior_epochs,
        "loss.commitment": arguments.commitment,
        "train.epochs": arguments.epochs,
        "train.optimizer.lr.from": 2e-3,
        "seed": arguments.seed,
    }
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        run = variata.train("vq_vae", settings, run=Path(folder) / "run")
        together = time.process_time() - start
        error = variata.evaluate(run, metrics=["reconstruction_error"])["reconstruction_mse"]
        found = of_codes(run.model, run.data.split("test"), arguments.codes)
    figures: dict[str, Any] = vars(arguments) | {
        "mse": round(error["value"], 5),
        "mse_standard_error": round(error["standard_error"], 5),
        **found,
        "cpu_seconds": round(together, 1),
        "bars": {"mse": 0.010, "codebook_use": 0.5},
    }
    records.write("vq", figures)


if __name__ == "__main__":
    main()
