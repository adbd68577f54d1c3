"""What the bounds on log p(x) are made of. ELBO, beta-VAE, IWAE, free bits, STL, DReG are arithmetic on `Terms`."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.distributions import Distribution

from .distributions import Layer
from .errors import Unsupported


class Terms:
    """What the bounds on log p(x) are made of: the drawn layers, and log p(x | z).

    Attributes:
        layers: one `Layer` for each stochastic layer, in the order in which the model generates: what a prior depends
            on stands before it.
        log_likelihood: log p(x | z), `[*samples, batch]`.
        samples: None, or the number of draws on the leading axis.
        likelihood: p(x | z) at the draws, where the model says it: what simulates x with its z needs it.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        log_likelihood: Tensor,
        samples: int | None,
        likelihood: Distribution | None = None,
    ) -> None:
        lead = layers[-1].z.ndim - len(layers[-1].q.event_shape)
        if log_likelihood.shape != layers[-1].z.shape[:lead]:
            raise Unsupported(
                f"log p(x | z) has the shape {list(log_likelihood.shape)}, not one value for each draw and example "
                f"{list(layers[-1].z.shape[:lead])}: wrap the decoder's law in torch.distributions.Independent"
            )
        self.layers, self.log_likelihood, self.samples = tuple(layers), log_likelihood, samples
        # Not cached_property: its lock cannot be traced into a graph.
        self._reconstruction: Tensor | None = None
        self._kl: Tensor | None = None
        self.likelihood = likelihood

    @property
    def only_layer(self) -> Layer:
        """The one stochastic layer, for what is defined for one alone.

        Raises:
            Unsupported: there are several.
        """
        first, *deeper = self.layers
        if deeper:
            message = f"this is defined for a model with one stochastic layer, and this one has {len(self.layers)}"
            raise Unsupported(message)
        return first

    def mean_over_samples(self, value: Tensor, event_dims: int = 0) -> Tensor:
        """`[*samples, batch, *event]` -> `[batch, *event]`; what has no samples axis (a KL in closed form) stays as it
        is."""
        return value.mean(0) if self.samples is not None and value.ndim == 2 + event_dims else value

    @property
    def reconstruction(self) -> Tensor:
        """E_q[log p(x | z)], `[batch]`."""
        if self._reconstruction is None:
            self._reconstruction = self.mean_over_samples(self.log_likelihood)
        return self._reconstruction

    @property
    def kl(self) -> Tensor:
        """KL(q || p) of all layers together, `[batch]`."""
        if self._kl is None:
            first, *rest = (self.mean_over_samples(layer.kl) for layer in self.layers)
            self._kl = sum(rest, first)
        return self._kl

    @property
    def elbo(self) -> Tensor:
        """reconstruction - kl, `[batch]`."""
        return self.reconstruction - self.kl

    def log_weights(self, stop: str | None = None) -> Tensor:
        """log p(x, z) - log q(z | x), `[*samples, batch]`; `stop` as in `Layer.log_q`.

        Raises:
            Unsupported: `stop` with several layers, where holding q constant is not the same thing.
        """
        if stop is not None and len(self.layers) > 1:
            raise Unsupported("gradients that hold q's parameters constant are not defined here for several layers")
        total = self.log_likelihood
        for layer in self.layers:
            total = total + layer.log_ratio(stop)
        return total

    def metrics(self) -> dict[str, Tensor]:
        """elbo, reconstruction and kl, each `[batch]`, always at beta = 1."""
        reconstruction, kl = self.reconstruction.detach(), self.kl.detach()
        return {"elbo": reconstruction - kl, "reconstruction": reconstruction, "kl": kl}
