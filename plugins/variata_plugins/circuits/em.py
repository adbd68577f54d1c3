r"""Expectation maximisation. Log p(x) of a circuit is a log-sum of products of probabilities theta, hence

    n_o = sum over x of d log p(x) / d log theta_o          the expected number of times that outcome o was chosen
    theta_o <- (1 - eta) theta_o + eta (n_o + alpha / m) / (sum_o n_o + alpha),    m outcomes

With all examples in one batch, eta = 1 and alpha = 0 the likelihood never falls; with alpha the penalised likelihood
sum log p(x) + alpha / m sum log theta never falls. With mini-batches eta < 1, falling during training.

Laws that are no tables of outcomes move by expected statistics in the same way (`gaussian.py`); alpha is not for them.

Dempster, Laird and Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm. Peharz et al. (2020),
Einsum networks, arXiv:2004.06231 (counts from automatic differentiation). Cappe and Moulines (2009), Online EM,
arXiv:0712.4273.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from pydantic import NonNegativeFloat
from torch import Tensor, nn

from variata import Batch, ConfigError, Loss, Now, Objective, Optimizer, Phase, Problem, Scheduled, Term, default

from .leaves import Moments
from .model import Circuit

_NO_COUNTS = "em moves log-probabilities by the counts in their gradients: set loss=em, or another optimizer"


class EM(Optimizer):
    """Moves log-probabilities `[n, outcomes, units]`, normalised over outcomes, to the expected counts in their
    gradients.

    Args:
        lr: eta.
        pseudocount: alpha, for each distribution; its outcomes share it equally. Counts are those of a batch.

    Raises:
        ConfigError: other parameters, or gradients that are no counts: the loss is not `em`.
    """

    def __init__(self, *, lr: Scheduled = 1.0, pseudocount: NonNegativeFloat = 0.1) -> None:
        self.lr, self.pseudocount = lr, pseudocount

    def build(self, parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        if any(parameter.ndim != 3 for parameter in parameters):
            raise ConfigError(Problem(_NO_COUNTS, "train.optimizer"))
        return ExpectationMaximisation(parameters, lr, self.pseudocount)


class OfCircuit(Optimizer):
    """`EM` for a circuit whose leaves move by statistics of their own."""

    def __init__(self, em: EM, leaves: Moments) -> None:
        self.em, self.leaves, self.lr = em, leaves, em.lr

    def build(self, parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        return ExpectationMaximisation(parameters, lr, self.em.pseudocount, self.leaves)


class ExpectationMaximisation(torch.optim.Optimizer):
    """The step of `EM`. Gradients are those of minus the summed log-likelihood with respect to log-probabilities, and
    to the parameters of leaves that move themselves."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, pseudocount: float, leaves: Moments | None = None
    ) -> None:
        super().__init__(parameters, {"lr": lr, "pseudocount": pseudocount})
        self._leaves = leaves

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if self._leaves is not None and parameter is self._leaves.theta:
                    self._leaves.maximise_(-parameter.grad, group["lr"])
                else:
                    _move(parameter, -parameter.grad, group["lr"], group["pseudocount"])


def _move(theta: Tensor, counts: Tensor, lr: float, pseudocount: float) -> None:
    """One step of one tensor. A distribution that nothing was counted for stays as it is; a probability of zero becomes
    the least that its type holds, since 0 log 0 is not a number."""
    if counts.min() < 0:
        raise ConfigError(Problem(_NO_COUNTS, "train.optimizer"))
    counts = counts.clamp(min=0) + pseudocount / theta.shape[1]
    total = counts.sum(1, keepdim=True)
    target = torch.where(total > 0, counts / total, theta.exp())
    moved = torch.lerp(theta.exp(), target, lr) if lr < 1 else target
    theta.copy_(moved.clamp_(min=torch.finfo(theta.dtype).tiny).log_())


class ByEM(Loss):
    """Minus the log-likelihood of a circuit, summed over a batch and moved by its own optimizer.

    Args:
        optimizer: `em`, with its step and its pseudocount.

    Raises:
        ConfigError: another optimizer, or leaves that cannot be moved by counts.
    """

    requires = Circuit

    def __init__(self, model: Any, *, optimizer: Optimizer = default("optimizer", "em")) -> None:
        super().__init__()
        if not isinstance(optimizer, EM):
            message = "em reads counts from gradients and needs its own optimizer (use: em); for others, set loss=nll"
            raise ConfigError(Problem(message, "loss.optimizer"))
        self.optimizer: EM = optimizer
        if isinstance(model, Circuit) and not model.leaves.countable:
            message = f"the parameters of {type(model.leaves).__name__} leaves cannot be counted: set loss=nll"
            raise ConfigError(Problem(message))

    def phases(self, model: Circuit) -> Sequence[Phase]:
        model.normalise_()
        parameters, leaves = [p for p in model.parameters() if p.requires_grad], model.leaves
        return [
            Phase(
                name="em",
                loss=self,
                parameters=parameters,
                reduction="sum",
                clip=False,
                autocast=False,
                optimizer=OfCircuit(self.optimizer, leaves) if isinstance(leaves, Moments) else self.optimizer,
            )
        ]

    def forward(self, model: Circuit, batch: Batch, now: Now) -> Objective:
        log_p = model.log_density(batch.x, normalise=False)
        return Objective({"nll": Term(-log_p)}, {"log_likelihood": log_p})
