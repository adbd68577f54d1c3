"""How fast the engine trains: against a loop written by hand, against what its parts cost alone, and against pythae.

Three models: an MLP VAE 784-400-400-20 at batch 128, a tiny VAE 16-16-16-2 at batch 32, a small convolutional VAE at
batch 64; data held in memory, one thread, nothing drawn. Each comparison is of pairs that take turns: the hand-written
loop (below; in memory, fused Adam, no logging; changing it needs a line in the record) runs before and after the
contender. A pair whose two baselines differ by more than 5% is dropped and counted. Printed are the median ratio of
samples a second, with its 95% interval from the order statistics.

    python tests/benchmarks/throughput.py                        about 25 minutes
    python tests/benchmarks/throughput.py --pythae PYTHON        a Python that has pythae 0.1.2 and torch
    python tests/benchmarks/throughput.py --device cuda          a GPU, against an eager loop there
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import records
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

import variata
from variata.training import Loop

PAIRS, SECONDS = 15, 1.5
SIZES = {"mlp": (784, 400, 20, 128), "tiny": (16, 16, 2, 32), "conv": (784, 32, 20, 64)}
BARS = {
    "mlp fused": 0.97, "conv fused": 0.97, "tiny fused": 0.90, "mlp default": 1.12, "tiny default": 1.35,
    "mlp compiled": 1.2, "tiny compiled": 4.0, "mlp pythae": 1.35, "tiny pythae": 1.9, "conv pythae": 1.1,
    "mlp bf16 pythae": 2.0, "mlp of the matrix products": 0.62,
}  # fmt: skip
Run = Callable[[int], float]


def examples(name: str, n: int = 20_000) -> Tensor:
    pixels = SIZES[name][0]
    x = (torch.rand(n, pixels, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    return x.view(n, 1, 28, 28) if name == "conv" else x


class ByHand(nn.Module):
    """The networks of the presets below, and the ELBO as one writes it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        pixels, hidden, latent, _ = SIZES[name]
        if name == "conv":
            self.encoder = nn.Sequential(
                nn.Conv2d(1, hidden, 4, 2, 1), nn.ReLU(), nn.Conv2d(hidden, 2 * hidden, 4, 2, 1), nn.ReLU(),
                nn.Flatten(), nn.Linear(2 * hidden * 49, 2 * latent),
            )  # fmt: skip
            self.decoder = nn.Sequential(
                nn.Linear(latent, 2 * hidden * 49), nn.ReLU(), nn.Unflatten(1, (2 * hidden, 7, 7)),
                nn.ConvTranspose2d(2 * hidden, hidden, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(hidden, 1, 4, 2, 1),
            )  # fmt: skip
        else:
            self.encoder = nn.Sequential(
                nn.Linear(pixels, hidden),
                nn.ReLU(),
                nn.Linear(hidden, hidden),
                nn.ReLU(),
                nn.Linear(hidden, 2 * latent),
            )
            self.decoder = nn.Sequential(
                nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, pixels)
            )

    def forward(self, x: Tensor) -> Tensor:
        mu, logvar = self.encoder(x).chunk(2, -1)
        z = mu + (0.5 * logvar).exp() * torch.randn_like(mu)
        kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(-1)
        logits = self.decoder(z)
        return (binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1).sum(1) + kl).mean()


def by_hand(name: str, device: str, fused: bool = True) -> Run:
    """Samples a second over some steps."""
    torch.manual_seed(0)
    model, x, batch = ByHand(name).to(device), examples(name).to(device), SIZES[name][3]
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True if fused else None)
    rows: list[Tensor] = []

    def run(steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            if not rows:
                rows.extend(torch.randperm(len(x), device=device).split(batch)[:-1])
            loss = model(x[rows.pop()])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        _wait(device)
        return steps * batch / (time.perf_counter() - start)

    return run


def by_variata(name: str, device: str, **options: Any) -> Run:
    """The same networks, assembled, in the engine's loop."""
    _, hidden, latent, batch = SIZES[name]
    if name == "conv":
        networks: tuple[Any, Any] = (
            {"use": "conv", "channels": [hidden, 2 * hidden], "activation": "relu"},
            {"use": "conv_transpose", "channels": [2 * hidden, hidden], "activation": "relu"},
        )
    else:
        networks = ({"use": "mlp", "hidden": [hidden, hidden], "activation": "relu"},) * 2
    settings = {
        "model": {"latent": latent, "encoder": {"network": networks[0]}, "decoder": {"network": networks[1]}},
        "train": {
            "batch_size": batch,
            "steps": 1 << 40,
            "log_every": 50,
            "optimizer": {"use": "adam", "lr": 1e-3},
            **options,
        },
    }
    base = {"extends": "vae", **settings}
    x = examples(name)
    assembly = variata.build(base, data={"train": x})
    variata.prepare(assembly.model, assembly.data)
    assembly.model.to(device)
    assembly.loss.to(device)
    split = assembly.data.split("train").to(device)
    loop = Loop(assembly.model, assembly.loss, assembly.training, split, assembly.data.split("test"), 0)

    def run(steps: int) -> float:
        start, last = time.perf_counter(), loop.clock.step + steps
        loop.run(lambda row: None, stopped=lambda: loop.clock.step >= last)
        _wait(device)
        return steps * batch / (time.perf_counter() - start)

    return run


def products(name: str) -> Run:
    """The matrix products of a step alone, in its order: no step can be faster in this precision."""
    pixels, hidden, latent, batch = SIZES[name]
    widths = [
        (pixels, hidden),
        (hidden, hidden),
        (hidden, 2 * latent),
        (latent, hidden),
        (hidden, hidden),
        (hidden, pixels),
    ]
    inputs = [torch.randn(batch, a) for a, _ in widths]
    outputs = [torch.randn(batch, b) for _, b in widths]
    weights = [torch.randn(a, b) for a, b in widths]
    made = [(torch.empty(batch, b), torch.empty(a, b), torch.empty(batch, a)) for a, b in widths]

    def run(steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            for x, w, (y, _, _) in zip(inputs, weights, made, strict=True):
                torch.mm(x, w, out=y)
            for i in reversed(range(len(widths))):
                torch.mm(inputs[i].t(), outputs[i], out=made[i][1])
                if i:
                    torch.mm(outputs[i], weights[i].t(), out=made[i][2])
        return steps * batch / (time.perf_counter() - start)

    return run


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def paired(contender: Run, baseline: Run) -> dict[str, Any]:
    """The median of the ratios of pairs, with its 95% interval."""
    steps = {run: _steps(run) for run in (contender, baseline)}
    ratios, dropped = [], 0
    before = baseline(steps[baseline])
    while len(ratios) < PAIRS and dropped < 6 * PAIRS:
        seen = contender(steps[contender])
        after = baseline(steps[baseline])
        if abs(before / after - 1) > 0.05:
            dropped += 1
        else:
            ratios.append(seen / ((before + after) / 2))
        before = after
    ratios.sort()
    n = len(ratios)
    if n < 6:
        return {"ratio": None, "pairs": n, "dropped": dropped, "note": "too few pairs were quiet"}
    outer = max(0, math.floor(n / 2 - 0.98 * math.sqrt(n)))  # order statistics of the median
    return {
        "ratio": round(statistics.median(ratios), 3),
        "interval": [round(ratios[outer], 3), round(ratios[n - 1 - outer], 3)],
        "pairs": n,
        "dropped": dropped,
        "samples_per_second_of_the_baseline": round(before),
    }


def _steps(run: Run) -> int:
    """So many that a turn takes its time; the first calls warm up."""
    run(60)
    start = time.perf_counter()
    run(20)
    return max(20, round(20 * SECONDS / (time.perf_counter() - start)))


class Elsewhere:
    """pythae's own trainer, in an environment of its own: asked for one epoch at a time, it says how long it took."""

    def __init__(self, python: str, name: str) -> None:
        program = str(Path(__file__).with_name("throughput_pythae.py"))
        self.process = subprocess.Popen(
            [python, program, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL
        )
        self.rate(1)

    def rate(self, steps: int) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(steps, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("pythae's process ended")
        return json.loads(answer)

    __call__ = rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pythae", metavar="PYTHON", help="a Python that has pythae 0.1.2")
    parser.add_argument("--models", nargs="+", default=["mlp", "tiny", "conv"], choices=list(SIZES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.device != "cpu":
        return on_gpu(arguments.device)
    seen: dict[str, Any] = {}
    for name in arguments.models:
        print(f"{name} ...", file=sys.stderr, flush=True)
        engine, fused = by_variata(name, "cpu"), by_hand(name, "cpu")
        seen[f"{name} fused"] = paired(engine, fused)
        if name != "conv":
            default = by_hand(name, "cpu", fused=False)
            seen[f"{name} default"] = paired(engine, default)
            seen[f"{name} compiled"] = paired(by_variata(name, "cpu", compile="step"), default)
        if name == "mlp":
            seen["mlp of the matrix products"] = paired(engine, products(name))
        if arguments.pythae:
            other = Elsewhere(arguments.pythae, name)
            seen[f"{name} pythae"] = paired(engine, other)
            if name == "mlp" and torch.backends.cpu.get_cpu_capability() != "DEFAULT":
                half = by_variata(name, "cpu", compile="step", precision="bf16")
                seen["mlp bf16 pythae"] = paired(half, other)
    met = {name: seen[name].get("interval", [0, 0])[1] >= bar for name, bar in BARS.items() if name in seen}
    skipped = {} if arguments.pythae else {"pythae": "not compared: no environment of its own was given (--pythae)"}
    if arguments.pythae:
        sys.argv[sys.argv.index(arguments.pythae)] = "PYTHON"  # a path of one machine is nobody else's
    records.write("throughput", {"ratios": seen, "bars": BARS, "met": met} | skipped)
    return None


def on_gpu(device: str) -> None:
    """The MLP VAE's step with data on the device, and memory over 10,000 steps."""
    engine = by_variata("mlp", device, compile="step")
    ratio = paired(engine, by_hand("mlp", device, fused=False))
    engine(1000)
    before = torch.cuda.memory_allocated(device)
    engine(10_000)
    grown = torch.cuda.memory_allocated(device) - before
    figures = {"ratio": ratio, "bytes_grown_over_10000_steps": grown, "device": torch.cuda.get_device_name(device)}
    records.write("throughput_gpu", figures | {"bar": 4.0})


if __name__ == "__main__":
    main()
