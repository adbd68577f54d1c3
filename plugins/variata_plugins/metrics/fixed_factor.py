r"""Which factor was held fixed in a batch? Scores of how well a simple classifier tells it from the codes:

    FactorVAE  L examples share one factor: argmin_j of the variance of z_j / std(z_j); a vote of each j for a factor
    beta-VAE   L pairs share one factor each: mean of |z - z'|; logistic regression

Kim and Mnih (2018), Disentangling by Factorising, arXiv:1802.05983. Higgins et al. (2017), beta-VAE: Learning Basic
Visual Concepts with a Constrained Variational Framework. Both scores are accuracies on votes that were not learned
from; the papers give those on all votes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import PositiveInt
from torch import Tensor

from variata import Autoencoder, Data, Estimate, EvaluationSettings, FactorData, LatentVariable, Metric, estimate, stage

from .codes import codes_of_factors, known_factors, random_factors

_ACTIVE, _ROUNDING = 0.01, 1e-12
_VOTES_AT_ONCE = 20


class FactorVAEScore(Metric):
    """ "factor_vae_score": 1 where each factor is one dimension's. Dimensions that do not vary have no vote, nor have
    units that are not active in a latent-variable model (a variance of 0.01 or less).

    Args:
        votes: to learn from, and as many again to be told.
        batch: L.
        examples: random combinations that the dimensions' variances are taken from.
    """

    requires = Autoencoder

    def __init__(self, *, votes: PositiveInt = 800, batch: PositiveInt = 64, examples: PositiveInt = 10_000) -> None:
        self.votes, self.batch, self.examples = votes, batch, examples

    def measure(self, model: Autoencoder, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        known, varying = known_factors(data)
        variance = codes_of_factors(model, known, random_factors(known, self.examples)).var(0)
        active = variance > (_ACTIVE if isinstance(model, LatentVariable) else _ROUNDING * variance.max())
        notes = {"votes": self.votes, "batch": self.batch, "active_dimensions": int(active.sum())}
        if not active.any():
            return {"factor_vae_score": estimate(torch.full((self.votes,), 1 / len(varying))) | notes}

        def least(codes: Tensor) -> Tensor:
            return (codes[..., active].var(1) / variance[active]).argmin(1)

        fixed, winner = _votes(model, known, list(varying), self.votes, self.batch, least)
        counts = torch.zeros(int(active.sum()), len(known.factors), dtype=torch.long)
        learn = slice(0, self.votes)
        counts.index_put_((winner[learn], fixed[learn]), torch.ones(self.votes, dtype=torch.long), accumulate=True)
        said = counts.argmax(1)[winner[self.votes :]]
        return {"factor_vae_score": estimate((said == fixed[self.votes :]).double()) | notes}


class BetaVAEScore(Metric):
    """ "beta_vae_score": 1 where a linear classifier tells each fixed factor.

    Args:
        votes: to learn from, and as many again to be told.
        batch: L.
    """

    requires = Autoencoder

    def __init__(self, *, votes: PositiveInt = 800, batch: PositiveInt = 64) -> None:
        self.votes, self.batch = votes, batch

    def measure(self, model: Autoencoder, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        def difference(codes: Tensor) -> Tensor:
            return (codes[:, ::2] - codes[:, 1::2]).abs().mean(1)

        known, varying = known_factors(data)
        fixed, apart = _votes(model, known, list(varying), self.votes, 2 * self.batch, difference, pairs=True)
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        probe.fit(apart[: self.votes].numpy(), fixed[: self.votes].numpy())
        said = torch.from_numpy(probe.predict(apart[self.votes :].numpy()))
        right = (said == fixed[self.votes :]).double()
        return {"beta_vae_score": estimate(right, votes=self.votes, batch=self.batch)}


def _votes(
    model: Autoencoder,
    data: FactorData,
    varying: list[int],
    votes: int,
    batch: int,
    summary: Callable[[Tensor], Tensor],
    pairs: bool = False,
) -> tuple[Tensor, Tensor]:
    """The factor that was fixed in each of twice as many votes, and the summary of its codes `[votes, batch, d]`.
    A factor is fixed over the whole batch, or over each pair of neighbours in it."""
    fixed, found, advance = [], [], stage("fixing factors", 2 * votes)
    for start in range(0, 2 * votes, _VOTES_AT_ONCE):
        count = min(_VOTES_AT_ONCE, 2 * votes - start)
        chosen = torch.tensor(varying)[torch.randint(len(varying), (count,))]
        values = random_factors(data, count * batch).unflatten(0, (count, batch))
        shared = values.unflatten(1, (-1, 2))[:, :, :1].expand(-1, -1, 2, -1).flatten(1, 2) if pairs else values[:, :1]
        is_fixed = torch.arange(len(data.factors)) == chosen[:, None, None]
        values = torch.where(is_fixed, shared.expand_as(values), values)
        codes = codes_of_factors(model, data, values.flatten(0, 1)).unflatten(0, (count, batch))
        fixed.append(chosen)
        found.append(summary(codes))
        advance(count)
    return torch.cat(fixed), torch.cat(found)
