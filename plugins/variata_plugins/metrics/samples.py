r"""Features of a split and of samples: what every metric on samples compares.

Samples are draws x ~ p(x), for a latent-variable model x ~ p(x | z) with z ~ p(z); `mean` takes the mean of p(x | z)
instead, which is smoother than the model and flatters it. They are drawn in blocks of one size from the evaluation's
seed, so that they depend neither on the batch size nor on the extractor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from variata import Data, DataError, EvaluationSettings, LatentVariable, Sampler, Split, Unsupported, stage

from .extractor import Extractor, fitted

_BLOCK = 500


@dataclass(frozen=True)
class Compared:
    """Features `[n, d]` of a split and `[m, d]` of samples, in float64, with the label and the notes of a figure."""

    real: Tensor
    drawn: Tensor
    label: str
    notes: dict[str, Any]


def compare(
    model: Sampler, data: Data, settings: EvaluationSettings, extractor: Extractor, samples: int, mean: bool
) -> Compared:
    """Features of every example of the split, and of that many samples.

    Raises:
        DataError: fewer than two examples.
        Unsupported: the mean is asked for where there is none.
    """
    notes = fitted(extractor, data)
    extractor.to(device_of(model))
    drawn = features_of(draws(model, samples, mean), extractor, model)
    real = features_of(examples(data.split(settings.split)), extractor, model)
    if len(real) < 2 or len(drawn) < 2:
        raise DataError(f"two examples and two samples at least are compared ({len(real)} and {len(drawn)} here)")
    about = {"examples": len(real), "samples": samples, "draws": described(model, mean), "split": settings.split}
    about |= {"extractor": extractor.name, "features": real.shape[1]}
    return Compared(real, drawn, f"{extractor.name},mean" if mean else extractor.name, about | notes)


def features_of(blocks: Iterable[Tensor], extractor: Extractor, model: Sampler) -> Tensor:
    """Features `[n, d]` of blocks of examples, in float64; none of none."""
    device = device_of(model)
    parts = [extractor(x.to(device)).double().cpu() for x in blocks]
    return torch.cat(parts) if parts else torch.empty(0, 0, dtype=torch.float64)


def draws(model: Sampler, n: int, mean: bool) -> Iterator[Tensor]:
    """n samples, a block at a time."""
    if mean and not isinstance(model, LatentVariable):
        raise Unsupported(f"{type(model).__name__} has no p(x | z) whose mean could be taken: remove mean")
    advance = stage("drawing samples", n)
    for start in range(0, n, _BLOCK):
        count = min(_BLOCK, n - start)
        yield model.generate(count).mean if mean and isinstance(model, LatentVariable) else model.sample(count)
        advance(count)


def described(model: Sampler, mean: bool) -> str:
    """What the samples are, in words."""
    if mean:
        return "means of p(x | z), z ~ p(z)"
    return "x ~ p(x | z), z ~ p(z)" if isinstance(model, LatentVariable) else "x ~ p(x)"


def examples(split: Split, most: int | None = None) -> Iterator[Tensor]:
    """x of a split, or of its first examples, a block at a time."""
    n = len(split) if most is None else min(most, len(split))
    for start in range(0, n, _BLOCK):
        yield split.batch(torch.arange(start, min(start + _BLOCK, n))).x


def device_of(model: torch.nn.Module) -> torch.device:
    """Where a model's parameters are."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))
