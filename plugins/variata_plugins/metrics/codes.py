r"""Codes z = encode(x), flattened to `[n, d]`: those of a split, and those of examples whose factors are known."""

from __future__ import annotations

import torch
from torch import Tensor

from variata import (
    Autoencoder,
    Batch,
    Data,
    DataError,
    EvaluationSettings,
    Factor,
    FactorData,
    Split,
    Unsupported,
    stage,
    with_every_label,
)

from .samples import device_of

_BLOCK = 1000


def encoded(model: Autoencoder, batch: Batch) -> Tensor:
    """Codes of a batch, `[n, d]` in float64."""
    device = device_of(model)
    y = None if batch.y is None else batch.y.to(device)
    return model.encode(batch.x.to(device), y).flatten(1).double().cpu()


def codes_and_labels(model: Autoencoder, split: Split, most: int | None = None) -> tuple[Tensor, Tensor]:
    """Codes and labels of the labelled examples of a split, or of the first of these."""
    rows = split.labelled_rows()[:most]
    codes, labels, advance = [], [], stage("encoding", len(rows))
    for index in rows.split(_BLOCK):
        batch = split.batch(index)
        assert batch.y is not None
        codes.append(encoded(model, batch))
        labels.append(batch.y.cpu())
        advance(len(batch))
    return torch.cat(codes), torch.cat(labels)


def probe_data(
    model: Autoencoder, data: Data, settings: EvaluationSettings, most: int
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Codes and labels to learn from, of the training split, and those to be told, of the split that is evaluated.

    Raises:
        Unsupported: examples have no labels.
        DataError: the split is empty, or is the one that is learned from.
    """
    if data.spec.classes is None:
        raise Unsupported("a probe of the codes tells labels, and this data has none")
    if settings.split == "train" or not len(data.split(settings.split)):
        what = "is what a probe learns from" if settings.split == "train" else "has no examples"
        raise DataError(f"the split {settings.split} {what}: evaluate another one")
    learned = codes_and_labels(model, data.split("train"), most)
    return learned, codes_and_labels(model, data.split(settings.split))


def known_factors(data: Data) -> tuple[FactorData, dict[int, Factor]]:
    """The data with the factors that vary, by their column.

    Raises:
        Unsupported: the data does not say its factors.
    """
    data = with_every_label(data)
    if not isinstance(data, FactorData):
        raise Unsupported("this metric needs data whose factors are known, as data=sprites; this data does not say any")
    return data, {k: factor for k, factor in enumerate(data.factors) if factor.values > 1}


def random_factors(data: FactorData, n: int) -> Tensor:
    """Independent values of every factor, `[n, factors]`."""
    return torch.stack([torch.randint(factor.values, (n,)) for factor in data.factors], dim=1)


def codes_of_factors(model: Autoencoder, data: FactorData, values: Tensor) -> Tensor:
    """Codes of these combinations, `[n, d]`."""
    return torch.cat([encoded(model, data.render(part)) for part in values.split(_BLOCK)])


def codes_and_factors(model: Autoencoder, data: Data, examples: int) -> tuple[Tensor, Tensor, list[Factor]]:
    """Codes `[n, d]` of random combinations, the values `[n, k]` of the factors that vary, and those factors."""
    known, varying = known_factors(data)
    values, advance = random_factors(known, examples), stage("encoding", examples)
    codes = []
    for part in values.split(_BLOCK):
        codes.append(codes_of_factors(model, known, part))
        advance(len(part))
    return torch.cat(codes), values[:, list(varying)], list(varying.values())
