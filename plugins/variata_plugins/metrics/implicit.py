"""What is measured, unless somebody says otherwise, of a model that gives no likelihood: of samples, how they differ
from data (`statistics.py`, `parzen.py`); of an autoencoder, what comes back (`reconstruction.py`)."""

from __future__ import annotations

from variata import Autoencoder, MetricsContext, Sampler

from .parzen import chosen_by


def default_metrics(context: MetricsContext) -> list[str]:
    """Those that this model and this split allow."""
    chosen = []
    if isinstance(context.model, Sampler):
        chosen.append("sample_statistics")
        if context.settings.split != chosen_by(context.data):
            chosen.append("parzen")
    if isinstance(context.model, Autoencoder):
        chosen.append("reconstruction_error")
    return chosen
