"""The VampPrior on dynamically binarised MNIST: importance-sampled NLL of all 10,000 test images.

500 pseudo-inputs, gated networks 784-300-300-40, 6 epochs. Bar: NLL <= 100 nats. The samples are 500; with more of
them the figure falls. With `--beside`, the same networks with a standard normal prior for as many epochs stand beside
it.

    VARIATA_DATA=... python tests/benchmarks/priors.py               about 10 minutes of one core
"""

from __future__ import annotations

import argparse
from typing import Any

import on_mnist
import records
import torch


def seen(settings: dict[str, Any], samples: int) -> dict[str, Any]:
    """Trains on MNIST and evaluates on its test images."""
    found, seconds = on_mnist.seen("vamp_vae", settings, samples)
    figures = on_mnist.chosen(found, ("nll", "elbo", "kl", "gap", "effective_samples", "active_units"))
    print(settings, figures, seconds, flush=True)
    return {"epochs": settings["train.epochs"], "cpu_seconds": seconds, **figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--beside", action="store_true", help="train with a standard normal prior as well")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    common = {"train.epochs": arguments.epochs, "seed": arguments.seed}
    figures: dict[str, Any] = {"seed": arguments.seed}
    figures["vamp_500"] = seen(common | {"model.prior.components": 500}, arguments.samples)
    if arguments.beside:
        figures["standard_normal"] = seen(common | {"model.prior": "standard_normal"}, arguments.samples)
    figures["bars"] = {"vamp_500": 100.0}
    records.write("priors", figures)


if __name__ == "__main__":
    main()
