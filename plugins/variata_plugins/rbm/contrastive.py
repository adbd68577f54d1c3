r"""The gradient of log p, as a difference of free energies that autograd differentiates:

    d log p(v0) / d theta = -dF(v0)/d theta + E_p[dF(v)/d theta]        minimise  F(v0) - F(vk),  vk held constant,

where vk ~ p is replaced by what chains of k sweeps hold. The losses differ in where their chains start. The value of
the surrogate is no likelihood and need not fall; what is logged beside it says more:

    free_energy            F(v0)
    free_energy_gap        F of a validation example less the mean F of fixed training examples: overfitting, where
                           it grows (Z cancels)
    pseudo_log_likelihood  D log p(v_i | all others) at an i drawn at random: unbiased for the sum over i; binary data
    reconstruction_error   -log p(v | E[h | v])

Sparsity pulls the running mean q of each hidden unit's probability towards a target p, by the gradient q - p of its
cross entropy with respect to the unit's total input.

Hinton (2010), A practical guide to training restricted Boltzmann machines, sections 11 (sparsity), 5 and 6 (what to
watch). Besag (1975), Statistical analysis of non-lattice data (pseudo-likelihood).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from variata import Batch, ConfigError, Energy, Now, Objective, OnePhaseLoss, Prepares, Problem, Shape, Term, gathered

from .model import RBM

Probability = Annotated[float, Field(gt=0, lt=1)]
_REFERENCE = 256


@dataclass(kw_only=True)
class Sparsity:
    """Hidden units that are rarely on.

    Attributes:
        target: the wanted mean probability, p.
        cost: weight of the pull.
        decay: how much of the running mean q each step keeps.
    """

    target: Probability = 0.1
    cost: PositiveFloat = 0.01
    decay: Probability = 0.9


@dataclass
class Negatives:
    """vk `[n, *event]`, the state of the chains to commit, and metrics of how they moved."""

    x: Tensor
    updates: Sequence[tuple[Tensor, Tensor]] = ()
    metrics: Mapping[str, Tensor] = field(default_factory=dict)


class Examples(nn.Module, Prepares):
    """n training examples, evenly spread over the data; repeated where there are fewer. Zeros before
    `variata.prepare`."""

    x: Tensor

    def __init__(self, n: int, shape: Shape) -> None:
        super().__init__()
        self.register_buffer("x", torch.zeros(n, *shape))

    def prepare(self, stream: Iterable[Batch]) -> None:
        total = sum(len(batch) for batch in stream)
        rows, start = torch.arange(len(self.x)) * total // len(self.x), 0
        for batch in stream:
            here = (rows >= start) & (rows < start + len(batch))
            self.x[here.to(self.x.device)] = batch.x[rows[here] - start].to(self.x)
            start += len(batch)


class Contrastive(OnePhaseLoss):
    """What every estimate by chains shares.

    Args:
        model: gives the sizes of what is kept.
        sparsity: of a restricted Boltzmann machine's hidden units.

    Raises:
        ConfigError: sparsity is asked of a model without such units.
    """

    requires = Energy
    gathers = True
    activation: Tensor

    def __init__(self, model: Energy, sparsity: Sparsity | None) -> None:
        super().__init__()
        self.sparsity = sparsity
        self.reference = Examples(_REFERENCE, model.spec.shape)
        if sparsity is not None:
            if not isinstance(model, RBM):
                raise ConfigError(Problem(f"sparsity needs the hidden units of an rbm, not {type(model).__name__}"))
            self.couples_batch = True
            self.register_buffer("activation", torch.full_like(model.hidden_bias.detach(), sparsity.target))

    @abstractmethod
    def negatives(self, model: Energy, x: Tensor) -> Negatives:
        """vk for a batch v0 = x `[batch, *event]`. Called without gradients."""

    def forward(self, model: Energy, batch: Batch, now: Now) -> Objective:
        with torch.no_grad():
            chains = self.negatives(model, batch.x)
        energy = model.free_energy(batch.x)
        terms = {"data": Term(energy), "model": Term(model.free_energy(chains.x).mean(), scale=-1.0)}
        metrics, updates = {"free_energy": energy.detach(), **chains.metrics}, [*chains.updates]
        if self.sparsity is not None:
            assert isinstance(model, RBM)
            logits = model.logits(batch.x)
            seen = gathered(logits.detach().sigmoid()).mean(0)
            mean = self.sparsity.decay * self.activation + (1 - self.sparsity.decay) * seen
            terms["sparsity"] = Term(((mean - self.sparsity.target) * logits).sum(-1), scale=self.sparsity.cost)
            metrics["activation_rate"] = mean.mean()
            updates.append((self.activation, mean))
        if not self.training:
            metrics |= self._diagnoses(model, batch.x, metrics["free_energy"])
        return Objective(terms, metrics, updates)

    @torch.no_grad()
    def _diagnoses(self, model: Energy, x: Tensor, energy: Tensor) -> dict[str, Tensor]:
        found = {"free_energy_gap": energy - model.free_energy(self.reference.x).mean()}
        if model.spec.support == "binary":
            found["pseudo_log_likelihood"] = pseudo_log_likelihood(model, x, energy)
        if isinstance(model, RBM):
            found["reconstruction_error"] = model.reconstruction_error(x)
        return found


def pseudo_log_likelihood(model: Energy, x: Tensor, energy: Tensor) -> Tensor:
    """D log p(x_i | the other elements), `[batch]`, at one i drawn for each binary example, whose free energies are
    given."""
    flat = x.flatten(1)
    i = torch.randint(flat.shape[1], (len(flat), 1), device=x.device)
    flipped = flat.scatter(1, i, 1 - flat.gather(1, i)).reshape(x.shape)
    return flat.shape[1] * logsigmoid(model.free_energy(flipped) - energy)
