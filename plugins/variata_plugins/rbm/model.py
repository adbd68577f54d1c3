r"""The restricted Boltzmann machine, at any inverse temperature beta between the base law (0) and the model (1):

    F_beta(v) = energy_beta(v) - sum_j log(1 + exp(beta (c_j + drive(v)' W_j)))

    p_beta(h_j = 1 | v) = sigmoid(beta (c_j + drive(v)' W_j)),      p_beta(v | h) as the units say (`units.py`)

Both follow from one joint law, exp(-energy_beta(v) + beta (c' h + drive(v)' W h)), so that a sweep v -> h -> v leaves
exp(-F_beta) invariant, in detailed balance.

Hinton (2002), Training products of experts by minimizing contrastive divergence. Hinton (2010), A practical guide to
training restricted Boltzmann machines (initial weights). Salakhutdinov and Murray (2008), On the quantitative
analysis of deep belief networks (the path from the base law to the model).
"""

from __future__ import annotations

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn
from torch.distributions import Distribution

from variata import Autoencoder, Chain, DataSpec, Energy, Factory, Inpainter, default, make

from .partition import log_partition
from .units import VisibleUnits, coin, column, softplus

_INITIAL_STD = 0.01


class RBM(Energy, Chain, Autoencoder, Inpainter):
    """A restricted Boltzmann machine. Its codes are the probabilities of the hidden units.

    Args:
        data: what an example is.
        hidden: how many hidden units.
        visible: what the visible units are; they must suit the data's kind of values.
        burn_in: sweeps before a sample is taken.
        chains: how many chains `sample` runs side by side; by default one for each sample.
        thinning: sweeps between two samples of one chain.
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        hidden: PositiveInt,
        visible: Factory[VisibleUnits] = default("units", "binary"),
        burn_in: NonNegativeInt = 1000,
        chains: PositiveInt | None = None,
        thinning: PositiveInt = 100,
    ) -> None:
        super().__init__(data)
        self.units: VisibleUnits = make(visible, data=data)
        self.weight = nn.Parameter(_INITIAL_STD * torch.randn(data.dimensions, hidden))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.burn_in, self.chains, self.thinning = burn_in, chains, thinning

    def logits(self, x: Tensor) -> Tensor:
        """c + drive(v)' W: what each hidden unit is told, `[batch, hidden]`."""
        return self.units.drive(x.flatten(1)) @ self.weight.to(x.dtype) + self.hidden_bias

    def free_energy(self, x: Tensor, beta: float | Tensor = 1.0) -> Tensor:
        return self.units.energy(x.flatten(1), beta) - softplus(column(beta) * self.logits(x)).sum(-1)

    @torch.no_grad()
    def gibbs(self, x: Tensor, beta: float | Tensor = 1.0) -> Tensor:
        h = coin(column(beta) * self.logits(x))
        return self.units.sample(h @ self.weight.T, beta).reshape(x.shape)

    def base(self) -> Distribution:
        return self.units.base()

    def log_partition(self) -> Tensor:
        return log_partition(self)

    def start(self, n: int, condition: Tensor | None = None) -> tuple[Tensor, ...]:
        return (self.base().sample((n,)),)

    def step(self, state: tuple[Tensor, ...], condition: Tensor | None = None) -> tuple[Tensor, ...]:
        return (self.gibbs(state[0]),)

    def visible(self, state: tuple[Tensor, ...]) -> Tensor:
        return state[0]

    @torch.no_grad()
    def sample_given(self, x: Tensor, observed: Tensor) -> Tensor:
        """Fills what is not observed by `burn_in` sweeps with the observed elements held: in their limit draws from
        p(x_rest | x_observed). `observed` is a mask of x's shape; the other values of x are not read."""
        state = torch.where(observed, x, self.base().sample((len(x),)))
        for _ in range(self.burn_in):
            state = torch.where(observed, x, self.gibbs(state))
        return state

    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.logits(x).sigmoid()

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.units.mean(z @ self.weight.T).reshape(*z.shape[:-1], *self.spec.shape)

    def reconstruction_error(self, x: Tensor) -> Tensor:
        """-log p(x | h) at the probabilities h of the hidden units given x, `[batch]`."""
        return -self.units.log_prob(x.flatten(1), self.encode(x) @ self.weight.T)
