"""The VAE on MNIST: test -ELBO on all 10,000 images, and CPU time against a hand-written loop.

Bars: -ELBO <= 102.0 nats; CPU time <= 1.15 of the loop below, which reaches the same -ELBO to 0.5 nats. The loop
keeps the data in memory, starts from the training mean's logits as the Bernoulli decoder does, uses fused Adam and logs
nothing; neither side draws pictures. Changing it needs a line in the record.

    VARIATA_DATA=... python tests/benchmarks/mnist_vae.py            about 4 minutes
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from pathlib import Path

import records
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

import variata

EPOCHS, BATCH, LATENT = 20, 100, 50


def images(split: str) -> torch.Tensor:
    data = variata.build("vae", {"data.use": "mnist", "data.binarize": "none"}, decoder=nn.Identity()).data
    examples = data.split(split)
    return torch.cat([batch.x.flatten(1) for batch in examples.batches(10_000)])


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(784, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, 2 * LATENT)
        )
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, 784)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mu, logvar = self.encoder(x).chunk(2, -1)
        z = mu + (0.5 * logvar).exp() * torch.randn_like(mu)
        kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(-1)
        return binary_cross_entropy_with_logits(self.decoder(z), x, reduction="none").sum(-1) + kl


def by_hand(seed: int, train: torch.Tensor, test: torch.Tensor) -> tuple[float, float]:
    """-ELBO on the test set, and CPU seconds of training."""
    torch.manual_seed(seed)
    model = Plain()
    start = time.process_time()
    with torch.no_grad():
        ones = train.sum(0)
        model.decoder[-1].bias.add_(((ones + 1) / (len(train) - ones + 1)).log())
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    steps = EPOCHS * len(train) // BATCH
    step = 0
    for _ in range(EPOCHS):
        for index in torch.randperm(len(train)).split(BATCH):
            optimizer.param_groups[0]["lr"] = 1e-3 * (1 + math.cos(math.pi * step / steps)) / 2
            pixels = train[index]
            loss = model((torch.rand_like(pixels) < pixels).float()).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    seconds = time.process_time() - start
    with torch.no_grad():
        fixed = (torch.rand(test.shape, generator=torch.Generator().manual_seed(777)) < test).float()
        return float(torch.cat([model(part) for part in fixed.split(1000)]).mean()), seconds


def by_variata(seed: int, folder: Path) -> tuple[dict[str, dict[str, float]], float]:
    """The metrics on the test set, and CPU seconds of everything that training does once the data is read."""
    settings = {"data.use": "mnist", "data.binarize": "dynamic", "seed": seed}
    assembly = variata.build("vae", settings)
    assembly.data.split("train")
    start = time.process_time()
    run = variata.train_assembly(assembly, run=folder)
    seconds = time.process_time() - start
    return variata.evaluate(run, samples=1), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    os.environ["VARIATA_PLUGINS_OFF"] = "pictures"
    train, test = images("train"), images("test")
    first, before = by_hand(arguments.seed, train, test)
    with tempfile.TemporaryDirectory() as folder:
        metrics, ours = by_variata(arguments.seed, Path(folder) / "run")
    _, after = by_hand(arguments.seed, train, test)
    records.write(
        "mnist_vae",
        {
            "seed": arguments.seed,
            "training_images": len(train),
            "negative_elbo": round(-metrics["elbo"]["value"], 3),
            "standard_error": round(metrics["elbo"]["standard_error"], 3),
            "kl": round(metrics["kl"]["value"], 3),
            "negative_elbo_by_hand": round(first, 3),
            "cpu_seconds": round(ours, 1),
            "cpu_seconds_by_hand": [round(before, 1), round(after, 1)],
            "cpu_ratio": round(2 * ours / (before + after), 3),
            "bars": {"negative_elbo": 102.0, "cpu_ratio": 1.15},
        },
    )


if __name__ == "__main__":
    main()
