r"""q(z | x) = N(mu, diag sigma^2), with [mu | log sigma^2] = h(x / s, log s) and s^2 = mean over t of x^2 + 1e-8.

A network that is given x itself has to be as good at whispers as at shouts; here all signals have one loudness, and it
stands beside them as one more channel, the same at every t.
"""

from __future__ import annotations

import torch
from torch import Tensor

from variata import ConfigError, DataSpec, DiagonalNormal, Encoder, Factory, Network, Problem, Shape, default, make


class SignalEncoder(Encoder):
    """A diagonal Gaussian posterior of a signal `(channels, length)`.

    Args:
        data, latent, condition: sizes, from the model.
        network: h, which reads `(channels + 1, length)` and gives mu and log sigma^2, packed.

    Raises:
        ConfigError: examples are no signals.
    """

    def __init__(
        self,
        data: DataSpec,
        latent: int,
        condition: Shape | None,
        *,
        network: Factory[Network] = default("network", "conv1d"),
    ) -> None:
        super().__init__()
        if len(data.shape) != 2:
            raise ConfigError(
                Problem(f"a signal has the shape (channels, length), and an example is {list(data.shape)}")
            )
        channels, length = data.shape
        self.network = make(network, input=(channels + 1, length), output=(2 * latent,), condition=condition)

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiagonalNormal:
        scale = (x.square().mean((-2, -1), keepdim=True) + 1e-8).sqrt()
        loudness = scale.log().expand_as(x[..., :1, :])
        return DiagonalNormal.packed(self.network(torch.cat([x / scale, loudness], -2), y))
