"""Expectation maximisation of hidden Chow-Liu trees: epochs a second on plants and bnetflix, and time and memory of
plants against the number of hidden states, with a picture.

    VARIATA_DATA=... python tests/benchmarks/circuits_speed.py            about 3 minutes
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import records
import torch
from matplotlib.figure import Figure

import variata
from variata.training import Loop

STATES = (16, 32, 64, 128, 256)
STEPS = 8


def measured(name: str, states: int) -> dict[str, Any]:
    """CPU time of an epoch, from the median of some steps, and what the process holds at its greatest."""
    settings = {"data": {"use": "debd", "name": name}, "model.structure.units": states}
    assembly = variata.build("hclt", settings)
    variata.prepare(assembly.model, assembly.data)
    train, validation = assembly.data.split("train"), assembly.data.split("validation")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loop = Loop(assembly.model, assembly.loss, assembly.training, train, validation, seed=0)
    size, seconds = assembly.training.batch_size, []
    for step in range(STEPS + 1):
        batch = train.batch(torch.arange(step * size, (step + 1) * size) % len(train))
        start = time.process_time()
        loop.step(batch)
        seconds.append(time.process_time() - start)
    epoch = statistics.median(seconds[1:]) * math.ceil(len(train) / size)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    parameters = sum(parameter.numel() for parameter in assembly.model.parameters())
    return {
        "parameters": parameters,
        "epoch_cpu_seconds": round(epoch, 3),
        "epochs_a_cpu_second": round(1 / epoch, 3),
        "mebibytes_added": round((peak - before) / 1024, 1),
    }


def by_spflow(name: str, states: int) -> dict[str, Any]:
    """The same of spflow: its tree over the same variables, its mini-batch EM on batches of the same size."""
    from importlib.metadata import version

    from spflow.learn.expectation_maximization import (  # pyright: ignore[reportMissingImports]
        expectation_maximization_batched,
    )
    from spflow.zoo.hclt import learn_hclt_binary  # pyright: ignore[reportMissingImports]

    assembly = variata.build("hclt", {"data": {"use": "debd", "name": name}})
    x = next(iter(assembly.data.split("train").batches(len(assembly.data.split("train"))))).x
    size, model, seconds = assembly.training.batch_size, learn_hclt_binary(x, num_hidden_cats=states), []
    for step in range(STEPS + 1):
        batch = x[torch.arange(step * size, (step + 1) * size) % len(x)]
        start = time.process_time()
        expectation_maximization_batched(model, [batch], num_epochs=1)
        seconds.append(time.process_time() - start)
    epoch = statistics.median(seconds[1:]) * math.ceil(len(x) / size)
    return {"version": version("spflow"), "epoch_cpu_seconds": round(epoch, 3)}


def draw(rows: dict[int, dict[str, Any]]) -> None:
    figure = Figure(figsize=(8, 3), layout="constrained")
    titles = {"epoch_cpu_seconds": "CPU seconds an epoch", "mebibytes_added": "MiB added by training"}
    for axes, (key, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        axes.plot(list(rows), [row[key] for row in rows.values()], marker="o")
        axes.set(xlabel="hidden states", ylabel=title, xticks=list(rows), ylim=(0, None))
        axes.grid(alpha=0.3)
    figure.suptitle("HCLT on plants: batches of 500, 17,412 examples of 69 variables")
    figure.savefig(records.FOLDER.parent / "images" / "circuits_states.png", dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=2, metavar=("SET", "STATES"), help="print one measurement as JSON")
    parser.add_argument("--spflow", action="store_true", help="of spflow")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.one:
        measure = by_spflow if arguments.spflow else measured
        print(json.dumps(measure(arguments.one[0], int(arguments.one[1]))))
        return

    def apart(name: str, states: int, *more: str) -> dict[str, Any]:
        command = [sys.executable, __file__, "--one", name, str(states), *more]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    sets = {name: apart(name, 32) for name in ("plants", "bnetflix")}
    for name, found in sets.items():
        if importlib.util.find_spec("spflow"):
            other = apart(name, 32, "--spflow")
            ratio = other["epoch_cpu_seconds"] / found["epoch_cpu_seconds"]
            found |= {"spflow": other, "times_as_fast_as_spflow": round(ratio, 1)}
    against = {states: apart("plants", states) for states in STATES}
    draw(against)
    records.write("circuits_speed", {"batch_size": 500, "states_32": sets, "plants_by_states": against})


if __name__ == "__main__":
    main()
