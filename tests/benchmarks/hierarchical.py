"""Hierarchies on dynamically binarised MNIST: what each layer carries, and the NLL of all 10,000 test images.

    ladder      the ladder VAE, layers of 4, 8, 16, 32 and 64 dimensions, networks 32 ... 512 wide, batch normalisation,
                a warm-up of beta over the first half; no free bits, beta = 1 from there on
    bottom_up   the same, each layer inferred from the one below: the plain hierarchy
    iwae        two layers of 50 and 100 dimensions under the bound of 5 samples (Burda et al., 2016)

Bars: of the ladder's layers at least 3 with KL > 0.1 nats and mutual information > 0.05 nats (its lower bound); the
two-layer bounds by 1, 5, 50 and all samples in order. The NLL is recorded, by `--samples` importance samples (100).

    VARIATA_DATA=... python tests/benchmarks/hierarchical.py --which ladder         about 10 minutes of one core each
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

LATENT, WIDTHS = [4, 8, 16, 32, 64], [32, 64, 128, 256, 512]


def network(*hidden: int) -> dict[str, Any]:
    return {"use": "mlp", "hidden": list(hidden), "activation": "leaky_relu", "norm": "batch"}


def settings_of(which: str, epochs: int) -> tuple[str, dict[str, Any]]:
    """The preset and what is changed of it."""
    found: dict[str, Any] = {"train.epochs": epochs, "train.optimizer.lr.from": 2e-3}
    if which == "iwae":
        wide, narrow = ({"use": "mlp", "hidden": [n, n], "activation": "tanh"} for n in (200, 100))
        found |= {"model.latent": [50, 100], "model.encoder.upward": [narrow, wide], "model.downward": [narrow]}
        return "two_layer_iwae", found | {"model.decoder.network": wide}
    found |= {"train.batch_size": 200, "loss.beta.epochs": epochs / 2, "model.latent": LATENT}
    found |= {"model.encoder.upward": [network(width) for width in WIDTHS]}
    found |= {"model.downward": [network(width) for width in WIDTHS[:-1]]}
    found |= {"model.decoder.network": network(WIDTHS[-1])}
    if which == "ladder":
        return "ladder_vae", found | {"model.encoder.features": WIDTHS[1:]}
    return "hierarchical_vae", found


def seen(which: str, epochs: int, seed: int, samples: int) -> dict[str, Any]:
    """Trains on MNIST and evaluates on its test images."""
    preset, settings = settings_of(which, epochs)
    mnist = {"data.use": "mnist", "data.binarize": "dynamic", "seed": seed}
    assembly = variata.build(preset, mnist | settings)
    assert assembly.data is not None
    assembly.data.split("train")
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        run = variata.train_assembly(assembly, run=Path(folder) / "run")
        trained = time.process_time()
        found = variata.evaluate(run, samples=samples)
        evaluated = time.process_time()
        bounds = {}
        if which == "iwae":
            for few in (5, 50):
                bounds[f"iwae_{few}"] = -variata.evaluate(run, samples=few)["nll"]["value"]
    names = [
        *("elbo", "nll", "gap", "active_units", "kl", "kl_per_layer"),
        *("active_units_per_layer", "mutual_information_per_layer"),
    ]
    wanted = ("value", "standard_error", "monte_carlo_error", "samples", "examples", "of", "at_most")
    figures: dict[str, Any] = {"epochs": epochs, "cpu_seconds": round(trained - start, 1)}
    figures["cpu_seconds_of_evaluation"] = round(evaluated - trained, 1)
    figures |= {name: {key: found[name][key] for key in wanted if key in found[name]} for name in names}
    if bounds:
        values = [figures["elbo"]["value"], *bounds.values(), -figures["nll"]["value"]]
        figures["bounds"] = {"elbo": values[0], **bounds, f"iwae_{samples}": values[-1]}
        figures["in_order"] = values == sorted(values)
    else:
        pairs = zip(figures["kl_per_layer"]["value"], figures["mutual_information_per_layer"]["value"], strict=True)
        figures["layers_in_use"] = sum(kl > 0.1 and carried > 0.05 for kl, carried in pairs)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--which", choices=["ladder", "bottom_up", "iwae"], nargs="+", default=["ladder", "bottom_up", "iwae"]
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--samples", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    bars = {"ladder": {"layers_in_use": 3}, "bottom_up": {}, "iwae": {"in_order": True}}
    for which in arguments.which:  # each its record, so that they can be made one by one
        figures = seen(which, arguments.epochs, arguments.seed, arguments.samples)
        print(json.dumps(figures), flush=True)
        records.write(f"hierarchical_{which}", {"seed": arguments.seed, which: figures, "bars": bars[which]})


if __name__ == "__main__":
    main()
