r"""beta-TCVAE: the KL term in three parts, each with a weight of its own.

    E_x KL(q(z|x) || p(z))  =  I(x; z)  +  KL(q(z) || prod_d q(z_d))  +  sum_d KL(q(z_d) || p(z_d))
                               index-code   total correlation            dimension-wise KL
                               information

    minimise  -E_q[log p(x | z)] + alpha I + beta TC + gamma (dimension-wise KL),     q(z) = 1/N sum_n q(z | x_n)

For z_i ~ q(z | x_i) the three are log q(z_i | x_i) - log q(z_i), log q(z_i) - sum_d log q(z_id) and
sum_d log q(z_id) - log p(z_i), so that they sum to the KL whatever stands for q(z). Of a batch of M of the N training
examples, with q_ij = q(z_i | x_j) for the joint density, or for that of one dimension:

    full   1/M sum_j q_ij              where the batch is the whole data set: exact
    mws    1/(N M) sum_j q_ij          minibatch-weighted sampling: too small by the factor N at M = N
    mss    1/N q_ii + (N-1)/(N (M-1)) sum_(j != i) q_ij
                                       minibatch stratified sampling: unbiased for q(z_i), exact at M = N

The paper's mss singles out one of the other examples, with the weight (N - M + 1)/(N (M - 1)), and gives 1/(M - 1) to
the rest; which one is arbitrary, and this is the mean over all choices: the same expectation with less variance.

Chen, Li, Grosse and Duvenaud (2018), Isolating Sources of Disentanglement in VAEs, arXiv:1802.04942 (appendix C for the
estimators). Hoffman and Johnson (2016), ELBO surgery: yet another way to carve up the variational evidence lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from variata import (
    Batch,
    ConfigError,
    DiagonalNormal,
    LatentVariable,
    Layer,
    NotPrepared,
    Now,
    Objective,
    OnePhaseLoss,
    Prepares,
    Problem,
    Scheduled,
    Term,
    Unsupported,
)
from variata_kernels import log_density_matrix

Estimator = Literal["full", "mws", "mss"]


@dataclass
class Decomposition:
    """The three parts at one draw of each example, `[batch]` in nats; their sum is log q(z | x) - log p(z)."""

    mutual_information: Tensor
    total_correlation: Tensor
    dimension_wise_kl: Tensor


class BetaTC(OnePhaseLoss, Prepares):
    """The negative evidence lower bound with its KL in three weighted parts. The metrics elbo, reconstruction and kl
    are those of the bound itself, and the three parts are logged beside them.

    Args:
        alpha, beta, gamma: weights of the index-code mutual information, the total correlation and the dimension-wise
            KL.
        estimator: what stands for q(z).

    Raises:
        ConfigError: a negative weight.
    """

    requires = LatentVariable
    couples_batch = True
    examples: Tensor

    def __init__(
        self,
        *,
        alpha: Scheduled = 1.0,
        beta: Scheduled = 6.0,
        gamma: Scheduled = 1.0,
        estimator: Estimator = "mss",
    ) -> None:
        super().__init__()
        for name, value in (("alpha", alpha), ("beta", beta), ("gamma", gamma)):
            if isinstance(value, float | int) and value < 0:
                raise ConfigError(Problem(f"{name} must not be negative (got {value:g})"))
        self.alpha, self.beta, self.gamma = alpha, beta, gamma
        self.estimator: Estimator = estimator
        self.register_buffer("examples", torch.zeros((), dtype=torch.int64))

    def prepare(self, stream: Iterable[Batch]) -> None:
        """Counts the training examples: N."""
        self.examples.fill_(sum(len(batch) for batch in stream))

    def forward(self, model: LatentVariable, batch: Batch, now: Now) -> Objective:
        terms = model.terms(batch.x, batch.y)
        parts = decomposed(terms.only_layer, self.estimator, self._dataset_size(len(batch)))
        weighted = {
            "mutual_information": Term(parts.mutual_information, now(self.alpha)),
            "total_correlation": Term(parts.total_correlation, now(self.beta)),
            "dimension_wise_kl": Term(parts.dimension_wise_kl, now(self.gamma)),
        }
        logged = {name: term.value.detach() for name, term in weighted.items()}
        return Objective({"distortion": Term(-terms.reconstruction), **weighted}, {**terms.metrics(), **logged})

    def _dataset_size(self, batch: int) -> int:
        """N.

        Raises:
            NotPrepared: it is not known.
            ConfigError: q(z) is to be taken over the whole data set, and the batch is a part of it.
        """
        examples = int(self.examples)
        if not examples:
            raise NotPrepared(
                "beta_tc does not know how many training examples there are: call variata.prepare(loss, data)"
            )
        if self.training and self.estimator == "full" and batch != examples:
            message = f"estimator full needs all {examples} training examples in a batch, which has {batch}"
            raise ConfigError(Problem(f"{message}: set train.batch_size={examples}, or loss.estimator=mss", "loss"))
        return examples


def decomposed(layer: Layer, estimator: Estimator, examples: int) -> Decomposition:
    """The KL of a drawn layer in three parts.

    Args:
        layer: one draw of each example, by diagonal Gaussians.
        estimator: what stands for q(z), as above.
        examples: N.

    Raises:
        Unsupported: another kind of posterior or prior.
    """
    q, p = layer.q, layer.p
    if not (isinstance(q, DiagonalNormal) and isinstance(p, DiagonalNormal)):
        what = f"{type(q).__name__} and {type(p).__name__}"
        raise Unsupported(f"beta_tc needs a Gaussian posterior and prior whose dimensions are independent, not {what}")
    z, mean, logvar = (value.flatten(1) for value in (layer.z, q.mu, q.logvar))
    joint, marginal = log_density_matrix(z, mean, logvar)
    if estimator == "mss":
        own = -0.5 * ((z - mean).square() * (-logvar).exp() + logvar + math.log(2 * math.pi))
        log_q = _stratified(joint, own.sum(-1), len(z), examples)
        log_each = _stratified(marginal, own, len(z), examples).sum(-1)
    else:
        constant = math.log(len(z)) + (math.log(examples) if estimator == "mws" else 0.0)
        log_q, log_each = joint - constant, (marginal - constant).sum(-1)
    return Decomposition(layer.log_q() - log_q, log_q - log_each, log_each - layer.log_p)


def _stratified(total: Tensor, own: Tensor, batch: int, examples: int) -> Tensor:
    r"""log [ own/N + (N-1)/(N (M-1)) (total - own) ] of log densities. What rounding leaves of the difference enters
    with the factor N/M. One example alone stands for the data set."""
    if batch == 1:
        return own
    share = (-torch.expm1(own - total)).clamp(min=torch.finfo(total.dtype).tiny)
    others = total + share.log() + math.log((examples - 1) / (batch - 1))
    return torch.logaddexp(own, others) - math.log(examples)
