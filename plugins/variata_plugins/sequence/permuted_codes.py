r"""Does p(x | z) look at z? What the z of another example costs:

    gap = E_x E_q(z|x)[ log p(x | z) ] - E_x E_q(z'|x')[ log p(x | z') ],   x' another example

It is zero where the decoder ignores z, whatever KL(q || p) is: free bits alone can make that.
"""

from __future__ import annotations

import torch
from torch import Tensor

from variata import (
    Batch,
    Data,
    DataError,
    Estimate,
    EvaluationSettings,
    LatentVariable,
    Metric,
    estimate,
    joint,
    stage,
)


class PermutedCodes(Metric):
    """ "permutation_gap" in nats for each example, and "permuted_reconstruction", the second term, from one draw of z
    for each example; each gets the z of another, by a shift of a random order of the split."""

    requires = LatentVariable
    sequences = True
    tables = True

    def measure(self, model: LatentVariable, data: Data, settings: EvaluationSettings) -> dict[str, Estimate]:
        split, device = data.split(settings.split), next(model.parameters()).device
        n = len(split)
        if n < 2:
            raise DataError(f"the split {settings.split} has no two examples to exchange codes of")
        # Of one size, whatever was asked for, so that the draws are those of the seed.
        batches = [_on(batch, device) for batch in split.batches(64)]
        own, layers = list[Tensor](), list[list[Tensor]]()
        advance = stage("codes of other examples", 2 * n)
        for batch in batches:
            terms = model.terms(batch.x, batch.y, samples=1)
            own.append(terms.log_likelihood[0])
            layers.append([layer.z for layer in terms.layers])
            advance(len(batch))
        z = [torch.cat(parts, dim=1) for parts in zip(*layers, strict=True)]
        order = torch.randperm(n).to(device)
        other = torch.empty_like(order)
        other[order] = order.roll(1)
        found, start = list[Tensor](), 0
        for batch in batches:
            rows = other[start : start + len(batch)]
            found.append(joint(model, batch.x, batch.y, [part[:, rows] for part in z]).log_likelihood[0])
            start += len(batch)
            advance(len(batch))
        permuted = torch.cat(found).double()
        notes = {"split": settings.split}
        gap = estimate(torch.cat(own).double() - permuted) | notes
        return {"permutation_gap": gap, "permuted_reconstruction": estimate(permuted) | notes}


def _on(batch: Batch, device: torch.device) -> Batch:
    return Batch(batch.x.to(device), None if batch.y is None else batch.y.to(device))
