r"""How near a model comes to an example from its corruption: mean (x - r(x~))^2, x~ ~ C(x~ | x), beside what the
corruption alone is away, mean (x - x~)^2."""

from __future__ import annotations

import torch

from variata import Data, DataError, Estimate, EvaluationSettings, Metric, estimate

from .chain import DenoisingChain

_BLOCK = 500


class DenoisingError(Metric):
    """ "denoising_mse" and "corruption_mse", for each element. Noise is drawn in blocks of one size from the
    evaluation's seed."""

    requires = DenoisingChain

    @torch.no_grad()
    def measure(self, model: DenoisingChain, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        split = data.split(settings.split)
        if not len(split):
            raise DataError(f"the split {settings.split} has no examples")
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        restored, corrupted = [], []
        for batch in split.batches(_BLOCK):
            x, y = batch.x.to(device), None if batch.y is None else batch.y.to(device)
            noisy = model.corruption(x)
            for errors, other in ((restored, model.reconstruct(noisy, y)), (corrupted, noisy)):
                errors.append((x - other).double().square().flatten(1).mean(1).cpu())
        found = {"denoising_mse": estimate(torch.cat(restored)), "corruption_mse": estimate(torch.cat(corrupted))}
        return {name: figure | {"split": settings.split} for name, figure in found.items()}
