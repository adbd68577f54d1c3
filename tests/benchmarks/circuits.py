"""Sum-product networks on binary density-estimation sets: test log-likelihood in nats for an example.

chow_liu   the exact tree, its alpha chosen on validation, against a column of published digits: to 0.01, all sets
           in 10 s
hclt       one preset for all sets; units and pseudocount chosen on validation by six fits of a fifth of its epochs
rat        the preset rat_spn as it is, with fewer epochs
large      the preset hclt as it is, with fewer epochs
mnist      the preset grey_hclt as it is, with fewer epochs, on MNIST in 256 levels: bits per dimension

VARIATA_DATA=... python tests/benchmarks/circuits.py [--which hclt ...] [--sets nltcs ...]      about 35 minutes
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

import records
import torch

import variata

TREE = {
    "nltcs": -6.759,
    "msnbc": -6.540,
    "kdd": -2.295,
    "plants": -16.524,
    "baudio": -44.375,
    "bnetflix": -60.250,
    "tretail": -10.944,
    "dna": -87.662,
}
HIDDEN = {"nltcs": -6.03, "plants": -13.5, "baudio": -40.4, "bnetflix": -57.0, "dna": -81.5}
RANDOM = {"nltcs": -6.20, "plants": -17.0}
LARGE = {"kdd": -2.141, "msnbc": -6.058, "tretail": -10.855}
GRID = [
    {"model.structure.units": units, "loss.optimizer.pseudocount": pseudocount}
    for units, pseudocount in itertools.product((16, 32), (0.01, 0.1, 1.0))
]
SEARCH_EPOCHS, RAT_EPOCHS, LARGE_EPOCHS, MNIST_EPOCHS = 10, 10, 15, 20
MNIST = {"published": 1.20, "published_by": "ProbabilisticCircuits.jl, 32 states, 350 epochs on a GPU"}


class Clock:
    """Seconds on the wall, and of this process on all its threads, since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        return {
            "seconds": round(time.perf_counter() - self._wall, 1),
            "cpu_seconds": round(time.process_time() - self._cpu, 1),
        }


@torch.no_grad()
def log_likelihood(model: Any, data: Any, split: str) -> float:
    return float(torch.cat([model.log_prob(batch.x) for batch in data.split(split).batches(2000)]).double().mean())


def fitted(preset: str, name: str, settings: dict[str, Any], seed: int) -> variata.Run:
    settings = {"data": {"use": "debd", "name": name}, "train.validate_every": 1000, "seed": seed, **settings}
    with tempfile.TemporaryDirectory() as folder:
        return variata.train(preset, settings, run=Path(folder) / "run")


def chow_liu(sets: list[str], seed: int) -> dict[str, Any]:
    """Nothing is trained: the tree is exact once it is prepared."""
    clock, found = Clock(), {}
    for name in sets:
        best = -torch.inf
        data = variata.build("chow_liu", {"data": {"use": "debd", "name": name}}).data
        for alpha in (0.01, 0.1, 0.5, 1.0):
            assembly = variata.build("chow_liu", {"model.structure.alpha": alpha, "seed": seed}, data=data)
            variata.prepare(assembly.model, data)
            value = log_likelihood(assembly.model, data, "validation")
            if value > best:
                best, test = value, log_likelihood(assembly.model, data, "test")
                found[name] = {"alpha": alpha, "test": round(test, 3), "published": TREE[name]}
    return {"sets": found, "together": clock.read(), "bars": {"difference": 0.01, "seconds": 10}}


def hclt(sets: list[str], seed: int) -> dict[str, Any]:
    found = {}
    for name in sets:
        clock, scores = Clock(), []
        for settings in GRID:
            run = fitted("hclt", name, settings | {"train.epochs": SEARCH_EPOCHS}, seed)
            scores.append(log_likelihood(run.model, run.data, "validation"))
        search, clock = clock.read(), Clock()
        chosen = GRID[scores.index(max(scores))]
        run = fitted("hclt", name, chosen, seed)
        found[name] = {
            "test": round(log_likelihood(run.model, run.data, "test"), 3),
            "validation": round(log_likelihood(run.model, run.data, "validation"), 3),
            "chosen": chosen,
            "fit": clock.read(),
            "search": search | {"validation": [round(score, 3) for score in scores]},
            "bar": HIDDEN.get(name),
        }
        print(name, found[name], flush=True)
    return {"sets": found}


def rat(sets: list[str], seed: int) -> dict[str, Any]:
    found = {}
    for name in sets:
        clock = Clock()
        run = fitted("rat_spn", name, {"train.epochs": RAT_EPOCHS}, seed)
        test = round(log_likelihood(run.model, run.data, "test"), 3)
        found[name] = {"test": test, "fit": clock.read(), "bar": RANDOM.get(name)}
        print(name, found[name], flush=True)
    return {"epochs": RAT_EPOCHS, "sets": found}


def large(sets: list[str], seed: int) -> dict[str, Any]:
    found = {}
    for name in sets:
        clock = Clock()
        run = fitted("hclt", name, {"train.epochs": LARGE_EPOCHS}, seed)
        test = round(log_likelihood(run.model, run.data, "test"), 3)
        found[name] = {"test": test, "fit": clock.read(), "published": LARGE[name]}
        print(name, found[name], flush=True)
    return {"epochs": LARGE_EPOCHS, "sets": found}


def mnist(sets: list[str], seed: int) -> dict[str, Any]:
    clock = Clock()
    settings = {"data": {"use": "mnist", "binarize": "none"}, "train.epochs": MNIST_EPOCHS, "seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        run = variata.train("grey_hclt", settings, run=Path(folder) / "run")
    fit, states = clock.read(), run.model.units
    found = variata.evaluate(run, batch_size=1000)
    wanted = {name: round(found[name]["value"], 4) for name in ("log_likelihood", "bits_per_dim")}
    error = round(found["bits_per_dim"]["standard_error"], 4)
    budget = {"states": states, "epochs": MNIST_EPOCHS, "fit": fit}
    return wanted | {"standard_error": error, "examples": found["nll"]["examples"]} | budget | MNIST


EACH: dict[str, tuple[Any, Any]] = {
    "chow_liu": (chow_liu, TREE),
    "hclt": (hclt, HIDDEN),
    "rat": (rat, RANDOM),
    "large": (large, LARGE),
    "mnist": (mnist, ()),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--which", nargs="+", choices=list(EACH), default=list(EACH))
    parser.add_argument("--sets", nargs="*", help="these only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for which in arguments.which:
        measure, sets = EACH[which]
        figures = measure([name for name in sets if not arguments.sets or name in arguments.sets], arguments.seed)
        records.write(f"circuits_{which}", {"seed": arguments.seed} | figures)


if __name__ == "__main__":
    main()
