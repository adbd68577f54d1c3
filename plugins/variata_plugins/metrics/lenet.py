r"""f(x): the last hidden layer of a small convolutional network that is trained to tell the data's classes.

    c x h x w  ->  conv 16, pool  ->  conv 32, pool  ->  84  ->  classes

LeCun, Bottou, Bengio and Haffner (1998), Gradient-based learning applied to document recognition: the layers are
LeNet-5's, with more channels, kernels of 3 x 3 and rectifiers. It stands in where Inception's weights cannot be had,
and knows what matters to these classes; its test accuracy is in the notes of every figure.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from variata import (
    Batch,
    Classifier,
    Data,
    DataSpec,
    Now,
    Objective,
    OnePhaseLoss,
    Seed,
    Term,
    Unsupported,
    alone,
    stage,
    train,
    with_every_label,
)

from .cache import cache_file, read_cached, write_cached
from .extractor import Extractor

_FEATURES = 84
_BATCH = 100
_RECIPE = 1  # counts up with every change of what is trained, and how


class Network(Classifier):
    """The network: features, and log p(y | x) by a linear layer on them."""

    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        channels, height, width = data.shape
        assert data.classes is not None
        cells = -(-height // 4) * -(-width // 4)
        self.features = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Flatten(),
            nn.Linear(32 * cells, _FEATURES),
            nn.ReLU(),
        )
        self.head = nn.Linear(_FEATURES, data.classes)

    def classify(self, x: Tensor) -> Tensor:
        return self.head(self.features(x)).log_softmax(-1)


class CrossEntropy(OnePhaseLoss):
    """-log p(y | x).

    Args:
        advance: called with 1 at each step of training.
    """

    requires = Classifier

    def __init__(self, advance: Callable[[int], None]) -> None:
        super().__init__()
        self.advance = advance

    def forward(self, model: Classifier, batch: Batch, now: Now) -> Objective:
        assert batch.y is not None
        if torch.is_grad_enabled():
            self.advance(1)
        log_p = model.classify(batch.x).gather(1, batch.y.long()[:, None])[:, 0]
        return Objective({"cross_entropy": Term(-log_p)})


class LeNet(Extractor):
    """Trained on the labelled training split once, and then kept in the cache. It is a yardstick and no part of what
    is measured: it sees every label, also those that `data.labels` keeps from the model.

    Args:
        steps: of training, 100 examples each, rounded up to whole epochs.
        seed: of the weights and of the order of examples.

    Raises:
        Unsupported: the data is not labelled images.
    """

    name = "lenet"

    def __init__(self, *, steps: PositiveInt = 2000, seed: Seed = 0) -> None:
        super().__init__()
        self.steps, self.seed = steps, seed

    def fit(self, data: Data) -> dict[str, Any]:
        if not data.spec.is_image or data.spec.classes is None:
            raise Unsupported(
                "the extractor lenet learns from labelled images, and this data has none: use pca or pixels"
            )
        data = with_every_label(data)
        network = Network(data.spec)
        settings = {
            "recipe": _RECIPE,
            "steps": self.steps,
            "seed": self.seed,
            "shapes": [list(p.shape) for p in network.parameters()],
        }
        path = cache_file(self.name, data, settings)
        cached = read_cached(path)
        if cached is None:
            network, notes = self._trained(data)
            write_cached(path, network.state_dict(), notes)
        else:
            state, notes = cached
            network.load_state_dict(state)
        self.network = network.cpu().requires_grad_(False)
        return {"extractor_accuracy": float(notes["accuracy"])} if "accuracy" in notes else {}

    def forward(self, x: Tensor) -> Tensor:
        return self.network.features(x)

    def _trained(self, data: Data) -> tuple[Network, dict[str, str]]:
        torch.manual_seed(self.seed)
        network = Network(data.spec)
        per_epoch = math.ceil(len(data.split("train")) / _BATCH)
        epochs = math.ceil(self.steps / per_epoch)
        loss = CrossEntropy(stage("training lenet", epochs * per_epoch))
        options = {"epochs": epochs, "batch_size": _BATCH, "optimizer": {"use": "adam", "lr": 1e-3}}
        with alone(), torch.enable_grad(), tempfile.TemporaryDirectory() as folder:
            config = {"train": options, "seed": self.seed}
            train(config, run=Path(folder) / "run", data=data, model=network, loss=loss)
        network.cpu().eval()
        right = [network.classify(b.x).argmax(-1) == b.y for b in data.split("test").batches(1000)]
        return network, {"accuracy": str(float(torch.cat(right).float().mean()))} if right else {}
