"""pythae 0.1.2's own trainer on the networks of `throughput.py`; started by it, in an environment that has pythae.

It reads how many steps are asked for, a line each, and answers with samples a second.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import tempfile
import time

import torch
from torch import nn

torch.set_num_threads(1)
logging.disable(logging.CRITICAL)

# Imported when the threads are set and pythae can no longer log: it does both when it is imported (E402).
from pythae.data.datasets import BaseDataset  # noqa: E402
from pythae.models import VAE, VAEConfig  # noqa: E402
from pythae.models.base.base_utils import ModelOutput  # noqa: E402
from pythae.models.nn import BaseDecoder, BaseEncoder  # noqa: E402
from pythae.trainers import BaseTrainer, BaseTrainerConfig  # noqa: E402

SIZES = {"mlp": (784, 400, 20, 128), "tiny": (16, 16, 2, 32), "conv": (784, 32, 20, 64)}


class Encoder(BaseEncoder):
    def __init__(self, body: nn.Module, width: int, latent: int) -> None:
        super().__init__()
        self.body, self.mean, self.logvar = body, nn.Linear(width, latent), nn.Linear(width, latent)

    def forward(self, x):
        h = self.body(x)
        return ModelOutput(embedding=self.mean(h), log_covariance=self.logvar(h))


class Decoder(BaseDecoder):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, z):
        return ModelOutput(reconstruction=self.body(z).sigmoid())


def model(name: str) -> VAE:
    pixels, hidden, latent, _ = SIZES[name]
    if name == "conv":
        body = nn.Sequential(
            nn.Conv2d(1, hidden, 4, 2, 1), nn.ReLU(), nn.Conv2d(hidden, 2 * hidden, 4, 2, 1), nn.ReLU(), nn.Flatten()
        )
        back = nn.Sequential(
            nn.Linear(latent, 2 * hidden * 49), nn.ReLU(), nn.Unflatten(1, (2 * hidden, 7, 7)),
            nn.ConvTranspose2d(2 * hidden, hidden, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(hidden, 1, 4, 2, 1),
        )  # fmt: skip
        shape, width = (1, 28, 28), 2 * hidden * 49
    else:
        body = nn.Sequential(nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        back = nn.Sequential(
            nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, pixels)
        )
        shape, width = (pixels,), hidden
    config = VAEConfig(input_dim=shape, latent_dim=latent, reconstruction_loss="bce")
    return VAE(config, encoder=Encoder(body, width, latent), decoder=Decoder(back))


def main(name: str) -> None:
    torch.manual_seed(0)
    pixels, *_, batch = SIZES[name]
    x = (torch.rand(20_000, pixels, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    x = x.view(-1, 1, 28, 28) if name == "conv" else x
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder, num_epochs=1, learning_rate=1e-3, per_device_train_batch_size=batch, no_cuda=True,
            train_dataloader_num_workers=0,
        )  # fmt: skip
        with contextlib.redirect_stdout(io.StringIO()):
            trainer = BaseTrainer(model(name), BaseDataset(x, torch.zeros(len(x))), training_config=config)
            trainer.prepare_training()
        for line in sys.stdin:
            steps = int(line)
            seen, start = 0, time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                while seen < steps * batch:
                    trainer.train_step(epoch=1)
                    seen += len(x)
            print(json.dumps(seen / (time.perf_counter() - start)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
