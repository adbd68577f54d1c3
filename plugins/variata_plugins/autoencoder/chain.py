r"""To corrupt and to restore, in turn, is a Markov chain,

    x~_t ~ C(x~ | x_t),    (h_{t+1}, P) = f(x~_t, h_t),    x_{t+1} ~ P(x | h_{t+1}).

If P is the conditional law of x given x~ under p_data(x) C(x~ | x), p_data is its stationary law; a consistent estimate
of the first gives one of the second (Bengio, Yao, Alain and Vincent, 2013, Generalized Denoising Auto-Encoders as
Generative Models, arXiv:1305.6663, theorem 1). Without a memory h it is a denoising autoencoder, with one a generative
stochastic network. Chains start from the law of independent elements that have the training data's means and spreads.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from variata import Autoencoder, Batch, Chain, Corruption, DataSpec, Prepares

from .point import Point, nearest

State = tuple[Tensor, ...]


class DenoisingChain(Chain, Autoencoder):
    """A model that walks by restoring what is corrupted. Its state is x `[n, *event]`, what is shown of it, and its
    memory. What is shown is x, and of a point that is drawn by coins, the point.

    Attributes:
        corruption: C.
        origin: where chains start.
        reach: after how many steps every parameter has a part in what is restored.
    """

    corruption: Corruption
    origin: IndependentElements
    reach: int = 1

    @abstractmethod
    def memory(self, n: int) -> State:
        """h_0 of n chains."""

    @abstractmethod
    def restore(self, x: Tensor, memory: State, y: Tensor | None = None) -> tuple[Distribution, State]:
        """Corrupts x_t, and restores it: P(x | h_{t+1}) of batch shape `[n]`, and h_{t+1}. Differentiable in the
        parameters and the memory."""

    def start(self, n: int, condition: Tensor | None = None) -> State:
        x = self.origin.draw(n)
        return (x, x, *self.memory(n))

    @torch.no_grad()
    def step(self, state: State, condition: Tensor | None = None) -> State:
        x, _, *memory = state
        law, after = self.restore(x, tuple(memory), condition)
        x = law.sample()
        return (x, law.shown() if isinstance(law, Point) else x, *after)

    def visible(self, state: State) -> Tensor:
        return state[1]


class IndependentElements(nn.Module, Prepares):
    """The law of independent elements with the training data's means and spreads. Before `variata.prepare`, the means
    lie in the middle of the range and the spreads are 1.

    Args:
        data: what an example is.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        self.data = data
        middle = 0.0 if data.support == "real" else (data.low + data.high) / 2
        self.register_buffer("mean", torch.full(data.shape, middle))
        self.register_buffer("spread", torch.ones(data.shape))

    @torch.no_grad()
    def prepare(self, stream: Iterable[Batch]) -> None:
        total, squares, n = torch.zeros_like(self.mean, dtype=torch.float64), 0.0, 0
        for batch in stream:
            total += batch.x.double().sum(0)
            n += len(batch)
        mean = total / max(n, 1)
        for batch in stream:
            squares = squares + (batch.x.double() - mean).square().sum(0)
        self.mean.copy_(mean)
        self.spread.copy_(torch.as_tensor(squares / max(n, 1)).sqrt())

    def draw(self, n: int) -> Tensor:
        """n examples, `[n, *event]`: Bernoulli of binary data, else normal, at the nearest value that the data may
        have."""
        mean, data = self.mean.expand(n, *self.mean.shape), self.data
        if data.support == "binary":
            return torch.bernoulli(mean)
        return nearest(torch.normal(mean, self.spread.expand_as(mean)), data)
