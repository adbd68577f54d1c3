"""Data of which a few training examples are labelled: the option `labels` of every data set.

Of each class equally many are chosen by a seed of their own, so that runs with other seeds train on the same labels.
The other examples stay, and say by `Batch.labelled` that their y is not known; there it is -1, which no loss can take
for a class. Validation and test keep every label.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .data import Data, Split, SplitName
from .errors import ConfigError, Problem
from .live import live_data

UNKNOWN = -1
"""The y of an example that is not labelled."""


class PartlyLabelled(Data):
    """Another data set, of whose training examples only some are labelled.

    Attributes:
        whole: that data set, with every label.

    Args:
        labels: how many are, equally many of each class (to within one).
        seed: of the choice.

    Raises:
        ConfigError: the data has no classes, or not as many examples of one as are asked for.
    """

    def __init__(self, whole: Data, labels: int, seed: int = 0) -> None:
        train = whole.split("train")
        classes = whole.spec.classes
        if classes is None or train.y is None:
            raise ConfigError(Problem("labels is for data with classes, and this data has none: remove it"))
        y = train.y if isinstance(train.y, Tensor) else torch.from_numpy(np.array(train.y))
        labelled = balanced(y, classes, labels, seed)
        self.whole = whole
        self.spec = dataclasses.replace(whole.spec, labelled=labels)
        self._train = copy.copy(train)
        self._train.y, self._train.labelled = torch.where(labelled, y.long(), UNKNOWN), labelled

    def split(self, name: SplitName) -> Split:
        return self._train if name == "train" else self.whole.split(name)


def balanced(y: Tensor, classes: int, labels: int, seed: int) -> Tensor:
    """Which `[n]` of the examples are labelled: `labels` of them, equally many of each class.

    Args:
        y: `[n]` labels.

    Raises:
        ConfigError: there are fewer than one of each class, or more than one of the classes has examples.
    """
    if labels < classes:
        raise ConfigError(Problem(f"labels must be at least {classes}, one for each class (got {labels})"))
    generator = torch.Generator().manual_seed(seed)
    shares = torch.full((classes,), labels // classes)
    shares[torch.randperm(classes, generator=generator)[: labels % classes]] += 1
    counts = torch.bincount(y.long().cpu(), minlength=classes)
    if (counts < shares).any():
        least = int(counts.min())
        remedy = f"ask for at most {least * classes}, or remove it to use every label"
        if not least:
            remedy = "number the classes of the training examples from 0 without gaps"
        number = int((shares - counts).argmax())
        message = f"labels={labels} takes {shares[number]} of class {number}, which has {counts[number]} training"
        raise ConfigError(Problem(f"{message} examples: {remedy}"))
    labelled = torch.zeros(len(y), dtype=torch.bool)
    for number, share in enumerate(shares.tolist()):
        rows = (y == number).nonzero()[:, 0]
        labelled[rows[torch.randperm(len(rows), generator=generator)[:share]]] = True
    return labelled


def partly_labelled(data: Any, *, labels: int, label_seed: int = 0) -> Data:
    """Data of which `labels` training examples are labelled: what `data.labels` says in YAML.

    Args:
        data: a `Data`, or what stands for one (tensors, arrays, a data set of pairs).
        labels, label_seed: as for `Data.with_options`.

    Raises:
        ConfigError: the data has no classes, or not as many examples of one as are asked for.
    """
    return PartlyLabelled(live_data(data), labels, label_seed)


def with_every_label(data: Data) -> Data:
    """The data set with all the labels that it has: for a yardstick, which is no part of what is trained."""
    return data.whole if isinstance(data, PartlyLabelled) else data
