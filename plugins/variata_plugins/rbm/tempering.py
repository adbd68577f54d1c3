r"""Persistent chains by parallel tempering. Each chain holds a state x_t at every inverse temperature
0 = beta_1 < ... < beta_T = 1, and after the sweeps neighbours swap their states with probability

    min(1, exp(F_t(x_t) + F_u(x_u) - F_t(x_u) - F_u(x_t))),      u = t + 1,

which leaves the product of the laws invariant. Hot states cross between modes; what arrives at beta = 1 is vk.

Desjardins, Courville, Bengio, Vincent and Delalleau (2010), Parallel tempering for training of restricted Boltzmann
machines. Cho, Raiko and Ilin (2010), Parallel tempering is efficient for learning restricted Boltzmann machines.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from variata import Energy

from .contrastive import Contrastive, Examples, Negatives, Sparsity


class TemperedPCD(Contrastive):
    """PCD-k whose chains are tempered. The metric swap_rate is the share of proposed swaps that were made.

    Args:
        model: gives the sizes.
        k: sweeps at every temperature in each step.
        chains: how many; their states start at training examples.
        temperatures: how many, equally spaced in beta from 0 to 1.
        sparsity: of the hidden units.
    """

    per_process = ("chains.x",)
    betas: Tensor

    def __init__(
        self,
        model: Energy,
        *,
        k: PositiveInt = 1,
        chains: PositiveInt = 100,
        temperatures: Annotated[int, Field(ge=2)] = 10,
        sparsity: Sparsity | None = None,
    ) -> None:
        super().__init__(model, sparsity)
        self.k, self.chains = k, Examples(temperatures * chains, model.spec.shape)
        self.register_buffer("betas", torch.linspace(0, 1, temperatures).repeat_interleave(chains))
        self.temperatures = temperatures

    def negatives(self, model: Energy, x: Tensor) -> Negatives:
        state = self.chains.x
        for _ in range(self.k):
            state = model.gibbs(state, self.betas)
        state, rate = swapped(model, state, self.betas, self.temperatures)
        coldest = state[-(len(state) // self.temperatures) :]
        return Negatives(coldest, [(self.chains.x, state)], {"swap_rate": rate})


def swapped(model: Energy, state: Tensor, betas: Tensor, temperatures: int) -> tuple[Tensor, Tensor]:
    """`[temperatures * chains, *event]` after a round of swaps between neighbours, even pairs and then odd ones, and
    the share that was made."""
    state, beta = (value.unflatten(0, (temperatures, -1)).clone() for value in (state, betas))
    made = []
    for first in range(min(2, temperatures - 1)):
        low, high = slice(first, temperatures - 1, 2), slice(first + 1, temperatures, 2)
        x, y, b, c = (value.flatten(0, 1) for value in (state[low], state[high], beta[low], beta[high]))
        before = model.free_energy(x, b) + model.free_energy(y, c)
        after = model.free_energy(y, b) + model.free_energy(x, c)
        swap = torch.rand_like(before).log() < before - after
        wide, shape = swap.reshape(-1, *[1] * (x.ndim - 1)), state[low].shape
        state[low], state[high] = torch.where(wide, y, x).reshape(shape), torch.where(wide, x, y).reshape(shape)
        made.append(swap)
    return state.flatten(0, 1), torch.cat(made).to(state.dtype).mean()
