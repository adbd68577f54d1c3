r"""The Wasserstein autoencoder: codes without a law of their own, which together are to be like the prior.

    minimise  E_x L(x, g(f(x))) + lambda MMD^2(f(x), z),    z ~ p(z)

Where f(x) has the law p(z), the least E_x |x - g(f(x))|^2 is the squared Wasserstein distance between the data and
g(z), z ~ p(z). So nothing is asked of single codes, which the KL term of a VAE draws to the origin one by one. L is the
error that the decoder measures: of a point, half the squared distance.

Tolstikhin, Bousquet, Gelly and Schoelkopf (2018), Wasserstein Auto-Encoders, arXiv:1711.01558 (algorithm 2; a random
encoder, theirs as well, is InfoVAE's with alpha = 1).
"""

from __future__ import annotations

from variata import Batch, ConfigError, Now, Objective, OnePhaseLoss, Problem, Scheduled, Term, given_condition
from variata_plugins.autoencoder.model import DeterministicAutoencoder
from variata_plugins.autoencoder.point import error_metrics, error_of

from .mmd import SCALES, Kernel, Scales, prior_draws, squared_mmd


class WAE(OnePhaseLoss):
    """The error of reconstruction, and the divergence of the codes from the model's prior, which must be one that can
    be drawn from during training.

    Args:
        weight: lambda.
        kernel, scales: of the MMD (`mmd.py`).

    Raises:
        ConfigError: a negative weight.
    """

    requires = DeterministicAutoencoder
    couples_batch = True

    def __init__(self, *, weight: Scheduled = 10.0, kernel: Kernel = "imq", scales: Scales = SCALES) -> None:
        super().__init__()
        if isinstance(weight, float | int) and weight < 0:
            raise ConfigError(Problem(f"weight must not be negative (got {weight:g})"))
        self.weight = weight
        self.kernel: Kernel = kernel
        self.scales = tuple(scales)

    def forward(self, model: DeterministicAutoencoder, batch: Batch, now: Now) -> Objective:
        z = model.encode(batch.x, batch.y)
        law = model.law(z, batch.y)
        drawn = prior_draws(model.prior(*given_condition(model, batch.y)), len(batch))
        mmd = squared_mmd(z, drawn, self.kernel, self.scales)
        terms = {"error": Term(error_of(law, batch.x)), "divergence": Term(mmd, now(self.weight))}
        return Objective(terms, {**error_metrics(law, batch.x), "mmd": mmd.detach()})
