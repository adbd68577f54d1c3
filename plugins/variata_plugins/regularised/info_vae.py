r"""InfoVAE: less of the KL of each posterior, more of the divergence of them all from the prior.

    minimise  -E_q[log p(x | z)] + (1 - alpha) E_x KL(q(z | x) || p(z)) + (alpha + lambda - 1) MMD^2(q(z), p(z))

q(z) is the law of the codes of all examples. alpha = 0, lambda = 1 is the ELBO. alpha = 1 leaves the KL out: the
MMD-VAE, which is the Wasserstein autoencoder with a random encoder.

Zhao, Song and Ermon (2019), InfoVAE: Balancing Learning and Inference in Variational Autoencoders, arXiv:1706.02262.
"""

from __future__ import annotations

from variata import Batch, ConfigError, LatentVariable, Now, Objective, OnePhaseLoss, Problem, Scheduled, Term

from .mmd import SCALES, Kernel, Scales, prior_draws, squared_mmd


class InfoVAE(OnePhaseLoss):
    """The objective above; the metrics elbo, reconstruction and kl are those of the bound.

    Args:
        alpha: share of the KL term that is left out.
        lambda_: weight of the divergence from the prior, as above.
        kernel, scales: of the MMD (`mmd.py`).

    Raises:
        ConfigError: a weight that would be negative.
    """

    requires = LatentVariable
    couples_batch = True

    def __init__(
        self,
        *,
        alpha: Scheduled = 1.0,
        lambda_: Scheduled = 10.0,
        kernel: Kernel = "imq",
        scales: Scales = SCALES,
    ) -> None:
        super().__init__()
        if isinstance(alpha, float | int) and alpha > 1:
            raise ConfigError(Problem(f"alpha must be at most 1 (got {alpha:g}): 1 - alpha weighs the KL"))
        if isinstance(alpha, float | int) and isinstance(lambda_, float | int) and alpha + lambda_ < 1:
            raise ConfigError(Problem(f"alpha + lambda must be 1 at least (got {alpha + lambda_:g})"))
        self.alpha, self.lambda_ = alpha, lambda_
        self.kernel: Kernel = kernel
        self.scales = tuple(scales)

    def forward(self, model: LatentVariable, batch: Batch, now: Now) -> Objective:
        terms = model.terms(batch.x, batch.y)
        codes = [(layer.z.flatten(1), prior_draws(layer.p, len(batch))) for layer in terms.layers]
        first, *rest = (squared_mmd(z, w, self.kernel, self.scales) for z, w in codes)
        mmd, alpha = sum(rest, first), now(self.alpha)
        parts = {
            "distortion": Term(-terms.reconstruction),
            "rate": Term(terms.kl, 1 - alpha),
            "divergence": Term(mmd, alpha + now(self.lambda_) - 1),
        }
        return Objective(parts, {**terms.metrics(), "mmd": mmd.detach()})
