"""What the sampling operator costs in the smallest VAE, on one thread: 16-16-16-2, batch 32, a step of fused Adam.

The same step three times, turn by turn: with the formula written out, with `reparam_kl` drawing from torch's generator
(the default on a CPU), and with `VARIATA_NOISE=portable`. Bar: the default within 3% of the formula.

    python tests/benchmarks/tiny_vae.py
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"

import records
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from variata_kernels import noise, reparam_kl

ROUNDS, STEPS = 121, 50


def formula(params: Tensor) -> tuple[Tensor, Tensor]:
    mean, logvar = params.chunk(2, dim=-1)
    z = mean + (0.5 * logvar).exp() * torch.randn_like(mean)
    return z, 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(-1)


def operator(params: Tensor) -> tuple[Tensor, Tensor]:
    draw = reparam_kl(params)
    return draw.z, draw.kl


def trainer(sample: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Callable[[], None]:
    torch.manual_seed(0)
    x = torch.rand(32, 16).round()
    encoder = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    decoder = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3, fused=True)

    def step() -> None:
        z, kl = sample(encoder(x))
        distortion = binary_cross_entropy_with_logits(decoder(z), x, reduction="none").sum(-1)
        optimizer.zero_grad()
        (distortion + kl).mean().backward()
        optimizer.step()

    return step


def microseconds(run: Callable[[], object], portable: bool = False) -> float:
    """CPU time of this thread: what else the machine does is not counted, though it still takes the caches."""
    os.environ.pop("VARIATA_NOISE", None)
    if portable:
        os.environ["VARIATA_NOISE"] = "portable"
    start = time.thread_time()
    for _ in range(STEPS):
        run()
    return (time.thread_time() - start) / STEPS * 1e6


def main() -> None:
    torch.set_num_threads(1)
    by_formula, by_operator = trainer(formula), trainer(operator)
    seed = torch.tensor(1)
    seen: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        # No turn follows its like: what a step finds in the caches was left by another.
        turn = {
            "default": microseconds(by_operator),
            "formula": microseconds(by_formula),
            "portable": microseconds(by_operator, portable=True),
            "formula again": microseconds(by_formula),
            "noise alone": microseconds(lambda: noise(seed, (32, 2))),
        }
        for name, value in turn.items():
            seen.setdefault(name, []).append(value)
    once = [(a + b) / 2 for a, b in zip(seen["formula"], seen["formula again"], strict=True)]
    figures: dict[str, object] = {f"{name}_us": round(statistics.median(values), 1) for name, values in seen.items()}
    for name in ("default", "portable"):
        ratios = [value / base for value, base in zip(seen[name], once, strict=True)]
        quartiles = statistics.quantiles(ratios, n=4)
        figures[f"{name}_over_formula"] = round(statistics.median(ratios), 3)
        figures[f"{name}_over_formula_quartiles"] = [round(quartiles[0], 3), round(quartiles[2], 3)]
    records.write("tiny_vae", figures | {"bar": {"default_over_formula": 1.03}})


if __name__ == "__main__":
    main()
