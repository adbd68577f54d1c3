"""A flow posterior beside the mean-field one on dynamically binarised MNIST: test -ELBO at equal steps.

Networks 784-200-200-50 with tanh, learning rate 2e-3 along a cosine, 18 epochs; the flow is `iaf_vae`'s. Bar: its -ELBO
is lower by at least 0.5 nats.

    VARIATA_DATA=... python tests/benchmarks/posteriors.py           about 5 minutes of one core
"""

from __future__ import annotations

import argparse
from typing import Any

import on_mnist
import records
import torch


def seen(preset: str, epochs: int, seed: int) -> dict[str, Any]:
    """Trains on MNIST and evaluates on its test images."""
    settings = {"train.epochs": epochs, "train.optimizer.lr.from": 2e-3, "seed": seed}
    found, seconds = on_mnist.seen(preset, settings, samples=10)
    figures = {name: round(found[name]["value"], 3) for name in ("elbo", "reconstruction", "kl", "gap")}
    figures["standard_error"] = round(found["elbo"]["standard_error"], 3)
    print(preset, figures, flush=True)
    return {"preset": preset, "epochs": epochs, "cpu_seconds": seconds["train"], **figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--flow", default="iaf_vae", help="the preset with a flow posterior")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    mean_field = seen("vae", arguments.epochs, arguments.seed)
    flow = seen(arguments.flow, arguments.epochs, arguments.seed)
    gain = round(flow["elbo"] - mean_field["elbo"], 3)
    figures = {"seed": arguments.seed, "mean_field": mean_field, "flow": flow, "gain": gain, "bars": {"gain": 0.5}}
    records.write("posteriors", figures)


if __name__ == "__main__":
    main()
