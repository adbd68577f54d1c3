r"""What may stand between the layers of a network beside a nonlinearity.

    batch   (h - m) / s * a + b, with mean m and standard deviation s of each feature over the batch (and the positions)
            in training, and their running means afterwards. An example then depends on its batch: a network that has it
            says `couples_batch`.
    layer   the same with m and s of each example, over all features (and positions)
    group   the same over groups of at least 16 features

    spectral norm   W / s(W), with s the greatest singular value of the layer's weight matrix, `[out, in * kernel]` for
                    convolutions, by a step of power iteration each time the layer is used in training. A linear layer
                    is then 1-Lipschitz; of a convolution, s is that of the matrix and not of the map.

Ioffe and Szegedy (2015), Batch Normalization, arXiv:1502.03167. Ba, Kiros and Hinton (2016), Layer Normalization,
arXiv:1607.06450. Wu and He (2018), Group Normalization, arXiv:1803.08494. Miyato, Kataoka, Koyama and Yoshida (2018),
Spectral Normalization for Generative Adversarial Networks, arXiv:1802.05957. Srivastava et al. (2014), Dropout.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import batch_norm
from torch.nn.utils.parametrizations import spectral_norm

from variata import ConfigError, Network, Problem

Norm = Literal["none", "batch", "group", "layer"]
Rate = Annotated[float, Field(ge=0, lt=1)]

_GROUP = 16


class BatchNorm(nn.Module):
    """Batch normalisation of features `[n, features, *positions]`. A single value has no spread: a batch of one example
    without positions is normalised by the running means."""

    mean: Tensor
    variance: Tensor

    def __init__(self, features: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("variance", torch.ones(features))
        self.momentum, self.eps = momentum, eps

    def forward(self, h: Tensor) -> Tensor:
        learns = self.training and h.numel() > h.shape[1]
        return batch_norm(h, self.mean, self.variance, self.scale, self.shift, learns, self.momentum, self.eps)


def norm_of(name: Norm, features: int) -> nn.Module:
    """The normalisation of that name, of features `[n, features, *positions]`.

    >>> norm_of("group", 64).num_groups, norm_of("group", 10).num_groups, norm_of("layer", 64).num_groups
    (4, 1, 1)
    """
    if name == "batch":
        return BatchNorm(features)
    if name == "none":
        return nn.Identity()
    groups = max(1, features // _GROUP) if name == "group" else 1
    while features % groups:
        groups -= 1
    return nn.GroupNorm(groups, features)


def constrained(layer: nn.Module, spectral: bool) -> nn.Module:
    """The layer, with its spectral norm held at 1 where that is asked for."""
    return spectral_norm(layer) if spectral else layer


def check_bare(network: Network, beside: Mapping[str, object]) -> None:
    """Refuses a network that has something beside layers and nonlinearities.

    Raises:
        ConfigError: naming it.
    """
    if found := [name for name, value in beside.items() if value]:
        message = f"a chain of layers alone is asked for, and this {type(network).__name__} has {', '.join(found)} too"
        raise ConfigError(Problem(f"{message}: leave that out"))
