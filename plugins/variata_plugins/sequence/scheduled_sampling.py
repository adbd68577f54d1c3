r"""Scheduled sampling: while it learns, a model is sometimes told its own draw in place of the token before.

    minimise  -sum_t log p(x_t | x~_1 ... x~_(t-1)),   x~_t = x_t, or with probability e a draw of the model's own

With e = 0 it is the negative log-likelihood. With e > 0 it is no likelihood, and its optimum is no longer the law of
the data (Huszar, 2015, arXiv:1511.05101); `nll` is logged beside it. One pass for each token.

Bengio, Vinyals, Jaitly and Shazeer (2015), Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks,
arXiv:1506.03099.
"""

from __future__ import annotations

import torch
from torch import Tensor

from variata import Batch, Clock, ConfigError, Now, Objective, OnePhaseLoss, Problem, Scheduled, Sequences, Term

from .decoding import bounded
from .law import StringLaw
from .written import WritingModel


class ScheduledSampling(OnePhaseLoss):
    """Of models that write strings. While a model is not learning (in validation) it is the negative log-likelihood.

    Args:
        share: probability that a token before is the model's own draw, a number or a schedule.

    Raises:
        ConfigError: it is no probability.
    """

    requires = WritingModel

    def __init__(self, *, share: Scheduled = 0.25) -> None:
        super().__init__()
        for moment in (Now(Clock(0, 1, 1)), Now.at_end()):
            if not 0 <= moment(share) <= 1:
                raise ConfigError(
                    Problem(f"share is a probability, from 0 to 1 (got {float(moment(share)):g})", "share")
                )
        self.share = share

    def forward(self, model: WritingModel, batch: Batch, now: Now) -> Objective:
        law, x = model.law(len(batch), batch.y), batch.x
        if not model.training:
            log_p = law.log_prob(x)
            return Objective({"nll": Term(-log_p)}, {"log_likelihood": log_p})
        return Objective({"nll": Term(-log_prob_of_own(law, x, torch.as_tensor(now(self.share))))})


def log_prob_of_own(law: StringLaw, x: Tensor, share: Tensor) -> Tensor:
    """sum_t log p(x_t | x~_1 ... x~_(t-1)), `[batch]`, the tokens before drawn by the law itself with probability
    `share`, without a gradient through the draws. A string goes on to the end of x, whatever was drawn."""
    strings, n = Sequences(x), len(x)
    before, state = strings.before()[:, 0], law.decoder.begin(n, law.context)
    total = x.new_zeros(n)
    for place, (tokens, there) in enumerate(zip(strings.tokens.T, strings.mask.T, strict=True)):
        scores, state = law.decoder.step(before, state, law.context)
        log_p = bounded(scores, place, law.longest)
        found = log_p.gather(1, (tokens - 1).clamp(min=0).unsqueeze(1)).squeeze(1)
        total = total + torch.where(there, found, torch.zeros_like(found))
        own = torch.multinomial(log_p.detach().exp(), 1).squeeze(1) + 1
        before = torch.where(torch.rand(n, device=x.device) < share.to(x.device), own, tokens)
    return total
