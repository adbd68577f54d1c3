r"""The loss of a VAE on all examples, and that of what reads its codes: a sum of two that share no parameter."""

from __future__ import annotations

from typing import Any

from variata import Batch, ConfigError, Factory, Loss, Now, Objective, OnePhaseLoss, Problem, default, make

from .on_codes import OnCodes


class OnCodesLoss(OnePhaseLoss):
    """Both losses in one step. The terms and metrics of the second begin with `codes_`, but for accuracy.

    Args:
        model: an `m1` or `m1_m2`.
        vae: of the VAE.
        classifier: of what reads the codes.

    Raises:
        ConfigError: another model; a loss of several phases, or one that needs another model.
    """

    requires = OnCodes

    def __init__(
        self,
        model: Any,
        *,
        vae: Factory[Loss] = default("loss", "elbo"),
        classifier: Factory[Loss] = default("loss", "cross_entropy"),
    ) -> None:
        super().__init__()
        if not isinstance(model, OnCodes):
            raise ConfigError(Problem(f"trains m1 or m1_m2, and the model is {type(model).__name__}"))
        self.vae = make(vae, model=model.vae, data=model.vae.spec)
        self.classifier = make(classifier, model=model.classifier, data=model.classifier.spec)
        for name, loss, part in (("vae", self.vae, model.vae), ("classifier", self.classifier, model.classifier)):
            if not isinstance(loss, OnePhaseLoss) or not isinstance(part, loss.requires):
                message = f"{type(loss).__name__} has several phases, or is not for a {type(part).__name__}"
                raise ConfigError(Problem(f"{name}: {message}: choose another one"))
        self.couples_batch = self.vae.couples_batch or self.classifier.couples_batch

    def forward(self, model: OnCodes, batch: Batch, now: Now) -> Objective:
        below = self.vae(model.vae, batch, now)
        codes = Batch(model.codes(batch.x), batch.y, batch.index, batch.labelled)
        above = self.classifier(model.classifier, codes, now)
        terms = {f"vae_{name}": term for name, term in below.terms.items()}
        terms |= {f"codes_{name}": term for name, term in above.terms.items()}
        metrics = {name if name == "accuracy" else f"codes_{name}": value for name, value in above.metrics.items()}
        return Objective(terms, {**below.metrics, **metrics}, [*below.updates, *above.updates])
