r"""What trains an autoencoder with a codebook.

    minimise  -log p(x | z) + beta mean_i |h_i - sg(e_(c_i))|^2  [ + mean_i |sg(h_i) - e_(c_i)|^2 ]

where sg is held constant: the second term commits the encoder to the vectors that it chose. The vectors move by the
last term (codebook: gradient), or, without it, by moving averages of what chose them (codebook: ema),

    N_k <- d N_k + (1 - d) n_k,     N_k e_k <- d N_k e_k + (1 - d) sum_(c_i = k) h_i,

which for d = 0 is a step of k-means. A vector whose N_k falls below a share of the mean count is dead: it becomes an h
of the batch, drawn at random, with the mean count.

van den Oord, Vinyals and Kavukcuoglu (2017), Neural Discrete Representation Learning, arXiv:1711.00937 (section 3.2,
and appendix A.1 for the averages). Dhariwal, Jun, Payne, Kim, Radford and Sutskever (2020), Jukebox: A Generative Model
for Music, arXiv:2005.00341 (restarts).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from variata import Batch, ConfigError, Loss, Now, Objective, Phase, Problem, Scheduled, Term

from .model import VQVAE


class VectorQuantisation(Loss):
    """Likelihood, commitment, and a codebook that moves. The metric perplexity is exp of the entropy of the codes' use
    in the batch: K where all of them are used equally.

    Args:
        model: gives the sizes.
        commitment: beta.
        codebook: how the vectors move, "ema" or "gradient".
        decay: d of the averages.
        restart: share of the mean count below which a vector is dead; 0 restarts none.

    Raises:
        ConfigError: a negative commitment.
    """

    requires = VQVAE
    counts: Tensor

    def __init__(
        self,
        model: VQVAE,
        *,
        commitment: Scheduled = 0.25,
        codebook: Literal["ema", "gradient"] = "ema",
        decay: Annotated[float, Field(ge=0, lt=1)] = 0.99,
        restart: Annotated[float, Field(ge=0, lt=1)] = 0.02,
    ) -> None:
        super().__init__()
        if isinstance(commitment, float | int) and commitment < 0:
            raise ConfigError(Problem(f"commitment must not be negative (got {commitment:g})"))
        self.commitment, self.codebook, self.decay, self.restart = commitment, codebook, decay, restart
        self.couples_batch = codebook == "ema"
        self.register_buffer("counts", torch.ones(len(model.codebook)))

    def phases(self, model: VQVAE) -> Sequence[Phase]:
        moved = [p for p in model.parameters() if p.requires_grad]
        if self.codebook == "ema":
            moved = [p for p in moved if p is not model.codebook]
        return [Phase(name="train", loss=self, parameters=moved)]

    def forward(self, model: VQVAE, batch: Batch, now: Now) -> Objective:
        h = model.vectors(batch.x, batch.y)
        with torch.no_grad():
            numbers = model.nearest(h)
        vectors = model.codebook[numbers]
        reconstruction = model.likelihood(h + (vectors - h).detach(), batch.y).log_prob(batch.x)
        commitment = mean_square(h - vectors.detach())
        terms = {"distortion": Term(-reconstruction), "commitment": Term(commitment, now(self.commitment))}
        updates: Sequence[tuple[Tensor, Tensor]] = ()
        if self.codebook == "gradient":
            terms["codebook"] = Term(mean_square(h.detach() - vectors))
        else:
            updates = self.averages(model.codebook.detach(), h.detach().flatten(0, -2), numbers.flatten(), model)
        metrics = {
            "reconstruction": reconstruction.detach(),
            "commitment": commitment.detach(),
            "perplexity": perplexity(numbers, len(self.counts)),
        }
        return Objective(terms, metrics, updates)

    @torch.no_grad()
    def averages(self, vectors: Tensor, h: Tensor, numbers: Tensor, model: VQVAE) -> Sequence[tuple[Tensor, Tensor]]:
        """The codebook and its counts after a step, of vectors `[K, dimensions]`, h `[n, dimensions]` and the numbers
        `[n]` that they chose."""
        chosen = torch.zeros_like(self.counts).index_add_(0, numbers, torch.ones_like(h[:, 0]))
        sums = torch.zeros_like(vectors).index_add_(0, numbers, h)
        kept = self.decay * self.counts
        counts = kept + (1 - self.decay) * chosen
        moved = (kept[:, None] * vectors + (1 - self.decay) * sums) / counts[:, None]
        moved = torch.where(counts[:, None] > 0, moved, vectors)
        dead = counts < self.restart * counts.mean()
        drawn = h[torch.randint(len(h), (len(vectors),), device=h.device)]
        moved = torch.where(dead[:, None], drawn, moved)
        return [(model.codebook, moved), (self.counts, torch.where(dead, counts.mean(), counts))]


def mean_square(difference: Tensor) -> Tensor:
    """|.|^2 of each vector, mean over the positions: `[batch, positions, dimensions]` -> `[batch]`."""
    return difference.square().sum(-1).mean(-1)


def perplexity(numbers: Tensor, codes: int) -> Tensor:
    """exp of the entropy of the frequencies with which codes are used."""
    share = torch.bincount(numbers.flatten(), minlength=codes) / numbers.numel()
    return torch.special.entr(share).sum().exp()
