r"""log p(y | x) from a network whose every layer is normalised, and its paths with noise and without.

Rasmus, Valpola, Honkala, Berglund and Raiko (2015), Semi-Supervised Learning with Ladder Networks, arXiv:1507.02672,
algorithm 1. Ioffe and Szegedy (2015), Batch Normalization, arXiv:1502.03167.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from variata import Classifier, ConfigError, DataSpec, Factory, Layered, Network, Problem, default, make, registry

from .stage import Stage, moments, normalized


@dataclass
class Path:
    """What some examples are at each layer, from the input to the top.

    Attributes:
        z: of each layer, normalised, and with noise where there is some; that of the input is x itself.
        moments: mean and variance of each layer but the input before it was normalised, of a path without noise.
        log_p: log p(y | x), `[n, classes]`.
    """

    z: list[Tensor] = field(default_factory=list)
    moments: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    log_p: Tensor = field(default_factory=lambda: torch.empty(0))


class LadderNetwork(Classifier):
    """A classifier with normalised layers. How it is trained, with the decoder, is the loss `ladder`.

    Args:
        data: what an example is.
        network: layers from x to a number for each class: `mlp`, `conv`, or any other `Layered` network.

    Raises:
        ConfigError: the data has no classes; the network is no chain of layers, or has norms of its own.
    """

    def __init__(self, data: DataSpec, *, network: Factory[Network] = default("network", "mlp")) -> None:
        super().__init__(data)
        if data.classes is None:
            raise ConfigError(Problem("a ladder network needs data with classes, and this data has none"))
        self.network = make(network, input=data.shape, output=(data.classes,), condition=None)
        if not isinstance(self.network, Layered):
            message = f"a ladder needs a network that is a chain of layers, and {type(self.network).__name__} is none"
            raise ConfigError(Problem(f"{message}: use one that is ({', '.join(registry().able('network', 'chain'))})"))
        chain = self.network.chain()
        flat = isinstance(chain[0][0], nn.Linear)
        shape = (data.dimensions,) if flat else data.shape
        stages: list[Stage] = []
        for layer, activation in chain:
            stages.append(Stage(layer, activation, shape, last=len(stages) + 1 == len(chain)))
            shape = stages[-1].output
        self.stages = nn.ModuleList(stages)

    @property
    def layers(self) -> list[Stage]:
        """From the input to the top."""
        return [stage for stage in self.stages if isinstance(stage, Stage)]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shape of z at each layer, the input first, which is flat where a linear layer reads it."""
        return [self.layers[0].input, *(stage.output for stage in self.layers)]

    def classify(self, x: Tensor) -> Tensor:
        h = x
        for stage in self.stages:
            h = stage(h)
        return h.log_softmax(-1)

    def paths(self, groups: Sequence[Tensor], noises: Sequence[float]) -> list[Path]:
        """Each group of examples on a path of its own: normalised by its own mean and variance, with its own noise. All
        go through a layer in one product.

        Args:
            groups: x of each, `[n, *event]`.
            noises: standard deviation of the noise that is added to every layer, of each group.
        """
        paths = [Path() for _ in groups]
        for path, x, noise in zip(paths, groups, noises, strict=True):
            path.z.append(_noisy(x.reshape(len(x), *self.layers[0].input), noise))
        h = torch.cat([path.z[0] for path in paths])
        sizes = [len(x) for x in groups]
        for stage in self.layers:
            for path, part, noise in zip(paths, stage.preactivation(h).split(sizes), noises, strict=True):
                path.z.append(_noisy(normalized(part), noise))
                if not noise:
                    path.moments.append(moments(part))
            h = stage.activated(torch.cat([path.z[-1] for path in paths]))
        for path, log_p in zip(paths, h.log_softmax(-1).split(sizes), strict=True):
            path.log_p = log_p
        return paths

    def updates(self, clean: Path) -> list[tuple[Tensor, Tensor]]:
        """What `classify` normalises by, with one batch more: pairs (buffer, new value)."""
        pairs = zip(self.layers, clean.moments, strict=True)
        return [update for stage, (mean, variance) in pairs for update in stage.updates(mean, variance)]


def _noisy(z: Tensor, noise: float) -> Tensor:
    return z.add(torch.randn_like(z), alpha=noise) if noise else z
